//! `$tessera/refresh`: push refresh. Provisioning, and nothing else, hears here of the sessions whose tokens can be
//! renewed, and hands in the next token of one of them.
//!
//! 1. The service asks for a page, and gets it as soon as something has changed, or after [`PUSH_PAGE_WAIT`].
//! 2. A pushed token passes the chain as one that its device hands in ([`super::token`]): same device, same key, not
//!    older. The peer must have proved the device's own key on this connection. A token with rights that the session has
//!    not is refused: its device may have asked for a narrow one.
//! 3. The token takes the place of the present one, and the answer goes to the device on `$tessera/token`.

use std::sync::Arc;

use bytes::Bytes;
use tessera_token::messages::{is_service_tenant, PushCall, PushPage, PushSession, TokenAnswer};
use tessera_token::refusal::RefusalCode;
use tokio::time::{sleep, timeout};

use super::{tell, token};
use crate::authorisation::ControlTopic;
use crate::hub::Hub;
use crate::limits::{PUSH_PAGE_GATHER, PUSH_PAGE_WAIT};
use crate::message::SubscriberId;
use crate::routing::Push;
use crate::session::{ConnectionHandle, Session};

/// Takes a payload that was published on `$tessera/refresh`.
pub(crate) fn submit(hub: &Arc<Hub>, session: &Arc<Session>, payload: &Bytes) {
    // The rights of the session have said so before.
    if !is_service_tenant(&session.tenant) {
        return;
    }
    match PushCall::from_cbor(payload) {
        None => hub.metrics.token_requests.inc(&["push_malformed"]),
        Some(PushCall::Begin) => {
            let all = || hub.registry.all().into_iter().map(|one| one.id);
            match hub.push.begin(session.id, all) {
                true => answer(hub, session),
                false => hub.metrics.token_requests.inc(&["push_begun"]),
            }
        }
        Some(PushCall::Next) => answer(hub, session),
        Some(PushCall::Token { session: to, answer }) => push(hub, SubscriberId(to), answer),
    }
}

/// Sends the next page when there is something in it, or when the service has waited long enough.
fn answer(hub: &Arc<Hub>, session: &Arc<Session>) {
    if !hub.push.wait(session.id) {
        return;
    }
    let (hub, session) = (Arc::clone(hub), Arc::clone(session));
    let tasks = hub.tasks.clone();
    tasks.spawn(async move {
        let _ = timeout(PUSH_PAGE_WAIT, hub.push.changed()).await;
        sleep(PUSH_PAGE_GATHER).await;
        let Some(page) = page(&hub, session.id) else { return };
        if matches!(
            tell(&session, ControlTopic::Refresh, page.to_cbor()),
            Some(Push::Full | Push::NoShare)
        ) {
            hub.metrics.found_no_room([1, 0, 0]);
        }
    });
}

fn page(hub: &Hub, listener: SubscriberId) -> Option<PushPage> {
    let changed = hub.push.take(listener)?;
    let (mut page, mut takes, mut takes_none) = (PushPage::default(), Vec::new(), Vec::new());
    for id in changed.sessions {
        match hub.registry.get(id).and_then(|session| told(&session)) {
            Some(session) => {
                takes.push(id);
                page.sessions.push(session);
            }
            None => takes_none.push(id),
        }
    }
    let gone = hub.push.tell(listener, &takes, takes_none);
    page.gone = gone.into_iter().map(|id| id.0).collect();
    page.failed = changed.failed.into_iter().map(|(id, code)| (id.0, code)).collect();
    Some(page)
}

/// A session as the service hears of it; `None` when it takes no push.
fn told(session: &Arc<Session>) -> Option<PushSession> {
    takes(session).ok()?;
    let rights = session.rights();
    let grant = rights.grant();
    Some(PushSession {
        session: session.id.0,
        tenant: grant.tenant().clone(),
        device: grant.device().clone(),
        token: grant.token_hash(),
        issued: grant.issued(),
        expires: grant.expires(),
    })
}

/// The connection on which the token of this session can be renewed by a push.
fn takes(session: &Arc<Session>) -> Result<Arc<ConnectionHandle>, RefusalCode> {
    let handle = session.served_by().ok_or(RefusalCode::NotFound)?;
    if is_service_tenant(&session.tenant) || session.has_ended() {
        return Err(RefusalCode::NotFound);
    }
    if !handle.has_proved_own_key() || session.rights().grant().derived_by().is_some() {
        return Err(RefusalCode::KeyNotProved);
    }
    match session.look(|machine| machine.control(ControlTopic::Token)) {
        Some(_) => Ok(handle),
        None => Err(RefusalCode::NotFound),
    }
}

fn push(hub: &Arc<Hub>, to: SubscriberId, answer: Vec<u8>) {
    let Some(permit) = hub.push.permit() else {
        hub.metrics.limits_hit.inc(&["pushes"]);
        return hub.push.failed(to, RefusalCode::LimitReached);
    };
    let hub = Arc::clone(hub);
    let tasks = hub.tasks.clone();
    tasks.spawn(async move {
        match hand_over(&hub, to, answer).await {
            Ok(()) => hub.metrics.token_requests.inc(&["pushed"]),
            Err(code) => {
                hub.metrics.token_requests.inc(&[code.as_str()]);
                hub.push.failed(to, code);
            }
        }
        drop(permit);
    });
}

async fn hand_over(hub: &Arc<Hub>, to: SubscriberId, bytes: Vec<u8>) -> Result<(), RefusalCode> {
    let session = hub.registry.get(to).ok_or(RefusalCode::NotFound)?;
    let handle = takes(&session)?;
    let answer = TokenAnswer::from_cbor(&bytes).map_err(|_| RefusalCode::RequestMalformed)?;
    if answer.bearer || answer.key.is_some() {
        return Err(RefusalCode::BearerNotAllowed);
    }
    let held = session.rights();
    let grant = hub.authenticator.validator().renew(&answer.access_token, held.grant());
    let grant = grant.map_err(|refusal| refusal.code)?;
    if !grant.scope().within(held.grant().scope()) {
        return Err(RefusalCode::ScopeNotAllowed);
    }
    token::replace(hub, &session, &handle, held.grant(), grant).await?;
    // Its present token is valid at the session, and the device asks for the next one when it does not hear of it.
    if matches!(tell(&session, ControlTopic::Token, bytes), Some(Push::Full | Push::NoShare)) {
        hub.metrics.found_no_room([0, 1, 0]);
    }
    session.ask_status();
    Ok(())
}
