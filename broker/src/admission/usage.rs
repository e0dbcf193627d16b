use std::time::Duration;

use super::fair_share::Taken;
use super::reputation::Reputation;
use super::AdmissionLimits;
use super::Rejected;

/// The sockets of one prefix, its token bucket of connects, and its reputation.
pub(super) struct Usage {
    pub(super) half_open: usize,
    pub(super) reputation: Reputation,
    pub(super) taken: Taken,
    sockets: usize,
    millitokens: u64,
    refilled: Duration,
}

impl Usage {
    pub(super) fn new(per_second: u32, now: Duration) -> Self {
        Self {
            half_open: 0,
            reputation: Reputation::new(now),
            taken: Taken::default(),
            sockets: 0,
            millitokens: u64::from(per_second) * 1000,
            refilled: now,
        }
    }

    /// Whether one more socket is within what every prefix may have; takes a connect from the bucket.
    pub(super) fn may_enter(
        &mut self,
        limits: &AdmissionLimits,
        now: Duration,
    ) -> Result<(), Rejected> {
        self.refill(limits.connects_per_second, now);
        if self.sockets >= limits.sockets_per_prefix {
            return Err(Rejected::PrefixSockets);
        }
        self.millitokens = self.millitokens.checked_sub(1000).ok_or(Rejected::PrefixRate)?;
        Ok(())
    }

    pub(super) fn entered(&mut self) {
        self.sockets += 1;
        self.half_open += 1;
    }

    pub(super) fn no_longer_half_open(&mut self) {
        self.half_open = self.half_open.saturating_sub(1);
    }

    pub(super) fn closed(&mut self) {
        self.sockets = self.sockets.saturating_sub(1);
    }

    pub(super) fn in_use(&self) -> bool {
        self.sockets > 0
    }

    fn refill(&mut self, per_second: u32, now: Duration) {
        let passed = now.saturating_sub(self.refilled);
        let most = u64::from(per_second) * 1000;
        let gained = passed.as_millis().saturating_mul(u128::from(per_second));
        let gained = u64::try_from(gained).unwrap_or(u64::MAX);
        self.millitokens = self.millitokens.saturating_add(gained).min(most);
        self.refilled = now;
    }
}
