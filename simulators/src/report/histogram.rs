//! Latencies in fixed memory: an HDR histogram, exact to three digits from 1 µs to an hour.

use std::time::Duration;

use parking_lot::Mutex;

use super::Latency;

/// The longest that is told apart, in microseconds: longer than any run waits for an answer.
const HOUR_MICROS: u64 = 3_600_000_000;
/// Digits of a value that are kept: 0.1 % of it.
const DIGITS: u8 = 3;

/// A distribution of durations; safe to share.
#[derive(Default)]
pub struct Histogram(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    /// Made with the first duration, which takes about 100 KiB.
    values: Option<hdrhistogram::Histogram<u32>>,
    longest_micros: u64,
}

impl Histogram {
    /// Counts one duration.
    pub fn observe(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let mut inner = self.0.lock();
        inner.longest_micros = inner.longest_micros.max(micros);
        if inner.values.is_none() {
            // It fails for bounds that make no histogram; these do.
            inner.values = hdrhistogram::Histogram::new_with_max(HOUR_MICROS, DIGITS).ok();
        }
        if let Some(values) = &mut inner.values {
            values.saturating_record(micros);
        }
    }

    /// The percentiles; `None` when nothing was observed.
    pub fn latency(&self) -> Option<Latency> {
        let inner = self.0.lock();
        let values = inner.values.as_ref()?;
        let max = millis(inner.longest_micros);
        let at = |share| millis(values.value_at_quantile(share)).min(max);
        Some(Latency { count: values.len(), p50: at(0.50), p95: at(0.95), p99: at(0.99), max })
    }
}

fn millis(micros: u64) -> f64 {
    micros as f64 / 1000.0
}
