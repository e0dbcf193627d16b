//! Bent stores: a store of real work, stopped cleanly or killed, is damaged in one place. Then either everything that was
//! acknowledged is there, or a process refuses to start and says why. An older state that calls itself ready is a finding.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tempfile::TempDir;

use super::{shown, Report};
use crate::site::{rest, Role, Site, Watch};
use crate::world::{check, prepare, Client, Dice, Facts, Kind, Worker};

/// Persistent sessions.
const KEPT: usize = 4;
/// Things done before the stop.
const WORK: usize = 200;
/// Mutations of the same work.
const BATCH: usize = 12;
/// How long a start on a bent store may take: it says something before.
const WITHIN: Duration = Duration::from_secs(15);
/// The same, once a loss was accepted: the seconds of proofs that may have been used are over only after the window of
/// proofs, and a verifier is not ready before.
const ACCEPTED_WITHIN: Duration = Duration::from_secs(90);
/// The way on.
const ACCEPT: &str = "--accept-loss";
/// Bytes that file systems and engines write at once.
const BLOCK: u64 = 4096;

/// The order.
pub struct Options {
    /// How many mutations.
    pub mutations: usize,
    /// The seed of all choices.
    pub seed: u64,
    /// One of them alone.
    pub only: Option<usize>,
}

/// A folder of real work, and what was acknowledged when it was stopped.
struct Stopped {
    folder: TempDir,
    facts: Facts,
    operator: String,
}

/// A damage, and what was damaged.
struct Damage {
    line: String,
    role: Role,
}

/// Bends as often as told.
///
/// # Panics
/// When the servers do not work in a new folder, or do not start on a copy that is not bent.
pub fn judge(options: &Options) -> Report {
    println!("bent stores: seed {}", options.seed);
    let logs = TempDir::new().unwrap();
    let mut report = Report::default();
    let watch = Watch::start();
    let (mut whole, mut told, mut accepted, mut silent) = (0, 0, 0, 0);
    let mut batch: Option<Batch> = None;
    let numbers = match options.only {
        Some(only) => only..only + 1,
        None => 0..options.mutations,
    };
    for number in numbers {
        if batch.as_ref().is_none_or(|batch| batch.number != number / BATCH) {
            batch = Some(Batch::make(number / BATCH, options.seed, logs.path()));
        }
        let batch = batch.as_ref().unwrap();
        let mut dice = Dice::new(options.seed).fork(&format!("mutation {number}"));
        let (base, how) = match number % 2 {
            0 => (&batch.clean, "stopped"),
            _ => (&batch.killed, "killed"),
        };
        let mut damage = Damage { line: String::new(), role: Role::Provision };
        let verdict = look(base, logs.path(), |folder| {
            damage = bend(folder, batch.older.path(), number, &mut dice);
        });
        let name = format!("mutation {number} ({how}, {}): {}", damage.role.verb(), damage.line);
        println!("  {name}: {verdict:?}");
        match verdict {
            Verdict::Whole => whole += 1,
            Verdict::Told(_) => told += 1,
            Verdict::Accepted(_) => accepted += 1,
            Verdict::Wrong(lines) => {
                silent += 1;
                let more = lines.len().saturating_sub(3);
                report.find(format!(
                    "{name}: {}; and {more} more",
                    lines[..lines.len() - more].join("; ")
                ));
            }
        }
    }
    if let Some(batch) = batch {
        report.figure("acknowledged in a batch", batch.clean.facts.line());
    }
    report.figure("everything is there", whole);
    report.figure("told, and no start", told);
    report.figure("told, and on by --accept-loss", accepted);
    report.figure("wrong", silent);
    report.figure("time", shown(watch.passed()));
    let (mutations, seed) = (options.mutations, options.seed);
    report.figure("repeat", format!("tests/bent --mutations {mutations} --seed {seed}"));
    report.figure("repeat one", format!("tests/bent --seed {seed} --only NUMBER"));
    report
}

/// Stores of one piece of work. It is not long ago: an old proof would be refused for its age.
struct Batch {
    number: usize,
    clean: Stopped,
    killed: Stopped,
    older: TempDir,
}

impl Batch {
    fn make(number: usize, seed: u64, logs: &Path) -> Self {
        let older = TempDir::new().unwrap();
        let [clean, killed] = make(seed.wrapping_add(number as u64), logs, older.path());
        for base in [&clean, &killed] {
            // The control: a file that is not bent is whole.
            let verdict = look(base, logs, |_| {});
            assert!(matches!(verdict, Verdict::Whole), "a store that is not bent: {verdict:?}");
        }
        Self { number, clean, killed, older }
    }
}

