//! The head: what the database must hold at least, in a file beside it.
//!
//! Two slots are written in turn. After each group of commits one gets the number of the last commit that was answered;
//! that is not synced, so a power cut may leave an older number, which asks for less than the database holds.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use crate::store::checksum;

const MAGIC: &[u8; 8] = b"tsqlhd02";
const SLOT: usize = 512;
const BODY: usize = 8 + 8 + 16 + 8 + 8;

/// The state of the database when a slot was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct State {
    /// Counts the writes of this file.
    serial: u64,
    /// The database that it is about.
    pub(super) id: [u8; 16],
    /// The last commit that was answered.
    pub(super) commit: u64,
    /// The database file has everything up to this commit, also without its log.
    pub(super) moved: u64,
}

/// The head of an open database.
pub(super) struct Head {
    file: File,
    state: State,
}

impl Head {
    /// The head in this file; `None` when there is none that can be read.
    pub(super) fn open(path: &Path) -> io::Result<Option<Self>> {
        let file = match OpenOptions::new().read(true).write(true).open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let slots = [0, 1].map(|slot| read(&file, slot));
        let newest = slots.into_iter().flatten().max_by_key(|state| state.serial);
        Ok(newest.map(|state| Self { file, state }))
    }

    /// A new head, durable but for its name in the folder.
    pub(super) fn make(path: &Path, id: [u8; 16], commit: u64) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(true).mode(0o600);
        let file = options.open(path)?;
        let mut head = Self { file, state: State { serial: 0, id, commit, moved: 0 } };
        head.note(commit)?;
        head.note(commit)?;
        head.sync()?;
        Ok(head)
    }

    pub(super) fn state(&self) -> State {
        self.state
    }

    /// Commits up to this one were answered.
    pub(super) fn note(&mut self, commit: u64) -> io::Result<()> {
        let state = State { serial: self.state.serial + 1, commit, ..self.state };
        self.file.write_all_at(&encode(&state), place(state.serial % 2))?;
        self.state = state;
        Ok(())
    }

    /// The log was moved into the database file up to this commit; written with the next note.
    pub(super) fn moved(&mut self, commit: u64) {
        self.state.moved = commit;
    }

    /// Makes what was noted durable.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

fn place(slot: u64) -> u64 {
    slot * SLOT as u64
}

fn encode(state: &State) -> [u8; SLOT] {
    let mut slot = [0; SLOT];
    let numbers = [state.commit.to_be_bytes(), state.moved.to_be_bytes()].concat();
    let body = [MAGIC.as_slice(), &state.serial.to_be_bytes(), &state.id, &numbers].concat();
    let sum = checksum::of(&[&body]).to_be_bytes();
    for (to, from) in slot.iter_mut().zip(body.iter().chain(&sum)) {
        *to = *from;
    }
    slot
}

fn read(file: &File, slot: u64) -> Option<State> {
    let mut bytes = [0; BODY + 4];
    file.read_exact_at(&mut bytes, place(slot)).ok()?;
    let (body, sum) = bytes.split_at(BODY);
    let number = |at: usize| body.get(at..)?.first_chunk().map(|bytes| u64::from_be_bytes(*bytes));
    let is_whole = body.starts_with(MAGIC) && checksum::of(&[body]).to_be_bytes() == sum;
    let id = *body.get(16..)?.first_chunk()?;
    let (commit, moved) = (number(32)?, number(40)?);
    is_whole.then_some(State { serial: number(8)?, id, commit, moved })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_whole_slot_counts() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("head");
        assert!(Head::open(&path).unwrap().is_none());
        let mut head = Head::make(&path, [7; 16], 3).unwrap();
        head.note(4).unwrap();
        head.note(5).unwrap();
        let newest = head.state().serial;
        let read = |path: &Path| Head::open(path).unwrap().map(|head| head.state());
        assert_eq!(read(&path), Some(State { serial: newest, id: [7; 16], commit: 5, moved: 0 }));
        head.file.write_all_at(b"bent", place(newest % 2) + 34).unwrap();
        assert_eq!(read(&path).map(|state| state.commit), Some(4));
        head.file.write_all_at(b"bent", place((newest + 1) % 2) + 3).unwrap();
        assert_eq!(read(&path), None);
    }
}
