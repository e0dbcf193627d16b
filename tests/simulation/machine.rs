//! A machine with one process: its clock, its folder, what is left of both when the process ends.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tessera_runtime::clock::ManualClock;
use tessera_runtime::random::{SeededRandom, SharedRandom};
use tessera_runtime::store::testing::{watch, LossyDisk};
use tessera_token::time::UnixSeconds;

/// How a process ends without being asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// In order.
    Stop,
    /// `kill -9`: data that the operating system was given stay.
    Kill,
    /// The power is cut: synced data stay, and any part of the data written since.
    PowerCut,
}

/// Where the key-value stores of a process lie in its folder.
const STORES: [&str; 2] = ["agent", "broker/sessions"];
/// Memory of the processes that had the database open, which no power cut leaves. All else of it is synced before a change
/// is answered.
const SHARED_MEMORY: &str = "provisioning/store/data.sqlite-shm";

pub struct Machine {
    pub name: String,
    pub clock: Arc<ManualClock>,
    /// How far its wall clock is wrong, in seconds.
    pub wrong: i64,
    home: PathBuf,
    /// Each life of the process has a folder of its own, so that the writes of an abandoned one reach no other.
    life: u64,
    seed: u64,
    /// The disk below the stores of this life.
    pub disk: Arc<LossyDisk>,
}

impl Machine {
    pub fn new(home: &Path, name: &str, now: u64, seed: u64) -> Self {
        let home = home.join(name);
        fs::create_dir_all(home.join("0")).unwrap();
        let clock = ManualClock::at(UnixSeconds::new(now / 1000));
        let disk = mount(&home.join("0"));
        Self { name: name.to_owned(), clock, wrong: 0, home, life: 0, seed, disk }
    }

    pub fn folder(&self) -> PathBuf {
        self.home.join(self.life.to_string())
    }

    pub fn advance(&self, by: Duration) {
        self.clock.advance(by);
    }

    /// Its wall clock shows the true time (milliseconds) and `wrong` seconds from now on.
    pub fn set_wrong(&mut self, now: u64, wrong: i64) {
        self.wrong = wrong;
        self.clock.set_unix(UnixSeconds::new((now / 1000).saturating_add_signed(wrong)));
    }

    /// Randomness of this life.
    pub fn random(&self) -> SharedRandom {
        let random = SeededRandom::predictable(self.seed);
        random.fork(&format!("{} {}", self.name, self.life)).shared()
    }

    /// State that the end of the process leaves at this moment, in a folder for the next life; its path. Work that goes on after an
    /// answer, such as a checkpoint, may change files while they are copied: then it is a moment later.
    pub fn left(&self, how: End, draw: u64) -> PathBuf {
        let next = self.home.join((self.life + 1).to_string());
        loop {
            let before = print(&self.folder());
            let _ = fs::remove_dir_all(&next);
            copy(&self.folder(), &next);
            for store in STORES.iter().filter(|_| how == End::PowerCut) {
                let (from, to) = (self.folder().join(store), next.join(store));
                if from.is_dir() {
                    fs::remove_dir_all(&to).unwrap();
                    self.disk.power_cut(&from, &to, draw).unwrap();
                    close_to_others(&to);
                }
            }
            if how == End::PowerCut {
                let _ = fs::remove_file(next.join(SHARED_MEMORY));
            }
            if print(&self.folder()) == before {
                return next;
            }
        }
    }

    /// A copy elsewhere.
    pub fn copy_to(&self, name: &str) -> PathBuf {
        let to = self.home.join(name);
        loop {
            let before = print(&self.folder());
            let _ = fs::remove_dir_all(&to);
            copy(&self.folder(), &to);
            if print(&self.folder()) == before {
                return to;
            }
        }
    }

    /// The next life begins with this folder, or with an empty one.
    pub fn next_life(&mut self, now: u64, from: Option<&Path>) {
        let old = self.folder();
        self.life += 1;
        let folder = self.folder();
        if from != Some(&folder) {
            let _ = fs::remove_dir_all(&folder);
            match from {
                Some(from) => copy(from, &folder),
                None => fs::create_dir_all(&folder).unwrap(),
            }
        }
        let _ = fs::remove_dir_all(&old);
        watch::forget(&old);
        self.disk = mount(&folder);
        // Monotonic time begins again, wall time does not.
        self.clock = ManualClock::at(UnixSeconds::new(now / 1000));
        self.set_wrong(now, self.wrong);
    }
}

/// A disk on which everything in the folder is safe, and that sees what is written from now on.
fn mount(folder: &Path) -> Arc<LossyDisk> {
    let disk = LossyDisk::new();
    // Its time is not that of the simulation, which asks for each look.
    disk.set_pause(Duration::MAX);
    disk.adopt(folder).unwrap();
    watch::below(folder, disk.clone());
    disk
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    fs::set_permissions(to, fs::metadata(from).unwrap().permissions()).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &target),
            // A file may go while its folder is read.
            false => drop(fs::copy(entry.path(), target)),
        }
    }
}

/// Names, sizes and times of all files.
fn print(folder: &Path) -> Vec<(PathBuf, u64, SystemTime)> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            // A file may go while its folder is read: then the next look is another one.
            let Ok(about) = entry.metadata() else { continue };
            if about.is_dir() {
                folders.push(entry.path());
            }
            found.push((entry.path(), about.len(), about.modified().unwrap()));
        }
    }
    found.sort();
    found
}

/// The modes that the product gives to its stores.
fn close_to_others(folder: &Path) {
    fs::set_permissions(folder, Permissions::from_mode(0o700)).unwrap();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => close_to_others(&path),
            false => fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap(),
        }
    }
}

/// A folder for all of them; in memory where that is possible, for a virtual disk needs no real one.
pub fn home() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}
