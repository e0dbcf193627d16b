//! A time by which things are removed for good: one that a wrong clock cannot bring ahead.
//!
//! It goes on with monotonic time, is stored over restarts, and never passes the wall clock. What it lost while the
//! process did not run it catches up slowly ([`LIVED_CATCH_UP`]). A clock that is years ahead for a minute moves it by
//! little more than that minute.

use std::time::Duration;

use tessera_token::time::UnixSeconds;

use crate::limits::LIVED_CATCH_UP;

/// Lived time, in milliseconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LivedTime {
    began: u64,
    lived: u64,
    /// Monotonic time of the last step.
    last: Duration,
}

impl LivedTime {
    /// A life that begins at `now`.
    pub fn begin(now: UnixSeconds, monotonic: Duration) -> Self {
        Self::restore(now, now, monotonic)
    }

    /// A life that goes on from what was stored.
    pub fn restore(began: UnixSeconds, lived: UnixSeconds, monotonic: Duration) -> Self {
        let of = |time: UnixSeconds| time.get().saturating_mul(1000);
        Self { began: of(began), lived: of(lived).max(of(began)), last: monotonic }
    }

    /// When it began.
    pub fn began(&self) -> UnixSeconds {
        UnixSeconds::new(self.began / 1000)
    }

    /// How far it has come.
    pub fn reached(&self) -> UnixSeconds {
        UnixSeconds::new(self.lived / 1000)
    }

    /// Seconds that were lived through.
    pub fn span(&self) -> u64 {
        self.reached().since(self.began())
    }

    /// Goes on to monotonic time `monotonic`, at most to `wall`. A wall clock that shows less than the beginning says
    /// that the beginning was wrong: the life begins anew, which removes later and never earlier.
    pub fn step(&mut self, wall: UnixSeconds, monotonic: Duration) {
        let passed = monotonic.saturating_sub(self.last);
        self.last = monotonic;
        let wall = wall.get().saturating_mul(1000);
        if wall.saturating_add(1000) <= self.began {
            (self.began, self.lived) = (wall, wall);
            return;
        }
        let passed = u64::try_from(passed.as_millis()).unwrap_or(u64::MAX);
        let further = passed.saturating_add(passed / LIVED_CATCH_UP);
        self.lived = self.lived.saturating_add(further).min(wall).max(self.lived);
    }

    /// The moment by which things are removed.
    pub fn removal(&self, wall: UnixSeconds) -> UnixSeconds {
        self.reached().min(wall)
    }

    /// The moment that something which is kept for a time is stamped with: a clock that is behind does not make it old.
    pub fn stamp(&self, wall: UnixSeconds) -> UnixSeconds {
        self.reached().max(wall)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000;
    const DAY: u64 = 24 * 3600;

    fn at(seconds: u64) -> UnixSeconds {
        UnixSeconds::new(seconds)
    }

    fn after(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn it_goes_with_a_right_clock() {
        let mut lived = LivedTime::begin(at(NOW), after(0));
        for second in 1..=1000 {
            lived.step(at(NOW + second), after(second));
        }
        assert_eq!((lived.reached(), lived.span()), (at(NOW + 1000), 1000));
    }

    #[test]
    fn a_clock_that_is_ahead_brings_it_little_further_than_monotonic_time() {
        for ahead in [2 * 3600, 40 * DAY, 365 * DAY] {
            let mut lived = LivedTime::begin(at(NOW), after(0));
            lived.step(at(NOW + 13 + ahead), after(13));
            assert_eq!(lived.removal(at(NOW + 13 + ahead)), at(NOW + 14));
            lived.step(at(NOW + 20), after(20));
            assert_eq!(lived.removal(at(NOW + 20)), at(NOW + 20));
        }
    }

    #[test]
    fn a_clock_that_is_behind_neither_removes_nor_makes_old() {
        let mut lived = LivedTime::begin(at(NOW), after(0));
        lived.step(at(NOW + 100 * DAY), after(100 * DAY));
        lived.step(at(NOW + DAY), after(100 * DAY + 60));
        assert_eq!(lived.removal(at(NOW + DAY)), at(NOW + DAY));
        assert_eq!(lived.stamp(at(NOW + DAY)), at(NOW + 100 * DAY));
    }

    #[test]
    fn what_a_stop_left_behind_is_caught_up_slowly() {
        let mut lived = LivedTime::restore(at(NOW - DAY), at(NOW), after(0));
        let start = NOW + 8 * DAY;
        lived.step(at(start + DAY), after(DAY));
        assert_eq!(lived.reached(), at(NOW + DAY + DAY / 8));
        lived.step(at(start + 64 * DAY), after(64 * DAY));
        assert_eq!(lived.reached(), at(start + 64 * DAY));
    }

    #[test]
    fn a_beginning_that_was_ahead_is_taken_back() {
        let mut lived = LivedTime::begin(at(NOW + 365 * DAY), after(0));
        lived.step(at(NOW + 365 * DAY + 13), after(13));
        lived.step(at(NOW + 20), after(20));
        assert_eq!((lived.began(), lived.reached()), (at(NOW + 20), at(NOW + 20)));
    }
}
