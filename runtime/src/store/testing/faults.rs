//! Planned faults of a disk, step by step.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use parking_lot::Mutex;

/// One step of what a store asks of its disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// So many bytes are written to this file.
    Write(PathBuf, usize),
    /// This file is made shorter.
    Cut(PathBuf),
    /// This file or folder is synced.
    Sync(PathBuf),
}

/// The fault of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Bytes of a write that reach the file all the same.
    pub after: usize,
    /// The error for the caller.
    pub kind: io::ErrorKind,
}

impl Fault {
    /// Nothing of the step happens.
    pub fn of(kind: io::ErrorKind) -> Self {
        Self { after: 0, kind }
    }

    pub(super) fn error(self) -> io::Error {
        io::Error::from(self.kind)
    }
}

/// The steps so far, and those that fail.
#[derive(Default)]
pub(super) struct Faults(Mutex<Plan>);

#[derive(Default)]
struct Plan {
    asked: Vec<Asked>,
    fail: BTreeMap<usize, Fault>,
    end: Option<usize>,
}

impl Faults {
    /// Counts a step, and says what it meets.
    pub(super) fn meet(&self, asked: Asked) -> Option<Fault> {
        let mut plan = self.0.lock();
        let step = plan.asked.len();
        plan.asked.push(asked);
        match plan.end.is_some_and(|end| step >= end) {
            true => Some(Fault::of(io::ErrorKind::NotConnected)),
            false => plan.fail.remove(&step),
        }
    }

    pub(super) fn asked(&self) -> Vec<Asked> {
        self.0.lock().asked.clone()
    }

    pub(super) fn fail_at(&self, step: usize, fault: Fault) {
        self.0.lock().fail.insert(step, fault);
    }

    pub(super) fn end_at(&self, step: usize) {
        self.0.lock().end = Some(step);
    }
}
