//! A folder that goes when the bench goes; on a disk of its own when that is wanted and can be made.

use std::fs::{DirBuilder, File};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use tessera_runtime::random::{self, SystemRandom};
use tessera_token::encoding::hex;

use super::disk::Disk;
use crate::error::Fault;

const PREFIX: &str = "tessera-bench-";
const LOCK: &str = "lock";

/// A new folder for its owner alone; removed with everything in it when dropped.
pub(super) struct Folder {
    path: PathBuf,
    made: AtomicU32,
    /// Let go of before the folder is removed.
    disk: Option<Disk>,
    /// Locked while this bench runs: a folder without such a lock is of one that was killed.
    _lock: File,
}

impl Folder {
    pub(super) fn new() -> Result<Self, Fault> {
        let name: [u8; 8] = random::bytes(&SystemRandom)?;
        let path = std::env::temp_dir().join(format!("{PREFIX}{}", hex::encode(name)));
        let made = DirBuilder::new().mode(0o700).create(&path);
        let lock = made.and_then(|()| File::create_new(path.join(LOCK)));
        let lock = lock.map_err(|error| Fault::new(format!("{}: {error}", path.display())))?;
        lock.try_lock().map_err(|error| Fault::new(format!("{}: {error}", path.display())))?;
        Ok(Self { path, made: AtomicU32::new(0), disk: None, _lock: lock })
    }

    /// The same with a disk behind it that nothing else writes to, where that can be made, mounted with these options.
    pub(super) fn on_own_disk(options: &str) -> Result<Self, Fault> {
        forget_killed(&std::env::temp_dir());
        let mut folder = Self::new()?;
        folder.disk = Disk::make(&folder.path, options);
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

/// A bench that is killed leaves its disk mounted: the next one takes it away.
fn forget_killed(folders: &Path) {
    let Ok(found) = std::fs::read_dir(folders) else { return };
    for path in found.flatten().map(|entry| entry.path()) {
        let is_of_bench =
            path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(PREFIX));
        let lock = is_of_bench.then(|| File::open(path.join(LOCK)).ok()).flatten();
        if lock.is_some_and(|lock| lock.try_lock().is_ok()) {
            Disk::forget(&path);
            let _ = std::fs::remove_dir_all(&path);
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(self.disk.take());
        // A file that cannot be removed stays in the system's temporary folder, which the system clears.
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_killed_bench_has_left_is_taken_away() {
        let folders = tempfile::tempdir().unwrap();
        let make = |name: &str| {
            let path = folders.path().join(name);
            std::fs::create_dir(&path).unwrap();
            File::create_new(path.join(LOCK)).unwrap()
        };
        drop((make("tessera-bench-killed"), make("other")));
        let running = make("tessera-bench-running");
        running.try_lock().unwrap();
        forget_killed(folders.path());
        let left = |name: &str| folders.path().join(name).exists();
        assert_eq!(
            [left("tessera-bench-killed"), left("tessera-bench-running"), left("other")],
            [false, true, true]
        );
    }
}
