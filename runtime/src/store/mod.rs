//! The durable key-value store: what [`Store::commit`] acknowledged survives `kill -9` and power loss.
//!
//! One writer thread owns all writes: it drains what waits, checks each batch's preconditions, writes the group to the
//! [`journal`], syncs it, lets readers see it, and only then answers. Rows that changed lately are in memory, all others
//! in a [`base`] that is written once: a [`checkpoint`] makes a new one out of both. A [`head`] beside them says what
//! the store must hold at least; a store that holds less does not open ([`recover`]). A commit that finds no room on the
//! disk is taken back and refused ([`scribe`]); reads go on, and commits do when there is room again.
//!
//! ```text
//! <folder>/head        what there must be
//! <folder>/base-N/     rows at rest: one sled tree
//! <folder>/journal-N   groups that are not in the base
//! <folder>/lock        held by the process that has it open
//! ```
//!
//! Why: `docs/decisions/0008-durable-store.md`.

use std::path::Path;
use std::sync::Arc;

pub use batch::Batch;
#[cfg(feature = "sql")]
pub(crate) use disk::room;
pub use disk::Watch;
pub(crate) use error::is_full;
pub use error::StoreError;
pub use loss::Loss;
pub use options::{Opened, StoreOptions};
#[cfg(feature = "sql")]
pub(crate) use recover::{lock_folder as lock, Lock};
pub use table::{Rows, Table};
pub use writer::{Refused, Then};

use self::core::Core;
use disk::Disk;
use scribe::Scribe;
use writer::Writer;

mod base;
mod batch;
pub(crate) mod block;
mod checkpoint;
pub(crate) mod checksum;
mod copy;
mod core;
mod disk;
mod engine;
mod error;
mod head;
mod journal;
mod loss;
mod options;
mod record;
mod recover;
mod scribe;
mod settle;
mod table;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
#[cfg(test)]
mod tests;
mod view;
mod writer;

/// Wait of a store that found no room on its disk.
pub(crate) const NO_ROOM: &str = "there is no room on the disk: nothing is written, and service goes on by itself when there is some";
/// Wait of a store whose rows in memory find no base.
const NO_BASE: &str = "a new base of the store cannot be written, which the log tells with its cause: no change is taken until it is; it needs room for three times the bytes of the store";

/// A row: key without the table's prefix, and value.
pub type Row = (Vec<u8>, Vec<u8>);

/// One open store. Cheap to clone; all clones share the writer.
#[derive(Clone)]
pub struct Store {
    core: Arc<Core>,
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
    /// [`StoreError::Locked`] when another process has it open, [`StoreError::Lost`] when it holds less than it must,
    /// [`StoreError::Exposed`] when others may read it, [`StoreError::Io`] otherwise.
    pub fn open_with(path: &Path, options: &StoreOptions) -> Result<Self, StoreError> {
        let watch = options.watch.clone();
        #[cfg(any(test, feature = "testing"))]
        let watch = watch.or_else(|| testing::watch::of(path));
        let disk = Disk::new(watch);
        let lock = recover::lock(&disk, path)?;
        let recovered = recover::recover(&disk, path, options)?;
        let (opened, next_journal) = (recovered.opened.clone(), recovered.next_journal);
        let rebuild = recovered.rebuild;
        let core = Arc::new(Core::new(disk, path.to_owned(), lock, recovered)?);
        let mut scribe = Scribe::new(Arc::clone(&core), next_journal);
        if rebuild {
            scribe.rebuild()?;
        }
        scribe.look_after();
        let writer = Arc::new(Writer::start(scribe)?);
        Ok(Self { core, writer, opened: Arc::new(opened) })
    }

    /// Findings of opening it.
    pub fn opened(&self) -> &Opened {
        &self.opened
    }

    /// The table of that name. Names are 1 to 32 bytes; a table exists as soon as it has a row.
    ///
    /// # Errors
    /// [`StoreError::BadTable`].
    pub fn table(&self, name: &'static str) -> Result<Table, StoreError> {
        Table::new(Arc::clone(&self.core), name)
    }

