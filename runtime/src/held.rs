//! A wall clock whose jumps are believed only when they last.
//!
//! While wall time and monotonic time go on together, the wall clock is what it says. When they part by more than
//! [`CLOCK_STEP_MILLIS`], time goes on from where it was, by monotonic time, until the clock has stayed in its new place
//! for [`CLOCK_HELD`]. So a clock that is wrong for seconds moves nothing, and one that was mended counts soon. A place
//! before this program was released is never believed.
//!
//! Monotonic time stands still while a machine sleeps (CLOCK_MONOTONIC of Linux; the standard library has no other). The
//! first [`CLOCK_HELD`] after a sleep therefore still have the time of before.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tessera_token::time::UnixSeconds;

use crate::clock::{Clock, SharedClock};
use crate::limits::{CLOCK_HELD, CLOCK_STEP_MILLIS, RELEASED_SECONDS};

/// The clock that is handed around in the place of the one of the system.
pub struct HeldClock {
    clock: SharedClock,
    state: Mutex<State>,
}

struct State {
    /// Believed wall time at monotonic time 0, in milliseconds. Below 0 when the clock says less than the process is old.
    base: i64,
    jump: Option<Seen>,
}

/// A jump that is not believed yet.
#[derive(Clone, Copy)]
struct Seen {
    since: Duration,
    /// Milliseconds that the wall clock is ahead of the time that is believed; negative when it is behind.
    ahead: i64,
}

impl HeldClock {
    /// Believes what the clock says now.
    pub fn new(clock: SharedClock) -> Arc<Self> {
        let base = millis(clock.unix_millis()).saturating_sub(uptime(clock.monotonic()));
        Arc::new(Self { clock, state: Mutex::new(State { base, jump: None }) })
    }

    /// Seconds by which the wall clock is ahead of the time that is believed; negative when it is behind, 0 when the two
    /// agree.
    pub fn ahead_seconds(&self) -> i64 {
        self.look();
        self.state.lock().jump.map_or(0, |jump| jump.ahead / 1000)
    }

    fn look(&self) -> i64 {
        let (wall, monotonic) = (millis(self.clock.unix_millis()), self.clock.monotonic());
        self.state.lock().look(wall, monotonic)
    }
}

impl State {
    fn look(&mut self, wall: i64, monotonic: Duration) -> i64 {
        let expected = self.base.saturating_add(uptime(monotonic));
        let ahead = wall.saturating_sub(expected);
        if ahead.unsigned_abs() <= CLOCK_STEP_MILLIS {
            if let Some(jump) = self.jump.take() {
                tracing::info!(
                    ahead_ms = jump.ahead,
                    "the clock is back at the time before its jump"
                );
            }
            self.base = wall.saturating_sub(uptime(monotonic));
            return wall;
        }
        let same = self.jump.filter(|jump| jump.ahead.abs_diff(ahead) <= CLOCK_STEP_MILLIS);
        let Some(jump) = same else {
            tracing::error!(
                ahead_ms = ahead,
                "the clock jumped, and the new time is not accepted yet: check the clock"
            );
            self.jump = Some(Seen { since: monotonic, ahead });
            return expected;
        };
        let possible = wall >= millis(RELEASED_SECONDS.saturating_mul(1000));
        if !possible || monotonic.saturating_sub(jump.since) < CLOCK_HELD {
            return expected;
        }
        tracing::warn!(ahead_ms = ahead, "the clock kept its new time: the new time is accepted");
        self.jump = None;
        self.base = wall.saturating_sub(uptime(monotonic));
        wall
    }
}

impl Clock for HeldClock {
    fn unix(&self) -> UnixSeconds {
        UnixSeconds::new(self.unix_millis() / 1000)
    }

    fn unix_millis(&self) -> u64 {
        u64::try_from(self.look()).unwrap_or(0)
    }

    fn monotonic(&self) -> Duration {
        self.clock.monotonic()
    }
}

fn millis(wall: u64) -> i64 {
    i64::try_from(wall).unwrap_or(i64::MAX)
}

fn uptime(monotonic: Duration) -> i64 {
    i64::try_from(monotonic.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    const NOW: u64 = 1_800_000_000;
    const DAY: i64 = 24 * 3600;

    fn at(seconds: u64) -> UnixSeconds {
        UnixSeconds::new(seconds)
    }

    fn pass(clock: &ManualClock, held: &HeldClock, seconds: u64) {
        for _ in 0..seconds {
            clock.advance(Duration::from_secs(1));
            held.unix();
        }
    }

    #[test]
    fn a_wrong_reading_of_13_seconds_moves_nothing() {
        for jump in [7200, 40 * DAY, 365 * DAY, -DAY, -1_800_000_000] {
            let clock = ManualClock::at(at(NOW));
            let held = HeldClock::new(clock.clone());
            pass(&clock, &held, 100);
            clock.set_unix(at((NOW + 100).saturating_add_signed(jump)));
            assert_eq!(held.unix(), at(NOW + 100), "{jump}");
            assert_eq!(held.ahead_seconds(), jump);
            pass(&clock, &held, 13);
            assert_eq!(held.unix(), at(NOW + 113));
            clock.set_unix(at(NOW + 113));
            assert_eq!((held.unix(), held.ahead_seconds()), (at(NOW + 113), 0));
        }
    }

    #[test]
    fn a_clock_that_stays_is_believed_within_half_a_minute_and_again_when_it_is_mended() {
        let clock = ManualClock::at(at(NOW));
        let held = HeldClock::new(clock.clone());
        for place in [NOW + 7200, NOW, NOW - 86_400, NOW] {
            clock.set_unix(at(place));
            let before = held.unix();
            pass(&clock, &held, 29);
            assert_eq!(held.unix(), before.plus(29));
            pass(&clock, &held, 1);
            assert_eq!((held.unix(), held.ahead_seconds()), (at(place + 30), 0));
        }
    }

    #[test]
    fn a_place_before_the_release_is_never_believed() {
        let clock = ManualClock::at(at(NOW));
        let held = HeldClock::new(clock.clone());
        clock.set_unix(at(5));
        pass(&clock, &held, 600);
        assert_eq!(held.unix(), at(NOW + 600));
        clock.set_unix(at(NOW + 600));
        assert_eq!(held.ahead_seconds(), 0);
    }

    #[test]
    fn a_clock_that_goes_on_jumping_is_not_believed() {
        let clock = ManualClock::at(at(NOW));
        let held = HeldClock::new(clock.clone());
        for step in 1..100 {
            clock.skip_unix(Duration::from_secs(3600));
            pass(&clock, &held, 20);
            assert_eq!(held.unix(), at(NOW + step * 20));
        }
    }

    #[test]
    fn small_steps_are_followed_and_a_monotonic_time_that_is_faked_heals() {
        let clock = ManualClock::at(at(NOW));
        let held = HeldClock::new(clock.clone());
        for _ in 0..10 {
            clock.skip_unix(Duration::from_secs(4));
            held.unix();
        }
        assert_eq!(held.unix(), at(NOW + 40));
        // Both clocks ahead, then both right: no jump can be seen, and none stays.
        clock.advance(Duration::from_secs(7200));
        assert_eq!(held.unix(), at(NOW + 7240));
        clock.set_unix(at(NOW + 40));
        clock.set_monotonic(Duration::ZERO);
        assert_eq!(held.unix(), at(NOW + 40));
    }
}
