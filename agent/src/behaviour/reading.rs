//! The time that the engine is given.

use std::sync::Arc;

use tessera_behaviour::engine::limits::LEAP_MS;
use tessera_behaviour::observation::UnixMillis;
use tessera_runtime::clock::{Clock, SharedClock};
use tessera_runtime::held::HeldClock;

/// A reading of the wall clock that goes on with monotonic time while the wall clock is set by little. A larger step is
/// passed on: the engine knows what to do about it, and the times in alerts are those of the wall clock.
pub(super) struct Reading {
    held: Arc<HeldClock>,
    last: UnixMillis,
    uptime: u64,
}

impl Reading {
    pub(super) fn new(clock: SharedClock) -> Self {
        let held = HeldClock::new(clock);
        let (last, uptime) = (held.unix_millis(), uptime(&held));
        Self { held, last, uptime }
    }

    pub(super) fn now(&mut self) -> UnixMillis {
        let (wall, uptime) = (self.held.unix_millis(), uptime(&self.held));
        let steady = self.last.saturating_add(uptime.saturating_sub(self.uptime));
        let is_leap = wall.abs_diff(steady) > LEAP_MS;
        (self.last, self.uptime) = (if is_leap { wall } else { wall.max(steady) }, uptime);
        self.last
    }
}

fn uptime(clock: &HeldClock) -> u64 {
    u64::try_from(clock.monotonic().as_millis()).unwrap_or(u64::MAX)
}
