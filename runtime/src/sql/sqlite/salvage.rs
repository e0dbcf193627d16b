//! The rest of a damaged database, in a new one: each row that can be read and is as it was written.
//!
//! The new one is made beside the old one and takes its name in one step. A process that ends before leaves the old one in
//! its place; one that ends behind it leaves a head that is not that of the database, which is told.

use std::io;
use std::path::{Path, PathBuf};

use super::engine::Link;
use super::open::{make, DATA, LOG};
use crate::random::Random;
use crate::sql::batch::Statement;
use crate::sql::schema::Schema;
use crate::sql::value::Value;
use crate::store::StoreError;

const NEW: &str = "salvaged.sqlite";

/// Puts a new database with the rows of `old`, a connection to the one that lies in `folder`, in its place.
pub(super) fn run(
    folder: &Path,
    old: Link,
    schema: Schema,
    random: &dyn Random,
) -> Result<(), StoreError> {
    let (data, new) = (folder.join(DATA), folder.join(NEW));
    for part in ["", "-wal", "-shm"] {
        remove(&folder.join(format!("{NEW}{part}")))?;
    }
    let mut link = make(&new, schema, random)?;
    let mut lost = Vec::new();
    link.transaction(|link| {
        for table in link.tables()? {
            let (mut kept, mut bent) = (0u64, 0u64);
            let mut take = |columns: &[(String, Value)], is_whole: bool| {
                match is_whole {
                    true => kept += add(link, &table, columns)?,
                    false => bent += 1,
                }
                Ok(())
            };
            // A damaged page ends the walk, so it comes from both ends.
            let there = old.each_row(&table, "", &mut take);
            let back = old.each_row(&table, "ORDER BY 1 DESC", &mut take);
            if there.is_err() || back.is_err() {
                lost.push(format!("{table}: {kept} rows kept, those of damaged pages lost"));
            } else if bent > 0 {
                lost.push(format!("{table}: {kept} rows kept, {} lost", bent / 2));
            }
        }
        Ok(())
    })?;
    // All of it is in the one file that gets the name, or there is an error here.
    link.move_all()?;
    link.close()?;
    // Where that is possible, the damaged file has all commits before it loses its log.
    if let Err(error) = old.move_all() {
        tracing::warn!(%error, "the log of the damaged database stays beside it");
    }
    old.close()?;
    let damaged = set_aside(folder)?;
    std::fs::rename(&new, &data)?;
    super::open::sync(folder)?;
    tracing::error!(
        lost = lost.join("; "),
        file = %damaged.display(),
        "the database was damaged: its readable rows are in a new one, the old one stays beside it"
    );
    Ok(())
}

/// Gives the file of the database a second name, under which it stays, and its log the name that goes with it. No earlier
/// one is replaced.
pub(super) fn set_aside(folder: &Path) -> Result<PathBuf, StoreError> {
    let named = |number: u32| folder.join(format!("damaged-{number}.sqlite"));
    let damaged = (1..=u32::MAX).map(named).find(|path| !path.exists());
    let damaged = damaged.unwrap_or_else(|| named(0));
    let data = folder.join(DATA);
    if std::fs::hard_link(&data, &damaged).is_err() {
        // Not every file system has second names.
        std::fs::copy(&data, &damaged)?;
        std::fs::File::open(&damaged)?.sync_all()?;
    }
    let mut log = damaged.clone().into_os_string();
    log.push("-wal");
    match std::fs::rename(folder.join(LOG), log) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    super::open::sync(folder)?;
    Ok(damaged)
}

fn remove(path: &Path) -> Result<(), StoreError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

/// Adds a row that is not there yet; how many were added.
fn add(link: &Link, table: &str, columns: &[(String, Value)]) -> Result<u64, StoreError> {
    let names: Vec<&str> = columns.iter().map(|(name, _)| name.as_str()).collect();
    let places: Vec<String> = (1..=columns.len()).map(|at| format!("${at}")).collect();
    let (names, places) = (names.join(", "), places.join(", "));
    let sql = format!("INSERT OR IGNORE INTO {table} ({names}) VALUES ({places})");
    let values = columns.iter().map(|(_, value)| value.clone()).collect();
    let added = link.run(&Statement { table: "", sql: sql.into(), values })?;
    Ok(u64::try_from(added).unwrap_or(u64::MAX))
}
