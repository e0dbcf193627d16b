//! The tracker under a clock of its own: no runtime, no store, no waiting.

use std::net::IpAddr;
use std::sync::mpsc::Receiver;

use tessera_token::chain::Subject;
use tessera_token::ids::{DeviceId, TenantId};
use tessera_token::key::Thumbprint;
use tessera_token::refusal::RefusalCode;

use super::observer::Entry;
use super::tracker::{Name, Tracker};
use super::*;

mod bounds;
mod episodes;
mod honest;
mod hostile;
mod restart;

/// Monday, 8 o'clock.
const START_MS: u64 = 1_800_000_000_000 / 86_400_000 * 86_400_000 + 8 * 3_600_000;
const HOME: &str = "10.1.1.5";
const AWAY: &str = "203.0.113.9";

struct Rig {
    observer: Observer,
    entries: Receiver<Entry>,
    tracker: Tracker,
    now_ms: u64,
    alerts: Vec<Alert>,
}

impl Rig {
    fn new() -> Self {
        Self::with(BehaviourConfig::default())
    }

    fn with(config: BehaviourConfig) -> Self {
        let (observer, entries) = Observer::new();
        Self {
            observer,
            entries,
            tracker: Tracker::new(config),
            now_ms: START_MS,
            alerts: Vec::new(),
        }
    }

    fn tick(&mut self) {
        while let Ok(entry) = self.entries.try_recv() {
            self.alerts.extend(self.tracker.step(&entry, self.now_ms));
        }
    }

    fn wait(&mut self, ms: u64) {
        self.tick();
        self.now_ms += ms;
    }

    fn handle(&self, device: &str) -> DeviceHandle {
        self.observer.device(&tenant(), &DeviceId::parse(device).unwrap())
    }

    /// Opens a session from `address` with the device's own key.
    fn connect(&mut self, device: &str, address: &str) -> DeviceHandle {
        self.connect_as(device, address, SubjectKind::Device)
    }

    fn connect_as(&mut self, device: &str, address: &str, kind: SubjectKind) -> DeviceHandle {
        let handle = self.handle(device);
        let mut key = [7; 32];
        key[0] = device.len() as u8;
        let connection = NewConnection {
            network: network(address),
            key: Some(Thumbprint::from_bytes(key)),
            group: 1,
            kind,
        };
        self.observer.observe(&handle, Observation::Connected(connection));
        handle
    }

    fn publish(&self, device: &DeviceHandle, topic: &str, bytes: usize) {
        self.observer.observe(device, Observation::Published { topic, bytes });
    }

    fn refuse(&self, device: &DeviceHandle, code: RefusalCode, topic: &str) {
        let topic = Some(topic);
        self.observer.observe(device, Observation::Refused { code, topic });
    }

    fn outside(&self, device: &str, code: RefusalCode, address: &str) {
        let subject = Subject { tenant: tenant(), device: DeviceId::parse(device).unwrap() };
        self.observer.observe_refusal(&subject, code, network(address));
    }

    /// An hour of a message every ten seconds.
    fn learn(&mut self, device: &str) -> DeviceHandle {
        let handle = self.connect(device, HOME);
        for _ in 0..360 {
            self.publish(&handle, &format!("d/{device}/telemetry"), 60);
            self.wait(10_000);
        }
        assert_eq!(self.alerts, []);
        handle
    }

    /// The alerts as `device: signal+signal`.
    fn told(&mut self) -> Vec<String> {
        self.tick();
        let told = self.alerts.iter().map(|alert| {
            let names: Vec<&str> =
                alert.signals.iter().map(|signal| signal.name.as_str()).collect();
            format!("{}: {}", alert.device, names.join("+"))
        });
        told.collect()
    }
}

fn tenant() -> TenantId {
    TenantId::parse("acme").unwrap()
}

fn name(device: &str) -> Name {
    Name { tenant: tenant(), device: DeviceId::parse(device).unwrap() }
}

fn network(address: &str) -> Network {
    Network::of(address.parse::<IpAddr>().unwrap())
}

/// A small generator: tests print its seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        super::observation::mix(self.0) % most
    }
}

#[test]
fn signals_and_their_page_are_the_same() {
    let page = include_str!("../../../../docs/behaviour.md");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    let mut rows: Vec<&str> = rows.collect();
    let mut names: Vec<&str> = SignalName::ALL.iter().map(|name| name.as_str()).collect();
    rows.sort_unstable();
    names.sort_unstable();
    assert_eq!(rows, names, "docs/behaviour.md: left the page, right the signals");
}
