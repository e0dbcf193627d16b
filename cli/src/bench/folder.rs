//! A folder that goes when the bench goes; on a disk of its own when that is wanted and can be made.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use tessera_runtime::random::{self, SystemRandom};

use super::disk::Disk;
use crate::fault::Fault;

/// A new folder for its owner alone; removed with everything in it when dropped.
pub(super) struct Folder {
    path: PathBuf,
    made: AtomicU32,
    /// Let go of before the folder is removed.
    disk: Option<Disk>,
}

impl Folder {
    pub(super) fn new() -> Result<Self, Fault> {
        let name: [u8; 8] = random::bytes(&SystemRandom)?;
        let path = std::env::temp_dir().join(format!("tessera-bench-{}", hex::encode(name)));
        let made = DirBuilder::new().mode(0o700).create(&path);
        made.map_err(|error| Fault::new(format!("{}: {error}", path.display())))?;
        Ok(Self { path, made: AtomicU32::new(0), disk: None })
    }

    /// The same with a disk behind it that nothing else writes to, where that can be made.
    pub(super) fn on_own_disk() -> Result<Self, Fault> {
        let mut folder = Self::new()?;
        folder.disk = Disk::make(&folder.path);
        Ok(folder)
    }

    /// The disk of its own.
    pub(super) fn disk(&self) -> Option<&Disk> {
        self.disk.as_ref()
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// A path in it that was not given out before.
    pub(super) fn fresh(&self, what: &str) -> PathBuf {
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        let root = self.disk.as_ref().map_or(self.path.as_path(), Disk::path);
        root.join(format!("{what}-{number}"))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(self.disk.take());
        // What cannot be removed stays in the system's temporary folder, which the system clears.
        let _ = std::fs::remove_dir_all(&self.path);
    }
}
