//! Rows of rules, and of their tests against recorded observations.

use tessera_runtime::sql::{Record, Row, Value};
use tessera_runtime::store::StoreError;

/// A rule of a tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RuleRecord {
    /// The rule as verifiers have it.
    pub(crate) body: Vec<u8>,
    /// The end of its life.
    pub(crate) ends: u64,
    /// Since when its condition, selector and action run in shadow or are enforced; `None` before.
    pub(crate) tried_since: Option<u64>,
    pub(crate) changed: u64,
    pub(crate) made_by: String,
    /// A form that waits for a second operator, and the first one.
    pub(crate) next: Option<(Vec<u8>, String)>,
}

impl Record for RuleRecord {
    const TABLE: &'static str = "rules";
    const KEY: &'static [&'static str] = &["tenant", "rule"];
    const COLUMNS: &'static [&'static str] =
        &["body", "ends", "tried_since", "changed", "made_by", "next_body", "next_by"];

    fn values(&self) -> Vec<Value> {
        let (next, by) = self.next.clone().unzip();
        vec![
            self.body.as_slice().into(),
            self.ends.into(),
            self.tried_since.into(),
            self.changed.into(),
            self.made_by.as_str().into(),
            next.as_deref().into(),
            by.as_deref().into(),
        ]
    }

    fn read(row: &mut Row) -> Result<Self, StoreError> {
        Ok(Self {
            body: row.blob()?,
            ends: row.number()?,
            tried_since: row.maybe_number()?,
            changed: row.number()?,
            made_by: row.text()?,
            next: row.maybe_blob()?.zip(row.maybe_text()?),
        })
    }
}

/// A test of a rule against recorded observations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RuleTest {
    pub(crate) tested: u64,
    /// Devices of the tenant in the observations.
    pub(crate) devices: u64,
    /// Those that the rule would have met.
    pub(crate) matched: u64,
    pub(crate) made_by: String,
}

impl Record for RuleTest {
    const TABLE: &'static str = "rule_tests";
    const KEY: &'static [&'static str] = &["tenant", "substance"];
    const COLUMNS: &'static [&'static str] = &["tested", "devices", "matched", "made_by"];

    fn values(&self) -> Vec<Value> {
        vec![
            self.tested.into(),
            self.devices.into(),
            self.matched.into(),
            self.made_by.as_str().into(),
        ]
    }

    fn read(row: &mut Row) -> Result<Self, StoreError> {
        Ok(Self {
            tested: row.number()?,
            devices: row.number()?,
            matched: row.number()?,
            made_by: row.text()?,
        })
    }
}
