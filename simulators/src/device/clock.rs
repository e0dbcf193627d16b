//! A device's own clock: wrong by a fixed amount, corrected by what servers say.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use tessera_runtime::clock::SharedClock;
use tessera_token::time::UnixSeconds;

/// True time, plus the fault of a cheap crystal, plus the correction learned from `server_time`.
pub struct DeviceClock {
    clock: SharedClock,
    skew: i64,
    correction: AtomicI64,
}

impl DeviceClock {
    /// A clock that is `skew` seconds ahead until it hears a server.
    pub fn new(clock: SharedClock, skew: i64) -> Self {
        Self { clock, skew, correction: AtomicI64::new(0) }
    }

    /// The time as the device believes it to be.
    pub fn now(&self) -> UnixSeconds {
        shift(self.raw(), self.correction.load(Ordering::Relaxed))
    }

    /// The correction in seconds, positive when the device is late.
    pub fn correction(&self) -> i64 {
        self.correction.load(Ordering::Relaxed)
    }

    /// Sets the clock by an answer that said `server`.
    pub fn hear(&self, server: UnixSeconds) {
        let raw = self.raw().get();
        let difference = i128::from(server.get()) - i128::from(raw);
        let bounded = i64::try_from(difference).unwrap_or_default();
        self.correction.store(bounded, Ordering::Relaxed);
    }

    /// Monotonic time for latencies.
    pub fn monotonic(&self) -> Duration {
        self.clock.monotonic()
    }

    /// The shared true clock.
    pub fn shared(&self) -> &SharedClock {
        &self.clock
    }

    fn raw(&self) -> UnixSeconds {
        shift(self.clock.unix(), self.skew)
    }
}

fn shift(time: UnixSeconds, by: i64) -> UnixSeconds {
    if by >= 0 {
        time.plus(by.unsigned_abs())
    } else {
        time.minus(by.unsigned_abs())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tessera_runtime::clock::ManualClock;

    #[test]
    fn a_wrong_clock_is_corrected_by_the_server() {
        let truth = ManualClock::at(UnixSeconds::new(1_000_000));
        let device = DeviceClock::new(truth.clone(), -400);
        assert_eq!(device.now().get(), 999_600);
        device.hear(UnixSeconds::new(1_000_000));
        assert_eq!(device.now().get(), 1_000_000);
        assert_eq!(device.correction(), 400);
        truth.advance(Duration::from_secs(9));
        assert_eq!(device.now().get(), 1_000_009);
    }
}
