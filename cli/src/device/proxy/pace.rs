//! The pace of connects to the broker: a client that comes again and again costs the broker no more than this.

use std::time::Duration;

use super::limits::{BACKOFF, CONNECTS};

/// Connects that may go now, and the wait after a failure.
pub(super) struct Pace {
    /// Connects that may go, in parts of [`CONNECTS`]' time.
    stored: Duration,
    filled: Duration,
    /// Before this time no connect goes.
    next: Duration,
    wait: Duration,
}

impl Pace {
    /// All places are free.
    pub(super) fn new(now: Duration) -> Self {
        Self { stored: full(), filled: now, next: now, wait: BACKOFF.0 }
    }

    /// Takes a place for one connect; else how long to wait for it.
    pub(super) fn take(&mut self, now: Duration) -> Result<(), Duration> {
        self.stored = (self.stored + now.saturating_sub(self.filled)).min(full());
        self.filled = now;
        let until_next = self.next.saturating_sub(now);
        let until_place = CONNECTS.1.saturating_sub(self.stored);
        match until_next.max(until_place) {
            Duration::ZERO => {
                self.stored -= CONNECTS.1;
                Ok(())
            }
            wait => Err(wait),
        }
    }

    /// A connect failed. `fraction` is from 0 to 1, by chance: the next wait is half to one of the present one.
    pub(super) fn failed(&mut self, now: Duration, fraction: f64) {
        self.next = now + self.wait.mul_f64(0.5 + 0.5 * fraction.clamp(0.0, 1.0));
        self.wait = self.wait.saturating_mul(2).min(BACKOFF.1);
    }

    /// A connect was taken.
    pub(super) fn succeeded(&mut self) {
        self.wait = BACKOFF.0;
    }
}

fn full() -> Duration {
    CONNECTS.1 * CONNECTS.0
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Duration = Duration::from_secs(1_000);

    #[test]
    fn connects_come_in_a_burst_and_then_one_by_one() {
        let mut pace = Pace::new(START);
        let mut now = START;
        for _ in 0..CONNECTS.0 {
            assert_eq!(pace.take(now), Ok(()));
        }
        for _ in 0..3 {
            assert_eq!(pace.take(now), Err(CONNECTS.1));
            now += CONNECTS.1 / 2;
            assert_eq!(pace.take(now), Err(CONNECTS.1 / 2));
            now += CONNECTS.1 / 2;
            assert_eq!(pace.take(now), Ok(()));
        }
        now += 10 * full();
        let burst = (0..1_000).take_while(|_| pace.take(now).is_ok()).count();
        assert_eq!(burst, CONNECTS.0 as usize);
    }

    #[test]
    fn failures_wait_longer_and_longer_and_a_success_begins_anew() {
        let mut pace = Pace::new(START);
        let (mut now, mut last) = (START, Duration::ZERO);
        for _ in 0..20 {
            pace.failed(now, 1.0);
            let wait = pace.take(now).unwrap_err();
            assert!(wait >= last && wait <= BACKOFF.1, "{wait:?}");
            (now, last) = (now + wait, wait);
            assert_eq!(pace.take(now), Ok(()));
        }
        assert_eq!(last, BACKOFF.1);
        pace.succeeded();
        pace.failed(now, 0.0);
        assert_eq!(pace.take(now), Err(BACKOFF.0 / 2));
    }
}
