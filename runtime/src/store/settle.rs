//! The end of the journals at a start, as it was read.

use std::path::Path;

use super::core::at;
use super::disk::{numbered, numbered_path, Disk};
use super::error::StoreError;
use super::head::State;
use super::journal;
use super::recover::End;

/// Makes the end of the journals durable as it was read: a process that did not close the store may have ended between the
/// write of its last record and the word that it is on the disk, or between cutting a refused one off and that word. Bytes
/// that were read may be in the kernel's memory alone, where a sync that failed leaves it as if it were on the disk. A commit that
/// counts now stays, and one that does not never comes back.
pub(super) fn settle(
    disk: &Disk,
    folder: &Path,
    state: &State,
    end: &End,
) -> Result<(), StoreError> {
    if end.commit > state.commit {
        write_again(disk, folder)?;
    }
    let Some((number, bytes)) = end.journal.filter(|_| !state.clean) else { return Ok(()) };
    let path = numbered_path(folder, journal::KIND, number);
    let cut = disk.open(&path).and_then(|file| disk.cut(&path, &file, bytes));
    cut.map_err(|error| at(&path, &error))
}

fn write_again(disk: &Disk, folder: &Path) -> Result<(), StoreError> {
    let io = |error| at(folder, &error);
    for number in numbered(folder, journal::KIND).map_err(io)? {
        let path = numbered_path(folder, journal::KIND, number);
        let bytes = std::fs::read(&path).map_err(io)?;
        let file = disk.open(&path).map_err(io)?;
        disk.write_at(&path, &file, &bytes, 0).map_err(io)?;
        disk.sync(&path, &file).map_err(io)?;
    }
    Ok(())
}
