//! The database of a service that does not run: its copy, and the mark of a copy that comes back.

use std::path::Path;

use tessera_runtime::clock::SystemClock;
use tessera_runtime::random::SystemRandom;
use tessera_runtime::sql::Database;
use tessera_runtime::store::{StoreError, StoreOptions};
use tessera_token::time::UnixSeconds;

use crate::database_settings::DatabaseSettings;
use crate::former;
use crate::tables::SCHEMA;
use crate::trust::restored;

/// Writes a copy of the database in the folder `store` into the new folder `to`.
///
/// # Errors
/// [`StoreError::Locked`] while a service runs on it, and those of the open and of the copy.
pub fn copy(store: &Path, to: &Path) -> Result<(), StoreError> {
    with(store, |database| database.copy_to(to))
}

/// Marks a copy that comes back, before the service starts on it: it goes on above all numbers that it may have given out
/// since the copy was made. Done means durable.
///
/// # Errors
/// [`StoreError`].
pub fn mark_restored(store: &Path, at: UnixSeconds) -> Result<(), StoreError> {
    with(store, |database| database.commit_blocking(restored::mark(database, at)))
}

/// As [`mark_restored`], for a database that was restored from a dump. No process may run on it.
///
/// # Errors
/// [`StoreError`].
pub async fn mark_restored_on(
    settings: &DatabaseSettings,
    at: UnixSeconds,
) -> Result<(), StoreError> {
    let database = Database::connect(settings.url.expose(), &settings.trust, SCHEMA).await?;
    let marked = database.commit(restored::mark(&database, at)).await;
    let closed = database.close().await;
    marked.and(closed)
}

fn with(
    store: &Path,
    work: impl FnOnce(&Database) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let options = StoreOptions { must_exist: true, ..StoreOptions::default() };
    let clock = SystemClock::shared();
    let database = former::open(store, &options, clock, &SystemRandom)?;
    let done = work(&database);
    let closed = database.close_blocking();
    done.and(closed)
}
