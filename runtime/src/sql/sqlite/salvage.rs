//! The rest of a damaged database, in a new one: each row that can be read and is as it was written.
//!
//! The new one is made beside the old one and takes its name in one step. A process that ends in between leaves the old
//! one in its place, and begins again; one that ends behind it leaves a head that is not that of the database, which is
//! told.

use std::io;
use std::path::Path;

use super::engine::Link;
use super::open::{make, DATA};
use crate::random::Random;
use crate::sql::batch::Statement;
use crate::sql::schema::Schema;
use crate::sql::value::Value;
use crate::store::StoreError;

/// The damaged one stays in the folder under this name.
const DAMAGED: &str = "damaged.sqlite";
const NEW: &str = "salvaged.sqlite";

/// Puts a new database with the rows of `old`, a connection to the one that lies in `folder`, in its place.
pub(super) fn run(
    folder: &Path,
    old: Link,
    schema: Schema,
    random: &dyn Random,
) -> Result<(), StoreError> {
    // The log goes into the file when its last connection is closed.
    old.close()?;
    let (data, new) = (folder.join(DATA), folder.join(NEW));
    remove(&new)?;
    let (mut link, _) = make(&new, schema, random)?;
    let old = Link::to_file(&data)?;
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
    link.close()?;
    old.close()?;
    set_aside(folder)?;
    std::fs::rename(&new, &data)?;
    super::open::sync(folder)?;
    tracing::error!(
        tables = lost.join(" "),
        file = %folder.join(DAMAGED).display(),
        "the database was damaged: its readable rows are in a new one, the old one stays beside it"
    );
    Ok(())
}

/// Gives the file of the database a second name, under which it stays; a former one of that name goes.
pub(super) fn set_aside(folder: &Path) -> Result<(), StoreError> {
    let damaged = folder.join(DAMAGED);
    remove(&damaged)?;
    Ok(std::fs::hard_link(folder.join(DATA), damaged)?)
}

fn remove(path: &Path) -> Result<(), StoreError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

fn add(link: &Link, table: &str, columns: &[(String, Value)]) -> Result<(), StoreError> {
    let names: Vec<&str> = columns.iter().map(|(name, _)| name.as_str()).collect();
    let places: Vec<String> = (1..=columns.len()).map(|at| format!("${at}")).collect();
    let (names, places) = (names.join(", "), places.join(", "));
    let sql = format!("INSERT OR IGNORE INTO {table} ({names}) VALUES ({places})");
    let values = columns.iter().map(|(_, value)| value.clone()).collect();
    link.run(&Statement { table: "", sql: sql.into(), values }).map(drop)
}
