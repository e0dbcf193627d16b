//! Floods: peers without a credential, and one device with one, do a single thing as fast as they are let. Meanwhile an
//! honest device connects, refreshes and publishes: nothing is refused, and 99 of 100 are served in time.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::Mutex;
use std::time::Duration;

use serde_json::json;
use tempfile::TempDir;
use tessera_token::hash::sha256;

use super::{shown, Report};
use crate::site::{rest, Role, Site, Watch};
use crate::world::{Client, Device, Purpose};

mod attacks;

use attacks::{Attacker, ATTACKS, GREEDY};

/// The bound of 99 of 100 calls.
const P99: Duration = Duration::from_millis(250);
/// A machine that is busy with other things is slow for a server without a flood too: so often that time is allowed.
const TIMES_CALM: u32 = 4;
/// Threads of an attack, each with addresses of its own.
const THREADS: u8 = 3;
/// Pause between two calls of the honest device, and how many devices it is for connects and refreshes: each may ask for so
/// many tokens.
const PACE: Duration = Duration::from_millis(20);
const DEVICES: usize = 24;
const REFRESHING: usize = 240;
/// An attack goes on for so long before the honest device is watched.
const AHEAD: Duration = Duration::from_millis(500);

/// The order.
pub struct Options {
    /// Seconds of each flood.
    pub seconds: f64,
    /// The seed of keys.
    pub seed: u64,
    /// Only floods whose name holds this.
    pub only: Option<String>,
    /// The machine does other things meanwhile: the bound is four times as long.
    pub busy: bool,
}

/// Three ways of an honest device to need the servers.
const CALLS: [&str; 3] = ["connect", "refresh", "publish"];

/// Times of the calls, and what was refused or lost.
#[derive(Default)]
struct Seen {
    times: [Mutex<Vec<Duration>>; 3],
    wrong: Mutex<Vec<String>>,
}

impl Seen {
    fn note(&self, call: usize, time: Duration, wrong: Option<String>) {
        self.times[call].lock().unwrap().push(time);
        if let Some(wrong) = wrong {
            self.wrong.lock().unwrap().push(format!("{}: {wrong}", CALLS[call]));
        }
    }

    /// The time below which 99 of 100 stay.
    fn p99(&self, call: usize) -> Duration {
        let mut times = self.times[call].lock().unwrap();
        times.sort();
        times.get(times.len() * 99 / 100).copied().unwrap_or(Duration::MAX)
    }
}

