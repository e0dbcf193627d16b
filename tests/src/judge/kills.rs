//! `kill -9` of one process at random moments under load. It starts again on the same folder and addresses; nothing that
//! was acknowledged is gone.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tempfile::TempDir;

use super::{shown, Report};
use crate::site::{rest, Role, Site, Watch};
use crate::world::{check, prepare, Client, Dice, Facts, Kind, Worker};

/// Persistent sessions.
const KEPT: usize = 4;
/// Workers while the process is killed.
const WORKERS: usize = 3;
/// How long a reader of the trust feed may need to find provisioning again: its longest pause, and some.
const FOLLOW: Duration = Duration::from_secs(25);
/// Three of four kills fall within so many milliseconds of the start, some of them into what a start repairs.
const SOON: u64 = 500;
/// The others wait for so many acknowledgements at most.
const ACKNOWLEDGED: u64 = 8;
/// Kills between two checks of everything.
const CHECK_EVERY: usize = 25;

/// The order.
pub struct Options {
    /// How many kills of each process.
    pub kills: usize,
    /// The seed of all choices.
    pub seed: u64,
    /// Which process; all three, one after the other, when none is named.
    pub role: Option<Role>,
}

/// Work while this process is killed: its own work, and some of the others.
fn work_for(role: Role) -> &'static [Kind] {
    match role {
        Role::Provision => {
            &[Kind::Enrol, Kind::Enrol, Kind::Refresh, Kind::Revoke, Kind::RevokeToken, Kind::Row]
        }
        Role::Broker => &[
            Kind::Connect,
            Kind::Publish,
            Kind::Publish,
            Kind::Publish,
            Kind::Retain,
            Kind::Revoke,
        ],
        Role::Agent => &[Kind::Validate, Kind::Validate, Kind::Validate, Kind::RevokeToken],
    }
}

/// Kills as often as told.
///
/// # Panics
/// When the servers do not start in a new folder.
pub fn judge(options: &Options) -> Report {
    println!("kills: seed {}", options.seed);
    let mut report = Report::default();
    let roles = options.role.map_or(Role::ALL.to_vec(), |role| vec![role]);
    // At once, on a site for each: after a kill devices are made to wait, which takes no processor.
    let reports: Vec<Report> = std::thread::scope(|scope| {
        let start = |role| scope.spawn(move || one(role, options));
        let threads: Vec<_> = roles.into_iter().map(start).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    for one in reports {
        report.findings.extend(one.findings);
        report.figures.extend(one.figures);
    }
    report
}

fn one(role: Role, options: &Options) -> Report {
    let mut report = Report::default();
    let (folder, logs) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let mut site = Site::new(folder.path(), logs.path());
    site.start_all().unwrap_or_else(|(role, error)| panic!("{role:?}: {}", error.line()));
    let client = Client::new(site.places, &site.operator_token());
    let facts = Arc::new(Mutex::new(prepare(&client, options.seed, KEPT)));
    let dice = Dice::new(options.seed ^ role as u64);
    let (watch, mut asked) = (Watch::start(), 0);
    let (mut waited, mut followed) = (Duration::ZERO, Duration::ZERO);
    let mut killed = 0;
    while killed < options.kills {
        let many = CHECK_EVERY.min(options.kills - killed);
        let heading = format!("kill {} of {} at seed {}", killed + many, role.verb(), options.seed);
        let next = Round { first: killed, many, facts: &facts, client: &client, dice: &dice };
        if let Err(line) = next.kill(role, &mut site) {
            report.find(format!("{heading}: {line}"));
            return report;
        }
        killed += many;
        let known = facts.lock().unwrap().clone();
        let checked = check(&known, &client, FOLLOW);
        report.take(&heading, &checked);
        println!("  {heading}: {} asked, {} lost", checked.asked, checked.lost.len());
        waited = waited.max(checked.waited);
        followed = followed.max(checked.followed);
        asked += checked.asked;
        let mut facts = facts.lock().unwrap();
        for id in &checked.drained {
            facts.kept.insert(id.clone(), Vec::new());
        }
    }
    let facts = facts.lock().unwrap().line();
    report.figure(&format!("kills of {}", role.verb()), killed);
    report.figure("  acknowledged", facts);
    report.figure("  facts asked for", asked);
    report.figure("  longest wait of a device in the right", shown(waited));
    report.figure("  longest until a revocation was followed", shown(followed));
    report.figure("  time", shown(watch.passed()));
    let repeat = format!("tests/kills --kills {} --role {}", options.kills, role.verb());
    report.figure("  repeat", format!("{repeat} --seed {}", options.seed));
    report
}

struct Round<'a> {
    first: usize,
    many: usize,
    facts: &'a Arc<Mutex<Facts>>,
    client: &'a Client,
    dice: &'a Dice,
}

impl Round<'_> {
    /// Some kills, with the same workers going on all the while.
    fn kill(&self, role: Role, site: &mut Site) -> Result<(), String> {
        let stop = AtomicBool::new(false);
        let acknowledged = AtomicUsize::new(0);
        let mut dice = self.dice.fork(&format!("moments of {}", self.first));
        std::thread::scope(|scope| {
            for number in 0..WORKERS {
                let name = format!("{}{}w{number}", &role.verb()[..1], self.first);
                let (facts, dice) = (self.facts.clone(), self.dice.fork(&name));
                let mut worker = Worker::new(self.client.clone(), facts, dice, &name);
                let (stop, acknowledged) = (&stop, &acknowledged);
                scope.spawn(move || {
                    while !stop.load(Ordering::Relaxed) {
                        if worker.step(work_for(role)) {
                            acknowledged.fetch_add(1, Ordering::Relaxed);
                        } else {
                            rest(Duration::from_millis(5));
                        }
                    }
                });
            }
            let outcome = (0..self.many).try_for_each(|number| {
                if dice.below(4) == 0 {
                    let wanted = acknowledged.load(Ordering::Relaxed) + 1;
                    let wanted = wanted + dice.below(ACKNOWLEDGED) as usize;
                    let enough = || acknowledged.load(Ordering::Relaxed) >= wanted;
                    // A process that acknowledges nothing is killed all the same; a check follows.
                    Watch::until(Duration::from_secs(10), enough);
                } else {
                    rest(Duration::from_millis(dice.below(SOON)));
                }
                site.kill(role);
                let name = format!("after kill {}", self.first + number);
                site.start(role).map_err(|error| format!("{name}: {}", error.line()))
            });
            stop.store(true, Ordering::Relaxed);
            outcome
        })
    }
}
