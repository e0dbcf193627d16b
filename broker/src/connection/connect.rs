//! CONNECT: its steps, in their order. The first that does not pass ends the list.
//!
//! 1. The handshakes of the transport (`transport/acceptor.rs`).
//! 2. The CONNECT, bounded in bytes and time ([`read_connect`]). A socket that was told to make room is closed here.
//! 3. A CONNECT without any credential publishes tokens to `authz-info` and ends ([`authz_info_only`]). One with a claim
//!    code enrols its device and ends ([`enrol_only`]). Neither becomes a session ([`super::without_session`]).
//! 4. The credentials: a password, the key of the TLS handshake, or the answer to a challenge ([`credentials`]). A
//!    refusal of this step waits for steps 5 and 6.
//! 5. The client id is not empty.
//! 6. The client takes a packet of the size of its CONNACK.
//! 7. Authentication: the guards of the token, then the proof is used up ([`crate::authentication`]).
//! 8. The will is authorised, and no restriction keeps the client out ([`crate::guard`]).
//! 9. The session is resumed, or a new one takes its place ([`open_session`]).
//! 10. The grant still holds: a revocation that came in since step 7 found no session to end.
//! 11. The ticket key of a resumption secret is still accepted, for the same reason.
//! 12. The CONNACK, as the first packet of the connection ([`super::serve`]).
//!
//! Until step 7 has passed, nothing that is stored is read. So a failed CONNECT changes nothing, and the holder of the
//! client id is not disturbed. A refusal of steps 4 to 11 is answered by [`Refused::answer`].

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tessera_agent::behaviour::{Network, NewConnection, Observation};
use tessera_token::chain::Admission;
use tessera_token::grant::Grant;
use tessera_token::ids::ClientId;
use tessera_token::refusal::RefusalCode;
use tessera_token::trust::Step;

use super::fingerprint;
use super::open_session::{self, Joined};
use super::refuse::Refused;
use super::serve::Connection;
use super::{
    authz_info_only, credentials, enhanced_auth, enrol_only, note_broken, partner, read_connect,
    Origin, Place,
};
use crate::admission::SocketPermit;
use crate::authentication::Evidence;
use crate::authorisation::Rights;
use crate::codec::{ConnAck, Connect, Packet, ReasonCode, Recipient, Version};
use crate::guard::connect::Channel;
use crate::hub::Hub;
use crate::message::SubscriberId;
use crate::partners::PartnerUse;
use crate::refusals::{Refusal, Remote, What};
use crate::session::state_machine::{check_will, told, Context};
use crate::session::{ChannelSecurity, ConnectionHandle, Session, Shown};
use crate::transport::acceptor::{Acceptor, Incoming};
use crate::transport::Stream;

/// Runs the steps. `None` when the connection is closed.
pub(super) async fn connect(
    hub: Arc<Hub>,
    acceptor: Acceptor,
    incoming: Incoming,
    peer: IpAddr,
    mut place: Place,
) -> Option<Box<Connection>> {
    let accepted = hub.clock.monotonic();
    let remote = acceptor.remote(peer);
    let network = Network::Address(peer.to_canonical());
    let origin = Origin { remote, network, prefix: place.permit.prefix() };
    let call = place.permit.call()?;
    let mut inbox = BytesMut::new();
    /* 1, 2 */
    let first = tokio::select! {
        biased;
        () = call.notified() => None,
        first = first_packet(&hub, &acceptor, incoming, &mut inbox, &mut place.permit, remote) => Some(first?),
    };
    let Some((mut stream, connect)) = first.filter(|_| place.permit.judged()) else {
        hub.metrics.turned_away.inc(&["made_room"]);
        Refusal::of(What::Connection, "made_room", remote).tell();
        return None;
    };
    /* 3 */
    if authz_info_only::is_anonymous(&hub, &stream, &connect) {
        let prefix = place.permit.prefix();
        if Box::pin(authz_info_only::serve(&hub, stream, &mut inbox, &connect, prefix, remote))
            .await
        {
            place.permit.mark_not_at_fault();
        }
        return None;
    }
    if enrol_only::is_meant(&hub, &connect) {
        // A balancer on this machine may name a peer that is not.
        let is_local = acceptor.is_local && peer.to_canonical().is_loopback();
        let private = stream.is_encrypted() || is_local;
        let of = enrol_only::Circumstances { origin, accepted, private };
        let permit = &mut place.permit;
        Box::pin(enrol_only::serve(&hub, stream, &mut inbox, &connect, of, permit)).await;
        return None;
    }
    /* 4 to 11 */
    let permit = &mut place.permit;
    let join = join(&hub, &mut stream, &mut inbox, connect, origin, accepted, permit);
    // Boxed: a socket from which no CONNECT has come pays no room for it.
    let joined = Box::pin(join).await?;
    /* 12 */
    place.permit.connected(&joined.session.rights().grant().token_hash());
    stream.authenticated(hub.policy.max_packet);
    Some(Box::new(Connection::new(hub, stream, joined, inbox, place)))
}

