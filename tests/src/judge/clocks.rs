//! Wrong clocks: libfaketime gives one process another time for a while. Nothing that was revoked is accepted anywhere at any
//! moment, the one that is off says so, and once its clock is right everything works again within a minute, without a
//! restart, at verifiers of before and at new ones.

use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Mutex;
use std::time::Duration;

use tempfile::TempDir;
use tessera_token::hash::sha256;

use super::{shown, Report};
use crate::mqtt::Mqtt;
use crate::site::{rest, Role, Site, Watch};
use crate::world::{Client, Device, Outcome, Purpose};

/// How long a clock is wrong.
const WRONG_FOR: Duration = Duration::from_secs(13);
/// How long it may take until everything works again.
const BACK_WITHIN: Duration = Duration::from_secs(60);
/// Devices in the right, which take turns: each may only ask for so many tokens.
const HONEST: usize = 6;
/// Scenarios at once: they mostly wait.
const AT_ONCE: usize = 6;

/// No wrong clock: the process stands still for that long, as a suspended machine does.
const HALT: &str = "halt";
/// How wrong clocks are beside +2 h, as libfaketime writes it.
const OFFSETS: [&str; 10] =
    ["+40d", "-2h", "+30m", "+10m", "+1y", "-40d", "-1y", "-30m", "-10m", "-56y"];

/// The order.
pub struct Options {
    /// How many scenarios, from the start of the list.
    pub scenarios: usize,
    /// The seed of keys.
    pub seed: u64,
    /// Those whose name holds this text.
    pub only: Option<String>,
}

#[derive(Clone, Debug)]
struct Scenario {
    role: Role,
    offset: &'static str,
    /// Whether the clock is wrong at the first start, and right later.
    from_start: bool,
}

impl Scenario {
    fn name(&self) -> String {
        let from_start = if self.from_start { " at the first start" } else { "" };
        format!("{} {}{from_start}", self.role.verb(), self.offset)
    }
}

/// The most telling first: +2 h at each process, a first start in 1970, +40 d, -2 h.
fn scenarios() -> Vec<Scenario> {
    let mut all = Vec::new();
    let each = |offset, from_start| Role::ALL.map(|role| Scenario { role, offset, from_start });
    all.extend(each("+2h", false));
    all.extend(each("-56y", true));
    for offset in OFFSETS {
        all.extend(each(offset, false));
    }
    all.extend(each(HALT, false));
    all.extend(each("+1y", true));
    all
}

/// The library, where the Debian package puts it.
fn library() -> Option<PathBuf> {
    let folders = ["x86_64-linux-gnu", "aarch64-linux-gnu", "arm-linux-gnueabihf", ""];
    let paths = folders.iter().map(|f| Path::new("/usr/lib").join(f).join("faketime"));
    paths.map(|folder| folder.join("libfaketimeMT.so.1")).find(|path| path.exists())
}

/// Runs the scenarios, some at once.
///
/// # Panics
/// When libfaketime is not installed (`tests/run` does it).
pub fn judge(options: &Options) -> Report {
    println!("clocks: seed {}", options.seed);
    let library = library().expect("libfaketime is not installed: run tests/run");
    let mut all = scenarios();
    if let Some(text) = &options.only {
        all.retain(|scenario| scenario.name().contains(text));
    }
    all.truncate(options.scenarios);
    let (report, next) = (Mutex::new(Report::default()), AtomicUsize::new(0));
    let watch = Watch::start();
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE.min(all.len()) {
            scope.spawn(|| {
                while let Some(scenario) = all.get(next.fetch_add(1, Ordering::SeqCst)) {
                    let outcome = Case::run(scenario, &library, options.seed);
                    let mut report = report.lock().unwrap();
                    println!("  {}: {}", scenario.name(), outcome.line());
                    for line in outcome.wrong {
                        report.find(format!("{}: {line}", scenario.name()));
                    }
                }
            });
        }
    });
    let mut report = report.into_inner().unwrap();
    report.figure("scenarios", all.len());
    report.figure("time", shown(watch.passed()));
    report.figure("repeat one", "tests/clocks --only \"broker +2h\"");
    report
}

