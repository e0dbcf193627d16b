//! The rest of a damaged database, in a new one: each row that can be read and is as it was written.

use std::path::Path;

use super::engine::Link;
use super::head::Head;
use super::open::{found, DATA};
use crate::random::Random;
use crate::sql::batch::Statement;
use crate::sql::schema::Schema;
use crate::sql::value::Value;
use crate::store::StoreError;

/// The damaged one stays in the folder under this name.
const DAMAGED: &str = "damaged.sqlite";

/// Makes a new database in `folder` with the rows of `old`, a connection to the one that lies there.
pub(super) fn run(
    folder: &Path,
    old: Link,
    schema: Schema,
    random: &dyn Random,
) -> Result<(Link, Head), StoreError> {
    // The log goes into the file when its last connection is closed.
    old.close()?;
    let damaged = folder.join(DAMAGED);
    std::fs::rename(folder.join(DATA), &damaged)?;
    let (mut link, head) = found(folder, schema, random)?;
    let old = Link::to_file(&damaged)?;
    let mut lost = Vec::new();
    link.transaction(|link| {
        for table in link.tables()? {
            let take = |columns: &[(String, Value)], is_whole: bool| match is_whole {
                true => add(link, &table, columns),
                false => Ok(()),
            };
            // A damaged page ends the walk, so it comes from both ends.
            let walks = ["", "ORDER BY 1 DESC"].map(|order| old.each_row(&table, order, take));
            if walks.iter().any(Result::is_err) {
                lost.push(table);
            }
        }
        Ok(())
    })?;
    tracing::error!(
        tables = lost.join(" "),
        file = %damaged.display(),
        "the database was damaged: its readable rows are in a new one, the old one stays beside it"
    );
    Ok((link, head))
}

fn add(link: &Link, table: &str, columns: &[(String, Value)]) -> Result<(), StoreError> {
    let names: Vec<&str> = columns.iter().map(|(name, _)| name.as_str()).collect();
    let places: Vec<String> = (1..=columns.len()).map(|at| format!("${at}")).collect();
    let (names, places) = (names.join(", "), places.join(", "));
    let sql = format!("INSERT OR IGNORE INTO {table} ({names}) VALUES ({places})");
    let values = columns.iter().map(|(_, value)| value.clone()).collect();
    link.run(&Statement { table: "", sql: sql.into(), values }).map(drop)
}
