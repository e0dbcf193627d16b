//! Power cuts, bent files, missing files, crashes in the middle of a checkpoint.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use super::super::testing::LossyDisk;
use super::*;
use crate::limits::{STORE_MEMORY_BYTES, STORE_MEMORY_MOST, STORE_VALUE_BYTES};
use crate::random::SeededRandom;

pub(super) type Model = BTreeMap<Vec<u8>, Vec<u8>>;

pub(super) fn drawn(random: &SeededRandom, below: u64) -> u64 {
    number(random).unwrap() % below
}

/// Commits drawn changes; the answered ones are in the model.
pub(super) fn work(store: &Store, random: &SeededRandom, model: &mut Model, commits: u64) {
    let table = store.table("rows").unwrap();
    for _ in 0..commits {
        let mut batch = Batch::new();
        for _ in 0..=drawn(random, 4) {
            let key = drawn(random, 60).to_be_bytes().to_vec();
            match drawn(random, 4) {
                0 => {
                    batch.delete(&table, &key);
                    model.remove(&key);
                }
                _ => {
                    let value = vec![drawn(random, 256) as u8; drawn(random, 3000) as usize];
                    batch.put(&table, &key, value.clone());
                    model.insert(key, value);
                }
            }
        }
        store.commit_blocking(batch).unwrap();
    }
}

pub(super) fn rows(store: &Store) -> Model {
    let table = store.table("rows").unwrap();
    table.scan_prefix(b"", None, usize::MAX).unwrap().into_iter().collect()
}

pub(super) fn watched(disk: &std::sync::Arc<LossyDisk>) -> StoreOptions {
    StoreOptions { watch: Some(disk.clone()), ..StoreOptions::default() }
}

#[test]
fn a_power_cut_at_any_moment_loses_nothing_that_was_answered() {
    for seed in 0..40 {
        let random = SeededRandom::predictable(seed);
        let outer = tempfile::tempdir().unwrap();
        let disk = LossyDisk::new();
        let (mut model, mut folder) = (Model::new(), outer.path().join("0"));
        for life in 1..5u64 {
            let store = Store::open_with(&folder, &watched(&disk)).unwrap();
            assert_eq!(rows(&store), model, "seed {seed} life {life}");
            work(&store, &random, &mut model, drawn(&random, 40));
            if drawn(&random, 3) == 0 {
                store.checkpoint().unwrap();
                work(&store, &random, &mut model, drawn(&random, 5));
            }
            if drawn(&random, 3) == 0 {
                store.close().unwrap();
            }
            let next = outer.path().join(life.to_string());
            disk.power_cut(&folder, &next, drawn(&random, u64::MAX)).unwrap();
            store.close().unwrap();
            fs::set_permissions(&next, fs::Permissions::from_mode(0o700)).unwrap();
            disk.adopt(&next).unwrap();
            folder = next;
        }
    }
}

#[test]
fn a_disk_that_forgets_loses_what_was_not_synced() {
    let outer = tempfile::tempdir().unwrap();
    let (folder, disk) = (outer.path().join("a"), LossyDisk::new());
    let store = Store::open_with(&folder, &watched(&disk)).unwrap();
    work(&store, &SeededRandom::predictable(1), &mut Model::new(), 5);
    // A control: bytes behind the back of the store are gone in some cut.
    fs::write(folder.join("unsynced"), b"x").unwrap();
    let gone = (0..20).any(|seed| {
        let to = outer.path().join(format!("cut-{seed}"));
        disk.power_cut(&folder, &to, seed).unwrap();
        !to.join("unsynced").exists()
    });
    assert!(gone);
}

pub(super) fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    fs::set_permissions(to, fs::Permissions::from_mode(0o700)).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (path, name) = entry.map(|entry| (entry.path(), entry.file_name())).unwrap();
        match path.is_dir() {
            true => copy_tree(&path, &to.join(name)),
            false => drop(fs::copy(&path, to.join(name)).unwrap()),
        }
    }
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => files.extend(files_below(&path)),
            false => files.push(path),
        }
    }
    files.sort();
    files
}

