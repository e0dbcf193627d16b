use actix::{
    Actor, ActorFutureExt, AtomicResponse, Context, Handler, Message, Supervised, WrapFuture,
};
use tessera_runtime::clock::SharedClock;
use tessera_runtime::sql::Database;
use tessera_runtime::store::StoreError;
use tessera_token::key::KeyId;
use tessera_token::refusal::RefusalCode;

use super::unsigned::Made;
use super::{Issuer, Order};
use crate::limits::MAILBOX;
use crate::records::keys::KeyRecord;
use crate::refused::Refused;
use crate::write::{until_committed, Attempt};

/// Signs tokens one after the other. The only holder of issuer keys.
pub(crate) struct IssuerActor {
    pub(crate) database: Database,
    pub(crate) clock: SharedClock,
    /// `None` while a token is made.
    pub(crate) issuer: Option<Issuer>,
}

impl Actor for IssuerActor {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        context.set_mailbox_capacity(MAILBOX);
    }
}

impl Supervised for IssuerActor {}

/// Make a token by the key that signs for its tenant, up to a signature that a security module has to make. See
/// [`super::issue`].
pub(crate) struct Issue(pub(crate) Order, pub(crate) (KeyId, KeyRecord));

impl Message for Issue {
    type Result = Result<Made, Refused>;
}

impl Handler<Issue> for IssuerActor {
    type Result = AtomicResponse<Self, Result<Made, Refused>>;

    fn handle(&mut self, Issue(order, key): Issue, _context: &mut Self::Context) -> Self::Result {
        let (issuer, database, clock) =
            (self.issuer.take(), self.database.clone(), self.clock.clone());
        let make = async move {
            // No other message is handled meanwhile.
            let Some(mut issuer) = issuer else { return (None, Err(RefusalCode::NotReady.into())) };
            let made = make(&mut issuer, &database, (order, key), &clock).await;
            (Some(issuer), made)
        };
        AtomicResponse::new(Box::pin(make.into_actor(self).map(|(issuer, made), actor, _| {
            actor.issuer = issuer;
            made
        })))
    }
}

async fn make(
    issuer: &mut Issuer,
    database: &Database,
    (order, key): (Order, (KeyId, KeyRecord)),
    clock: &SharedClock,
) -> Result<Made, Refused> {
    until_committed(async || {
        let Some(reservation) = issuer.reservation().await? else {
            return Ok(Attempt::Committed(()));
        };
        match database.commit(reservation.batch).await {
            Ok(()) => {
                issuer.reserved(reservation.serials);
                Ok(Attempt::Committed(()))
            }
            // Another process has reserved some.
            Err(StoreError::Conflict { .. }) => Ok(Attempt::Conflict),
            Err(error) => Err(error.into()),
        }
    })
    .await?;
    issuer.issue(order, key, clock.unix()).await
}

/// Keys moved: forget those in memory.
pub(crate) struct KeysMoved;

impl Message for KeysMoved {
    type Result = ();
}

impl Handler<KeysMoved> for IssuerActor {
    type Result = ();

    fn handle(&mut self, _message: KeysMoved, _context: &mut Self::Context) {
        if let Some(issuer) = &mut self.issuer {
            issuer.forget_keys();
        }
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
        if let Some(issuer) = &mut self.issuer {
            issuer.forget_serials();
        }
    }
}
