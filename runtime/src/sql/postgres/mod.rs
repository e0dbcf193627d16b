//! PostgreSQL: several processes share one database. Any of them may stop at any time.
//!
//! Changes go through [`lane`]s, some connections that each write what waits; reads have connections of their own.

mod changes;
mod engine;
mod lane;
mod steps;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot, Semaphore};
use tokio::task::JoinHandle;

use self::changes::Changes;
use self::engine::{version_of, Link, Server};
use super::batch::{Batch, Statement};
use super::kept::{is_changed, Kept};
use super::one_count;
use super::schema::{Dialect, Schema};
use super::value::Row;
use crate::limits::{SQL_ANSWER, SQL_LANES, SQL_READERS, SQL_SCHEMA, STORE_QUEUE, STORE_TRY_AGAIN};
use crate::store::StoreError;
use crate::tls::Trust;

/// A database on a server.
pub(super) struct Postgres {
    server: Arc<Server>,
    /// `None` once it is closed.
    lanes: Mutex<Option<mpsc::Sender<lane::Request>>>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
    readers: Mutex<Vec<Link>>,
    kept: Arc<Kept>,
    /// `None` once it is closed.
    changes: Mutex<Option<Changes>>,
    /// As many readers may work at once.
    turns: Semaphore,
    /// Whether the last change was written, as far as the server was there.
    healthy: Arc<AtomicBool>,
}

impl Postgres {
    /// Connects, and brings the tables to the version of `schema`: one process at a time.
    pub(super) async fn connect(
        url: &str,
        trust: &Trust,
        schema: Schema,
    ) -> Result<Self, StoreError> {
        let wants = (schema.name, schema.steps.len());
        let server = Arc::new(Server::new(url, trust, wants, schema.kept)?);
        let mut link = Link::connect(&server).await?;
        let made = tokio::time::timeout(SQL_SCHEMA, schema_of(&mut link, schema)).await;
        made.map_err(|_| StoreError::Io("database: its tables are not made in time".to_owned()))??;
        let (lanes, inbox) = mpsc::channel(STORE_QUEUE);
        let inbox = lane::Inbox::of(inbox);
        let lane = |_| tokio::spawn(lane::run(Arc::clone(&server), Arc::clone(&inbox)));
        let mut tasks: Vec<_> = (0..SQL_LANES).map(lane).collect();
        let (changes, counting) = Changes::start(Arc::clone(&server));
        tasks.push(counting);
        Ok(Self {
            kept: Kept::of(schema.kept),
            changes: Mutex::new(Some(changes)),
            server,
            lanes: Mutex::new(Some(lanes)),
            tasks: Mutex::new(tasks),
            readers: Mutex::default(),
            turns: Semaphore::new(SQL_READERS),
            healthy: Arc::new(AtomicBool::new(true)),
        })
    }

    pub(super) async fn query(&self, query: Statement) -> Result<Vec<Row>, StoreError> {
        if !self.kept.keeps(&query) {
            return self.read(&query).await;
        }
        let count = match one_count::known() {
            Some(count) => count,
            None => self.count().await?,
        };
        if let Some(rows) = self.kept.answer(&query, count) {
            return Ok(rows);
        }
        let rows = self.read(&query).await?;
        self.kept.keep(&query, count, &rows);
        Ok(rows)
    }

    /// The count of changes as of now.
    async fn count(&self) -> Result<u64, StoreError> {
        let changes = self.changes.lock().clone().ok_or(StoreError::Closed)?;
        let count = changes.count().await?;
        one_count::asked(count);
        Ok(count)
    }