/// Outcome of one scenario.
#[derive(Default)]
struct Told {
    wrong: Vec<String>,
    served_meanwhile: usize,
    back: Option<Duration>,
    new_back: Option<Duration>,
}

impl Told {
    fn line(&self) -> String {
        let time = |time: Option<Duration>| time.map_or("never".to_owned(), shown);
        let (back, new) = (time(self.back), time(self.new_back));
        let (wrong, meanwhile) = (self.wrong.len(), self.served_meanwhile);
        format!("{wrong} wrong; served {meanwhile} times meanwhile, again after {back}, a new verifier after {new}")
    }
}

/// A running scenario.
struct Case<'a> {
    scenario: &'a Scenario,
    seed: u64,
    library: &'a Path,
    /// The file that libfaketime reads.
    clock: PathBuf,
    told: Told,
    honest: Vec<Device>,
    turns: Cell<usize>,
    /// Revoked as devices, and by the hash of their tokens.
    dead: Vec<Device>,
    /// To be revoked while the clock is wrong.
    late: Option<Device>,
}

impl<'a> Case<'a> {
    fn run(scenario: &'a Scenario, library: &'a Path, seed: u64) -> Told {
        let (folder, logs) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        let clock = logs.path().join("clock");
        let (honest, dead) = (Vec::new(), Vec::new());
        let told = Told::default();
        let mut case = Case {
            scenario,
            seed,
            library,
            clock,
            told,
            honest,
            turns: Cell::new(0),
            dead,
            late: None,
        };
        let mut site = Site::new(folder.path(), logs.path());
        case.fake(&mut site);
        let first = if scenario.from_start { scenario.offset } else { "+0" };
        case.set(first);
        if scenario.from_start {
            if !case.first_start(&mut site) {
                return case.told;
            }
        } else if let Err((role, error)) = site.start_all() {
            case.wrong(format!("{} does not start: {}", role.verb(), error.line()));
            return case.told;
        }
        let client = Client::new(site.places, &site.operator_token());
        if !case.people(&client) {
            return case.told;
        }
        if !scenario.from_start {
            case.while_wrong(&mut site, &client);
        }
        case.afterwards(&mut site, &client);
        case.new_verifiers(&mut site, logs.path());
        case.told
    }

    fn wrong(&mut self, line: String) {
        self.told.wrong.push(line);
    }

    /// From the next start on, the process of the scenario has the time of the file.
    fn fake(&self, site: &mut Site) {
        let variables = [
            ("LD_PRELOAD", self.library.display().to_string()),
            ("FAKETIME_TIMESTAMP_FILE", self.clock.display().to_string()),
            ("FAKETIME_NO_CACHE", "1".to_owned()),
            // Monotonic time that goes back when the clock is right again: no machine does that.
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
        ];
        for (name, value) in variables {
            site.variables.push((self.scenario.role, name.to_owned(), value));
        }
    }

    fn set(&self, offset: &str) {
        // A reader never sees half of it.
        let next = self.clock.with_extension("next");
        fs::write(&next, format!("{offset}\n")).unwrap();
        fs::rename(&next, &self.clock).unwrap();
    }

    /// The first start has the wrong time. A server that is not ready for that becomes ready by itself.
    fn first_start(&mut self, site: &mut Site) -> bool {
        let of_provision = self.scenario.role == Role::Provision;
        site.launch(Role::Provision);
        if of_provision {
            rest(WRONG_FOR);
            self.set("+0");
        }
        let mut started = site.await_ready(Role::Provision, BACK_WITHIN);
        let mut name = Role::Provision.verb();
        if started.is_ok() {
            let readers = [Role::Broker, Role::Agent];
            readers.into_iter().for_each(|role| site.launch(role));
            if !of_provision {
                rest(WRONG_FOR);
                self.set("+0");
            }
            for role in readers {
                if started.is_ok() {
                    (started, name) = (site.await_ready(role, BACK_WITHIN), role.verb());
                }
            }
        }
        if let Err(error) = &started {
            self.wrong(format!("{name} is not ready when its clock is right: {}", error.line()));
        }
        started.is_ok()
    }

