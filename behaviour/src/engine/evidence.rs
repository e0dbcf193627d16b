//! E-detectors of rare events: how much more likely the events of a device are under one of four higher rates than
//! under the honest rate, since the moment that says most (Shiryaev and Roberts; Shin, Ramdas and Rinaldo 2022). A
//! threshold of `A` is passed at most once in `A` honest hours, even when events depend on each other.

use super::num::{ln_mean, Evidence, NONE};
use super::record::{Flow, Flowed};

/// Events an hour that are looked for.
const RATES: [f32; 4] = [0.3 / 24.0, 0.1, 1.0, 6.0];

/// The evidence of one kind of rare event, at one device.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Rare {
    sums: [Evidence; 4],
    /// The hour of the last event.
    hour: u32,
    /// Hours from the first event that counts to the last one.
    lasts: u16,
    /// Events in that hour, and in all since then.
    pub(super) in_hour: u16,
    pub(super) events: u8,
}

impl Default for Rare {
    fn default() -> Self {
        Self { sums: [Evidence::new(NONE); 4], hour: 0, lasts: 0, in_hour: 0, events: 0 }
    }
}

impl Rare {
    /// Takes in `weight` events in an hour, where `honest` events an hour are usual, and returns the logarithm of the
    /// evidence.
    pub(super) fn add(&mut self, hour: u32, weight: f32, honest: f32) -> f32 {
        let quiet = hour.saturating_sub(self.hour);
        if self.events == 0 || quiet > 24 * 30 {
            *self = Self { hour, ..Self::default() };
            self.age(1, honest);
        } else if quiet > 0 {
            self.age(quiet, honest);
            let quiet = u16::try_from(quiet).unwrap_or(u16::MAX);
            self.lasts = self.lasts.saturating_add(quiet);
            (self.hour, self.in_hour) = (hour, 0);
        }
        self.in_hour = self.in_hour.saturating_add(1);
        self.events = self.events.saturating_add(1);
        for (sum, rate) in self.sums.iter_mut().zip(RATES) {
            let rate = rate.max(honest * 2.0);
            sum.set((sum.get() + weight * (rate / honest).ln()).min(100.0));
        }
        self.value()
    }

    /// The logarithm of the evidence.
    pub(super) fn value(&self) -> f32 {
        ln_mean(&self.sums.map(Evidence::get))
    }

    /// The hour of the first event that counts.
    pub(super) fn since(&self) -> u32 {
        self.hour.saturating_sub(u32::from(self.lasts))
    }

    pub(super) fn last_hour(&self) -> u32 {
        self.hour
    }

    /// Begins anew after an alarm, so that what follows is counted by itself.
    pub(super) fn told(&mut self) {
        self.sums = [Evidence::new(NONE); 4];
    }

    /// So many hours without an event: each takes in its 1 and loses by the rate.
    fn age(&mut self, hours: u32, honest: f32) {
        for (sum, rate) in self.sums.iter_mut().zip(RATES) {
            let rate = rate.max(honest * 2.0);
            let keep = (-(rate - honest)).exp();
            let kept = keep.powf(hours as f32);
            let gained = keep * (1.0 - kept) / (1.0 - keep).max(1e-6);
            let old = sum.get();
            let next = match old > 20.0 {
                true => old + kept.max(1e-38).ln(),
                false => (old.exp() * kept + gained).max(1e-38).ln(),
            };
            sum.set(next.max(NONE));
        }
    }

    pub(super) fn flow(&mut self, flow: &mut Flow<'_>) -> Flowed {
        for sum in &mut self.sums {
            flow.i16(&mut sum.0)?;
        }
        flow.hour(&mut self.hour)?;
        flow.u16(&mut self.lasts)?;
        flow.u16(&mut self.in_hour)?;
        flow.u8(&mut self.events)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: f32 = 1.0 / 24.0;

    #[test]
    fn rare_second_foreign_owner_within_a_day_passes_and_one_alone_does_not() {
        for gap in [0, 1, 5, 12, 24] {
            let mut rare = Rare::default();
            assert!(rare.add(1000, 1.0, DAY / 500.0) < 13.1);
            let second = rare.add(1000 + gap, 1.0, DAY / 500.0);
            let third = rare.add(1000 + 2 * gap, 1.0, DAY / 500.0);
            assert!(third > 13.1, "gap {gap}: {second} {third}");
        }
    }

    #[test]
    fn rare_replay_once_a_day_passes_within_a_week_and_one_in_two_months_never() {
        let mut rare = Rare::default();
        let day = (0..14).find(|day| rare.add(500 + day * 24, 1.0, DAY / 50.0) > 13.1);
        assert!(day.is_some_and(|day| day < 7), "{day:?}");
        let mut rare = Rare::default();
        assert!((0..40).all(|n| rare.add(500 + n * 24 * 60, 1.0, DAY / 50.0) < 13.1));
    }
}
