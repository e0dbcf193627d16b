use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tessera_runtime::clock::SharedClock;
use tessera_token::limits::CLOCK_SKEW_SECONDS;
use tessera_token::time::UnixSeconds;

use crate::limits::TRUST_AHEAD_SECONDS;

/// Time that does not go back: the largest of the clock, the highest time ever seen, and the newest signed time less
/// the allowed skew. A clock that jumps back does not revive a token.
pub struct TrustTime {
    clock: SharedClock,
    highest: AtomicU64,
    signed: AtomicU64,
}

impl TrustTime {
    /// Time from here on; `highest` is what earlier runs have seen.
    pub fn new(clock: SharedClock, highest: UnixSeconds) -> Self {
        Self { clock, highest: AtomicU64::new(highest.get()), signed: AtomicU64::new(0) }
    }

    /// Takes in a signed time that was known before: it is a lower bound and proves nothing new.
    pub(super) fn known(&self, time: UnixSeconds) {
        self.signed.fetch_max(time.get(), Ordering::Relaxed);
    }

    /// The moment by which everything is judged.
    pub fn now(&self) -> UnixSeconds {
        let clock = self.clock.unix().get();
        let mut now = self.highest.load(Ordering::Relaxed);
        if clock > now {
            self.highest.fetch_max(clock, Ordering::Relaxed);
            now = clock;
        }
        let signed = self.signed.load(Ordering::Relaxed);
        UnixSeconds::new(now.max(signed.saturating_sub(CLOCK_SKEW_SECONDS)))
    }

    /// Monotonic time of this process.
    pub(super) fn monotonic(&self) -> Duration {
        self.clock.monotonic()
    }

    /// Takes in the time of a heartbeat that answered a nonce of this process.
    pub(super) fn beat(&self, time: UnixSeconds) {
        self.signed(time);
    }

    /// Takes in a signed time. When it is newer than every signed time before and the clock agrees with it, a highest
    /// time that lies far ahead of both came from a clock that had jumped forward, and is taken back; otherwise one
    /// wrong reading would refuse every token for ever.
    pub(super) fn signed(&self, time: UnixSeconds) {
        let before = self.signed.fetch_max(time.get(), Ordering::Relaxed);
        if time.get() <= before {
            return;
        }
        let limit = time.get().saturating_add(TRUST_AHEAD_SECONDS);
        let clock = self.clock.unix().get();
        if clock <= limit && self.highest.load(Ordering::Relaxed) > limit {
            self.highest.store(clock.max(time.get()), Ordering::Relaxed);
        }
    }
}