/// Steps 1 and 2: opens the stream of an incoming connection and reads its CONNECT; `None` closes it.
async fn first_packet(
    hub: &Hub,
    acceptor: &Acceptor,
    incoming: Incoming,
    inbox: &mut BytesMut,
    permit: &mut SocketPermit,
    remote: Remote,
) -> Option<(Stream, Connect)> {
    match acceptor.open(incoming, remote.address, permit).await {
        Ok(mut stream) => {
            let connect = read_connect::connect(hub, &mut stream, inbox, permit, remote).await?;
            Some((stream, connect))
        }
        Err(broken) => {
            note_broken(hub, remote, &broken);
            None
        }
    }
}

/// Steps 4 to 11, and the answer to a client that is refused.
async fn join(
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
    // For the mark of a credential that is refused.
    let password = connect.password.clone();
    /* 4 */
    let evidence =
        credentials::evidence(hub, stream, inbox, &mut connect, prefix, origin.remote).await?;
    let (remote, suspect) = (origin.remote, permit.is_suspect());
    let from = partner::From { security, remote, prefix, suspect, tls: stream.tls_version() };
    match authenticate_and_open(hub, &connect, evidence, from).await {
        Ok(joined) => {
            note_connected(hub, &joined, &connect, origin.network, accepted);
            Some(joined)
        }
        Err(refused) => {
            if refused.refusal.code.is_of_the_server() {
                permit.mark_not_at_fault();
            }
            connect.password = password;
            refused.answer(hub, stream, &connect, origin, (accepted, began)).await;
            None
        }
    }
}

async fn authenticate_and_open(
    hub: &Arc<Hub>,
    connect: &Connect,
    evidence: Result<Evidence, RefusalCode>,
    from: partner::From,
) -> Result<Joined, Refused> {
    /* 5 */
    has_client_id(connect)?;
    /* 6 */
    takes_the_connack(hub, connect)?;
    let evidence = evidence.map_err(Refused::unproved)?;
    /* 7 */
    let let_in = authenticate(hub, evidence, &connect.client_id, from).await;
    let (admission, shown, counters) = let_in.map_err(Refused::unproved)?;
    if admission.resumed.is_some() {
        hub.metrics.resumption.inc(&["accepted"]);
    }
    let handle = ConnectionHandle::new(from.security, shown, from.remote, counters);
    let Admission { grant, client_id, resumed, .. } = admission;
    let refused = |code| Refused::proved(code, &grant);
    /* 8 */
    will_allowed(hub, connect, &grant).map_err(refused)?;
    unrestricted(hub, connect, &grant, &client_id, &handle, from).map_err(refused)?;
    /* 9 */
    let opened = open_session::open(hub, connect, &client_id, &grant, handle).await;
    let joined = opened.map_err(refused)?;
    /* 10 */
    open_session::still_holds(hub, &joined, &grant).await.map_err(refused)?;
    /* 11 */
    open_session::ticket_key_accepted(hub, &joined, resumed).await.map_err(refused)?;
    Ok(joined)
}

/// The client that is let in, the proof that it has shown on this connection, and the counters of its partner token.
async fn authenticate(
    hub: &Hub,
    evidence: Evidence,
    client_id: &str,
    from: partner::From,
) -> Result<(Admission, Shown, Option<Arc<PartnerUse>>), tessera_token::chain::Refusal> {
    if let Evidence::Partner(token) = &evidence {
        let (admission, counters) = partner::admit(hub, token, client_id, from).await?;
        // It has shown no key, so nothing is renewed on this connection.
        return Ok((admission, Shown::Nothing, counters));
    }
    let asker = from.asker(hub.clock.monotonic());
    let admission = hub.authenticator.admit(evidence, client_id, asker).await?;
    let shown = Shown::by(&admission);
    Ok((admission, shown, None))
}

