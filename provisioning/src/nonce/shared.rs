//! Used nonces in rows, for processes that share a database.

use tessera_runtime::sql::{Batch, Database, Key, Record, Row, Table, Value};
use tessera_runtime::store::StoreError;
use tessera_token::refusal::RefusalCode;

use super::Known;
use crate::limits::{SWEEP_ROWS, USED_NONCE_SECONDS};
use crate::refused::Refused;

/// The row of a used nonce.
struct UsedNonce {
    made: u64,
}

impl Record for UsedNonce {
    const TABLE: &'static str = "used_nonces";
    const KEY: &'static [&'static str] = &["nonce"];
    const COLUMNS: &'static [&'static str] = &["made"];

    fn values(&self) -> Vec<Value> {
        vec![self.made.into()]
    }

    fn read(row: &mut Row) -> Result<Self, StoreError> {
        Ok(Self { made: row.number()? })
    }
}

/// The table of used nonces.
pub(super) struct UsedShared {
    database: Database,
    table: Table<UsedNonce>,
}

impl UsedShared {
    pub(super) fn of(database: &Database) -> Self {
        Self { database: database.clone(), table: database.table() }
    }

    pub(super) async fn has(&self, known: &Known) -> Result<bool, StoreError> {
        self.table.contains(key(known)).await
    }

    /// Remembers it, durably: of two processes that are shown the same one, the database refuses one.
    pub(super) async fn add(&self, known: &Known) -> Result<(), Refused> {
        let mut batch = Batch::new();
        batch.add(&self.table, key(known), &UsedNonce { made: known.made });
        match self.database.commit(batch).await {
            Ok(()) => Ok(()),
            Err(StoreError::Conflict { .. }) => Err(RefusalCode::NonceInvalid.into()),
            Err(error) => Err(error.into()),
        }
    }

    /// Rows stay far longer than a nonce is good: a clock that is set back by less brings none back.
    pub(super) async fn sweep(&self, removal: u64) -> Result<(), StoreError> {
        let before = removal.saturating_sub(USED_NONCE_SECONDS);
        let ended = self.table.up_to("made", before, SWEEP_ROWS).await?;
        let mut batch = Batch::new();
        for (key, _) in ended {
            batch.delete(&self.table, key);
        }
        match batch.is_empty() {
            true => Ok(()),
            false => self.database.commit(batch).await,
        }
    }
}

fn key(known: &Known) -> Key {
    vec![known.body.into()]
}
