use std::sync::Arc;

use tessera_runtime::stop::Stop;
use tokio::time::MissedTickBehavior;

use crate::hub::Hub;
use crate::limits::{SESSIONS_PER_TURN, TICKET_CHECK};

/// Replaces ticket keys on time until stop is told, and tells every listening session its new secret.
pub(crate) async fn watch(hub: Arc<Hub>, stop: Stop) {
    let mut ticks = tokio::time::interval(TICKET_CHECK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut complained = false;
    loop {
        tokio::select! {
            () = stop.stopping() => return,
            _ = ticks.tick() => {}
        }
        let (now, tickets) = (hub.now().unix, Arc::clone(&hub.tickets));
        let refreshed = tokio::task::spawn_blocking(move || tickets.refresh(now)).await;
        match refreshed {
            Ok(Ok(changed)) => {
                complained = false;
                if changed {
                    hub.metrics.resumption.inc(&["key_replaced"]);
                    tell_all(&hub).await;
                }
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

async fn tell_all(hub: &Hub) {
    for (place, session) in hub.registry.all().iter().enumerate() {
        session.ask_status();
        if place % SESSIONS_PER_TURN == 0 {
            tokio::task::yield_now().await;
        }
    }
}
