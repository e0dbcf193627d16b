//! The habit of one statistic at one device: a level for each part of the day, and how far it scatters. Learning is
//! bounded, so a ramp is followed slowly and an attack teaches little.

use super::num::{at, put, Residual};
use super::record::{Flow, Flowed};

/// Deviations of the group count as so many own ones.
const GROUP_WEIGHT: f32 = 24.0;
/// The least deviation: one percent.
pub(super) const LEAST: f32 = 0.02;
/// Values of which the scatter is learned without a bound of its own.
const FREE: u16 = 12;
/// Values that are learned anew after a change of the group, by a device that was off while it happened.
const ANEW: u8 = 12;
/// From the mean distance to the deviation of a normal distribution.
const TO_DEVIATION: f32 = 1.25;

/// A level in each of `K` parts of the day.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Habit<const K: usize, L = f32> {
    own: [L; K],
    times: [u8; K],
    scale: f32,
    seen: u16,
    /// How far the device lies above the group's median.
    level: Residual,
    /// The group's count of changes that this habit has followed.
    epoch: u8,
    /// Values that are still to be learned anew after the last change.
    anew: u8,
}

impl<const K: usize, L: Level> Default for Habit<K, L> {
    fn default() -> Self {
        Self {
            own: [L::default(); K],
            times: [0; K],
            scale: 0.0,
            seen: 0,
            level: Residual::default(),
            epoch: 0,
            anew: 0,
        }
    }
}

/// How a level is kept: whole where little is learned at a time, in half the bytes where much is.
pub(super) trait Level: Copy + Default {
    fn get(self) -> f32;
    fn of(value: f32) -> Self;
    fn flow(&mut self, flow: &mut Flow<'_>) -> Flowed;
}

impl Level for f32 {
    fn get(self) -> f32 {
        self
    }

    fn of(value: f32) -> Self {
        value
    }

    fn flow(&mut self, flow: &mut Flow<'_>) -> Flowed {
        flow.f32(self)
    }
}

impl Level for Residual {
    fn get(self) -> f32 {
        Residual::get(self)
    }

    fn of(value: f32) -> Self {
        Self::new(value)
    }

    fn flow(&mut self, flow: &mut Flow<'_>) -> Flowed {
        flow.i16(&mut self.0)
    }
}

/// The group's part in a judgement of one hour.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Peers {
    /// Median of the values, of the residuals, and of the devices' scales.
    pub(super) usual: Option<f32>,
    pub(super) common: f32,
    pub(super) scale: Option<f32>,
    /// Whether the group changed less than a day ago.
    pub(super) is_anew: bool,
    pub(super) epoch: u8,
}

/// The judgement of an hour's value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Judged {
    /// Deviations, the logarithm of the factor, and the expected value.
    pub(super) z: f32,
    pub(super) r: f32,
    pub(super) expected: f32,
    /// Whether enough was learned to judge.
    pub(super) is_sure: bool,
    /// How often this part of the day was seen.
    pub(super) times: f32,
    /// Whether the device still learns a change of its group.
    pub(super) is_anew: bool,
}

impl<const K: usize, L: Level> Habit<K, L> {
    /// The expected value in a part of the day, when it was seen before.
    pub(super) fn own(&self, part: usize) -> Option<f32> {
        (at(&self.times, part) > 0).then(|| at(&self.own, part).get())
    }

    /// The largest expected value of the day.
    pub(super) fn top(&self) -> Option<f32> {
        let known = self.own.iter().zip(&self.times).filter(|(_, times)| **times > 0);
        known.map(|(own, _)| own.get()).reduce(f32::max)
    }

    pub(super) fn seen(&self) -> u16 {
        self.seen
    }

    pub(super) fn scale(&self) -> f32 {
        self.scale
    }

    /// How far the device lies above the group's median, once enough was seen.
    pub(super) fn level(&self, need: u16) -> Option<f32> {
        (self.seen >= need).then(|| self.level.get())
    }

    pub(super) fn is_wide(&self) -> bool {
        usize::from(self.seen) > K
    }

    /// The expected value, for a device that knows this part of the day or for a stranger to it.
    pub(super) fn expected(&self, part: usize, usual: Option<f32>) -> Option<f32> {
        self.own(part).or_else(|| usual.map(|usual| usual + self.level.get()))
    }

