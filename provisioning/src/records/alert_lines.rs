//! Lines of alerts: how far the alerts of a verifier were taken, so that none is taken twice.

use tessera_runtime::sql::{Record, Row, Value};
use tessera_runtime::store::StoreError;

/// A line of alerts of a verifier.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct AlertLine {
    /// The highest number that was taken. In the row of an account itself: the alerts of the hour.
    pub(crate) taken: u64,
    /// When it was taken last. In the row of an account itself: the hour.
    pub(crate) touched: u64,
}

impl Record for AlertLine {
    const TABLE: &'static str = "alert_lines";
    const KEY: &'static [&'static str] = &["account", "line"];
    const COLUMNS: &'static [&'static str] = &["taken", "touched"];

    fn values(&self) -> Vec<Value> {
        vec![self.taken.into(), self.touched.into()]
    }

    fn read(row: &mut Row) -> Result<Self, StoreError> {
        Ok(Self { taken: row.number()?, touched: row.number()? })
    }
}
