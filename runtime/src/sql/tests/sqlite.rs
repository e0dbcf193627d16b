use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tessera_token::time::UnixSeconds;

use super::suite::{self, put};
use super::{key, Thing, KEPT, NEXT, SCHEMA};
use crate::clock::ManualClock;
use crate::random::SeededRandom;
use crate::sql::{Database, Schema};
use crate::store::{Opened, StoreError, StoreOptions};

fn open_with(folder: &Path, options: &StoreOptions) -> Result<(Database, Opened), StoreError> {
    open_as(folder, SCHEMA, options)
}

fn open_as(
    folder: &Path,
    schema: Schema,
    options: &StoreOptions,
) -> Result<(Database, Opened), StoreError> {
    let clock = ManualClock::at(UnixSeconds::new(1_800_000_000));
    Database::open(folder, schema, options, clock, &SeededRandom::predictable(7))
}

pub(super) fn open(folder: &Path) -> Database {
    open_with(folder, &StoreOptions::default()).unwrap().0
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_suite_on_sqlite() {
    the_suite(SCHEMA).await;
}

/// Answers that are kept are those of the database.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_suite_on_sqlite_with_kept_answers() {
    the_suite(KEPT).await;
}

async fn the_suite(schema: Schema) {
    let folder = tempfile::tempdir().unwrap();
    let options = StoreOptions::default();
    let fresh = |name: &str| open_as(&folder.path().join(name), schema, &options).unwrap().0;
    suite::rows_come_back_by_key_and_in_order(&fresh("a")).await;
    suite::a_batch_whose_expectations_do_not_hold_changes_nothing(&fresh("b")).await;
    suite::batches_that_wait_together_are_answered_apart(&fresh("c")).await;
    suite::numbers_and_values_that_no_column_holds_are_refused(&fresh("d")).await;
    suite::a_closed_database_says_so(&fresh("e")).await;
    let one = fresh("f");
    suite::changes_that_rest_on_what_was_read_lose_nothing([&one, &one]).await;
    suite::one_of_many_adds_a_row([&one, &one]).await;
}

#[tokio::test]
async fn what_was_answered_is_there_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let database = open(folder.path());
    put(&database, "a", 1).await;
    database.close().await.unwrap();
    let database = open(folder.path());
    assert!(database.table::<Thing>().contains(key("t", "a")).await.unwrap());
    database.close().await.unwrap();
}

#[tokio::test]
async fn a_folder_has_one_process() {
    let folder = tempfile::tempdir().unwrap();
    let database = open(folder.path());
    let second = open_with(folder.path(), &StoreOptions::default());
    assert_eq!(second.err(), Some(StoreError::Locked(folder.path().to_owned())));
    database.close().await.unwrap();
    open(folder.path()).close().await.unwrap();
}

/// The open names the missing part, and only `accept_loss` goes on without it.
#[tokio::test]
async fn a_database_that_holds_less_than_its_head_does_not_open() {
    let folder = tempfile::tempdir().unwrap();
    let old = tempfile::tempdir().unwrap();
    let database = open(folder.path());
    put(&database, "a", 1).await;
    database.close().await.unwrap();
    let data = folder.path().join("data.sqlite");
    std::fs::copy(&data, old.path().join("data")).unwrap();
    let database = open(folder.path());
    put(&database, "b", 2).await;
    put(&database, "c", 3).await;
    database.close().await.unwrap();

    let lost = |folder: &Path| match open_with(folder, &StoreOptions::default()) {
        Err(StoreError::Lost(loss)) => loss.missing.join(","),
        other => panic!("{:?}", other.map(|(_, opened)| opened)),
    };
    std::fs::copy(old.path().join("data"), &data).unwrap();
    assert_eq!(lost(folder.path()), "the last 2 commits are missing");
    assert_eq!(lost(folder.path()), "the last 2 commits are missing", "nothing was changed");
    let accept = StoreOptions { accept_loss: true, ..StoreOptions::default() };
    let (database, opened) = open_with(folder.path(), &accept).unwrap();
    assert!(opened.accepted.is_some());
    assert!(database.table::<Thing>().contains(key("t", "a")).await.unwrap());
    database.close().await.unwrap();
    open(folder.path()).close().await.unwrap();

    std::fs::remove_file(folder.path().join("head")).unwrap();
    assert_eq!(lost(folder.path()), "the file `head` is gone");
    open_with(folder.path(), &accept).unwrap().0.close().await.unwrap();
    std::fs::write(&data, b"no database at all, but some bytes in its place").unwrap();
    assert!(lost(folder.path()).starts_with("the database cannot be read"));
    std::fs::remove_file(&data).unwrap();
    assert!(lost(folder.path()).starts_with("the database is gone; --accept-loss"));
    let (database, opened) = open_with(folder.path(), &accept).unwrap();
    assert!(opened.founded && opened.accepted.is_some());
    assert_eq!(database.table::<Thing>().count().await.unwrap(), 0);
    database.close().await.unwrap();
}

