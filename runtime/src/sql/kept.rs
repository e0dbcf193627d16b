//! Answers of small tables that are kept in memory until one of these tables is written.
//!
//! Changes of these tables are counted. An answer is kept with the count from before its query, and is good as long as that
//! is the count: so what was acknowledged is seen. The writer of a database that one process has counts in memory, after
//! the change is in the database and before it is answered; in a database on a server the count is a row, which is
//! written with the change.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::limits::{SQL_KEPT, SQL_KEPT_ROWS};
use crate::sql::batch::{Batch, Statement};
use crate::sql::value::{Row, Value};

/// A query: its text and its values.
type Asked = (Arc<str>, Vec<Value>);

/// The count of a change and the rows that were read.
type Answer = (u64, Vec<Vec<Value>>);

/// Answers, each to its query.
pub(super) struct Kept {
    tables: &'static [&'static str],
    changes: AtomicU64,
    answers: Mutex<HashMap<Asked, Answer>>,
}

impl Kept {
    pub(super) fn of(tables: &'static [&'static str]) -> Arc<Self> {
        Arc::new(Self { tables, changes: AtomicU64::new(0), answers: Mutex::default() })
    }

    /// Whether answers of this query are kept.
    pub(super) fn keeps(&self, query: &Statement) -> bool {
        self.tables.contains(&query.table)
    }

    /// The count of changes in this process, when answers of this query are kept.
    pub(super) fn count_for(&self, query: &Statement) -> Option<u64> {
        self.keeps(query).then(|| self.changes.load(Ordering::Acquire))
    }

    /// The answer that is still good.
    pub(super) fn answer(&self, query: &Statement, count: u64) -> Option<Vec<Row>> {
        let answers = self.answers.lock();
        let asked = (Arc::clone(&query.sql), query.values.clone());
        let (kept, rows) = answers.get(&asked)?;
        let of = |values: &Vec<Value>| Row::new(query.table, values.clone());
        (*kept == count).then(|| rows.iter().map(of).collect())
    }

    /// Keeps an answer whose query began at this count.
    pub(super) fn keep(&self, query: &Statement, count: u64, rows: &[Row]) {
        if rows.len() > SQL_KEPT_ROWS {
            return;
        }
        let rows = rows.iter().map(|row| row.rest().to_vec()).collect();
        let mut answers = self.answers.lock();
        if answers.len() >= SQL_KEPT {
            answers.clear();
        }
        answers.insert((Arc::clone(&query.sql), query.values.clone()), (count, rows));
    }

    /// Called when a batch may be in the database, before that is answered.
    pub(super) fn written(&self, batch: &Batch) {
        if is_changed(self.tables, batch) {
            self.changes.fetch_add(1, Ordering::AcqRel);
        }
    }
}

/// Whether the batch writes one of these tables.
pub(super) fn is_changed(tables: &[&str], batch: &Batch) -> bool {
    batch.writes.iter().any(|write| tables.contains(&write.table))
}
