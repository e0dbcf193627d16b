//! Opening: head, base and journals are read, and what they hold is compared with what they must hold.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::base::{self, Base, Builder, Content};
use super::core::at;
use super::disk::{self, numbered, numbered_path, Disk};
use super::engine::{self, Blocks, Unreadable};
use super::error::StoreError;
use super::head::{self, Found, Head, State, TableState};
use super::journal::{self, Ending, StoreId};
use super::loss::Loss;
use super::options::{Opened, StoreOptions};
use super::settle;
use super::view::View;
use crate::random::{self, SystemRandom};

/// The file of the layout before there was a journal.
const FORMER: &str = "db";
const LOCK: &str = "lock";

/// A store as it was found.
pub(super) struct Recovered {
    pub(super) view: View,
    pub(super) head: Head,
    pub(super) next_journal: u64,
    pub(super) opened: Opened,
    /// Rows are missing: a new base must be written before anything else.
    pub(super) rebuild: bool,
}

/// The lock of a folder. A process that is just being started from this one holds a copy of the open file, so closing it
/// would not give the folder free: it is unlocked.
pub(crate) struct Lock(fs::File);

#[cfg(test)]
impl Lock {
    pub(super) fn copy(&self) -> fs::File {
        self.0.try_clone().unwrap()
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // An error cannot be mended here; the file is closed next, which unlocks it too.
        let _ = self.0.unlock();
    }
}

/// As [`lock`], on a disk that nothing watches.
#[cfg(feature = "sql")]
pub(crate) fn lock_folder(folder: &Path) -> Result<Lock, StoreError> {
    lock(&Disk::default(), folder)
}

/// Takes the folder for this process alone; it is free again when the lock is dropped.
pub(super) fn lock(disk: &Disk, folder: &Path) -> Result<Lock, StoreError> {
    match fs::metadata(folder) {
        Ok(found) => owner_alone(folder, &found)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => make_folders(disk, folder)?,
        Err(error) => return Err(at(folder, &error)),
    }
    let path = folder.join(LOCK);
    let file = disk.open(&path).map_err(|error| at(&path, &error))?;
    match file.try_lock() {
        Ok(()) => Ok(Lock(file)),
        Err(fs::TryLockError::WouldBlock) => Err(StoreError::Locked(folder.to_owned())),
        Err(fs::TryLockError::Error(error)) => Err(at(&path, &error)),
    }
}

fn make_folders(disk: &Disk, folder: &Path) -> Result<(), StoreError> {
    let parent = folder.parent().filter(|parent| !parent.as_os_str().is_empty());
    if let Some(parent) = parent.filter(|parent| !parent.exists()) {
        make_folders(disk, parent)?;
    }
    let made = disk.make_folder(folder);
    made.and_then(|()| disk.sync_folder(parent.unwrap_or(Path::new("."))))
        .map_err(|error| at(folder, &error))
}

/// A folder that others can look into is closed when it holds no store yet, and refused when it does: what is in it may
/// be known already.
fn owner_alone(folder: &Path, found: &fs::Metadata) -> Result<(), StoreError> {
    let mode = found.permissions().mode() & 0o777;
    if mode & 0o077 == 0 {
        return Ok(());
    }
    if folder.join("head").exists() {
        return Err(StoreError::Exposed { path: folder.to_owned(), mode });
    }
    let closed = fs::set_permissions(folder, fs::Permissions::from_mode(0o700));
    closed.map_err(|error| at(folder, &error))
}

/// Reads what is there.
pub(super) fn recover(
    disk: &Disk,
    folder: &Path,
    options: &StoreOptions,
) -> Result<Recovered, StoreError> {
    let found = head::read(folder).map_err(|error| at(folder, &error))?;
    let loss = match found {
        Found::State(state) => match restore(folder, state) {
            Ok((view, state, end)) => {
                settle::settle(disk, folder, &state, &end)?;
                return go_on(disk, folder, view, State { commit: end.commit, ..state });
            }
            Err(Fault::Loss(loss)) => loss,
            Err(Fault::Store(error)) => return Err(error),
        },
        Found::Unreadable => Loss::new(folder, "its head cannot be read"),
        Found::Nothing if folder.join(FORMER).is_file() => return bring_over(disk, folder),
        Found::Nothing => match traces(folder, options)? {
            Some(loss) => loss,
            None => return start_new(disk, folder),
        },
    };
    match options.accept_loss {
        true => salvage(disk, folder, loss),
        false => Err(StoreError::Lost(loss)),
    }
}

