//! Handles a CONNECT: authenticates, checks the will, opens the session, and checks revocation once more.
//!
//! Until authentication has succeeded, nothing that is stored is read. So a failed CONNECT changes nothing, and the
//! holder of the client id is not disturbed.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tessera_agent::behaviour::{Connection, Network, Observation};
use tessera_token::ace::AS_HINT;
use tessera_token::chain::Refusal;
use tessera_token::grant::Grant;
use tessera_token::ids::ClientId;
use tessera_token::refusal::RefusalCode;

use super::challenge::Method;
use super::{credentials, disconnect, enhanced_auth, Origin};
use crate::admission::SocketPermit;
use crate::authentication::{response, Evidence};
use crate::authorisation::revoked;
use crate::authorisation::{ControlTopic, Rights};
use crate::codec::{
    ConnAck, Connect, Packet, Properties, PropertyId, ReasonCode, Recipient, Version,
};
use crate::hub::Hub;
use crate::persistence::SessionRows;
use crate::refusals::{Refusal as Told, Remote, What};
use crate::revocation;
use crate::routing::Outbox;
use crate::session::machine::{check_will, granted_expiry, reason_string, told, Context, End};
use crate::session::{ChannelSecurity, ConnectionHandle, Session, Shown};
use crate::transport::Stream;

/// A connection that may begin.
pub(super) struct Joined {
    pub(super) session: Arc<Session>,
    pub(super) handle: Arc<ConnectionHandle>,
    pub(super) ack: ConnAck,
    pub(super) to: Recipient,
    pub(super) explain: bool,
    /// Commit that must be durable before the CONNACK is written; 0 for none.
    pub(super) owed: u64,
    /// The method of enhanced authentication that the CONNECT named.
    pub(super) method: Option<Method>,
}

/// Lets the CONNECT in, or tells the peer that it may not; `None` closes the socket.
pub(super) async fn join(
    hub: &Arc<Hub>,
    stream: &mut Stream,
    inbox: &mut BytesMut,
    mut connect: Connect,
    origin: Origin,
    accepted: Duration,
    permit: &mut SocketPermit,
) -> Option<Joined> {
    let began = hub.clock.monotonic();
    let security = match stream.is_encrypted() {
        true => ChannelSecurity::Tls,
        false => ChannelSecurity::Plaintext,
    };
    let prefix = permit.prefix();
    let evidence =
        credentials::evidence(hub, stream, inbox, &mut connect, prefix, origin.remote).await?;
    let suspect = permit.is_suspect();
    let admitted = admit(hub, &mut connect, evidence, security, suspect, origin.remote).await;
    match admitted {
        Ok(joined) => {
            let took = hub.clock.monotonic().saturating_sub(accepted);
            hub.metrics.connect_seconds.observe(&["accepted"], took.as_secs_f64());
            let resumed = if joined.ack.session_present { "resumed" } else { "new" };
            hub.metrics.connects.inc(&[version_label(connect.version), resumed]);
            note_connected(hub, &joined.session, origin.network);
            Some(joined)
        }
        Err(refused) => {
            let code = refused.refusal.code;
            if code.is_of_the_server() {
                permit.mark_not_at_fault();
            }
            let spent = hub.clock.monotonic().saturating_sub(began);
            if !refused.proved {
                tokio::time::sleep(response::hold_back(spent)).await;
            }
            note_refused(hub, &refused, origin, &connect.client_id, accepted);
            let explain = refused.proved && hub.policy.reason_strings && wants_words(&connect);
            let properties = if explain { reason_string(code) } else { Properties::new() };
            let properties = hint(hub, &connect, properties);
            let ack = ConnAck { session_present: false, reason: refused.reason, properties };
            disconnect::refuse_connect(stream, ack, Recipient::of(&connect), !refused.proved).await;
            None
        }
    }
}

struct Refused {
    refusal: Refusal,
    proved: bool,
    reason: ReasonCode,
}

async fn admit(
    hub: &Arc<Hub>,
    connect: &mut Connect,
    evidence: Result<Evidence, RefusalCode>,
    security: ChannelSecurity,
    suspect: bool,
    remote: Remote,
) -> Result<Joined, Refused> {
    let stranger = |refusal: Refusal| {
        let reason = response::connack_reason(refusal.code);
        Refused { refusal, proved: false, reason }
    };
    // No name is assigned here: a client id is bound to its token [MQTT-3.1.3-8].
    if connect.client_id.is_empty() {
        let reason = ReasonCode::CLIENT_ID_NOT_VALID;
        return Err(Refused { reason, ..stranger(RefusalCode::ClientIdInvalid.into()) });
    }
    if !can_be_let_in(hub, connect) {
        let reason = ReasonCode::PACKET_TOO_LARGE;
        return Err(Refused { reason, ..stranger(RefusalCode::RequestMalformed.into()) });
    }
    let evidence = evidence.map_err(|code| stranger(code.into()))?;
    let admission = hub.authenticator.admit(evidence, &connect.client_id, suspect).await;
    let admission = admission.map_err(stranger)?;
    if admission.resumed.is_some() {
        hub.metrics.resumption.inc(&["accepted"]);
    }
    let handle = ConnectionHandle::new(security, Shown::by(&admission), remote);
    let ticket = admission.resumed;
    let (grant, client_id) = (admission.grant, admission.client_id);
    let subject = tessera_token::chain::Subject {
        tenant: grant.tenant().clone(),
        device: grant.device().clone(),
    };
    let known = |code| Refused {
        refusal: Refusal { code, subject: Some(subject.clone()) },
        proved: true,
        reason: response::connack_reason(code),
    };
    will_allowed(hub, connect, &grant).map_err(known)?;
    let joined = enter(hub, connect, &client_id, &grant, handle).await.map_err(known)?;
    // A revocation that came in since authentication found no session to end.
    if let Err(code) = hub.authenticator.validator().still_holds(&grant) {
        let lasts = revoked::revocation_of(hub.authenticator.validator(), &grant).is_none();
        if joined.ack.session_present && lasts {
            hub.leave(&joined.session, &joined.handle, &End::too_late()).await;
        } else {
            hub.forget(&joined.session);
        }
        return Err(known(code));
    }
    // The same for a ticket key.
    if ticket.is_some_and(|ticket| !hub.ticket_keys.accepts(ticket)) {
        let end = End::ticket_key_withdrawn(&hub.policy);
        match joined.ack.session_present {
            true => hub.leave(&joined.session, &joined.handle, &end).await,
            false => hub.forget(&joined.session).map_or((), drop),
        }
        return Err(known(RefusalCode::TicketKeyWithdrawn));
    }
    Ok(joined)
}

