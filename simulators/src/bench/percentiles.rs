//! Percentiles of measured times, exact: all are kept and sorted.

use std::time::Duration;

/// Times in order, asked for the longest of a share of them.
pub(super) struct Percentiles(Vec<Duration>);

impl Percentiles {
    /// Of these, in any order.
    pub(super) fn of(times: impl IntoIterator<Item = Duration>) -> Self {
        let mut all: Vec<Duration> = times.into_iter().collect();
        all.sort();
        Self(all)
    }

    /// Milliseconds within which this share of them was done; 0 without any.
    pub(super) fn millis(&self, share: f64) -> f64 {
        let at = ((self.0.len() as f64 * share).ceil() as usize).saturating_sub(1);
        self.0.get(at).map_or(0.0, |time| time.as_secs_f64() * 1e3)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares() {
        let times = Percentiles::of((1..=100).rev().map(Duration::from_millis));
        assert_eq!((times.millis(0.5), times.millis(0.99), times.millis(1.0)), (50.0, 99.0, 100.0));
        assert_eq!(Percentiles::of([]).millis(0.99), 0.0);
    }
}
