//! A soak: connects, refreshes, kept and retained traffic, subscriptions that come and go, reloads and key rotations, while
//! memory, disk, descriptors and threads of each process are sampled. After a warm-up, none of them may rise for good.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use serde_json::json;
use tempfile::TempDir;
use tessera_token::hash::sha256;

use super::{shown, Report};
use crate::mqtt::Mqtt;
use crate::site::{rest, Role, Site, Watch};
use crate::world::{Client, Device, Purpose};

/// Devices of each kind of traffic.
const DEVICES: usize = 24;
/// Devices that refresh, and the pause between two of their requests: each may only ask for so many tokens.
const REFRESHING: usize = 120;
const REFRESH_EVERY: Duration = Duration::from_millis(20);
/// How often a sample is taken.
const SAMPLE_EVERY: Duration = Duration::from_secs(1);
/// This part of the time is the warm-up: caches fill, the first stores are written.
const WARM_UP: f64 = 0.4;
/// Rotations at the beginning, so many a sample: a verifier keeps tables of 128 issuer keys, 220 KiB each, and a soak must
/// not take their filling for a slope.
const FIRST_ROTATIONS: u64 = 140;
const ROTATIONS_A_SAMPLE: u64 = 20;
/// Bytes on the disk that a refresh leaves until its token has expired: the row by which the token can be revoked, in a
/// store of up to twice its live rows.
const ROW_OF_A_TOKEN: f64 = 1024.0;
/// MiB of delivered messages in the logs of the broker's router that count as no rise: at this size (`ROUTER_RESIDUE`) the
/// router is renewed, about every two minutes under this traffic, and its memory is a saw's teeth.
const ROUTER_RESIDUE: f64 = 32.0;
const ROUTER_HELD: &str = "tessera_broker_fleet_lane{what=\"router_bytes\"}";
const MEBIBYTE: f64 = 1024.0 * 1024.0;

/// The order.
pub struct Options {
    /// How long.
    pub minutes: f64,
    /// The seed of keys.
    pub seed: u64,
}

/// One sample of a process.
#[derive(Clone, Copy, Default)]
struct Sample {
    minute: f64,
    values: [f64; 4],
}

/// Sampled measures, and their bounds after the warm-up: so much in all, and so much of the level in an hour.
struct Measure {
    name: &'static str,
    unit: &'static str,
    /// Rise over the time after the warm-up that is noise. A store writes its first base when its journals have 16 MiB,
    /// sooner or later by the speed of the machine: with it come the engine's seven threads and its caches, the rows on
    /// their way, and a spare journal beside the one in use.
    noise: f64,
    /// Further rise in a minute that is allowed.
    by_minute: f64,
}

const MEASURES: [Measure; 4] = [
    Measure { name: "memory", unit: "MiB", noise: 12.0, by_minute: 0.25 },
    Measure { name: "disk", unit: "MiB", noise: 24.0, by_minute: 0.25 },
    Measure { name: "descriptors", unit: "", noise: 24.0, by_minute: 0.1 },
    Measure { name: "threads", unit: "", noise: 16.0, by_minute: 0.05 },
];

/// How much was done.
#[derive(Default)]
struct Done {
    connects: AtomicU64,
    refreshes: AtomicU64,
    kept: AtomicU64,
    retained: AtomicU64,
    subscriptions: AtomicU64,
    reloads: AtomicU64,
    rotations: AtomicU64,
    failures: AtomicU64,
}

/// Runs for as long as told.
///
/// # Panics
/// When the servers do not start in a new folder.
pub fn judge(options: &Options) -> Report {
    println!("soak: {} minutes, seed {}", options.minutes, options.seed);
    let (folder, logs) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let mut site = Site::new(folder.path(), logs.path());
    site.start_all().unwrap_or_else(|(role, error)| panic!("{role:?}: {}", error.line()));
    let client = Client::new(site.places, &site.operator_token());
    let done = Done::default();
    let stop = AtomicBool::new(false);
    let people = People::enrol(&client, options.seed);
    let time = Duration::from_secs_f64(options.minutes * 60.0);
    let samples = std::thread::scope(|scope| {
        let (done, stop, client, people) = (&done, &stop, &client, &people);
        let go_on = || !stop.load(Ordering::Relaxed);
        scope.spawn(move || people.connect(client, done, go_on));
        scope.spawn(move || people.refresh(client, done, go_on));
        scope.spawn(move || people.keep(client, done, go_on));
        scope.spawn(move || people.retain(client, done, go_on));
        scope.spawn(move || people.subscribe(client, done, go_on));
        let samples = watch_over(&mut site, client, done, time);
        stop.store(true, Ordering::Relaxed);
        samples
    });
    let mut report = Report::default();
    tell(&samples, &done, options, &mut report);
    let count = |value: &AtomicU64| value.load(Ordering::Relaxed);
    let lines = [
        ("connects", count(&done.connects)),
        ("refreshes", count(&done.refreshes)),
        ("messages kept and read", count(&done.kept)),
        ("retained messages", count(&done.retained)),
        ("subscriptions made and dropped", count(&done.subscriptions)),
        ("reloads", count(&done.reloads)),
        ("key rotations", count(&done.rotations)),
        ("failures", count(&done.failures)),
    ];
    for (name, value) in lines {
        report.figure(name, value);
        if name != "failures" && value == 0 {
            report.find(format!("soak: no {name} at all"));
        }
    }
    let (failures, all) = (count(&done.failures), count(&done.connects));
    if failures * 100 > all {
        report.find(format!("soak: {failures} failures beside {all} connects"));
    }
    report.figure("time", shown(time));
    report
}

