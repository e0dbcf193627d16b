//! A token bucket: so many in a second, and as many at once.

use std::time::Duration;

/// The tokens, in thousandths.
#[derive(Clone, Copy, Default)]
pub(super) struct Bucket {
    millitokens: u64,
    refilled: Duration,
}

impl Bucket {
    pub(super) fn full(per_second: u32, now: Duration) -> Self {
        Self { millitokens: u64::from(per_second) * 1000, refilled: now }
    }

    /// Takes one, if there is one.
    pub(super) fn take(&mut self, per_second: u32, now: Duration) -> bool {
        self.refill(per_second, now);
        let rest = self.millitokens.checked_sub(1000);
        self.millitokens = rest.unwrap_or(self.millitokens);
        rest.is_some()
    }

    pub(super) fn give_back(&mut self, per_second: u32) {
        let most = u64::from(per_second) * 1000;
        self.millitokens = self.millitokens.saturating_add(1000).min(most);
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
