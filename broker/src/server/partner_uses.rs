//! Tells provisioning the use of partner tokens from time to time. `drain` tells the rest.

use std::sync::Arc;

use tessera_runtime::stop::Stop;
use tokio::time::MissedTickBehavior;

use crate::hub::Hub;
use crate::limits::PARTNER_REPORT_EVERY;

/// Tells it until the broker stops.
pub(super) async fn watch(hub: Arc<Hub>, stop: Stop) {
    let mut ticks = tokio::time::interval(PARTNER_REPORT_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.stopping() => return,
            _ = ticks.tick() => {}
        }
        tokio::select! {
            () = stop.stopping() => return,
            () = hub.partners.report() => {}
        }
    }
}