/// Samples, reloads and rotates.
fn watch_over(site: &mut Site, client: &Client, done: &Done, time: Duration) -> Vec<[Sample; 3]> {
    let watch = Watch::start();
    let (mut samples, mut looks) = (Vec::new(), 0u64);
    let mut residue = None;
    while watch.passed() < time {
        let minute = watch.passed().as_secs_f64() / 60.0;
        samples.push(Role::ALL.map(|role| {
            let data = site.data(role);
            let mut values = look(site.daemon(role).id(), &data);
            if role == Role::Broker {
                residue = router_bytes(site).or(residue);
                values[0] -= residue.unwrap_or(0.0).min(ROUTER_RESIDUE);
            }
            Sample { minute, values }
        }));
        looks += 1;
        if looks % 5 == 0 {
            for role in Role::ALL {
                site.daemon(role).signal("HUP");
            }
            done.reloads.fetch_add(1, Ordering::Relaxed);
        }
        let rotations = match done.rotations.load(Ordering::Relaxed) < FIRST_ROTATIONS {
            true => ROTATIONS_A_SAMPLE,
            false => u64::from(looks % 20 == 0),
        };
        for _ in 0..rotations {
            let rotated = client.ask("/v1/tenants/default/keys/rotate", &json!({})).done();
            done.rotations.fetch_add(u64::from(rotated.is_some()), Ordering::Relaxed);
        }
        rest(SAMPLE_EVERY);
    }
    assert!(residue.is_some(), "the broker's metrics have no line {ROUTER_HELD}");
    samples
}

/// Memory and disk in MiB, open descriptors, threads.
fn look(id: u32, data: &Path) -> [f64; 4] {
    let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
    let of = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name));
        let value = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<f64>().ok());
        value.unwrap_or(0.0)
    };
    let descriptors = fs::read_dir(format!("/proc/{id}/fd")).map_or(0, Iterator::count);
    [of("VmRSS:") / 1024.0, bytes(data) as f64 / MEBIBYTE, descriptors as f64, of("Threads:")]
}

/// MiB in the logs of the broker's router, as its metrics say it.
fn router_bytes(site: &Site) -> Option<f64> {
    let page = site.broker_page().get("/metrics").ok()?.text();
    let value = page.lines().find_map(|line| line.strip_prefix(ROUTER_HELD))?;
    Some(value.trim().parse::<f64>().ok()? / MEBIBYTE)
}

fn bytes(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let sizes = entries.map(|entry| match entry.metadata() {
        Ok(meta) if meta.is_dir() => bytes(&entry.path()),
        Ok(meta) => meta.len(),
        Err(_) => 0,
    });
    sizes.sum()
}

/// The table, and what rose too much.
fn tell(samples: &[[Sample; 3]], done: &Done, options: &Options, report: &mut Report) {
    let warm = options.minutes * WARM_UP;
    let refreshes = done.refreshes.load(Ordering::Relaxed) as f64 / options.minutes.max(0.01);
    println!("\n  process    measure      warm     end      peak     slope/min  bound/min");
    for role in Role::ALL {
        let of: Vec<Sample> = samples.iter().map(|all| all[role as usize]).collect();
        let late: Vec<Sample> = of.iter().copied().filter(|s| s.minute >= warm).collect();
        let span = (options.minutes - warm).max(0.01);
        for (number, measure) in MEASURES.iter().enumerate() {
            let points: Vec<(f64, f64)> =
                late.iter().map(|sample| (sample.minute, sample.values[number])).collect();
            let slope = slope(&points);
            let rows = match (role, measure.name) {
                (Role::Provision, "disk") => refreshes * ROW_OF_A_TOKEN / 1024.0 / 1024.0,
                _ => 0.0,
            };
            let bound = measure.noise / span + measure.by_minute + rows;
            let peak = of.iter().map(|s| s.values[number]).fold(0.0, f64::max);
            let first = points.first().map_or(0.0, |p| p.1);
            let last = points.last().map_or(0.0, |p| p.1);
            println!(
                "  {:10} {:12} {first:8.1} {last:8.1} {peak:8.1} {slope:10.2} {bound:10.2} {}",
                role.verb(),
                measure.name,
                measure.unit
            );
            if slope > bound {
                report.find(format!(
                    "soak: {} of {} rises by {slope:.2} {} a minute, at most {bound:.2}",
                    measure.name,
                    role.verb(),
                    measure.unit
                ));
            }
        }
    }
    println!();
}

