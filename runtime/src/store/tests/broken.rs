//! A disk of which a step fails: a write at any byte, a sync, a cut. Behind it the power ends at any step, or the process
//! does and the next one finds what the kernel holds.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::super::testing::{Asked, Fault};
use super::faults::{rows, watched, Model};
use super::*;

/// A broken device, and a full one.
const KINDS: [ErrorKind; 2] = [ErrorKind::Other, ErrorKind::StorageFull];

/// Findings of a start.
#[derive(Clone, Default)]
struct Expected {
    acknowledged: Model,
    /// A row whose commit was answered with [`StoreError::Io`]: it may be there.
    unsure: Option<(Vec<u8>, Vec<u8>)>,
    ended: bool,
    /// It waits for room, and may meet another fault while it does.
    waits: bool,
}

impl Expected {
    fn commit(&mut self, store: &Store, key: &[u8], value: Vec<u8>) {
        let table = store.table("rows").unwrap();
        let done = store.commit_blocking(put(&table, key, &value));
        match &done {
            Ok(()) => {
                // A row that was in doubt was taken back before anything else was written.
                self.unsure = None;
                self.acknowledged.insert(key.to_vec(), value);
            }
            Err(StoreError::Full(_)) => {}
            Err(StoreError::Io(_)) => {
                assert!(!self.ended);
                self.unsure = Some((key.to_vec(), value));
            }
            Err(StoreError::Poisoned) => assert!(self.ended || self.waits),
            Err(other) => panic!("{other}"),
        }
        assert!(!self.ended || done == Err(StoreError::Poisoned), "{done:?}");
        // In this order: it may go on in between.
        self.waits = store.is_full();
        self.ended = !self.waits && !store.is_healthy();
        if self.ended {
            assert_eq!(block::on(store.barrier()), Err(StoreError::Poisoned));
        }
        self.check(&rows(store), "a reader");
    }

    fn check(&self, found: &Model, context: &str) {
        let mut whole = self.acknowledged.clone();
        whole.extend(self.unsure.clone());
        let is_expected = *found == self.acknowledged || *found == whole;
        assert!(is_expected, "{context}: {:?} of {:?}", found.keys(), whole.keys());
    }

    /// A start tells what was in doubt, once and for all.
    fn settle(&mut self, found: Model, context: &str) {
        self.check(&found, context);
        *self = Self { acknowledged: found, ..Self::default() };
    }
}

struct Rig {
    outer: tempfile::TempDir,
    disk: Arc<LossyDisk>,
    expected: Expected,
    lives: u8,
    /// Of the next power cut.
    seed: u64,
}

impl Rig {
    /// A store with one row, closed, on a disk whose steps are counted from here on.
    fn new(pause: Duration, seed: u64) -> Self {
        let (outer, disk) = (tempfile::tempdir().unwrap(), LossyDisk::new());
        let mut rig = Self { outer, disk, expected: Expected::default(), lives: 0, seed };
        let store = Store::open(&rig.folder()).unwrap();
        rig.expected.commit(&store, b"first", vec![0; 40]);
        store.close().unwrap();
        rig.disk.set_pause(pause);
        rig.disk.adopt(&rig.folder()).unwrap();
        rig
    }

    fn folder(&self) -> PathBuf {
        self.outer.path().join("a")
    }

    /// A start, which tells what was in doubt.
    fn begin(&mut self, context: &str) -> Option<Store> {
        self.lives += 1;
        match Store::open_with(&self.folder(), &watched(&self.disk)) {
            Ok(store) => {
                self.expected.settle(rows(&store), context);
                Some(store)
            }
            Err(StoreError::Io(_) | StoreError::Full(_)) => None,
            Err(other) => panic!("{context}: {other}"),
        }
    }

    fn work(&mut self, store: &Store) {
        let life = self.lives;
        let mut commit =
            |(key, bytes): (&[u8], usize)| self.expected.commit(store, key, vec![life; bytes]);
        [(b"a".as_slice(), 20), (b"b", 90), (b"c", 700)].into_iter().for_each(&mut commit);
        let _ = store.checkpoint();
        [(b"d".as_slice(), 30), (b"a", 1200), (b"e", 60)].into_iter().for_each(commit);
        let _ = store.close();
    }

    fn live(&mut self, context: &str) {
        if let Some(store) = self.begin(context) {
            self.work(&store);
        }
    }

    /// The state after a power cut now is a store with every acknowledged row and none that was refused.
    fn cut(&mut self, context: &str) {
        self.seed += 1;
        let to = self.outer.path().join("cut");
        self.disk.power_cut(&self.folder(), &to, self.seed).unwrap();
        fs::set_permissions(&to, fs::Permissions::from_mode(0o700)).unwrap();
        let left = Store::open(&to).unwrap_or_else(|error| panic!("{context}: {error}"));
        self.expected.check(&rows(&left), context);
        left.close().unwrap();
        fs::remove_dir_all(&to).unwrap();
    }

    /// The steps of one life without a fault.
    fn steps() -> Vec<Asked> {
        let mut rig = Self::new(Duration::ZERO, 0);
        rig.live("no fault");
        assert_eq!(rig.expected.acknowledged.len(), 6);
        rig.cut("no fault");
        rig.disk.asked()
    }
}

