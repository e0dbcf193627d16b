//! The row of a request for a new key that waits for an operator.

use tessera_runtime::sql::{Record, Row, Value};
use tessera_runtime::store::StoreError;

/// A device, or a peer that says so, has lost its key and shows a new one. The key of the row is tenant, device and the
/// thumbprint of the new key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RekeyRecord {
    /// Record form of the new public key.
    pub(crate) key: Vec<u8>,
    pub(crate) asked: u64,
    pub(crate) expires: u64,
}

impl Record for RekeyRecord {
    const TABLE: &'static str = "rekey_requests";
    const KEY: &'static [&'static str] = &["tenant", "device", "thumbprint"];
    const COLUMNS: &'static [&'static str] = &["public_key", "asked", "expires"];

    fn values(&self) -> Vec<Value> {
        vec![self.key.as_slice().into(), self.asked.into(), self.expires.into()]
    }

    fn read(row: &mut Row) -> Result<Self, StoreError> {
        Ok(Self { key: row.blob()?, asked: row.number()?, expires: row.number()? })
    }
}
