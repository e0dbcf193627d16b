//! Replaces ticket keys on time, and ends connections whose key is gone.

use std::sync::Arc;

use tessera_runtime::stop::Stop;
use tokio::time::MissedTickBehavior;

use crate::hub::Hub;
use crate::limits::{SESSIONS_PER_TURN, TICKET_CHECK};
use crate::resumption::Changed;
use crate::session::state_machine::End;
use crate::session::Session;

/// Replaces ticket keys on time until the broker stops, sends every listening session its new secret, and ends
/// connections whose key is gone.
pub(crate) async fn watch(hub: Arc<Hub>, stop: Stop) {
    let mut ticks = tokio::time::interval(TICKET_CHECK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut complained = false;
    loop {
        tokio::select! {
            () = stop.stopping() => return,
            _ = ticks.tick() => {}
        }
        let (now, tickets) = (hub.now().unix, Arc::clone(&hub.ticket_keys));
        let refreshed = tokio::task::spawn_blocking(move || tickets.refresh(now)).await;
        match refreshed {
            Ok(Ok(changed)) => {
                complained = false;
                act(&hub, changed).await;
            }
            Ok(Err(error)) => {
                hub.metrics.resumption.inc(&["key_not_replaced"]);
                if !complained {
                    tracing::error!(%error, "the ticket key could not be replaced: the old one stays");
                }
                complained = true;
            }
            // The runtime stops.
            Err(_) => return,
        }
    }
}

async fn act(hub: &Hub, changed: Changed) {
    if changed.newer {
        hub.metrics.resumption.inc(&["key_replaced"]);
    }
    if changed == Changed::default() {
        return;
    }
    let mut ended = 0;
    for (place, session) in hub.registry.all().iter().enumerate() {
        ended += usize::from(changed.withdrawn && end_with_its_key(hub, session));
        session.ask_status();
        if place % SESSIONS_PER_TURN == 0 {
            tokio::task::yield_now().await;
        }
    }
    if ended > 0 {
        tracing::info!(connections = ended, "connections ended with the ticket key behind them");
    }
}

fn end_with_its_key(hub: &Hub, session: &Session) -> bool {
    let end = End::ticket_key_withdrawn(&hub.policy);
    let ended = session.disconnect_unless(|ticket| hub.ticket_keys.accepts(ticket), end);
    if ended {
        hub.metrics.resumption.inc(&["ended"]);
    }
    ended
}
