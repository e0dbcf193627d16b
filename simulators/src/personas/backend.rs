//! The backend: a service role that reads all telemetry, sends commands and hears the alerts.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tessera_runtime::clock::SharedClock;
use tessera_token::ids::DeviceId;

use super::Duty;
use crate::report::{Alert, Tally};
use crate::wire::Link;

/// The topic of alerts.
pub const ALERTS_TOPIC: &str = "$tessera/alerts";

/// A backend that counts into the tally of the fleet it serves.
pub struct Backend {
    fleet: Arc<Tally>,
    clock: SharedClock,
    devices: Vec<DeviceId>,
    next: usize,
    prefix: String,
}

impl Backend {
    /// A backend that commands `devices` in turn, one a tick, and measures messages below `prefix` (`d/sensor-`).
    pub fn new(
        fleet: Arc<Tally>,
        clock: SharedClock,
        devices: Vec<DeviceId>,
        prefix: String,
    ) -> Self {
        Self { fleet, clock, devices, next: 0, prefix }
    }
}

impl Duty for Backend {
    fn filters(&self) -> Vec<String> {
        vec!["d/+/telemetry".to_owned(), ALERTS_TOPIC.to_owned()]
    }

    fn message(&mut self, topic: &str, payload: &[u8], _tally: &Tally) {
        if topic == ALERTS_TOPIC {
            return self.fleet.alert(read_alert(payload));
        }
        if !topic.starts_with(&self.prefix) {
            return;
        }
        self.fleet.delivered.one();
        if let Some(sent) = sent_at(payload) {
            let millis = self.clock.unix_millis().saturating_sub(sent);
            self.fleet.delivery_latency.observe(Duration::from_millis(millis));
        }
    }

    fn tick(&mut self, link: &Link, tally: &Tally) {
        let Some(device) = self.devices.get(self.next) else { return };
        self.next = (self.next + 1) % self.devices.len().max(1);
        match link.publish(&format!("d/{device}/cmd"), true, b"{\"blink\":1}".to_vec()) {
            Ok(()) => tally.published.one(),
            Err(_) => tally.failure("queue_full"),
        }
    }
}

fn sent_at(payload: &[u8]) -> Option<u64> {
    serde_json::from_slice::<Value>(payload).ok()?.get("t")?.as_u64()
}

/// Takes an alert apart as far as it is understood.
pub fn read_alert(payload: &[u8]) -> Alert {
    let json: Value = serde_json::from_slice(payload).unwrap_or_default();
    let text = |name: &str| json.get(name).and_then(Value::as_str).unwrap_or("?").to_owned();
    Alert { device: text("device"), signal: signals(&json), words: text("words") }
}

fn signals(json: &Value) -> String {
    let one = |value: &Value| -> Option<String> {
        let named = value.as_str().or_else(|| value.get("name")?.as_str())?;
        Some(named.to_owned())
    };
    let list = json.get("signals").and_then(Value::as_array);
    let names: Vec<String> = list.into_iter().flatten().filter_map(one).collect();
    if names.is_empty() {
        "alert".to_owned()
    } else {
        names.join("+")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alerts_name_device_and_signals() {
        let alert = read_alert(
            br#"{"device":"thief-1","signals":[{"name":"proofs","weight":3},{"name":"x"}]}"#,
        );
        assert_eq!((alert.device.as_str(), alert.signal.as_str()), ("thief-1", "proofs+x"));
        let alert = read_alert(br#"{"device":"a","signals":["rate"]}"#);
        assert_eq!(alert.signal, "rate");
        let alert = read_alert(b"no json");
        assert_eq!((alert.device.as_str(), alert.signal.as_str()), ("?", "alert"));
    }

    #[test]
    fn the_time_of_sending_is_read() {
        assert_eq!(sent_at(b"{\"n\":1,\"t\":123}   "), Some(123));
        assert_eq!(sent_at(b"{}"), None);
    }
}
