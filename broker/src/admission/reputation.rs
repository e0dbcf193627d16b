//! The reputation of a prefix: one strike for each socket that ended without an accepted CONNECT. Accepted CONNECTs and
//! time remove strikes. A prefix with many strikes is suspect: it shares the places that are left, and is never refused
//! for good.

use std::time::Duration;

use crate::limits::{
    STRIKES_FORGIVEN_BY_CONNECT, STRIKES_FORGIVEN_PER_SECOND, STRIKES_MOST, SUSPECT_STRIKES,
};

/// The strikes of one prefix.
#[derive(Clone, Copy)]
pub(super) struct Reputation {
    strikes: u32,
    since: Duration,
}

impl Reputation {
    pub(super) fn new(now: Duration) -> Self {
        Self { strikes: 0, since: now }
    }

    pub(super) fn is_suspect(&mut self, now: Duration) -> bool {
        self.forgive_with_time(now);
        self.strikes >= SUSPECT_STRIKES
    }

    pub(super) fn add_strike(&mut self, now: Duration) {
        self.forgive_with_time(now);
        self.strikes = (self.strikes + 1).min(STRIKES_MOST);
    }

    pub(super) fn connected(&mut self) {
        self.strikes = self.strikes.saturating_sub(STRIKES_FORGIVEN_BY_CONNECT);
    }

    /// A socket was rejected because the prefix is suspect: forgiveness by time begins anew.
    pub(super) fn reset_decay(&mut self, now: Duration) {
        self.since = now;
    }

    fn forgive_with_time(&mut self, now: Duration) {
        let seconds = now.saturating_sub(self.since).as_secs();
        let forgiven = seconds.saturating_mul(STRIKES_FORGIVEN_PER_SECOND.into());
        self.strikes = self.strikes.saturating_sub(u32::try_from(forgiven).unwrap_or(u32::MAX));
        self.since += Duration::from_secs(seconds);
    }
}
