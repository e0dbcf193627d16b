//! An announced change as it stands in the row of a group: four columns that are NULL without one, as in older rows.

use tessera_runtime::sql::{Row, Value};
use tessera_runtime::store::StoreError;

/// A change of the devices of a group that an operator announced, so that it raises no alarm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Announcement {
    /// The second at which it is over.
    pub(crate) until: u64,
    pub(crate) at: u64,
    /// The account that announced it.
    pub(crate) by: String,
    pub(crate) reason: String,
}

impl Announcement {
    pub(super) fn values(announcement: Option<&Self>) -> [Value; 4] {
        [
            announcement.map(|one| one.until).into(),
            announcement.map(|one| one.at).into(),
            announcement.map(|one| one.by.as_str()).into(),
            announcement.map(|one| one.reason.as_str()).into(),
        ]
    }

    pub(super) fn read(row: &mut Row) -> Result<Option<Self>, StoreError> {
        let (until, at) = (row.maybe_number()?, row.maybe_number()?);
        let (by, reason) = (row.maybe_text()?, row.maybe_text()?);
        match (until, at, by, reason) {
            (None, None, None, None) => Ok(None),
            (Some(until), Some(at), Some(by), Some(reason)) => {
                Ok(Some(Self { until, at, by, reason }))
            }
            _ => Err(row.damaged("a part of an announcement")),
        }
    }
}
