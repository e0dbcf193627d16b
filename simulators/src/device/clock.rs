//! A device's own clock: wrong by a fixed amount. The time of a token corrects it for proofs, which name that token. A
//! time without a token is a hint, and a nonce of the service is signed in the place of a time that was refused.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tessera_runtime::clock::SharedClock;
use tessera_token::time::UnixSeconds;

/// True time, plus the fault of a cheap crystal, plus the correction learned from tokens.
pub struct DeviceClock {
    clock: SharedClock,
    skew: i64,
    correction: AtomicI64,
    hint: AtomicI64,
    nonce: Mutex<Option<Vec<u8>>>,
}

impl DeviceClock {
    /// A clock that is `skew` seconds ahead until it hears a server.
    pub fn new(clock: SharedClock, skew: i64) -> Self {
        let (correction, hint) = (AtomicI64::new(0), AtomicI64::new(0));
        Self { clock, skew, correction, hint, nonce: Mutex::new(None) }
    }

    /// The time as the device believes it to be.
    pub fn now(&self) -> UnixSeconds {
        shift(self.raw(), self.correction.load(Ordering::Relaxed))
    }

    /// The own clock, as no peer has moved it. A token request names no token, so it is good at whatever time it names: it
    /// is signed by this one, or by a nonce of the service.
    pub fn own(&self) -> UnixSeconds {
        self.raw()
    }

    /// The correction in seconds, positive when the device is late.
    pub fn correction(&self) -> i64 {
        self.correction.load(Ordering::Relaxed)
    }

    /// Sets the clock by the time of a token: it may be signed for in proofs that name that token.
    pub fn hear(&self, time: UnixSeconds) {
        self.correction.store(self.behind(time), Ordering::Relaxed);
        self.told(time);
    }

    /// An unsigned time: `server_time` of a nonce or a refusal. A device that signed for it would sign for any
    /// future that a stranger names, and its signature is good then. It is a hint for a person.
    pub fn told(&self, server: UnixSeconds) {
        self.hint.store(self.behind(server), Ordering::Relaxed);
    }

    /// By how many seconds the uncorrected clock is late, as the last answer told.
    pub fn hint(&self) -> i64 {
        self.hint.load(Ordering::Relaxed)
    }

    /// Takes a nonce of the service: the next request signs it in the place of a time.
    pub fn given(&self, nonce: &[u8]) {
        *self.slot() = Some(nonce.to_vec());
    }

    /// Whether there is a nonce to sign.
    pub fn has_nonce(&self) -> bool {
        self.slot().is_some()
    }

    /// The nonce to sign, once.
    pub fn take_nonce(&self) -> Option<Vec<u8>> {
        self.slot().take()
    }

    fn slot(&self) -> MutexGuard<'_, Option<Vec<u8>>> {
        self.nonce.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn behind(&self, time: UnixSeconds) -> i64 {
        let difference = i128::from(time.get()) - i128::from(self.raw().get());
        i64::try_from(difference).unwrap_or_default()
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
        assert_eq!((device.correction(), device.hint()), (400, 400));
        // The time that a stranger tells is shown and not signed for.
        device.told(UnixSeconds::new(9_000_000));
        assert_eq!((device.now().get(), device.hint()), (1_000_000, 8_000_400));
        truth.advance(Duration::from_secs(9));
        assert_eq!(device.now().get(), 1_000_009);
    }
}
