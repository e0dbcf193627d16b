//! `README.md`: its blocks are pasted in their order, and each shows what stands below it.
//!
//! A block `sh terminal-N` is pasted into terminal N, a `bash` of its own in an empty folder that stands for the clone.
//! A block `text terminal-N` is a promise about that terminal: its lines appear there in this order, `…` stands for any
//! text. The next block is pasted when the promise is kept. The debug binary stands in the place of `cargo build`.
//! The terminals are in a network namespace of their own, so that the ports of the page are free.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::{symlink, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use tempfile::TempDir;
use tessera_tests::process::{root, run, tessera, Process};

/// One block of code.
#[derive(Debug, PartialEq, Eq)]
struct Block {
    /// `sh` or `text`.
    kind: String,
    /// The word behind it.
    place: String,
    lines: Vec<String>,
}

/// The blocks of a page.
fn blocks(page: &str) -> Vec<Block> {
    let mut found: Vec<Block> = Vec::new();
    let mut inside = false;
    for line in page.lines() {
        match (line.strip_prefix("```"), inside) {
            (Some(info), false) => {
                let (kind, place) = info.split_once(' ').unwrap_or((info, ""));
                found.push(Block { kind: kind.into(), place: place.into(), lines: Vec::new() });
                inside = true;
            }
            (Some(_), true) => inside = false,
            (None, true) => found.last_mut().unwrap().lines.push(line.to_owned()),
            (None, false) => {}
        }
    }
    found
}

fn readme() -> Vec<Block> {
    blocks(&fs::read_to_string(root().join("README.md")).unwrap())
}

fn is_terminal(block: &Block) -> bool {
    block.place.starts_with("terminal-")
}

/// Whether a line is the promised one, in which `…` stands for any text.
fn is_kept(promise: &str, line: &str) -> bool {
    let parts: Vec<&str> = promise.split('…').collect();
    let [first, between @ .., last] = &parts[..] else { return promise == line };
    let Some(rest) = line.strip_prefix(first) else { return false };
    let Some(mut rest) = rest.strip_suffix(last) else { return false };
    between.iter().all(|part| {
        let found = rest.split_once(part);
        rest = found.map_or(rest, |(_, behind)| behind);
        found.is_some()
    })
}

#[test]
fn a_promise_is_kept_by_a_whole_line() {
    assert!(is_kept("ready", "ready"));
    assert!(!is_kept("ready", "not ready"));
    assert!(!is_kept("ready", "ready yet"));
    assert!(is_kept("expires   … (in …)", "expires   2026-11-29 (in 60 min 0 s)"));
    assert!(!is_kept("expires   … (in …)", "expires   2026-11-29 (in 60 min 0 s) or so"));
    assert!(is_kept("…revoke…", "5 device.revoke d-17"));
    assert!(!is_kept("…revoke…", "5 device.reinstate d-17"));
}

/// A block that no test runs cannot stand in the README.
#[test]
fn readme_has_no_block_without_a_test() {
    let ci = fs::read_to_string(root().join(".ci/run")).unwrap();
    let blocks = readme();
    for (at, block) in blocks.iter().enumerate() {
        match (block.kind.as_str(), block.place.as_str()) {
            ("sh", "demo") => {
                // CI runs the same words, with an end, and with the build that the tests have: a release build would take
                // five minutes of its thirty.
                assert_eq!(block.lines, ["cargo run --release -- demo"]);
                assert!(ci.contains("cargo run --locked --quiet -- demo --for 30s"));
            }
            ("sh", "tests") => {
                assert_eq!(block.lines, ["tests/run"]);
                assert!(ci.lines().any(|line| line == "tests/run"));
            }
            ("sh", _) if is_terminal(block) => {
                let next = blocks.get(at + 1).unwrap();
                assert_eq!((&next.kind[..], &next.place), ("text", &block.place), "{block:?}");
            }
            ("text", "demo") => {
                // The name of an expectation; the rest differs from run to run.
                let list =
                    fs::read_to_string(root().join("simulators/src/scenario/expectations.rs"));
                let list = list.unwrap();
                let expected = block.lines.iter().filter_map(|line| line.strip_prefix("ok   "));
                let names: Vec<&str> =
                    expected.map(|line| line.split("  ").next().unwrap()).collect();
                assert_eq!(names.len(), 13, "{names:?}");
                for name in names {
                    assert!(list.contains(&format!("\"{name}\"")), "{name} is no expectation");
                }
            }
            ("text", _) if is_terminal(block) => {}
            _ => panic!("no test runs this block: {block:?}"),
        }
    }
    let terminals: BTreeSet<&str> =
        blocks.iter().filter(|block| is_terminal(block)).map(|block| &block.place[..]).collect();
    assert!(terminals.len() > 2, "the blocks were not found: {terminals:?}");
}