/// A power cut may leave an older head. Commits are counted on from the database, so an older copy of it is known.
#[tokio::test]
async fn a_head_that_lags_behind_is_brought_up() {
    let folder = tempfile::tempdir().unwrap();
    let (head, data) = (folder.path().join("head"), folder.path().join("data.sqlite"));
    let database = open(folder.path());
    put(&database, "a", 1).await;
    database.close().await.unwrap();
    let old_head = std::fs::read(&head).unwrap();
    let database = open(folder.path());
    for number in 2..10 {
        put(&database, &number.to_string(), number).await;
    }
    database.close().await.unwrap();
    let copy = std::fs::read(&data).unwrap();
    std::fs::write(&head, old_head).unwrap();
    let database = open(folder.path());
    put(&database, "last", 99).await;
    database.close().await.unwrap();
    std::fs::write(&data, copy).unwrap();
    let lost = open_with(folder.path(), &StoreOptions::default()).err();
    assert!(matches!(lost, Some(StoreError::Lost(_))), "{lost:?}");
}

/// A founding that was cut off begins again; a database that must be there is a loss.
#[tokio::test]
async fn a_file_without_tables_is_a_founding_or_a_loss() {
    for has_head in [true, false] {
        let folder = tempfile::tempdir().unwrap();
        open(folder.path()).close().await.unwrap();
        std::fs::write(folder.path().join("data.sqlite"), b"").unwrap();
        if !has_head {
            std::fs::remove_file(folder.path().join("head")).unwrap();
        }
        let must = StoreOptions { must_exist: true, ..StoreOptions::default() };
        assert!(matches!(open_with(folder.path(), &must).err(), Some(StoreError::Lost(_))));
        let (database, opened) = open_with(folder.path(), &StoreOptions::default()).unwrap();
        assert!(opened.founded);
        put(&database, "a", 1).await;
        database.close().await.unwrap();
        open(folder.path()).close().await.unwrap();
    }
}

#[tokio::test]
async fn a_copy_is_whole_and_opens_by_itself() {
    let folder = tempfile::tempdir().unwrap();
    let database = open(folder.path());
    for number in 0..50u64 {
        put(&database, &number.to_string(), number).await;
    }
    let to = folder.path().join("copy");
    database.copy_to(&to).unwrap();
    put(&database, "later", 99).await;
    database.close().await.unwrap();
    let copy = open(&to);
    let things = copy.table::<Thing>();
    assert_eq!(things.count().await.unwrap(), 50);
    assert_eq!(copy.faults().unwrap(), Vec::<String>::new());
    copy.close().await.unwrap();
}

/// Each version of the tables that was ever released becomes the present one; a newer one is refused.
#[tokio::test]
async fn older_tables_are_brought_to_the_present_version() {
    let folder = tempfile::tempdir().unwrap();
    let database = open(folder.path());
    put(&database, "a", 1).await;
    database.close().await.unwrap();
    let (clock, random) = (ManualClock::at(UnixSeconds::new(1)), SeededRandom::predictable(7));
    let options = StoreOptions::default();
    let (database, _) = Database::open(folder.path(), NEXT, &options, clock, &random).unwrap();
    assert!(database.table::<Thing>().contains(key("t", "a")).await.unwrap());
    database.close().await.unwrap();
    let older = open_with(folder.path(), &options).err();
    assert_eq!(older, Some(StoreError::Newer { found: 2, known: 1 }));
}