/// The median of the slopes between points that are half of the time apart (Theil and Sen): a single peak moves nothing.
fn slope(points: &[(f64, f64)]) -> f64 {
    let half = points.len() / 2;
    let pairs = points.iter().zip(points.iter().skip(half));
    let mut slopes: Vec<f64> =
        pairs.filter(|(a, b)| b.0 > a.0).map(|(a, b)| (b.1 - a.1) / (b.0 - a.0)).collect();
    slopes.sort_by(f64::total_cmp);
    slopes.get(slopes.len() / 2).copied().unwrap_or(0.0)
}

struct People {
    connect: Vec<Device>,
    refresh: Vec<Device>,
    keep: Vec<Device>,
    retain: Vec<Device>,
    backends: Vec<Device>,
}

impl People {
    fn enrol(client: &Client, seed: u64) -> Self {
        let many = |name: &str, role: &str, count: usize| {
            let enrol = |number| {
                let id = format!("{name}-{number}");
                let seed = sha256(format!("{seed} {id}").as_bytes());
                let outcome = client.enrol(&id, role, seed, Purpose::Connect);
                let code = outcome.code();
                outcome.done().unwrap_or_else(|| panic!("{id}: {code}"))
            };
            (0..count).map(enrol).collect::<Vec<_>>()
        };
        Self {
            connect: many("c", "sensor", DEVICES),
            refresh: many("f", "sensor", REFRESHING),
            keep: many("k", "sensor", DEVICES / 4),
            retain: many("t", "sensor", DEVICES),
            backends: many("b", "backend", 3),
        }
    }

    fn connect(&self, client: &Client, done: &Done, go_on: impl Fn() -> bool) {
        for device in self.connect.iter().cycle().take_while(|_| go_on()) {
            match client.connect(device, true).done() {
                Some(session) => {
                    session.close();
                    done.connects.fetch_add(1, Ordering::Relaxed);
                }
                None => drop(done.failures.fetch_add(1, Ordering::Relaxed)),
            }
            let _ = client.validate(device);
        }
    }

    fn refresh(&self, client: &Client, done: &Done, go_on: impl Fn() -> bool) {
        let mut number = 0u64;
        for device in self.refresh.iter().cycle().take_while(|_| go_on()) {
            number += 1;
            let nonce = sha256(&number.to_be_bytes());
            let request = client.refresh_request(device, &nonce[..16]);
            match client.refresh(&request).done() {
                Some(_) => done.refreshes.fetch_add(1, Ordering::Relaxed),
                None => done.failures.fetch_add(1, Ordering::Relaxed),
            };
            rest(REFRESH_EVERY);
        }
    }

    /// Messages wait for sessions that are away, and are read.
    fn keep(&self, client: &Client, done: &Done, go_on: impl Fn() -> bool) {
        const AT_ONCE: usize = 50;
        let mut backend: Option<Mqtt> = None;
        for device in self.keep.iter().cycle().take_while(|_| go_on()) {
            let topic = format!("d/{}/cmd", device.id);
            let mut turn = || -> Option<()> {
                let mut session = client.connect(device, false).done()?;
                if !session.present {
                    session.subscribe(&topic, 1).ok()?;
                }
                session.close();
                let mut sender = match backend.take() {
                    Some(sender) => sender,
                    None => client.connect(&self.backends[0], true).done()?,
                };
                for _ in 0..AT_ONCE {
                    sender.publish(&topic, &"k".repeat(200), false).ok()?;
                }
                backend = Some(sender);
                let mut session = client.connect(device, false).done()?;
                for _ in 0..AT_ONCE {
                    session.message(Duration::from_secs(10)).ok()??;
                    done.kept.fetch_add(1, Ordering::Relaxed);
                }
                session.close();
                Some(())
            };
            if turn().is_none() {
                done.failures.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    fn retain(&self, client: &Client, done: &Done, go_on: impl Fn() -> bool) {
        for device in self.retain.iter().cycle().take_while(|_| go_on()) {
            let turn = || -> Option<()> {
                let mut session = client.connect(device, true).done()?;
                let topic = format!("d/{}/telemetry", device.id);
                for _ in 0..20 {
                    session.publish(&topic, &"r".repeat(100), true).ok()?;
                    done.retained.fetch_add(1, Ordering::Relaxed);
                }
                session.close();
                Some(())
            };
            if turn().is_none() {
                done.failures.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Wildcards that are made and dropped, alone and shared.
    fn subscribe(&self, client: &Client, done: &Done, go_on: impl Fn() -> bool) {
        let mut number = 0u64;
        while go_on() {
            let mut turn = || -> Option<()> {
                let mut session = client.connect(&self.backends[1], true).done()?;
                for _ in 0..20 {
                    number += 1;
                    let filter = match number % 2 {
                        0 => "d/+/telemetry".to_owned(),
                        _ => format!("$share/g{}/d/+/telemetry", number % 40),
                    };
                    session.subscribe(&filter, 1).ok()?;
                    let _ = session.message(Duration::from_millis(5)).ok()?;
                    session.unsubscribe(&filter).ok()?;
                    done.subscriptions.fetch_add(1, Ordering::Relaxed);
                }
                session.close();
                Some(())
            };
            if turn().is_none() {
                done.failures.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}
