//! The last steps, for the search of a cause.

use std::collections::VecDeque;
use std::fmt;

/// Steps that a failure tells.
const LAST: u64 = 50;

/// Events of the last steps.
pub struct Trail {
    seed: u64,
    pub step: u64,
    lines: VecDeque<(u64, String)>,
    all: bool,
}

/// An invariant that does not hold.
#[derive(Debug)]
pub struct Broken(String);

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Trail {
    pub fn new(seed: u64) -> Self {
        Self { seed, step: 0, lines: VecDeque::new(), all: false }
    }

    pub fn keep_all(&mut self) {
        self.all = true;
    }

    pub fn add(&mut self, line: impl Into<String>) {
        let line = line.into();
        if std::env::var_os("TESSERA_SIMULATION_TRACE").is_some() {
            println!("{:>6}  {line}", self.step);
        }
        self.lines.push_back((self.step, line));
        let first = self.step.saturating_sub(LAST);
        while !self.all && self.lines.front().is_some_and(|(step, _)| *step < first) {
            self.lines.pop_front();
        }
    }

    pub fn lines(&self) -> impl Iterator<Item = String> + '_ {
        self.lines.iter().map(|(step, line)| format!("{step:>6}  {line}"))
    }

    pub fn broken(&self, why: &str) -> Broken {
        let (seed, step) = (self.seed, self.step);
        let last: Vec<_> = self.lines().collect();
        let last = last.join("\n");
        Broken(format!("seed {seed}, step {step}: {why}\nthe last {LAST} steps:\n{last}"))
    }
}

impl Drop for Trail {
    /// A panic of the product is a failure of the run too.
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("{}", self.broken("panic"));
        }
    }
}
