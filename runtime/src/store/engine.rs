//! The only file that names `sled`. One tree holds all tables, so that a batch over several tables is one atomic step.

use std::fs::File;
use std::ops::Bound;
use std::path::{Path, PathBuf};
#[cfg(test)]
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::sync_channel;

use parking_lot::RwLock;

use super::error::StoreError;
use super::Row;
use crate::limits::{STORE_CACHE_BYTES, STORE_RELEASE};

pub(super) struct Engine {
    path: PathBuf,
    tree: RwLock<Option<sled::Db>>,
    #[cfg(test)]
    pub(super) fail_flush: AtomicBool,
}

/// The final value of each key, `None` meaning deleted.
pub(super) type Changes = std::collections::HashMap<Vec<u8>, Option<Vec<u8>>>;

impl Engine {
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        let opened = sled::Config::new()
            .path(path)
            .cache_capacity(STORE_CACHE_BYTES)
            .flush_every_ms(None)
            .open();
        let tree = opened.map_err(|error| match is_lock(&error) {
            true => StoreError::Locked(path.to_owned()),
            false => io(error),
        })?;
        Ok(Self {
            path: path.to_owned(),
            tree: RwLock::new(Some(tree)),
            #[cfg(test)]
            fail_flush: AtomicBool::new(false),
        })
    }

    pub(super) fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.read(|tree| Ok(tree.get(key).map_err(io)?.map(|value| value.to_vec())))
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
        self.read(|tree| {
            tree.range::<&[u8], _>((start, Bound::Unbounded))
                .take(limit)
                .take_while(|row| starts_with(row, prefix))
                .map(owned)
                .collect()
        })
    }

    pub(super) fn last(&self, prefix: &[u8]) -> Result<Option<Row>, StoreError> {
        self.read(|tree| tree.scan_prefix(prefix).next_back().map(owned).transpose())
    }

    pub(super) fn count(&self, prefix: &[u8]) -> Result<usize, StoreError> {
        self.read(|tree| {
            tree.scan_prefix(prefix).try_fold(0, |count, row| row.map(|_| count + 1).map_err(io))
        })
    }

    /// Applies all changes as one and returns once they are on disk.
    pub(super) fn apply_durably(&self, changes: Changes) -> Result<(), StoreError> {
        let mut batch = sled::Batch::default();
        for (key, value) in changes {
            match value {
                Some(value) => batch.insert(key, value),
                None => batch.remove(key),
            }
        }
        self.read(|tree| {
            tree.apply_batch(batch).map_err(io)?;
            self.flush(tree)
        })
    }

    pub(super) fn is_open(&self) -> bool {
        self.tree.read().is_some()
    }

    pub(super) fn size_on_disk(&self) -> u64 {
        self.read(|tree| tree.size_on_disk().map_err(io)).unwrap_or(0)
    }

    pub(super) fn close(&self) -> Result<(), StoreError> {
        let Some(tree) = self.tree.write().take() else {
            return Ok(());
        };
        let flushed = self.flush(&tree);
        drop(tree);
        self.released();
        flushed
    }

    /// Waits until sled's own threads have let the folder go, so that who opens it next finds it free.
    fn released(&self) {
        let (tell, told) = sync_channel(1);
        let file = self.path.join("db");
        let waiter = std::thread::Builder::new().spawn(move || {
            let locked = File::open(file).and_then(|file| file.lock().map(|()| file));
            drop(locked);
            let _ = tell.send(());
        });
        if waiter.is_ok() {
            let _ = told.recv_timeout(STORE_RELEASE);
        }
    }

    fn flush(&self, tree: &sled::Db) -> Result<(), StoreError> {
        #[cfg(test)]
        if self.fail_flush.load(Ordering::SeqCst) {
            return Err(StoreError::Io("no space left on device (injected)".to_owned()));
        }
        tree.flush().map(|_| ()).map_err(io)
    }

    fn read<T>(
        &self,
        step: impl FnOnce(&sled::Db) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        match self.tree.read().as_ref() {
            Some(tree) => step(tree),
            None => Err(StoreError::Closed),
        }
    }
}

fn is_lock(error: &sled::Error) -> bool {
    match error {
        sled::Error::Io(inner) => {
            inner.kind() == std::io::ErrorKind::WouldBlock
                || inner.to_string().contains("could not acquire lock")
        }
        _ => false,
    }
}

fn io(error: sled::Error) -> StoreError {
    StoreError::Io(error.to_string())
}

fn starts_with(row: &sled::Result<(sled::IVec, sled::IVec)>, prefix: &[u8]) -> bool {
    row.as_ref().map_or(true, |(key, _)| key.starts_with(prefix))
}

fn owned(row: sled::Result<(sled::IVec, sled::IVec)>) -> Result<Row, StoreError> {
    let (key, value) = row.map_err(io)?;
    Ok((key.to_vec(), value.to_vec()))
}
