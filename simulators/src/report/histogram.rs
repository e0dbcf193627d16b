//! Latencies in fixed memory: an HDR histogram, exact to three digits from 1 µs to an hour.

use std::time::Duration;

use parking_lot::Mutex;

use super::{Latency, Micros};

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

impl Histogram {
    /// The percentiles in microseconds; `None` when nothing was observed.
    pub fn micros(&self) -> Option<Micros> {
        let inner = self.0.lock();
        let values = inner.values.as_ref()?;
        let max = inner.longest_micros;
        let at = |share| values.value_at_quantile(share).min(max);
        Some(Micros {
            count: values.len(),
            min: values.min(),
            p50: at(0.50),
            p90: at(0.90),
            p95: at(0.95),
            p99: at(0.99),
            p999: at(0.999),
            max,
        })
    }

    /// `points` shares of what was observed with the microseconds within which each was done: a curve to plot.
    pub fn curve(&self, points: usize) -> Vec<(f64, u64)> {
        let inner = self.0.lock();
        let Some(values) = inner.values.as_ref() else { return Vec::new() };
        let at = |share: f64| (share, values.value_at_quantile(share).min(inner.longest_micros));
        (0..=points).map(|point| at(point as f64 / points.max(1) as f64)).collect()
    }
}

fn millis(micros: u64) -> f64 {
    micros as f64 / 1000.0
}
