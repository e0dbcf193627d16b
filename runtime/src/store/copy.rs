//! A consistent copy of a store, also while it is written, and the mark of a store that was put back.

use std::fs;
use std::ops::Bound;
use std::path::Path;

use super::base::{self, Builder};
use super::checkpoint;
use super::core::{at, Core};
use super::disk::{self, numbered_path, Disk};
use super::error::StoreError;
use super::head::{self, Found, Head, State};
use super::loss::Loss;
use super::recover::{lock, new_id};
use super::view::View;

/// Writes all rows as of one commit into the new folder `to`, as a store that can be opened. It counts as one that was
/// not closed: proofs used up after the copy was made are not in it.
pub(super) fn copy(core: &Core, to: &Path) -> Result<(), StoreError> {
    let (commit, view) = {
        // Under the lock of the head no group is between the rows and its mark.
        let head = core.head.lock();
        (head.state().commit, core.read(|view| Ok(view.clone()))?)
    };
    core.disk.make_folder(to).map_err(|error| at(to, &error))?;
    let copied = fill(core, &view, commit, to);
    if copied.is_err() {
        // The store itself may need its room now.
        let _ = disk::remove(to);
    }
    copied
}

fn fill(core: &Core, view: &View, commit: u64, to: &Path) -> Result<(), StoreError> {
    checkpoint::enough_room(to, view.base.bytes, view.bytes())?;
    let path = numbered_path(to, base::KIND, 1);
    let builder = Builder::new(&core.disk, &path)?;
    let (mut base, content) = builder.fill(view.from(Bound::Unbounded))?;
    base.close();
    core.disk.sync_tree(&path).map_err(|error| at(to, &error))?;
    let state = State { copied: true, ..State::new(new_id()?, 1, content.tables, commit) };
    Head::create(&core.disk, to, state).map_err(|error| at(to, &error))?;
    let parent = to.parent().filter(|parent| !parent.as_os_str().is_empty());
    let parent = parent.unwrap_or(Path::new("."));
    fs::File::open(parent).and_then(|folder| folder.sync_all()).map_err(|error| at(parent, &error))
}

/// Marks the closed store in this folder as one that began as a copy, durably.
pub(super) fn mark(folder: &Path) -> Result<(), StoreError> {
    let disk = Disk::new(None);
    let _lock = lock(&disk, folder)?;
    match head::read(folder).map_err(|error| at(folder, &error))? {
        Found::State(state) => {
            let state = State { clean: false, copied: true, ..state };
            Head::create(&disk, folder, state).map(drop).map_err(|error| at(folder, &error))
        }
        Found::Nothing => Err(StoreError::Lost(Loss::new(folder, "its head is missing"))),
        Found::Unreadable => Err(StoreError::Lost(Loss::new(folder, "its head cannot be read"))),
    }
}
