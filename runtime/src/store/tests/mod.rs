use std::io::{BufRead, BufReader, Write as _};
use std::process::{Command, Stdio};
use std::sync::mpsc::sync_channel;

use serde::{Deserialize, Serialize};

use super::testing::LossyDisk;
use super::*;
use crate::random::{number, SystemRandom};

mod broken;
mod faults;
mod full;

fn open() -> (tempfile::TempDir, Store, Table) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let table = store.table("rows").unwrap();
    (folder, store, table)
}

fn put(table: &Table, key: &[u8], value: &[u8]) -> Batch {
    let mut batch = Batch::new();
    batch.put(table, key, value);
    batch
}

#[tokio::test]
async fn rows_survive_a_reopen() {
    let (folder, store, table) = open();
    store.commit(put(&table, b"a", b"1")).await.unwrap();
    store.close().unwrap();
    assert_eq!(table.get(b"a"), Err(StoreError::Closed));
    assert_eq!(store.commit(Batch::new()).await, Err(StoreError::Closed));
    for _ in 0..5 {
        let again = Store::open(folder.path()).unwrap();
        assert_eq!(again.table("rows").unwrap().get(b"a").unwrap().unwrap(), b"1");
        again.close().unwrap();
    }
}

#[tokio::test]
async fn tables_do_not_touch() {
    let (_folder, store, table) = open();
    let other = store.table("row").unwrap();
    let mut batch = put(&table, b"k", b"1");
    batch.put(&other, b"sk", b"2");
    store.commit(batch).await.unwrap();
    assert_eq!(other.scan_prefix(b"", None, 10).unwrap(), [(b"sk".to_vec(), b"2".to_vec())]);
    assert_eq!((table.len().unwrap(), other.len().unwrap()), (1, 1));
    assert!(store.table("none").unwrap().is_empty().unwrap());
    assert!(store.table("").is_err());
}

#[tokio::test]
async fn scans_page_in_order() {
    let (_folder, store, table) = open();
    let mut batch = Batch::new();
    for n in 0..25u8 {
        batch.put(&table, [b'p', n], vec![n]);
    }
    batch.put(&table, b"q", b"x");
    store.commit(batch).await.unwrap();
    let mut after: Option<Vec<u8>> = None;
    let mut seen = Vec::new();
    loop {
        let page = table.scan_prefix(b"p", after.as_deref(), 10).unwrap();
        let Some((key, _)) = page.last() else { break };
        after = Some(key.clone());
        seen.extend(page.into_iter().map(|(_, value)| value[0]));
    }
    assert_eq!(seen, (0..25).collect::<Vec<u8>>());
    assert_eq!(table.last(b"p").unwrap().unwrap().1, [24]);
    assert_eq!(table.scan_prefix(b"p", Some(b"a"), 1).unwrap().len(), 1);
}

#[test]
fn all_rows_are_read_over_pages_and_an_error_ends_them() {
    let (_folder, store, table) = open();
    let rows = u32::try_from(crate::limits::STORE_SCAN_ROWS).unwrap() * 2;
    let mut batch = Batch::new();
    for n in 0..rows {
        batch.put(&table, [b"p".as_slice(), &n.to_be_bytes()].concat(), b"");
    }
    batch.put(&table, b"q", b"x");
    store.commit_blocking(batch).unwrap();
    let number =
        |row: Result<Row, StoreError>| u32::from_be_bytes(row.unwrap().0[1..].try_into().unwrap());
    assert!(table.rows(b"p", None).map(number).eq(0..rows));
    let after = [b"p".as_slice(), &14_999u32.to_be_bytes()].concat();
    assert!(table.rows(b"p", Some(&after)).map(number).eq(15_000..rows));
    assert_eq!(table.rows(b"", None).count(), rows as usize + 1);
    assert_eq!(table.rows(b"r", None).count(), 0);
    assert!(matches!(
        table.records::<Device>(b"").next(),
        Some(Err(StoreError::Damaged { table: "rows", .. }))
    ));
    let mut left = table.rows(b"", None);
    let first = left.next().map(|row| row.map(|(key, _)| key));
    assert_eq!(first, Some(Ok(b"p\0\0\0\0".to_vec())));
    store.close().unwrap();
    let left: Vec<_> = left.filter(Result::is_err).collect();
    assert_eq!(left, [Err(StoreError::Closed)]);
}

