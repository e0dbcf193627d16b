//! How many claims of a tenant are open.

use tessera_runtime::sql::{Record, Row, Value};
use tessera_runtime::store::StoreError;

/// The index of open claims, and its condition (`schema/15.sql`).
pub(crate) const OPEN: (&str, &str) =
    ("claims_by_open", "used_at IS NULL AND (uses IS NULL OR uses_made < uses)");

/// No fewer than the open claims of a tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ClaimCount {
    /// Those that were counted, and those made since. Of those that closed since only deleted ones are taken off.
    pub(crate) open: u64,
    /// When they were counted.
    pub(crate) counted: u64,
}

impl Record for ClaimCount {
    const TABLE: &'static str = "claim_counts";
    const KEY: &'static [&'static str] = &["tenant"];
    const COLUMNS: &'static [&'static str] = &["open", "counted"];

    fn values(&self) -> Vec<Value> {
        vec![self.open.into(), self.counted.into()]
    }

    fn read(row: &mut Row) -> Result<Self, StoreError> {
        Ok(Self { open: row.number()?, counted: row.number()? })
    }
}
