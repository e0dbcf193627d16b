//! The level of a device from hour to hour: day, week, moods and trips. It depends on its own stream alone, so the same
//! month can be gone through again to learn how much the device varies.

use super::super::dice::Dice;
use super::{Group, Own, Traits, DAY, HOUR};

/// Where the level stands.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    dice: Dice,
    /// The hour that comes next.
    pub(crate) next: u64,
    mood: f64,
    size_mood: f64,
    /// When it is on today; equal when not at all.
    pub(crate) trip: (u64, u64),
}

/// The level in one hour.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Level {
    /// Factor on the rate.
    pub(crate) rate: f64,
    /// Factor on the size.
    pub(crate) size: f64,
}

impl Shape {
    pub(crate) fn of(seed: u64, device: u32) -> Self {
        let mut dice = Dice::of(seed, "shape", u64::from(device));
        let (mood, size_mood) = (dice.normal(), dice.normal());
        Self { dice, next: 0, mood, size_mood, trip: (0, 0) }
    }

    /// Goes on by one hour.
    pub(crate) fn step(&mut self, group: &Group, own: &Own) -> Level {
        let traits = &*group.traits;
        let hour = self.next;
        self.next += 1;
        if hour.is_multiple_of(24) && traits.trip_days > 0.0 {
            self.trip = self.trip_of(traits, own, hour / 24);
        }
        let fresh = (1.0 - traits.keeps * traits.keeps).sqrt();
        if traits.mood > 0.0 {
            self.mood = traits.keeps * self.mood + fresh * self.dice.normal();
        }
        if traits.size_mood > 0.0 {
            self.size_mood = traits.keeps * self.size_mood + fresh * self.dice.normal();
        }
        let (day, hour_of_day) = (hour / 24, (hour % 24) as f64 + 0.5);
        let turn = (hour_of_day - traits.peak_h - own.shift_h) / 24.0 * std::f64::consts::TAU;
        let mut rate = (1.0 + traits.day * turn.cos()).max(0.0) * (traits.mood * self.mood).exp();
        if day % 7 >= 5 {
            rate *= traits.weekend;
        }
        let (growth, from) = group.growth;
        if growth != 0.0 {
            rate *= (1.0 + growth).powf((hour as f64 / 24.0 - from).max(0.0));
        }
        Level { rate: rate * own.rate, size: (traits.size_mood * self.size_mood).exp() * own.size }
    }

    fn trip_of(&mut self, traits: &Traits, own: &Own, day: u64) -> (u64, u64) {
        let start = traits.trip_start_h + own.shift_h + traits.trip_start_sd * self.dice.normal();
        let long = (traits.trip_h + traits.trip_sd * self.dice.normal()).max(0.25);
        let is_on = self.dice.chance(traits.trip_days);
        let begin = start.clamp(0.0, 23.5);
        let end = (begin + long).min(23.9);
        match is_on {
            true => {
                (day * DAY + (begin * HOUR as f64) as u64, day * DAY + (end * HOUR as f64) as u64)
            }
            false => (day * DAY, day * DAY),
        }
    }

    /// The deviation of the logarithm of the bytes of a day, over the days of a run on which there are any.
    pub(crate) fn deviation(seed: u64, device: u32, group: &Group, days: u64) -> f64 {
        let traits = &*group.traits;
        let own = Own::of(traits, seed, device);
        let mut shape = Self::of(seed, device);
        let (mut logs, mut messages) = (Vec::new(), 0.0);
        for _ in 0..days {
            let (mut bytes, mut count) = (0.0, 0.0);
            for _ in 0..24 {
                let hour = shape.next * HOUR;
                let level = shape.step(group, &own);
                let on = match traits.trip_days > 0.0 {
                    true => {
                        let (begin, end) = shape.trip;
                        end.min(hour + HOUR).saturating_sub(begin.max(hour)) as f64 / HOUR as f64
                    }
                    false => 1.0,
                };
                let firings = level.rate * on * HOUR as f64 / traits.period_ms;
                bytes += firings * level.size;
                count += firings;
            }
            if bytes > 0.0 {
                logs.push(bytes.ln());
                messages += count;
            }
        }
        if logs.len() < 2 {
            return 0.0;
        }
        let mean = logs.iter().sum::<f64>() / logs.len() as f64;
        let drift = logs.iter().map(|log| (log - mean).powi(2)).sum::<f64>();
        let of_days = drift / (logs.len() - 1) as f64;
        // Beside the level of each hour: the chance of each firing, of each size and of each gust.
        let firings = (messages / logs.len() as f64).max(1.0);
        let gusts = ((traits.gust * traits.gust).exp() - 1.0) / 288.0;
        let sizes = traits.size_cv * traits.size_cv / f64::from(traits.burst.max(1));
        let chance = (traits.jitter * traits.jitter + traits.lost + sizes) / firings + gusts;
        (of_days + chance).sqrt()
    }
}