#[derive(Serialize, Deserialize, PartialEq, Debug)]
struct Device {
    name: String,
    epoch: u32,
}

#[tokio::test]
async fn records_and_damage() {
    let (_folder, store, table) = open();
    let device = Device { name: "a".into(), epoch: 3 };
    let mut batch = Batch::new();
    batch.put_record(&table, b"ok", &device);
    batch.put(&table, b"bad", vec![0xff, 0x00]);
    store.commit(batch).await.unwrap();
    assert_eq!(table.get_record::<Device>(b"ok").unwrap().unwrap(), device);
    assert!(matches!(
        table.get_record::<Device>(b"bad"),
        Err(StoreError::Damaged { table: "rows", .. })
    ));
    let mut right = put(&table, b"ok", b"");
    right.expect_record(&table, b"ok", &device);
    store.commit(right).await.unwrap();
}

#[tokio::test]
async fn a_failed_precondition_writes_nothing() {
    let (_folder, store, table) = open();
    store.commit(put(&table, b"a", b"1")).await.unwrap();
    let mut batch = put(&table, b"b", b"2");
    batch.expect_absent(&table, b"a");
    assert_eq!(store.commit(batch).await, Err(StoreError::Conflict { table: "rows" }));
    assert!(!table.contains(b"b").unwrap());
    let mut batch = put(&table, b"b", b"2");
    batch.expect(&table, b"a", Some(b"1".to_vec()));
    store.commit(batch).await.unwrap();
    assert!(store.is_healthy());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_claimants_one_wins() {
    let (_folder, store, table) = open();
    let tasks: Vec<_> = (0..64u8)
        .map(|n| {
            let (store, table) = (store.clone(), table.clone());
            tokio::spawn(async move {
                let mut batch = put(&table, b"claim", &[n]);
                batch.expect_absent(&table, b"claim");
                store.commit(batch).await
            })
        })
        .collect();
    let mut won = 0;
    for task in tasks {
        won += usize::from(task.await.unwrap().is_ok());
    }
    assert_eq!(won, 1);
}

#[tokio::test]
async fn limits_are_told_and_change_nothing() {
    let (_folder, store, table) = open();
    let long = vec![0; crate::limits::STORE_KEY_BYTES + 1];
    assert_eq!(store.commit(put(&table, &long, b"")).await, Err(StoreError::TooLarge("key")));
    let large = vec![0; crate::limits::STORE_VALUE_BYTES + 1];
    assert_eq!(store.commit(put(&table, b"a", &large)).await, Err(StoreError::TooLarge("value")));
    let mut many = Batch::new();
    for n in 0..=crate::limits::STORE_BATCH_STEPS {
        many.delete(&table, n.to_be_bytes());
    }
    assert_eq!(store.commit(many).await, Err(StoreError::TooLarge("batch")));
    assert!(table.is_empty().unwrap());
}

#[tokio::test]
async fn a_full_disk_is_never_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let disk = LossyDisk::new();
    let options = StoreOptions { watch: Some(disk.clone()), ..StoreOptions::default() };
    let store = Store::open_with(folder.path(), &options).unwrap();
    let table = store.table("rows").unwrap();
    store.commit(put(&table, b"before", b"1")).await.unwrap();
    disk.set_room(8);
    assert!(matches!(store.commit(put(&table, b"a", b"1")).await, Err(StoreError::Full(_))));
    assert!(!store.is_healthy() && store.is_full());
    assert!(!table.contains(b"a").unwrap());
    assert!(matches!(store.close(), Err(StoreError::Full(_))));
    let store = Store::open(folder.path()).unwrap();
    let table = store.table("rows").unwrap();
    assert_eq!(table.scan_prefix(b"", None, 9).unwrap(), [(b"before".to_vec(), b"1".to_vec())]);
    assert!(!store.opened().clean);
}

