//! A disk that nothing else writes to, and what went to it: an image behind a loop device, with ext4. Linux, as root.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Bytes of the image, which is sparse: room for the stores of 15,000 devices and their logs.
const IMAGE_BYTES: u64 = 8 << 30;
/// The unit of `/sys/block/…/stat`, whatever the disk's own is.
const SECTOR: u64 = 512;

/// A mounted image.
pub(super) struct Disk {
    mount: PathBuf,
    /// `/sys/block/loopN/stat`.
    stat: PathBuf,
}

impl Disk {
    /// Makes one in this folder and mounts it with these options beside `loop`; `None` where that cannot be done.
    pub(super) fn make(folder: &Path, options: &str) -> Option<Self> {
        let (image, mount) = (folder.join("disk.img"), Self::mount_in(folder));
        let options = ["loop", options].join(",");
        std::fs::File::create_new(&image).and_then(|file| file.set_len(IMAGE_BYTES)).ok()?;
        std::fs::create_dir(&mount).ok()?;
        // Tables that ext4 makes later, behind our back, would be counted.
        let now = "lazy_itable_init=0,lazy_journal_init=0";
        run(Command::new("mkfs.ext4").args(["-q", "-F", "-E", now]).arg(&image))?;
        run(Command::new("mount")
            .args(["-o", options.trim_end_matches(',')])
            .arg(&image)
            .arg(&mount))?;
        let name = device_of(&std::fs::read_to_string("/proc/self/mounts").ok()?, &mount);
        let disk = name.map(|name| Self {
            stat: PathBuf::from(format!("/sys/block/{name}/stat")),
            mount: mount.clone(),
        });
        let disk = disk.filter(|disk| disk.written().is_some());
        if disk.is_none() {
            unmount(&mount);
        }
        disk
    }

    /// Where a disk of this folder is mounted.
    fn mount_in(folder: &Path) -> PathBuf {
        folder.join("disk")
    }

    /// Removes the files that a killed bench has left in this folder.
    pub(super) fn forget(folder: &Path) {
        unmount(&Self::mount_in(folder));
    }

    /// Where it is mounted.
    pub(super) fn path(&self) -> &Path {
        &self.mount
    }

    /// Bytes that went to it so far, with all that was written before.
    pub(super) fn written(&self) -> Option<u64> {
        run(Command::new("sync").arg("-f").arg(&self.mount))?;
        sectors(&std::fs::read_to_string(&self.stat).ok()?).map(|sectors| sectors * SECTOR)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        unmount(&self.mount);
    }
}

/// Servers that are still ending keep it until they have.
fn unmount(mount: &Path) {
    let _ = run(Command::new("umount").arg("-l").arg(mount));
}

fn run(command: &mut Command) -> Option<()> {
    let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    quiet.status().ok()?.success().then_some(())
}

/// The name of the device that is mounted there, from `/proc/self/mounts`.
fn device_of(mounts: &str, mount: &Path) -> Option<String> {
    let mut lines = mounts.lines().filter_map(|line| line.split_once(' '));
    let there = |rest: &str| rest.split(' ').next().is_some_and(|path| Path::new(path) == mount);
    let (device, _) = lines.find(|(_, rest)| there(rest))?;
    Some(device.strip_prefix("/dev/")?.to_owned())
}

/// The seventh field: sectors written.
fn sectors(stat: &str) -> Option<u64> {
    stat.split_whitespace().nth(6)?.parse().ok()
}

/// Bytes that this process caused to be written, as the kernel counts them when pages become dirty.
pub(super) fn written_by(process: u32) -> Option<u64> {
    let io = std::fs::read_to_string(format!("/proc/{process}/io")).ok()?;
    write_bytes(&io)
}

fn write_bytes(io: &str) -> Option<u64> {
    io.lines().find_map(|line| line.strip_prefix("write_bytes: "))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_tells_is_understood() {
        let stat = "  4 0 32 0 9 1 4096 5 0 8 6 0 0 0 0 0 0";
        assert_eq!(sectors(stat), Some(4096));
        assert_eq!(sectors("4 0"), None);
        let io = "rchar: 5\nwchar: 7\nsyscw: 1\nwrite_bytes: 8192\ncancelled_write_bytes: 0\n";
        assert_eq!(write_bytes(io), Some(8192));
        let mounts = "/dev/vda / ext4 rw 0 0\n/dev/loop3 /tmp/b/disk ext4 rw 0 0\n";
        assert_eq!(device_of(mounts, Path::new("/tmp/b/disk")), Some("loop3".to_owned()));
        assert_eq!(device_of(mounts, Path::new("/tmp/b")), None);
        assert!(written_by(std::process::id()).is_some());
    }
}
