//! E-detectors of shifts: whether the residuals of a statistic have moved up for longer than moods last. The same sum as
//! for rare events, over three sizes of a shift of about normal residuals.

use super::num::{ln_mean, ln_one_plus, Evidence, Residual, NONE};
use super::record::{Flow, Flowed};

const SIZES: [f32; 3] = [1.0, 2.0, 4.0];
/// Deviations beyond which a residual counts no further.
const CLIP: f32 = 3.0;

/// The evidence of a shift of one statistic, at one device.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Shift {
    sums: [Evidence; 3],
    /// The present level of the residuals.
    level: Residual,
    /// Sum and number of the day's residuals, for the persistence of the group.
    day: Evidence,
    day_n: u8,
    /// Hours since the sum began to rise.
    hours: u8,
}

impl Default for Shift {
    fn default() -> Self {
        Self {
            sums: [Evidence::new(NONE); 3],
            level: Residual::default(),
            day: Evidence::default(),
            day_n: 0,
            hours: 0,
        }
    }
}

/// An hour's residual, as far as it may be judged.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Score {
    /// Nothing was seen.
    Nothing,
    /// The device is learned anew: what was gathered against its former self is dropped.
    Anew,
    /// Deviations from what was expected, and the same as a logarithm of a factor.
    Of { z: f32, r: f32 },
}

impl Shift {
    /// Takes in an hour, and returns the logarithm of the evidence.
    pub(super) fn add(&mut self, score: Score, persistence: f32) -> f32 {
        match score {
            Score::Nothing => {
                for sum in &mut self.sums {
                    sum.set(ln_one_plus(sum.get()));
                }
            }
            Score::Anew => *self = Self { day: self.day, day_n: self.day_n, ..Self::default() },
            Score::Of { z, r } => {
                let clipped = (z / persistence.max(1.0)).clamp(-CLIP, CLIP);
                for (sum, size) in self.sums.iter_mut().zip(SIZES) {
                    let grown = ln_one_plus(sum.get()) + size * clipped - size * size / 2.0;
                    sum.set(grown.clamp(NONE, 100.0));
                }
                self.level.set(self.level.get() + 0.3 * (r - self.level.get()));
                self.day.set(self.day.get() + z.clamp(-4.0, 4.0));
                self.day_n = self.day_n.saturating_add(1);
            }
        }
        let value = self.value();
        self.hours = if value > 1.0 { self.hours.saturating_add(1) } else { 0 };
        value
    }

    pub(super) fn value(&self) -> f32 {
        ln_mean(&self.sums.map(Evidence::get))
    }

    /// The present level of the residuals: the logarithm of a factor.
    pub(super) fn level(&self) -> f32 {
        self.level.get()
    }

    pub(super) fn hours(&self) -> u8 {
        self.hours
    }

    /// Begins anew after an alarm.
    pub(super) fn told(&mut self) {
        self.sums = [Evidence::new(NONE); 3];
        self.hours = 0;
    }

    /// Sum and number of the residuals of the day that ends.
    pub(super) fn take_day(&mut self) -> (f32, f32) {
        let day = (self.day.get(), f32::from(self.day_n));
        (self.day, self.day_n) = (Evidence::default(), 0);
        day
    }

    pub(super) fn flow(&mut self, flow: &mut Flow<'_>) -> Flowed {
        for sum in &mut self.sums {
            flow.i16(&mut sum.0)?;
        }
        flow.i16(&mut self.level.0)?;
        flow.i16(&mut self.day.0)?;
        flow.u8(&mut self.day_n)?;
        flow.u8(&mut self.hours)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shift_of_one_deviation_is_found_within_two_days_and_noise_is_not() {
        let mut shift = Shift::default();
        // Sums of twelve even numbers: about normal.
        let mut state = 1_u64;
        let mut noise = || {
            let sum: f32 = (0..12)
                .map(|_| {
                    state =
                        state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                    (state >> 40) as f32 / (1 << 24) as f32
                })
                .sum();
            sum - 6.0
        };
        let quiet = (0..24 * 200).map(|_| {
            let z = noise();
            shift.add(Score::Of { z, r: z * 0.1 }, 1.0)
        });
        assert!(quiet.fold(0.0, f32::max) < 13.1);
        let found = (0..48).find(|_| {
            let z = noise() + 1.3;
            shift.add(Score::Of { z, r: z * 0.1 }, 1.0) > 13.1
        });
        assert!(found.is_some());
        shift.add(Score::Anew, 1.0);
        assert!(shift.value() < 0.0);
    }
}