enum Fault {
    Loss(Loss),
    Store(StoreError),
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// Traces of a store that has no head.
fn traces(folder: &Path, options: &StoreOptions) -> Result<Option<Loss>, StoreError> {
    let io = |error| at(folder, &error);
    let bases = numbered(folder, base::KIND).map_err(io)?;
    let journals = numbered(folder, journal::KIND).map_err(io)?;
    let empty_journals = journals.iter().all(|number| {
        let length = fs::metadata(numbered_path(folder, journal::KIND, *number));
        length.is_ok_and(|found| found.len() <= 64)
    });
    // A founding that a crash cut off leaves a journal without a record.
    Ok(match (bases.is_empty() && empty_journals, options.must_exist) {
        (false, _) => Some(Loss::new(folder, "its head is missing")),
        (true, true) => Some(Loss::new(folder, "the store itself is missing")),
        (true, false) => None,
    })
}

fn start_new(disk: &Disk, folder: &Path) -> Result<Recovered, StoreError> {
    let state = State::new(new_id()?, 0, Vec::new(), 0);
    clear(folder, None)?;
    let head = Head::create(disk, folder, state).map_err(|error| at(folder, &error))?;
    Ok(Recovered {
        view: View::default(),
        head,
        next_journal: 1,
        opened: Opened { founded: true, ..Opened::default() },
        rebuild: false,
    })
}

/// Where the journals end.
pub(super) struct End {
    /// The last commit.
    pub(super) commit: u64,
    /// The last journal, and the end of its last record.
    pub(super) journal: Option<(u64, u64)>,
}

/// Base and journals as the head says, and where the journals end; or what is missing.
fn restore(folder: &Path, state: State) -> Result<(View, State, End), Fault> {
    let base = match state.base {
        0 => Base::default(),
        number => read_base(folder, number, &state.tables)?,
    };
    let mut view = View { base: base.into(), ..View::default() };
    let (end, loss) = replay(folder, &state, &mut view)?;
    match loss {
        Some(loss) => Err(Fault::Loss(loss)),
        None if end.commit < state.commit => {
            let missing = format!("commits {} to {} of the journal", end.commit + 1, state.commit);
            Err(Fault::Loss(Loss::new(folder, missing)))
        }
        None => Ok((view, state, end)),
    }
}

fn read_base(folder: &Path, number: u64, wanted: &[TableState]) -> Result<Base, Fault> {
    let path = numbered_path(folder, base::KIND, number);
    if !path.join(FORMER).is_file() {
        return Err(Fault::Loss(Loss::new(folder, format!("its base {number} is missing"))));
    }
    match open_base(&path, wanted) {
        Ok((base, content)) => match differences(folder, wanted, &content) {
            None => Ok(base),
            Some(loss) => Err(Fault::Loss(loss)),
        },
        Err(Unreadable::Io(error)) => Err(error.into()),
        Err(Unreadable::Locked) => Err(StoreError::Locked(folder.to_owned()).into()),
        Err(Unreadable::Damaged(why)) => {
            Err(Fault::Loss(Loss::new(folder, format!("its base {number} cannot be read: {why}"))))
        }
    }
}

/// sled keeps a snapshot of its page table beside its log and fails on a bent one, although the log has everything.
/// Without the snapshot it reads the whole log.
fn open_base(path: &Path, wanted: &[TableState]) -> Result<(Base, Content), Unreadable> {
    match Base::open(path) {
        Err(Unreadable::Damaged(_)) => {}
        Ok((base, content)) if content.tables == wanted => return Ok((base, content)),
        Ok((mut base, _)) => base.close(),
        Err(other) => return Err(other),
    }
    Blocks::forget_snapshots(path).map_err(|error| Unreadable::Io(at(path, &error)))?;
    Base::open(path)
}

fn differences(folder: &Path, wanted: &[TableState], content: &Content) -> Option<Loss> {
    let mut loss: Option<Loss> = None;
    let mut add = |missing: String| match &mut loss {
        Some(loss) => loss.add(Loss::new(folder, missing)),
        None => loss = Some(Loss::new(folder, missing)),
    };
    for table in wanted {
        let found = content.tables.iter().find(|found| found.name == table.name);
        let rows = found.map_or(0, |found| found.rows);
        if rows != table.rows {
            add(format!("table {}: {} rows of {}", table.name, rows, table.rows));
        } else if found.is_some_and(|found| found.hash != table.hash) {
            add(format!("table {}: other content than was written", table.name));
        }
    }
    let unknown = content.tables.iter().filter(|found| wanted.iter().all(|t| t.name != found.name));
    unknown.for_each(|found| add(format!("table {}: not written by this store", found.name)));
    loss
}

/// Applies the journals; returns where they end and what is wrong with them.
fn replay(
    folder: &Path,
    state: &State,
    view: &mut View,
) -> Result<(End, Option<Loss>), StoreError> {
    let io = |error| at(folder, &error);
    let numbers = numbered(folder, journal::KIND).map_err(io)?;
    let mut numbers: Vec<u64> =
        numbers.into_iter().filter(|number| *number >= state.first_journal).collect();
    let mut end = End { commit: state.base_commit, journal: None };
    let mut failed = Ok(());
    for (place, number) in (state.first_journal..).zip(numbers.drain(..)) {
        if place != number {
            let loss = Loss::new(folder, format!("its journal {place} is missing"));
            return Ok((end, Some(loss)));
        }
        let read = journal::replay(folder, &state.store, number, end.commit + 1, |changes| {
            if failed.is_ok() {
                failed = view.apply(changes);
            }
        });
        let read = read.map_err(io)?;
        failed.clone()?;
        end.commit = read.last_commit;
        let wrong = match read.ending {
            Ending::Whole => {
                end.journal = Some((number, read.bytes));
                continue;
            }
            // A journal of which only the beginning was made: nothing was answered from it. It goes, for at the start
            // after this one it would stand before journals that are whole.
            Ending::NoHeader if end.commit >= state.commit => {
                disk::remove(&numbered_path(folder, journal::KIND, number)).map_err(io)?;
                continue;
            }
            Ending::NoHeader => format!("journal {number} is not the one that was written"),
            Ending::Hole => format!("journal {number} is damaged behind commit {}", end.commit),
        };
        return Ok((end, Some(Loss::new(folder, wrong))));
    }
    Ok((end, None))
}

fn go_on(disk: &Disk, folder: &Path, view: View, state: State) -> Result<Recovered, StoreError> {
    let io = |error| at(folder, &error);
    clear(folder, Some(&state))?;
    if folder.join(FORMER).exists() {
        // A crash cut the take-over off behind the head.
        forget_former(folder)?;
    }
    let numbers = numbered(folder, journal::KIND).map_err(io)?;
    let next_journal = numbers.last().map_or(state.first_journal, |last| last + 1);
    let opened = Opened { clean: state.clean, copied: state.copied, ..Opened::default() };
    let state = State { clean: false, ..state };
    let head = Head::create(disk, folder, state).map_err(io)?;
    Ok(Recovered { view, head, next_journal, opened, rebuild: false })
}

/// Removes what an interrupted step left: bases that no head names, journals that are in the base.
fn clear(folder: &Path, state: Option<&State>) -> Result<(), StoreError> {
    let io = |error| at(folder, &error);
    for number in numbered(folder, base::KIND).map_err(io)? {
        if state.is_none_or(|state| state.base != number) {
            disk::remove(&numbered_path(folder, base::KIND, number)).map_err(io)?;
        }
    }
    for number in numbered(folder, journal::KIND).map_err(io)? {
        if state.is_none_or(|state| number < state.first_journal) {
            disk::remove(&numbered_path(folder, journal::KIND, number)).map_err(io)?;
        }
    }
    Ok(())
}

/// Takes over a store of the layout before there was a journal. Until the head is written, the former store is whole.
fn bring_over(disk: &Disk, folder: &Path) -> Result<Recovered, StoreError> {
    clear(folder, None)?;
    let path = numbered_path(folder, base::KIND, 1);
    let mut builder = Builder::new(disk, &path)?;
    engine::read_former(folder, |key, value| builder.add(key, value))?;
    let (base, content) = builder.finish()?;
    let rows: u64 = content.tables.iter().map(|table| table.rows).sum();
    let state = State::new(new_id()?, 1, content.tables, 0);
    let io = |error| at(folder, &error);
    disk.sync_folder(folder).map_err(io)?;
    let head = Head::create(disk, folder, state).map_err(io)?;
    forget_former(folder)?;
    tracing::info!(store = %folder.display(), rows, "store brought over to its new layout");
    let view = View { base: base.into(), ..View::default() };
    let opened = Opened::default();
    Ok(Recovered { view, head, next_journal: 1, opened, rebuild: false })
}

/// Removes the files of the layout before there was a journal: a store that has its head needs them no more.
fn forget_former(folder: &Path) -> Result<(), StoreError> {
    let io = |error| at(folder, &error);
    for entry in fs::read_dir(folder).map_err(io)? {
        let name = entry.map_err(io)?.file_name();
        let former = name.to_str().is_some_and(|name| {
            name == FORMER || name == "conf" || name == "blobs" || name.starts_with("snap.")
        });
        if former {
            disk::remove(&folder.join(name)).map_err(io)?;
        }
    }
    Ok(())
}

/// Goes on with what can be read.
fn salvage(disk: &Disk, folder: &Path, loss: Loss) -> Result<Recovered, StoreError> {
    let io = |error| at(folder, &error);
    let mut view = View::default();
    let bases = numbered(folder, base::KIND).map_err(io)?;
    let journals = numbered(folder, journal::KIND).map_err(io)?;
    let old = match head::read(folder).map_err(io)? {
        Found::State(state) => Some(state),
        Found::Nothing | Found::Unreadable => presumed(folder, &bases, &journals)?,
    };
    let base = old.as_ref().map_or(bases.last().copied().unwrap_or(0), |state| state.base);
    let mut rows = super::engine::Changes::new();
    let path = numbered_path(folder, base::KIND, base);
    if path.is_dir() {
        let read = Base::salvage(&path, |key, value| {
            rows.insert(key.to_vec(), Some(value.to_vec()));
        });
        if let Err(error) = read {
            tracing::warn!(?error, rows = rows.len(), "the base was read up to here");
        }
    }
    view.apply(rows)?;
    let mut commit = 0;
    if let Some(state) = &old {
        commit = replay(folder, state, &mut view)?.0.commit.max(state.commit);
    }
    let next = journals.last().map_or(1, |last| last + 1);
    let state = State {
        serial: old.as_ref().map_or(0, |state| state.serial),
        first_journal: next,
        copied: true,
        ..State::new(new_id()?, 0, Vec::new(), commit)
    };
    tracing::warn!(%loss, "loss accepted: the store goes on with what is left");
    // The head on the disk stays as it is until the rows have a base of their own.
    let opened = Opened { copied: true, accepted: Some(loss), ..Opened::default() };
    let head = Head::detached(disk, folder, state).map_err(io)?;
    let next_journal = next;
    Ok(Recovered { view, head, next_journal, opened, rebuild: true })
}

/// The contents of the head, as far as a journal tells it.
fn presumed(folder: &Path, bases: &[u64], journals: &[u64]) -> Result<Option<State>, StoreError> {
    for number in journals {
        let read = journal::identify(folder, *number).map_err(|error| at(folder, &error))?;
        if let Some((store, first_commit)) = read {
            let base = bases.last().copied().unwrap_or(0);
            let before = first_commit.saturating_sub(1);
            let state = State::new(store, base, Vec::new(), before);
            return Ok(Some(State { first_journal: *number, commit: 0, ..state }));
        }
    }
    Ok(None)
}

pub(super) fn new_id() -> Result<StoreId, StoreError> {
    random::bytes(&SystemRandom).map_err(|error| StoreError::Io(error.to_string()))
}