fn bend(folder: &Path, random: &SeededRandom, older: &Path) -> String {
    let files: Vec<PathBuf> = files_below(folder)
        .into_iter()
        .filter(|path| !path.ends_with("lock") && fs::metadata(path).unwrap().len() > 0)
        .collect();
    let path = &files[drawn(random, files.len() as u64) as usize];
    let mut content = fs::read(path).unwrap();
    let place = drawn(random, content.len() as u64) as usize;
    let what = match drawn(random, 6) {
        0 | 1 => {
            content[place] ^= 1 << drawn(random, 8);
            fs::write(path, &content).unwrap();
            format!("bit at {place}")
        }
        2 => {
            fs::write(path, &content[..place]).unwrap();
            format!("cut at {place}")
        }
        3 => {
            let from = place & !4095;
            let to = content.len().min(from + 4096);
            content[from..to].fill(0);
            fs::write(path, &content).unwrap();
            format!("zeros from {from}")
        }
        4 => {
            fs::remove_file(path).unwrap();
            "removed".to_owned()
        }
        _ => {
            let from = older.join(path.strip_prefix(folder).unwrap());
            if from.exists() {
                fs::copy(from, path).unwrap();
            }
            "older".to_owned()
        }
    };
    format!("{}: {what}", path.strip_prefix(folder).unwrap().display())
}

/// For every bent file: all is there, or the store says what is missing and opens only when the loss is accepted.
#[test]
fn a_bent_store_is_whole_or_does_not_open() {
    let random = SeededRandom::predictable(7);
    let outer = tempfile::tempdir().unwrap();
    let (whole, older) = (outer.path().join("whole"), outer.path().join("older"));
    let mut model = Model::new();
    let store = Store::open(&whole).unwrap();
    work(&store, &random, &mut model, 30);
    store.checkpoint().unwrap();
    work(&store, &random, &mut model, 10);
    copy_tree(&whole, &older);
    work(&store, &random, &mut model, 30);
    let closed = outer.path().join("closed");
    let mut told = 0;
    for turn in 0..240 {
        let bent = outer.path().join("bent");
        if turn == 120 {
            store.close().unwrap();
            copy_tree(&whole, &closed);
        }
        copy_tree(if turn < 120 { &whole } else { &closed }, &bent);
        let what = bend(&bent, &random, &older);
        match Store::open(&bent) {
            Ok(store) => {
                assert_eq!(rows(&store), model, "{turn} {what}");
                store.close().unwrap();
            }
            Err(StoreError::Lost(loss)) => {
                told += 1;
                assert!(!loss.missing.is_empty(), "{what}");
                assert_eq!(
                    Store::open(&bent).err(),
                    Some(StoreError::Lost(loss.clone())),
                    "{what}"
                );
                accept(&bent, &loss, &what);
            }
            Err(other) => panic!("{turn} {what}: {other}"),
        }
        fs::remove_dir_all(&bent).unwrap();
    }
    assert!(told > 60, "{told}");
}

fn accept(bent: &Path, loss: &Loss, what: &str) {
    let options = StoreOptions { accept_loss: true, ..StoreOptions::default() };
    let store = Store::open_with(bent, &options).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_eq!(store.opened().accepted.as_ref(), Some(loss), "{what}");
    assert!(store.opened().copied, "{what}");
    let left = rows(&store);
    store.close().unwrap();
    let store = Store::open(bent).unwrap();
    assert_eq!((rows(&store), store.opened().accepted.clone()), (left, None), "{what}");
    store.close().unwrap();
}

#[test]
fn a_store_that_must_be_there_is_missed() {
    let folder = tempfile::tempdir().unwrap();
    let options = StoreOptions { must_exist: true, ..StoreOptions::default() };
    let missed = Store::open_with(folder.path(), &options).err();
    assert!(matches!(missed, Some(StoreError::Lost(_))), "{missed:?}");
    let options = StoreOptions { accept_loss: true, ..options };
    let store = Store::open_with(folder.path(), &options).unwrap();
    assert!(store.opened().accepted.is_some());
}

#[test]
fn opening_tells_how_the_last_life_ended() {
    let outer = tempfile::tempdir().unwrap();
    let folder = outer.path().join("a");
    let store = Store::open(&folder).unwrap();
    assert!(store.opened().founded && !store.opened().clean);
    store.close().unwrap();
    let store = Store::open(&folder).unwrap();
    assert!(!store.opened().founded && store.opened().clean);
    let crashed = outer.path().join("crashed");
    copy_tree(&folder, &crashed);
    let again = Store::open(&crashed).unwrap();
    assert!(!again.opened().clean);
    store.close().unwrap();
}

#[test]
fn a_store_that_others_can_read_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("made/here");
    Store::open(&path).unwrap().close().unwrap();
    for made in [folder.path().join("made"), path.clone()] {
        assert_eq!(fs::metadata(made).unwrap().permissions().mode() & 0o777, 0o700);
    }
    for file in files_below(&path) {
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600, "{file:?}");
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    let refused = Store::open(&path).err();
    assert_eq!(refused, Some(StoreError::Exposed { path: path.clone(), mode: 0o755 }));
}