/// Works, keeps an older copy on the way, and stops: once cleanly, once by `kill -9`.
fn make(seed: u64, logs: &Path, older: &Path) -> [Stopped; 2] {
    let work = TempDir::new().unwrap();
    let mut site = Site::new(work.path(), logs);
    site.start_all().unwrap_or_else(|(role, error)| panic!("{role:?}: {}", error.line()));
    let operator = site.operator_token();
    let client = Client::new(site.places, &operator);
    let facts = Arc::new(Mutex::new(prepare(&client, seed, KEPT)));
    let dice = Dice::new(seed);
    let more = |name: &str| {
        let mut worker = Worker::new(client.clone(), facts.clone(), dice.fork(name), name);
        for _ in 0..WORK / 2 {
            worker.step(&Kind::ALL);
        }
    };
    more("first");
    site.stop_all();
    copy(work.path(), older);
    site.start_all().unwrap_or_else(|(role, error)| panic!("{role:?}: {}", error.line()));
    more("second");
    site.kill_all();
    let stopped = || {
        let folder = TempDir::new().unwrap();
        copy(work.path(), folder.path());
        let facts = facts.lock().unwrap().clone();
        Stopped { folder, facts, operator: operator.clone() }
    };
    let killed = stopped();
    site.start_all().unwrap_or_else(|(role, error)| panic!("{role:?}: {}", error.line()));
    site.stop_all();
    [stopped(), killed]
}

#[derive(Debug)]
enum Verdict {
    /// Everything is there.
    Whole,
    /// A server that does not start says why.
    Told(#[expect(dead_code, reason = "shown by Debug")] String),
    /// As `Told`, and it starts once it is told to go on without what is gone.
    Accepted(#[expect(dead_code, reason = "shown by Debug")] String),
    /// Neither.
    Wrong(Vec<String>),
}

/// Starts the servers on a copy that was changed.
fn look(base: &Stopped, logs: &Path, change: impl FnOnce(&Path)) -> Verdict {
    let folder = TempDir::new().unwrap();
    copy(base.folder.path(), folder.path());
    change(folder.path());
    let mut site = Site::new(folder.path(), logs);
    if let Err((role, error)) = site.start_within(WITHIN) {
        let line = format!("{} {}", role.verb(), error.line());
        let told = error.is_told() || (error.status.is_none() && warned(&error.text));
        return match told {
            true if error.text.contains(ACCEPT) => go_on(&mut site, role, line, &base.operator),
            true => Verdict::Told(line),
            false => Verdict::Wrong(vec![line]),
        };
    }
    let checked = check(&base.facts, &Client::new(site.places, &base.operator), Duration::ZERO);
    let panicked = Role::ALL.into_iter().filter(|role| {
        let daemon = site.daemon(*role);
        !daemon.is_running() || daemon.text().contains("panicked")
    });
    let panicked: Vec<String> =
        panicked.map(|role| format!("{} panicked or ended", role.verb())).collect();
    let mut wrong = checked.lost;
    wrong.extend(panicked);
    match wrong.is_empty() {
        true => Verdict::Whole,
        false => Verdict::Wrong(wrong),
    }
}

/// A server that names the way on can be started that way, and provisioning writes it into its audit log.
fn go_on(site: &mut Site, role: Role, line: String, operator: &str) -> Verdict {
    site.words.push((role, ACCEPT.to_owned()));
    if let Err((failed, error)) = site.start_within(ACCEPTED_WITHIN) {
        // Another process may have lost something too, and say so.
        let another = failed != role && error.is_told();
        let why = format!("{line}; with {ACCEPT}, {} {}", failed.verb(), error.line());
        return if another { Verdict::Told(why) } else { Verdict::Wrong(vec![why]) };
    }
    if role == Role::Provision {
        let client = Client::new(site.places, operator);
        // An operator that was lost cannot ask.
        if let Ok(entries) = client.list("/v1/audit") {
            if !entries.iter().any(|entry| entry["action"] == "store.accept-loss") {
                return Verdict::Wrong(vec![format!("{line}; {ACCEPT} is not in the audit log")]);
            }
        }
    }
    Verdict::Accepted(line)
}

/// A process that waits for what it needs, and says so, does not call itself ready.
fn warned(text: &str) -> bool {
    !text.contains("panicked") && (text.contains("WARN") || text.contains("ERROR"))
}

/// Copies a folder of folders, which no process writes to.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            copy(&entry.path(), &target);
        } else if kind.is_file() {
            // A socket that a killed process left is no state.
            fs::copy(entry.path(), &target).unwrap();
        }
    }
    let mode = fs::metadata(from).unwrap().permissions();
    fs::set_permissions(to, mode).unwrap();
}

