//! Applies trust changes to live and stored sessions: ends each session whose grant was revoked, and no other.
//!
//! [`sweep`] frees the memory of messages whose publishers were revoked. Each delivery asks
//! [`crate::message::Author`], so they reach no client before that either.

pub(crate) mod sweep;

use std::sync::Arc;

use tessera_agent::trust::TrustEffect;
use tessera_runtime::stop::Stop;
use tessera_token::refusal::RefusalCode;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::broadcast::Receiver;

use crate::authorisation::revoked::revocation_of;
use crate::hub::Hub;
use crate::limits::SESSIONS_PER_TURN;
use crate::message::{Message, PublishedUnder};
use crate::session::state_machine::End;
use crate::session::Session;

/// Applies trust effects until the broker stops.
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
            let code = revocation_of(hub.authenticator.validator(), session.rights().grant())?;
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
    hub.restrict_after(effect);
    if matches!(effect, TrustEffect::Reloaded) {
        // Some may wait to hear how long this broker was away.
        hub.registry.all().iter().for_each(|session| session.wake());
    }
    hub.revocation_sweep.notify_one();
    let took = hub.clock.monotonic().saturating_sub(began);
    hub.metrics.revocation_seconds.observe(&[], took.as_secs_f64());
    if !lost.is_empty() {
        tracing::info!(
            effect = effect.kind(),
            sessions = lost.len(),
            "sessions ended by revocation"
        );
    }
}

/// Ends one session whose grant no longer holds: its connection, subscriptions, queue, will and retained messages.
pub(crate) async fn end(hub: &Arc<Hub>, session: &Arc<Session>, code: RefusalCode) {
    cut(hub, session, code);
    take_apart(hub, session, code).await;
}

fn cut(hub: &Hub, session: &Session, code: RefusalCode) {
    hub.metrics.refusals.inc(&["session", code.as_str()]);
    session.disconnect(End::revoked(code, &hub.policy));
}

async fn take_apart(hub: &Arc<Hub>, session: &Arc<Session>, code: RefusalCode) {
    let will = hub.forget(session);
    if let (Some(will), true) = (will, End::revoked(code, &hub.policy).will) {
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
        // They end no grant.
        TrustEffect::Rules(_) | TrustEffect::Restraint { .. } => Vec::new(),
    }
}
