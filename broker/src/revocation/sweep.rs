//! Drops the messages of revoked publishers from all queues and from the retained messages, with their rows.
//!
//! From the moment at which trust changes such a message is not delivered: each delivery asks. This pass frees its
//! memory, and makes sure that no message waits for longer than trust data remember the revocation.

use std::sync::Arc;

use tessera_runtime::stop::Stop;

use crate::hub::Hub;
use crate::limits::{REVOCATION_SWEEP, REVOCATION_SWEEP_REST, SESSIONS_PER_TURN};
use crate::message::Trusted;
use crate::metrics::qos_label;

/// Makes passes, with pauses between them, until the broker stops.
pub(crate) async fn watch(hub: Arc<Hub>, stop: Stop) {
    loop {
        tokio::select! {
            () = stop.stopping() => return,
            () = hub.revocation_sweep.notified() => {}
        }
        let began = hub.clock.monotonic();
        pass(&hub).await;
        let took = hub.clock.monotonic().saturating_sub(began);
        tokio::select! {
            () = stop.stopping() => return,
            () = tokio::time::sleep(REVOCATION_SWEEP.max(took * REVOCATION_SWEEP_REST)) => {}
        }
    }
}

async fn pass(hub: &Hub) {
    let mut messages = 0;
    for (place, session) in hub.registry.all().iter().enumerate() {
        for qos in session.drop_revoked(trusted(hub)) {
            hub.metrics.dropped.inc(&["publisher_withdrawn", qos_label(qos)]);
            messages += 1;
        }
        if place % SESSIONS_PER_TURN == 0 {
            tokio::task::yield_now().await;
        }
    }
    let retained = hub.retained.revoked(trusted(hub));
    for (tenant, topic) in &retained {
        hub.retained.remove_revoked(tenant, topic, trusted(hub));
    }
    if messages + retained.len() > 0 {
        tracing::info!(
            messages,
            retained = retained.len(),
            "waiting messages of revoked publishers dropped"
        );
    }
}

fn trusted(hub: &Hub) -> Trusted<'_> {
    Trusted::now(hub.authenticator.validator())
}
