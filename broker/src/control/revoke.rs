//! Trust effects: what was withdrawn ends in every session it touches, and nowhere else.

use std::sync::Arc;

use tessera_agent::trust::TrustEffect;
use tessera_agent::validator::Validator;
use tessera_runtime::stop::Stop;
use tessera_token::grant::Grant;
use tessera_token::refusal::RefusalCode;
use tessera_token::standing::Standing;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::broadcast::Receiver;

use crate::hub::Hub;
use crate::limits::SESSIONS_PER_TURN;
use crate::message::Message;
use crate::message::PublishedUnder;
use crate::session::machine::End;
use crate::session::Session;

/// Acts on trust effects until stop is told.
pub(crate) async fn watch(hub: Arc<Hub>, mut effects: Receiver<TrustEffect>, stop: Stop) {
    loop {
        let effect = tokio::select! {
            () = stop.stopping() => return,
            effect = effects.recv() => effect,
        };
        match effect {
            Ok(effect) => apply(&hub, &effect).await,
            Err(RecvError::Lagged(_)) => apply(&hub, &TrustEffect::Reloaded).await,
            Err(RecvError::Closed) => return,
        }
    }
}

/// Looks again at every session that the effect may touch.
pub(crate) async fn apply(hub: &Arc<Hub>, effect: &TrustEffect) {
    let began = hub.clock.monotonic();
    let lost: Vec<_> = touched(hub, effect)
        .into_iter()
        .filter_map(|session| {
            let code = withdrawn(hub.gate.validator(), session.rights().grant())?;
            cut(hub, &session, code);
            Some((session, code))
        })
        .collect();
    for (place, (session, code)) in lost.iter().enumerate() {
        take_apart(hub, session, *code).await;
        if place % SESSIONS_PER_TURN == 0 {
            tokio::task::yield_now().await;
        }
    }
    hub.withdrawn.look();
    let took = hub.clock.monotonic().saturating_sub(began);
    hub.metrics.revocation_seconds.observe(&[], took.as_secs_f64());
    if !lost.is_empty() {
        tracing::info!(effect = effect.kind(), sessions = lost.len(), "rights ended");
    }
}

/// Why no client may go on by this grant: not because the token expired, and not because the
/// broker cannot tell. A kept session waits for its device with a next token or for fresh trust data, and timers
/// end connected ones.
pub(crate) fn withdrawn(validator: &Validator, grant: &Grant) -> Option<RefusalCode> {
    match validator.still_holds(grant).err()? {
        RefusalCode::TokenExpired => validator.taken_back(&Standing::of(grant)),
        code if code.cannot_tell() => validator.taken_back(&Standing::of(grant)),
        // A key whose time has not come, or is over, by a clock that may be wrong: refused now, and not withdrawn.
        _ => validator.withdrawn(grant).or_else(|| validator.taken_back(&Standing::of(grant))),
    }
}

/// Why a session that rests on `held` must not go on with `next`. Who has a token of a later epoch was revoked in
/// between, even when the trust feed has not told so yet; and that it was, nobody can tell by `next` afterwards.
pub(crate) fn revoked_between(
    validator: &Validator,
    held: &Grant,
    next: &Grant,
) -> Option<RefusalCode> {
    withdrawn(validator, held).or_else(|| next.epochs().moved_since(held.epochs()))
}

/// Ends one session whose grant no longer holds: its connection, subscriptions, queue, will and retained messages.
pub(crate) async fn end(hub: &Arc<Hub>, session: &Arc<Session>, code: RefusalCode) {
    cut(hub, session, code);
    take_apart(hub, session, code).await;
}

fn cut(hub: &Hub, session: &Session, code: RefusalCode) {
    hub.metrics.refusals.inc(&["session", code.as_str()]);
    session.hang_up(End::withdrawn(code, &hub.policy));
}

async fn take_apart(hub: &Arc<Hub>, session: &Arc<Session>, code: RefusalCode) {
    let will = hub.forget(session);
    if let (Some(will), true) = (will, End::withdrawn(code, &hub.policy).will) {
        hub.publish_will(session, will).await;
    }
    if code != RefusalCode::TokenExpired {
        let token = PublishedUnder::of(session.rights().grant());
        let of_token = |message: &Message| message.publisher.author.token() == Some(&token);
        hub.retained.remove_of(&session.tenant, session.device.device(), of_token);
    }
}

fn touched(hub: &Hub, effect: &TrustEffect) -> Vec<Arc<Session>> {
    match effect {
        TrustEffect::Tenant(tenant) => hub.registry.of_tenant(tenant),
        TrustEffect::Group { tenant, number } => hub.registry.of_group(tenant, *number),
        TrustEffect::Device { tenant, device } | TrustEffect::Token { tenant, device, .. } => {
            hub.registry.of_device(tenant, device)
        }
        TrustEffect::Key { kid, .. } => hub.registry.of_key(*kid),
        TrustEffect::Reloaded => hub.registry.all(),
    }
}
