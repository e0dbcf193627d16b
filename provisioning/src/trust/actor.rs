use std::sync::Arc;

use actix::{
    Actor, ActorFutureExt, AtomicResponse, Context, Handler, Message, Supervised, WrapFuture,
};
use tessera_runtime::store::{Batch, Store, StoreError};
use tessera_token::key::SecretKey;
use tessera_token::trust::Change;

use super::hub::Hub;
use super::ledger::{self, Head};
use super::snapshot;
use crate::clock::ServiceClock;
use crate::limits::{MAILBOX, SNAPSHOT_REUSE_SECONDS};
use crate::refused::Refused;
use crate::service::Tried;
use crate::tables::Tables;

/// Publishes changes one after the other: the order of the feed is the order of its mailbox.
pub(crate) struct TrustActor {
    pub(crate) store: Store,
    pub(crate) tables: Tables,
    pub(crate) time: Arc<ServiceClock>,
    pub(crate) root: Arc<SecretKey>,
    pub(crate) hub: Hub,
    pub(crate) made: Option<Made>,
}

/// A snapshot that can be served again.
pub(crate) struct Made {
    seq: u64,
    at: u64,
    bytes: Arc<Vec<u8>>,
}

impl Actor for TrustActor {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        context.set_mailbox_capacity(MAILBOX);
    }
}

impl Supervised for TrustActor {}

/// Write `batch` together with the events of `changes`. Done means durable and told to whoever waits.
pub(crate) struct Publish {
    pub(crate) changes: Vec<Change>,
    pub(crate) batch: Batch,
}

impl Message for Publish {
    type Result = Result<Tried<()>, Refused>;
}

impl Handler<Publish> for TrustActor {
    type Result = AtomicResponse<Self, Result<Tried<()>, Refused>>;

    fn handle(&mut self, message: Publish, _context: &mut Self::Context) -> Self::Result {
        let step = self.step(message);
        let store = self.store.clone();
        let work = async move {
            let (batch, head) = step?;
            match store.commit(batch).await {
                Ok(()) => Ok(Some(head)),
                Err(StoreError::Conflict { .. }) => Ok(None),
                Err(error) => Err(Refused::from(error)),
            }
        };
        AtomicResponse::new(Box::pin(work.into_actor(self).map(|outcome, actor, _| {
            let Some(head) = outcome? else {
                return Ok(Tried::Again);
            };
            actor.hub.announce(head.seq);
            Ok(Tried::Done(()))
        })))
    }
}

impl TrustActor {
    fn step(&self, message: Publish) -> Result<(Batch, Head), Refused> {
        let Publish { changes, mut batch } = message;
        let head = Head::read(&self.tables)?;
        let now = self.time.now();
        let head = ledger::append(&self.tables, &mut batch, head, &changes, &self.root, now)?;
        Ok((batch, head))
    }
}

/// The snapshot of now, signed.
pub(crate) struct TakeSnapshot;

impl Message for TakeSnapshot {
    type Result = Result<Arc<Vec<u8>>, Refused>;
}

impl Handler<TakeSnapshot> for TrustActor {
    type Result = Result<Arc<Vec<u8>>, Refused>;

    fn handle(&mut self, _message: TakeSnapshot, _context: &mut Self::Context) -> Self::Result {
        let now = self.time.now();
        let seq = Head::read(&self.tables)?.seq;
        if let Some(made) = &self.made {
            if made.seq == seq && now.get().abs_diff(made.at) <= SNAPSHOT_REUSE_SECONDS {
                return Ok(Arc::clone(&made.bytes));
            }
        }
        let bytes = Arc::new(snapshot::make(&self.tables, &self.root, now, self.time.removal())?);
        self.made = Some(Made { seq, at: now.get(), bytes: Arc::clone(&bytes) });
        Ok(bytes)
    }
}
