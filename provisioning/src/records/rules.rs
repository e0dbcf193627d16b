//! Rows of rules, and of their tests against recorded observations.

use tessera_runtime::sql::{Record, Row, Value};
use tessera_runtime::store::StoreError;

use super::capped;

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

/// The counts of a rule at one verifier.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct RuleCount {
    /// Names the process whose counts these are.
    pub(crate) line: String,
    /// The version that is applied; 0 when none is.
    pub(crate) version: u64,
    /// Events since the process began: asked, matched, broken.
    pub(crate) counts: [u64; 3],
    /// The same of the processes before it.
    pub(crate) before: [u64; 3],
    pub(crate) suspended: bool,
    /// Why it is not applied.
    pub(crate) code: Option<String>,
    pub(crate) touched: u64,
}

impl RuleCount {
    /// These counts behind those that are known of the verifier: of another version they begin anew, of another process they
    /// are added, and of the same one they never go back.
    pub(crate) fn behind(&self, known: Option<&Self>) -> Self {
        let Some(known) = known.filter(|known| known.version == self.version) else {
            return self.clone();
        };
        let add = |one: [u64; 3], other: [u64; 3]| {
            let [a, b, c] = one;
            let [x, y, z] = other;
            [capped(a, x), capped(b, y), capped(c, z)]
        };
        if known.line != self.line {
            return Self { before: add(known.before, known.counts), ..self.clone() };
        }
        let ([a, b, c], [x, y, z]) = (self.counts, known.counts);
        Self { counts: [a.max(x), b.max(y), c.max(z)], before: known.before, ..self.clone() }
    }

    /// Events of all processes: asked, matched, broken.
    pub(crate) fn all(&self) -> [u64; 3] {
        let ([a, b, c], [x, y, z]) = (self.counts, self.before);
        [capped(a, x), capped(b, y), capped(c, z)]
    }
}

impl Record for RuleCount {
    const TABLE: &'static str = "rule_counts";
    const KEY: &'static [&'static str] = &["tenant", "rule", "verifier"];
    const COLUMNS: &'static [&'static str] = &[
        "line",
        "version",
        "asked",
        "matched",
        "broke",
        "asked_before",
        "matched_before",
        "broke_before",
        "suspended",
        "code",
        "touched",
    ];

    fn values(&self) -> Vec<Value> {
        let mut values: Vec<Value> = vec![self.line.as_str().into(), self.version.into()];
        values.extend(self.counts.iter().chain(&self.before).map(|count| (*count).into()));
        values.extend([
            u64::from(self.suspended).into(),
            self.code.as_deref().into(),
            self.touched.into(),
        ]);
        values
    }

    fn read(row: &mut Row) -> Result<Self, StoreError> {
        Ok(Self {
            line: row.text()?,
            version: row.number()?,
            counts: [row.number()?, row.number()?, row.number()?],
            before: [row.number()?, row.number()?, row.number()?],
            suspended: row.number()? != 0,
            code: row.maybe_text()?,
            touched: row.number()?,
        })
    }
}
