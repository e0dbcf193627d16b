use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tessera_token::time::UnixSeconds;

use super::engine::Link;
use super::head::Head;
use super::log::Mover;
use super::writer::Writer;
use crate::clock::ManualClock;
use crate::limits::STORE_TRY_AGAIN;
use crate::sql::batch::{Batch, Statement};
use crate::sql::kept::Kept;
use crate::sql::value::Value;
use crate::store::StoreError;

/// A database of which SQLite takes at most so many pages, as on a disk that is full.
fn small(folder: &Path, pages: u32) -> (Writer, Arc<ManualClock>) {
    let file = folder.join("data.sqlite");
    let link = Link::to_write(&file).unwrap();
    link.set(&format!(
        "CREATE TABLE tessera_store (one INTEGER PRIMARY KEY, id BLOB, commits INTEGER) STRICT;
         INSERT INTO tessera_store VALUES (1, zeroblob(16), 0);
         CREATE TABLE rows (number INTEGER PRIMARY KEY, body BLOB) STRICT;
         PRAGMA max_page_count = {pages}"
    ))
    .unwrap();
    let head = Head::make(&folder.join("head"), [0; 16], 0).unwrap();
    let clock = ManualClock::at(UnixSeconds::new(1_800_000_000));
    let mover = Mover::start(&file).unwrap();
    let log = folder.join("data.sqlite-wal");
    (Writer::start(link, head, mover, (log, clock.clone(), Kept::of(&[]))).unwrap(), clock)
}

fn batch(sql: &str, values: Vec<Value>) -> Batch {
    let mut batch = Batch::new();
    batch.writes.push(Statement { table: "rows", sql: sql.into(), values });
    batch
}

fn row(number: u64) -> Batch {
    batch("INSERT INTO rows VALUES ($1, $2)", vec![number.into(), vec![7; 2_000].into()])
}

fn count(folder: &Path) -> i64 {
    Link::to_read(&folder.join("data.sqlite")).unwrap().number("SELECT COUNT(*) FROM rows").unwrap()
}

#[tokio::test]
async fn a_full_disk_refuses_changes_and_takes_them_again_when_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    let (writer, clock) = small(folder.path(), 40);
    let mut rows = 0;
    let full = loop {
        match writer.commit(row(rows)).await {
            Ok(()) => rows += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(full, StoreError::Full(_)), "{full}");
    assert!(rows > 10 && writer.is_full() && !writer.is_healthy());
    assert_eq!(count(folder.path()), i64::try_from(rows).unwrap(), "the refused row is absent");

    // It would find room, and is no try: of all callers, one a second is one.
    let delete = || batch("DELETE FROM rows WHERE number < $1", vec![10u64.into()]);
    assert!(matches!(writer.commit(delete()).await, Err(StoreError::Full(_))));
    clock.advance(STORE_TRY_AGAIN + Duration::from_millis(1));
    writer.commit(delete()).await.unwrap();
    assert!(writer.is_healthy() && !writer.is_full());
    writer.commit(row(0)).await.unwrap();
    assert_eq!(count(folder.path()), i64::try_from(rows - 10 + 1).unwrap());
    writer.stop().unwrap();
}

/// An error of which the outcome is unknown ends all writing: the next start decides.
#[tokio::test]
async fn nothing_is_written_after_an_error_that_is_no_refusal() {
    let folder = tempfile::tempdir().unwrap();
    let (writer, _) = small(folder.path(), 1_000);
    let wrong = batch("INSERT INTO no_such_table VALUES ($1)", vec![1u64.into()]);
    assert!(matches!(writer.commit(wrong).await, Err(StoreError::Io(_))));
    assert!(!writer.is_healthy() && !writer.is_full());
    assert_eq!(writer.commit(row(1)).await, Err(StoreError::Poisoned));
    assert_eq!(count(folder.path()), 0);
    assert_eq!(writer.stop(), Err(StoreError::Poisoned));
}
