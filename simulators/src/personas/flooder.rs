//! The flooder: a valid token, its own topic, and far too much of it.

use std::time::Duration;

use tessera_runtime::clock::SharedClock;
use tessera_token::ids::DeviceId;

use super::Duty;
use crate::mqtt::Link;
use crate::report::Tally;

/// A device that behaves like a sensor first, so that it has a baseline, and then floods.
pub struct Flooder {
    device: DeviceId,
    clock: SharedClock,
    begins: Duration,
    tick: Duration,
    quiet_tick: Duration,
    quiet_due: Duration,
    per_tick: u32,
}

impl Flooder {
    /// Floods `rate` messages a second after `calm`, ticking every `tick`.
    pub fn new(
        device: DeviceId,
        clock: SharedClock,
        calm: Duration,
        rate: u32,
        tick: Duration,
    ) -> Self {
        let now = clock.monotonic();
        let per_tick = (f64::from(rate) * tick.as_secs_f64()).ceil() as u32;
        let quiet_tick = Duration::from_secs(1);
        Self { device, begins: now + calm, tick, quiet_tick, quiet_due: now, per_tick, clock }
    }

    /// How often it wants to act.
    pub fn tick_every(&self) -> Duration {
        self.tick
    }
}

impl Duty for Flooder {
    fn filters(&self) -> Vec<String> {
        Vec::new()
    }

    fn message(&mut self, _topic: &str, _payload: &[u8], _tally: &Tally) {}

    fn tick(&mut self, link: &Link, tally: &Tally) {
        let now = self.clock.monotonic();
        let messages = if now >= self.begins {
            self.per_tick
        } else if now >= self.quiet_due {
            self.quiet_due = now + self.quiet_tick;
            1
        } else {
            0
        };
        let topic = format!("d/{}/telemetry", self.device);
        for _ in 0..messages {
            match link.publish(&topic, false, vec![b'x'; 64]) {
                Ok(()) => tally.published.one(),
                Err(_) => return tally.refusal("queue_full"),
            }
        }
    }
}
