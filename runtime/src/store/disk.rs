//! Files as the store uses them: what is written, when it is on the disk, and who may look.
//!
//! A [`Watch`] sees every write, cut and sync before it is made, and after it. Tests and simulations use it to know what a
//! power cut would leave, and to make a disk full, or fail.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::limits::STORE_TRY_AGAIN;

/// Sees what the store asks of the disk.
pub trait Watch: Send + Sync {
    /// Before bytes are written: an error is what the caller gets in their place.
    ///
    /// # Errors
    /// Whatever the disk is meant to answer.
    fn write(&self, path: &Path, bytes: usize) -> io::Result<()>;
    /// As [`Watch::write`], with how many of the bytes reach the file before an error.
    fn takes(&self, path: &Path, bytes: usize) -> (usize, io::Result<()>) {
        match self.write(path, bytes) {
            Ok(()) => (bytes, Ok(())),
            Err(error) => (0, Err(error)),
        }
    }
    /// So many bytes were written to this file at this place.
    fn wrote(&self, _path: &Path, _at: u64, _bytes: usize) {}
    /// Before a file is made shorter.
    ///
    /// # Errors
    /// Whatever the disk is meant to answer.
    fn cut(&self, _path: &Path) -> io::Result<()> {
        Ok(())
    }
    /// Before a file or a folder is synced.
    ///
    /// # Errors
    /// Whatever the disk is meant to answer.
    fn sync(&self, _path: &Path) -> io::Result<()> {
        Ok(())
    }
    /// The content of this file is on the disk.
    fn synced(&self, path: &Path);
    /// The names in this folder are on the disk.
    fn folder_synced(&self, folder: &Path);
    /// How long a store that found no room waits before it tries again by itself.
    fn pause(&self) -> Duration {
        STORE_TRY_AGAIN
    }
    /// Whether there may be room since a write found none: a store that is asked for something then need not wait for its
    /// next try. A disk that knows it belongs to a simulation, whose time is not that of the store.
    fn has_room_again(&self) -> bool {
        false
    }
}

/// The disk below one store.
#[derive(Clone, Default)]
pub(super) struct Disk {
    watch: Option<Arc<dyn Watch>>,
}

impl Disk {
    pub(super) fn new(watch: Option<Arc<dyn Watch>>) -> Self {
        Self { watch }
    }

    /// Creates a folder for the owner alone; its name is durable with the next sync of its parent.
    pub(super) fn make_folder(&self, path: &Path) -> io::Result<()> {
        fs::DirBuilder::new().mode(0o700).create(path)
    }

    /// Opens a file for reading and writing, for the owner alone; made when it is not there.
    pub(super) fn open(&self, path: &Path) -> io::Result<File> {
        OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
    }

    pub(super) fn write_at(
        &self,
        path: &Path,
        file: &File,
        bytes: &[u8],
        at: u64,
    ) -> io::Result<()> {
        let Some(watch) = &self.watch else { return file.write_all_at(bytes, at) };
        let (taken, outcome) = watch.takes(path, bytes.len());
        let taken = bytes.get(..taken).unwrap_or(bytes);
        file.write_all_at(taken, at)?;
        watch.wrote(path, at, taken.len());
        outcome
    }

    /// Cuts a file off behind `length`, durably. It needs no room.
    pub(super) fn cut(&self, path: &Path, file: &File, length: u64) -> io::Result<()> {
        self.watch.as_ref().map_or(Ok(()), |watch| watch.cut(path))?;
        file.set_len(length)?;
        self.sync(path, file)
    }

    /// How long a store that found no room waits before it tries again by itself.
    pub(super) fn pause(&self) -> Duration {
        self.watch.as_ref().map_or(STORE_TRY_AGAIN, |watch| watch.pause())
    }

    /// Whether a store that found no room may try again at once.
    pub(super) fn has_room_again(&self) -> bool {
        self.watch.as_ref().is_some_and(|watch| watch.has_room_again())
    }

    /// Asks for permission for a write by other code, such as the engine.
    pub(super) fn about_to_write(&self, path: &Path, bytes: usize) -> io::Result<()> {
        self.watch.as_ref().map_or(Ok(()), |watch| watch.write(path, bytes))
    }

    fn about_to_sync(&self, path: &Path) -> io::Result<()> {
        self.watch.as_ref().map_or(Ok(()), |watch| watch.sync(path))
    }

    /// Returns once the content of the file is on the disk, with as much of its metadata as reading it back needs.
    pub(super) fn sync(&self, path: &Path, file: &File) -> io::Result<()> {
        self.about_to_sync(path)?;
        file.sync_data()?;
        self.watch.iter().for_each(|watch| watch.synced(path));
        Ok(())
    }

    /// Returns once the names in the folder are on the disk.
    pub(super) fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        self.about_to_sync(folder)?;
        File::open(folder)?.sync_all()?;
        self.watch.iter().for_each(|watch| watch.folder_synced(folder));
        Ok(())
    }

    /// Makes everything below the folder readable by the owner alone, and durable, the folder's own name excepted.
    pub(super) fn sync_tree(&self, folder: &Path) -> io::Result<()> {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                fs::set_permissions(&path, fs::Permissions::from_mode(0o700))?;
                self.sync_tree(&path)?;
            } else {
                fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
                self.about_to_sync(&path)?;
                File::open(&path)?.sync_all()?;
                self.watch.iter().for_each(|watch| watch.synced(&path));
            }
        }
        self.sync_folder(folder)
    }
}

/// Bytes of all files below a path; 0 for what is not there.
pub(super) fn bytes_below(path: &Path) -> u64 {
    let Ok(found) = fs::symlink_metadata(path) else { return 0 };
    if !found.is_dir() {
        return found.len();
    }
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    entries.map(|entry| bytes_below(&entry.path())).sum()
}

/// Bytes that can still be written where the path is.
pub(crate) fn room(path: &Path) -> io::Result<u64> {
    fs2::available_space(path)
}

/// The numbers of the entries of this folder that are called `<kind>-<number>`, in order.
pub(super) fn numbered(folder: &Path, kind: &str) -> io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix(kind)?.strip_prefix('-'));
        numbers.extend(number.and_then(|number| number.parse::<u64>().ok()));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// The path of entry `number` of this kind.
pub(super) fn numbered_path(folder: &Path, kind: &str, number: u64) -> PathBuf {
    folder.join(format!("{kind}-{number}"))
}

/// Removes a file or a folder with all that is in it; one that is not there is as good.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    let removed = match path.is_dir() {
        true => fs::remove_dir_all(path),
        false => fs::remove_file(path),
    };
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
