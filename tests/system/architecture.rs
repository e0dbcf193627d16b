//! The rules of `ARCHITECTURE.md` that a compiler does not hold.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

const CRATES: [&str; 8] =
    ["token", "runtime", "agent", "broker", "provisioning", "simulators", "cli", "tests"];

/// Which of our crates each may depend on.
const ARROWS: [(&str, &[&str]); 6] = [
    ("token", &[]),
    ("runtime", &["token"]),
    ("agent", &["token", "runtime"]),
    ("broker", &["agent", "token", "runtime"]),
    ("provisioning", &["token", "runtime"]),
    ("simulators", &["token", "runtime"]),
];

/// A foreign library, and the one file that may name it.
const FACADES: [(&str, &str); 14] = [
    ("coset", "token/src/cose.rs"),
    ("ed25519_dalek", "token/src/key/ed25519.rs"),
    ("curve25519_dalek", "token/src/key/ed25519.rs"),
    ("hkdf", "token/src/proof/derived.rs"),
    ("hpke", "token/src/seal.rs"),
    ("minicbor", "token/src/cbor/mod.rs"),
    ("sled", "runtime/src/store/engine.rs"),
    ("serde_cbor", "runtime/src/store/record.rs"),
    ("ppp", "runtime/src/proxy/header.rs"),
    ("ipnet", "runtime/src/proxy/mod.rs"),
    ("rustix", "runtime/src/umask.rs"),
    ("reqwest", "runtime/src/http/mod.rs"),
    ("rumqttd", "broker/src/lanes/fleet/router.rs"),
    ("rumqttc", "simulators/src/wire/protocol.rs"),
];

struct Source {
    path: String,
    text: String,
}

/// Every Rust file of the product: no tests, no benches.
fn sources() -> Vec<Source> {
    let mut found = Vec::new();
    let mut folders: Vec<PathBuf> =
        CRATES.iter().filter(|c| **c != "tests").map(|c| root().join(c).join("src")).collect();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            if path.is_dir() && name != "tests" {
                folders.push(path);
            } else if name.ends_with(".rs") && name != "tests.rs" {
                let text = fs::read_to_string(&path).unwrap();
                found.push(Source { path: short(&path), text });
            }
        }
    }
    assert!(found.len() > 60, "the tree was not found");
    found
}

fn short(path: &Path) -> String {
    path.strip_prefix(root()).unwrap().to_str().unwrap().replace('\\', "/")
}

/// The code of a file without its unit tests and comments.
fn code(source: &Source) -> impl Iterator<Item = (usize, &str)> {
    source
        .text
        .lines()
        .enumerate()
        .take_while(|(_, line)| !line.starts_with("#[cfg(test)]"))
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
}

#[test]
fn arrows_run_one_way() {
    for (name, allowed) in ARROWS {
        let manifest = fs::read_to_string(root().join(name).join("Cargo.toml")).unwrap();
        let dependencies = manifest.split("[dependencies]").nth(1).unwrap();
        let dependencies = dependencies.split("\n[").next().unwrap();
        let used: BTreeSet<&str> = dependencies
            .lines()
            .filter_map(|l| l.trim().strip_prefix("tessera-"))
            .filter_map(|l| l.split([' ', '=', '.']).next())
            .collect();
        let allowed: BTreeSet<&str> = allowed.iter().copied().collect();
        assert!(used.is_subset(&allowed), "{name} depends on {used:?}, allowed {allowed:?}");
    }
}

#[test]
fn each_foreign_library_has_one_facade() {
    for source in sources() {
        for (line, text) in code(&source) {
            for (library, facade) in FACADES {
                let named = text.contains(&format!("{library}::"))
                    || text.contains(&format!("use {library};"));
                assert!(
                    !named || source.path == facade,
                    "{}:{}: only {facade} may name {library}",
                    source.path,
                    line + 1
                );
            }
        }
    }
}

#[test]
fn one_file_reads_the_clock_and_one_draws_randomness() {
    for source in sources() {
        for (line, text) in code(&source) {
            let at = format!("{}:{}", source.path, line + 1);
            let clock = text.contains("SystemTime::now") || text.contains("Instant::now");
            assert!(!clock || source.path == "runtime/src/clock.rs", "{at} reads the clock");
            let random = text.contains("getrandom::") || text.contains("rand::");
            assert!(!random || source.path == "runtime/src/random.rs", "{at} draws randomness");
        }
    }
}

#[test]
fn rooms_stay_small() {
    for source in sources() {
        let lines = source.text.lines().count();
        assert!(lines <= 450, "{} has {lines} lines: split it by its stages", source.path);
    }
}

#[test]
fn every_refusal_code_is_explained() {
    let page = fs::read_to_string(root().join("docs/refusals.md")).unwrap();
    for code in tessera_token::refusal::RefusalCode::ALL {
        assert!(page.contains(&format!("`{code}`")), "docs/refusals.md does not explain {code}");
    }
}
