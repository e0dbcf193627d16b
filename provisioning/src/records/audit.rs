//! Rows of the audit log.

use tessera_runtime::sql::{Record, Row, Value};
use tessera_runtime::store::StoreError;

/// An entry of the audit log, before it has a place in the chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Seconds.
    pub(crate) at: u64,
    pub(crate) actor: String,
    /// `noun.verb`
    pub(crate) action: String,
    pub(crate) tenant: String,
    pub(crate) subject: String,
    pub(crate) detail: String,
}

impl Record for Entry {
    const TABLE: &'static str = "audit_waiting";
    const KEY: &'static [&'static str] = &["millis", "counter"];
    const COLUMNS: &'static [&'static str] =
        &["at", "actor", "action", "tenant", "subject", "detail"];

    fn values(&self) -> Vec<Value> {
        let Self { at, actor, action, tenant, subject, detail } = self;
        let texts = [actor, action, tenant, subject, detail];
        std::iter::once((*at).into()).chain(texts.map(Value::from)).collect()
    }

    fn read(row: &mut Row) -> Result<Self, StoreError> {
        Ok(Self {
            at: row.number()?,
            actor: row.text()?,
            action: row.text()?,
            tenant: row.text()?,
            subject: row.text()?,
            detail: row.text()?,
        })
    }
}

/// An entry in its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Chained {
    pub(crate) entry: Entry,
    pub(crate) previous: [u8; 32],
    pub(crate) hash: [u8; 32],
}

impl Record for Chained {
    const TABLE: &'static str = "audit_entries";
    const KEY: &'static [&'static str] = &["number"];
    const COLUMNS: &'static [&'static str] =
        &["at", "actor", "action", "tenant", "subject", "detail", "previous", "hash"];
    const INDEXES: &'static [(&'static str, &'static [&'static str])] =
        &[("audit_entries_by_subject", &["tenant", "subject", "number"])];

    fn values(&self) -> Vec<Value> {
        let mut values = self.entry.values();
        values.extend([self.previous.into(), self.hash.into()]);
        values
    }

    fn read(row: &mut Row) -> Result<Self, StoreError> {
        Ok(Self { entry: Entry::read(row)?, previous: row.array()?, hash: row.array()? })
    }
}
