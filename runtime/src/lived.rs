//! A time by which things are removed for good: one that a wrong clock cannot bring ahead.
//!
//! It goes on with monotonic time, is stored over restarts, and never passes the wall clock. Time that passed while the
//! process did not run it is caught up slowly ([`LIVED_CATCH_UP`]). A clock that is years ahead for a minute moves it by
//! little more than that minute.

use std::time::Duration;

use tessera_token::limits::TOKEN_LIFE_SECONDS;
use tessera_token::time::UnixSeconds;

use crate::limits::LIVED_CATCH_UP;

/// Lived time, in milliseconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LivedTime {
    began: u64,
    lived: u64,
    /// How far the life before this one came; 0 when nothing is to be said about it.
    former: u64,
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
        Self { began: of(began), lived: of(lived).max(of(began)), former: 0, last: monotonic }
    }

    /// The same after a life that came so far.
    #[must_use]
    pub fn after(self, former: UnixSeconds) -> Self {
        Self { former: former.get().saturating_mul(1000), ..self }
    }

    /// When it began.
    pub fn began(&self) -> UnixSeconds {
        UnixSeconds::new(self.began / 1000)
    }

    /// How far it has come.
    pub fn reached(&self) -> UnixSeconds {
        UnixSeconds::new(self.lived / 1000)
    }

    /// How far the life before this one came; 0 when that no longer matters.
    pub fn former(&self) -> UnixSeconds {
        UnixSeconds::new(self.former / 1000)
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
            self.former = self.former.max(self.lived);
            (self.began, self.lived) = (wall, wall);
            return;
        }
        let passed = u64::try_from(passed.as_millis()).unwrap_or(u64::MAX);
        let further = passed.saturating_add(passed / LIVED_CATCH_UP);
        self.lived = self.lived.saturating_add(further).min(wall).max(self.lived);
        if wall >= self.former || self.span() >= TOKEN_LIFE_SECONDS {
            self.former = 0;
        }
    }

    /// The moment by which things are removed.
    pub fn removal(&self, wall: UnixSeconds) -> UnixSeconds {
        self.reached().min(wall)
    }

    /// The moment that something which is kept for a time is stamped with: a clock that is behind does not make it old.
    /// When a clock made life begin anew, either that clock is wrong or the former life was: until a whole life of a token
    /// was lived through since, the stamp counts for both.
    pub fn stamp(&self, wall: UnixSeconds) -> UnixSeconds {
        self.reached().max(wall).max(self.former())
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

    /// Rows are judged by others too: by a service that came back from an older copy, whose time is right.
    #[test]
    fn a_clock_that_is_behind_the_beginning_makes_nothing_old_either() {
        let mut lived = LivedTime::begin(at(NOW), after(0));
        lived.step(at(NOW + DAY), after(DAY));
        lived.step(at(NOW - 40 * DAY), after(DAY + 60));
        assert_eq!(lived.removal(at(NOW - 40 * DAY)), at(NOW - 40 * DAY));
        assert_eq!(lived.stamp(at(NOW - 40 * DAY)), at(NOW + DAY));
        // Over a restart too.
        let again = LivedTime::restore(lived.began(), lived.reached(), after(0));
        assert_eq!(again.after(lived.former()).stamp(at(NOW - 40 * DAY)), at(NOW + DAY));
        let mut right_again = lived.clone();
        right_again.step(at(NOW + 2 * DAY), after(DAY + 120));
        assert_eq!(
            (right_again.former(), right_again.stamp(at(NOW + 2 * DAY))),
            (at(0), at(NOW + 2 * DAY))
        );
        // It was the former life that was wrong.
        let life = TOKEN_LIFE_SECONDS;
        lived.step(at(NOW - 40 * DAY + life), after(DAY + 60 + life));
        assert_eq!(lived.stamp(at(NOW - 40 * DAY + life)), at(NOW - 40 * DAY + life));
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
