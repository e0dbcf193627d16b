//! How many rows are open: claims and list entries that still give a device its role.

use tessera_runtime::sql::{Record, Table, Value};
use tessera_runtime::store::StoreError;

/// Rows that are read at a time.
const STEP: usize = 1000;

/// How many rows with these columns are open; the count ends at `most`.
pub(crate) async fn count<R: Record>(
    table: &Table<R>,
    columns: &[(&'static str, Value)],
    most: usize,
    is_open: impl Fn(&R) -> bool,
) -> Result<usize, StoreError> {
    let (mut found, mut after) = (0, None);
    loop {
        let rows = table.find(columns, after.as_deref(), STEP).await?;
        found += rows.iter().filter(|(_, record)| is_open(record)).count();
        after = rows.last().map(|(key, _)| key.clone());
        if rows.len() < STEP || found >= most {
            return Ok(found.min(most));
        }
    }
}
