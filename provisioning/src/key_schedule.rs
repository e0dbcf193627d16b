//! The schedule of issuer keys: when the next key becomes the active one, and how long verifiers know it before. Pure; every
//! moment is lived time ([`crate::clock`]), so a clock that jumps moves no key.

use serde::{Deserialize, Serialize};
use tessera_runtime::limits::LIVED_CATCH_UP;
use tessera_token::limits::CLOCK_SKEW_SECONDS;

use crate::limits::{
    KEY_AHEAD_SECONDS, KEY_AHEAD_SECONDS_LEAST, KEY_AHEAD_SECONDS_MOST, KEY_PERIOD_SECONDS,
    KEY_PERIOD_SECONDS_LEAST, KEY_PERIOD_SECONDS_MOST,
};
use crate::start_error::StartError;

/// When issuer keys are rotated without an operator (`[provisioning.keys]`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct KeySchedule {
    /// Seconds for which a key signs; 0 rotates by hand alone.
    pub rotate_seconds: u64,
    /// Seconds for which a key is published at least before the schedule lets it sign. A longer staleness budget of the
    /// tenant counts in its place.
    pub publish_ahead_seconds: u64,
}

impl Default for KeySchedule {
    fn default() -> Self {
        Self { rotate_seconds: KEY_PERIOD_SECONDS, publish_ahead_seconds: KEY_AHEAD_SECONDS }
    }
}

/// The lived times since which the keys of a tenant are active and next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Signers {
    pub(crate) active: u64,
    /// `None` when the tenant has no next key: verifiers had no room for one.
    pub(crate) next: Option<u64>,
}

impl KeySchedule {
    /// Keys are rotated by hand alone.
    pub const BY_HAND: Self = Self { rotate_seconds: 0, publish_ahead_seconds: KEY_AHEAD_SECONDS };

    /// Whether the settings are in their ranges.
    ///
    /// # Errors
    /// The first that is not, by its name.
    pub fn check(&self) -> Result<(), StartError> {
        let Self { rotate_seconds, publish_ahead_seconds } = *self;
        let periods = KEY_PERIOD_SECONDS_LEAST..=KEY_PERIOD_SECONDS_MOST;
        if rotate_seconds != 0 && !periods.contains(&rotate_seconds) {
            return Err(StartError::Config(
                "keys.rotate_seconds must be 172,800 to 157,680,000 (2 days to 5 years), or 0 to rotate by hand alone",
            ));
        }
        if !(KEY_AHEAD_SECONDS_LEAST..=KEY_AHEAD_SECONDS_MOST).contains(&publish_ahead_seconds) {
            return Err(StartError::Config(
                "keys.publish_ahead_seconds must be 86,400 to 2,592,000 (1 to 30 days)",
            ));
        }
        if rotate_seconds != 0 && publish_ahead_seconds >= rotate_seconds {
            return Err(StartError::Config(
                "keys.publish_ahead_seconds must be less than keys.rotate_seconds: a next key is published for a part of the period in which the one before it signs",
            ));
        }
        Ok(())
    }

    /// Whether keys are rotated by schedule.
    pub(crate) const fn is_on(&self) -> bool {
        self.rotate_seconds > 0
    }

    /// Seconds of lived time for which verifiers know the next key before it signs. A verifier decides with trust data that
    /// are at most `staleness` old, so each that decides has the key then. Lived time may go faster than time by its
    /// catch-up, which is added.
    pub(crate) fn ahead(&self, staleness: u64) -> u64 {
        let least = staleness.saturating_add(CLOCK_SKEW_SECONDS).max(self.publish_ahead_seconds);
        least.saturating_add(least / LIVED_CATCH_UP).saturating_add(1)
    }

    /// When the next key becomes the active one; `None` when keys are rotated by hand alone. A tenant without a next key gets
    /// one first, at `lived` at the earliest.
    pub(crate) fn due(&self, keys: Signers, staleness: u64, lived: u64) -> Option<u64> {
        let published = keys.next.unwrap_or(lived).saturating_add(self.ahead(staleness));
        let over = keys.active.saturating_add(self.rotate_seconds);
        self.is_on().then_some(over.max(published))
    }

    /// Whether a key that is active since `active` has signed for its period.
    pub(crate) const fn is_over(&self, active: u64, lived: u64) -> bool {
        self.is_on() && active.saturating_add(self.rotate_seconds) <= lived
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 24 * 3600;

    #[test]
    fn the_next_key_signs_when_both_the_period_and_its_publication_are_over() {
        let schedule = KeySchedule { rotate_seconds: 30 * DAY, publish_ahead_seconds: 2 * DAY };
        let due = |active, next| schedule.due(Signers { active, next }, DAY, 0);
        assert_eq!(due(1000, Some(1000)), Some(1000 + 30 * DAY));
        // Published late: a compromise took the one before.
        let late = 1000 + 29 * DAY;
        assert_eq!(due(1000, Some(late)), Some(late + 2 * DAY + DAY / 4 + 1));
        // The staleness budget of the tenant is longer than the setting.
        let stale = schedule.due(Signers { active: 1000, next: Some(late) }, 16 * DAY, 0);
        assert_eq!(stale, Some(late + 16 * DAY + 60 + (16 * DAY + 60) / 8 + 1));
        assert_eq!(KeySchedule::BY_HAND.due(Signers { active: 0, next: Some(0) }, 0, 0), None);
    }

    #[test]
    fn a_missing_next_key_is_published_before_it_signs() {
        let schedule = KeySchedule { rotate_seconds: 30 * DAY, publish_ahead_seconds: 2 * DAY };
        let made = 1000 + 31 * DAY;
        let due = schedule.due(Signers { active: 1000, next: None }, DAY, made);
        assert_eq!(due, Some(made + schedule.ahead(DAY)));
        assert_eq!((schedule.is_over(1000, made), schedule.is_over(1000, 30 * DAY)), (true, false));
        assert!(!KeySchedule::BY_HAND.is_over(0, made));
    }

    #[test]
    fn settings_out_of_their_ranges_are_told() {
        for (rotate, ahead, good) in [
            (0, DAY, true),
            (2 * DAY, DAY, true),
            (2 * DAY - 1, DAY, false),
            (5 * 365 * DAY, 30 * DAY, true),
            (5 * 365 * DAY + 1, DAY, false),
            (10 * DAY, 10 * DAY - 1, true),
            (10 * DAY, 10 * DAY, false),
            (2 * DAY, 30 * DAY, false),
            (0, 30 * DAY, true),
            (30 * DAY, DAY - 1, false),
            (30 * DAY, 30 * DAY + 1, false),
        ] {
            let schedule = KeySchedule { rotate_seconds: rotate, publish_ahead_seconds: ahead };
            assert_eq!(schedule.check().is_ok(), good, "{rotate} {ahead}");
        }
    }
}
