//! The loop: regressions, then seeds, then mutations of what reached something new.

use std::collections::HashSet;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Mutex;

use crate::mutate;
use crate::rng::Rng;
use crate::signal;
use crate::targets::Target;

/// Inputs kept in memory to mutate.
const POOL: usize = 4096;
/// Attempts to make a failing input smaller.
const SHRINK_ATTEMPTS: usize = 4000;

/// The order.
pub struct Plan {
    /// Executions beyond regressions and seeds.
    pub runs: u64,
    /// The seed of all chance.
    pub seed: u64,
    /// A folder with further inputs.
    pub corpus: Option<PathBuf>,
    /// Whether to ask that the target reached enough; sensible from its own number of runs on.
    pub demand: bool,
}

/// Outcome of a run.
pub struct Report {
    /// Executions in all.
    pub executions: u64,
    /// Distinct outcomes that the target noted.
    pub reached: usize,
}

/// An input that broke an invariant.
pub struct Failure {
    /// Message and place of the panic.
    pub message: String,
    /// The input, made small.
    pub input: Vec<u8>,
}

/// Why a run did not pass.
pub enum Fault {
    /// An invariant was broken.
    Broken(Failure),
    /// The target came to fewer outcomes than it should.
    Blind(Report),
}

static EXECUTED: AtomicU64 = AtomicU64::new(0);

/// Executions so far, so that a watcher sees progress.
pub fn executed() -> u64 {
    EXECUTED.load(Ordering::Relaxed)
}

static LAST_PANIC: Mutex<String> = Mutex::new(String::new());

/// Keeps panics quiet and their words for the report.
pub fn capture_panics() {
    panic::set_hook(Box::new(|info| {
        if let Ok(mut last) = LAST_PANIC.lock() {
            *last = info.to_string();
        }
    }));
}

/// Runs one input.
///
/// # Errors
/// What the panic said.
pub fn execute(target: &Target, input: &[u8]) -> Result<(), String> {
    EXECUTED.fetch_add(1, Ordering::Relaxed);
    panic::catch_unwind(AssertUnwindSafe(|| (target.run)(input)))
        .map_err(|_| LAST_PANIC.lock().map(|last| last.clone()).unwrap_or_default())
}

/// Runs a target as planned.
///
/// # Errors
/// [`Fault`].
pub fn run(target: &Target, plan: &Plan) -> Result<Report, Fault> {
    let mut executions = 0;
    let mut seen = HashSet::new();
    let mut pool = Vec::new();
    for input in known_inputs(target, plan.corpus.as_deref()) {
        executions += 1;
        try_one(target, &input, &mut seen)?;
        pool.push(input);
    }
    if pool.is_empty() {
        pool.push(Vec::new());
    }
    let mut rng = Rng::new(plan.seed);
    for _ in 0..plan.runs {
        let mut input = pool[choose(&mut rng, pool.len())].clone();
        let other = rng.below(pool.len());
        mutate::mutate(&mut rng, &mut input, &pool[other]);
        executions += 1;
        if try_one(target, &input, &mut seen)? && pool.len() < POOL {
            pool.push(input);
        }
    }
    let report = Report { executions, reached: seen.len() };
    if plan.demand && report.reached < target.least {
        return Err(Fault::Blind(report));
    }
    Ok(report)
}

/// The newest half of the pool gets half of the attention.
fn choose(rng: &mut Rng, len: usize) -> usize {
    if rng.below(2) == 0 {
        len / 2 + rng.below(len - len / 2)
    } else {
        rng.below(len)
    }
}

/// Whether the input reached something new.
fn try_one(target: &Target, input: &[u8], seen: &mut HashSet<u64>) -> Result<bool, Fault> {
    let outcome = execute(target, input);
    let mut new = false;
    for one in signal::take() {
        new |= seen.insert(one);
    }
    match outcome {
        Ok(()) => Ok(new),
        Err(message) => {
            let input = shrink(target, input.to_vec(), place(&message));
            Err(Fault::Broken(Failure { message, input }))
        }
    }
}

/// The line of the panic, without its words: an input that fails elsewhere is another failure.
fn place(message: &str) -> String {
    message.lines().next().unwrap_or_default().to_owned()
}

fn shrink(target: &Target, mut input: Vec<u8>, place_of: String) -> Vec<u8> {
    let mut attempts = 0;
    let mut size = input.len().div_ceil(2);
    while size > 0 && attempts < SHRINK_ATTEMPTS {
        let mut at = 0;
        while at < input.len() && attempts < SHRINK_ATTEMPTS {
            let mut less = input.clone();
            drop(less.drain(at..(at + size).min(input.len())));
            attempts += 1;
            let same = execute(target, &less).is_err_and(|message| place(&message) == place_of);
            drop(signal::take());
            if same {
                input = less;
            } else {
                at += size;
            }
        }
        size /= 2;
    }
    input
}

/// Regressions first, then seeds, then the corpus; each in the order of their names.
fn known_inputs(target: &Target, corpus: Option<&Path>) -> Vec<Vec<u8>> {
    let home = home();
    let mut inputs = Vec::new();
    for folder in [
        Some(home.join("regressions").join(target.name)),
        Some(home.join("seeds").join(target.name)),
        corpus.map(Path::to_path_buf),
    ]
    .into_iter()
    .flatten()
    {
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        files.sort();
        inputs.extend(
            files.iter().filter(|file| file.is_file()).filter_map(|f| std::fs::read(f).ok()),
        );
    }
    inputs
}

/// The folder of this workspace.
pub fn home() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}
