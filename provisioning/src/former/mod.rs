//! The store of former versions, a key-value store in the same folder: its rows go into the tables of the database once.
//!
//! The database is made beside the store. When it is whole, the store gets another name and stays as it was, and the
//! database takes its place. A process that ends in between begins again, or ends with the names.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use tessera_runtime::clock::SharedClock;
use tessera_runtime::random::Random;
use tessera_runtime::sql::Database;
use tessera_runtime::store::{Store, StoreError, StoreOptions};

use crate::tables::{Tables, SCHEMA};

mod octets;
mod rows;
mod shapes;
#[cfg(test)]
mod tests;

/// A file in the new folder: all rows are in the database.
const WHOLE: &str = "whole";

/// Opens the database in the folder `store`. A store of a former version becomes one before.
///
/// # Errors
/// Those of the open, and of the store of the former version.
pub(crate) fn open(
    store: &Path,
    options: &StoreOptions,
    clock: SharedClock,
    random: &dyn Random,
) -> Result<Database, StoreError> {
    let names = Names::of(store);
    if is_former(store)? {
        move_rows(&names, options, &clock, random)?;
    } else if !store.exists() && names.new.join(WHOLE).exists() {
        // The process ended between the two names.
        names.put_in_place()?;
    }
    Ok(Database::open(store, SCHEMA, options, clock, random)?.0)
}

/// The store, and its neighbours.
struct Names {
    store: PathBuf,
    /// The database while it is made.
    new: PathBuf,
    /// The store of the former version, when its rows are in the database.
    former: PathBuf,
}

impl Names {
    fn of(store: &Path) -> Self {
        let beside = |end: &str| {
            let mut name = store.file_name().unwrap_or_default().to_owned();
            name.push(end);
            store.with_file_name(name)
        };
        Self { store: store.to_owned(), new: beside(".new"), former: beside(".former") }
    }

    /// A name for the store of the former version that nothing has: another one may have been moved before.
    fn free(&self) -> PathBuf {
        let numbered = |number: u32| self.former.with_extension(format!("former-{number}"));
        let others = (2..).map(numbered);
        let mut names = std::iter::once(self.former.clone()).chain(others);
        names.find(|name| !name.exists()).unwrap_or_else(|| self.former.clone())
    }

    /// The database gets the name of the store.
    fn put_in_place(&self) -> Result<(), StoreError> {
        fs::rename(&self.new, &self.store)?;
        self.sync()?;
        Ok(fs::remove_file(self.store.join(WHOLE))?)
    }

    fn sync(&self) -> Result<(), StoreError> {
        let above = self.store.parent().unwrap_or(Path::new("."));
        Ok(fs::File::open(above)?.sync_all()?)
    }
}

/// Whether the folder holds a key-value store.
pub(crate) fn is_former(store: &Path) -> Result<bool, StoreError> {
    let entries = match fs::read_dir(store) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        entries => entries?,
    };
    for entry in entries {
        let name = entry?.file_name();
        let name = name.to_string_lossy();
        // The last one is of the first version.
        if name.starts_with("journal-") || name.starts_with("base-") || name == "db" {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The folder gets another name: its owner alone does that, and a mount point has none to give.
fn can_be_renamed(store: &Path) -> Result<(), StoreError> {
    let (own, found) = (fs::metadata("/proc/self")?, fs::symlink_metadata(store)?);
    let above = fs::metadata(store.parent().unwrap_or(Path::new(".")))?;
    let why = if found.uid() != own.uid() {
        "belongs to another user: start the server as that user once, which moves the store of the former version"
    } else if found.is_symlink() || found.dev() != above.dev() {
        "is a mount point or a link: put the store itself in its place, for the move of the former version"
    } else {
        return Ok(());
    };
    Err(StoreError::Io(format!("{} {why}", store.display())))
}

fn move_rows(
    names: &Names,
    options: &StoreOptions,
    clock: &SharedClock,
    random: &dyn Random,
) -> Result<(), StoreError> {
    can_be_renamed(&names.store)?;
    let former = Store::open_with(&names.store, options)?;
    if names.new.exists() {
        fs::remove_dir_all(&names.new)?;
    }
    tracing::info!(
        store = %names.store.display(),
        bytes = former.size_on_disk(),
        "the store of a former version becomes a database; that takes a while"
    );
    let new = StoreOptions::default();
    let (database, _) = Database::open(&names.new, SCHEMA, &new, clock.clone(), random)?;
    let now = clock.unix().get();
    let moved = rows::all(&former, &database, &Tables::of(&database), now);
    let closed = database.close_blocking();
    let moved = moved?;
    closed?;
    // Its files are as a stop leaves them before they get another name: it writes by the name of its folder.
    former.close()?;
    fs::File::create(names.new.join(WHOLE))?.sync_all()?;
    fs::File::open(&names.new)?.sync_all()?;
    let free = names.free();
    fs::rename(&names.store, &free)?;
    names.put_in_place()?;
    tracing::info!(
        rows = moved,
        former = %free.display(),
        "the store of the former version is in the database; its files are no longer used"
    );
    Ok(())
}