/// A disk that breaks at some moment.
#[derive(Default)]
struct Breaks(std::sync::atomic::AtomicBool);

impl Watch for Breaks {
    fn write(&self, _: &Path, _: usize) -> std::io::Result<()> {
        match self.0.load(std::sync::atomic::Ordering::SeqCst) {
            true => Err(std::io::Error::other("broken")),
            false => Ok(()),
        }
    }
    fn synced(&self, _: &Path) {}
    fn folder_synced(&self, _: &Path) {}
}

/// Unlike one that is full, it is not tried again: its content is unknown.
#[tokio::test]
async fn a_broken_disk_is_never_acknowledged_and_ends_the_store() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Arc::new(Breaks::default());
    let options = StoreOptions { watch: Some(disk.clone()), ..StoreOptions::default() };
    let store = Store::open_with(folder.path(), &options).unwrap();
    let table = store.table("rows").unwrap();
    store.commit(put(&table, b"before", b"1")).await.unwrap();
    disk.0.store(true, std::sync::atomic::Ordering::SeqCst);
    assert!(matches!(store.commit(put(&table, b"a", b"1")).await, Err(StoreError::Io(_))));
    assert!(!store.is_healthy() && !store.is_full());
    assert!(!table.contains(b"a").unwrap());
    disk.0.store(false, std::sync::atomic::Ordering::SeqCst);
    assert_eq!(store.commit(put(&table, b"b", b"2")).await, Err(StoreError::Poisoned));
    assert_eq!(store.barrier().await, Err(StoreError::Poisoned));
    assert_eq!(store.close(), Err(StoreError::Poisoned));
    let store = Store::open(folder.path()).unwrap();
    let table = store.table("rows").unwrap();
    assert_eq!(table.scan_prefix(b"", None, 9).unwrap(), [(b"before".to_vec(), b"1".to_vec())]);
    assert!(!store.opened().clean);
}

/// A process that is being started holds every open file of this one until it runs its own program.
#[test]
fn a_dropped_lock_is_free_also_when_a_copy_of_its_file_is_open() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Disk::new(None);
    let lock = recover::lock(&disk, folder.path()).unwrap();
    assert!(matches!(recover::lock(&disk, folder.path()), Err(StoreError::Locked(_))));
    let _copy = lock.copy();
    drop(lock);
    assert!(recover::lock(&disk, folder.path()).is_ok());
}

#[tokio::test]
async fn a_second_opener_is_told() {
    let (folder, _store, _table) = open();
    assert_eq!(
        Store::open(folder.path()).err(),
        Some(StoreError::Locked(folder.path().to_owned()))
    );
}

#[tokio::test]
async fn commit_blocking_works_inside_a_runtime() {
    let (_folder, store, table) = open();
    for n in 0..300u32 {
        store.commit_blocking(put(&table, &n.to_be_bytes(), b"")).unwrap();
    }
    assert_eq!(table.len().unwrap(), 300);
}

#[tokio::test]
async fn a_cancelled_caller_still_writes() {
    let (_folder, store, table) = open();
    {
        let mut commit = std::pin::pin!(store.commit(put(&table, b"a", b"1")));
        let waker = std::task::Waker::noop();
        let _ = commit.as_mut().poll(&mut std::task::Context::from_waker(waker));
    }
    store.barrier().await.unwrap();
    assert!(table.contains(b"a").unwrap());
}

use std::future::Future as _;

const CHILD_FOLDER: &str = "TESSERA_STORE_CHILD_FOLDER";

