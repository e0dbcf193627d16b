//! Processes that read the trust feed under a verifier name, and the newest event that each has confirmed.

use tessera_runtime::sql::{Key, Record, Row, Value};
use tessera_runtime::store::StoreError;

use super::operators::Tenants;
use super::words::json;

/// Names the row of a process. The account is part of it: no other account confirms anything for this one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct VerifierKey {
    /// The name under which limits count.
    pub(crate) share: String,
    /// The account that reads.
    pub(crate) account: String,
    /// The verifier name.
    pub(crate) name: String,
    /// The number that the process drew at its start.
    pub(crate) reader: [u8; 16],
}

impl VerifierKey {
    pub(crate) fn row(&self) -> Key {
        let Self { share, account, name, reader } = self;
        vec![share.into(), account.into(), name.into(), (*reader).into()]
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct VerifierRow {
    /// `broker` or `gateway`, when the reader tells it.
    pub(crate) kind: Option<String>,
    /// Those of the account.
    pub(crate) tenants: Tenants,
    /// The newest event that it has confirmed.
    pub(crate) event: u64,
    /// Seconds.
    pub(crate) first_seen: u64,
    /// Seconds.
    pub(crate) last_seen: u64,
}

impl Record for VerifierRow {
    const TABLE: &'static str = "verifiers";
    const KEY: &'static [&'static str] = &["share", "account", "verifier", "reader"];
    const COLUMNS: &'static [&'static str] =
        &["kind", "tenants", "event", "first_seen", "last_seen"];

    fn values(&self) -> Vec<Value> {
        vec![
            self.kind.as_deref().into(),
            match &self.tenants {
                Tenants::All => Value::Null,
                Tenants::These(these) => json(these),
            },
            self.event.into(),
            self.first_seen.into(),
            self.last_seen.into(),
        ]
    }

    fn read(row: &mut Row) -> Result<Self, StoreError> {
        Ok(Self {
            kind: row.maybe_text()?,
            tenants: match row.maybe_text()? {
                None => Tenants::All,
                Some(these) => Tenants::These(
                    serde_json::from_str(&these).map_err(|error| row.damaged(error.to_string()))?,
                ),
            },
            event: row.number()?,
            first_seen: row.number()?,
            last_seen: row.number()?,
        })
    }
}