    /// How far values of this part of the day scatter.
    pub(super) fn deviation(&self, part: usize, group: Option<f32>) -> f32 {
        let seen = f32::from(self.seen);
        let own = self.scale * self.scale * seen;
        let squares = match group {
            Some(group) => {
                let group = group.max(LEAST);
                (GROUP_WEIGHT * group * group + own) / (GROUP_WEIGHT + seen)
            }
            None => own / seen.max(1.0),
        };
        let times = f32::from(at(&self.times, part)).max(1.0);
        (squares.sqrt() * TO_DEVIATION * (1.0 + 1.0 / times).sqrt()).max(LEAST)
    }

    /// Judges a value, then learns from it. `need` values must have been seen before it is sure; `forget` is the least part of
    /// a new value in the level.
    pub(super) fn take(
        &mut self,
        value: f32,
        part: usize,
        peers: &Peers,
        need: u16,
        forget: f32,
    ) -> Judged {
        if self.epoch != peers.epoch {
            self.epoch = peers.epoch;
            self.times.iter_mut().for_each(|times| *times = (*times).min(1));
            self.anew = ANEW;
        }
        let is_anew = peers.is_anew || self.anew > 0;
        self.anew = self.anew.saturating_sub(1);
        let own = self.own(part);
        let times = f32::from(at(&self.times, part));
        let usual = peers.usual.unwrap_or(value - self.level.get());
        let expected = own.unwrap_or(usual + self.level.get());
        let raw = value - expected;
        let common = if own.is_some() { peers.common } else { 0.0 };
        let r = raw - common;
        let deviation = self.deviation(part, peers.scale);
        let is_sure = own.is_some() && self.seen >= need;
        let judged =
            Judged { z: r / deviation, r, expected: expected + common, is_sure, times, is_anew };
        let peers = &Peers { is_anew, ..*peers };
        self.learn(value, part, peers, (raw, r, deviation), forget);
        judged
    }

    fn learn(
        &mut self,
        value: f32,
        part: usize,
        peers: &Peers,
        (raw, r, deviation): (f32, f32, f32),
        forget: f32,
    ) {
        let times = f32::from(at(&self.times, part));
        let next = match self.own(part) {
            Some(own) => {
                let rate = (1.0 / (times + 1.0)).max(forget);
                let most = if peers.is_anew { 10.0 } else { 2.0 } * deviation + peers.common.abs();
                own + rate * raw.clamp(-most, most)
            }
            None if K > 1 && peers.usual.is_some() => value - raw + raw.clamp(-0.7, 0.7),
            None => value,
        };
        let seen = f32::from(self.seen);
        if at(&self.times, part) > 0 {
            let rate = (1.0 / (seen + 1.0)).max(0.01);
            let most = if self.seen < FREE { 1.0 } else { 4.0 * deviation };
            self.scale += rate * (r.abs().min(most) - self.scale);
            self.seen = self.seen.saturating_add(1);
        }
        put(&mut self.own, part, L::of(next));
        let times = at(&self.times, part).saturating_add(1);
        put(&mut self.times, part, times);
        if let Some(usual) = peers.usual {
            let gap = (value - usual - self.level.get()).clamp(-1.0, 1.0);
            self.level.set(self.level.get() + gap / (seen + 1.0).min(24.0));
        }
    }

    pub(super) fn flow(&mut self, flow: &mut Flow<'_>) -> Flowed {
        for own in &mut self.own {
            own.flow(flow)?;
        }
        flow.bytes(&mut self.times)?;
        flow.f32(&mut self.scale)?;
        flow.u16(&mut self.seen)?;
        flow.i16(&mut self.level.0)?;
        flow.u8(&mut self.epoch)?;
        flow.u8(&mut self.anew)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A device that was off in the day after a roll-out learns it when it is back, and is not judged meanwhile.
    #[test]
    fn habit_of_a_device_that_was_off_follows_the_change_of_its_group() {
        let mut habit = Habit::<1>::default();
        let mut peers = Peers { scale: Some(0.02), ..Peers::default() };
        let value =
            |base: f32, turn: u16| base.ln() + if turn.is_multiple_of(2) { 0.02 } else { -0.02 };
        for turn in 0..100 {
            habit.take(value(100.0, turn), 0, &peers, 36, 1.0 / 240.0);
        }
        peers.epoch += 1;
        for turn in 0..u16::from(ANEW) {
            let judged = habit.take(value(124.0, turn), 0, &peers, 36, 1.0 / 240.0);
            assert!(judged.is_anew, "{turn}");
        }
        let judged = habit.take(124_f32.ln(), 0, &peers, 36, 1.0 / 240.0);
        assert!(!judged.is_anew && judged.r.abs() < 0.03, "{judged:?}");
    }
}