/// Not a test of its own: the process that `acknowledged_rows_survive_kill_9` kills.
#[test]
fn child_that_writes_until_killed() {
    let Ok(folder) = std::env::var(CHILD_FOLDER) else {
        return;
    };
    let store = Store::open(Path::new(&folder)).unwrap();
    let table = store.table("rows").unwrap();
    let first = table.len().unwrap();
    let writers: Vec<_> = (0..4usize)
        .map(|writer| {
            let (store, table) = (store.clone(), table.clone());
            std::thread::spawn(move || {
                for n in 0.. {
                    let key = format!("{first}-{writer}-{n}");
                    store.commit_blocking(put(&table, key.as_bytes(), &[0; 100])).unwrap();
                    let line = format!("ACK {key}\n");
                    std::io::stdout().write_all(line.as_bytes()).unwrap();
                }
            })
        })
        .collect();
    for writer in writers {
        writer.join().unwrap();
    }
}

#[test]
fn acknowledged_rows_survive_kill_9() {
    let folder = tempfile::tempdir().unwrap();
    let mut acknowledged = Vec::new();
    for _ in 0..8 {
        acknowledged.extend(write_and_kill(folder.path()));
        let store = Store::open(folder.path()).unwrap();
        let table = store.table("rows").unwrap();
        for key in &acknowledged {
            assert!(table.contains(key).unwrap(), "lost {key}");
        }
        store.close().unwrap();
    }
    assert!(acknowledged.len() > 100, "{}", acknowledged.len());
}

fn write_and_kill(folder: &Path) -> Vec<String> {
    let rows_before_the_kill = 20 + number(&SystemRandom).unwrap() % 400;
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["store::tests::child_that_writes_until_killed", "--exact", "--nocapture"])
        .env(CHILD_FOLDER, folder)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut acknowledged = Vec::new();
    for line in BufReader::new(child.stdout.take().unwrap()).split(b'\n') {
        let line = String::from_utf8(line.unwrap()).unwrap();
        acknowledged.extend(line.split_once("ACK ").map(|(_, key)| key.to_owned()));
        if u64::try_from(acknowledged.len()).unwrap() == rows_before_the_kill {
            child.kill().unwrap();
        }
    }
    child.wait().unwrap();
    acknowledged
}

#[tokio::test]
async fn a_closed_store_can_be_opened_at_once() {
    let folder = tempfile::tempdir().unwrap();
    for n in 0..40u32 {
        let store = Store::open(folder.path()).unwrap();
        let table = store.table("rows").unwrap();
        let mut batch = Batch::new();
        for row in 0..1000u32 {
            batch.put(&table, [n, row].map(u32::to_be_bytes).concat(), vec![0; 200]);
        }
        store.commit(batch).await.unwrap();
        store.close().unwrap();
    }
}

/// The thread that closes may be the one that drives the caller that waits for an answer.
#[tokio::test]
async fn closing_does_not_wait_for_a_caller_that_is_not_polled() {
    let (_folder, store, table) = open();
    let mut commit = std::pin::pin!(store.commit(put(&table, b"a", b"1")));
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    let polled = commit.as_mut().poll(&mut context);
    store.close().unwrap();
    if polled.is_pending() {
        commit.await.unwrap();
    }
}

#[test]
fn a_full_queue_gives_the_caller_back() {
    let (_folder, store, table) = open();
    let most = crate::limits::STORE_QUEUE + crate::limits::STORE_GROUP;
    let (tell, told) = sync_channel(most + 2);
    let (hold, held) = sync_channel::<()>(1);
    let stand = store.commit_then(Batch::new(), move |_| assert!(held.recv().is_err()));
    assert!(stand.is_ok());
    let refused = (0..=most).find_map(|_| {
        let tell = tell.clone();
        store.commit_then(put(&table, b"a", b"1"), move |done| tell.send(done).unwrap()).err()
    });
    let (error, then) = refused.unwrap();
    assert_eq!(error, StoreError::Busy);
    drop(hold);
    then(Err(error));
    assert_eq!(told.iter().find(Result::is_err), Some(Err(StoreError::Busy)));
    store.commit_blocking(put(&table, b"b", b"2")).unwrap();
    assert!(table.contains(b"a").unwrap() && table.contains(b"b").unwrap());
    store.close().unwrap();
    let closed = store.commit_then(Batch::new(), |_| panic!("called"));
    assert_eq!(closed.map_err(|(error, _)| error), Err(StoreError::Closed));
}
