//! A disk that loses what was not synced and fails when it is told to: for tests and simulations of power cuts, full disks
//! and broken ones.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use self::faults::Faults;
use super::disk::Watch;
use crate::limits::STORE_TRY_AGAIN;
use crate::random::{self, Random, SeededRandom};

mod cut;
mod faults;

pub use self::faults::{Asked, Fault};

const SECTOR: usize = 512;

/// Remembers of each file what its last sync covered, and of each folder which names its last sync covered.
///
/// Files of folders that are synced as a whole, such as a base, count from then on as they are. Bytes of a failed sync
/// are read back as they were written, and no later sync brings them to the disk: as Linux does it, they must be written
/// again.
#[derive(Default)]
pub struct LossyDisk {
    files: Mutex<BTreeMap<PathBuf, Arc<Vec<u8>>>>,
    names: Mutex<BTreeMap<PathBuf, BTreeSet<PathBuf>>>,
    /// Contents of a file before it was made shorter, as long as that is not synced.
    before_cut: Mutex<BTreeMap<PathBuf, Vec<u8>>>,
    /// Sectors that a sync which failed has left behind, of the files whose writes are seen.
    missed: Mutex<BTreeMap<PathBuf, BTreeSet<usize>>>,
    faults: Faults,
    /// Bytes that can still be written.
    room: AtomicU64,
    /// Milliseconds after which a store tries a full disk again.
    pause: AtomicU64,
    /// Part of a path that no byte is written to.
    closed: Mutex<Option<String>>,
    /// Whether its room was changed since a write found none.
    changed: AtomicBool,
}

impl LossyDisk {
    /// A disk with endless room.
    pub fn new() -> Arc<Self> {
        let disk = Self::default();
        disk.room.store(u64::MAX, Ordering::SeqCst);
        disk.set_pause(STORE_TRY_AGAIN);
        Arc::new(disk)
    }

    /// How long a store waits before it tries a full disk again by itself. A simulation whose time is not that of the
    /// store makes it long, and asks for each try by a barrier: one that comes after the room was changed is not put off.
    pub fn set_pause(&self, pause: Duration) {
        let millis = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
        self.pause.store(millis, Ordering::SeqCst);
    }

    /// From now on there is no room for paths that hold `part`, and room for all others; for all with `None`.
    pub fn close_to(&self, part: Option<&str>) {
        *self.closed.lock() = part.map(str::to_owned);
        self.changed.store(true, Ordering::SeqCst);
    }

    /// From now on so many bytes can be written before the disk is full; `u64::MAX` for endless room.
    pub fn set_room(&self, bytes: u64) {
        self.room.store(bytes, Ordering::SeqCst);
        self.changed.store(true, Ordering::SeqCst);
    }

    /// Calls so far, also what it refused.
    pub fn asked(&self) -> Vec<Asked> {
        self.faults.asked()
    }

    /// Step `step` of what is asked of it, counted from 0, meets this fault.
    pub fn fail_at(&self, step: usize, fault: Fault) {
        self.faults.fail_at(step, fault);
    }

    /// From this step on nothing reaches it, as if its power was off.
    pub fn end_at(&self, step: usize) {
        self.faults.end_at(step);
    }

    /// Whether its store waits without end until it is asked.
    fn is_of_simulation(&self) -> bool {
        self.pause.load(Ordering::SeqCst) == u64::MAX
    }

    fn no_room(&self) -> io::Error {
        self.changed.store(false, Ordering::SeqCst);
        io::Error::from(io::ErrorKind::StorageFull)
    }

    /// Takes what is in this folder as synced: it was just mounted.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn adopt(&self, folder: &Path) -> io::Result<()> {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            match path.is_dir() {
                true => self.adopt(&path)?,
                false => self.synced(&path),
            }
        }
        self.folder_synced(folder);
        Ok(())
    }

    /// The state that a power cut at this moment leaves of the store in `folder`, written to the new folder `to`: all that was
    /// synced, and of what was written since any part, drawn from the seed, sector by sector and name by name.
    ///
    /// # Errors
    /// The folders cannot be read or written.
    pub fn power_cut(&self, folder: &Path, to: &Path, seed: u64) -> io::Result<()> {
        let random = SeededRandom::predictable(seed);
        let coin = || random::number(&random as &dyn Random).unwrap_or(0) & 1 == 0;
        let mut files = self.files.lock().clone();
        for (path, before) in self.before_cut.lock().iter() {
            let synced = files.entry(path.clone()).or_default();
            *synced = Arc::new(cut::mixed(synced, before, &coin));
        }
        fs::create_dir(to)?;
        cut::leave(folder, to, &files, &self.names.lock().clone(), &coin)
    }
}