    /// Devices: some in the right, one revoked, one whose token was revoked by its hash.
    fn people(&mut self, client: &Client) -> bool {
        let enrol = |id: &str, role: &str| {
            let seed = sha256(format!("{} {id}", self.seed).as_bytes());
            let outcome = Watch::start();
            loop {
                match client.enrol(id, role, seed, Purpose::Connect) {
                    Outcome::Done(device) => return Ok(device),
                    other if outcome.passed() > BACK_WITHIN => {
                        return Err(format!("{id} cannot enrol: {}", other.code()))
                    }
                    _ => rest(Duration::from_millis(250)),
                }
            }
        };
        let mut make = || -> Result<(), String> {
            for number in 0..HONEST {
                self.honest.push(enrol(&format!("h-{number}"), "sensor")?);
            }
            for id in ["x-device", "x-hash", "x-late"] {
                self.dead.push(enrol(id, "sensor")?);
            }
            self.late = self.dead.pop();
            let device = client.revoke("x-device").code();
            let hash = client.revoke_token(&self.dead[1].token).code();
            match (device.as_str(), hash.as_str()) {
                ("done", "done") => Ok(()),
                _ => Err(format!("cannot be revoked: {device}, {hash}")),
            }
        };
        let made = make();
        let good = made.is_ok();
        made.unwrap_or_else(|line| self.wrong(line));
        // The revocations must have reached both verifiers before anything else is judged.
        let known = Watch::until(BACK_WITHIN, || {
            let refused = |device: &Device| {
                client.connect(device, true).is_refused() && client.validate(device).is_refused()
            };
            good && self.dead.iter().all(refused) && self.serves(client).is_ok()
        });
        if good && known.is_none() {
            let why = self.serves(client).err().unwrap_or("revocations do not arrive".to_owned());
            self.wrong(format!("before anything: {why}"));
        }
        good && known.is_some()
    }

    fn dead_stay_dead(&mut self, client: &Client, when: &str) {
        for device in self.dead.clone() {
            let accepted = [
                ("broker", client.connect(&device, true).code()),
                ("agent", client.validate(&device).code()),
            ];
            for (place, code) in accepted {
                if code == "done" {
                    self.wrong(format!(
                        "{}, revoked, is accepted by the {place} {when}",
                        device.id
                    ));
                }
            }
        }
        let request = client.refresh_request(&self.dead[0], b"dead for good");
        if client.refresh(&request).code() == "done" {
            self.wrong(format!("the revoked device gets a token {when}"));
        }
    }

    /// Whether everything works: a token, a new session with a message, the agent.
    fn serves(&self, client: &Client) -> Result<(), String> {
        self.turns.set(self.turns.get() + 1);
        // The last one has a session that stays open.
        let device = &self.honest[self.turns.get() % (HONEST - 1)];
        rest(Duration::from_millis(200));
        let nonce = sha256(&client.password(device, &device.id));
        let request = client.refresh_request(device, &nonce[..16]);
        let token = client.refresh(&request);
        let code = token.code();
        let token = token.done().ok_or(format!("refresh: {code}"))?;
        for device in [device.clone(), Device { token, ..device.clone() }] {
            let session = client.connect(&device, true);
            let code = session.code();
            let mut session = session.done().ok_or(format!("connect: {code}"))?;
            let topic = format!("d/{}/telemetry", device.id);
            session.publish(&topic, "x", false).map_err(|e| format!("publish: {e}"))?;
            session.close();
            let agent = client.validate(&device).code();
            if agent != "done" {
                return Err(format!("agent: {agent}"));
            }
        }
        Ok(())
    }

    fn while_wrong(&mut self, site: &mut Site, client: &Client) {
        let role = self.scenario.role;
        let mut open = client.connect(&self.honest[HONEST - 1], true).done();
        if self.scenario.offset == HALT {
            site.daemon(role).halt();
            rest(WRONG_FOR);
            site.daemon(role).go_on();
            return;
        }
        self.set(self.scenario.offset);
        let watch = Watch::start();
        let mut said = false;
        while watch.passed() < WRONG_FOR {
            self.dead_stay_dead(client, "while the clock is wrong");
            said = said || says_so(site, role);
            // Work goes on; its outcome is told, not judged.
            self.told.served_meanwhile += usize::from(self.serves(client).is_ok());
            rest(Duration::from_millis(500));
            if watch.passed() > WRONG_FOR / 2 {
                self.revoke_late(client);
            }
        }
        if !said {
            let name = role.verb();
            self.wrong(format!("{name} was wrong and said so neither in /readyz nor by a metric"));
        }
        if role == Role::Provision && !alive(&mut open) {
            self.wrong("an open session was cut because provisioning's clock was wrong".to_owned());
        }
        self.set("+0");
    }