/// A network of its own, or that of this machine.
pub(super) enum Network {
    Own { holder: Process, enter: &'static [&'static str] },
    Shared,
}

impl Network {
    /// The namespace; `None` when there is none to be had and a port of the README is taken.
    pub(super) fn new() -> Option<Self> {
        const UP: &str = "ip link set lo up && echo up && exec cat";
        const WAYS: [(&[&str], &[&str]); 2] =
            [(&["-r", "-n"], &["--preserve-credentials", "-U", "-n"]), (&["-n"], &["-n"])];
        for (unshare, enter) in WAYS {
            if run(Command::new("unshare").args(unshare).arg("true")).0 {
                let mut command = Command::new("unshare");
                let mut holder = Process::start(command.args(unshare).args(["sh", "-c", UP]));
                holder.line("loopback", |line| line == "up");
                return Some(Self::Own { holder, enter });
            }
        }
        let free = |port| std::net::TcpListener::bind(("127.0.0.1", port)).is_ok();
        [1883, 8080, 8443, 8883, 9464, 9465].into_iter().all(free).then_some(Self::Shared)
    }

    /// A command in it.
    pub(super) fn command(&self, program: &str) -> Command {
        let Self::Own { holder, enter } = self else { return Command::new(program) };
        let mut command = Command::new("nsenter");
        command.args(*enter).args(["-t", &holder.id().to_string(), program]);
        command
    }
}

/// A `bash`; with all that it started it is a group, which ends with it.
struct Terminal(Process);

impl Terminal {
    fn open(network: &Network, clone: &Path, tools: &Path) -> Self {
        let path = std::env::var("PATH").unwrap();
        let mut command = network.command("stdbuf");
        command.args(["-oL", "bash", "-c", "exec bash --norc 2>&1"]).current_dir(clone);
        command.env("PATH", format!("{}:{path}", tools.display()));
        for name in ["TESSERA_OPERATOR_TOKEN", "TESSERA_CAFILE", "TESSERA_DEVICE_DIR"] {
            command.env_remove(name);
        }
        Self(Process::start(command.process_group(0)))
    }

    fn signal(&self, name: &str) {
        let group = format!("-{}", self.0.id());
        // A group that has ended is not there any more.
        let _ =
            Command::new("kill").args(["-s", name, "--", &group]).stderr(Stdio::null()).status();
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.signal("KILL");
    }
}

/// `cargo`, which has built already.
fn cargo(tools: &Path) {
    let script = format!(
        "#!/bin/sh\n[ \"$*\" = 'build --release' ] || exit 64\nmkdir -p target/release\nln -s '{}' target/release/tessera\n",
        fs::canonicalize(tessera()).unwrap().display()
    );
    let path = tools.join("cargo");
    fs::write(&path, script).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// Pastes the blocks of a page, and waits for what each promises. `built` is whether `tessera` is on the PATH from the
/// start. The first terminal is told to end as by Ctrl-C, and must have drained.
pub(super) fn paste(page: &str, built: bool) {
    let Some(network) = Network::new() else {
        println!("LEFT OUT: no network namespace, and a port of {page} is in use");
        return;
    };
    let (clone, tools) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    match built {
        true => {
            symlink(fs::canonicalize(tessera()).unwrap(), tools.path().join("tessera")).unwrap()
        }
        false => cargo(tools.path()),
    }
    let mut terminals: BTreeMap<String, Terminal> = BTreeMap::new();
    let text = fs::read_to_string(root().join(page)).unwrap();
    for block in blocks(&text).into_iter().filter(is_terminal) {
        if block.kind == "sh" {
            let open = || Terminal::open(&network, clone.path(), tools.path());
            let terminal = terminals.entry(block.place.clone()).or_insert_with(open);
            block.lines.iter().for_each(|line| terminal.0.say(line));
        } else {
            let terminal = terminals.get_mut(&block.place).unwrap();
            for promise in &block.lines {
                terminal.0.line(promise, |line| is_kept(promise, line));
            }
        }
    }
    // Ctrl-C.
    let mut first = terminals.remove("terminal-1").unwrap();
    first.signal("INT");
    first.0.wait();
    assert!(first.0.output().contains("drained"), "{}", first.0.output());
}

#[test]
fn readme_pasted_shows_what_it_promises() {
    paste("README.md", false);
}
