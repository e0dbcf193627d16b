//! The backend: a service role that reads all telemetry, sends commands and hears the alerts.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tessera_runtime::clock::SharedClock;
use tessera_token::ids::DeviceId;

use tokio::sync::mpsc;

use super::Duty;
use crate::limits;
use crate::mqtt::Link;
use crate::report::{Alert, Tally};

/// The topic of alerts.
pub const ALERTS_TOPIC: &str = "$tessera/alerts";

/// A message of a device that is not of the fleet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    /// The device, by its topic.
    pub device: String,
    /// The payload, as far as it can be shown.
    pub shown: String,
}

/// A backend that counts into the tally of the fleet it serves.
pub struct Backend {
    fleet: Arc<Tally>,
    clock: SharedClock,
    devices: Vec<DeviceId>,
    next: usize,
    prefix: String,
    others: mpsc::Sender<Heard>,
}

impl Backend {
    /// A backend that commands `devices` in turn, one a tick, and measures messages below `prefix` (`d/sensor-`). It hands
    /// the messages of other devices on, as long as there is room.
    pub fn new(
        fleet: Arc<Tally>,
        clock: SharedClock,
        devices: Vec<DeviceId>,
        prefix: String,
        others: mpsc::Sender<Heard>,
    ) -> Self {
        Self { fleet, clock, devices, next: 0, prefix, others }
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
            // Without room it is not told: the counts of the run do not depend on it.
            let _ = heard(topic, payload).map(|heard| self.others.try_send(heard));
            return;
        }
        self.fleet.delivered.one();
        if let Some(sent) = sent_at(payload) {
            self.fleet.delivery_latency.observe(self.clock.monotonic().saturating_sub(sent));
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

/// When a sensor of this process sent it, by the monotonic clock that both share.
fn sent_at(payload: &[u8]) -> Option<Duration> {
    let micros = serde_json::from_slice::<Value>(payload).ok()?.get("u")?.as_u64()?;
    Some(Duration::from_micros(micros))
}

fn heard(topic: &str, payload: &[u8]) -> Option<Heard> {
    let device = topic.strip_prefix("d/")?.split('/').next()?.to_owned();
    let text = String::from_utf8_lossy(payload);
    let shown = text.chars().take(limits::HEARD_SHOWN);
    let shown = shown.map(|c| if c.is_control() { '?' } else { c }).collect();
    Some(Heard { device, shown })
}

/// Takes an alert apart as far as it is understood.
pub fn read_alert(payload: &[u8]) -> Alert {
    let json: Value = serde_json::from_slice(payload).unwrap_or_default();
    let device = json.pointer("/subject/device").and_then(Value::as_str).unwrap_or("?").to_owned();
    Alert { device, signal: signals(&json, "name", "+"), words: signals(&json, "words", "; ") }
}

fn signals(json: &Value, member: &str, between: &str) -> String {
    let list = json.get("signals").and_then(Value::as_array).into_iter().flatten();
    let texts: Vec<&str> = list.filter_map(|signal| signal.get(member)?.as_str()).collect();
    match texts.is_empty() {
        true => "alert".to_owned(),
        false => texts.join(between),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alerts_name_device_and_signals() {
        let alert = read_alert(
            br#"{"subject":{"device":"thief-1"},"signals":[{"name":"a","words":"3 times"},{"name":"x"}]}"#,
        );
        assert_eq!((alert.device.as_str(), alert.signal.as_str()), ("thief-1", "a+x"));
        assert_eq!(alert.words, "3 times");
        let alert = read_alert(br#"{"subject":{"group":4},"signals":[]}"#);
        assert_eq!((alert.device.as_str(), alert.signal.as_str()), ("?", "alert"));
        let alert = read_alert(b"no json");
        assert_eq!((alert.device.as_str(), alert.signal.as_str()), ("?", "alert"));
    }

    #[test]
    fn the_time_of_sending_is_read() {
        let sent = sent_at(b"{\"n\":1,\"t\":5,\"u\":123}   ");
        assert_eq!(sent, Some(Duration::from_micros(123)));
        assert_eq!(sent_at(b"{}"), None);
    }

    #[test]
    fn a_message_of_others_is_cut_and_cannot_steer_a_terminal() {
        let told = heard("d/mine/telemetry", b"21.5").unwrap();
        assert_eq!((told.device.as_str(), told.shown.as_str()), ("mine", "21.5"));
        let told =
            heard("d/mine/telemetry", &[b"\x1b[2J".as_slice(), &[b'x'; 99]].concat()).unwrap();
        assert!(told.shown.starts_with("?[2J"), "{told:?}");
        assert_eq!(told.shown.chars().count(), limits::HEARD_SHOWN);
    }
}
