//! The rules of `ARCHITECTURE.md` that a compiler does not hold.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

const CRATES: [&str; 10] = [
    "token",
    "runtime",
    "behaviour",
    "rules",
    "agent",
    "broker",
    "provisioning",
    "simulators",
    "cli",
    "tests",
];

/// Which of our crates each may depend on.
const ARROWS: [(&str, &[&str]); 8] = [
    ("token", &[]),
    ("runtime", &["token"]),
    ("behaviour", &["token"]),
    ("agent", &["token", "runtime", "behaviour", "rules"]),
    ("rules", &["token"]),
    ("broker", &["agent", "token", "runtime", "rules"]),
    ("provisioning", &["token", "runtime", "rules"]),
    ("simulators", &["token", "runtime", "behaviour"]),
];

/// Libraries that have more than one role, with the number of their rows in the table of facades: it may only fall.
const ROLES: [(&str, usize); 7] = [
    ("actix_http", 3),
    ("hmac", 2),
    ("rcgen", 2),
    ("rumqttc", 2),
    ("rustls", 4),
    ("socket2", 2),
    ("toml", 3),
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

/// The code of a file without its unit tests and comments, with its line numbers from 0.
fn code(source: &Source) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let mut lines = source.text.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        if line.starts_with("#[cfg(test)]") {
            // The item behind it: one line, or up to the brace at the margin.
            let item = lines.by_ref().find(|(_, line)| !line.starts_with("#["));
            let is_one_line = item.is_none_or(|(_, line)| line.ends_with([';', '}']));
            if !is_one_line {
                lines.by_ref().find(|(_, line)| line.starts_with('}'));
            }
        } else if !line.trim_start().starts_with("//") {
            found.push((number, line));
        }
    }
    found
}

/// The rooms of each crate by level, from below: a room names none of its own level or above. `ARCHITECTURE.md` says what
/// each level is for.
const LEVELS: [(&str, &[&[&str]]); 9] = [
    (
        "behaviour",
        &[
            &["limits"],
            &["observation"],
            &["alert", "convert", "truth"],
            &["detector"],
            &["engine"],
        ],
    ),
    ("rules", &[&["limits"], &["attributes"], &["language"], &["rule"], &["set"], &["dry_run"]]),
    (
        "token",
        &[
            &["encoding", "limits", "refusal", "time"],
            &["cbor", "hash", "ids", "topic"],
            &["key", "scope", "seal"],
            &["cose", "pop"],
            &["ace", "claims", "messages"],
            &["proof"],
            &["grant", "issue", "presented", "status_list"],
            &["token_identity"],
            &["chain"],
            &["trust"],
            &["head"],
        ],
    ),
    (
        "runtime",
        &[
            &[
                "boxed",
                "hold_back",
                "inherited",
                "kernel",
                "limits",
                "random",
                "ready",
                "stop",
                "x509",
            ],
            &["clock"],
            &["held", "lived", "metrics", "store", "tls"],
            &["log", "proxy", "secret", "service_manager", "sql"],
            &["credential", "derivation", "device_folder", "http", "mqtt", "pkcs11"],
        ],
    ),
    (
        "agent",
        &[
            &["actor_thread", "announced", "limits", "location", "rulebook"],
            &["inventory"],
            &["behaviour", "ledger", "namesake", "trust"],
            &["error", "validator"],
            &["verifier"],
            &["config", "settings"],
            &["uplink"],
            &["delivery", "sync"],
            &["start"],
            &["daemon"],
            &["gateway"],
        ],
    ),
    (
        "broker",
        &[
            &["config_error", "limits"],
            &["admission", "codec", "refusals", "relay", "shares", "resumption", "uplinks"],
            &["challenges", "message", "partners", "transport", "visits"],
            &["authz_info", "enrolment"],
            &["authentication", "persistence", "authorisation", "push"],
            &["guard", "routing"],
            &["metrics", "session"],
            &["registry"],
            &["config", "hub"],
            &["deadlines", "http", "revocation"],
            &["control_topics"],
            &["alerts", "connection"],
            &["server"],
        ],
    ),
    (
        "provisioning",
        &[
            &["limits", "mac", "metrics", "refused"],
            &["admission", "attempts", "records", "strangers", "turns", "write"],
            &["revision", "tables"],
            &["audit", "former", "room", "start_error"],
            &["database_settings", "key_schedule", "push_settings", "webhook_settings"],
            &["clock", "config", "keys"],
            &["issue", "nonce", "settings"],
            &["trust"],
            &["service"],
            &["once", "warrant"],
            &["registry"],
            &[
                "families",
                "operators",
                "reenrol",
                "restraints",
                "revoke",
                "rotation",
                "token_for_device",
            ],
            &[
                "alerts",
                "api_tokens",
                "enrol",
                "feed",
                "heal",
                "introspect",
                "inventory",
                "partners",
                "preview",
                "push",
                "recovery",
                "refresh",
                "refresh_grant",
                "rekey",
                "rules",
                "signed_head",
                "webhooks",
            ],
            &["rest", "sweep"],
            &["start"],
            &["driven"],
        ],
    ),
    (
        "simulators",
        &[
            &["limits"],
            &["detection", "mqtt", "report"],
            &["device"],
            &["operator", "personas"],
            &["fleet"],
            &["bench", "credentials", "scenario"],
            &["load"],
            &["play"],
        ],
    ),
    (
        "cli",
        &[
            &["allocator", "duration", "error", "output", "time"],
            &["open_files", "terminal"],
            &["args", "progress", "secrets"],
            &["config", "detection", "device", "operator", "pages", "sim", "ticket_keys"],
            &["bench", "load", "root", "rule", "serve"],
            &["backup", "demo", "play"],
            &["store"],
        ],
    ),
];

