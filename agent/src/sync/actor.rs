//! The trust actor: fetches, hands the bytes to the step, waits as it says.

use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Handler, WrapFuture};
use parking_lot::Mutex;

use super::{Ask, Next, Source, SyncCore};
use crate::actor_thread::Finish;

const TICK: Duration = Duration::from_secs(1);

/// The thin shell. The state outlives it, so that a new one goes on where it ended.
pub(crate) struct SyncActor {
    pub(crate) core: Arc<Mutex<SyncCore>>,
    /// `None` works from the store alone.
    pub(crate) source: Option<Source>,
}

impl Actor for SyncActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.run_interval(TICK, |actor, _| actor.core.lock().tick());
        let first = self.core.lock().first();
        self.go(first, ctx);
    }
}

impl SyncActor {
    fn go(&self, next: Next, ctx: &mut Context<Self>) {
        let Some(source) = &self.source else {
            return;
        };
        let evidence = match next.ask {
            Ask::Show => self.core.lock().evidence(),
            Ask::Snapshot(_) | Ask::Events(_) => Vec::new(),
        };
        let fetch = source.fetch(next.ask, evidence);
        let ask = async move {
            if !next.wait.is_zero() {
                tokio::time::sleep(next.wait).await;
            }
            fetch.await
        };
        ctx.spawn(ask.into_actor(self).map(move |answer, actor, ctx| {
            let then = actor.core.lock().answer(next.ask, answer);
            actor.go(then, ctx);
        }));
    }
}

impl Handler<Finish> for SyncActor {
    type Result = ();

    fn handle(&mut self, _: Finish, ctx: &mut Self::Context) {
        self.core.lock().finish();
        ctx.stop();
    }
}