#[test]
fn a_copy_is_a_store_as_of_one_commit() {
    let outer = tempfile::tempdir().unwrap();
    let random = SeededRandom::predictable(3);
    let store = Store::open(&outer.path().join("a")).unwrap();
    let mut model = Model::new();
    work(&store, &random, &mut model, 20);
    store.checkpoint().unwrap();
    work(&store, &random, &mut model, 20);
    let copy = outer.path().join("b");
    store.copy_to(&copy).unwrap();
    let held = model.clone();
    work(&store, &random, &mut model, 20);
    let copied = Store::open(&copy).unwrap();
    assert!(rows(&copied) == held && !copied.opened().founded);
    assert!(copied.opened().copied && !copied.opened().clean);
    copied.close().unwrap();
    let again = Store::open(&copy).unwrap();
    assert!(!again.opened().copied && again.opened().clean);
    assert!(store.copy_to(&copy).is_err());
}

/// The mark stays until a process has closed the store, and costs no row.
#[test]
fn a_closed_store_is_marked_as_one_that_came_back() {
    let outer = tempfile::tempdir().unwrap();
    let (random, folder) = (SeededRandom::predictable(4), outer.path().join("a"));
    let store = Store::open(&folder).unwrap();
    let mut model = Model::new();
    work(&store, &random, &mut model, 20);
    let locked = Store::mark_copied(&folder).err();
    assert!(matches!(locked, Some(StoreError::Locked(_))), "{locked:?}");
    store.close().unwrap();
    Store::mark_copied(&folder).unwrap();
    let crashed = outer.path().join("crashed");
    let marked = Store::open(&folder).unwrap();
    assert!(marked.opened().copied && !marked.opened().clean && rows(&marked) == model);
    copy_tree(&folder, &crashed);
    marked.close().unwrap();
    assert!(Store::open(&crashed).unwrap().opened().copied);
    assert!(!Store::open(&folder).unwrap().opened().copied);
    let nothing = Store::mark_copied(&outer.path().join("none")).err();
    assert!(matches!(nothing, Some(StoreError::Lost(_))), "{nothing:?}");
}

#[test]
fn rows_of_all_layers_are_read_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let random = SeededRandom::predictable(11);
    let (mut model, table) = (Model::new(), store.table("rows").unwrap());
    for turn in 0..12 {
        work(&store, &random, &mut model, 8);
        if turn % 4 == 3 {
            store.checkpoint().unwrap();
        }
        assert_eq!(rows(&store), model);
        assert_eq!(table.len().unwrap(), model.len());
        let last = model.iter().next_back().map(|(key, value)| (key.clone(), value.clone()));
        assert_eq!(table.last(b"").unwrap(), last);
        for key in 0..60u64 {
            let key = key.to_be_bytes();
            assert_eq!(table.get(key).unwrap().as_ref(), model.get(key.as_slice()));
        }
        let after = 30u64.to_be_bytes();
        let page = table.scan_prefix(b"", Some(&after), 7).unwrap();
        let wanted: Vec<Row> = model
            .range(31u64.to_be_bytes().to_vec()..)
            .take(7)
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        assert_eq!(page, wanted);
    }
}

#[test]
fn a_store_of_the_former_layout_is_brought_over() {
    let folder = tempfile::tempdir().unwrap();
    let key = |n: u32| [b"\x04rows".as_slice(), &n.to_be_bytes()].concat();
    super::super::engine::write_former(folder.path(), (0..5000).map(|n| (key(n), vec![1; 80])));
    let store = Store::open(folder.path()).unwrap();
    assert!(!store.opened().founded);
    assert_eq!(store.table("rows").unwrap().len().unwrap(), 5000);
    store.close().unwrap();
    assert!(!folder.path().join("db").exists());
    assert_eq!(Store::open(folder.path()).unwrap().table("rows").unwrap().len().unwrap(), 5000);
}

/// Space of deleted rows is given back, and a start that changes nothing writes next to nothing.
#[test]
fn room_is_given_back_at_a_stop() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let table = store.table("rows").unwrap();
    for round in 0..40u32 {
        let mut batch = Batch::new();
        (0..1000u32).for_each(|n| batch.put(&table, n.to_be_bytes(), vec![round as u8; 500]));
        store.commit_blocking(batch).unwrap();
    }
    store.close().unwrap();
    let bytes = super::super::disk::bytes_below(folder.path());
    // sled's file grows by segments of 512 KiB.
    assert!(bytes < 2 * 520_000 + 512 * 1024, "{bytes}");
    let store = Store::open(folder.path()).unwrap();
    let table = store.table("rows").unwrap();
    let mut batch = Batch::new();
    (0..1000u32).for_each(|n| batch.delete(&table, n.to_be_bytes()));
    store.commit_blocking(batch).unwrap();
    assert!(table.is_empty().unwrap() && table.len().unwrap() == 0);
    store.close().unwrap();
}

