//! The rows of a request with an Idempotency-Key and of its answer. The key of both is the hash of account, method, path and
//! Idempotency-Key.

use tessera_runtime::sql::{Record, Row, Value};
use tessera_runtime::store::StoreError;

/// The request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KeptRequest {
    pub(crate) account: String,
    /// Of the body.
    pub(crate) fingerprint: [u8; 32],
    pub(crate) expires: u64,
}

impl Record for KeptRequest {
    const TABLE: &'static str = "kept_requests";
    const KEY: &'static [&'static str] = &["scope"];
    const COLUMNS: &'static [&'static str] = &["account", "fingerprint", "expires"];

    fn values(&self) -> Vec<Value> {
        vec![self.account.as_str().into(), self.fingerprint.into(), self.expires.into()]
    }

    fn read(row: &mut Row) -> Result<Self, StoreError> {
        Ok(Self { account: row.text()?, fingerprint: row.array()?, expires: row.number()? })
    }
}

/// Its answer, sealed.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct KeptAnswer(pub(crate) Vec<u8>);

impl Record for KeptAnswer {
    const TABLE: &'static str = "kept_answers";
    const KEY: &'static [&'static str] = &["scope"];
    const COLUMNS: &'static [&'static str] = &["sealed"];

    fn values(&self) -> Vec<Value> {
        vec![self.0.as_slice().into()]
    }

    fn read(row: &mut Row) -> Result<Self, StoreError> {
        row.blob().map(Self)
    }
}
