//! Durable state: persistent sessions, the messages that wait for them, and retained messages.
//!
//! 1. A change of durable state is noted as a [`Step`] and gets a commit number; nothing waits for the disk yet.
//! 2. One task ([`Persistence::run`]) takes the noted steps and commits them, group by group. Steps that belong
//!    together ([`Persistence::together`]) are never divided.
//! 3. A packet that tells a peer of it (PUBACK, PUBREC, PUBREL, a PUBLISH whose row is new) waits until the commit
//!    number is [`Persistence::durable`] before its bytes leave the process.
//!
//! While there is no room on the disk, noted steps wait and are tried again. None of them is reported as durable, and
//! no CONNECT is let in, so that they stay few. They are written when there is room, and service goes on.
//!
//! Changes of other sessions, and messages that are not retained, are not noted here. The forms of the rows are in
//! `session::row`, `routing::row` and [`crate::message`]; `server::restore` reads them at start. Rights are not stored:
//! a restored session allows nothing until a token has been accepted for it.

mod pending;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard, RwLock, RwLockReadGuard};
use tessera_runtime::store::{
    Batch, Refused, Row as Stored, Store, StoreError, StoreOptions, Table,
};
use tokio::sync::{watch, Notify};
use tokio_util::sync::CancellationToken;

use crate::limits::{
    PERSISTENCE_BEHIND, PERSISTENCE_BEHIND_BYTES, PERSISTENCE_GROUP, PERSISTENCE_TRY_AGAIN,
    PERSISTENCE_WHOLE,
};
use crate::message::SubscriberId;
use pending::{Pending, Taken};
pub(crate) use pending::{Row, Step};

/// Rows that are read at once. Each may hold a message of the largest size.
pub(crate) const PAGE: usize = 64;

/// The durable state of the broker.
pub(crate) struct Persistence {
    store: Store,
    pub(crate) tables: Tables,
    pending: Mutex<Pending>,
    /// Held for reading while several steps must stand or fall together, for writing while they are taken.
    whole: RwLock<()>,
    bell: Notify,
    progress: watch::Sender<Progress>,
    /// As in `progress`, for CONNECT.
    writes: AtomicBool,
    stopping: CancellationToken,
    /// The loaded rows have been judged by a time that is to be relied on.
    settled: AtomicBool,
}

/// Ended sessions whose rows are looked for in one step.
const FORGOTTEN_AT_ONCE: usize = 64;

#[derive(Clone)]
pub(crate) struct Tables {
    pub(crate) sessions: Table,
    pub(crate) subscriptions: Table,
    pub(crate) outgoing: Table,
    pub(crate) incoming: Table,
    pub(crate) retained: Table,
}

#[derive(Clone, Copy, Default)]
struct Progress {
    durable: u64,
    /// There is no room on the disk: steps that are not durable wait.
    waits: bool,
    failed: bool,
}

/// The store does not write: nothing may be acknowledged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct NotDurable;

impl Persistence {
    /// As [`Persistence::open_with`], where nothing may be missing.
    #[cfg(test)]
    pub(crate) fn open(folder: &Path) -> Result<Arc<Self>, StoreError> {
        Self::open_with(folder, &StoreOptions::default())
    }

    /// Opens what is kept in `folder`; the options say what may be missing.
    ///
    /// # Errors
    /// The store cannot be opened.
    pub(crate) fn open_with(
        folder: &Path,
        options: &StoreOptions,
    ) -> Result<Arc<Self>, StoreError> {
        let store = Store::open_with(folder, options)?;
        if let Some(loss) = &store.opened().accepted {
            tracing::error!(%loss, "the session store holds less than it should; the loss was accepted");
        }
        let tables = Tables {
            sessions: store.table("session")?,
            subscriptions: store.table("session_subscription")?,
            outgoing: store.table("session_outgoing")?,
            incoming: store.table("session_incoming")?,
            retained: store.table("retained")?,
        };
        Ok(Arc::new(Self {
            store,
            tables,
            pending: Mutex::default(),
            whole: RwLock::new(()),
            bell: Notify::new(),
            progress: watch::Sender::new(Progress::default()),
            writes: AtomicBool::new(true),
            stopping: CancellationToken::new(),
            settled: AtomicBool::new(false),
        }))
    }

    /// Writes a consistent copy of what is kept into the new folder `to`.
    pub(crate) fn copy_to(&self, to: &Path) -> Result<(), StoreError> {
        self.store.copy_to(to)
    }

    /// Whether it goes on with less than it should hold.
    pub(crate) fn has_lost(&self) -> bool {
        self.store.opened().accepted.is_some()
    }

    /// Whether the restored sessions have been judged by a time that can be relied on.
    pub(crate) fn is_settled(&self) -> bool {
        self.settled.load(Ordering::Relaxed)
    }

    /// It has been.
    pub(crate) fn settled(&self) {
        self.settled.store(true, Ordering::Relaxed);
    }

