//! `$tessera/token`: a device asks for its next token, or hands in one that it has.
//!
//! 0. Only a connection on which the peer proved the key of its device renews anything, and only while it serves the
//!    session: a bearer token or a resumption secret alone renews nothing, and is good until it ends.
//! 1. A token request is compared with the session (tenant, device) and carried to provisioning as it came.
//! 2. The answer goes to the session on the same topic, when it listens. A symmetric key in it is sealed to the signer
//!    of the request; an answer that others could read goes no further. A bearer token passes no queue, so that no
//!    other connection of the session tells it.
//! 3. The new token passes the chain and takes the place of the old one: new expiry, subscriptions outside the new
//!    scope end, the connection goes on. An outage of provisioning ends nothing.

use std::sync::atomic::Ordering;
use std::sync::Arc;

use bytes::Bytes;
use tessera_agent::behaviour::Observation;
use tessera_runtime::secret::Secret;
use tessera_token::ace::Answer as Proof;
use tessera_token::chain::Refusal;
use tessera_token::grant::Grant;
use tessera_token::messages::{AceError, MessageError, RefusalAnswer, TokenKind, TokenRequest};
use tessera_token::refusal::RefusalCode;
use tokio::sync::OwnedSemaphorePermit;

use super::tell;
use crate::authorisation::revoked;
use crate::authorisation::ControlTopic;
use crate::hub::Hub;
use crate::refusals::What;
use crate::relay::Answer;
use crate::revocation;
use crate::routing::Push;
use crate::session::state_machine::End;
use crate::session::{ConnectionHandle, Session, Shown};

/// The first bytes of every token (RFC 9770 form).
const TOKEN_START: [u8; 4] = [0xd8, 0x3d, 0xd2, 0x84];

/// Takes a payload that was published on `$tessera/token`.
pub(crate) fn submit(
    hub: &Arc<Hub>,
    session: &Arc<Session>,
    handle: &Arc<ConnectionHandle>,
    payload: Bytes,
) {
    // Before the rate, which is the device's: a connection that has not proved the key takes nothing of it.
    if !handle.has_proved_key() {
        let code = RefusalCode::KeyNotProved;
        return refuse(hub, session, handle, AceError::InvalidGrant, code);
    }
    if !hub.relay.admits(&session.tenant, session.device.device(), hub.now().monotonic) {
        hub.metrics.limits_hit.inc(&["token_requests_per_device"]);
        let code = RefusalCode::RateLimited;
        return refuse(hub, session, handle, AceError::InvalidRequest, code);
    }
    let Some(turn) = Turn::take(hub, session) else {
        hub.metrics.limits_hit.inc(&["token_requests"]);
        let code = RefusalCode::LimitReached;
        return refuse(hub, session, handle, AceError::InvalidRequest, code);
    };
    let (hub, session, handle) = (Arc::clone(hub), Arc::clone(session), Arc::clone(handle));
    let tasks = hub.tasks.clone();
    tasks.spawn(async move {
        let told = match payload.starts_with(&TOKEN_START) {
            true => hand_in(&hub, &session, &handle, &payload).await,
            false => ask(&hub, &session, &handle, &payload).await,
        };
        // Before the answer: who has it may ask again.
        drop(turn);
        told.tell(&hub, &session, &handle);
    });
}

/// How a request ends.
enum Told {
    /// The token that was handed in is installed.
    Installed,
    /// A token, which is installed where the peer has proved the key of its device.
    Token(Vec<u8>),
    /// A bearer token, which is as good as a key and passes no queue.
    Aside(Secret<Vec<u8>>),
    /// A refusal by provisioning, and its code.
    Refusal(Vec<u8>, RefusalCode),
    /// A refusal by the broker.
    Refused(AceError, RefusalCode),
}

impl Told {
    fn tell(self, hub: &Hub, session: &Session, handle: &ConnectionHandle) {
        match self {
            Self::Installed => session.ask_status(),
            Self::Token(bytes) => {
                answer(hub, session, bytes);
                session.ask_status();
            }
            Self::Aside(secret) => handle.tell_aside(secret),
            Self::Refusal(bytes, code) => {
                session.refusal(handle, What::Token, code.as_str()).tell();
                answer(hub, session, bytes);
            }
            Self::Refused(error, code) => refuse(hub, session, handle, error, code),
        }
    }
}

