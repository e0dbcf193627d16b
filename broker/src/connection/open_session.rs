//! Opens the session of an authenticated CONNECT: steps 9 to 11 of [`super::connect`].

use std::sync::Arc;

use tessera_token::grant::Grant;
use tessera_token::ids::ClientId;
use tessera_token::proof::TicketId;
use tessera_token::refusal::RefusalCode;

use super::challenge::Method;
use super::refuse::wants_words;
use super::{credentials, enhanced_auth};
use crate::authorisation::{revoked, ControlTopic};
use crate::codec::{ConnAck, Connect, Recipient};
use crate::hub::Hub;
use crate::persistence::SessionRows;
use crate::revocation;
use crate::routing::{Outbox, OutboxReader};
use crate::session::state_machine::{granted_expiry, End};
use crate::session::{ConnectionHandle, Session};

/// A connection that may begin.
pub(super) struct Joined {
    pub(super) session: Arc<Session>,
    pub(super) handle: Arc<ConnectionHandle>,
    pub(super) reader: OutboxReader,
    pub(super) ack: ConnAck,
    pub(super) to: Recipient,
    pub(super) explain: bool,
    /// Commit that must be durable before the CONNACK is written; 0 for none.
    pub(super) owed: u64,
    /// The method of enhanced authentication that the CONNECT named.
    pub(super) method: Option<Method>,
}

/// Resumes the session of this client id, or makes a new one that takes its place.
pub(super) async fn open(
    hub: &Arc<Hub>,
    connect: &Connect,
    client_id: &ClientId,
    grant: &Grant,
    handle: ConnectionHandle,
) -> Result<Joined, RefusalCode> {
    // Before anything is changed: rows of a persistent session could not be written.
    if !hub.persistence.writes() {
        return Err(RefusalCode::NotReady);
    }
    handle.note_proved(hub.now().unix);
    let handle = Arc::new(handle);
    if !connect.clean_start {
        if let Some(session) = resumable(hub, client_id, grant).await {
            if let Some(ack) = resume(hub, connect, &session, grant, &handle).await? {
                return Ok(joined(hub, connect, session, handle, ack, true));
            }
        }
    }
    let outbox = outbox(hub, connect, grant);
    let device = hub.observer.device(grant);
    let routes = hub.routing.session(grant.tenant().clone(), Arc::clone(&outbox));
    let session = Session::new(grant.clone(), client_id.clone(), device, outbox, routes);
    let (ack, _) = session.attach(connect, &handle, false, hub.context(), hub.now())?;
    let replaced = hub.registry.enter(&session).map_err(|full| {
        hub.metrics.limits_hit.inc(&[full.label()]);
        session.finish();
        full.code()
    })?;
    hub.restrict(&session, &handle);
    let mut kept = session.rows().is_some();
    if let Some(old) = replaced {
        kept |= old.rows().is_some();
        old.disconnect(crate::session::state_machine::End::taken_over());
        if let Some(will) = hub.forget(&old) {
            hub.publish_will(&old, will).await;
        }
    }
    Ok(joined(hub, connect, session, handle, ack, kept))
}

/// A session that outlives its connection also outlives this process.
fn outbox(hub: &Hub, connect: &Connect, grant: &Grant) -> Arc<Outbox> {
    let id = hub.number();
    let lasts = granted_expiry(connect, &hub.policy) != 0;
    let rows = lasts.then(|| SessionRows::new(Arc::clone(&hub.persistence), id));
    hub.outbox(grant, id, rows)
}

async fn resumable(hub: &Arc<Hub>, client_id: &ClientId, grant: &Grant) -> Option<Arc<Session>> {
    let session = hub.registry.find(grant.tenant(), client_id)?;
    hub.settle_one(&session, hub.now());
    // A device may come with its next token before the end of the former one has reached its session.
    let held = session.rights();
    if let Some(code) = revoked::revoked_between(hub.authenticator.validator(), held.grant(), grant)
    {
        revocation::end(hub, &session, code).await;
        return None;
    }
    let kept = !session.look(|machine| machine.expiry()).is_zero();
    (kept && session.belongs_to(grant)).then_some(session)
}

/// `None` when the session ended at this very moment.
async fn resume(
    hub: &Arc<Hub>,
    connect: &Connect,
    session: &Arc<Session>,
    grant: &Grant,
    handle: &Arc<ConnectionHandle>,
) -> Result<Option<ConnAck>, RefusalCode> {
    let held = hub.registry.renew(session, grant.clone());
    // A revocation since the session was found has checked the former rights, or checks the present ones after this.
    if let Some(code) = revoked::revocation_of(hub.authenticator.validator(), held.grant()) {
        revocation::end(hub, session, code).await;
        return Ok(None);
    }
    let mut lost = session.narrow();
    let (ack, old_will) = match session.attach(connect, handle, true, hub.context(), hub.now()) {
        Ok(attached) => attached,
        Err(RefusalCode::NotReady) => return Ok(None),
        Err(code) => return Err(code),
    };
    // The connection that was taken over may have renewed the rights at the last moment: they are not this one's.
    if session.rights().grant().token_hash() != grant.token_hash() {
        hub.registry.renew(session, grant.clone());
        lost.extend(session.narrow());
    }
    hub.unsubscribe(session, &lost).await;
    hub.restrict(session, handle);
    hub.push.note(session.id);
    if session.look(|machine| machine.control(ControlTopic::Alerts)).is_some() {
        hub.alerts.add(session);
    }
    if let Some(will) = old_will {
        hub.publish_will(session, will).await;
    }
    Ok(Some(ack))
}

fn joined(
    hub: &Hub,
    connect: &Connect,
    session: Arc<Session>,
    handle: Arc<ConnectionHandle>,
    mut ack: ConnAck,
    kept: bool,
) -> Joined {
    let owed = if kept { hub.persistence.last_commit() } else { 0 };
    hub.schedule(&session, hub.now());
    let explain = hub.policy.reason_strings && wants_words(connect);
    let method = credentials::method(connect).and_then(Method::of);
    if let Some(method) = method {
        ack.properties = enhanced_auth::echo(&ack.properties, method.name());
    }
    let reader = session.outbox.reader();
    Joined { session, handle, reader, ack, to: Recipient::of(connect), explain, owed, method }
}

/// Step 10. A session that was resumed and whose grant was not revoked goes on without this connection.
pub(super) async fn still_holds(
    hub: &Arc<Hub>,
    joined: &Joined,
    grant: &Grant,
) -> Result<(), RefusalCode> {
    let validator = hub.authenticator.validator();
    let Err(code) = validator.still_holds(grant) else { return Ok(()) };
    if joined.ack.session_present && revoked::revocation_of(validator, grant).is_none() {
        hub.leave(&joined.session, &joined.handle, &End::too_late()).await;
    } else {
        hub.forget(&joined.session);
    }
    Err(code)
}

/// Step 11.
pub(super) async fn ticket_key_accepted(
    hub: &Arc<Hub>,
    joined: &Joined,
    ticket: Option<TicketId>,
) -> Result<(), RefusalCode> {
    if ticket.is_none_or(|ticket| hub.ticket_keys.accepts(ticket)) {
        return Ok(());
    }
    let end = End::ticket_key_withdrawn(&hub.policy);
    match joined.ack.session_present {
        true => hub.leave(&joined.session, &joined.handle, &end).await,
        false => hub.forget(&joined.session).map_or((), drop),
    }
    Err(RefusalCode::TicketKeyWithdrawn)
}