    /// Notes a step and returns its commit number, by which to wait for it.
    pub(crate) fn note(&self, step: Step) -> u64 {
        self.add(self.pending.lock(), step)
    }

    fn add(&self, mut pending: MutexGuard<'_, Pending>, step: Step) -> u64 {
        let first = pending.is_empty();
        let commit = pending.add(step);
        if pending.group_len() >= PERSISTENCE_GROUP {
            // Inside of steps that belong together, our own guard among them, this fails.
            if let Some(_whole) = self.whole.try_write() {
                pending.seal();
            }
        }
        drop(pending);
        if first {
            self.bell.notify_one();
        }
        commit
    }

    /// As [`Self::note`] for a row or the end of one session: what comes after its end is noted no more.
    fn note_of(&self, over: &AtomicBool, step: Step) -> u64 {
        let pending = self.pending.lock();
        // Under the lock, so that no row is noted after the end.
        let was_over = match step {
            Step::Forget(_) => over.swap(true, Ordering::Relaxed),
            Step::Put(..) | Step::Delete(_) => over.load(Ordering::Relaxed),
        };
        match was_over {
            true => pending.last(),
            false => self.add(pending, step),
        }
    }

    /// While the guard lives, all noted steps belong to one commit, whatever their number. The guard must not be held
    /// across an `await`, nor taken a second time while it is held.
    pub(crate) fn together(&self) -> RwLockReadGuard<'_, ()> {
        if self.pending.lock().group_len() >= PERSISTENCE_GROUP {
            let _whole = self.whole.write();
            self.pending.lock().seal();
        }
        self.whole.read_recursive()
    }

    /// The number of the newest commit.
    pub(crate) fn last_commit(&self) -> u64 {
        self.pending.lock().last()
    }

    /// Whether so much waits for the disk that peers should wait too.
    pub(crate) fn is_behind(&self) -> bool {
        let pending = self.pending.lock();
        pending.len() > PERSISTENCE_BEHIND || pending.bytes() > PERSISTENCE_BEHIND_BYTES
    }

    /// Whether it writes.
    pub(crate) fn is_healthy(&self) -> bool {
        self.writes() && self.store.is_healthy()
    }

    /// The reason for which commits wait, in words for the operator; `None` while commits succeed, and after a failure
    /// from which the store does not recover.
    pub(crate) fn waits_for(&self) -> Option<&'static str> {
        let Progress { waits, failed, .. } = *self.progress.borrow();
        if failed {
            return None;
        }
        self.store.waits_for().or(waits.then_some("rows that found no room are tried again"))
    }

    /// Whether a client may come in for which something would be kept. Costs a look at one byte.
    pub(crate) fn writes(&self) -> bool {
        self.writes.load(Ordering::Relaxed)
    }

    /// Returns once everything up to `commit` is durable. Cancel-safe.
    ///
    /// # Errors
    /// [`NotDurable`] when the store failed, and it never will be, or when there is no room on the disk now.
    pub(crate) async fn durable(&self, commit: u64) -> Result<(), NotDurable> {
        let reached =
            |progress: &Progress| progress.durable >= commit || progress.waits || progress.failed;
        if !reached(&self.progress.borrow()) {
            let mut watching = self.progress.subscribe();
            watching.wait_for(reached).await.map_err(|_| NotDurable)?;
        }
        let progress = *self.progress.borrow();
        if progress.durable >= commit {
            Ok(())
        } else {
            Err(NotDurable)
        }
    }

    /// Commits what is noted until [`Self::close`].
    pub(crate) async fn run(self: Arc<Self>) {
        loop {
            tokio::select! {
                () = self.bell.notified() => {}
                () = self.stopping.cancelled() => break,
            }
            self.commit().await;
        }
        self.commit().await;
        if let Err(error) = self.store.close() {
            tracing::error!(%error, "the session store could not be closed cleanly");
        }
        self.fail();
    }

    fn fail(&self) {
        self.writes.store(false, Ordering::Relaxed);
        self.progress.send_modify(|progress| progress.failed = true);
    }

    /// Commits the rest and lets the folder go.
    pub(crate) async fn close(&self) {
        self.stopping.cancel();
        let mut watching = self.progress.subscribe();
        // [`Self::run`] sets `failed` when it ends. The sender belongs to `self`, so the wait itself cannot fail.
        let _ = watching.wait_for(|progress| progress.failed).await;
    }

    async fn commit(&self) {
        // Behind rows that were lost, nothing is written: no later commit number may stand for them.
        while !self.progress.borrow().failed {
            let taken = {
                let _whole = self.whole.write();
                self.pending.lock().take()
            };
            let Some(taken) = taken else { return };
            let commit = taken.commit;
            if let Err(error) = self.write(taken).await {
                tracing::error!(%error, "session store write failed: nothing more is acknowledged for persistent sessions");
                // Once rows were lost, nothing that was noted after them is acknowledged either.
                return self.fail();
            }
            self.progress.send_modify(|progress| progress.durable = commit);
        }
    }

    /// Commits a batch; waits while there is no room for it.
    async fn commit_when_there_is_room(&self, mut batch: Batch) -> Result<(), StoreError> {
        while let Err(Refused { error, batch: refused }) =
            self.store.commit_or_give_back(batch).await
        {
            let Some(refused) = refused else { return Err(error) };
            self.wait_for_room(true);
            if self.stopping.is_cancelled() {
                return Err(error);
            }
            tokio::select! {
                () = self.stopping.cancelled() => {}
                () = tokio::time::sleep(PERSISTENCE_TRY_AGAIN) => {}
            }
            batch = refused;
        }
        if self.progress.borrow().waits {
            self.wait_for_room(false);
        }
        Ok(())
    }

    fn wait_for_room(&self, waits: bool) {
        let before = self.progress.borrow().waits;
        self.writes.store(!waits, Ordering::Relaxed);
        self.progress.send_modify(|progress| progress.waits = waits);
        match waits {
            true if !before => {
                let rows = self.pending.lock().len();
                tracing::error!(
                    rows,
                    why = self.waits_for(),
                    "the session store has no room: no CONNECT is let in until it has; the rows are tried again without a restart"
                );
            }
            false => tracing::info!("the session store can be written again: service goes on"),
            true => {}
        }
    }

    async fn write(&self, taken: Taken) -> Result<(), StoreError> {
        let mut batch = Batch::new();
        let mut steps = 0;
        for (row, value) in taken.rows {
            let table = self.tables.of(&row);
            match value {
                Some(value) => batch.put(table, row.key(), value),
                None => batch.delete(table, row.key()),
            }
            steps += 1;
            if steps == PERSISTENCE_WHOLE {
                steps = 0;
                tracing::error!(
                    rows = PERSISTENCE_WHOLE,
                    "transaction split into several commits: it is not atomic across a crash"
                );
                self.commit_when_there_is_room(std::mem::take(&mut batch)).await?;
            }
        }
        for ids in taken.forgotten.chunks(FORGOTTEN_AT_ONCE) {
            // Many rows of sessions that have ended are no work for a thread that serves sockets.
            let (tables, ids) = (self.tables.clone(), ids.to_vec());
            let rows = tokio::task::spawn_blocking(move || tables.rows_of(&ids));
            for (table, key) in rows.await.unwrap_or(Err(StoreError::Poisoned))? {
                batch.delete(&table, key);
                steps += 1;
                // Rows of an ended session that a crash leaves are dropped at the next start.
                if steps == PERSISTENCE_WHOLE {
                    steps = 0;
                    self.commit_when_there_is_room(std::mem::take(&mut batch)).await?;
                }
            }
        }
        self.commit_when_there_is_room(batch).await
    }
}

