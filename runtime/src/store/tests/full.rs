//! A disk without room: refused changes are not written, answered changes stay, and service comes back by itself.

use std::time::Duration;

use super::super::testing::Fault;
use super::faults::{copy_tree, drawn, rows, watched, work, Model};
use super::*;
use crate::clock::{Clock, SystemClock};
use crate::random::SeededRandom;

/// A store on a disk of its own, which looks for room often.
fn watched_store(folder: &Path) -> (std::sync::Arc<LossyDisk>, Store, Table) {
    let disk = LossyDisk::new();
    disk.set_pause(Duration::from_millis(5));
    let store = Store::open_with(folder, &watched(&disk)).unwrap();
    let table = store.table("rows").unwrap();
    (disk, store, table)
}

fn is_full(outcome: Result<(), StoreError>) -> bool {
    matches!(outcome, Err(StoreError::Full(_)))
}

/// Waits without a request until the store finds by itself that there is room.
fn healthy_by_itself(store: &Store) {
    for _ in 0..2000 {
        if store.is_healthy() {
            return assert!(!store.is_full());
        }
        std::thread::park_timeout(Duration::from_millis(5));
    }
    panic!("it does not go on");
}

/// A kill and a power cut at this moment both leave these rows.
fn leaves(folder: &Path, disk: &LossyDisk, model: &Model, seed: u64) {
    let outer = tempfile::tempdir().unwrap();
    let (killed, cut) = (outer.path().join("killed"), outer.path().join("cut"));
    copy_tree(folder, &killed);
    disk.power_cut(folder, &cut, seed).unwrap();
    for left in [killed, cut] {
        let closed = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        std::fs::set_permissions(&left, closed).unwrap();
        let store = Store::open(&left).unwrap();
        assert!(rows(&store) == *model, "seed {seed}: {}", left.display());
        store.close().unwrap();
    }
}

/// The caller needs no copy to try again: rows and conditions come back, of each batch its own.
#[tokio::test]
async fn a_batch_that_finds_no_room_comes_back_whole() {
    let outer = tempfile::tempdir().unwrap();
    let (disk, store, table) = watched_store(&outer.path().join("a"));
    store.commit(put(&table, b"old", b"1")).await.unwrap();
    disk.set_room(0);
    let mut batch = put(&table, b"a", b"1");
    batch.put(&table, b"a", b"2");
    batch.delete(&table, b"old");
    batch.expect(&table, b"old", Some(b"1".to_vec()));
    let mut unless = put(&table, b"c", b"1");
    unless.expect_absent(&table, b"a");
    let (one, other, two) = tokio::join!(
        store.commit_or_give_back(batch),
        store.commit(put(&table, b"b", b"1")),
        store.commit_or_give_back(unless),
    );
    assert!(is_full(other));
    let [one, two] = [one, two].map(|refused| match refused {
        Err(Refused { error: StoreError::Full(_), batch: Some(batch) }) => batch,
        _ => panic!("there is no room, and the batch comes back"),
    });
    assert!(rows(&store) == Model::from([(b"old".to_vec(), b"1".to_vec())]));
    disk.set_room(u64::MAX);
    healthy_by_itself(&store);
    assert!(store.commit_or_give_back(one).await.is_ok());
    let model = Model::from([(b"a".to_vec(), b"2".to_vec())]);
    assert!(rows(&store) == model);
    // A batch whose condition does not hold never fits, so it does not come back.
    let refused = store.commit_or_give_back(two).await;
    assert!(matches!(refused, Err(Refused { error: StoreError::Conflict { .. }, batch: None })));
    assert!(rows(&store) == model);
    store.close().unwrap();
}