/// One request of one session at a time, and a bounded number in total.
struct Turn {
    session: Arc<Session>,
    _permit: OwnedSemaphorePermit,
}

impl Turn {
    fn take(hub: &Hub, session: &Arc<Session>) -> Option<Self> {
        let permit = hub.relay.permit()?;
        let busy = session.token_request.swap(true, Ordering::AcqRel);
        (!busy).then(|| Self { session: Arc::clone(session), _permit: permit })
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.session.token_request.store(false, Ordering::Release);
    }
}

async fn ask(
    hub: &Arc<Hub>,
    session: &Arc<Session>,
    handle: &Arc<ConnectionHandle>,
    payload: &[u8],
) -> Told {
    let request = match TokenRequest::from_cbor(payload) {
        Ok(request) => request,
        Err(error) => return malformed(hub, &error),
    };
    if request.tenant != session.tenant || &request.device != session.device.device() {
        return Told::Refused(AceError::UnauthorizedClient, RefusalCode::ClientIdMismatch);
    }
    if request.kind == TokenKind::Symmetric && request.answer_key.is_none() {
        return Told::Refused(AceError::InvalidRequest, RefusalCode::ChannelInClear);
    }
    match hub.relay.exchange(payload.to_vec()).await {
        Answer::Given(answer, _) if answer.key.is_some() => {
            Told::Refused(AceError::InvalidRequest, RefusalCode::ChannelInClear)
        }
        Answer::Given(answer, _) if answer.bearer && !handle.has_proved_own_key() => {
            Told::Refused(AceError::InvalidGrant, RefusalCode::KeyNotProved)
        }
        Answer::Given(answer, bytes) => {
            // A request that was seen in clear is answered again: only its signer has the key that signs anew, and a
            // symmetric key is that of one token.
            let outcome = match handle.has_proved_own_key() {
                true => {
                    let held = session.rights();
                    let validator = hub.authenticator.validator();
                    let grant = validator.renew_as_issued(&answer.access_token, held.grant());
                    let installed = install(hub, session, handle, held.grant(), grant).await;
                    installed.map_or_else(RefusalCode::as_str, |()| "installed")
                }
                false => "told",
            };
            hub.metrics.token_requests.inc(&[outcome]);
            // A bearer token is as good as a key.
            match answer.bearer {
                true => Told::Aside(Secret::new(bytes)),
                false => Told::Token(bytes),
            }
        }
        Answer::Refusal(bytes, code) => {
            // The rates of the service are those of many devices.
            if code != RefusalCode::RateLimited {
                observe(hub, session, code);
            }
            hub.metrics.token_requests.inc(&["refused"]);
            Told::Refusal(bytes, code)
        }
        Answer::Away => Told::Refused(AceError::InvalidRequest, RefusalCode::NotReady),
    }
}

/// The refusal of a malformed request, with the fault and its place, as provisioning words it.
fn malformed(hub: &Hub, error: &MessageError) -> Told {
    let code = RefusalCode::RequestMalformed;
    hub.metrics.token_requests.inc(&[code.as_str()]);
    let answer = RefusalAnswer::new(AceError::InvalidRequest, code, hub.now().unix);
    Told::Refusal(answer.because(&error.to_string()).to_cbor(), code)
}

async fn hand_in(
    hub: &Arc<Hub>,
    session: &Arc<Session>,
    handle: &Arc<ConnectionHandle>,
    token: &[u8],
) -> Told {
    // Bytes of a token are no secret: the key of a former one is not worth the next.
    if !handle.has_proved_own_key() {
        return Told::Refused(AceError::InvalidGrant, RefusalCode::KeyNotProved);
    }
    let held = session.rights();
    let grant = hub.authenticator.validator().renew(token, held.grant());
    match install(hub, session, handle, held.grant(), grant).await {
        Ok(()) => {
            hub.metrics.token_requests.inc(&["installed"]);
            Told::Installed
        }
        Err(code) => Told::Refused(AceError::InvalidGrant, code),
    }
}

/// Puts the grant of a further token in the place of the present one.
async fn install(
    hub: &Arc<Hub>,
    session: &Arc<Session>,
    handle: &Arc<ConnectionHandle>,
    held: &Grant,
    grant: Result<Grant, Refusal>,
) -> Result<(), RefusalCode> {
    replace(hub, session, handle, held, grant.map_err(|refusal| refusal.code)?).await
}

