//! A checkpoint: the rows in memory and the base become a new base, and the journals behind it are let go.
//!
//! 1. The new base is written and synced, and the name of its folder too.
//! 2. The head names it, durably.
//! 3. Readers go over to it; the old base and the journals that are in the new one are removed.
//!
//! A crash before 2 leaves a base that no head names; the next start removes it. A crash after 2 leaves an old base and
//! old journals; the next start removes those. A try that finds no room leaves nothing, and the next one is in a minute.

use std::path::Path;
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
    enough_room(&core.folder, before.bytes, rows.bytes())?;
    let (base, content) = build(core, number, &rows, &before)?;
    if let Err(error) = name(core, number, content, frozen) {
        forget(core, base, number);
        return Err(error);
    }
    core.change(|view| {
        view.base = Arc::new(base);
        view.frozen = None;
        Ok(())
    })?;
    drop((before, rows));
    // With the old one, those of tries that failed when it was in doubt which one the head names.
    let bases = disk::numbered(&core.folder, super::base::KIND)?;
    for other in bases.into_iter().filter(|other| *other != number) {
        let _ = disk::remove(&core.base_path(other));
    }
    core.former.lock().retain(|(number, _)| *number >= frozen.journal);
    let numbers = disk::numbered(&core.folder, journal::KIND)?;
    for number in numbers.into_iter().filter(|number| *number < frozen.journal) {
        journal::retire(&core.folder, number)?;
    }
    Ok(())
}

/// Writes the base, durably. A base that cannot be finished gives the room of its written part back.
fn build(
    core: &Core,
    number: u64,
    rows: &Rows,
    before: &Base,
) -> Result<(Base, Content), StoreError> {
    let path = core.base_path(number);
    let built = Builder::new(&core.disk, &path)
        .and_then(|builder| builder.fill(merged(rows, before)))
        .and_then(|built| {
            core.disk.sync_folder(&core.folder).map_err(|error| at(&core.folder, &error))?;
            Ok(built)
        });
    if built.is_err() {
        let _ = disk::remove(&path);
    }
    built
}

/// Removes a base that the head does not name, once that is sure.
fn forget(core: &Core, mut base: Base, number: u64) {
    if core.head.lock().update(|_| {}).is_ok() {
        base.close();
        let _ = disk::remove(&core.base_path(number));
    }
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
pub(super) fn enough_room(folder: &Path, base: u64, rows: usize) -> Result<(), StoreError> {
    let rows = u64::try_from(rows).unwrap_or(u64::MAX);
    let needed = base.saturating_add(rows).saturating_mul(3);
    let needed = needed.saturating_add(64 * STORE_BLOCK_BYTES as u64);
    let room = disk::room(folder).map_err(|error| at(folder, &error))?;
    match room >= needed {
        true => Ok(()),
        false => Err(StoreError::Full(format!(
            "{}: it needs {needed} bytes, and {room} are free",
            folder.display()
        ))),
    }
}
