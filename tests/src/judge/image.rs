//! A disk that can lose its power: an ext4 file system in a file. Data in it are on the disk; data that the kernel
//! still holds in memory for the mounted file system are not. A copy of the file is the disk after a cut.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::process::run;
use crate::site::{rest, Watch};

/// Room for the three stores.
const SIZE: &str = "512M";

/// A mounted image.
pub(super) struct Disk {
    folder: TempDir,
    /// Whether every write is on the disk before it returns.
    sync: bool,
}

impl Disk {
    /// A new one, empty.
    pub(super) fn new(sync: bool) -> Result<Self, String> {
        let disk = Self { folder: TempDir::new().map_err(|e| e.to_string())?, sync };
        let image = disk.image();
        done(Command::new("truncate").args(["-s", SIZE]).arg(&image))?;
        // Nothing is written later that the file system did not have to write now.
        done(
            Command::new("mkfs.ext4")
                .args(["-q", "-F", "-b", "4096", "-m", "0"])
                .args(["-E", "nodiscard,lazy_itable_init=1"])
                .arg(&image),
        )?;
        disk.mount()?;
        Ok(disk)
    }

    /// The disk as it is after a cut at this moment. All writers must stand still.
    pub(super) fn cut(&self) -> Result<Self, String> {
        let after = Self { folder: TempDir::new().map_err(|e| e.to_string())?, sync: self.sync };
        done(Command::new("cp").arg("--sparse=always").arg(self.image()).arg(after.image()))?;
        after.mount()?;
        Ok(after)
    }

    fn image(&self) -> PathBuf {
        self.folder.path().join("image")
    }

    /// Where it is mounted.
    pub(super) fn path(&self) -> PathBuf {
        self.folder.path().join("disk")
    }

    fn mount(&self) -> Result<(), String> {
        fs::create_dir_all(self.path()).map_err(|e| e.to_string())?;
        // The journal is never committed for its age: only by those who ask for it. A copy is then of one moment, and what is
        // found on it is what a process synced.
        let mut options = "loop,noinit_itable,nodiscard,commit=3600".to_owned();
        if self.sync {
            options.push_str(",sync,dirsync");
        }
        done(Command::new("mount").args(["-o", &options]).arg(self.image()).arg(self.path()))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let watch = Watch::start();
        while !Command::new("umount").arg("-q").arg(self.path()).status().is_ok_and(|s| s.success())
        {
            if watch.passed().as_secs() > 5 {
                let _ = Command::new("umount").arg("-l").arg(self.path()).status();
                return;
            }
            rest(std::time::Duration::from_millis(100));
        }
    }
}

fn done(command: &mut Command) -> Result<(), String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let there = Command::new("sh").args(["-c", &format!("command -v {name}")]).output();
    if !there.is_ok_and(|found| found.status.success()) {
        return Err(format!("{name} is not installed"));
    }
    match run(command) {
        (true, _) => Ok(()),
        (false, text) => Err(format!("{name}: {}", text.trim())),
    }
}

/// Why no power can be cut on this machine; none when it can.
pub fn why_not() -> Option<String> {
    control().err()
}

/// The control: data that were not synced are gone after a cut, and synced data are there.
pub(super) fn control() -> Result<(), String> {
    let disk = Disk::new(false)?;
    let write = |name: &str, sync: bool| {
        let path = disk.path().join(name);
        let write = || {
            let mut file = File::create(&path)?;
            file.write_all(&[7; 10_000])?;
            if sync {
                file.sync_all()?;
                File::open(disk.path())?.sync_all()?;
            }
            Ok::<(), std::io::Error>(())
        };
        write().map_err(|e| format!("{}: {e}", path.display()))
    };
    write("synced", true)?;
    write("not-synced", false)?;
    let after = disk.cut()?;
    let whole = |name: &str| is_whole(&after.path().join(name));
    match (whole("synced"), whole("not-synced")) {
        (true, false) => Ok(()),
        (true, true) => Err("a copy of the image holds what was never synced".to_owned()),
        (false, _) => Err("a copy of the image does not hold what was synced".to_owned()),
    }
}

fn is_whole(path: &Path) -> bool {
    fs::read(path).is_ok_and(|bytes| bytes == [7; 10_000])
}
