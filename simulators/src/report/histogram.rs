//! Latencies in fixed memory: buckets that grow by about 9 %, from 10 µs to minutes.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::Latency;

const STEPS_PER_OCTAVE: f64 = 8.0;
const LEAST_MICROS: f64 = 10.0;
const BUCKETS: usize = 200;

/// A distribution of durations; safe to share.
pub struct Histogram {
    buckets: Vec<AtomicU64>,
    longest_micros: AtomicU64,
}

impl Default for Histogram {
    fn default() -> Self {
        let buckets = std::iter::repeat_with(AtomicU64::default).take(BUCKETS).collect();
        Self { buckets, longest_micros: AtomicU64::new(0) }
    }
}

impl Histogram {
    /// Counts one duration.
    pub fn observe(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        if let Some(bucket) = self.buckets.get(index(micros)) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        self.longest_micros.fetch_max(micros, Ordering::Relaxed);
    }

    /// The percentiles; `None` when nothing was observed.
    pub fn latency(&self) -> Option<Latency> {
        let counts: Vec<u64> = self.buckets.iter().map(|b| b.load(Ordering::Relaxed)).collect();
        let count: u64 = counts.iter().sum();
        let max = millis(self.longest_micros.load(Ordering::Relaxed) as f64);
        let at = |share: f64| percentile(&counts, count, share).min(max);
        (count > 0).then(|| Latency { count, p50: at(0.50), p95: at(0.95), p99: at(0.99), max })
    }
}

fn index(micros: u64) -> usize {
    let ratio = (micros as f64 / LEAST_MICROS).max(1.0);
    let index = (ratio.log2() * STEPS_PER_OCTAVE).ceil();
    (index as usize).min(BUCKETS - 1)
}

fn percentile(counts: &[u64], count: u64, share: f64) -> f64 {
    let rank = ((count as f64 * share).ceil() as u64).max(1);
    let mut seen = 0;
    let found = counts.iter().position(|n| {
        seen += n;
        seen >= rank
    });
    let upper = LEAST_MICROS * 2f64.powf(found.unwrap_or(BUCKETS) as f64 / STEPS_PER_OCTAVE);
    millis(upper)
}

fn millis(micros: f64) -> f64 {
    micros.round() / 1000.0
}
