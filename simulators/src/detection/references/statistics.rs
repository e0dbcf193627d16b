//! Deviations from a mean of the first week, percentiles of the fleet, and a moving mean with absolute deviations.

use std::collections::BTreeMap;

use super::{Features, Rule, FEATURES};

/// Hours of the first week.
const WEEK: u64 = 168;
/// The least deviation: a device that never varies is not infinitely odd at its first step.
const LEAST: f64 = 0.5;

/// Deviations from the mean of the first week.
#[derive(Debug, Default)]
pub(super) struct Deviation {
    /// For each device: hours, and for each number its sum and its sum of squares.
    devices: Vec<(f64, [(f64, f64); FEATURES])>,
}

impl Rule for Deviation {
    fn name(&self) -> &'static str {
        "z-score"
    }

    fn usual(&self) -> f64 {
        3.0
    }

    fn hour(&mut self, hour: u64, rows: &[(u64, Features)], scores: &mut Vec<(usize, f64)>) {
        self.devices.resize(rows.len(), (0.0, [(0.0, 0.0); FEATURES]));
        for (place, ((_, row), (hours, sums))) in rows.iter().zip(&mut self.devices).enumerate() {
            if hour < WEEK || *hours < 24.0 {
                *hours += 1.0;
                for ((sum, squares), value) in sums.iter_mut().zip(row) {
                    *sum += value;
                    *squares += value * value;
                }
                continue;
            }
            let score = sums.iter().zip(row).map(|((sum, squares), value)| {
                let mean = sum / *hours;
                let sd = (squares / *hours - mean * mean).max(0.0).sqrt();
                (value - mean) / sd.max(LEAST)
            });
            scores.push((place, score.fold(0.0, f64::max)));
        }
    }
}

/// Three hours in a row above the 99th percentile of the group.
#[derive(Debug, Default)]
pub(super) struct Percentile {
    /// For each device: the ratios of the two hours before.
    before: Vec<[[f64; FEATURES]; 2]>,
}

impl Rule for Percentile {
    fn name(&self) -> &'static str {
        "fleet p99"
    }

    fn usual(&self) -> f64 {
        1.000_1
    }

    fn hour(&mut self, hour: u64, rows: &[(u64, Features)], scores: &mut Vec<(usize, f64)>) {
        self.before.resize(rows.len(), [[0.0; FEATURES]; 2]);
        let mut groups: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
        for (place, (group, _)) in rows.iter().enumerate() {
            groups.entry(*group).or_default().push(place);
        }
        let mut column = Vec::new();
        for places in groups.values() {
            let mut limits = [0.0; FEATURES];
            for (number, limit) in limits.iter_mut().enumerate() {
                column.clear();
                let row = |place: &usize| rows.get(*place).and_then(|(_, row)| row.get(number));
                column.extend(places.iter().filter_map(row));
                column.sort_by(f64::total_cmp);
                *limit = percentile(&column, 0.99);
            }
            for place in places {
                let (Some((_, row)), Some(before)) =
                    (rows.get(*place), self.before.get_mut(*place))
                else {
                    continue;
                };
                let (mut now, mut best) = ([0.0; FEATURES], 0.0_f64);
                for (number, ratio) in now.iter_mut().enumerate() {
                    let value = row.get(number).copied().unwrap_or(0.0);
                    let limit = limits.get(number).copied().unwrap_or(0.0);
                    *ratio = (value + 1.0) / (limit + 1.0);
                    let past = before.iter().filter_map(|hour| hour.get(number)).copied();
                    best = best.max(past.fold(*ratio, f64::min));
                }
                let [first, second] = before;
                *first = *second;
                *second = now;
                if hour >= 24 {
                    scores.push((*place, best));
                }
            }
        }
    }
}

/// Between the two neighbours, as usual libraries have it.
fn percentile(sorted: &[f64], share: f64) -> f64 {
    let at = share * sorted.len().saturating_sub(1) as f64;
    let low = sorted.get(at.floor() as usize).copied().unwrap_or(0.0);
    let high = sorted.get(at.ceil() as usize).copied().unwrap_or(low);
    low + (high - low) * at.fract()
}

/// A moving mean, and a moving mean of the absolute deviations.
#[derive(Debug, Default)]
pub(super) struct Moving {
    devices: Vec<(u32, [(f64, f64); FEATURES])>,
}

impl Rule for Moving {
    fn name(&self) -> &'static str {
        "EWMA and MAD"
    }

    fn usual(&self) -> f64 {
        6.0
    }

    fn hour(&mut self, _hour: u64, rows: &[(u64, Features)], scores: &mut Vec<(usize, f64)>) {
        self.devices.resize(rows.len(), (0, [(0.0, 0.0); FEATURES]));
        for (place, ((_, row), (hours, state))) in rows.iter().zip(&mut self.devices).enumerate() {
            *hours += 1;
            let learns = *hours <= 24;
            // The first day is a plain mean; after it a value counts for 1 in 48.
            let rate = if learns { 1.0 / f64::from(*hours) } else { 1.0 / 48.0 };
            let mut score = 0.0_f64;
            for ((mean, deviation), value) in state.iter_mut().zip(row) {
                let distance = (value - *mean).abs();
                score = score.max((value - *mean) / (1.48 * *deviation).max(LEAST));
                *mean += (value - *mean) * rate;
                let counted = if learns { distance } else { distance.min(4.0 * *deviation + 1.0) };
                *deviation += (counted - *deviation) * rate;
            }
            if !learns {
                scores.push((place, score));
            }
        }
    }
}
