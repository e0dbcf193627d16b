//! The durable key-value store: what [`Store::commit`] acknowledged survives `kill -9` and power loss.
//!
//! One writer thread owns all writes: it drains what waits, checks each batch's preconditions, applies the group as one
//! atomic step, flushes, and only then answers. Reads go straight to the engine and may see a batch a moment before it
//! is durable; who acknowledges something on the ground of a read alone calls [`Store::barrier`] first.
//!
//! Source: DESIGN section 10 rule 1 (measured on sled 0.34.7).

use std::path::Path;
use std::sync::Arc;

pub use batch::Batch;
pub use error::StoreError;
pub use loss::Loss;
pub use options::{Opened, StoreOptions};
pub use table::Table;
pub use writer::Then;

use engine::Engine;
use writer::Writer;

mod batch;
mod block;
mod engine;
mod error;
mod loss;
mod options;
mod record;
mod table;
#[cfg(test)]
mod tests;
mod writer;

/// A row: key without the table's prefix, and value.
pub type Row = (Vec<u8>, Vec<u8>);

/// One open store. Cheap to clone; all clones share the writer.
#[derive(Clone)]
pub struct Store {
    engine: Arc<Engine>,
    writer: Arc<Writer>,
    opened: Arc<Opened>,
}

impl Store {
    /// Opens or creates the store in the folder `path`, for this process alone.
    ///
    /// # Errors
    /// As [`Store::open_with`].
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        Self::open_with(path, &StoreOptions::default())
    }

    /// Opens or creates the store in the folder `path`, for this process alone.
    ///
    /// # Errors
    /// [`StoreError::Locked`] when another process has it open, [`StoreError::Lost`] when it must exist and does not,
    /// [`StoreError::Io`] otherwise.
    pub fn open_with(path: &Path, options: &StoreOptions) -> Result<Self, StoreError> {
        let founded = std::fs::read_dir(path).map_or(true, |mut found| found.next().is_none());
        let lost = (founded && options.must_exist).then(|| Loss::new(path, "all of it"));
        let accepted = match lost {
            Some(lost) if !options.accept_loss => return Err(StoreError::Lost(lost)),
            accepted => accepted,
        };
        let engine = Arc::new(Engine::open(path)?);
        let writer = Arc::new(Writer::start(Arc::clone(&engine))?);
        let opened = Arc::new(Opened { founded, clean: false, accepted });
        Ok(Self { engine, writer, opened })
    }

    /// What opening it found.
    pub fn opened(&self) -> &Opened {
        &self.opened
    }

    /// Writes a copy into the new folder `to`, also while this store is written.
    ///
    /// # Errors
    /// [`StoreError::Io`]; the folder is then of no use.
    pub fn copy_to(&self, to: &Path) -> Result<(), StoreError> {
        let copy = Engine::open(to)?;
        let mut after: Option<Vec<u8>> = None;
        loop {
            let rows = self.engine.scan(&[], after.as_deref(), crate::limits::STORE_SCAN_ROWS)?;
            let Some((last, _)) = rows.last() else { return copy.close() };
            after = Some(last.clone());
            copy.apply_durably(rows.into_iter().map(|(key, value)| (key, Some(value))).collect())?;
        }
    }

    /// The table of that name. Names are 1 to 32 bytes; a table exists as soon as it has a row.
    ///
    /// # Errors
    /// [`StoreError::BadTable`].
    pub fn table(&self, name: &'static str) -> Result<Table, StoreError> {
        Table::new(Arc::clone(&self.engine), name)
    }

    /// Writes a batch, all or nothing, and returns once it is durable.
    ///
    /// Cancel-safe: a batch that was queued is written even when the caller goes away.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when a precondition does not hold (nothing is written), [`StoreError::TooLarge`],
    /// [`StoreError::Io`] when this group could not be made durable (it may or may not survive a restart) and
    /// [`StoreError::Poisoned`] for everything after that.
    pub async fn commit(&self, batch: Batch) -> Result<(), StoreError> {
        batch.check()?;
        self.writer.submit(batch).await
    }

    /// As [`Store::commit`] for code that does not wait: `then` gets the outcome on the thread that writes, which it
    /// must not hold up. It is not called when the process ends first.
    ///
    /// # Errors
    /// The batch was not taken, [`StoreError::Busy`] when the queue is full; `then` is given back.
    pub fn commit_then<F>(&self, batch: Batch, then: F) -> Result<(), (StoreError, Then)>
    where
        F: FnOnce(Result<(), StoreError>) + Send + 'static,
    {
        let then: Then = Box::new(then);
        match batch.check() {
            Ok(()) => self.writer.offer(batch, then),
            Err(error) => Err((error, then)),
        }
    }

    /// As [`Store::commit`], for synchronous code; blocks the thread for about a flush (half a millisecond).
    ///
    /// # Errors
    /// As [`Store::commit`].
    pub fn commit_blocking(&self, batch: Batch) -> Result<(), StoreError> {
        block::on(self.commit(batch))
    }

    /// Returns once everything that any reader has seen so far is durable.
    ///
    /// # Errors
    /// As [`Store::commit`].
    pub async fn barrier(&self) -> Result<(), StoreError> {
        self.commit(Batch::new()).await
    }

    /// Whether the store still writes: false after an I/O error or after [`Store::close`].
    pub fn is_healthy(&self) -> bool {
        self.writer.is_healthy() && self.engine.is_open()
    }

    /// Bytes on disk, about.
    pub fn size_on_disk(&self) -> u64 {
        self.engine.size_on_disk()
    }

    /// Finishes what is queued, flushes and lets the folder go. Every later call gets [`StoreError::Closed`].
    ///
    /// # Errors
    /// [`StoreError::Io`] when the last flush failed.
    pub fn close(&self) -> Result<(), StoreError> {
        self.writer.stop();
        self.engine.close()
    }
}
