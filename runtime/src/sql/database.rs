//! A database, whichever it is.

use std::path::Path;
use std::sync::Arc;

use super::batch::{Batch, Statement};
use super::postgres::Postgres;
use super::schema::Schema;
use super::sqlite::{self, Sqlite};
use super::table::{Record, Table};
use super::value::{Row, Value};
use crate::clock::SharedClock;
use crate::random::Random;
use crate::store::{Opened, StoreError, StoreOptions};
use crate::tls::Trust;

/// An open database. Cheap to clone.
#[derive(Clone)]
pub struct Database(Engine);

#[derive(Clone)]
enum Engine {
    Sqlite(Arc<Sqlite>),
    Postgres(Arc<Postgres>),
}

impl Database {
    /// Opens or makes the SQLite database in `folder`, for this process alone, and brings its tables to the version of
    /// `schema`.
    ///
    /// # Errors
    /// [`StoreError::Locked`], [`StoreError::Lost`] when it holds less than it must, [`StoreError::Exposed`],
    /// [`StoreError::Newer`] when a newer program wrote it, [`StoreError::Io`].
    pub fn open(
        folder: &Path,
        schema: Schema,
        options: &StoreOptions,
        clock: SharedClock,
        random: &dyn Random,
    ) -> Result<(Self, Opened), StoreError> {
        let (sqlite, opened) = sqlite::open(folder, schema, options, (clock, random))?;
        Ok((Self(Engine::Sqlite(sqlite)), opened))
    }

    /// Connects to a PostgreSQL database, which other processes may use too, and brings its tables to the version of
    /// `schema`. `url` is that of libpq: `postgres://user@host/database`. A server on another machine is spoken to over
    /// TLS alone, with a certificate that `trust` knows.
    ///
    /// # Errors
    /// [`StoreError::Newer`] when a newer program wrote it, [`StoreError::Io`].
    pub async fn connect(url: &str, trust: &Trust, schema: Schema) -> Result<Self, StoreError> {
        Ok(Self(Engine::Postgres(Arc::new(Postgres::connect(url, trust, schema).await?))))
    }

    /// Whether other processes may use it too.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        matches!(self.0, Engine::Postgres(_))
    }

    /// A table of its schema.
    #[must_use]
    pub fn table<R: Record>(&self) -> Table<R> {
        Table::new(self.clone())
    }

    /// Makes a batch of changes, all or none; done means durable.
    ///
    /// Cancel-safe: a batch that was queued is written even when the caller goes away.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when something is not as the batch expects it, [`StoreError::Full`] without room on the disk,
    /// [`StoreError::Busy`], [`StoreError::TooLarge`]: nothing was written. [`StoreError::Io`] when it may or may not be
    /// there after a restart, and [`StoreError::Poisoned`] for every batch after that.
    pub async fn commit(&self, batch: Batch) -> Result<(), StoreError> {
        batch.check()?;
        match &self.0 {
            Engine::Sqlite(sqlite) => sqlite.commit(batch).await,
            Engine::Postgres(postgres) => Box::pin(postgres.commit(batch)).await,
        }
    }

    /// As [`Database::commit`], for code that may wait.
    ///
    /// # Errors
    /// As [`Database::commit`].
    pub fn commit_blocking(&self, batch: Batch) -> Result<(), StoreError> {
        crate::store::block::on(self.commit(batch))
    }

    /// Whether it is written: false while there is no room on the disk, after any other error and after
    /// [`Database::close`].
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        match &self.0 {
            Engine::Sqlite(sqlite) => sqlite.is_healthy(),
            Engine::Postgres(postgres) => postgres.is_healthy(),
        }
    }

    /// Whether it waits for room on the disk. It tries every [`crate::limits::STORE_TRY_AGAIN`] and goes on by itself.
    #[must_use]
    pub fn is_full(&self) -> bool {
        match &self.0 {
            Engine::Sqlite(sqlite) => sqlite.is_full(),
            Engine::Postgres(_) => false,
        }
    }

    /// Its wait while [`Database::is_full`], in words for the operator.
    #[must_use]
    pub fn waits_for(&self) -> Option<&'static str> {
        self.is_full().then_some(crate::store::NO_ROOM)
    }

    /// Bytes on the disk of this machine: none of a database on a server.
    #[must_use]
    pub fn size_on_disk(&self) -> u64 {
        match &self.0 {
            Engine::Sqlite(sqlite) => sqlite.size(),
            Engine::Postgres(_) => 0,
        }
    }

    /// Writes a copy as of one commit into the new folder `to`, also while this one is written.
    ///
    /// # Errors
    /// [`StoreError::Full`], [`StoreError::Io`]; also for a database on a server, which `pg_dump` copies.
    pub fn copy_to(&self, to: &Path) -> Result<(), StoreError> {
        match &self.0 {
            Engine::Sqlite(sqlite) => sqlite.copy_to(to),
            Engine::Postgres(_) => {
                Err(StoreError::Io("a database on a server is copied by pg_dump".to_owned()))
            }
        }
    }

    /// As a disk on which there is room for so many pages more; `None`: for all. SQLite alone.
    ///
    /// # Errors
    /// [`StoreError::Closed`].
    #[cfg(any(test, feature = "testing"))]
    pub fn set_room(&self, pages: Option<u32>) -> Result<(), StoreError> {
        match &self.0 {
            Engine::Sqlite(sqlite) => sqlite.set_room(pages),
            Engine::Postgres(_) => Ok(()),
        }
    }

    /// The faults of its structure and of its rows; none when it is whole. Reads all of it. A server looks after its own.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn faults(&self) -> Result<Vec<String>, StoreError> {
        match &self.0 {
            Engine::Sqlite(sqlite) => sqlite.faults(),
            Engine::Postgres(_) => Ok(Vec::new()),
        }
    }

    /// Writes what waits, closes it and lets the folder go.
    ///
    /// # Errors
    /// [`StoreError::Io`] or [`StoreError::Poisoned`] when something could not be written.
    pub async fn close(&self) -> Result<(), StoreError> {
        match &self.0 {
            Engine::Sqlite(sqlite) => sqlite.close(),
            Engine::Postgres(postgres) => {
                postgres.close().await;
                Ok(())
            }
        }
    }

    pub(super) fn is_sqlite(&self) -> bool {
        matches!(self.0, Engine::Sqlite(_))
    }

    /// As [`Database::close`], for code that may wait.
    ///
    /// # Errors
    /// As [`Database::close`].
    pub fn close_blocking(&self) -> Result<(), StoreError> {
        crate::store::block::on(self.close())
    }

    pub(super) async fn query(
        &self,
        query: Statement,
        most: usize,
    ) -> Result<Vec<Row>, StoreError> {
        if query.values.contains(&Value::Unfit) {
            // No column holds such a number.
            return Ok(Vec::new());
        }
        match &self.0 {
            Engine::Sqlite(sqlite) => sqlite.query(query, most).await,
            // Its state is large, and every caller would hold it.
            Engine::Postgres(postgres) => Box::pin(postgres.query(query)).await,
        }
    }
}
