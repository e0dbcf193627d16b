use actix::{
    Actor, ActorFutureExt, AtomicResponse, Context, Handler, Message, Supervised, WrapFuture,
};
use tessera_runtime::clock::SharedClock;
use tessera_runtime::store::Store;

use super::{Issued, Issuer, Order};
use crate::limits::MAILBOX;
use crate::refused::Refused;

/// Signs tokens one after the other. The only holder of issuer keys.
pub(crate) struct IssuerActor {
    pub(crate) store: Store,
    pub(crate) clock: SharedClock,
    pub(crate) issuer: Issuer,
}

impl Actor for IssuerActor {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        context.set_mailbox_capacity(MAILBOX);
    }
}

impl Supervised for IssuerActor {}

/// Make a token. It must not leave before its record is committed.
pub(crate) struct Issue(pub(crate) Order);

impl Message for Issue {
    type Result = Result<Issued, Refused>;
}

impl Handler<Issue> for IssuerActor {
    type Result = AtomicResponse<Self, Result<Issued, Refused>>;

    fn handle(&mut self, Issue(order): Issue, _context: &mut Self::Context) -> Self::Result {
        let reservation = self.issuer.reservation();
        let store = self.store.clone();
        let reserve = async move {
            let Some(reservation) = reservation? else {
                return Ok(None);
            };
            store.commit(reservation.batch).await?;
            Ok(Some(reservation.serials))
        };
        AtomicResponse::new(Box::pin(reserve.into_actor(self).map(|reserved, actor, _| {
            if let Some(serials) = reserved
                .map_err(|error: tessera_runtime::store::StoreError| Refused::from(error))?
            {
                actor.issuer.reserved(serials);
            }
            actor.issuer.issue(order, actor.clock.unix())
        })))
    }
}

/// Keys moved: forget those in memory.
pub(crate) struct KeysMoved;

impl Message for KeysMoved {
    type Result = ();
}

impl Handler<KeysMoved> for IssuerActor {
    type Result = ();

    fn handle(&mut self, _message: KeysMoved, _context: &mut Self::Context) {
        self.issuer.forget_keys();
    }
}

/// Serials were jumped over: forget those that were reserved before.
pub(crate) struct SerialsJumped;

impl Message for SerialsJumped {
    type Result = ();
}

impl Handler<SerialsJumped> for IssuerActor {
    type Result = ();

    fn handle(&mut self, _message: SerialsJumped, _context: &mut Self::Context) {
        self.issuer.forget_serials();
    }
}
