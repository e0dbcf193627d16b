use std::sync::Arc;

use serde::de::DeserializeOwned;

use super::core::Core;
use super::error::StoreError;
use super::{record, Row};
use crate::limits;

/// A named part of a store, read directly and written by batches.
#[derive(Clone)]
pub struct Table {
    core: Arc<Core>,
    name: &'static str,
    prefix: Arc<[u8]>,
}

impl Table {
    pub(super) fn new(core: Arc<Core>, name: &'static str) -> Result<Self, StoreError> {
        let length = u8::try_from(name.len()).map_err(|_| StoreError::BadTable)?;
        if name.is_empty() || name.len() > limits::STORE_TABLE_NAME_BYTES {
            return Err(StoreError::BadTable);
        }
        let prefix = [&[length], name.as_bytes()].concat();
        Ok(Self { core, name, prefix: prefix.into() })
    }

    /// Its name.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The value of a row.
    ///
    /// # Errors
    /// [`StoreError::Io`], [`StoreError::Closed`].
    pub fn get(&self, key: impl AsRef<[u8]>) -> Result<Option<Vec<u8>>, StoreError> {
        self.core.get(&self.full_key(key.as_ref()))
    }

    /// Whether the row is there.
    ///
    /// # Errors
    /// As [`Table::get`].
    pub fn contains(&self, key: impl AsRef<[u8]>) -> Result<bool, StoreError> {
        Ok(self.get(key)?.is_some())
    }

    /// A row as a record.
    ///
    /// # Errors
    /// As [`Table::get`], and [`StoreError::Damaged`].
    pub fn get_record<T: DeserializeOwned>(
        &self,
        key: impl AsRef<[u8]>,
    ) -> Result<Option<T>, StoreError> {
        let bytes = self.get(key)?;
        bytes.map(|bytes| self.decode(&bytes)).transpose()
    }

    /// A value of this table as a record.
    ///
    /// # Errors
    /// [`StoreError::Damaged`].
    pub fn decode<T: DeserializeOwned>(&self, value: &[u8]) -> Result<T, StoreError> {
        record::decode(self.name, value)
    }

    /// At most `limit` rows (and at most [`limits::STORE_SCAN_ROWS`]) whose keys begin with `prefix`, in key order,
    /// from the first key behind `after`.
    ///
    /// # Errors
    /// As [`Table::get`].
    pub fn scan_prefix(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Row>, StoreError> {
        let full = self.full_key(prefix);
        let after = after.map(|key| self.full_key(key));
        let rows = self.core.scan(&full, after.as_deref(), limit.min(limits::STORE_SCAN_ROWS))?;
        Ok(rows.into_iter().map(|(key, value)| (self.own_key(&key), value)).collect())
    }

    /// As [`Table::scan_prefix`], as records.
    ///
    /// # Errors
    /// As [`Table::get_record`].
    pub fn scan_records<T: DeserializeOwned>(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Vec<u8>, T)>, StoreError> {
        let rows = self.scan_prefix(prefix, after, limit)?;
        rows.into_iter().map(|(key, value)| Ok((key, self.decode(&value)?))).collect()
    }

    /// All rows whose keys begin with `prefix`, from the first key behind `after`, in key order. They are read in pages of
    /// [`limits::STORE_SCAN_ROWS`], so a commit may come between two of them. Ends behind the first error.
    pub fn rows(&self, prefix: &[u8], after: Option<&[u8]>) -> Rows<'_> {
        let after = after.map(<[u8]>::to_vec);
        Rows { table: Some(self), prefix: prefix.to_vec(), after, page: Vec::new().into_iter() }
    }

    /// As [`Table::rows`], as records.
    pub fn records<T: DeserializeOwned>(
        &self,
        prefix: &[u8],
    ) -> impl Iterator<Item = Result<(Vec<u8>, T), StoreError>> + '_ {
        self.rows(prefix, None).map(|row| {
            let (key, value) = row?;
            Ok((key, self.decode(&value)?))
        })
    }

    /// All rows whose keys begin with `prefix`, at most `most`, as records and as of one moment: no commit comes between
    /// two of them, as it may between two scans. For parts of a table whose size something else bounds.
    ///
    /// # Errors
    /// As [`Table::get_record`].
    pub fn scan_whole<T: DeserializeOwned>(
        &self,
        prefix: &[u8],
        most: usize,
    ) -> Result<Vec<(Vec<u8>, T)>, StoreError> {
        let rows = self.core.scan(&self.full_key(prefix), None, most)?;
        rows.into_iter()
            .map(|(key, value)| Ok((self.own_key(&key), self.decode(&value)?)))
            .collect()
    }

    /// The row with the highest key that begins with `prefix`.
    ///
    /// # Errors
    /// As [`Table::get`].
    pub fn last(&self, prefix: &[u8]) -> Result<Option<Row>, StoreError> {
        let row = self.core.last(&self.full_key(prefix))?;
        Ok(row.map(|(key, value)| (self.own_key(&key), value)))
    }

    /// How many rows there are. Reads the whole table: not for a request path.
    ///
    /// # Errors
    /// As [`Table::get`].
    pub fn len(&self) -> Result<usize, StoreError> {
        self.core.count(&self.prefix)
    }

    /// Whether there is no row.
    ///
    /// # Errors
    /// As [`Table::get`].
    pub fn is_empty(&self) -> Result<bool, StoreError> {
        Ok(self.last(&[])?.is_none())
    }

    pub(super) fn full_key(&self, key: &[u8]) -> Vec<u8> {
        [&self.prefix, key].concat()
    }

    fn own_key(&self, full: &[u8]) -> Vec<u8> {
        full.get(self.prefix.len()..).unwrap_or_default().to_vec()
    }
}

/// See [`Table::rows`].
pub struct Rows<'a> {
    /// `None` when there is no further page.
    table: Option<&'a Table>,
    prefix: Vec<u8>,
    /// The key before the next page.
    after: Option<Vec<u8>>,
    page: std::vec::IntoIter<Row>,
}

impl Iterator for Rows<'_> {
    type Item = Result<Row, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(row) = self.page.next() {
            return Some(Ok(row));
        }
        let table = self.table.take()?;
        match table.scan_prefix(&self.prefix, self.after.as_deref(), limits::STORE_SCAN_ROWS) {
            Ok(page) => {
                let (last, _) = page.last()?;
                (self.after, self.table) = (Some(last.clone()), Some(table));
                self.page = page.into_iter();
                self.page.next().map(Ok)
            }
            Err(error) => Some(Err(error)),
        }
    }
}