impl Tables {
    /// The keys of all rows of these sessions.
    fn rows_of(&self, ids: &[SubscriberId]) -> Result<Vec<(Table, Vec<u8>)>, StoreError> {
        let mut found = Vec::new();
        for id in ids {
            let prefix = id.0.to_be_bytes();
            for table in [&self.subscriptions, &self.outgoing, &self.incoming] {
                for row in table.rows(&prefix, None) {
                    found.push((table.clone(), row?.0));
                }
            }
            // Last: without it a start would not find the others.
            found.push((self.sessions.clone(), prefix.to_vec()));
        }
        Ok(found)
    }

    fn of(&self, row: &Row) -> &Table {
        match row {
            Row::Session(_) => &self.sessions,
            Row::Subscription(..) => &self.subscriptions,
            Row::Outgoing(..) => &self.outgoing,
            Row::Incoming(..) => &self.incoming,
            Row::Retained(_) => &self.retained,
        }
    }
}

/// The rows of one session.
#[derive(Clone)]
pub(crate) struct SessionRows {
    pub(crate) persistence: Arc<Persistence>,
    pub(crate) id: SubscriberId,
    over: Arc<AtomicBool>,
}

impl SessionRows {
    pub(crate) fn new(persistence: Arc<Persistence>, id: SubscriberId) -> Self {
        Self { persistence, id, over: Arc::default() }
    }

    pub(crate) fn put(&self, row: impl FnOnce(SubscriberId) -> Row, value: Vec<u8>) -> u64 {
        self.persistence.note_of(&self.over, Step::Put(row(self.id), value))
    }

    pub(crate) fn delete(&self, row: impl FnOnce(SubscriberId) -> Row) -> u64 {
        self.persistence.note_of(&self.over, Step::Delete(row(self.id)))
    }

    /// The session has ended: no row of it stays, and none is noted for it from now on.
    pub(crate) fn forget(&self) -> u64 {
        self.persistence.note_of(&self.over, Step::Forget(self.id))
    }
}

/// All rows with this prefix.
pub(crate) fn all(table: &Table, prefix: &[u8]) -> Result<Vec<Stored>, StoreError> {
    table.rows(prefix, None).collect()
}