/// The rooms that a line names, by `crate::` or, at the top of a room, by `super::`. A list in braces may go on.
fn named(line: &str, is_top: bool) -> Vec<String> {
    let ways = if is_top { &["crate::", "super::"][..] } else { &["crate::"] };
    let mut found = Vec::new();
    for way in ways {
        for (at, _) in line.match_indices(way) {
            let is_longer =
                line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':');
            let rest = &line[at + way.len()..];
            match rest.strip_prefix('{') {
                _ if is_longer => {}
                Some(list) => found.extend(first_of_each(list)),
                None => found.extend(first_of_each(rest).into_iter().take(1)),
            }
        }
    }
    found
}

/// The first name of each entry of a list such as `alerts::{self, watch}, connection`.
fn first_of_each(list: &str) -> Vec<String> {
    let (mut depth, mut entries) = (0, vec![String::new()]);
    for c in list.chars() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => entries.push(String::new()),
            _ if depth == 0 => entries.last_mut().unwrap().push(c),
            _ => {}
        }
    }
    let name = |entry: &String| {
        entry.trim().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>()
    };
    entries.iter().map(name).collect()
}

/// Uses over several lines become one, so that a list in braces is read whole.
fn joined(source: &Source) -> Vec<(usize, String)> {
    let mut found: Vec<(usize, String)> = Vec::new();
    let mut open = false;
    for (number, line) in code(source) {
        match found.last_mut().filter(|_| open) {
            Some((_, before)) => before.push_str(line.trim()),
            None => found.push((number, line.to_owned())),
        }
        let text = found.last().map_or("", |(_, text)| text.trim_start());
        let is_use = text.starts_with("use ")
            || text.starts_with("pub use ")
            || text.starts_with("pub(crate) use ");
        open = is_use && !text.ends_with(';');
    }
    found
}