/// The same for a token by which the peer re-authenticates (RFC 9431): a fresh answer proves its key again.
///
/// # Errors
/// The fault of the token or of the answer; the session goes on as it was, unless its rights have ended.
pub(crate) async fn reauthenticate(
    hub: &Arc<Hub>,
    session: &Arc<Session>,
    handle: &Arc<ConnectionHandle>,
    token: &[u8],
    answer: &Proof,
) -> Result<(), RefusalCode> {
    let held = session.rights();
    let grant = hub.authenticator.validator().reauthenticate(
        token,
        held.grant(),
        answer,
        session.client_id.as_str(),
    );
    let shown = grant.as_ref().ok().map(Shown::by_key_of);
    install(hub, session, handle, held.grant(), grant).await?;
    shown.into_iter().for_each(|shown| handle.set_shown(shown, hub.now().unix));
    hub.restrict(session, handle);
    // Only now it shows that a push can renew this session: a page that was made since the token was installed has missed it.
    hub.push.note(session.id);
    Ok(())
}

/// Puts a grant in the place of the present one.
///
/// # Errors
/// The fault; the session goes on as it was, unless its rights have ended.
pub(super) async fn replace(
    hub: &Arc<Hub>,
    session: &Arc<Session>,
    handle: &Arc<ConnectionHandle>,
    held: &Grant,
    grant: Grant,
) -> Result<(), RefusalCode> {
    let validator = hub.authenticator.validator();
    if session.has_ended() {
        return Err(RefusalCode::NotReady);
    }
    if let Some(code) = revoked::revoked_between(validator, held, &grant) {
        revocation::end(hub, session, code).await;
        return Err(code);
    }
    let narrower = !held.scope().within(grant.scope());
    // Another connection that has taken over goes on with its own proof and its own token.
    let held = hub.registry.renew_on(session, grant.clone(), handle)?;
    if narrower {
        narrow(hub, session, &grant).await;
    }
    hub.restrict(session, handle);
    hub.push.note(session.id);
    hub.schedule(session, hub.now());
    // A revocation that came in since the token was judged found the old grant, or looked at neither.
    let ended = revoked::revocation_of(validator, held.grant());
    match ended.map_or_else(|| validator.still_holds(&grant), Err) {
        Ok(()) => Ok(()),
        Err(code) if code.cannot_tell() => {
            session.disconnect(End::untold(code));
            Err(code)
        }
        Err(code) => {
            revocation::end(hub, session, code).await;
            Err(code)
        }
    }
}

async fn narrow(hub: &Arc<Hub>, session: &Arc<Session>, grant: &Grant) {
    let lost = session.narrow();
    hub.unsubscribe(session, &lost).await;
    if session.look(|machine| machine.control(ControlTopic::Alerts)).is_none() {
        hub.alerts.remove(session);
    }
    // Retained messages on topics that the new scope does not allow are removed.
    let scope = grant.scope();
    let gone = hub
        .retained
        .remove_of(grant.tenant(), grant.device(), |one| !scope.may_publish(&one.topic));
    tracing::info!(client = %session.client_id, subscriptions = lost.len(), retained = gone, "scope narrowed");
}

/// A refused request is behaviour, unless the service or its bounds are the cause.
fn observe(hub: &Hub, session: &Session, code: RefusalCode) {
    if !code.is_of_the_server() {
        hub.observer.observe(&session.device, Observation::RequestRefused { code });
    }
}

fn refuse(
    hub: &Hub,
    session: &Session,
    handle: &ConnectionHandle,
    error: AceError,
    code: RefusalCode,
) {
    observe(hub, session, code);
    hub.metrics.token_requests.inc(&[code.as_str()]);
    session.refusal(handle, What::Token, code.as_str()).tell();
    let told = RefusalAnswer::new(error, code, hub.now().unix);
    answer(hub, session, told.to_cbor());
}

/// Tells a session that listens; an answer that finds no room is lost like any message.
fn answer(hub: &Hub, session: &Session, bytes: Vec<u8>) {
    if matches!(tell(session, ControlTopic::Token, bytes), Some(Push::Full | Push::NoShare)) {
        hub.metrics.found_no_room([0, 1, 0]);
    }
}