impl Watch for LossyDisk {
    fn write(&self, path: &Path, bytes: usize) -> io::Result<()> {
        self.takes(path, bytes).1
    }

    fn takes(&self, path: &Path, bytes: usize) -> (usize, io::Result<()>) {
        if let Some(fault) = self.faults.meet(Asked::Write(path.to_owned(), bytes)) {
            return (fault.after.min(bytes), Err(fault.error()));
        }
        let is_closed = |part: &String| path.to_string_lossy().contains(part.as_str());
        if self.closed.lock().as_ref().is_some_and(is_closed) {
            return (0, Err(self.no_room()));
        }
        // As on a disk, what still finds room is written.
        let take = |room: u64| match room {
            u64::MAX => Some(room),
            room => Some(room.saturating_sub(bytes as u64)),
        };
        let room = self.room.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take);
        match room.unwrap_or_else(|room| room) {
            room if room >= bytes as u64 => (bytes, Ok(())),
            room => (usize::try_from(room).unwrap_or(bytes), Err(self.no_room())),
        }
    }

    fn wrote(&self, path: &Path, at: u64, bytes: usize) {
        let first = usize::try_from(at).unwrap_or(usize::MAX) / SECTOR;
        let behind = usize::try_from(at).unwrap_or(usize::MAX).saturating_add(bytes);
        let mut missed = self.missed.lock();
        let missed = missed.entry(path.to_owned()).or_default();
        missed.retain(|sector| !(first..behind.div_ceil(SECTOR)).contains(sector));
    }

    fn cut(&self, path: &Path) -> io::Result<()> {
        if let Some(fault) = self.faults.meet(Asked::Cut(path.to_owned())) {
            return Err(fault.error());
        }
        if let Ok(content) = fs::read(path) {
            self.before_cut.lock().insert(path.to_owned(), content);
        }
        Ok(())
    }

    fn sync(&self, path: &Path) -> io::Result<()> {
        let Some(fault) = self.faults.meet(Asked::Sync(path.to_owned())) else { return Ok(()) };
        if let (Some(missed), Ok(content)) = (self.missed.lock().get_mut(path), fs::read(path)) {
            let synced = self.files.lock().get(path).cloned().unwrap_or_default();
            missed.extend(cut::differing(&synced, &content));
        }
        Err(fault.error())
    }

    fn synced(&self, path: &Path) {
        let Ok(mut content) = fs::read(path) else { return };
        let mut missed = self.missed.lock();
        let mut files = self.files.lock();
        if let Some(missed) = missed.get_mut(path) {
            missed.retain(|sector| sector * SECTOR < content.len());
            let before = files.get(path).cloned().unwrap_or_default();
            missed.iter().for_each(|sector| cut::leave_sector(&before, &mut content, *sector));
        }
        files.insert(path.to_owned(), Arc::new(content));
        self.before_cut.lock().remove(path);
    }

    fn folder_synced(&self, folder: &Path) {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        let names: BTreeSet<PathBuf> = entries.map(|entry| entry.path()).collect();
        // A file that was renamed keeps what was synced of it under its former name.
        let mut files = self.files.lock();
        let missing: Vec<PathBuf> =
            names.iter().filter(|p| p.is_file() && !files.contains_key(*p)).cloned().collect();
        for path in missing {
            if let Ok(content) = fs::read(&path) {
                files.insert(path, Arc::new(content));
            }
        }
        self.names.lock().insert(folder.to_owned(), names);
    }

    fn pause(&self) -> Duration {
        Duration::from_millis(self.pause.load(Ordering::SeqCst))
    }

    fn has_room_again(&self) -> bool {
        self.is_of_simulation() && self.changed.load(Ordering::SeqCst)
    }
}

/// Which disk lies below which folders, for stores that the code under test opens itself.
pub mod watch {
    use std::path::{Path, PathBuf};
    use std::sync::Arc;

    use parking_lot::Mutex;

    use super::Watch;

    static BELOW: Mutex<Vec<(PathBuf, Arc<dyn Watch>)>> = Mutex::new(Vec::new());

    /// Stores that are opened in `folder` from now on are on this disk.
    pub fn below(folder: &Path, watch: Arc<dyn Watch>) {
        BELOW.lock().push((folder.to_owned(), watch));
    }

    /// Ends that for stores that are opened from now on.
    pub fn forget(folder: &Path) {
        BELOW.lock().retain(|(one, _)| one != folder);
    }

    pub(in crate::store) fn of(path: &Path) -> Option<Arc<dyn Watch>> {
        let watched = BELOW.lock();
        let found = watched.iter().find(|(folder, _)| path.starts_with(folder));
        found.map(|(_, watch)| Arc::clone(watch))
    }
}