/// Runs each flood for as long as told.
///
/// # Panics
/// When the servers do not start in a new folder.
pub fn judge(options: &Options) -> Report {
    println!("floods: {} s each, seed {}", options.seconds, options.seed);
    let (folder, logs) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let mut site = Site::new(folder.path(), logs.path());
    site.start_all().unwrap_or_else(|(role, error)| panic!("{role:?}: {}", error.line()));
    let client = Client::new(site.places, &site.operator_token());
    make_greedy(&client);
    let honest = Honest::enrol(&client, options.seed);
    let mut report = Report::default();
    let time = Duration::from_secs_f64(options.seconds);
    println!(
        "\n  {:38} {:>9} {:>9} {:>9} {:>10}",
        "flood", "connect", "refresh", "publish", "attacks"
    );
    let calm = honest.serve(&client, time);
    let before = [0, 1, 2].map(|call| calm.p99(call));
    let bound = if options.busy { P99 * TIMES_CALM } else { P99 };
    tell("none", &calm, 0, [bound; 3], &mut report);
    let chosen = |name: &str| options.only.as_ref().is_none_or(|only| name.contains(only.as_str()));
    let mut floods = 0;
    for (number, (name, attack)) in ATTACKS.iter().enumerate().filter(|(_, a)| chosen(a.0)) {
        let (over, done) = (AtomicBool::new(false), AtomicU64::new(0));
        let attacker = |part: u8| {
            let source = Ipv4Addr::new(127, 66, number as u8, part + 1);
            let id = format!("{}-{part}", name.replace(' ', "-"));
            Attacker::new(&client, source, &id, options.seed)
        };
        let mut attackers: Vec<Attacker> = (0..THREADS).map(attacker).collect();
        let seen = std::thread::scope(|scope| {
            for attacker in &mut attackers {
                let (over, done) = (&over, &done);
                scope.spawn(move || {
                    while !over.load(Ordering::Relaxed) {
                        attack(attacker);
                        done.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
            rest(AHEAD);
            let seen = honest.serve(&client, time);
            over.store(true, Ordering::Relaxed);
            seen
        });
        let bounds = before.map(|calm| bound.max(calm * TIMES_CALM));
        tell(name, &seen, done.load(Ordering::Relaxed), bounds, &mut report);
        floods += 1;
    }
    for role in Role::ALL {
        if !site.daemon(role).is_running() {
            report.find(format!("floods: {} has ended", role.verb()));
        }
    }
    report.figure("floods", floods);
    report.figure("time of each", shown(time));
    report
}

fn tell(name: &str, seen: &Seen, attacks: u64, bounds: [Duration; 3], report: &mut Report) {
    let p99 = [0, 1, 2].map(|call| seen.p99(call));
    let ms = p99.map(|time| format!("{:.1} ms", time.as_secs_f64() * 1000.0));
    println!("  {name:38} {:>9} {:>9} {:>9} {attacks:>10}", ms[0], ms[1], ms[2]);
    for call in 0..3 {
        if p99[call] > bounds[call] {
            report.find(format!(
                "{name}: p99 of {} is {:?}, at most {:?}",
                CALLS[call], p99[call], bounds[call]
            ));
        }
    }
    let wrong = seen.wrong.lock().unwrap();
    if let Some(first) = wrong.first() {
        report.find(format!("{name}: {} calls failed, first: {first}", wrong.len()));
    }
}

/// The honest device: several, so that none meets the limits of one.
struct Honest {
    connect: Vec<Device>,
    refresh: Vec<Device>,
    sensor: Device,
    backend: Device,
}

impl Honest {
    fn enrol(client: &Client, seed: u64) -> Self {
        let one = |id: String, role: &str| enrol(client, &id, role, seed);
        Self {
            connect: (0..DEVICES).map(|n| one(format!("c-{n}"), "sensor")).collect(),
            refresh: (0..REFRESHING).map(|n| one(format!("f-{n}"), "sensor")).collect(),
            sensor: one("p-0".to_owned(), "sensor"),
            backend: one("b-0".to_owned(), "backend"),
        }
    }

    fn serve(&self, client: &Client, time: Duration) -> Seen {
        let seen = Seen::default();
        std::thread::scope(|scope| {
            scope.spawn(|| self.connects(client, time, &seen));
            scope.spawn(|| self.refreshes(client, time, &seen));
            scope.spawn(|| self.publishes(client, time, &seen));
        });
        seen
    }

    fn connects(&self, client: &Client, time: Duration, seen: &Seen) {
        let watch = Watch::start();
        for device in self.connect.iter().cycle() {
            let start = watch.passed();
            if start >= time {
                return;
            }
            let outcome = client.connect(device, true);
            let wrong = (!outcome.is_done()).then(|| outcome.code());
            seen.note(0, watch.passed() - start, wrong);
            if let Some(session) = outcome.done() {
                session.close();
            }
            rest(PACE);
        }
    }

    fn refreshes(&self, client: &Client, time: Duration, seen: &Seen) {
        static NONCES: AtomicU64 = AtomicU64::new(0);
        let watch = Watch::start();
        for device in self.refresh.iter().cycle() {
            let start = watch.passed();
            if start >= time {
                return;
            }
            let nonce = sha256(&NONCES.fetch_add(1, Ordering::Relaxed).to_be_bytes());
            let request = client.refresh_request(device, &nonce[..16]);
            let outcome = client.refresh(&request);
            let wrong = (!outcome.is_done()).then(|| outcome.code());
            seen.note(1, watch.passed() - start, wrong);
            rest(PACE);
        }
    }

    /// From PUBLISH to the subscriber, with the acknowledgement.
    fn publishes(&self, client: &Client, time: Duration, seen: &Seen) {
        let watch = Watch::start();
        let topic = format!("d/{}/telemetry", self.sensor.id);
        let begin = || {
            let mut reader = client.connect(&self.backend, true).done()?;
            reader.subscribe(&topic, 1).ok()?;
            Some((reader, client.connect(&self.sensor, true).done()?))
        };
        let Some((mut reader, mut writer)) = begin() else {
            return seen.note(2, Duration::MAX, Some("no session".to_owned()));
        };
        for number in 0u64.. {
            let start = watch.passed();
            if start >= time {
                return;
            }
            let sent = writer.publish(&topic, &number.to_string(), false);
            let read = reader.message(Duration::from_secs(10));
            let wrong = match (sent, read) {
                (Ok(()), Ok(Some(message))) if message.text == number.to_string() => None,
                (sent, read) => Some(format!("{sent:?}, then {read:?}")),
            };
            let is_over = wrong.is_some();
            seen.note(2, watch.passed() - start, wrong);
            if is_over {
                return;
            }
            rest(PACE);
        }
    }
}

/// The role of attackers with a credential.
fn make_greedy(client: &Client) {
    let all = ["d/{device}/#"];
    let role = json!({ "class": "device", "publish": all, "subscribe": all });
    let path = format!("/v1/tenants/default/roles/{GREEDY}");
    let answer =
        client.operator.call("PUT", &path, "application/json", role.to_string().as_bytes());
    let answer = answer.unwrap();
    assert!(answer.ok(), "{}", answer.text());
}

/// A device of this run.
fn enrol(client: &Client, id: &str, role: &str, seed: u64) -> Device {
    let seed = sha256(format!("{seed} {id}").as_bytes());
    let outcome = client.enrol(id, role, seed, Purpose::Connect);
    let code = outcome.code();
    outcome.done().unwrap_or_else(|| panic!("{id}: {code}"))
}
