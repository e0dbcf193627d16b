//! State of a disk after a power cut.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::SECTOR;

/// Writes what is left of `folder` to `to`: what was synced, and of what was written since any part.
pub(super) fn leave(
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
pub(super) fn mixed(synced: &[u8], now: &[u8], coin: &dyn Fn() -> bool) -> Vec<u8> {
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

/// The sectors in which these two differ.
pub(super) fn differing(old: &[u8], new: &[u8]) -> Vec<usize> {
    let sectors = old.len().max(new.len()).div_ceil(SECTOR);
    (0..sectors).filter(|sector| sector_of(old, *sector) != sector_of(new, *sector)).collect()
}

/// Makes a sector of `content` what it was in `before`; zeros where there was nothing.
pub(super) fn leave_sector(before: &[u8], content: &mut [u8], sector: usize) {
    let old = sector_of(before, sector);
    let bytes = content.iter_mut().skip(sector * SECTOR).take(SECTOR);
    bytes.zip(old.iter().copied().chain(std::iter::repeat(0))).for_each(|(byte, old)| *byte = old);
}

fn sector_of(content: &[u8], sector: usize) -> &[u8] {
    let from = content.len().min(sector * SECTOR);
    content.get(from..content.len().min(from + SECTOR)).unwrap_or_default()
}
