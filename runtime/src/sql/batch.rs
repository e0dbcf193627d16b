//! Changes that are made all or not at all, and what must hold for them.

use std::sync::Arc;

use super::table::{Key, Record, Table};
use super::value::Value;
use crate::limits;
use crate::store::StoreError;

/// Rows to put, to add and to delete, and rows that must be as they were read.
#[derive(Clone, Default)]
pub struct Batch {
    pub(super) expects: Vec<Expect>,
    pub(super) writes: Vec<Statement>,
    /// Rows that must not be there, and whether they are added.
    absent: Vec<(&'static str, Key, bool)>,
    problem: Option<StoreError>,
}

/// A statement with its values.
#[derive(Clone)]
pub(super) struct Statement {
    pub(super) table: &'static str,
    pub(super) sql: Arc<str>,
    pub(super) values: Vec<Value>,
}

/// A query that must find a row, or none.
#[derive(Clone)]
pub(super) struct Expect {
    pub(super) query: Statement,
    pub(super) finds: bool,
    /// Whether nothing may change the row before the batch is committed.
    pub(super) holds: bool,
}

impl Batch {
    /// A batch that does nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts a row in the place of the one with this key, if there is one. After [`Batch::expect_absent`] it is added.
    pub fn put<R: Record>(&mut self, table: &Table<R>, key: Key, record: &R) {
        let is_it = |one: &&mut (&str, Key, bool)| one.0 == R::TABLE && one.1 == key;
        match self.absent.iter_mut().find(is_it).filter(|(_, _, is_added)| !is_added) {
            // The database itself refuses a second one: two processes may have seen that there is none.
            Some((_, _, is_added)) => {
                *is_added = true;
                self.write(table.insert(key, record));
            }
            None => self.write(table.put(key, record)),
        }
    }

    /// Adds a row. The batch is refused when there is one with this key.
    pub fn insert<R: Record>(&mut self, table: &Table<R>, key: Key, record: &R) {
        self.expect_absent(table, key.clone());
        self.put(table, key, record);
    }

    /// Adds a row with a key that is new. The database refuses the batch when there is one with this key: for rows whose keys
    /// are never given twice.
    pub fn add<R: Record>(&mut self, table: &Table<R>, key: Key, record: &R) {
        self.write(table.insert(key, record));
    }

    /// Deletes a row; one that is not there stays away.
    pub fn delete<R: Record>(&mut self, table: &Table<R>, key: Key) {
        self.write(table.delete(key));
    }

    /// Demands that a row is as it was read: all columns.
    pub fn expect<R: Record>(&mut self, table: &Table<R>, key: Key, record: &R) {
        self.demand(table.finds_record(key, record), true);
    }

    /// As [`Batch::expect`], without holding the row: on a server, another process may change it between the look and the
    /// commit. For a row that many batches rest on at once, whose change is followed by one that ends what rests on it.
    pub fn expect_unheld<R: Record>(&mut self, table: &Table<R>, key: Key, record: &R) {
        let query = table.finds_record(key, record);
        if self.takes(&query) {
            self.expects.push(Expect { query, finds: true, holds: false });
        }
    }

    /// Demands that there is no row with this key. The batch must add it: nothing else holds its place.
    pub fn expect_absent<R: Record>(&mut self, table: &Table<R>, key: Key) {
        self.absent.push((R::TABLE, key.clone(), false));
        self.demand(table.finds(key), false);
    }

    /// Demands that there is no row with this key, as far as this process knows: on a server, another process may add it at
    /// the same moment.
    pub fn expect_missing<R: Record>(&mut self, table: &Table<R>, key: Key) {
        self.demand(table.finds(key), false);
    }

    /// Demands what was read: a row that was there, or that there was none.
    pub fn expect_same<R: Record>(&mut self, table: &Table<R>, key: Key, read: Option<&R>) {
        match read {
            Some(record) => self.expect(table, key, record),
            None => self.expect_absent(table, key),
        }
    }

    /// Adds everything of `other` behind what is here.
    pub fn append(&mut self, other: Self) {
        self.expects.extend(other.expects);
        self.writes.extend(other.writes);
        self.absent.extend(other.absent);
        if let Some(problem) = other.problem {
            self.problem.get_or_insert(problem);
        }
    }

    /// Whether it neither writes nor demands anything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.expects.is_empty() && self.writes.is_empty()
    }

    pub(super) fn check(&self) -> Result<(), StoreError> {
        if let Some(problem) = &self.problem {
            return Err(problem.clone());
        }
        if let Some((table, ..)) = self.absent.iter().find(|(_, _, is_added)| !is_added) {
            let what = format!("a row of {table} must be absent and is not added");
            return Err(StoreError::Encode(what));
        }
        match self.expects.len() + self.writes.len() {
            0..=limits::STORE_BATCH_STEPS => Ok(()),
            _ => Err(StoreError::TooLarge("batch")),
        }
    }

    /// Bytes of what it writes, about.
    pub(super) fn bytes(&self) -> usize {
        self.writes.iter().flat_map(|write| &write.values).map(Value::bytes).sum()
    }

    fn write(&mut self, statement: Statement) {
        if self.takes(&statement) {
            self.writes.push(statement);
        }
    }

    fn demand(&mut self, query: Statement, finds: bool) {
        if self.takes(&query) {
            self.expects.push(Expect { query, finds, holds: true });
        }
    }

    fn takes(&mut self, statement: &Statement) -> bool {
        let problem = if statement.values.contains(&Value::Unfit) {
            StoreError::TooLarge("number")
        } else if statement.values.iter().any(Value::has_zero) {
            StoreError::Encode("a text with a zero byte".to_owned())
        } else if statement.values.iter().any(|value| value.bytes() > limits::STORE_VALUE_BYTES) {
            StoreError::TooLarge("value")
        } else {
            return true;
        };
        self.problem.get_or_insert(problem);
        false
    }
}