    async fn read(&self, query: &Statement) -> Result<Vec<Row>, StoreError> {
        if self.lanes.lock().is_none() {
            return Err(StoreError::Closed);
        }
        let turn = tokio::time::timeout(SQL_ANSWER, self.turns.acquire()).await;
        let _turn = turn.map_err(|_| StoreError::Busy)?.map_err(|_| StoreError::Closed)?;
        let idle = self.readers.lock().pop().filter(|link| !link.is_closed());
        let mut link = match idle {
            Some(link) => link,
            None => Link::open(&self.server).await?,
        };
        // A caller that goes away drops the connection with the answer that is still to come.
        let rows = link.rows(query).await;
        if !matches!(rows, Err(StoreError::Io(_))) {
            self.readers.lock().push(link);
        }
        rows
    }

    pub(super) async fn commit(&self, batch: Batch) -> Result<(), StoreError> {
        let lanes = self.lanes.lock().clone().ok_or(StoreError::Closed)?;
        let (answer, answered) = oneshot::channel();
        let changes_kept = is_changed(self.server.kept(), &batch);
        lanes.try_send((batch, answer)).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => StoreError::Busy,
            mpsc::error::TrySendError::Closed(_) => StoreError::Closed,
        })?;
        let written = answered.await.unwrap_or(Err(StoreError::Closed));
        if changes_kept || written.is_err() {
            one_count::forget();
        }
        match &written {
            Ok(()) => self.healthy.store(true, Ordering::Release),
            Err(StoreError::Io(_) | StoreError::Full(_) | StoreError::Newer { .. }) => {
                self.try_again_until_written(&lanes);
            }
            Err(_) => {}
        }
        written
    }

    /// A process that is not ready gets no more calls: its health comes back by itself.
    fn try_again_until_written(&self, lanes: &mpsc::Sender<lane::Request>) {
        if !self.healthy.swap(false, Ordering::AcqRel) {
            return;
        }
        let (lanes, healthy) = (lanes.downgrade(), Arc::clone(&self.healthy));
        tokio::spawn(async move {
            while !healthy.load(Ordering::Acquire) {
                tokio::time::sleep(STORE_TRY_AGAIN).await;
                let Some(lanes) = lanes.upgrade() else { return };
                let (answer, answered) = oneshot::channel();
                if lanes.try_send((Batch::new(), answer)).is_ok() && answered.await == Ok(Ok(())) {
                    healthy.store(true, Ordering::Release);
                }
            }
        });
    }

    pub(super) fn is_healthy(&self) -> bool {
        self.healthy.load(Ordering::Acquire) && self.lanes.lock().is_some()
    }

    /// Lanes write what waits and end.
    pub(super) async fn close(&self) {
        drop(self.lanes.lock().take());
        drop(self.changes.lock().take());
        let tasks = std::mem::take(&mut *self.tasks.lock());
        for task in tasks {
            // A lane that panicked has nothing more to write.
            let _ = task.await;
        }
        self.readers.lock().clear();
    }
}

/// Steps are made under a lock of the database: processes that start at once wait for each other.
async fn schema_of(link: &mut Link, schema: Schema) -> Result<(), StoreError> {
    link.set(
        "BEGIN; SET LOCAL lock_timeout = 0; SET LOCAL statement_timeout = 0;
         SELECT pg_advisory_xact_lock(7239420201);
         CREATE TABLE IF NOT EXISTS tessera_version
             (service TEXT PRIMARY KEY, version BIGINT NOT NULL, changes BIGINT NOT NULL DEFAULT 0)",
    )
    .await?;
    let present = match link.rows(&version_of(schema.name)).await?.pop() {
        Some(mut row) => usize::try_from(row.number()?).unwrap_or(usize::MAX),
        None => 0,
    };
    if present > schema.steps.len() {
        link.set("ROLLBACK").await?;
        return Err(StoreError::Newer { found: present, known: schema.steps.len() });
    }
    for step in schema.steps.iter().skip(present) {
        link.set(&Dialect::Postgres.render(step)).await?;
    }
    let (name, version) = (schema.name, schema.steps.len());
    link.set(&format!(
        "INSERT INTO tessera_version (service, version) VALUES ('{name}', {version})
         ON CONFLICT (service) DO UPDATE SET version = excluded.version; COMMIT"
    ))
    .await
}