/// A life that was killed while it made its journal leaves one without a record, maybe without its whole header. The next
/// lives go on behind it.
#[test]
fn a_journal_of_which_only_the_beginning_was_made_costs_nothing() {
    for bytes in [0, 20, 44] {
        let outer = tempfile::tempdir().unwrap();
        let random = SeededRandom::predictable(7);
        let (mut model, mut folder) = (Model::new(), outer.path().join("0"));
        for life in 1..6u64 {
            let store = Store::open_with(&folder, &StoreOptions::default()).unwrap();
            assert_eq!(rows(&store), model, "{bytes} bytes, life {life}");
            if life != 3 {
                work(&store, &random, &mut model, 3);
            }
            let next = outer.path().join(life.to_string());
            copy_tree(&folder, &next);
            store.close().unwrap();
            if life == 2 {
                // The third journal, as far as it was written.
                let other = outer.path().join("other");
                copy_tree(&next, &other);
                let begun = Store::open_with(&other, &StoreOptions::default()).unwrap();
                work(&begun, &SeededRandom::predictable(8), &mut Model::new(), 1);
                let journal = fs::read(other.join("journal-3")).unwrap();
                begun.close().unwrap();
                fs::write(next.join("journal-3"), &journal[..bytes]).unwrap();
            }
            folder = next;
        }
    }
}

/// A disk that takes journals, and bases when it is told to.
#[derive(Default)]
struct NoBase(std::sync::atomic::AtomicBool);

impl Watch for NoBase {
    fn write(&self, path: &Path, _: usize) -> std::io::Result<()> {
        let takes_bases = self.0.load(std::sync::atomic::Ordering::SeqCst);
        if !takes_bases && path.to_string_lossy().contains("/base-") {
            Err(std::io::ErrorKind::StorageFull.into())
        } else {
            Ok(())
        }
    }
    fn synced(&self, _: &Path) {}
    fn folder_synced(&self, _: &Path) {}
}

/// Rows that find no base cannot grow memory without end, and answered changes are there all the same.
#[test]
fn rows_that_find_no_base_are_bounded() {
    let folder = tempfile::tempdir().unwrap();
    let disk = std::sync::Arc::new(NoBase::default());
    let options = StoreOptions { watch: Some(disk.clone()), ..Default::default() };
    let store = Store::open_with(folder.path(), &options).unwrap();
    let table = store.table("rows").unwrap();
    let most = STORE_MEMORY_BYTES * (STORE_MEMORY_MOST + 2);
    let mut answered = 0u64;
    let refused = (0..most / STORE_VALUE_BYTES).find_map(|_| {
        let value = vec![7; STORE_VALUE_BYTES];
        let done = store.commit_blocking(put(&table, &answered.to_be_bytes(), &value));
        answered += u64::from(done.is_ok());
        done.err()
    });
    assert_eq!(refused, Some(StoreError::Busy));
    // Nothing is taken, so it is not well, and says what it waits for. A try that fails lets nothing more in.
    for _ in 0..2 {
        assert!(!store.is_healthy() && store.is_full());
        assert!(store.waits_for().is_some_and(|why| why.contains("new base")));
        store.checkpoint().unwrap();
        assert_eq!(store.commit_blocking(put(&table, b"more", b"1")), Err(StoreError::Busy));
    }
    let other = tempfile::tempdir().unwrap();
    let copy = other.path().join("copy");
    copy_tree(folder.path(), &copy);
    // With a base it goes on.
    disk.0.store(true, std::sync::atomic::Ordering::SeqCst);
    store.checkpoint().unwrap();
    assert!(store.is_healthy() && store.waits_for().is_none());
    store.commit_blocking(put(&table, b"more", b"1")).unwrap();
    answered += 1;
    store.close().unwrap();
    let left = Store::open(&copy).unwrap();
    assert_eq!(left.table("rows").unwrap().len().unwrap() as u64, answered - 1);
    let store = Store::open(folder.path()).unwrap();
    assert_eq!(store.table("rows").unwrap().len().unwrap() as u64, answered);
}

/// Files that a crash left of the take-over of a former store never come back as the store.
#[test]
fn what_is_left_of_the_former_layout_is_removed() {
    let folder = tempfile::tempdir().unwrap();
    let key = [b"\x04rows".as_slice(), b"old"].concat();
    super::super::engine::write_former(folder.path(), [(key, vec![1])].into_iter());
    let former = std::fs::read(folder.path().join("db")).unwrap();
    Store::open(folder.path()).unwrap().close().unwrap();
    std::fs::write(folder.path().join("db"), former).unwrap();
    Store::open(folder.path()).unwrap().close().unwrap();
    assert!(!folder.path().join("db").exists());
}
