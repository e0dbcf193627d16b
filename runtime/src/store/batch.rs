use serde::Serialize;

use super::engine::Changes;
use super::error::StoreError;
use super::record;
use super::table::Table;
use crate::limits;

/// Puts, deletes and preconditions over any tables of one store, applied all or not at all.
#[derive(Default)]
pub struct Batch {
    pub(super) expects: Vec<Expect>,
    pub(super) writes: Vec<Write>,
    problem: Option<StoreError>,
}

pub(super) struct Expect {
    pub(super) table: &'static str,
    pub(super) key: Vec<u8>,
    pub(super) wanted: Option<Vec<u8>>,
}

pub(super) struct Write {
    pub(super) key: Vec<u8>,
    pub(super) value: Option<Vec<u8>>,
}

impl Batch {
    /// A batch that does nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether it waits for what was written before, and does nothing itself.
    pub(super) fn is_barrier(&self) -> bool {
        self.expects.is_empty() && self.writes.is_empty()
    }

    /// Sets a row.
    pub fn put(&mut self, table: &Table, key: impl AsRef<[u8]>, value: impl Into<Vec<u8>>) {
        let value = value.into();
        if value.len() > limits::STORE_VALUE_BYTES {
            self.fail(StoreError::TooLarge("value"));
            return;
        }
        self.write(table, key.as_ref(), Some(value));
    }

    /// Sets a row to a record.
    pub fn put_record<T: Serialize>(&mut self, table: &Table, key: impl AsRef<[u8]>, record: &T) {
        match record::encode(record) {
            Ok(bytes) => self.put(table, key, bytes),
            Err(error) => self.fail(error),
        }
    }

    /// Removes a row; one that is not there stays away.
    pub fn delete(&mut self, table: &Table, key: impl AsRef<[u8]>) {
        self.write(table, key.as_ref(), None);
    }

    /// Demands that the row holds exactly `wanted` (`None`: that it is absent) at the moment of the write.
    pub fn expect(&mut self, table: &Table, key: impl AsRef<[u8]>, wanted: Option<Vec<u8>>) {
        if let Some(key) = self.full_key(table, key.as_ref()) {
            self.expects.push(Expect { table: table.name(), key, wanted });
        }
    }

    /// Demands that the row is absent.
    pub fn expect_absent(&mut self, table: &Table, key: impl AsRef<[u8]>) {
        self.expect(table, key, None);
    }

    /// Demands that the row holds exactly this record.
    pub fn expect_record<T: Serialize>(
        &mut self,
        table: &Table,
        key: impl AsRef<[u8]>,
        record: &T,
    ) {
        match record::encode(record) {
            Ok(bytes) => self.expect(table, key, Some(bytes)),
            Err(error) => self.fail(error),
        }
    }

    /// Adds everything of `other` behind what is here.
    pub fn append(&mut self, other: Batch) {
        self.expects.extend(other.expects);
        self.writes.extend(other.writes);
        if let Some(problem) = other.problem {
            self.fail(problem);
        }
    }

    /// Whether it neither writes nor demands anything.
    pub fn is_empty(&self) -> bool {
        self.expects.is_empty() && self.writes.is_empty()
    }

    /// Bytes of what it writes.
    pub(super) fn bytes(&self) -> usize {
        let value = |write: &Write| write.value.as_ref().map_or(0, Vec::len);
        self.writes.iter().map(|write| write.key.len() + value(write)).sum()
    }

    /// Puts back what was taken out of it to be written, each key once.
    pub(super) fn take_back(&mut self, changes: Changes) {
        self.writes = changes.into_iter().map(|(key, value)| Write { key, value }).collect();
    }

    pub(super) fn check(&self) -> Result<(), StoreError> {
        if let Some(problem) = &self.problem {
            return Err(problem.clone());
        }
        match self.expects.len() + self.writes.len() {
            0..=limits::STORE_BATCH_STEPS => Ok(()),
            _ => Err(StoreError::TooLarge("batch")),
        }
    }

    fn write(&mut self, table: &Table, key: &[u8], value: Option<Vec<u8>>) {
        if let Some(key) = self.full_key(table, key) {
            self.writes.push(Write { key, value });
        }
    }

    fn full_key(&mut self, table: &Table, key: &[u8]) -> Option<Vec<u8>> {
        if key.len() > limits::STORE_KEY_BYTES {
            self.fail(StoreError::TooLarge("key"));
            return None;
        }
        Some(table.full_key(key))
    }

    fn fail(&mut self, error: StoreError) {
        self.problem.get_or_insert(error);
    }
}