/// Every file of state below a folder, in order.
fn files(folder: &Path) -> Vec<PathBuf> {
    let (mut found, mut folders) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let is_of_a_run = path.file_name().is_some_and(|name| name == "run.json");
            if path.is_dir() {
                folders.push(path);
            } else if path.is_file() && !is_of_a_run {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// Does one damage; which kind goes by the number, everything else by the dice.
fn bend(folder: &Path, older: &Path, number: usize, dice: &mut Dice) -> Damage {
    let role = Role::ALL[(number / 2) % 3];
    let data = folder.join(role.verb());
    let all = files(&data);
    // Large files hold the rows, small ones the heads and keys: both are met often.
    let large: Vec<PathBuf> = all.iter().filter(|path| size(path) > 2 * BLOCK).cloned().collect();
    let heads: Vec<PathBuf> =
        all.iter().filter(|path| path.to_string_lossy().contains("head")).cloned().collect();
    let pick = |dice: &mut Dice, list: &[PathBuf]| match list.is_empty() {
        true => dice.of(&all).clone(),
        false => dice.of(list).clone(),
    };
    // Six in a row have different kinds, and every process meets every kind in 72.
    let kind = (number + 5 * (number / 6)) % 12;
    let path = match kind {
        0..=5 => pick(dice, &large),
        6..=8 => pick(dice, &heads),
        _ => pick(dice, &all),
    };
    let short = path.strip_prefix(folder).unwrap_or(&path).display().to_string();
    let length = size(&path);
    let line = match kind {
        0 | 6 => flip(&path, dice.below(length), dice),
        1 => {
            let block = dice.below(length / BLOCK + 1) * BLOCK;
            flip(&path, (block + dice.below(16)).min(length.saturating_sub(1)), dice)
        }
        2 => cut(&path, dice.below(length)),
        3 => cut(&path, dice.below(length / BLOCK + 1) * BLOCK),
        4 => zero(&path, dice.below(length / BLOCK + 1) * BLOCK),
        5 | 8 => swap(&path, &older.join(path.strip_prefix(folder).unwrap())),
        7 | 9 => {
            fs::remove_file(&path).unwrap();
            "deleted".to_owned()
        }
        10 => return without_store(&data, role, dice),
        _ => flip(&path, length.saturating_sub(1 + dice.below(64.min(length.max(1)))), dice),
    };
    Damage { line: format!("{short} ({length} bytes) {line}"), role }
}

fn size(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |meta| meta.len())
}

fn flip(path: &Path, at: u64, dice: &mut Dice) -> String {
    let mut bytes = fs::read(path).unwrap();
    let bit = dice.below(8);
    if let Some(byte) = bytes.get_mut(at as usize) {
        *byte ^= 1 << bit;
    }
    fs::write(path, bytes).unwrap();
    format!("bit {bit} of byte {at} flipped")
}

fn cut(path: &Path, to: u64) -> String {
    let file = fs::OpenOptions::new().write(true).open(path).unwrap();
    file.set_len(to).unwrap();
    format!("cut to {to} bytes")
}

fn zero(path: &Path, from: u64) -> String {
    let mut bytes = fs::read(path).unwrap();
    let end = bytes.len().min((from + BLOCK) as usize);
    let from = (from as usize).min(end);
    bytes[from..end].fill(0);
    fs::write(path, bytes).unwrap();
    format!("bytes {from} to {end} are zero")
}

fn swap(path: &Path, older: &Path) -> String {
    if !older.exists() {
        fs::remove_file(path).unwrap();
        return "deleted (there was none before)".to_owned();
    }
    fs::copy(older, path).unwrap();
    "is an older one".to_owned()
}

/// Takes a whole folder of the store away; the files beside it stay.
fn without_store(data: &Path, role: Role, dice: &mut Dice) -> Damage {
    let mut folders: Vec<PathBuf> = Vec::new();
    let mut open = vec![data.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path.clone());
                folders.push(path);
            }
        }
    }
    folders.sort();
    // The folder itself, when the store is all there is.
    let folder = if folders.is_empty() { data.to_owned() } else { dice.of(&folders).clone() };
    let short = folder.strip_prefix(data).unwrap_or(&folder).display().to_string();
    remove(&folder);
    Damage { line: format!("the folder {short:?} is deleted"), role }
}

fn remove(folder: &Path) {
    // A file system may still be busy with what a killed process had open.
    let gone = Watch::until(Duration::from_secs(5), || fs::remove_dir_all(folder).is_ok());
    if gone.is_none() {
        rest(Duration::from_millis(1));
        fs::remove_dir_all(folder).unwrap();
    }
}