/// Whether the client takes the CONNACK that would let it in: asked before anything is changed for it.
fn can_be_let_in(hub: &Hub, connect: &Connect) -> bool {
    let to = Recipient::of(connect);
    if to.takes_all() {
        return true;
    }
    let granted = told(connect, &hub.policy);
    let properties = match credentials::method(connect) {
        Some(method) => enhanced_auth::echo(&granted, method),
        None => granted,
    };
    let ack = ConnAck { session_present: true, reason: ReasonCode::SUCCESS, properties };
    to.can_be_told(&Packet::ConnAck(ack))
}

fn will_allowed(hub: &Hub, connect: &Connect, grant: &Grant) -> Result<(), RefusalCode> {
    if connect.will.is_none() {
        return Ok(());
    }
    let now = hub.now();
    let rights = Rights::new(grant.clone());
    let session = crate::message::SubscriberId(0);
    let cx = Context::at(&rights, hub.context(), session, now);
    check_will(connect, cx).map(drop)
}

/// Resumes the session of this client id, or makes a new one that takes its place.
async fn enter(
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
    let handle = Arc::new(handle);
    if !connect.clean_start {
        if let Some(session) = resumable(hub, client_id, grant).await {
            if let Some(ack) = resume(hub, connect, &session, grant, &handle).await? {
                return Ok(joined(hub, connect, session, handle, ack, true));
            }
        }
    }
    let outbox = outbox(hub, connect, grant);
    let device = hub.observer.device(grant.tenant(), grant.device());
    let routes = hub.routing.session(grant.tenant().clone(), Arc::clone(&outbox));
    let session = Session::new(grant.clone(), client_id.clone(), device, outbox, routes);
    let (ack, _) = session.attach(connect, &handle, false, hub.context(), hub.now())?;
    let replaced = hub.registry.enter(&session).map_err(|full| {
        hub.metrics.limits_hit.inc(&[full.label()]);
        session.finish();
        full.code()
    })?;
    let mut kept = session.rows().is_some();
    if let Some(old) = replaced {
        kept |= old.rows().is_some();
        old.disconnect(crate::session::machine::End::taken_over());
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
    Joined { session, handle, ack, to: Recipient::of(connect), explain, owed, method }
}

/// Where tokens come from (RFC 9431 section 2.4.1), for clients that asked by enhanced authentication.
fn hint(hub: &Hub, connect: &Connect, properties: Properties) -> Properties {
    match hub.authenticator.hint() {
        Some(hint)
            if credentials::method(connect).is_some_and(|name| Method::of(name).is_some()) =>
        {
            let told = Properties::build().all_of(&properties).user(AS_HINT, hint);
            told.finish().unwrap_or(properties)
        }
        _ => properties,
    }
}

fn wants_words(connect: &Connect) -> bool {
    connect.properties.flag(PropertyId::RequestProblemInfo).unwrap_or(true)
}

fn note_connected(hub: &Hub, session: &Session, network: Network) {
    let rights = session.rights();
    let connection = Connection::of(rights.grant(), network);
    hub.observer.observe(&session.device, Observation::Connected(connection));
    tracing::debug!(tenant = %session.tenant, client = %session.client_id, "connected");
}

/// Counts and logs the true reason. Claims without a verified signature are no identity and are not written.
fn note_refused(hub: &Hub, refused: &Refused, origin: Origin, client_id: &str, accepted: Duration) {
    let code = refused.refusal.code;
    hub.metrics.refusals.inc(&["connect", code.as_str()]);
    let took = hub.clock.monotonic().saturating_sub(accepted);
    hub.metrics.connect_seconds.observe(&["refused"], took.as_secs_f64());
    let mut line = Told::of(What::Connect, code.as_str(), origin.remote);
    if let Some(subject) = &refused.refusal.subject {
        hub.observer.observe_refusal(subject, code, origin.network);
        line = line.owner(&subject.tenant, &subject.device);
    }
    match refused.proved {
        true => line.client_id(client_id).tell(),
        false => line.shown_client_id(client_id).tell(),
    }
}

fn version_label(version: Version) -> &'static str {
    match version {
        Version::V311 => "3.1.1",
        Version::V5 => "5",
    }
}
