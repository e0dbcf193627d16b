//! A disk that loses what was not synced: for tests and simulations of power cuts and full disks.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::disk::Watch;
use crate::limits::STORE_TRY_AGAIN;
use crate::random::{self, Random, SeededRandom};

const SECTOR: usize = 512;

/// Remembers of each file what its last sync covered, and of each folder which names its last sync covered.
///
/// Files of folders that are synced as a whole, such as a base, count from then on as they are.
#[derive(Default)]
pub struct LossyDisk {
    files: Mutex<BTreeMap<PathBuf, Arc<Vec<u8>>>>,
    names: Mutex<BTreeMap<PathBuf, BTreeSet<PathBuf>>>,
    /// Bytes that can still be written.
    room: AtomicU64,
    /// Milliseconds after which a store tries a full disk again.
    pause: AtomicU64,
    /// Part of a path that no byte is written to.
    closed: Mutex<Option<String>>,
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
    /// store makes it long, and asks for each try by a barrier.
    pub fn set_pause(&self, pause: Duration) {
        let millis = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
        self.pause.store(millis, Ordering::SeqCst);
    }

    /// From now on there is no room for paths that hold `part`, and room for all others; for all with `None`.
    pub fn close_to(&self, part: Option<&str>) {
        *self.closed.lock() = part.map(str::to_owned);
    }

    /// From now on so many bytes can be written before the disk is full; `u64::MAX` for endless room.
    pub fn set_room(&self, bytes: u64) {
        self.room.store(bytes, Ordering::SeqCst);
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
        let (files, names) = (self.files.lock().clone(), self.names.lock().clone());
        fs::create_dir(to)?;
        leave(folder, to, &files, &names, &coin)
    }
}

fn leave(
    folder: &Path,
    to: &Path,
    files: &BTreeMap<PathBuf, Arc<Vec<u8>>>,
    names: &BTreeMap<PathBuf, BTreeSet<PathBuf>>,
    coin: &dyn Fn() -> bool,
) -> io::Result<()> {
    let mut present: BTreeSet<PathBuf> = BTreeSet::new();
    let durable = names.get(folder).cloned().unwrap_or_default();
    // A folder that was removed may still be on the disk.
    for entry in fs::read_dir(folder).into_iter().flatten() {
        present.insert(entry?.path());
    }
    for path in durable.union(&present) {
        let (was, is) = (durable.contains(path), present.contains(path));
        if (was && is) || coin() {
            let name = path.file_name().unwrap_or_default();
            if path.is_dir() || names.contains_key(path) {
                fs::create_dir(to.join(name))?;
                leave(path, &to.join(name), files, names, coin)?;
            } else {
                let synced = files.get(path).cloned().unwrap_or_default();
                let now = fs::read(path).unwrap_or_default();
                fs::write(to.join(name), mixed(&synced, &now, coin))?;
            }
        }
    }
    Ok(())
}

/// Sectors that did not change stay; each other one is old or new.
fn mixed(synced: &[u8], now: &[u8], coin: &dyn Fn() -> bool) -> Vec<u8> {
    let length = if coin() { now.len() } else { synced.len() }.max(synced.len().min(now.len()));
    let mut content = Vec::with_capacity(length);
    while content.len() < length {
        let from = content.len();
        let to = (from + SECTOR).min(length);
        let part = |bytes: &[u8]| {
            let mut part = bytes.get(from..to.min(bytes.len())).unwrap_or_default().to_vec();
            part.resize(to - from, 0);
            part
        };
        let (old, new) = (part(synced), part(now));
        content.extend(if old != new && coin() { new } else { old });
    }
    content
}

impl Watch for LossyDisk {
    fn write(&self, path: &Path, bytes: usize) -> io::Result<()> {
        let is_closed = |part: &String| path.to_string_lossy().contains(part.as_str());
        if self.closed.lock().as_ref().is_some_and(is_closed) {
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        let bytes = bytes as u64;
        let take = |room: u64| match room {
            u64::MAX => Some(room),
            room => room.checked_sub(bytes),
        };
        match self.room.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take) {
            Ok(_) => Ok(()),
            Err(_) => Err(io::Error::from(io::ErrorKind::StorageFull)),
        }
    }

    fn synced(&self, path: &Path) {
        if let Ok(content) = fs::read(path) {
            self.files.lock().insert(path.to_owned(), Arc::new(content));
        }
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
