//! The only file that names `sled`. A base is one sled tree that is filled once, in key order, and then only read.
//!
//! Rows are packed into blocks: sled writes about six bytes for each byte of small rows, and three for blocks.

use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{sync_channel, RecvTimeoutError};

use super::error::StoreError;
use crate::limits::{STORE_CACHE_BYTES, STORE_OPEN, STORE_RELEASE};

/// The final value of each key, `None` meaning deleted.
pub(super) type Changes = HashMap<Vec<u8>, Option<Vec<u8>>>;

/// One sled tree of blocks, each under the key of its first row.
pub(super) struct Blocks {
    tree: Option<sled::Db>,
    path: PathBuf,
}

/// A block's bytes, shared with sled's cache.
pub(super) type Block = sled::IVec;

/// Why blocks cannot be read.
#[derive(Debug)]
pub(super) enum Unreadable {
    /// The operating system refused.
    Io(StoreError),
    /// Another process has them open.
    Locked,
    /// They are not what was written.
    Damaged(String),
}

impl Blocks {
    /// Opens or creates. The caller has the folder for itself: a locked file belongs to an engine of this process that
    /// failed a moment ago, and it is waited for.
    pub(super) fn open(path: &Path) -> Result<Self, Unreadable> {
        match Self::open_once(path) {
            Err(Unreadable::Locked) => {
                wait_until_released(path);
                Self::open_once(path)
            }
            opened => opened,
        }
    }

    /// sled panics on some damage and waits without end on other: it is opened on a thread of its own.
    fn open_once(path: &Path) -> Result<Self, Unreadable> {
        let (tell, told) = sync_channel(1);
        let folder = path.to_owned();
        std::thread::Builder::new()
            .name("store-open".to_owned())
            .spawn(move || drop(tell.send(config(&folder).open())))
            .map_err(|error| Unreadable::Io(StoreError::Io(error.to_string())))?;
        let opened = match told.recv_timeout(STORE_OPEN) {
            Ok(opened) => opened,
            Err(RecvTimeoutError::Timeout) => {
                return Err(Unreadable::Damaged("the engine does not come to an end".to_owned()))
            }
            Err(RecvTimeoutError::Disconnected) => {
                return Err(Unreadable::Damaged("the engine failed on its file".to_owned()))
            }
        };
        let tree = opened.map_err(unreadable)?;
        Ok(Self { tree: Some(tree), path: path.to_owned() })
    }

    /// Removes what sled can make again out of its log.
    pub(super) fn forget_snapshots(path: &Path) -> std::io::Result<()> {
        for entry in std::fs::read_dir(path)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with("snap.") {
                std::fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    fn tree(&self) -> Result<&sled::Db, StoreError> {
        self.tree.as_ref().ok_or(StoreError::Closed)
    }

    pub(super) fn put(&self, first: &[u8], block: Vec<u8>) -> Result<(), StoreError> {
        self.tree()?.insert(first, block).map(|_| ()).map_err(|error| io(&error))
    }

    /// Hands everything to the operating system; the files still need their sync.
    pub(super) fn flush(&self) -> Result<(), StoreError> {
        self.tree()?.flush().map(|_| ()).map_err(|error| io(&error))
    }

    /// The last block whose first key is not behind `key`.
    pub(super) fn at(&self, key: &[u8]) -> Result<Option<(Block, Block)>, StoreError> {
        self.tree()?.range(..=key).next_back().transpose().map_err(|error| io(&error))
    }

    /// The first block whose first key is behind `key`.
    pub(super) fn behind(&self, key: &[u8]) -> Result<Option<(Block, Block)>, StoreError> {
        self.tree()?.get_gt(key).map_err(|error| io(&error))
    }

    /// The last block whose first key is before `key`.
    pub(super) fn before(&self, key: &[u8]) -> Result<Option<(Block, Block)>, StoreError> {
        self.tree()?.get_lt(key).map_err(|error| io(&error))
    }

    /// Lets the folder go: returns once sled's own threads have.
    pub(super) fn close(&mut self) {
        if let Some(tree) = self.tree.take() {
            drop(tree);
            wait_until_released(&self.path);
        }
    }
}

/// Returns once no engine has the file in this folder open, or after [`STORE_RELEASE`].
fn wait_until_released(path: &Path) {
    let (tell, told) = sync_channel(1);
    let file = path.join("db");
    let waiter = std::thread::Builder::new().spawn(move || {
        let locked = File::open(file).and_then(|file| file.lock().map(|()| file));
        drop(locked);
        let _ = tell.send(());
    });
    if waiter.is_ok() {
        let _ = told.recv_timeout(STORE_RELEASE);
    }
}

impl Drop for Blocks {
    fn drop(&mut self) {
        self.close();
    }
}

/// Reads all rows of a store as it was before there was a journal: one tree with a row under each key.
pub(super) fn read_former(
    folder: &Path,
    mut visit: impl FnMut(&[u8], &[u8]) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let blocks = Blocks::open(folder).map_err(|unreadable| match unreadable {
        Unreadable::Io(error) => error,
        Unreadable::Locked => StoreError::Locked(folder.to_owned()),
        Unreadable::Damaged(why) => StoreError::Io(why),
    })?;
    for row in blocks.tree()?.iter() {
        let (key, value) = row.map_err(|error| io(&error))?;
        visit(&key, &value)?;
    }
    Ok(())
}

/// Writes a store as it was before there was a journal.
#[cfg(test)]
pub(super) fn write_former(folder: &Path, rows: impl Iterator<Item = (Vec<u8>, Vec<u8>)>) {
    let mut blocks = Blocks::open(folder).unwrap();
    rows.for_each(|(key, value)| blocks.put(&key, value).unwrap());
    blocks.flush().unwrap();
    blocks.close();
}

fn config(path: &Path) -> sled::Config {
    sled::Config::new().path(path).cache_capacity(STORE_CACHE_BYTES).flush_every_ms(None)
}

fn unreadable(error: sled::Error) -> Unreadable {
    match &error {
        sled::Error::Io(inner)
            if inner.kind() == std::io::ErrorKind::WouldBlock
                || inner.to_string().contains("could not acquire lock") =>
        {
            Unreadable::Locked
        }
        sled::Error::Io(inner) if inner.raw_os_error().is_some() => Unreadable::Io(io(&error)),
        _ => Unreadable::Damaged(error.to_string()),
    }
}

fn io(error: &sled::Error) -> StoreError {
    match error {
        sled::Error::Io(inner) => StoreError::of(inner, "its base"),
        other => StoreError::Io(other.to_string()),
    }
}
