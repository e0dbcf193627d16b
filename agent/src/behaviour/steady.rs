use std::sync::Arc;

use tessera_runtime::clock::{Clock, SharedClock};
use tessera_runtime::held::HeldClock;
use tessera_token::time::UnixSeconds;

/// The time by which windows, cool-downs and episodes go: it goes on with monotonic time, follows the wall clock when
/// that goes ahead, and does not go back with it. Only hours and days of activity need it to be near the wall clock.
pub(super) struct Steady {
    held: Arc<HeldClock>,
    /// Steady time at monotonic time 0, in milliseconds.
    base: i64,
}

impl Steady {
    pub(super) fn new(clock: SharedClock) -> Self {
        let held = HeldClock::new(clock);
        let base = wall(&held).saturating_sub(uptime(&held));
        Self { held, base }
    }

    pub(super) fn now_ms(&mut self) -> u64 {
        let (wall, uptime) = (wall(&self.held), uptime(&self.held));
        self.base = self.base.max(wall.saturating_sub(uptime));
        u64::try_from(self.base.saturating_add(uptime)).unwrap_or(0)
    }

    /// Words of an alert.
    pub(super) fn wall(&self) -> UnixSeconds {
        self.held.unix()
    }
}

fn wall(clock: &HeldClock) -> i64 {
    i64::try_from(clock.unix_millis()).unwrap_or(i64::MAX)
}

fn uptime(clock: &HeldClock) -> i64 {
    i64::try_from(clock.monotonic().as_millis()).unwrap_or(i64::MAX)
}
