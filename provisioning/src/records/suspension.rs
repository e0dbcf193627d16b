//! A suspension as it stands in the row of a device or a group: three columns that are NULL without one, as in older rows.

use tessera_runtime::sql::{Row, Value};
use tessera_runtime::store::StoreError;

/// A pause that an operator takes back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Suspension {
    pub(crate) at: u64,
    /// The account that suspended it.
    pub(crate) by: String,
    pub(crate) reason: Option<String>,
}

impl Suspension {
    pub(super) fn values(suspension: Option<&Self>) -> [Value; 3] {
        [
            suspension.map(|suspension| suspension.at).into(),
            suspension.map(|suspension| suspension.by.as_str()).into(),
            suspension.and_then(|suspension| suspension.reason.as_deref()).into(),
        ]
    }

    pub(super) fn read(row: &mut Row) -> Result<Option<Self>, StoreError> {
        let (at, by, reason) = (row.maybe_number()?, row.maybe_text()?, row.maybe_text()?);
        match (at, by) {
            (None, None) => Ok(None),
            (Some(at), Some(by)) => Ok(Some(Self { at, by, reason })),
            _ => Err(row.damaged("a part of a suspension")),
        }
    }
}
