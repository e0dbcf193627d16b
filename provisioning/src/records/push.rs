//! Processes that push tokens to brokers.

use tessera_runtime::sql::{Record, Row, Value};
use tessera_runtime::store::StoreError;

/// The process that has the turn at a broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PushTurn {
    /// The number that it drew at its start.
    pub(crate) process: [u8; 16],
    /// Rises for as long as it runs.
    pub(crate) beat: u64,
}

impl Record for PushTurn {
    const TABLE: &'static str = "push_turns";
    const KEY: &'static [&'static str] = &["broker"];
    const COLUMNS: &'static [&'static str] = &["process", "beat"];

    fn values(&self) -> Vec<Value> {
        vec![self.process.into(), self.beat.into()]
    }

    fn read(row: &mut Row) -> Result<Self, StoreError> {
        Ok(Self { process: row.array()?, beat: row.number()? })
    }
}
