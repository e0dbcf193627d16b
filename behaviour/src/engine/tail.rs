//! The tail of a statistic, pooled over a group and about a week: a device alone cannot learn a probability of 10⁻⁷, its
//! group can (peaks over threshold, Siffer and others 2017).

use super::record::{Flow, Flowed};

const BINS: usize = 120;
/// Deviations in a bin.
const WIDTH: f32 = 0.1;
/// The part of a day that is left after another one: about a week is remembered.
const KEEP: f32 = 6.0 / 7.0;
/// Residuals from which the tail can be told.
const ENOUGH: f32 = 300.0;

/// Residuals of a group.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Tail {
    bins: Box<[f32; BINS]>,
    below: f32,
    /// Σ u, Σ u² and number of the clipped residuals; Σ n·mean² and number of the means of a device's day.
    sums: [f32; 5],
    /// The deviations of which 1 % lie beyond, and the mean excess over them.
    edge: f32,
    excess: f32,
    /// How long moods last: the deviation of means of a day, as if residuals were independent.
    persistence: f32,
}

impl Default for Tail {
    fn default() -> Self {
        let bins = Box::new([0.0; BINS]);
        Self { bins, below: 0.0, sums: [0.0; 5], edge: 0.0, excess: 0.0, persistence: 3.0 }
    }
}

impl Tail {
    pub(super) fn add(&mut self, z: f32) {
        if z < 0.0 {
            self.below += 1.0;
        } else if let Some(bin) = self.bins.get_mut(((z / WIDTH) as usize).min(BINS - 1)) {
            *bin += 1.0;
        }
        let u = z.clamp(-4.0, 4.0);
        let [sum, squares, number, ..] = &mut self.sums;
        *sum += u;
        *squares += u * u;
        *number += 1.0;
    }

    /// The day of one device ends: sum and number of its residuals.
    pub(super) fn add_day(&mut self, (sum, number): (f32, f32)) {
        if number > 0.0 {
            let [.., squares, days] = &mut self.sums;
            *squares += sum * sum / number;
            *days += 1.0;
        }
    }

    /// A day of the group ends: tells the tail and the persistence, and forgets a part.
    pub(super) fn end_day(&mut self) {
        let total = self.below + self.bins.iter().sum::<f32>();
        if total > ENOUGH {
            let (mut beyond, mut edge, mut weighted) = (0.0, 0.0, 0.0);
            for (place, bin) in self.bins.iter().enumerate().rev() {
                if beyond + bin > total * 0.01 {
                    let part = (total * 0.01 - beyond) / bin.max(1e-6);
                    edge = WIDTH * (place as f32 + 1.0 - part);
                    break;
                }
                beyond += bin;
                weighted += bin * WIDTH * (place as f32 + 0.5);
            }
            self.edge = edge;
            self.excess = if beyond > 0.0 { (weighted / beyond - edge).max(0.5) } else { 0.5 };
        }
        let [sum, squares, number, means, days] = self.sums;
        if number > ENOUGH && days > 0.0 {
            let deviation = (squares / number - (sum / number).powi(2)).max(0.0).sqrt();
            self.persistence = (means / days).sqrt().max(deviation).max(1.0);
        }
        self.bins.iter_mut().for_each(|bin| *bin *= KEEP);
        self.below *= KEEP;
        self.sums.iter_mut().for_each(|sum| *sum *= KEEP);
    }

    /// The deviations that are passed with a probability of `alpha`, or a cautious number before the tail is known.
    pub(super) fn threshold(&self, alpha: f32) -> f32 {
        match self.excess > 0.0 {
            true => (self.edge + self.excess * (0.01 / alpha).ln()).max(5.0),
            false => 25.0,
        }
    }

    /// The logarithm of one over the probability of so many deviations.
    pub(super) fn evidence(&self, z: f32) -> f32 {
        100.0_f32.ln() + (z - self.edge).max(0.0) / self.excess.max(0.5)
    }

    /// The deviations of which 1 % lie beyond.
    pub(super) fn edge(&self) -> f32 {
        self.edge
    }

    pub(super) fn persistence(&self) -> f32 {
        self.persistence
    }

    pub(super) fn flow(&mut self, flow: &mut Flow<'_>) -> Flowed {
        for value in self.bins.iter_mut().chain(&mut self.sums) {
            flow.f32(value)?;
        }
        flow.f32(&mut self.below)?;
        flow.f32(&mut self.edge)?;
        flow.f32(&mut self.excess)?;
        flow.f32(&mut self.persistence)
    }

    #[cfg(test)]
    pub(super) fn beyond(&self, place: usize) -> f32 {
        self.bins[place]
    }
}

/// Values of one hour of a group, a bounded sample of them.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Sample {
    values: Vec<f32>,
    seen: u32,
}

impl Sample {
    pub(super) fn add(&mut self, value: f32) {
        self.seen = self.seen.saturating_add(1);
        if self.values.len() < super::limits::SAMPLE {
            self.values.push(value);
        } else {
            // Each value has the same chance to be in the sample.
            let place = super::hash::mark_number(0, u64::from(self.seen)) % u64::from(self.seen);
            super::num::put(&mut self.values, usize::try_from(place).unwrap_or(usize::MAX), value);
        }
    }

    /// The median of the hour's values, when there are enough, and the sample is emptied.
    pub(super) fn take_median(&mut self, least: usize) -> Option<f32> {
        let number = self.values.len();
        let median = (number >= least.max(1)).then(|| {
            let middle = number / 2;
            let (below, upper, _) = self.values.select_nth_unstable_by(middle, f32::total_cmp);
            match number % 2 {
                1 => *upper,
                _ => (*upper + below.iter().copied().fold(f32::NEG_INFINITY, f32::max)) / 2.0,
            }
        });
        self.clear();
        median
    }

    /// Median and the median distance from it.
    pub(super) fn take_middle(&mut self, least: usize) -> Option<(f32, f32)> {
        let mut copy = self.clone();
        let median = self.take_median(least)?;
        copy.values.iter_mut().for_each(|value| *value = (*value - median).abs());
        Some((median, copy.take_median(1)?))
    }

    fn clear(&mut self) {
        self.values.clear();
        self.seen = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tail_of_an_exponential_gives_its_quantiles() {
        let mut tail = Tail::default();
        for n in 0..100_000 {
            tail.add(-((n as f32 + 0.5) / 100_000.0).ln());
        }
        tail.end_day();
        // ln 100 and ln 10,000 of an exponential of mean 1.
        assert!((tail.edge - 4.605).abs() < 0.1, "{}", tail.edge);
        assert!((tail.threshold(1e-4) - 9.21).abs() < 0.5, "{}", tail.threshold(1e-4));
        assert!(tail.beyond(0) > 0.0);
    }

    #[test]
    fn sample_gives_the_median_of_few_and_of_many() {
        let mut sample = Sample::default();
        assert_eq!(sample.take_median(1), None);
        [3.0, 1.0, 2.0, 10.0].iter().for_each(|value| sample.add(*value));
        assert_eq!(sample.take_middle(1), Some((2.5, 1.0)));
        (0..5000).for_each(|n| sample.add((n * 7919 % 5000) as f32));
        let median = sample.take_median(10).unwrap();
        assert!((median - 2500.0).abs() < 500.0, "{median}");
    }
}
