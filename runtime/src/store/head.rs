//! The head: what a store must hold at least, kept apart from journal and engine.
//!
//! The file `head` has two slots for the state as of a checkpoint, start or stop, written in turn and synced, and two
//! marks, written in turn after every group: the number of the last commit that was answered. Marks are not synced; a
//! power cut may leave an older one, which asks for less than the journal holds.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::checksum;
use super::disk::Disk;
use super::journal::StoreId;

const FILE: &str = "head";
const MAGIC: &[u8; 8] = b"tshead01";
const SLOT_BYTES: usize = 16 * 1024;
const MARK_BYTES: usize = 512;
const SLOT_HEAD_BYTES: usize = 16;
const PLACES: [usize; 2] = [0, SLOT_BYTES];
const MARKS: [usize; 2] = [2 * SLOT_BYTES, 2 * SLOT_BYTES + MARK_BYTES];

/// Contents of the store when this was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct State {
    /// Counts the writes of this record.
    pub(super) serial: u64,
    pub(super) store: StoreId,
    /// The number of the base; 0 when there is none.
    pub(super) base: u64,
    /// Each table of the base.
    pub(super) tables: Vec<TableState>,
    /// The first journal whose records are not in the base.
    pub(super) first_journal: u64,
    /// The commit before that journal's first.
    pub(super) base_commit: u64,
    /// The last commit that was answered.
    pub(super) commit: u64,
    /// The process that wrote this had closed the store.
    pub(super) clean: bool,
    /// It began as a copy, or with a loss that was accepted, and no process has closed it since.
    #[serde(default)]
    pub(super) copied: bool,
}

impl State {
    /// A store with this base, which holds everything up to `commit`.
    pub(super) fn new(store: StoreId, base: u64, tables: Vec<TableState>, commit: u64) -> Self {
        Self {
            serial: 0,
            store,
            base,
            tables,
            first_journal: 1,
            base_commit: commit,
            commit,
            clean: false,
            copied: false,
        }
    }
}

/// One table of a base.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct TableState {
    pub(super) name: String,
    pub(super) rows: u64,
    /// SHA-256 over all rows in order.
    pub(super) hash: [u8; 32],
}

/// The head of one open store.
pub(super) struct Head {
    disk: Disk,
    path: PathBuf,
    file: fs::File,
    state: State,
}

/// Outcome of reading a head.
pub(super) enum Found {
    /// There is no such file.
    Nothing,
    /// The newest state, with the last commit raised to what the marks say.
    State(State),
    /// A file that holds no good state.
    Unreadable,
}

impl Head {
    pub(super) fn create(disk: &Disk, folder: &Path, state: State) -> io::Result<Self> {
        let mut head = Self::detached(disk, folder, state)?;
        head.write()?;
        head.disk.sync_folder(folder)?;
        Ok(head)
    }

    /// A head that is not written before its first update.
    pub(super) fn detached(disk: &Disk, folder: &Path, state: State) -> io::Result<Self> {
        let path = folder.join(FILE);
        let file = disk.open(&path)?;
        Ok(Self { disk: disk.clone(), path, file, state })
    }

    pub(super) fn state(&self) -> &State {
        &self.state
    }

    /// Replaces the state, durably. After an error the file may hold either, and the next update is written over what
    /// failed.
    pub(super) fn update(&mut self, change: impl FnOnce(&mut State)) -> io::Result<()> {
        let mut state = self.state.clone();
        change(&mut state);
        let before = std::mem::replace(&mut self.state, state);
        self.write().inspect_err(|_| self.state = before)
    }

    /// Notes that this commit is answered from now on. Cheap: one write without a sync.
    pub(super) fn mark(&mut self, commit: u64) -> io::Result<()> {
        self.state.commit = commit;
        let mut mark = [self.state.store.as_slice(), &commit.to_be_bytes()].concat();
        mark.extend_from_slice(&checksum::of(&[MAGIC, &mark]).to_be_bytes());
        let place = MARKS.get(usize::from(commit % 2 == 1)).copied().unwrap_or_default();
        self.disk.write_at(&self.path, &self.file, &mark, place as u64)
    }

    fn write(&mut self) -> io::Result<()> {
        self.state.serial += 1;
        let body = serde_json::to_vec(&self.state).map_err(io::Error::other)?;
        if body.len() > SLOT_BYTES - SLOT_HEAD_BYTES {
            return Err(io::Error::other("the store has more tables than its head can hold"));
        }
        let length = u32::try_from(body.len()).map_err(io::Error::other)?;
        let crc = checksum::of(&[MAGIC, &body]);
        let slot = [MAGIC.as_slice(), &length.to_be_bytes(), &crc.to_be_bytes(), &body].concat();
        let place = PLACES.get(usize::from(self.state.serial % 2 == 1)).copied();
        self.disk.write_at(&self.path, &self.file, &slot, place.unwrap_or_default() as u64)?;
        self.disk.sync(&self.path, &self.file)
    }
}

/// Reads the head in this folder.
pub(super) fn read(folder: &Path) -> io::Result<Found> {
    let bytes = match fs::read(folder.join(FILE)) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
        Err(error) => return Err(error),
    };
    let states = PLACES.iter().filter_map(|place| slot(bytes.get(*place..)?));
    let Some(mut state) = states.max_by_key(|state| state.serial) else {
        return Ok(Found::Unreadable);
    };
    let marks = MARKS.iter().filter_map(|place| mark(bytes.get(*place..)?, &state.store));
    state.commit = marks.max().unwrap_or(0).max(state.commit);
    Ok(Found::State(state))
}

fn slot(bytes: &[u8]) -> Option<State> {
    let rest = bytes.strip_prefix(MAGIC)?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let (crc, rest) = rest.split_first_chunk::<4>()?;
    let body = rest.get(..usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
    if checksum::of(&[MAGIC, body]) != u32::from_be_bytes(*crc) {
        return None;
    }
    serde_json::from_slice(body).ok()
}

fn mark(bytes: &[u8], store: &StoreId) -> Option<u64> {
    let (body, rest) = bytes.split_first_chunk::<24>()?;
    let crc = rest.first_chunk::<4>()?;
    let commit = body.strip_prefix(store)?.first_chunk::<8>()?;
    let good = checksum::of(&[MAGIC, body]) == u32::from_be_bytes(*crc);
    good.then(|| u64::from_be_bytes(*commit))
}
