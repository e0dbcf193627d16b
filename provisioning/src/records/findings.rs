use serde::Serialize;
use tessera_runtime::sql::{Record, Row, Value};
use tessera_runtime::store::StoreError;

/// One thing that a reader knew and this service did not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    /// `tenant`, `group`, `device`, `token` or `key`.
    pub(crate) kind: String,
    pub(crate) tenant: String,
    pub(crate) subject: String,
    pub(crate) epoch: u64,
    /// The action taken: `revoked`, `raised`, `cut`, or `unknown` when this service does not know the subject.
    pub(crate) done: String,
    /// Seconds.
    pub(crate) at: u64,
}

/// The row of a finding, without its key.
pub(crate) struct FindingRow {
    pub(crate) epoch: u64,
    pub(crate) done: String,
    pub(crate) at: u64,
}

impl Record for FindingRow {
    const TABLE: &'static str = "findings";
    const KEY: &'static [&'static str] = &["tenant", "kind", "subject"];
    const COLUMNS: &'static [&'static str] = &["epoch", "done", "found_at"];

    fn values(&self) -> Vec<Value> {
        vec![self.epoch.into(), self.done.as_str().into(), self.at.into()]
    }

    fn read(row: &mut Row) -> Result<Self, StoreError> {
        Ok(Self { epoch: row.number()?, done: row.text()?, at: row.number()? })
    }
}