/// Neither the record nor its cut finds room: the batch comes back all the same, and nothing of it is in the store.
#[tokio::test]
async fn a_batch_whose_record_cannot_be_cut_off_for_want_of_room_comes_back() {
    for later in [1, 2] {
        let outer = tempfile::tempdir().unwrap();
        let folder = outer.path().join("a");
        let (disk, store, table) = watched_store(&folder);
        store.commit(put(&table, b"old", b"1")).await.unwrap();
        let full = Fault::of(std::io::ErrorKind::StorageFull);
        let step = disk.asked().len();
        disk.fail_at(step, Fault { after: 30, ..full });
        disk.fail_at(step + later, full);
        let refused = store.commit_or_give_back(put(&table, b"a", b"1")).await;
        let Err(Refused { error: StoreError::Io(_), batch: Some(batch) }) = refused else {
            panic!("{later}: it comes back");
        };
        healthy_by_itself(&store);
        assert!(rows(&store).len() == 1);
        assert!(store.commit_or_give_back(batch).await.is_ok());
        let both = || [(b"a".to_vec(), b"1".to_vec()), (b"old".to_vec(), b"1".to_vec())];
        assert!(rows(&store) == Model::from(both()));
        leaves(&folder, &disk, &Model::from(both()), later as u64);
        store.close().unwrap();
    }
}

#[test]
fn what_finds_no_room_is_refused_whole_and_the_store_goes_on_by_itself() {
    // Nothing, a part of the record, the record without what is allocated behind it, and more than that.
    for (room, first) in
        [(0, true), (20, true), (60, true), (900, true), (0, false), (200_000, false)]
    {
        let outer = tempfile::tempdir().unwrap();
        let folder = outer.path().join("a");
        let (disk, store, table) = watched_store(&folder);
        let mut model = Model::new();
        if !first {
            work(&store, &SeededRandom::predictable(1), &mut model, 20);
        }
        disk.set_room(room);
        let big = vec![7; 400_000];
        assert!(is_full(store.commit_blocking(put(&table, b"big", &big))), "room {room}");
        assert!(!store.is_healthy() && store.is_full(), "room {room}");
        assert!(is_full(store.commit_blocking(put(&table, b"small", b"1"))), "room {room}");
        // Readers go on with what is durable.
        block::on(store.barrier()).unwrap();
        assert!(rows(&store) == model, "room {room}");
        leaves(&folder, &disk, &model, room);
        disk.set_room(u64::MAX);
        healthy_by_itself(&store);
        store.commit_blocking(put(&table, b"big", &big)).unwrap();
        model.insert(b"big".to_vec(), big);
        leaves(&folder, &disk, &model, room);
        store.close().unwrap();
        let store = Store::open(&folder).unwrap();
        assert!(store.opened().clean && rows(&store) == model);
    }
}

/// Each try writes: they are as many as the pauses, and not as the callers.
#[test]
fn until_the_next_try_callers_of_a_full_disk_are_refused_without_a_write() {
    let folder = tempfile::tempdir().unwrap();
    let (disk, store, table) = watched_store(folder.path());
    disk.set_pause(Duration::from_secs(3600));
    store.commit_blocking(put(&table, b"before", b"1")).unwrap();
    disk.set_room(0);
    assert!(is_full(store.commit_blocking(put(&table, b"a", b"1"))));
    let tried = disk.asked().len();
    for _ in 0..500 {
        assert!(is_full(store.commit_blocking(put(&table, b"a", b"1"))));
        block::on(store.barrier()).unwrap();
    }
    // Also when one of them would find room.
    disk.set_room(u64::MAX);
    let refused = store.commit_blocking(put(&table, b"a", b"1")).unwrap_err();
    assert!(refused.to_string().contains("nothing was written"), "{refused}");
    assert_eq!(disk.asked().len(), tried);
    assert!(!store.is_healthy() && store.is_full());
    assert!(store.waits_for().is_some_and(|why| why.contains("no room on the disk")));
    // A stop does not wait for it.
    store.close().unwrap();
    assert!(Store::open(folder.path()).unwrap().opened().clean);
}

