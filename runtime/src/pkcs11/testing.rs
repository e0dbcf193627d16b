//! SoftHSM in a folder, for tests (feature `testing`): a security module of software, with tokens that a test makes, takes
//! away and brings back. Needs the Debian package softhsm2, which `tests/run` installs.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
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
const CONFIG: &str = "softhsm2.conf";
const TOKENS: &str = "tokens";

/// A SoftHSM whose tokens lie in a folder.
pub struct SoftHsm {
    folder: PathBuf,
    /// How many tokens were made.
    made: Mutex<u32>,
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
        configure(folder);
        Self { folder: folder.to_owned(), made: Mutex::default() }
    }

    /// The variable that names its configuration, for other processes.
    pub fn variable(&self) -> (&'static str, PathBuf) {
        (VARIABLE, self.folder.join(CONFIG))
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
        let mut made = self.made.lock();
        *made += 1;
        // SoftHSM reads wrongly what another process writes at that moment: the token is made in a folder of its own and
        // moved here whole.
        let apart = self.folder.join(format!("made-{made}"));
        configure(&apart);
        let output = Command::new("softhsm2-util")
            .args(["--init-token", "--free", "--label", label, "--so-pin", "00000000"])
            .args(["--pin", pin])
            .env(VARIABLE, apart.join(CONFIG))
            .output();
        let output = output.expect("softhsm2-util is missing: apt-get install softhsm2");
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "softhsm2-util: {told}");
        let mut folders = fs::read_dir(apart.join(TOKENS)).unwrap();
        let from = folders.next().unwrap().unwrap().path();
        let objects = self.folder.join(TOKENS).join(from.file_name().unwrap());
        fs::rename(from, &objects).unwrap();
        let pin_file = self.folder.join(format!("{label}.pin"));
        write_secret_file(&pin_file, format!("{pin}\n").as_bytes()).unwrap();
        SoftToken { label: label.to_owned(), pin_file, objects }
    }
}

/// Writes the configuration of a SoftHSM whose tokens lie in this folder.
fn configure(folder: &Path) {
    let tokens = folder.join(TOKENS);
    fs::create_dir_all(&tokens).unwrap();
    let config = format!(
        "directories.tokendir = {}\nobjectstore.backend = file\nlog.level = ERROR\n",
        tokens.display()
    );
    fs::write(folder.join(CONFIG), config).unwrap();
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

/// SoftHSM behind a library that holds calls back when it is told to.
pub struct HeldBack {
    pub module: PathBuf,
    folder: PathBuf,
}

/// `C_SignInit` and `C_Sign` of a copy of SoftHSM, which has a state of its own. A call waits as long as its file is there.
const HELD_BACK: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <unistd.h>

struct list { unsigned char major, minor; void *calls[68]; };
typedef unsigned long number;
static struct list wrapped;
static number (*begin)(number, void *, number);
static number (*sign)(number, unsigned char *, number, unsigned char *, number *);

static number held_begin(number session, void *mechanism, number key) {
    if (rename(FOLDER "/hold", FOLDER "/held") == 0) {
        while (access(FOLDER "/held", F_OK) == 0) usleep(1000);
        number code = 0;
        FILE *file = fopen(FOLDER "/code", "r");
        if (file) {
            if (fscanf(file, "%lu", &code) != 1) code = 0;
            fclose(file);
            unlink(FOLDER "/code");
        }
        if (code) return code;
    }
    return begin(session, mechanism, key);
}

static number held_sign(number session, unsigned char *data, number size, unsigned char *out, number *room) {
    while (access(FOLDER "/hang", F_OK) == 0) usleep(1000);
    return sign(session, data, size, out, room);
}

number C_GetFunctionList(struct list **out) {
    void *real = dlopen(REAL, RTLD_NOW | RTLD_LOCAL | RTLD_DEEPBIND);
    if (!real) return 5;
    number (*get)(struct list **) = (number (*)(struct list **))dlsym(real, "C_GetFunctionList");
    struct list *found = 0;
    if (!get || get(&found) != 0) return 5;
    wrapped = *found;
    begin = (number (*)(number, void *, number))wrapped.calls[42];
    sign = (number (*)(number, unsigned char *, number, unsigned char *, number *))wrapped.calls[43];
    wrapped.calls[42] = (void *)held_begin;
    wrapped.calls[43] = (void *)held_sign;
    *out = &wrapped;
    return 0;
}
"#;

impl HeldBack {
    /// Makes the library in this folder; `None`, and a word, where there is no C compiler.
    pub fn in_folder(folder: &Path) -> Option<Self> {
        let folder = folder.canonicalize().unwrap();
        let (code, copy) = (folder.join("held_back.c"), folder.join("softhsm_copy.so"));
        let module = folder.join("held_back.so");
        fs::write(&code, HELD_BACK).unwrap();
        fs::copy(SoftHsm::module(), &copy).unwrap();
        let define = |name: &str, value: &Path| format!("-D{name}=\"{}\"", value.display());
        let made = Command::new("cc")
            .args(["-shared", "-fPIC", &define("FOLDER", &folder), &define("REAL", &copy), "-o"])
            .args([&module, &code])
            .arg("-ldl")
            .output();
        match made {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                println!("LEFT OUT: there is no C compiler (cc)");
                return None;
            }
            made => {
                let made = made.unwrap();
                assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
            }
        }
        Some(Self { module, folder })
    }

    /// The settings of a token, by this library.
    pub fn settings(&self, token: &SoftToken) -> ModuleSettings {
        ModuleSettings { module: self.module.clone(), ..token.settings() }
    }

    /// No signature returns from now on.
    pub fn hang(&self) {
        fs::write(self.folder.join("hang"), "").unwrap();
    }

    /// All of them go on.
    pub fn go_on(&self) {
        fs::remove_file(self.folder.join("hang")).unwrap();
    }

    /// The next signature waits before the module looks at its key.
    pub fn hold_next(&self) {
        fs::write(self.folder.join("hold"), "").unwrap();
    }

    /// Whether it waits.
    pub fn holds(&self) -> bool {
        self.folder.join("held").exists()
    }

    /// Lets it go on; with a code the module answers that.
    pub fn release(&self, code: Option<u64>) {
        if let Some(code) = code {
            fs::write(self.folder.join("code"), code.to_string()).unwrap();
        }
        fs::remove_file(self.folder.join("held")).unwrap();
    }
}
