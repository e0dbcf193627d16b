//! SQLite in a folder: one thread writes, several connections read beside it.
//!
//! ```text
//! <folder>/data.sqlite       the database, and beside it its log of writes
//! <folder>/head              what there must be
//! <folder>/lock              held by the process that has it open
//! ```

mod engine;
mod head;
mod log;
mod open;
mod salvage;
#[cfg(test)]
mod tests;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Semaphore;

use self::engine::Link;
use self::writer::Writer;
use super::batch::{Batch, Statement};
use super::kept::Kept;
use super::value::Row;
use crate::limits::{SQL_READERS, SQL_ROWS_AT_ONCE};
use crate::store::{Lock, StoreError};

pub(super) use open::open;

/// An open database.
pub(super) struct Sqlite {
    file: PathBuf,
    /// Connections that read and have nothing to do now. `None` once it is closed.
    readers: Mutex<Option<Vec<Link>>>,
    /// As many long answers may be read at once.
    turns: Arc<Semaphore>,
    writer: Writer,
    kept: Arc<Kept>,
    /// Free when all connections are closed.
    lock: Mutex<Option<Lock>>,
}

impl Sqlite {
    /// At most `most` rows. A long answer is read on a thread that may wait.
    pub(super) async fn query(
        self: &Arc<Self>,
        query: Statement,
        most: usize,
    ) -> Result<Vec<Row>, StoreError> {
        let Some(count) = self.kept.count_for(&query) else { return self.read(query, most).await };
        if let Some(rows) = self.kept.answer(&query, count).filter(|_| self.is_open()) {
            return Ok(rows);
        }
        let rows = self.read(query.clone(), most).await?;
        self.kept.keep(&query, count, &rows);
        Ok(rows)
    }

    fn is_open(&self) -> bool {
        self.readers.lock().is_some()
    }

    async fn read(self: &Arc<Self>, query: Statement, most: usize) -> Result<Vec<Row>, StoreError> {
        if most <= SQL_ROWS_AT_ONCE {
            return self.query_blocking(&query, most);
        }
        let turn = Arc::clone(&self.turns).acquire_owned().await;
        let turn = turn.map_err(|_| StoreError::Closed)?;
        let own = Arc::clone(self);
        // The turn stays with the read: the caller may go before it is over.
        let read = tokio::task::spawn_blocking(move || {
            let rows = own.query_blocking(&query, most);
            drop(turn);
            rows
        });
        read.await.map_err(|error| StoreError::Io(error.to_string()))?
    }

    fn query_blocking(&self, query: &Statement, most: usize) -> Result<Vec<Row>, StoreError> {
        let idle = self.readers.lock().as_mut().ok_or(StoreError::Closed)?.pop();
        let link = idle.map_or_else(|| Link::to_read(&self.file), Ok)?;
        let rows = link.rows(query, most);
        if let Some(idle) = self.readers.lock().as_mut().filter(|idle| idle.len() < SQL_READERS) {
            idle.push(link);
        }
        rows
    }

    pub(super) async fn commit(&self, batch: Batch) -> Result<(), StoreError> {
        self.writer.commit(batch).await
    }

    pub(super) fn is_healthy(&self) -> bool {
        self.writer.is_healthy()
    }

    pub(super) fn is_full(&self) -> bool {
        self.writer.is_full()
    }

    /// Bytes of the database and its log.
    pub(super) fn size(&self) -> u64 {
        let log = self.file.with_extension("sqlite-wal");
        let bytes = |path: &Path| std::fs::metadata(path).map_or(0, |found| found.len());
        bytes(&self.file) + bytes(&log)
    }

    /// A copy as of one commit, in a new folder that can be opened as this one.
    pub(super) fn copy_to(&self, to: &Path) -> Result<(), StoreError> {
        open::copy(&Link::to_copy(&self.file)?, to)
    }

    /// The faults of its structure; none when it is whole. Reads all of it.
    pub(super) fn faults(&self) -> Result<Vec<String>, StoreError> {
        Link::to_read(&self.file)?.faults()
    }

    /// As a disk on which there is room for so many pages more; `None`: for all.
    #[cfg(any(test, feature = "testing"))]
    pub(super) fn set_room(&self, pages: Option<u32>) -> Result<(), StoreError> {
        self.writer.set_room(pages)
    }

    pub(super) fn close(&self) -> Result<(), StoreError> {
        let readers = self.readers.lock().take().unwrap_or_default();
        let read = readers.into_iter().try_for_each(Link::close);
        let written = self.writer.stop();
        drop(self.lock.lock().take());
        written.and(read)
    }
}