/// No name is assigned here: a client id is bound to its token [MQTT-3.1.3-8].
fn has_client_id(connect: &Connect) -> Result<(), Refused> {
    match connect.client_id.is_empty() {
        false => Ok(()),
        true => {
            Err(Refused::unproved(RefusalCode::ClientIdInvalid)
                .with(ReasonCode::CLIENT_ID_NOT_VALID))
        }
    }
}

/// Asked before anything is changed for the client.
fn takes_the_connack(hub: &Hub, connect: &Connect) -> Result<(), Refused> {
    let to = Recipient::of(connect);
    if to.takes_all() {
        return Ok(());
    }
    let granted = told(connect, &hub.policy);
    let properties = match credentials::method(connect) {
        Some(method) => enhanced_auth::echo(&granted, method),
        None => granted,
    };
    let ack = ConnAck { session_present: true, reason: ReasonCode::SUCCESS, properties };
    match to.can_be_told(&Packet::ConnAck(ack)) {
        true => Ok(()),
        false => {
            Err(Refused::unproved(RefusalCode::RequestMalformed).with(ReasonCode::PACKET_TOO_LARGE))
        }
    }
}

fn will_allowed(hub: &Hub, connect: &Connect, grant: &Grant) -> Result<(), RefusalCode> {
    if connect.will.is_none() {
        return Ok(());
    }
    let now = hub.now();
    let rights = Rights::new(grant.clone());
    let session = SubscriberId(0);
    let cx = Context::at(&rights, hub.context(), session, now);
    check_will(connect, cx).map(drop)
}

/// Asks the rules about the CONNECT, and whether the device has to prove its key anew.
fn unrestricted(
    hub: &Hub,
    connect: &Connect,
    grant: &Grant,
    client_id: &ClientId,
    handle: &ConnectionHandle,
    from: partner::From,
) -> Result<(), RefusalCode> {
    let Some(guard) = hub.guard(grant, client_id, handle) else { return Ok(()) };
    let now = hub.now().unix;
    let has_proved = handle.has_proved_key();
    if guard.hold().is(Step::StepUp, now) && !has_proved {
        return Err(RefusalCode::StepUpRequired);
    }
    let channel = Channel { transport: from.remote.transport, tls: from.tls };
    let ruling = guard.connect(connect, channel, now);
    let told = ruling.told.as_deref();
    let is_held = told.is_none_or(|told| hub.follow_rule(grant.tenant(), grant.device(), told));
    match ruling.refusal {
        // It is let in, and reaches its own topics alone.
        Some(RefusalCode::Quarantined) if is_held => Ok(()),
        // The proof of this CONNECT is the fresh one.
        Some(RefusalCode::StepUpRequired) if has_proved => Ok(()),
        Some(code) => Err(code),
        None => Ok(()),
    }
}

fn note_connected(
    hub: &Hub,
    joined: &Joined,
    connect: &Connect,
    network: Network,
    accepted: Duration,
) {
    let took = hub.clock.monotonic().saturating_sub(accepted);
    hub.metrics.connect_seconds.observe(&["accepted"], took.as_secs_f64());
    let resumed = if joined.ack.session_present { "resumed" } else { "new" };
    hub.metrics.connects.inc(&[version_label(connect.version), resumed]);
    if let Some(partner) = joined.handle.partner() {
        partner.connected();
    }
    let session: &Session = &joined.session;
    let rights = session.rights();
    let new = NewConnection {
        client: session.client_id.as_str(),
        keep_alive: connect.keep_alive,
        fingerprint: fingerprint::of(connect),
        ..NewConnection::of(rights.grant(), network)
    };
    joined.handle.observed_as(hub.observer.connected(&session.device, &new));
    note_held(hub, session, connect);
    tracing::debug!(tenant = %session.tenant, client = %session.client_id, "connected");
}

/// Tells the inventory of topics which rights the session uses without a packet.
fn note_held(hub: &Hub, session: &Session, connect: &Connect) {
    if let Some(will) = &connect.will {
        let will = Observation::Holds { subscribed: false, topic: &will.topic };
        hub.observer.observe(&session.device, will);
    }
    session.look(|machine| {
        for held in machine.subscriptions() {
            let topic = held.subscription.filter.as_str();
            hub.observer.observe(&session.device, Observation::Holds { subscribed: true, topic });
        }
    });
}

fn version_label(version: Version) -> &'static str {
    match version {
        Version::V311 => "3.1.1",
        Version::V5 => "5",
    }
}
