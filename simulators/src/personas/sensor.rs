//! The honest sensor: one small reading a tick, and it listens to its own commands.

use tessera_runtime::clock::SharedClock;
use tessera_token::ids::DeviceId;

use super::Duty;
use crate::mqtt::Link;
use crate::report::Tally;

/// An honest sensor.
pub struct Sensor {
    device: DeviceId,
    clock: SharedClock,
    payload_bytes: usize,
    sequence: u64,
}

impl Sensor {
    /// A sensor that pads its payloads to `payload_bytes`.
    pub fn new(device: DeviceId, clock: SharedClock, payload_bytes: usize) -> Self {
        Self { device, clock, payload_bytes, sequence: 0 }
    }

    /// `{"n":…,"t":…,"u":…}` with the true time in milliseconds, and the time of the process in microseconds, by which the
    /// backend tells how long it took.
    fn payload(&self) -> Vec<u8> {
        let (sent, micros) = (self.clock.unix_millis(), self.clock.monotonic().as_micros());
        let payload = format!("{{\"n\":{},\"t\":{sent},\"u\":{micros}}}", self.sequence);
        let mut payload = payload.into_bytes();
        payload.resize(payload.len().max(self.payload_bytes), b' ');
        payload
    }
}

impl Duty for Sensor {
    fn filters(&self) -> Vec<String> {
        vec![format!("d/{}/cmd", self.device)]
    }

    fn message(&mut self, _topic: &str, _payload: &[u8], tally: &Tally) {
        tally.commands.one();
    }

    fn tick(&mut self, link: &Link, tally: &Tally) {
        self.sequence += 1;
        let topic = format!("d/{}/telemetry", self.device);
        match link.publish(&topic, true, self.payload()) {
            Ok(()) => tally.published.one(),
            Err(_) => tally.failure("queue_full"),
        }
    }
}