/// A byte of the file that is another one: the open tells it, or every row is as it was. Rows that are left after
/// `accept_loss` are as they were too.
#[tokio::test]
async fn a_flipped_bit_is_told_or_harms_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let database = open(folder.path());
    for number in 0..150u64 {
        put(&database, &format!("name-{number}"), number).await;
    }
    let all = database.table::<Thing>().scan(&[], None, 1_000).await.unwrap();
    database.close().await.unwrap();
    let whole = std::fs::read(folder.path().join("data.sqlite")).unwrap();
    let (mut told, mut kept) = (0, 0);
    for at in (0..whole.len()).step_by(37) {
        let bent = tempfile::tempdir().unwrap();
        std::fs::copy(folder.path().join("head"), bent.path().join("head")).unwrap();
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << (at % 8);
        let data = bent.path().join("data.sqlite");
        std::fs::write(&data, &bytes).unwrap();
        std::fs::set_permissions(bent.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
        match open_with(bent.path(), &StoreOptions::default()) {
            Ok((database, _)) => {
                let rows = database.table::<Thing>().scan(&[], None, 1_000).await.unwrap();
                assert!(rows == all, "byte {at}: a row is another one");
                database.close().await.unwrap();
            }
            Err(StoreError::Lost(_)) => {
                told += 1;
                let accept = StoreOptions { accept_loss: true, ..StoreOptions::default() };
                let (database, opened) = open_with(bent.path(), &accept).unwrap();
                assert!(opened.accepted.is_some());
                let rows = database.table::<Thing>().scan(&[], None, 1_000).await.unwrap();
                assert!(
                    rows.iter().all(|row| all.contains(row)),
                    "byte {at}: a row is another one"
                );
                kept += usize::from(!rows.is_empty());
                put(&database, "new", 1_000).await;
                database.close().await.unwrap();
                open(bent.path()).close().await.unwrap();
            }
            // A version or a name that is no longer ours: nothing is opened.
            Err(StoreError::Io(_) | StoreError::Newer { .. } | StoreError::Damaged { .. }) => {}
            Err(error) => panic!("byte {at}: {error}"),
        }
    }
    assert!(told > 100 && kept > 50, "told {told}, kept {kept}");
}

/// The log of a killed process is not put over an older file.
#[tokio::test]
async fn a_file_that_is_older_than_its_log_does_not_open() {
    let (folder, old) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let data = folder.path().join("data.sqlite");
    let database = open(folder.path());
    put(&database, "a", 1).await;
    database.close().await.unwrap();
    std::fs::copy(&data, old.path().join("data")).unwrap();
    let database = open(folder.path());
    put(&database, "b", 2).await;
    database.close().await.unwrap();
    let database = open(folder.path());
    put(&database, "c", 3).await;
    // As a kill leaves it: the log is beside the file.
    let killed = tempfile::tempdir().unwrap();
    std::fs::set_permissions(killed.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
    for name in ["head", "data.sqlite", "data.sqlite-wal"] {
        std::fs::copy(folder.path().join(name), killed.path().join(name)).unwrap();
    }
    database.close().await.unwrap();
    std::fs::copy(old.path().join("data"), killed.path().join("data.sqlite")).unwrap();
    let lost = open_with(killed.path(), &StoreOptions::default()).err();
    let Some(StoreError::Lost(loss)) = lost else { panic!("{lost:?}") };
    assert_eq!(loss.missing, ["the database file is older than its log"]);
}

/// A refused open and a second one after it find the same files: the log with the commits that can be saved is there.
#[tokio::test]
async fn a_refused_open_leaves_the_log_as_it_was() {
    let (folder, killed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    std::fs::set_permissions(killed.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
    let database = open(folder.path());
    for number in 0..20u64 {
        put(&database, &number.to_string(), number).await;
    }
    for name in ["head", "data.sqlite", "data.sqlite-wal"] {
        std::fs::copy(folder.path().join(name), killed.path().join(name)).unwrap();
    }
    database.close().await.unwrap();
    let log = killed.path().join("data.sqlite-wal");
    let mut bytes = std::fs::read(&log).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&log, &bytes).unwrap();
    for _ in 0..2 {
        let lost = open_with(killed.path(), &StoreOptions::default()).err();
        assert!(matches!(lost, Some(StoreError::Lost(_))), "{lost:?}");
        assert!(std::fs::read(&log).unwrap() == bytes, "the log is as it was");
    }
}
