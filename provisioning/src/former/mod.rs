//! The store of former versions, a key-value store in the same folder: its rows go into the tables of the database once.
//!
//! The database is made beside the store. When it is whole, the store gets another name and stays as it was, and the
//! database takes its place. A process that ends in between begins again, or ends with the names.

use std::fs;
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
    } else if !store.exists() && names.former.exists() && names.new.exists() {
        // The process ended between the two names.
        fs::rename(&names.new, store)?;
        names.sync()?;
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
        if name.starts_with("journal-") || name.starts_with("base-") {
            return Ok(true);
        }
    }
    Ok(false)
}

fn move_rows(
    names: &Names,
    options: &StoreOptions,
    clock: &SharedClock,
    random: &dyn Random,
) -> Result<(), StoreError> {
    // Other processes find the folder locked until it has its other name.
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
    let moved = rows::all(&former, &database, &Tables::of(&database));
    let closed = database.close_blocking();
    let moved = moved?;
    closed?;
    fs::rename(&names.store, &names.former)?;
    fs::rename(&names.new, &names.store)?;
    names.sync()?;
    tracing::info!(
        rows = moved,
        former = %names.former.display(),
        "the store of the former version is in the database; its files are no longer used"
    );
    Ok(())
}
