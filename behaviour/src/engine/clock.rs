//! The engine's reading of time: it never goes back, so no window stays open and no alert is muted after a clock was
//! set. Only the hour of the day is that of the observer's clock.

use super::limits;
use crate::observation::UnixMillis;

pub(super) const HOUR_MS: u64 = 3_600_000;
/// Seconds in a slot in which a flood is looked for, and how many make an hour.
pub(super) const TEN_MS: u64 = 10_000;
pub(super) const TENS_AN_HOUR: u32 = 360;
/// Slots of ten seconds in a slot of five minutes.
pub(super) const TENS_A_SLOT: u32 = 30;

/// A reading of time that does not go back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Clock {
    /// The latest reading.
    pub(super) now: u64,
    /// The observer's clock at that reading.
    wall: UnixMillis,
    begun: bool,
}

/// How time went on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Went {
    /// As usual.
    On,
    /// The observer's clock was set by more than [`limits::LEAP_MS`].
    Leapt,
}

impl Clock {
    /// Takes in the time of an observation.
    pub(super) fn go(&mut self, at: UnixMillis) -> Went {
        if !self.begun {
            (self.now, self.wall, self.begun) = (at, at, true);
            return Went::On;
        }
        let (ahead, behind) = (at.saturating_sub(self.wall), self.wall.saturating_sub(at));
        match () {
            () if behind > limits::LEAP_MS => {
                self.wall = at;
                Went::Leapt
            }
            // A little late: it counts as now.
            () if behind > 0 => Went::On,
            () => {
                (self.now, self.wall) = (self.now.saturating_add(ahead), at);
                if ahead > limits::LEAP_MS {
                    Went::Leapt
                } else {
                    Went::On
                }
            }
        }
    }

    pub(super) fn seconds(&self) -> u32 {
        seconds(self.now)
    }

    pub(super) fn hour(&self) -> u32 {
        seconds(self.now) / 3600
    }

    /// The observer's clock at an earlier reading.
    pub(super) fn wall_at(&self, reading: u64) -> UnixMillis {
        self.wall.saturating_sub(self.now.saturating_sub(reading))
    }

    /// The hour of the day, in UTC, of an hour that the engine counts.
    pub(super) fn hour_of_day(&self, hour: u32) -> usize {
        let middle = u64::from(hour) * HOUR_MS + HOUR_MS / 2;
        let wall = self.wall.saturating_add(middle).saturating_sub(self.now);
        usize::try_from(wall / HOUR_MS % 24).unwrap_or(0)
    }

    /// Whether it ever read a time.
    pub(super) fn has_begun(&self) -> bool {
        self.begun
    }
}

pub(super) fn seconds(ms: u64) -> u32 {
    u32::try_from(ms / 1000).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clock_does_not_go_back_and_keeps_the_hour_of_the_day() {
        let day = 24 * HOUR_MS;
        let mut clock = Clock::default();
        assert_eq!(clock.go(1000 * day), Went::On);
        assert_eq!(clock.go(1000 * day + 5000), Went::On);
        assert_eq!(clock.go(1000 * day + 1000), Went::On);
        assert_eq!(clock.now, 1000 * day + 5000);
        assert_eq!(clock.go(1365 * day), Went::Leapt);
        let ahead = clock.now;
        assert_eq!(clock.go(1000 * day + 6 * HOUR_MS), Went::Leapt);
        assert_eq!(clock.now, ahead);
        assert_eq!(clock.go(1000 * day + 6 * HOUR_MS + 1000), Went::On);
        assert_eq!(clock.now, ahead + 1000);
        assert_eq!(clock.hour_of_day(clock.hour()), 6);
        assert_eq!(clock.wall_at(clock.now), 1000 * day + 6 * HOUR_MS + 1000);
    }
}
