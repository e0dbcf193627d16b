//! PostgreSQL: several processes share one database. Any of them may stop at any time.
//!
//! Changes go through [`lane`]s, some connections that each write what waits; reads have connections of their own.

mod engine;
mod lane;
#[cfg(test)]
pub(super) mod testing;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot, Semaphore};

use self::engine::{Link, Server};
use super::batch::{Batch, Statement};
use super::schema::{Dialect, Schema};
use super::value::Row;
use crate::limits::{SQL_LANES, SQL_READERS, STORE_QUEUE};
use crate::store::StoreError;
use crate::tls::Trust;

/// A database on a server.
pub(super) struct Postgres {
    server: Arc<Server>,
    /// `None` once it is closed.
    lanes: Mutex<Option<mpsc::Sender<lane::Request>>>,
    readers: Mutex<Vec<Link>>,
    /// As many readers may work at once.
    turns: Semaphore,
    healthy: AtomicBool,
}

impl Postgres {
    /// Connects, and brings the tables to the version of `schema`: one process at a time.
    pub(super) async fn connect(
        url: &str,
        trust: &Trust,
        schema: Schema,
    ) -> Result<Self, StoreError> {
        let server = Arc::new(Server::new(url, trust)?);
        let mut link = Link::connect(&server).await?;
        schema_of(&mut link, schema).await?;
        let (lanes, inbox) = mpsc::channel(STORE_QUEUE);
        let inbox = Arc::new(tokio::sync::Mutex::new(inbox));
        for _ in 0..SQL_LANES {
            tokio::spawn(lane::run(Arc::clone(&server), Arc::clone(&inbox)));
        }
        Ok(Self {
            server,
            lanes: Mutex::new(Some(lanes)),
            readers: Mutex::new(vec![link]),
            turns: Semaphore::new(SQL_READERS),
            healthy: AtomicBool::new(true),
        })
    }

    pub(super) async fn query(&self, query: Statement) -> Result<Vec<Row>, StoreError> {
        if self.lanes.lock().is_none() {
            return Err(StoreError::Closed);
        }
        let _turn = self.turns.acquire().await.map_err(|_| StoreError::Closed)?;
        let idle = self.readers.lock().pop().filter(|link| !link.is_closed());
        let mut link = match idle {
            Some(link) => link,
            None => self.noted(Link::connect(&self.server).await)?,
        };
        // A caller that goes away drops the connection with the answer that is still to come.
        let rows = self.noted(link.rows(&query).await);
        self.readers.lock().push(link);
        rows
    }

    pub(super) async fn commit(&self, batch: Batch) -> Result<(), StoreError> {
        let lanes = self.lanes.lock().clone().ok_or(StoreError::Closed)?;
        let (answer, answered) = oneshot::channel();
        lanes.try_send((batch, answer)).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => StoreError::Busy,
            mpsc::error::TrySendError::Closed(_) => StoreError::Closed,
        })?;
        self.noted(answered.await.unwrap_or(Err(StoreError::Closed)))
    }

    /// Whether the last answer of the server was one.
    pub(super) fn is_healthy(&self) -> bool {
        self.healthy.load(Ordering::Acquire) && self.lanes.lock().is_some()
    }

    /// Lanes write what waits and end.
    pub(super) fn close(&self) {
        drop(self.lanes.lock().take());
    }

    fn noted<T>(&self, outcome: Result<T, StoreError>) -> Result<T, StoreError> {
        let failed = matches!(outcome, Err(StoreError::Io(_) | StoreError::Full(_)));
        self.healthy.store(!failed, Ordering::Release);
        outcome
    }
}

/// Steps are made under a lock of the database: processes that start at once wait for each other.
async fn schema_of(link: &mut Link, schema: Schema) -> Result<(), StoreError> {
    link.set(
        "BEGIN; SELECT pg_advisory_xact_lock(7239420201);
         CREATE TABLE IF NOT EXISTS tessera_version (service TEXT PRIMARY KEY, version BIGINT NOT NULL)",
    )
    .await?;
    let query = Statement {
        table: "tessera_version",
        sql: "SELECT version FROM tessera_version WHERE service = $1".into(),
        values: vec![schema.name.into()],
    };
    let present = match link.rows(&query).await?.pop() {
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
        "INSERT INTO tessera_version VALUES ('{name}', {version})
         ON CONFLICT (service) DO UPDATE SET version = excluded.version; COMMIT"
    ))
    .await
}
