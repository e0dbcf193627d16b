//! Counts of an hour against the own mean and the group's: a sum of log-likelihood ratios that falls back by itself
//! (Page 1954), of a Poisson count whose mean is not known exactly.

use super::num::Fixed;
use super::record::{Flow, Flowed};

/// Hours for which the group's mean counts.
const PRIOR: f32 = 12.0;
/// The loss of the sum in an hour, and the most that an hour adds.
const DRIFT: f32 = 1.2;
const STEP: f32 = 9.0;
/// Hours in which a mean is forgotten.
const MEMORY: u16 = 24 * 20;
/// Evidence from which counts teach a part only.
const GATHERING: f32 = 1.5;

/// The usual count of an hour.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Rate {
    sum: f32,
    hours: u16,
    cusum: Fixed<512>,
}

/// An hour that was judged.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Counted {
    pub(super) usual: f32,
    pub(super) evidence: f32,
    /// Whether enough hours were seen to judge.
    pub(super) is_sure: bool,
}

impl Rate {
    pub(super) fn mean(&self) -> Option<f32> {
        (self.hours() > PRIOR).then(|| self.sum / self.hours())
    }

    /// The mean that is expected now.
    pub(super) fn usual(&self, group: f32) -> f32 {
        (self.sum + PRIOR * group.max(0.02)) / (self.hours() + PRIOR)
    }

    fn hours(&self) -> f32 {
        f32::from(self.hours)
    }

    /// The sum with this count of an hour that goes on, without the bound of an hour's part.
    pub(super) fn at_once(&self, count: f32, group: f32) -> Counted {
        let usual = self.usual(group);
        let evidence = self.cusum.get() + gain(count, usual) - DRIFT;
        Counted { usual, evidence, is_sure: self.hours() > 24.0 }
    }

    /// The hour ends with this count.
    pub(super) fn end_hour(&mut self, count: f32, group: f32) -> Counted {
        let usual = self.usual(group);
        let is_sure = self.hours() > 24.0;
        let gathered = (self.cusum.get() + gain(count, usual).min(STEP) - DRIFT).max(0.0);
        // Nothing gathers before the mean is known, or the mean of a busy device would never be learned.
        let evidence = if is_sure { gathered } else { 0.0 };
        let counted = Counted { usual, evidence, is_sure };
        // While evidence gathers, little is learned: else a patient attack is the habit before it is told.
        let learned = count.min(3.0 * usual + 3.0);
        let part = if self.cusum.get() > GATHERING { 0.2 } else { 1.0 };
        self.cusum.set(evidence);
        self.sum += usual + part * (learned - usual);
        self.hours += 1;
        if self.hours > MEMORY {
            self.sum *= f32::from(MEMORY) / f32::from(self.hours);
            self.hours = MEMORY;
        }
        counted
    }

    pub(super) fn told(&mut self) {
        self.cusum = Fixed::default();
    }

    pub(super) fn flow(&mut self, flow: &mut Flow<'_>) -> Flowed {
        flow.f32(&mut self.sum)?;
        flow.u16(&mut self.hours)?;
        flow.i16(&mut self.cusum.0)
    }
}

/// How much this count says against the mean.
fn gain(count: f32, usual: f32) -> f32 {
    if count <= usual {
        return 0.0;
    }
    let ratio = count.max(0.5) / usual.max(0.05);
    (count * ratio.ln() - (count - usual)) / (1.0 + 0.5 * usual)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first device of a group that connects often has no prior: its first day is no alarm on its second one.
    #[test]
    fn rate_of_a_busy_device_is_learned_in_its_first_day() {
        let mut rate = Rate::default();
        let worst = (0..72).map(|_| rate.end_hour(4.0, 0.0).evidence).fold(0.0, f32::max);
        assert!(worst < 13.0, "{worst}");
        assert!((rate.usual(0.0) - 4.0).abs() < 1.0, "{}", rate.usual(0.0));
        let found = (0..24).find(|_| rate.end_hour(12.0, 0.0).evidence > 13.0);
        assert!(found.is_some_and(|hours| hours < 24), "{found:?}");
    }
}
