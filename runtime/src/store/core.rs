//! State that readers, the writer and checkpoints share: the layers of rows, the head, the list of journals.

use super::recover::Lock;
use std::io;
use std::ops::Bound;
use std::path::{Path, PathBuf};

use parking_lot::{Mutex, RwLock};

use super::disk::{self, Disk};
use super::engine::Changes;
use super::error::StoreError;
use super::head::Head;
use super::recover::Recovered;
use super::view::View;
use super::{base, journal, Row};

pub(super) struct Core {
    pub(super) disk: Disk,
    pub(super) folder: PathBuf,
    /// `None` once the store is closed.
    view: RwLock<Option<View>>,
    pub(super) head: Mutex<Head>,
    /// Journals that are complete and not in the base, with their bytes.
    pub(super) former: Mutex<Vec<(u64, u64)>>,
    /// Held for as long as the store is open.
    lock: Mutex<Option<Lock>>,
}

impl Core {
    pub(super) fn new(
        disk: Disk,
        folder: PathBuf,
        lock: Lock,
        recovered: Recovered,
    ) -> Result<Self, StoreError> {
        let numbers = disk::numbered(&folder, journal::KIND)?;
        let with_bytes = |number| {
            let path = disk::numbered_path(&folder, journal::KIND, number);
            (number, disk::bytes_below(&path))
        };
        let former = numbers.into_iter().map(with_bytes).collect();
        Ok(Self {
            disk,
            folder,
            view: RwLock::new(Some(recovered.view)),
            head: Mutex::new(recovered.head),
            former: Mutex::new(former),
            lock: Mutex::new(Some(lock)),
        })
    }

    pub(super) fn read<T>(
        &self,
        step: impl FnOnce(&View) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        match self.view.read().as_ref() {
            Some(view) => step(view),
            None => Err(StoreError::Closed),
        }
    }

    pub(super) fn change<T>(
        &self,
        step: impl FnOnce(&mut View) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        match self.view.write().as_mut() {
            Some(view) => step(view),
            None => Err(StoreError::Closed),
        }
    }

    pub(super) fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.read(|view| view.get(key))
    }

    pub(super) fn scan(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Row>, StoreError> {
        let start = match after {
            Some(key) if key >= prefix => Bound::Excluded(key),
            _ => Bound::Included(prefix),
        };
        self.read(|view| {
            view.from(start).take(limit).take_while(|row| starts_with(row, prefix)).collect()
        })
    }

    pub(super) fn last(&self, prefix: &[u8]) -> Result<Option<Row>, StoreError> {
        self.read(|view| view.last(prefix))
    }

    pub(super) fn count(&self, prefix: &[u8]) -> Result<usize, StoreError> {
        self.read(|view| {
            let mut rows =
                view.from(Bound::Included(prefix)).take_while(|row| starts_with(row, prefix));
            rows.try_fold(0, |count, row| row.map(|_| count + 1))
        })
    }

    /// Lets readers see a group that is durable.
    pub(super) fn apply(&self, changes: Changes) -> Result<(), StoreError> {
        self.change(|view| view.apply(changes))
    }

    pub(super) fn is_open(&self) -> bool {
        self.view.read().is_some()
    }

    pub(super) fn size_on_disk(&self) -> u64 {
        disk::bytes_below(&self.folder)
    }

    /// Bytes of the rows at rest.
    pub(super) fn base_bytes(&self) -> u64 {
        self.read(|view| Ok(view.base.bytes)).unwrap_or(0)
    }

    /// Closes for readers and lets the folder go.
    pub(super) fn close(&self) {
        drop(self.view.write().take());
        // sled makes files as it ends; the folder above them is closed to others in any case.
        let base = self.base_path(self.head.lock().state().base);
        if base.is_dir() {
            let _ = self.disk.sync_tree(&base);
        }
        drop(self.lock.lock().take());
    }

    pub(super) fn base_path(&self, number: u64) -> PathBuf {
        disk::numbered_path(&self.folder, base::KIND, number)
    }
}

fn starts_with(row: &Result<Row, StoreError>, prefix: &[u8]) -> bool {
    row.as_ref().map_or(true, |(key, _)| key.starts_with(prefix))
}

/// An error of the operating system, with the path it concerns.
pub(super) fn at(path: &Path, error: &io::Error) -> StoreError {
    StoreError::of(error, path.display())
}