/// Callers that never let off neither make the tries more nor put them off.
#[test]
fn a_full_disk_is_tried_once_in_a_pause_and_found_to_have_room_under_any_load() {
    let folder = tempfile::tempdir().unwrap();
    let (disk, store, table) = watched_store(folder.path());
    let pause = Duration::from_millis(40);
    disk.set_pause(pause);
    disk.set_room(0);
    assert!(is_full(store.commit_blocking(put(&table, b"a", b"1"))));
    let clock = SystemClock::new();
    let (began, tried) = (clock.monotonic(), disk.asked().len());
    let callers: Vec<_> = (0..4u8)
        .map(|caller| {
            let (store, table, disk) = (store.clone(), table.clone(), disk.clone());
            std::thread::spawn(move || {
                let mut refused = 0u64;
                while is_full(store.commit_blocking(put(&table, &[caller], b"1"))) {
                    refused += 1;
                    let elapsed = clock.monotonic() - began;
                    if caller == 0 && elapsed > pause * 12 {
                        let tries = disk.asked().len() - tried;
                        let most = elapsed.as_millis() / pause.as_millis() + 1;
                        assert!(tries >= 2 && tries as u128 <= most, "{tries} of {most}");
                        disk.set_room(u64::MAX);
                    }
                }
                refused
            })
        })
        .collect();
    let refused: u64 = callers.into_iter().map(|caller| caller.join().unwrap()).sum();
    assert!(refused > 100, "{refused}");
    assert!(store.is_healthy() && table.len().unwrap() == 4);
}

/// A store that could write one more small record and then none is not told as well: it goes on with room for many.
#[test]
fn a_few_bytes_are_no_room() {
    let folder = tempfile::tempdir().unwrap();
    let (disk, store, table) = watched_store(folder.path());
    disk.set_room(0);
    assert!(is_full(store.commit_blocking(put(&table, b"a", b"1"))));
    disk.set_room(2000);
    assert!(is_full(store.commit_blocking(put(&table, b"a", b"1"))));
    assert!(!store.is_healthy());
}

#[test]
fn what_is_in_the_journal_is_answered_although_the_head_finds_no_room() {
    let outer = tempfile::tempdir().unwrap();
    let folder = outer.path().join("a");
    let (disk, store, table) = watched_store(&folder);
    let mut model = Model::new();
    work(&store, &SeededRandom::predictable(2), &mut model, 5);
    disk.close_to(Some("/head"));
    store.commit_blocking(put(&table, b"last", b"1")).unwrap();
    model.insert(b"last".to_vec(), b"1".to_vec());
    assert!(!store.is_healthy() && rows(&store) == model);
    assert!(is_full(store.commit_blocking(put(&table, b"none", b"1"))));
    leaves(&folder, &disk, &model, 2);
    disk.close_to(None);
    healthy_by_itself(&store);
    store.commit_blocking(put(&table, b"next", b"1")).unwrap();
    model.insert(b"next".to_vec(), b"1".to_vec());
    leaves(&folder, &disk, &model, 3);
}

fn bases(folder: &Path) -> usize {
    super::disk::numbered(folder, "base").unwrap().len()
}

#[test]
fn a_checkpoint_that_finds_no_room_leaves_nothing_behind() {
    let outer = tempfile::tempdir().unwrap();
    let folder = outer.path().join("a");
    let (disk, store, table) = watched_store(&folder);
    let mut model = Model::new();
    for round in 0..3u64 {
        work(&store, &SeededRandom::predictable(round), &mut model, 30);
        let before = bases(&folder);
        // The base is cut off in its middle, then the head that would name it.
        disk.set_room(40_000);
        store.checkpoint().unwrap();
        disk.set_room(u64::MAX);
        assert_eq!(bases(&folder), before, "round {round}");
        leaves(&folder, &disk, &model, round);
        disk.close_to(Some("/head"));
        store.checkpoint().unwrap();
        leaves(&folder, &disk, &model, round);
        disk.close_to(None);
        healthy_by_itself(&store);
        store.commit_blocking(put(&table, b"between", b"1")).unwrap();
        model.insert(b"between".to_vec(), b"1".to_vec());
        leaves(&folder, &disk, &model, round);
        store.checkpoint().unwrap();
        assert_eq!((bases(&folder), rows(&store) == model), (1, true), "round {round}");
        leaves(&folder, &disk, &model, round);
    }
}

