//! The rule against flapping of MQTT brokers: fifteen connects in a minute.

use tessera_behaviour::observation::{Event, Observation, UnixMillis};

use super::Rule;

const CONNECTS: usize = 15;
const WINDOW_MS: f64 = 60_000.0;

/// The times of the last connects of each device.
#[derive(Debug, Default)]
pub(super) struct Flapping {
    devices: Vec<([UnixMillis; CONNECTS], usize)>,
}

impl Rule for Flapping {
    fn name(&self) -> &'static str {
        "flapping"
    }

    fn usual(&self) -> f64 {
        1.0
    }

    /// A minute, divided by the time that the last fifteen connects took.
    fn event(&mut self, device: usize, seen: &Observation<'_>) -> Option<f64> {
        if !matches!(seen.event, Event::Connected(_)) {
            return None;
        }
        if self.devices.len() <= device {
            self.devices.resize(device + 1, ([0; CONNECTS], 0));
        }
        let (times, next) = self.devices.get_mut(device)?;
        let place = times.get_mut(*next)?;
        *place = seen.at;
        *next = (*next + 1) % CONNECTS;
        let oldest = *times.get(*next)?;
        let span = seen.at.saturating_sub(oldest).max(1_000);
        (oldest > 0).then_some(WINDOW_MS / span as f64)
    }
}
