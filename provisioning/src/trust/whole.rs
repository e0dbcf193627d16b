//! The snapshot of all tenants: made on a blocking thread, one at a time, while the actor goes on to publish. Readers that
//! ask for the same state get the same bytes.

use std::sync::Arc;

use actix::{ActorFutureExt, AsyncContext, Handler, Message, ResponseFuture, WrapFuture};
use tessera_token::refusal::RefusalCode;
use tessera_token::trust::LinkedSnapshot;
use tokio::sync::oneshot;

use super::actor::TrustActor;
use super::ledger::Head;
use super::{held, snapshot};
use crate::limits::{SNAPSHOT_CALLERS, SNAPSHOT_REUSE_SECONDS};
use crate::refused::Refused;

type Outcome = Result<Arc<Vec<u8>>, Refused>;

/// Snapshots of all tenants.
#[derive(Default)]
pub(crate) struct Whole {
    made: Option<Made>,
    /// Callers of the one that is being made. Those that come meanwhile wait for the next one: it may be older than what
    /// they have to see.
    now: Vec<oneshot::Sender<Outcome>>,
    next: Vec<oneshot::Sender<Outcome>>,
}

impl Whole {
    /// Whether one more caller may wait. Those that are gone make room.
    fn has_room(&mut self) -> bool {
        if self.next.len() >= SNAPSHOT_CALLERS {
            self.next.retain(|caller| !caller.is_closed());
        }
        self.next.len() < SNAPSHOT_CALLERS
    }
}

/// A snapshot that can be served again.
struct Made {
    seq: u64,
    at: u64,
    bytes: Arc<Vec<u8>>,
}

/// The snapshot of now, signed.
pub(crate) struct TakeSnapshot;

impl Message for TakeSnapshot {
    type Result = Outcome;
}

impl Handler<TakeSnapshot> for TrustActor {
    type Result = ResponseFuture<Outcome>;

    fn handle(&mut self, _message: TakeSnapshot, context: &mut Self::Context) -> Self::Result {
        let (tell, told) = oneshot::channel();
        // The head is read between two publications.
        let tables = self.tables.clone();
        let head = async move { Head::read(&tables).await };
        context.wait(head.into_actor(self).map(|head, actor, context| {
            let served = head.map(|head| (head, actor.served_again(&head)));
            match served {
                Ok((_, Some(bytes))) => drop(tell.send(Ok(bytes))),
                Ok((head, None)) if actor.whole.has_room() => {
                    actor.whole.next.push(tell);
                    if actor.whole.now.is_empty() {
                        actor.make(head, context);
                    }
                }
                Ok((_, None)) => drop(tell.send(Err(RefusalCode::LimitReached.into()))),
                Err(error) => drop(tell.send(Err(error.into()))),
            }
        }));
        Box::pin(async move { told.await.unwrap_or(Err(RefusalCode::Internal.into())) })
    }
}

impl TrustActor {
    /// The last snapshot, while it says what is so now.
    fn served_again(&self, head: &Head) -> Option<Arc<Vec<u8>>> {
        let (now, seq) = (self.time.now().get(), head.seq);
        let is_good =
            |made: &&Made| made.seq == seq && now.abs_diff(made.at) <= SNAPSHOT_REUSE_SECONDS;
        self.whole.made.as_ref().filter(is_good).map(|made| Arc::clone(&made.bytes))
    }

    /// Makes the one for those that came meanwhile.
    fn make_next(&mut self, context: &mut actix::Context<Self>) {
        let tables = self.tables.clone();
        let head = async move { Head::read(&tables).await };
        context.wait(head.into_actor(self).map(|head, actor, context| match head {
            Ok(head) => actor.make(head, context),
            Err(error) => {
                let refused = Refused::from(error);
                for caller in actor.whole.next.drain(..) {
                    let _ = caller.send(Err(refused.clone()));
                }
            }
        }));
    }

    /// Makes the snapshot as of this head for all that wait.
    fn make(&mut self, head: Head, context: &mut actix::Context<Self>) {
        self.whole.now = std::mem::take(&mut self.whole.next);
        let (tables, root) = (self.tables.clone(), Arc::clone(&self.root));
        let links = Arc::clone(&self.links);
        let (now, removal) = (self.time.now(), self.time.removal());
        let work = async move {
            let seq = head.seq;
            let make =
                move || async move { snapshot::make(&tables, &head, &root, now, removal).await };
            let (bytes, ()) = held::run_reading((), make).await?;
            let bytes = Arc::new(LinkedSnapshot::write(&links, bytes?));
            Ok(Made { seq, at: now.get(), bytes })
        };
        context.spawn(work.into_actor(self).map(
            |outcome: Result<Made, Refused>, actor, context| {
                let bytes = outcome.as_ref().map(|made| Arc::clone(&made.bytes));
                let bytes = bytes.map_err(Clone::clone);
                for caller in actor.whole.now.drain(..) {
                    // A reader may have gone meanwhile.
                    let _ = caller.send(bytes.clone());
                }
                actor.whole.made = outcome.ok().or(actor.whole.made.take());
                if !actor.whole.next.is_empty() {
                    actor.make_next(context);
                }
            },
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn callers_that_wait_are_bounded_and_those_that_are_gone_make_room() {
        let mut whole = Whole::default();
        let mut told = Vec::new();
        for _ in 0..SNAPSHOT_CALLERS {
            assert!(whole.has_room());
            let (tell, wait) = oneshot::channel();
            whole.next.push(tell);
            told.push(wait);
        }
        assert!(!whole.has_room());
        told.pop();
        assert!(whole.has_room());
        assert_eq!(whole.next.len(), SNAPSHOT_CALLERS - 1);
    }
}