    /// Writes a batch, all or nothing, and returns once it is durable.
    ///
    /// Cancel-safe: a batch that was queued is written even when the caller goes away.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when a precondition does not hold, [`StoreError::Full`] when there is no room on the disk
    /// (nothing is written, and a later call may be), [`StoreError::Busy`] while rows wait for a base that cannot be written
    /// (the same), [`StoreError::TooLarge`], [`StoreError::Io`] when this group could not
    /// be made durable (it may or may not survive a restart) and [`StoreError::Poisoned`] for everything after that.
    pub async fn commit(&self, batch: Batch) -> Result<(), StoreError> {
        batch.check()?;
        self.writer.submit(batch).await
    }

    /// As [`Store::commit`]; a batch that was refused for want of room comes back ([`Refused::batch`]), so that the
    /// caller needs no copy to try again.
    ///
    /// # Errors
    /// As [`Store::commit`].
    pub async fn commit_or_give_back(&self, batch: Batch) -> Result<(), Refused> {
        if let Err(error) = batch.check() {
            return Err(Refused { error, batch: None });
        }
        self.writer.submit_or_give_back(batch).await
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

    /// As [`Store::commit`], for synchronous code; blocks the thread for about a sync of the disk (milliseconds).
    ///
    /// # Errors
    /// As [`Store::commit`].
    pub fn commit_blocking(&self, batch: Batch) -> Result<(), StoreError> {
        block::on(self.commit(batch))
    }

    /// Returns once everything that any reader has seen so far is durable, also while there is no room for more.
    ///
    /// # Errors
    /// As [`Store::commit`].
    pub async fn barrier(&self) -> Result<(), StoreError> {
        self.commit(Batch::new()).await
    }

    /// Whether the store writes: false while there is no room on the disk, after any other I/O error and after
    /// [`Store::close`].
    pub fn is_healthy(&self) -> bool {
        self.writer.is_healthy() && self.core.is_open()
    }

    /// Whether it waits for room on the disk, or for a new base. It tries every [`crate::limits::STORE_TRY_AGAIN`], a base
    /// every [`crate::limits::STORE_CHECKPOINT_PAUSE`], and goes on by itself.
    pub fn is_full(&self) -> bool {
        self.writer.is_full()
    }

    /// Its wait while [`Store::is_full`], in words for the operator.
    pub fn waits_for(&self) -> Option<&'static str> {
        self.writer.waits_for()
    }

    /// Bytes on disk, about.
    pub fn size_on_disk(&self) -> u64 {
        self.core.size_on_disk()
    }

    /// Writes a copy as of one commit into the new folder `to`, also while this store is written. The copy is a store of
    /// its own that counts as not closed ([`Opened::clean`] is false).
    ///
    /// # Errors
    /// [`StoreError::Full`], [`StoreError::Io`]; the folder is then removed again.
    pub fn copy_to(&self, to: &Path) -> Result<(), StoreError> {
        copy::copy(&self.core, to)
    }

    /// Marks the closed store in the folder `path` as one that came back from a copy ([`Opened::copied`]): the opener
    /// does not take it for what its last process left. Done means durable.
    ///
    /// # Errors
    /// [`StoreError::Locked`] when a process has it open, [`StoreError::Lost`] when its head is missing or damaged,
    /// [`StoreError::Io`] otherwise.
    pub fn mark_copied(path: &Path) -> Result<(), StoreError> {
        copy::mark(path)
    }

    /// Writes a new base now. Returns when it is named.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    #[cfg(any(test, feature = "testing"))]
    pub fn checkpoint(&self) -> Result<(), StoreError> {
        self.writer.checkpoint()
    }

    /// Finishes what is queued, closes the journal and lets the folder go. Every later call gets [`StoreError::Closed`].
    ///
    /// # Errors
    /// [`StoreError::Io`] or [`StoreError::Poisoned`] when something could not be written; the store is closed all the
    /// same, and the next start treats it as after a crash.
    pub fn close(&self) -> Result<(), StoreError> {
        self.writer.stop()
    }
}
