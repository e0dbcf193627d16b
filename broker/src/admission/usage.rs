use std::time::Duration;

use super::bucket::Bucket;
use super::fair_share::Taken;
use super::guesses::{Guesses, Known};
use super::reputation::Reputation;
use super::AdmissionLimits;
use super::Rejected;

/// The sockets of one prefix, its token bucket of connects, and its reputation.
pub(super) struct Usage {
    pub(super) half_open: usize,
    pub(super) reputation: Reputation,
    pub(super) taken: Taken,
    /// None before the first wrong credential.
    pub(super) guesses: Option<Box<Guesses>>,
    pub(super) known: Known,
    sockets: usize,
    connects: Bucket,
}

impl Usage {
    pub(super) fn new(per_second: u32, now: Duration) -> Self {
        Self {
            half_open: 0,
            reputation: Reputation::new(now),
            taken: Taken::default(),
            guesses: None,
            known: Known::default(),
            sockets: 0,
            connects: Bucket::full(per_second, now),
        }
    }

    /// Whether one more socket is within what every prefix may have; takes a connect from the bucket.
    pub(super) fn may_enter(
        &mut self,
        limits: &AdmissionLimits,
        now: Duration,
    ) -> Result<(), Rejected> {
        if self.sockets >= limits.sockets_per_prefix {
            return Err(Rejected::PrefixSockets);
        }
        let taken = self.connects.take(limits.connects_per_second, now);
        taken.then_some(()).ok_or(Rejected::PrefixRate)
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
}
