//! SoftHSM in a folder, for tests (feature `testing`): a security module of software, with tokens that a test makes, takes
//! away and brings back. Needs the Debian package softhsm2, which `tests/run` installs.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "it serves tests alone"
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use parking_lot::Mutex;

use super::{ModuleSettings, Pin};
use crate::secret::write_secret_file;

/// Places of the module on Linux.
const MODULES: [&str; 5] = [
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib64/pkcs11/libsofthsm2.so",
    "/usr/local/lib/softhsm/libsofthsm2.so",
];
const VARIABLE: &str = "SOFTHSM2_CONF";

/// A SoftHSM whose tokens lie in a folder.
pub struct SoftHsm {
    folder: PathBuf,
    /// The folders of the tokens that were made.
    made: Mutex<BTreeSet<PathBuf>>,
}

/// A token of it.
pub struct SoftToken {
    pub label: String,
    pub pin_file: PathBuf,
    /// The folder of its objects.
    pub objects: PathBuf,
}

impl SoftHsm {
    pub fn in_folder(folder: &Path) -> Self {
        let tokens = folder.join("tokens");
        fs::create_dir_all(&tokens).unwrap();
        let config = format!(
            "directories.tokendir = {}\nobjectstore.backend = file\nlog.level = ERROR\n",
            tokens.display()
        );
        fs::write(folder.join("softhsm2.conf"), config).unwrap();
        Self { folder: folder.to_owned(), made: Mutex::default() }
    }

    /// The variable that names its configuration, for other processes.
    pub fn variable(&self) -> (&'static str, PathBuf) {
        (VARIABLE, self.folder.join("softhsm2.conf"))
    }

    /// Makes it the one of this process.
    pub fn take_process(&self) {
        let (name, value) = self.variable();
        std::env::set_var(name, value);
    }

    pub fn module() -> PathBuf {
        let found = MODULES.iter().map(PathBuf::from).find(|path| path.exists());
        found.expect("SoftHSM is missing: apt-get install softhsm2 (tests/run does it)")
    }

    /// Makes a token with this PIN, which is put into a file too.
    pub fn token(&self, label: &str, pin: &str) -> SoftToken {
        let mut known = self.made.lock();
        self.util(&[
            "--init-token",
            "--free",
            "--label",
            label,
            "--so-pin",
            "00000000",
            "--pin",
            pin,
        ]);
        let made: Vec<_> = self.folders().difference(&known).cloned().collect();
        let [objects] = made.as_slice() else { panic!("one token was made, not {made:?}") };
        known.insert(objects.clone());
        let pin_file = self.folder.join(format!("{label}.pin"));
        write_secret_file(&pin_file, format!("{pin}\n").as_bytes()).unwrap();
        SoftToken { label: label.to_owned(), pin_file, objects: objects.clone() }
    }

    fn folders(&self) -> BTreeSet<PathBuf> {
        let entries = fs::read_dir(self.folder.join("tokens")).unwrap();
        entries.map(|entry| entry.unwrap().path()).collect()
    }

    fn util(&self, args: &[&str]) {
        let (name, value) = self.variable();
        let output = Command::new("softhsm2-util").args(args).env(name, value).output();
        let output = output.expect("softhsm2-util is missing: apt-get install softhsm2");
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "softhsm2-util {args:?}: {told}");
    }
}

impl SoftToken {
    pub fn settings(&self) -> ModuleSettings {
        ModuleSettings::new(SoftHsm::module(), self.label.clone(), Pin::File(self.pin_file.clone()))
    }

    /// The files of its objects, without that of the token itself.
    pub fn object_files(&self) -> BTreeSet<PathBuf> {
        let entries = fs::read_dir(&self.objects).unwrap().map(|entry| entry.unwrap().path());
        let is_object = |path: &PathBuf| {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            name.ends_with(".object") && name != "token.object"
        };
        entries.filter(is_object).collect()
    }

    fn away(&self) -> PathBuf {
        self.objects.parent().unwrap().parent().unwrap().join(format!("{}.away", self.label))
    }

    /// Takes the token out.
    pub fn take_out(&self) {
        fs::rename(&self.objects, self.away()).unwrap();
    }

    /// Puts it in again.
    pub fn put_in(&self) {
        fs::rename(self.away(), &self.objects).unwrap();
    }
}