#[test]
fn a_copy_that_finds_no_room_gives_it_back_and_costs_the_store_nothing() {
    let outer = tempfile::tempdir().unwrap();
    let (folder, to) = (outer.path().join("a"), outer.path().join("copy"));
    let (disk, store, _) = watched_store(&folder);
    let mut model = Model::new();
    work(&store, &SeededRandom::predictable(4), &mut model, 60);
    for part in ["/copy/base-", "/copy/head"] {
        disk.close_to(Some(part));
        assert!(is_full(store.copy_to(&to)), "{part}");
        assert!(store.is_healthy() && !to.exists(), "{part}");
        disk.close_to(None);
        work(&store, &SeededRandom::predictable(5), &mut model, 5);
    }
    store.copy_to(&to).unwrap();
    assert!(rows(&Store::open(&to).unwrap()) == model);
}

#[test]
fn a_stop_and_a_start_without_room_say_so_and_lose_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (disk, store, table) = watched_store(folder.path());
    let mut model = Model::new();
    work(&store, &SeededRandom::predictable(6), &mut model, 20);
    disk.set_room(0);
    assert!(is_full(store.commit_blocking(put(&table, b"none", &[1; 300_000]))));
    assert!(is_full(store.close()));
    // The folder is free, and a start that cannot note itself does not begin.
    let refused = Store::open_with(folder.path(), &watched(&disk)).err();
    let words = refused.as_ref().map(ToString::to_string).unwrap_or_default();
    assert!(matches!(refused, Some(StoreError::Full(_))) && words.contains("no room"), "{words}");
    disk.set_room(u64::MAX);
    let store = Store::open_with(folder.path(), &watched(&disk)).unwrap();
    assert!(!store.opened().clean && rows(&store) == model);
}

/// Room runs out and comes back at drawn moments, between commits, checkpoints, copies, stops, kills and power cuts.
#[test]
fn a_disk_that_fills_up_at_any_moment_loses_nothing_and_keeps_nothing_that_was_refused() {
    for seed in 0..40 {
        let random = SeededRandom::predictable(seed);
        let outer = tempfile::tempdir().unwrap();
        let (disk, mut folder) = (LossyDisk::new(), outer.path().join("0"));
        disk.set_pause(Duration::MAX);
        let (mut model, mut refused) = (Model::new(), 0);
        for life in 1..5u64 {
            let store = Store::open_with(&folder, &watched(&disk)).unwrap();
            let table = store.table("rows").unwrap();
            assert!(rows(&store) == model, "seed {seed} life {life}");
            for _ in 0..40 {
                match drawn(&random, 12) {
                    0 => disk.set_room(drawn(&random, 600_000)),
                    1 => disk.set_room(u64::MAX),
                    2 => store.checkpoint().unwrap(),
                    3 => {
                        let to = outer.path().join("copy");
                        if store.copy_to(&to).is_ok() {
                            std::fs::remove_dir_all(&to).unwrap();
                        }
                    }
                    _ => {
                        let key = drawn(&random, 30).to_be_bytes();
                        let value = vec![drawn(&random, 256) as u8; drawn(&random, 9000) as usize];
                        match store.commit_blocking(put(&table, &key, &value)) {
                            Ok(()) => drop(model.insert(key.to_vec(), value)),
                            other => {
                                assert!(is_full(other), "seed {seed} life {life}");
                                refused += 1;
                            }
                        }
                    }
                }
                assert!(rows(&store) == model, "seed {seed} life {life}");
            }
            let next = outer.path().join(life.to_string());
            match drawn(&random, 3) {
                0 => disk.power_cut(&folder, &next, drawn(&random, u64::MAX)).unwrap(),
                1 => copy_tree(&folder, &next),
                _ => {
                    // On a full disk it says that it is not closed.
                    let _ = store.close();
                    copy_tree(&folder, &next);
                }
            }
            let _ = store.close();
            disk.set_room(u64::MAX);
            let closed = std::os::unix::fs::PermissionsExt::from_mode(0o700);
            std::fs::set_permissions(&next, closed).unwrap();
            disk.adopt(&next).unwrap();
            folder = next;
        }
        assert!(refused > 0 || seed > 0, "nothing was ever refused");
    }
}
