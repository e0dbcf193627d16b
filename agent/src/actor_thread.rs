//! A thread of its own for an actor, with a watch: when the actor panics, a new one continues with the same state.

use std::io;
use std::time::Duration;

use actix::{Actor, Addr, Context, Handler, Message};
use tessera_runtime::stop::Stop;
use tokio::sync::oneshot;

/// Time between two looks whether the actor is alive.
const WATCH: Duration = Duration::from_millis(500);

/// Asks an actor to finish its work and to stop: the process stops.
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
                // The wait of the actor needs the runtime also to be let go of.
                while actor.connected() {
                    tokio::task::yield_now().await;
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::sync::Arc;

    use actix::ActorContext;

    use super::*;

    #[derive(Default)]
    struct Seen {
        started: AtomicU32,
        finished: AtomicU32,
    }

    struct Fragile(Arc<Seen>);

    impl Actor for Fragile {
        type Context = Context<Self>;

        fn started(&mut self, _: &mut Self::Context) {
            let life = self.0.started.fetch_add(1, Ordering::SeqCst);
            assert!(life > 0, "dies in its first life");
        }
    }

    impl Handler<Finish> for Fragile {
        type Result = ();

        fn handle(&mut self, _: Finish, ctx: &mut Self::Context) {
            self.0.finished.fetch_add(1, Ordering::SeqCst);
            ctx.stop();
        }
    }

    #[tokio::test]
    async fn a_dead_actor_is_started_again_and_the_living_one_finishes() {
        let seen = Arc::new(Seen::default());
        let (stop, lives) = (Stop::new(), Arc::clone(&seen));
        let (told, mut hear) = tokio::sync::mpsc::channel(4);
        let make = move || {
            let _ = told.try_send(());
            Fragile(Arc::clone(&lives))
        };
        run("fragile", &stop, make).unwrap();
        hear.recv().await.unwrap();
        hear.recv().await.unwrap();
        assert!(stop.finish(Duration::from_secs(10)).await.is_empty());
        assert_eq!(seen.started.load(Ordering::SeqCst), 2);
        assert_eq!(seen.finished.load(Ordering::SeqCst), 1);
    }
}
