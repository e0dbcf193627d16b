//! Files and folders of a backup: for their owner alone, and on the disk before anything says so.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use tessera_runtime::random::{self, SystemRandom};
use tessera_runtime::secret::own_folder;
use tessera_token::encoding::hex;

use crate::error::Fault;

/// Bytes of one step of a copy.
const CHUNK: usize = 1024 * 1024;

/// Outcome of copying a file.
pub(super) fn named(path: &Path) -> impl Fn(io::Error) -> Fault + '_ {
    move |error| Fault::new(format!("{}: {error}", path.display()))
}

/// A folder that is removed when it is dropped before it got its name.
pub(super) struct Staging(PathBuf);

impl Staging {
    /// A new folder beside `target`.
    pub(super) fn beside(target: &Path, what: &str) -> Result<Self, Fault> {
        let name = target
            .file_name()
            .ok_or_else(|| Fault::new(format!("{} is no name of a folder", target.display())))?;
        let draw: [u8; 4] = random::bytes(&SystemRandom)?;
        let mut own = name.to_owned();
        own.push(format!(".{what}-{}", hex::encode(draw)));
        let path = target.with_file_name(own);
        own_folder(&path)?;
        Ok(Self(path))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// Gives it its name, durably. An empty folder of that name gives way.
    pub(super) fn finish(self, target: &Path) -> Result<(), Fault> {
        sync_tree(&self.0).map_err(named(&self.0))?;
        fs::rename(&self.0, target).map_err(named(target)).map_err(|fault| {
            fault.hint("a mount point cannot be replaced: name a folder inside of it")
        })?;
        sync_folder(&parent(target)).map_err(named(target))
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // Nothing when it has its name. A folder that stays is told by its own name as unfinished.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Whether there is nothing at this path, or an empty folder.
pub(super) fn is_free(path: &Path) -> Result<bool, Fault> {
    match fs::read_dir(path) {
        Ok(mut entries) => Ok(entries.next().is_none()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(named(path)(error)),
    }
}

/// Every file below the folder, by its path in it, sorted.
pub(super) fn files(folder: &Path) -> Result<Vec<String>, Fault> {
    let mut found = Vec::new();
    let mut todo = vec![PathBuf::new()];
    while let Some(inner) = todo.pop() {
        let path = folder.join(&inner);
        for entry in fs::read_dir(&path).map_err(named(&path))? {
            let entry = entry.map_err(named(&path))?;
            let kind = entry.file_type().map_err(named(&path))?;
            let name = inner.join(entry.file_name());
            if kind.is_dir() {
                todo.push(name);
            } else if kind.is_file() {
                let text = name.to_str().ok_or_else(|| {
                    Fault::new(format!("{}: not a name of ours", entry.path().display()))
                })?;
                found.push(text.to_owned());
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Copies a file, durably, for its owner alone, and replaces what is there.
pub(super) fn copy_file(from: &Path, to: &Path) -> Result<(), Fault> {
    if let Some(folder) = to.parent() {
        own_folder(folder)?;
    }
    let mut source = File::open(from).map_err(named(from))?;
    let mut options = OpenOptions::new();
    let target = options.write(true).create(true).truncate(true).mode(0o600).open(to);
    let mut target = target.map_err(named(to))?;
    io::copy(&mut source, &mut target).map_err(named(to))?;
    target.sync_all().map_err(named(to))
}

/// Copies a folder with everything in it.
pub(super) fn copy_folder(from: &Path, to: &Path) -> Result<(), Fault> {
    own_folder(to)?;
    for name in files(from)? {
        copy_file(&from.join(&name), &to.join(&name))?;
    }
    Ok(())
}

/// Moves a folder, by its name where that is possible.
pub(super) fn move_folder(from: &Path, to: &Path) -> Result<(), Fault> {
    if let Some(folder) = to.parent() {
        own_folder(folder)?;
    }
    match fs::rename(from, to) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::CrossesDevices => copy_folder(from, to),
        Err(error) => Err(named(to)(error)),
    }
}

/// Bytes and SHA-256 of a file.
pub(super) fn digest(path: &Path) -> Result<(u64, String), Fault> {
    let mut file = File::open(path).map_err(named(path))?;
    let (mut hasher, mut bytes) = (Sha256::new(), 0u64);
    let mut chunk = vec![0; CHUNK];
    loop {
        let read = file.read(&mut chunk).map_err(named(path))?;
        let Some(part) = chunk.get(..read).filter(|part| !part.is_empty()) else { break };
        hasher.update(part);
        bytes = bytes.saturating_add(read as u64);
    }
    Ok((bytes, hex::encode(hasher.finalize())))
}

/// Writes a new file, durably.
pub(super) fn write(path: &Path, text: &str) -> Result<(), Fault> {
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let mut file = file.map_err(named(path))?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(named(path))
}

fn sync_tree(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        // Opening a store may have made files in it.
        match path.is_dir() {
            true => sync_tree(&path)?,
            false => {
                fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
                File::open(&path)?.sync_all()?;
            }
        }
    }
    sync_folder(folder)
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

fn parent(path: &Path) -> PathBuf {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    }
}
