//! Cost of an observation and of the end of an hour in the engine: `cargo bench -p tessera-behaviour`.
#![allow(missing_docs, reason = "criterion's macros make undocumented functions")]

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};

use criterion::{criterion_group, criterion_main, BatchSize, Criterion, Throughput};
use tessera_behaviour::detector::Detector;
use tessera_behaviour::engine::{Config, Engine};
use tessera_behaviour::observation::{
    Connected, Event, Messages, Network, Observation, SubjectKind,
};

const SECOND: u64 = 1000;
const HOUR: u64 = 3600 * SECOND;
const BEGIN: u64 = 20_454 * 24 * HOUR;
const DEVICES: usize = 10_000;

struct Fleet {
    engine: Engine,
    names: Vec<(String, String)>,
    now: u64,
}

impl Fleet {
    /// Ten thousand devices in twenty groups, with three days of habits.
    fn new() -> Self {
        let names =
            (0..DEVICES).map(|n| (format!("device-{n:05}"), format!("d/device-{n:05}/data")));
        let mut fleet =
            Self { engine: Engine::new(Config::default()), names: names.collect(), now: BEGIN };
        let mut alerts = Vec::new();
        for (number, (name, _)) in fleet.names.iter().enumerate() {
            let connected = Connected {
                network: Network::Address(IpAddr::V4(Ipv4Addr::new(
                    10,
                    (number / 200) as u8,
                    0,
                    1,
                ))),
                key: 1,
                group: number as u64 % 20,
                kind: SubjectKind::Device,
                fingerprint: 7,
                keep_alive: 60,
                client: name,
                place: None,
            };
            let event = Event::Connected(connected);
            let observation =
                Observation { at: BEGIN, tenant: "acme", device: name, session: 1, event };
            fleet.engine.observe(&observation, &mut alerts);
        }
        for _ in 0..72 {
            for _ in 0..4 {
                fleet.round(900 * SECOND / DEVICES as u64);
            }
        }
        fleet
    }

    /// Each device publishes once.
    fn round(&mut self, gap: u64) {
        let mut alerts = Vec::new();
        for (name, topic) in &self.names {
            self.now += gap;
            let event = Event::Published(Messages { topic, count: 1, bytes: 100 });
            let observation =
                Observation { at: self.now, tenant: "acme", device: name, session: 1, event };
            self.engine.observe(black_box(&observation), &mut alerts);
        }
        black_box(alerts);
    }
}

fn observation(c: &mut Criterion) {
    let mut fleet = Fleet::new();
    let mut group = c.benchmark_group("engine");
    group.throughput(Throughput::Elements(DEVICES as u64));
    group.sample_size(20);
    group.bench_function("an observation, 10,000 devices in turn", |b| {
        // All within one hour, so that no hour ends meanwhile.
        b.iter_batched(|| (), |()| fleet.round(0), BatchSize::PerIteration);
    });
    let mut one = Fleet::new();
    group.throughput(Throughput::Elements(DEVICES as u64));
    group.bench_function("an observation, one device", |b| {
        let Some((name, topic)) = one.names.first().cloned() else { return };
        let mut alerts = Vec::new();
        b.iter(|| {
            for _ in 0..DEVICES {
                let event = Event::Published(Messages { topic: &topic, count: 1, bytes: 100 });
                let observation =
                    Observation { at: one.now, tenant: "acme", device: &name, session: 1, event };
                one.engine.observe(black_box(&observation), &mut alerts);
            }
        });
    });
    group.finish();
}

fn end_of_hour(c: &mut Criterion) {
    let mut group = c.benchmark_group("engine");
    group.throughput(Throughput::Elements(DEVICES as u64));
    group.sample_size(20);
    let mut fleet = Fleet::new();
    group.bench_function("end of an hour, 10,000 devices that were active", |b| {
        // An hour with one message of each device, and the whole work of its end: a device ends twelve slots with it.
        b.iter_batched(
            || (),
            |()| {
                fleet.round(0);
                fleet.now += HOUR;
                let mut alerts = Vec::new();
                fleet.engine.advance(fleet.now + 600 * SECOND, &mut alerts);
                fleet.now += 600 * SECOND;
                black_box(alerts);
            },
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

criterion_group!(benches, observation, end_of_hour);
criterion_main!(benches);
