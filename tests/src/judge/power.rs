//! Power cuts: the three servers work on an image, all acknowledgements are written down, and the image is copied. Servers
//! on the copy must have everything that was acknowledged before.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tempfile::TempDir;

use super::image::{control, Disk};
use super::{shown, Report};
use crate::site::{rest, Site, Watch};
use crate::world::{check, prepare, Checked, Client, Dice, Facts, Kind, Worker};

/// Persistent sessions.
const KEPT: usize = 6;
/// Workers when the power is cut in the middle of their work.
const WORKERS: usize = 4;
/// Each so many cuts, work goes on on the disk as it was after the cut.
const GO_ON_EVERY: usize = 4;

/// The order.
pub struct Options {
    /// How many cuts.
    pub cuts: usize,
    /// The seed of all choices.
    pub seed: u64,
    /// On a disk where every write is synced: data that are lost there were never written at all.
    pub sync: bool,
}

struct Run {
    report: Report,
    dice: Dice,
    logs: TempDir,
    // In this order: the servers end before their disk is unmounted.
    site: Site,
    disk: Disk,
    facts: Arc<Mutex<Facts>>,
    waited: Duration,
    asked: usize,
    lost_cuts: usize,
}

/// Cuts the power as often as told.
///
/// # Panics
/// When the machine cannot cut power ([`super::why_no_power_cuts`]), or the servers do not start on a new disk.
pub fn judge(options: &Options) -> Report {
    println!("power cuts: seed {}", options.seed);
    if let Err(why) = control() {
        panic!("power cannot be cut here: {why}");
    }
    let logs = TempDir::new().unwrap();
    let disk = Disk::new(options.sync).unwrap();
    let mut site = Site::new(&disk.path(), logs.path());
    site.start_all().unwrap_or_else(|(role, error)| panic!("{role:?}: {}", error.line()));
    let client = Client::new(site.places, &site.operator_token());
    let facts = Arc::new(Mutex::new(prepare(&client, options.seed, KEPT)));
    let mut run = Run {
        report: Report::default(),
        dice: Dice::new(options.seed),
        logs,
        site,
        disk,
        facts,
        waited: Duration::ZERO,
        asked: 0,
        lost_cuts: 0,
    };
    let watch = Watch::start();
    for cut in 0..options.cuts {
        let found = run.report.findings.len();
        let heading = format!("cut {cut} of seed {}", options.seed);
        let good = match cut % 2 {
            0 => run.after_an_answer(cut, &heading),
            _ => run.under_load(cut, &heading),
        };
        run.lost_cuts += usize::from(run.report.findings.len() > found);
        if !good {
            run.report.find(format!("{heading}: the run ends, the servers are gone"));
            break;
        }
    }
    let facts = run.facts.lock().unwrap().line();
    let mut report = run.report;
    report.figure("cuts", options.cuts);
    report.figure("cuts with a loss", run.lost_cuts);
    report.figure("acknowledged", facts);
    report.figure("facts asked for", run.asked);
    report.figure("longest wait of a device in the right", shown(run.waited));
    report.figure("time", shown(watch.passed()));
    let sync = if options.sync { " --sync" } else { "" };
    let (cuts, seed) = (options.cuts, options.seed);
    report.figure("repeat", format!("tests/power --cuts {cuts} --seed {seed}{sync}"));
    report
}

impl Run {
    fn worker(&mut self, name: &str) -> Worker {
        let client = Client::new(self.site.places, &self.site.operator_token());
        Worker::new(client, self.facts.clone(), self.dice.fork(name), name)
    }

    /// The cut falls right after one answer, and no other worker works.
    fn after_an_answer(&mut self, cut: usize, heading: &str) -> bool {
        let mut worker = self.worker(&format!("a{cut}"));
        for _ in 0..self.dice.below(12) {
            worker.step(&Kind::ALL);
        }
        // The last thing before the cut takes turns, so that every kind is the last one often.
        let last = Kind::EACH[(cut / 2) % Kind::EACH.len()];
        if worker.act(last).is_none() {
            self.report.find(format!("{heading}: {last:?} was not acknowledged: {}", worker.why()));
        }
        let after = self.cut();
        worker.hang_up();
        let go_on = (cut / 2) % GO_ON_EVERY == GO_ON_EVERY - 1;
        self.look(after, &format!("{heading}, after {last:?}"), go_on)
    }

    /// The cut falls at a random moment under load.
    fn under_load(&mut self, cut: usize, heading: &str) -> bool {
        let workers: Vec<Worker> =
            (0..WORKERS).map(|number| self.worker(&format!("l{cut}w{number}"))).collect();
        let stop = AtomicBool::new(false);
        let moment = Duration::from_millis(150 + self.dice.below(900));
        let after = std::thread::scope(|scope| {
            for mut worker in workers {
                let stop = &stop;
                scope.spawn(move || {
                    while !stop.load(Ordering::Relaxed) {
                        worker.step(&Kind::ALL);
                    }
                });
            }
            rest(moment);
            let after = self.cut();
            stop.store(true, Ordering::Relaxed);
            after
        });
        self.look(after, &format!("{heading}, under load"), false)
    }

    /// Facts that are acknowledged up to now, and the disk as it is.
    fn cut(&mut self) -> (Facts, Disk) {
        let facts = self.facts.lock().unwrap().clone();
        self.site.halt();
        let disk = self.disk.cut();
        self.site.go_on();
        (facts, disk.unwrap())
    }

    /// Starts servers on what is left, and asks them.
    fn look(&mut self, (facts, disk): (Facts, Disk), heading: &str, go_on: bool) -> bool {
        if go_on {
            self.site.kill_all();
        }
        let mut second = Site::new(&disk.path(), self.logs.path());
        if let Err((role, error)) = second.start_all() {
            self.report.find(format!("{heading}: {role:?} does not start: {}", error.line()));
            return !go_on;
        }
        let token = self.operator_token(&second);
        let checked = check(&facts, &Client::new(second.places, &token), Duration::ZERO);
        self.note(heading, &checked);
        if go_on {
            let mut facts = self.facts.lock().unwrap();
            for id in &checked.drained {
                facts.kept.insert(id.clone(), Vec::new());
            }
            // In this order: the servers on the old disk end before it is unmounted.
            self.site = second;
            self.disk = disk;
        }
        true
    }

    /// Of the copy; a token file that was lost is a finding of its own, and the rest is asked for all the same.
    fn operator_token(&mut self, second: &Site) -> String {
        let file = second.data(crate::site::Role::Provision).join("operator.token");
        match std::fs::read_to_string(&file) {
            Ok(token) if !token.trim().is_empty() => token.trim().to_owned(),
            _ => {
                self.report.find("the operator's token file is gone".to_owned());
                self.site.operator_token()
            }
        }
    }

    fn note(&mut self, heading: &str, checked: &Checked) {
        self.report.take(heading, checked);
        self.waited = self.waited.max(checked.waited);
        self.asked += checked.asked;
        println!("  {heading}: {} asked, {} lost", checked.asked, checked.lost.len());
    }
}