/// The faults, then power cuts; then the process that comes after, and power cuts at its start and at its end.
fn fail(pause: Duration, faults: &[(usize, Fault)], context: &str) {
    let seed = faults.iter().map(|(step, fault)| (step * 1000 + fault.after) as u64).sum();
    let mut rig = Rig::new(pause, seed);
    faults.iter().for_each(|(step, fault)| rig.disk.fail_at(*step, *fault));
    rig.live(context);
    rig.cut(context);
    let again = format!("{context}, next life");
    let store = rig.begin(&again).unwrap_or_else(|| panic!("{again}: it does not begin"));
    rig.cut(&again);
    rig.work(&store);
    rig.cut(&again);
    assert_eq!(rig.expected.acknowledged.get(b"e".as_slice()), Some(&vec![2; 60]), "{again}");
}

#[test]
fn any_step_may_fail() {
    for (step, asked) in Rig::steps().iter().enumerate() {
        for kind in KINDS {
            fail(Duration::ZERO, &[(step, Fault::of(kind))], &format!("{step} {asked:?} {kind}"));
        }
    }
}

#[test]
fn the_power_may_end_at_any_step_behind_one_that_failed() {
    let steps = Rig::steps();
    for (step, asked) in steps.iter().enumerate().filter(|(_, asked)| is_of_journal(asked)) {
        for (kind, end) in
            KINDS.iter().flat_map(|kind| (1..6).map(move |behind| (*kind, step + behind)))
        {
            let context = format!("{step} {asked:?} {kind}, end at {end}");
            let mut rig = Rig::new(Duration::ZERO, (step * 10 + end) as u64);
            rig.disk.fail_at(step, Fault { after: 60, kind });
            rig.disk.end_at(end);
            rig.live(&context);
            rig.cut(&context);
        }
    }
}

fn is_of_journal(asked: &Asked) -> bool {
    let (Asked::Write(path, _) | Asked::Cut(path) | Asked::Sync(path)) = asked;
    path.to_string_lossy().contains("/journal-")
}

/// Writes to a journal of at most so many bytes.
fn records(most: usize) -> Vec<(usize, usize)> {
    let steps = Rig::steps().into_iter().enumerate();
    let records =
        steps.filter(|(_, asked)| is_of_journal(asked)).filter_map(|(step, asked)| match asked {
            Asked::Write(_, bytes) if bytes <= most => Some((step, bytes)),
            _ => None,
        });
    records.collect()
}

#[test]
fn a_record_may_be_cut_off_at_any_byte() {
    let records = records(110);
    assert!(records.len() >= 2, "{records:?}");
    for (step, bytes) in records {
        for after in 0..=bytes {
            let kind = KINDS[after % 2];
            let pause = [Duration::ZERO, Duration::MAX][after / 2 % 2];
            fail(
                pause,
                &[(step, Fault { after, kind })],
                &format!("{step}, {after} of {bytes}, {kind}"),
            );
        }
    }
}

/// The record that finds no room is cut off again; that fails, or its sync does.
#[test]
fn a_refused_record_that_cannot_be_taken_back_never_comes_back_as_refused() {
    for (step, bytes) in records(usize::MAX) {
        for after in [0, 30, bytes.min(600), bytes] {
            for (later, kind) in
                [1, 2].into_iter().flat_map(|later| KINDS.map(|kind| (later, kind)))
            {
                let full = Fault { after, kind: ErrorKind::StorageFull };
                let context = format!("{step}, {after} of {bytes}; {later} behind it {kind}");
                for pause in [Duration::ZERO, Duration::MAX] {
                    fail(pause, &[(step, full), (step + later, Fault::of(kind))], &context);
                }
            }
        }
    }
}

/// Bytes of a failed sync are read, and a later sync alone does not bring them to the disk: the
/// control of these tests.
#[test]
fn a_disk_whose_sync_failed_does_not_bring_it_later() {
    let steps = Rig::steps();
    let syncs: Vec<usize> = (0..steps.len())
        .filter(|step| is_of_journal(&steps[*step]) && matches!(steps[*step], Asked::Sync(_)))
        .collect();
    let mut rig = Rig::new(Duration::ZERO, 0);
    rig.disk.fail_at(syncs[1], Fault::of(ErrorKind::Other));
    rig.live("control");
    let (key, _) = rig.expected.unsure.clone().unwrap();
    let Asked::Sync(journal) = &steps[syncs[1]] else { panic!() };
    rig.disk.synced(&rig.folder().join(journal.file_name().unwrap()));
    let mut found = [false; 2];
    for seed in 0..40u64 {
        let to = rig.outer.path().join(format!("control-{seed}"));
        rig.disk.power_cut(&rig.folder(), &to, seed).unwrap();
        fs::set_permissions(&to, fs::Permissions::from_mode(0o700)).unwrap();
        found[usize::from(rows(&Store::open(&to).unwrap()).contains_key(&key))] = true;
    }
    assert_eq!(found, [true; 2]);
}
