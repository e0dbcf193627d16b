//! Marks: counters and states of the service itself, each under its name, as JSON.

use serde::de::DeserializeOwned;
use serde::Serialize;
use tessera_runtime::sql::{Batch, Database, Key, Record, Row, Table, Value};
use tessera_runtime::store::StoreError;

/// The row of a mark.
pub(crate) struct Mark(String);

impl Record for Mark {
    const TABLE: &'static str = "marks";
    const KEY: &'static [&'static str] = &["name"];
    const COLUMNS: &'static [&'static str] = &["value"];

    fn values(&self) -> Vec<Value> {
        vec![self.0.as_str().into()]
    }

    fn read(row: &mut Row) -> Result<Self, StoreError> {
        row.text().map(Self)
    }
}

impl Mark {
    fn of<T: Serialize>(value: &T) -> Self {
        // Numbers, texts and hashes: each of them is JSON.
        Self(serde_json::to_string(value).unwrap_or_default())
    }

    fn value<T: DeserializeOwned>(&self) -> Result<T, StoreError> {
        let of = |error: serde_json::Error| StoreError::Damaged {
            table: Self::TABLE,
            why: error.to_string(),
        };
        serde_json::from_str(&self.0).map_err(of)
    }
}

/// The table of marks.
#[derive(Clone)]
pub(crate) struct Marks(Table<Mark>);

impl Marks {
    pub(crate) fn of(database: &Database) -> Self {
        Self(database.table())
    }

    /// The rows as they are.
    pub(crate) fn table(&self) -> &Table<Mark> {
        &self.0
    }

    pub(crate) async fn get<T: DeserializeOwned>(
        &self,
        name: &str,
    ) -> Result<Option<T>, StoreError> {
        self.0.get(key(name)).await?.map(|mark| mark.value()).transpose()
    }

    /// At most `limit` marks whose names begin with `prefix`.
    pub(crate) async fn beginning_with<T: DeserializeOwned>(
        &self,
        prefix: &str,
        limit: usize,
    ) -> Result<Vec<(String, T)>, StoreError> {
        let rows = self.0.scan(&[], Some(&key(prefix)), limit).await?;
        let named = rows.into_iter().filter_map(|(key, mark)| match key.into_iter().next() {
            Some(Value::Text(name)) => Some((name, mark)),
            _ => None,
        });
        let named = named.take_while(|(name, _)| name.starts_with(prefix));
        named.map(|(name, mark)| Ok((name, mark.value()?))).collect()
    }

    pub(crate) fn put<T: Serialize>(&self, batch: &mut Batch, name: &str, value: &T) {
        batch.put(&self.0, key(name), &Mark::of(value));
    }

    /// Demands that the mark is as it was read; a batch that demands that there is none must put it.
    pub(crate) fn expect_same<T: Serialize>(
        &self,
        batch: &mut Batch,
        name: &str,
        read: Option<&T>,
    ) {
        batch.expect_same(&self.0, key(name), read.map(Mark::of).as_ref());
    }

    pub(crate) fn delete(&self, batch: &mut Batch, name: &str) {
        batch.delete(&self.0, key(name));
    }
}

fn key(name: &str) -> Key {
    vec![name.into()]
}
