//! Expiry, keep-alive, will delay and session expiry: one task looks at what is due.

use std::sync::Arc;

use tessera_runtime::stop::Stop;
use tokio::time::MissedTickBehavior;

use crate::hub::Hub;
use crate::limits::{RETAINED_SWEEP, TICK};
use crate::session::state_machine::End;
use crate::session::{Due, Session};

/// Looks at deadlines until the broker stops.
pub(crate) async fn watch(hub: Arc<Hub>, stop: Stop) {
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.stopping() => return,
            _ = ticks.tick() => pass(&hub).await,
        }
    }
}

/// Handles everything that is due now.
pub(crate) async fn pass(hub: &Arc<Hub>) {
    // Without trust data no client is served, and stored sessions cannot be judged.
    if hub.authenticator.validator().trust_age().is_none() {
        return;
    }
    hub.settle();
    hub.note_witnessed_time();
    let now = hub.now();
    for (at, id) in hub.timers.due(now.monotonic) {
        let Some(session) = hub.registry.get(id) else { continue };
        match session.due(at, now) {
            Due::Later(_) if untold(hub, &session) => {}
            Due::Later(_) => hub.schedule(&session, now),
            Due::Told | Due::Nothing => {}
            Due::Will(will) => {
                hub.schedule(&session, now);
                hub.publish_will(&session, will).await;
            }
            Due::Over => over(hub, &session).await,
        }
    }
    // A clock that may be wrong deletes nothing for good. Expired messages reach no reader all the same.
    if hub.authenticator.validator().time_is_settled() {
        hub.retained.sweep(now.unix, RETAINED_SWEEP);
    }
}

/// Ends a connected session when the broker cannot tell any more if its rights hold. Each is asked when its own timer
/// rings, at the latest after [`crate::limits::DEADLINE_CHECK`]: those of a whole broker do not end in one moment.
fn untold(hub: &Hub, session: &Session) -> bool {
    let Err(code) = hub.authenticator.validator().can_tell(session.rights().grant()) else {
        return false;
    };
    let ended = session.disconnect(End::untold(code));
    if ended {
        hub.metrics.refusals.inc(&["session", code.as_str()]);
    }
    ended
}

/// A will that still waits is published when its session ends (MQTT 5 section 3.1.3.2.2).
async fn over(hub: &Arc<Hub>, session: &Arc<Session>) {
    if let Some(will) = hub.forget(session) {
        hub.publish_will(session, will).await;
    }
}
