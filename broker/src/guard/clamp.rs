//! The rate of a device that is held down: a bucket of messages and one of bytes, as two times.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::limits::{CLAMP_BURST, CLAMP_BYTES_A_SECOND, CLAMP_MESSAGES_A_SECOND, CLAMP_PAUSE};

/// The times, monotonic, at which the buckets are empty again.
#[derive(Default)]
pub(crate) struct Clamp {
    messages: AtomicU64,
    bytes: AtomicU64,
}

impl Clamp {
    /// Whether its buckets are empty.
    pub(super) fn is_idle(&self, at: Duration) -> bool {
        let now = u64::try_from(at.as_micros()).unwrap_or(u64::MAX);
        [&self.messages, &self.bytes].iter().all(|full| full.load(Ordering::Relaxed) <= now)
    }

    /// Counts a message; the time before which none should follow, when the buckets are full.
    pub(super) fn count(&self, bytes: usize, at: Duration) -> Option<Duration> {
        let now = u64::try_from(at.as_micros()).unwrap_or(u64::MAX);
        let of_message = 1_000_000 / CLAMP_MESSAGES_A_SECOND;
        let of_bytes = (bytes as u64).saturating_mul(1_000_000) / CLAMP_BYTES_A_SECOND;
        let messages = fill(&self.messages, now, of_message);
        let bytes = fill(&self.bytes, now, of_bytes);
        let burst = u64::try_from(CLAMP_BURST.as_micros()).unwrap_or(u64::MAX);
        let longest =
            now.saturating_add(u64::try_from(CLAMP_PAUSE.as_micros()).unwrap_or(u64::MAX));
        let until = messages.max(bytes).saturating_sub(burst).min(longest);
        (until > now).then(|| Duration::from_micros(until))
    }
}

fn fill(bucket: &AtomicU64, now: u64, micros: u64) -> u64 {
    let full = bucket.load(Ordering::Relaxed).max(now).saturating_add(micros);
    bucket.store(full, Ordering::Relaxed);
    full
}
