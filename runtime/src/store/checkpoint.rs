//! A checkpoint: the rows in memory and the base become a new base, and the journals behind it are let go.
//!
//! 1. The new base is written and synced, and the name of its folder too.
//! 2. The head names it, durably.
//! 3. Readers go over to it; the old base and the journals that are in the new one are removed.
//!
//! A crash before 2 leaves a base that no head names; the next start removes it. A crash after 2 leaves an old base and
//! old journals; the next start removes those.

use std::sync::Arc;

use super::base::{Base, Builder, Content};
use super::core::{at, Core};
use super::disk;
use super::error::StoreError;
use super::journal;
use super::view::{merged, Rows};
use crate::limits::STORE_BLOCK_BYTES;

/// Up to where the rows go that were set aside for the next base.
#[derive(Clone, Copy)]
pub(super) struct Frozen {
    /// The last commit that is in it.
    pub(super) commit: u64,
    /// The journal that goes on behind it.
    pub(super) journal: u64,
}

/// Writes the new base and goes over to it.
pub(super) fn run(core: &Core, frozen: Frozen) -> Result<(), StoreError> {
    let old = core.head.lock().state().base;
    let number = next_base(core, old)?;
    let (rows, before) = core.read(|view| Ok((view.frozen.clone(), Arc::clone(&view.base))))?;
    let rows = rows.unwrap_or_default();
    enough_room(core, &before, &rows)?;
    let path = core.base_path(number);
    let (base, content) = Builder::new(&core.disk, &path)?.fill(merged(&rows, &before))?;
    core.disk.sync_folder(&core.folder).map_err(|error| at(&core.folder, &error))?;
    name(core, number, content, frozen)?;
    core.change(|view| {
        view.base = Arc::new(base);
        view.frozen = None;
        Ok(())
    })?;
    drop((before, rows));
    let _ = disk::remove(&core.base_path(old));
    core.former.lock().retain(|(number, _)| *number >= frozen.journal);
    let numbers = disk::numbered(&core.folder, journal::KIND)?;
    for number in numbers.into_iter().filter(|number| *number < frozen.journal) {
        journal::retire(&core.folder, number)?;
    }
    Ok(())
}

fn name(core: &Core, number: u64, content: Content, frozen: Frozen) -> Result<(), StoreError> {
    let mut head = core.head.lock();
    let updated = head.update(|state| {
        state.base = number;
        state.tables = content.tables;
        state.first_journal = frozen.journal;
        state.base_commit = frozen.commit;
    });
    updated.map_err(|error| at(&core.folder, &error))
}

/// Never the number of a folder that is there: a base is written once.
fn next_base(core: &Core, old: u64) -> Result<u64, StoreError> {
    let numbers = disk::numbered(&core.folder, super::base::KIND)?;
    Ok(numbers.last().copied().unwrap_or(0).max(old) + 1)
}

/// A base takes about three times the bytes of its rows while it is written.
fn enough_room(core: &Core, base: &Base, rows: &Rows) -> Result<(), StoreError> {
    let rows = u64::try_from(rows.bytes()).unwrap_or(u64::MAX);
    let needed = base.bytes.saturating_add(rows).saturating_mul(3);
    let needed = needed.saturating_add(64 * STORE_BLOCK_BYTES as u64);
    let room = disk::room(&core.folder).map_err(|error| at(&core.folder, &error))?;
    match room >= needed {
        true => Ok(()),
        false => Err(StoreError::Io(format!(
            "{}: a new base needs {needed} bytes, and {room} are free",
            core.folder.display()
        ))),
    }
}