    /// A revocation that was acknowledged while a clock was wrong is one like every other, once it has been followed.
    fn revoke_late(&mut self, client: &Client) {
        let Some(device) = self.late.take() else { return };
        if client.revoke(&device.id).code() != "done" {
            return;
        }
        let refused = || client.connect(&device, true).code() != "done";
        if Watch::until(BACK_WITHIN, refused).is_none() {
            self.wrong("a revocation while the clock is wrong is not followed".to_owned());
        }
        let refused = || client.validate(&device).code() != "done";
        if Watch::until(BACK_WITHIN, refused).is_none() {
            self.wrong("a revocation while the clock is wrong is not followed".to_owned());
        }
        self.dead.push(device);
    }

    fn afterwards(&mut self, site: &mut Site, client: &Client) {
        let mut last = String::new();
        self.told.back = Watch::until(BACK_WITHIN, || match self.serves(client) {
            Ok(()) => true,
            Err(line) => {
                last = line;
                false
            }
        });
        if self.told.back.is_none() {
            self.wrong(format!("no service a minute after the clock was right: {last}"));
        }
        let unready: Vec<Role> = Role::ALL
            .into_iter()
            .filter(|role| {
                let page = site.page(*role);
                let ready = || page.get("/readyz").is_ok_and(|answer| answer.ok());
                Watch::until(BACK_WITHIN, ready).is_none()
            })
            .collect();
        if !unready.is_empty() {
            self.wrong(format!("not ready a minute after the clock was right: {unready:?}"));
        }
        self.dead_stay_dead(client, "after the clock was right again");
    }

    /// A broker and an agent that have never seen anything before.
    fn new_verifiers(&mut self, site: &mut Site, logs: &Path) {
        let fresh = TempDir::new().unwrap();
        let mut second = Site::new(fresh.path(), logs);
        // They read the same provisioning.
        second.places.http = site.places.http;
        let link = second.data(Role::Provision);
        std::os::unix::fs::symlink(site.data(Role::Provision), link).unwrap();
        for role in [Role::Broker, Role::Agent] {
            second.launch(role);
        }
        for role in [Role::Broker, Role::Agent] {
            if let Err(error) = second.await_ready(role, BACK_WITHIN) {
                self.wrong(format!("a new {} is not ready: {}", role.verb(), error.line()));
                return;
            }
        }
        let client = Client::new(second.places, &site.operator_token());
        self.dead_stay_dead(&client, "by a new verifier");
        let mut last = String::new();
        self.told.new_back = Watch::until(BACK_WITHIN, || match self.serves(&client) {
            Ok(()) => true,
            Err(line) => {
                last = line;
                false
            }
        });
        if self.told.new_back.is_none() {
            self.wrong(format!("a new verifier does not serve: {last}"));
        }
        self.dead_stay_dead(&client, "by a new verifier that serves");
        second.kill_all();
    }
}

fn alive(session: &mut Option<Mqtt>) -> bool {
    session.as_mut().is_none_or(Mqtt::is_alive)
}

/// Whether a process says that its clock is wrong: it is not ready, or a metric of its clock is not zero.
fn says_so(site: &Site, role: Role) -> bool {
    let page = site.page(role);
    if page.get("/readyz").is_ok_and(|answer| !answer.ok()) {
        return true;
    }
    let metrics = page.get("/metrics").map(|answer| answer.text()).unwrap_or_default();
    metrics.lines().filter(|line| !line.starts_with('#')).any(|line| {
        let (name, value) = line.rsplit_once(' ').unwrap_or((line, "0"));
        name.contains("clock") && value.parse::<f64>().is_ok_and(|value| value.abs() > 0.0)
    })
}
