use tessera_runtime::store::{Batch, Row, Store, StoreError, Table, Then};
use tessera_token::proof::Place;

use super::memory::bucket_of;
use super::name::Name;
use crate::limits;

const TABLE: &str = "proofs_ahead";

/// Rows of proofs whose time is not reserved, or not any more: under bucket and name, the highest place.
pub(super) struct AheadRows {
    store: Store,
    table: Table,
}

impl AheadRows {
    pub(super) fn new(store: &Store) -> Result<Self, StoreError> {
        Ok(Self { store: store.clone(), table: store.table(TABLE)? })
    }

    /// Queues the row of a proof, in the place of an earlier one of the same name. On an error `then` is given back.
    pub(super) fn put<F>(
        &self,
        name: &Name,
        place: Place,
        then: F,
    ) -> Result<(), (StoreError, Then)>
    where
        F: FnOnce(Result<(), StoreError>) + Send + 'static,
    {
        self.put_all(&[(*name, place)], then)
    }

    /// As [`AheadRows::put`], for many.
    pub(super) fn put_all<F>(
        &self,
        places: &[(Name, Place)],
        then: F,
    ) -> Result<(), (StoreError, Then)>
    where
        F: FnOnce(Result<(), StoreError>) + Send + 'static,
    {
        let mut batch = Batch::new();
        for (name, place) in places {
            let bucket = bucket_of(place.second()).to_be_bytes();
            let key = [bucket.as_slice(), name].concat();
            batch.put(&self.table, key, place.number().to_be_bytes());
        }
        self.store.commit_then(batch, then)
    }

    /// The rows behind `after`, a page of them, with where to go on.
    pub(super) fn page(&self, after: Option<&[u8]>) -> Result<Vec<Row>, StoreError> {
        self.table.scan_prefix(&[], after, limits::LEDGER_STEP_ROWS)
    }

    /// Removes rows as they were read: one that was replaced meanwhile stays.
    pub(super) async fn remove(&self, rows: &[Row]) -> Result<(), StoreError> {
        let mut batch = Batch::new();
        for (key, value) in rows {
            batch.expect(&self.table, key, Some(value.clone()));
            batch.delete(&self.table, key);
        }
        match self.store.commit(batch).await {
            Ok(()) | Err(StoreError::Conflict { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// Contents of a row: the name and its place. `None` for a row that is none; the seconds of its bucket are closed.
pub(super) fn read(row: &Row) -> Option<(Name, Place)> {
    let (key, value) = row;
    let (bucket, name) = key.split_first_chunk::<4>()?;
    let place = Place::from_number(u64::from_be_bytes(value.as_slice().try_into().ok()?));
    (bucket_of(place.second()) == u32::from_be_bytes(*bucket)).then_some(())?;
    Some((name.try_into().ok()?, place))
}

/// The bucket that a row is filed under.
pub(super) fn bucket(row: &Row) -> Option<u32> {
    row.0.split_first_chunk::<4>().map(|(bucket, _)| u32::from_be_bytes(*bucket))
}
