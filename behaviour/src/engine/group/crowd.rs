//! Devices of a group that alarm for the same reason within some hours: then it is the group's, not theirs.

use super::super::num::{at, put};
use super::super::record::{Flow, Flowed};
use super::super::signal::SignalName;

const SIGNALS: usize = SignalName::ALL.len();
const HOURS: usize = 24;

/// Alarms by signal and hour.
#[derive(Clone, Debug, PartialEq)]
pub(in super::super) struct Crowd {
    alarms: [[u16; HOURS]; SIGNALS],
    hour: u32,
}

impl Default for Crowd {
    fn default() -> Self {
        Self { alarms: [[0; HOURS]; SIGNALS], hour: 0 }
    }
}

impl Crowd {
    /// A device alarms. The same device is to be told once in some hours only.
    pub(in super::super) fn add(&mut self, signal: SignalName, hour: u32) {
        self.go(hour);
        if let Some(hours) = self.alarms.get_mut(signal as usize) {
            let place = hour as usize % HOURS;
            let sum = at(&hours[..], place).saturating_add(1);
            put(hours, place, sum);
        }
    }

    /// Devices that alarmed in the last `hours` hours.
    pub(in super::super) fn number(&self, signal: SignalName, hours: u32) -> u32 {
        let alarms = self.alarms.get(signal as usize).copied().unwrap_or([0; HOURS]);
        let from = self.hour.saturating_sub(hours.min(HOURS as u32 - 1));
        (from..=self.hour).map(|hour| u32::from(at(&alarms, hour as usize % HOURS))).sum()
    }

    /// Devices of a group of so many that make a crowd.
    pub(in super::super) fn least(members: u32) -> u32 {
        (members / 20).max(4)
    }

    pub(in super::super) fn end_hour(&mut self, hour: u32) {
        self.go(hour + 1);
    }

    fn go(&mut self, hour: u32) {
        let steps = hour.saturating_sub(self.hour).min(HOURS as u32);
        for step in 0..steps {
            let place = (hour - step) as usize % HOURS;
            self.alarms.iter_mut().for_each(|hours| put(hours, place, 0));
        }
        self.hour = self.hour.max(hour);
    }

    pub(in super::super) fn flow(&mut self, flow: &mut Flow<'_>) -> Flowed {
        flow.hour(&mut self.hour)?;
        for value in self.alarms.iter_mut().flatten() {
            flow.u16(value)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crowd_counts_the_last_hours_only() {
        let mut crowd = Crowd::default();
        for hour in 100..110 {
            crowd.add(SignalName::Size, hour);
        }
        assert_eq!(crowd.number(SignalName::Size, 3), 4);
        assert_eq!(crowd.number(SignalName::Pace, 3), 0);
        crowd.end_hour(111);
        assert_eq!(crowd.number(SignalName::Size, 3), 1);
        crowd.end_hour(200);
        assert_eq!(crowd.number(SignalName::Size, 23), 0);
    }
}
