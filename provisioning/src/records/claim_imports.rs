//! Rows of imports of claims: what their codes follow from beside their keys, and which lines have had a claim.

use serde::{Deserialize, Serialize};
use tessera_runtime::sql::{Record, Row, Value};
use tessera_runtime::store::StoreError;

use super::words::{json, read_json};

/// An import of claims. The codes of another import by the same key, once this row has gone, are others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ClaimImportRecord {
    /// Random bytes.
    pub(crate) salt: [u8; 32],
    /// When a claim was made by it last.
    pub(crate) touched: u64,
    pub(crate) made: Lines,
}

/// Numbers of lines, as ranges in their order that do not touch each other: first and last.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Lines(Vec<(u64, u64)>);

impl Lines {
    pub(crate) fn contain(&self, line: u64) -> bool {
        let behind = self.0.partition_point(|(first, _)| *first <= line);
        let before = behind.checked_sub(1).and_then(|at| self.0.get(at));
        before.is_some_and(|(_, last)| line <= *last)
    }

    pub(crate) fn add(&mut self, line: u64) {
        if self.contain(line) {
            return;
        }
        self.0.push((line, line));
        self.0.sort_unstable();
        let mut joined: Vec<(u64, u64)> = Vec::with_capacity(self.0.len());
        for (first, last) in self.0.drain(..) {
            match joined.last_mut() {
                Some((_, end)) if first <= end.saturating_add(1) => *end = last.max(*end),
                _ => joined.push((first, last)),
            }
        }
        self.0 = joined;
    }

    /// How many ranges there are.
    pub(crate) fn ranges(&self) -> usize {
        self.0.len()
    }
}

/// Tenant, SHA-256 of account, tenant and Idempotency-Key.
impl Record for ClaimImportRecord {
    const TABLE: &'static str = "claim_imports";
    const KEY: &'static [&'static str] = &["tenant", "import"];
    const COLUMNS: &'static [&'static str] = &["salt", "touched", "made"];

    fn values(&self) -> Vec<Value> {
        vec![self.salt.into(), self.touched.into(), json(&self.made)]
    }

    fn read(row: &mut Row) -> Result<Self, StoreError> {
        Ok(Self { salt: row.array()?, touched: row.number()?, made: read_json(row)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_ranges_that_join() {
        let mut lines = Lines::default();
        for line in [5, 1, 2, 9, 8, 3, 5, 4] {
            lines.add(line);
        }
        assert_eq!(lines.0, [(1, 5), (8, 9)]);
        let all: Vec<u64> = (0..12).filter(|line| lines.contain(*line)).collect();
        assert_eq!(all, [1, 2, 3, 4, 5, 8, 9]);
        assert_eq!(lines.ranges(), 2);
        lines.add(u64::MAX);
        lines.add(u64::MAX);
        assert!(lines.contain(u64::MAX));
    }
}
