//! A thread of its own for an actor, watched: when the actor dies, a new one goes on with the same state.

use std::io;
use std::time::Duration;

use actix::{Actor, Addr, Context, Handler, Message};
use tessera_runtime::stop::Stop;
use tokio::sync::oneshot;

/// Time between two looks whether the actor is alive.
const WATCH: Duration = Duration::from_millis(500);

/// Asks an actor to finish its work: the process stops.
pub(crate) struct Finish;

impl Message for Finish {
    type Result = ();
}

/// Runs the actor that `make` makes until `stop`, and registers the thread as a task that is waited for. Needs a
/// running tokio.
pub(crate) fn run<A>(
    name: &'static str,
    stop: &Stop,
    make: impl Fn() -> A + Send + 'static,
) -> io::Result<()>
where
    A: Actor<Context = Context<A>> + Handler<Finish>,
{
    let (done, ended) = oneshot::channel::<()>();
    let signal = stop.clone();
    std::thread::Builder::new().name(name.to_owned()).spawn(move || {
        actix_rt::System::new().block_on(watch(name, &signal, make));
        drop(done);
    })?;
    stop.spawn(name, async move {
        // The thread never sends: it lets go of its end.
        let _ = ended.await;
    });
    Ok(())
}

async fn watch<A>(name: &'static str, stop: &Stop, make: impl Fn() -> A)
where
    A: Actor<Context = Context<A>> + Handler<Finish>,
{
    loop {
        let actor = make().start();
        tokio::select! {
            () = stop.stopping() => {
                if actor.send(Finish).await.is_err() {
                    tracing::error!(actor = name, "actor did not finish its work");
                }
                return;
            }
            () = death(&actor) => tracing::error!(actor = name, "actor died and is started again"),
        }
    }
}

async fn death<A: Actor<Context = Context<A>>>(actor: &Addr<A>) {
    while actor.connected() {
        tokio::time::sleep(WATCH).await;
    }
}