#[test]
fn rooms_name_only_what_is_below_them() {
    let mut faults = Vec::new();
    for (name, levels) in LEVELS {
        let level = |room: &str| levels.iter().position(|rooms| rooms.contains(&room));
        let folder = format!("{name}/src/");
        for source in sources() {
            let Some(path) = source.path.strip_prefix(&folder) else { continue };
            let file = path.rsplit('/').next().unwrap();
            if matches!(file, "testing.rs" | "speed.rs") || file.ends_with("_tests.rs") {
                continue;
            }
            let room = path.split('/').next().unwrap().trim_end_matches(".rs");
            if matches!(room, "lib" | "main") {
                continue;
            }
            let Some(own) = level(room) else {
                faults.push(format!("{name}: the room {room} has no level"));
                continue;
            };
            let is_top = path == format!("{room}.rs") || path == format!("{room}/mod.rs");
            for (number, line) in joined(&source) {
                for other in named(&line, is_top) {
                    let Some(theirs) = level(&other).filter(|_| other != room) else { continue };
                    if theirs >= own {
                        faults.push(format!(
                            "{}:{}: {room} (level {}) names {other} (level {})",
                            source.path,
                            number + 1,
                            own + 1,
                            theirs + 1
                        ));
                    }
                }
            }
        }
    }
    assert!(faults.is_empty(), "arrows up or within a level:\n{}", faults.join("\n"));
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

/// The rows of the table of facades in `ARCHITECTURE.md`: a library and its file, or its folder with `/` at the end.
fn facades(page: &str) -> Vec<(String, String)> {
    let table = page.split("## Facades").nth(1).expect("the table of facades");
    let table = table.split("\n## ").next().unwrap();
    let rows =
        table.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| library"));
    let mut found = Vec::new();
    for row in rows {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let &[libraries, role, place] = cells.as_slice() else { panic!("not three cells: {row}") };
        assert!(!role.is_empty(), "no role: {row}");
        let path = place.strip_prefix('`').and_then(|path| path.strip_suffix('`'));
        let path = path.filter(|path| !path.contains('`'));
        let path = path.unwrap_or_else(|| panic!("a row has one path: {row}"));
        assert!(root().join(path).exists(), "not there: {row}");
        found.extend(libraries.split(", ").map(|l| (l.replace('-', "_"), path.to_owned())));
    }
    found
}

/// Whether a line names a library: as the beginning of a path, or in a `use` alone.
fn names(line: &str, library: &str) -> bool {
    line.match_indices(library).any(|(at, _)| {
        let is_inner = line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':');
        let rest = &line[at + library.len()..];
        let is_use = line.trim_start().starts_with("use ") || line.contains("pub use ");
        !is_inner && (rest.starts_with("::") || is_use && rest.starts_with([';', ' ']))
    })
}

/// Whether the file takes this name from elsewhere, such as `ring` from `rustls::crypto`.
fn is_other(source: &Source, library: &str) -> bool {
    let mut uses =
        joined(source).into_iter().filter(|(_, line)| line.trim_start().starts_with("use "));
    uses.any(|(_, line)| {
        let path = line.trim_start().trim_start_matches("use ");
        let words = path.split(|c: char| !c.is_alphanumeric() && c != '_');
        path.contains("::") && words.skip(1).any(|word| word == library)
    })
}

#[test]
fn each_foreign_library_has_one_facade_for_each_role() {
    let page = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let facades = facades(&page);
    let libraries: BTreeSet<&str> = facades.iter().map(|(library, _)| library.as_str()).collect();
    assert!(libraries.len() > 30, "the table was not found: {libraries:?}");
    let mut faults = Vec::new();
    let sources = sources();
    for library in libraries {
        let places = || facades.iter().filter(|(of, _)| of == library).map(|(_, place)| place);
        let most = ROLES.iter().find(|(of, _)| *of == library).map_or(1, |(_, most)| *most);
        if places().count() > most {
            faults.push(format!("{library} has {} roles, and {most} may be", places().count()));
        }
        for source in &sources {
            let is_facade = places().any(|place| match place.ends_with('/') {
                true => source.path.starts_with(place),
                false => source.path == *place,
            });
            if is_facade || is_other(source, library) {
                continue;
            }
            for (line, text) in code(source) {
                if names(text, library) {
                    let places: Vec<_> = places().collect();
                    let at = format!("{}:{}", source.path, line + 1);
                    faults.push(format!("{at}: only {places:?} may name {library}"));
                }
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn names_of_libraries_are_found() {
    for line in ["use hmac::Hmac;", "use hmac;", "    let x = hmac::y();", "pub use hmac as mac;"] {
        assert!(names(line, "hmac"), "{line}");
    }
    for line in ["use sha::hmac::X;", "let x_hmac = 1;", "hmac_of::x()", "let hmac = 1;"] {
        assert!(!names(line, "hmac"), "{line}");
    }
    let text = "use rustls::crypto::{self, ring};\n".to_owned();
    let source = Source { path: "x.rs".into(), text };
    assert!(is_other(&source, "ring") && !is_other(&source, "rustls"));
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
