//! The one place that reads the clock. All other code is handed a [`SharedClock`].

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tessera_token::time::UnixSeconds;

use crate::kernel;

/// Wall time and monotonic time.
pub trait Clock: Send + Sync + 'static {
    /// Seconds since 1970-01-01T00:00:00Z, leap seconds ignored.
    fn unix(&self) -> UnixSeconds {
        UnixSeconds::new(self.unix_millis() / 1000)
    }
    /// Milliseconds since 1970-01-01T00:00:00Z.
    fn unix_millis(&self) -> u64;
    /// Time since some fixed moment of this process; never goes back, and goes on while the machine sleeps.
    fn monotonic(&self) -> Duration;
}

/// A clock that can be handed around.
pub type SharedClock = Arc<dyn Clock>;

/// The clock of the operating system.
#[derive(Debug, Clone, Copy)]
pub struct SystemClock {
    start: Duration,
}

impl SystemClock {
    /// A clock whose monotonic time starts now.
    pub fn new() -> Self {
        Self { start: kernel::since_boot() }
    }

    /// The same, ready to be handed around.
    pub fn shared() -> SharedClock {
        Arc::new(Self::new())
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

#[allow(clippy::disallowed_methods, reason = "this is the one file that reads the clock")]
impl Clock for SystemClock {
    fn unix(&self) -> UnixSeconds {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        UnixSeconds::new(since.as_secs())
    }

    fn unix_millis(&self) -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }

    fn monotonic(&self) -> Duration {
        kernel::since_boot().saturating_sub(self.start)
    }
}

/// A clock that stands still until it is moved: for tests and simulators.
#[derive(Debug)]
pub struct ManualClock {
    unix_millis: AtomicU64,
    monotonic_millis: AtomicU64,
}

impl ManualClock {
    /// A clock that stands at `now`.
    pub fn at(now: UnixSeconds) -> Arc<Self> {
        Arc::new(Self {
            unix_millis: AtomicU64::new(now.get().saturating_mul(1000)),
            monotonic_millis: AtomicU64::new(0),
        })
    }

    /// Moves wall and monotonic time forward together.
    pub fn advance(&self, by: Duration) {
        let millis = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
        self.unix_millis.fetch_add(millis, Ordering::SeqCst);
        self.monotonic_millis.fetch_add(millis, Ordering::SeqCst);
    }

    /// Sets the wall time alone, also backwards, as an operator or NTP would.
    pub fn set_unix(&self, now: UnixSeconds) {
        self.unix_millis.store(now.get().saturating_mul(1000), Ordering::SeqCst);
    }

    /// Moves the wall time alone forward.
    pub fn skip_unix(&self, by: Duration) {
        let millis = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
        self.unix_millis.fetch_add(millis, Ordering::SeqCst);
    }

    /// Sets the monotonic time alone, also backwards: what a tool that fakes every clock of a process does.
    pub fn set_monotonic(&self, now: Duration) {
        let millis = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        self.monotonic_millis.store(millis, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn unix_millis(&self) -> u64 {
        self.unix_millis.load(Ordering::SeqCst)
    }

    fn monotonic(&self) -> Duration {
        Duration::from_millis(self.monotonic_millis.load(Ordering::SeqCst))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn manual_clock_moves_only_when_told() {
        let clock = ManualClock::at(UnixSeconds::new(1000));
        assert_eq!(clock.unix().get(), 1000);
        clock.advance(Duration::from_millis(2500));
        assert_eq!(clock.unix().get(), 1002);
        assert_eq!(clock.monotonic(), Duration::from_millis(2500));
        clock.set_unix(UnixSeconds::new(5));
        assert_eq!(clock.unix_millis(), 5000);
        assert_eq!(clock.monotonic(), Duration::from_millis(2500));
    }

    #[test]
    fn system_clock_is_after_2024() {
        assert!(SystemClock::new().unix().get() > 1_704_067_200);
    }
}
