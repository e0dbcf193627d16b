//! The sessions' side and the actor's parts under a clock of their own: no runtime, no waiting.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tessera_runtime::clock::{Clock, ManualClock};
use tessera_runtime::metrics::Metrics;
use tessera_runtime::random::{SharedRandom, SystemRandom};
use tessera_runtime::store::Store;
use tessera_token::chain::Subject as Named;
use tessera_token::refusal::RefusalCode;
use tessera_token::time::UnixSeconds;
use tokio::sync::broadcast::Receiver;

use super::actor::BehaviourParts;
use super::*;
use crate::announced::Announced;

mod alerts;
mod inventory;
mod kept;
mod queue;
mod rest;

/// Monday, 8 o'clock.
const START: u64 = 1_800_000_000 / 86_400 * 86_400 + 8 * 3_600;
const HOME: &str = "10.1.1.5";
const AWAY: &str = "203.0.113.9";

struct Rig {
    clock: Arc<ManualClock>,
    observer: Observer,
    parts: BehaviourParts,
    metrics: Metrics,
    alerts: Receiver<Arc<Alert>>,
    announced: Arc<Mutex<Announced>>,
    _folder: Option<tempfile::TempDir>,
}

impl Rig {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let mut rig = Self::on(&store, &ManualClock::at(UnixSeconds::new(START)));
        rig._folder = Some(folder);
        rig
    }

    fn on(store: &Store, clock: &Arc<ManualClock>) -> Self {
        Self::with(store, clock, BehaviourConfig::default())
    }

    fn with(store: &Store, clock: &Arc<ManualClock>, config: BehaviourConfig) -> Self {
        let metrics = Metrics::new();
        let random: SharedRandom = SystemRandom::shared();
        let announced = Arc::new(Mutex::new(Announced::default()));
        let read = Arc::clone(&announced);
        let announcements = Box::new(move || Arc::clone(&read.lock()));
        let started = start(store, config, clock.clone(), &random, announcements, None, &metrics);
        let (observer, parts) = started.ok().unwrap();
        let alerts = observer.alerts();
        Self { clock: clock.clone(), observer, parts, metrics, alerts, announced, _folder: None }
    }

    fn wait(&mut self, seconds: u64) {
        while self.parts.tick() {}
        self.clock.advance(Duration::from_secs(seconds));
    }

    fn handle(&self, device: &str) -> DeviceHandle {
        self.observer.named(&named(device))
    }

    fn connect(&self, device: &DeviceHandle, address: &str) -> u32 {
        let new = NewConnection {
            network: network(address),
            key: None,
            group: 1,
            kind: SubjectKind::Device,
            client: device.device().as_str(),
            keep_alive: 60,
            fingerprint: 7,
        };
        self.observer.connected(device, &new)
    }

    fn publish(&self, device: &DeviceHandle, topic: &str, bytes: usize) {
        self.observer.observe(device, Observation::Published { topic, bytes });
    }

    fn outside(&self, device: &str, code: RefusalCode, address: &str) {
        self.observer.observe_refusal(&named(device), code, network(address));
    }

    /// So many hours of a message every ten seconds.
    fn learn(&mut self, device: &DeviceHandle, hours: u64) {
        let topic = format!("d/{}/telemetry", device.device());
        for _ in 0..hours * 360 {
            self.publish(device, &topic, 60);
            self.wait(10);
        }
    }

    /// The alerts since the last call, as `device: signal+signal`.
    fn told(&mut self) -> Vec<String> {
        while self.parts.tick() {}
        let mut told = Vec::new();
        while let Ok(alert) = self.alerts.try_recv() {
            let Subject::Device(device) = &alert.subject else { panic!("{alert:?}") };
            let names: Vec<&str> = alert.signals.iter().map(|signal| &*signal.name).collect();
            told.push(format!("{device}: {}", names.join("+")));
        }
        told
    }

    fn shown(&self, name: &str) -> u64 {
        let shown = self.metrics.render();
        let found = shown.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        found.unwrap_or_else(|| panic!("no {name} in {shown}")).parse().unwrap()
    }
}

fn named(device: &str) -> Named {
    Named { tenant: "acme".parse().unwrap(), device: device.parse().unwrap() }
}

fn network(address: &str) -> Network {
    Network::Address(address.parse().unwrap())
}
