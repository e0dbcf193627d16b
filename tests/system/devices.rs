//! The devices of `examples/`, run from nothing against a real server: they are enrolled, heard, refreshed, and come
//! through a wrong clock, a broker that was killed and a token that ended; they end when they are revoked.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use tempfile::TempDir;
use tessera_tests::process::{ok, python, root, tessera, Process};
use tessera_tests::server::{Device, Server};
use tessera_tests::site::{rest, Places};

use crate::tls::certificate;

/// Seconds that the tokens of the role `short` live.
const SHORT: u64 = 8;

/// The language of an example.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Language {
    Python,
    C,
    JavaScript,
}

/// Does it for each language, all at once: the devices mostly wait.
pub(crate) fn in_each(test: impl Fn(Language) + Sync) {
    let test = &test;
    std::thread::scope(|scope| {
        for language in Language::ALL {
            let thread = std::thread::Builder::new().name(format!("in {language:?}"));
            thread.spawn_scoped(scope, move || test(language)).unwrap();
        }
    });
}

impl Language {
    /// All of them.
    pub(crate) const ALL: [Self; 3] = [Self::Python, Self::C, Self::JavaScript];

    /// The example.
    pub(crate) fn program(self) -> Command {
        match self {
            Self::Python => {
                let mut command = Command::new(python());
                command.arg(root().join("examples/python/device.py"));
                command
            }
            Self::C => Command::new(built()),
            Self::JavaScript => {
                let modules = root().join("tests/node_modules");
                assert!(modules.join("mqtt").exists(), "mqtt.js is not installed: run tests/run");
                let mut command = Command::new("node");
                command.arg(root().join("examples/javascript/device.js")).env("NODE_PATH", modules);
                command
            }
        }
    }
}

/// The example in C, built as its head says, with every warning an error.
fn built() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        assert!(
            Path::new("/usr/include/mosquitto.h").exists(),
            "libmosquitto-dev is not installed: run tests/run, or apt install libmosquitto-dev"
        );
        assert!(
            Path::new("/usr/include/openssl/evp.h").exists(),
            "libssl-dev is not installed: run tests/run, or apt install libssl-dev"
        );
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("device-in-c");
        ok(Command::new("cc")
            .args(["-O2", "-Wall", "-Wextra", "-Werror", "-o"])
            .arg(&path)
            .arg(root().join("examples/c/device.c"))
            .args(["-lmosquitto", "-lssl", "-lcrypto"]));
        path
    })
}

/// A server on addresses of its own, so that it can be started there again.
fn start_at(places: Places, folder: TempDir, more: &[&str]) -> Server {
    let Places { http, mqtt, metrics, .. } = places;
    let mut process = Process::start(
        Command::new(tessera())
            .args(["up", "--mqtt", &mqtt.to_string(), "--http", &http.to_string()])
            .args(["--metrics", &metrics.to_string(), "--data"])
            .arg(folder.path().join("data"))
            .args(more),
    );
    process.line("ready", |line| line == "ready");
    Server { process, folder, mqtt, http, metrics }
}

fn start() -> Server {
    start_on(Places::fresh())
}

/// The same, with a role whose tokens live short.
fn start_on(places: Places) -> Server {
    let server = start_at(places, TempDir::new().unwrap(), &[]);
    let seconds = SHORT.to_string();
    ok(server.operator(&["role", "set", "short", "--token-seconds", &seconds]).args([
        "--publish",
        "d/{device}/telemetry",
        "--subscribe",
        "d/{device}/cmd",
    ]));
    server
}

/// A command on a machine whose clock is wrong; time passes there all the same.
pub(crate) fn with_clock<'a>(command: &'a mut Command, offset: &str) -> &'a mut Command {
    let library = ["x86_64-linux-gnu", "aarch64-linux-gnu", "arm-linux-gnueabihf", ""]
        .map(|f| Path::new("/usr/lib").join(f).join("faketime/libfaketimeMT.so.1"));
    let library = library.iter().find(|path| path.exists());
    command
        .env("LD_PRELOAD", library.expect("libfaketime is not installed: run tests/run"))
        .env("FAKETIME", offset)
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
        .env("FAKETIME_DONT_RESET", "1")
        .env("TZ", "UTC")
}

/// The settings of a device.
struct Card {
    language: Language,
    http: String,
    mqtt: String,
    claim: String,
    folder: PathBuf,
    more: Vec<String>,
}

impl Card {
    fn of(language: Language, server: &Server, role: &str) -> Self {
        let claim = ok(&mut server.operator(&["claim", "create", "--role", role, "--plain"]));
        Self {
            language,
            http: format!("http://{}", server.http),
            mqtt: format!("mqtt://{}", server.mqtt),
            claim: claim.trim().to_owned(),
            folder: server.folder.path().join("e-1"),
            more: Vec::new(),
        }
    }

    fn command(&self) -> Command {
        let mut command = self.language.program();
        command.args(["--http", &self.http, "--mqtt", &self.mqtt, "--device", "e-1"]);
        command.args(["--claim", &self.claim, "--every", "0.5", "--dir"]).arg(&self.folder);
        command.args(&self.more);
        command
    }

    fn start(&self) -> Process {
        Process::start(&mut self.command())
    }

    /// It names the certificate (libmosquitto: TLS), and neither enrols nor connects.
    fn refuses_the_certificate(&self) {
        let mut device = self.start();
        let any = ["no connection", "enrolled", "connected"];
        let told = device.line("a word", |line| any.iter().any(|words| line.contains(words)));
        let named = ["certificate", "tls"].iter().any(|word| told.to_lowercase().contains(word));
        assert!(told.starts_with("no connection") && named, "{told}");
    }

    /// The device on a machine whose clock is wrong.
    fn start_with_clock(&self, offset: &str) -> Process {
        Process::start(with_clock(&mut self.command(), offset))
    }
}

fn says(device: &mut Process, words: &str) -> String {
    device.line(words, |line| line.contains(words))
}

/// A client of mosquitto, at the server's own address.
fn mosquitto(device: &Device, program: &str) -> Command {
    let mut command = device.mosquitto(program);
    command.args(["-h", &device.mqtt.ip().to_string()]);
    command
}

/// A backend that prints what it hears of `e-1`.
fn reader(server: &Server) -> Process {
    let backend = server.enrol("backend", "backend");
    let mut reader = Process::start(mosquitto(&backend, "mosquitto_sub").args([
        "-t",
        "d/+/telemetry",
        "-q",
        "1",
        "-v",
    ]));
    reader.line("SUBACK", |line| line.contains("Subscribed"));
    reader
}

fn heard(reader: &mut Process) {
    reader.line("a message of the device", |line| line.starts_with("d/e-1/telemetry {\"n\":"));
}

fn ends(mut device: Process, code: &str) {
    let status = device.wait();
    let told = device.output();
    assert!(status.code() == Some(3) && told.contains(code), "{status}: {told}");
    assert!(told.lines().last().unwrap().starts_with("refused for good"), "{told}");
}

#[test]
fn lives_and_ends() {
    in_each(lives_and_ends_in);
}

fn lives_and_ends_in(language: Language) {
    let server = start();
    let mut reader = reader(&server);
    let card = Card::of(language, &server, "short");
    let mut device = card.start();
    says(&mut device, "enrolled");
    says(&mut device, "connected");
    heard(&mut reader);
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&card.folder), 0o700);
    for name in ["device.key", "token"] {
        assert_eq!(mode(&card.folder.join(name)), 0o600, "{name}");
    }
    // Longer than its first token lives, on one connection.
    for _ in 0..2 {
        says(&mut device, "new token over mqtt");
        heard(&mut reader);
    }
    let boss = server.enrol("boss", "backend");
    ok(mosquitto(&boss, "mosquitto_pub").args(["-t", "d/e-1/cmd", "-m", "open", "-q", "1"]));
    says(&mut device, "command open");
    let told = device.output();
    assert!(!told.contains("ended") && !told.contains("over rest"), "{told}");
    server.revoke("e-1");
    ends(device, "device_revoked");
    // Neither the key nor the old token helps after a new start.
    ends(card.start(), "device_revoked");
    // A key that others can read is not used.
    let open = std::fs::Permissions::from_mode(0o644);
    std::fs::set_permissions(card.folder.join("device.key"), open).unwrap();
    let mut device = card.start();
    let status = device.wait();
    assert!(status.code() == Some(1) && device.output().contains("chmod 600"), "{status}");
}

/// It has the address of the broker alone: provisioning is asked by way of the broker.
#[test]
fn enrols_over_mqtt() {
    let folder = TempDir::new().unwrap();
    let config = folder.path().join("tessera.toml");
    std::fs::write(&config, "[broker]\nenrolment = true\n").unwrap();
    let server = start_at(Places::fresh(), folder, &["--config", config.to_str().unwrap()]);
    let mut reader = reader(&server);
    let mut card = Card::of(Language::Python, &server, "sensor");
    card.http = "http://127.0.0.1:1".to_owned();
    card.more = vec!["--enrol".into(), "mqtt".into()];
    let mut device = card.start();
    says(&mut device, "enrolled over mqtt");
    says(&mut device, "connected");
    heard(&mut reader);
    device.kill();
    // The answer was lost: the same key asks for it again by the same code.
    std::fs::remove_file(card.folder.join("token")).unwrap();
    let mut device = card.start();
    says(&mut device, "enrolled over mqtt");
    says(&mut device, "connected");
    heard(&mut reader);
    device.kill();
    // Another key has no use of the code, and a wrong code lets no one in.
    card.folder = server.folder.path().join("other");
    ends(card.start(), "device_key_mismatch");
    card.claim = "TSR-AAAAA-AAAAA-AAAAA-AAAAA".into();
    ends(card.start(), "not let in to enrol");
}

#[test]
fn comes_through_a_wrong_clock() {
    in_each(comes_through_a_wrong_clock_in);
}

fn comes_through_a_wrong_clock_in(language: Language) {
    let server = start();
    let mut reader = reader(&server);
    for (role, offset) in [("short", "-2h"), ("sensor", "+2h")] {
        let mut card = Card::of(language, &server, role);
        card.folder = server.folder.path().join(role);
        let id = format!("e-{role}");
        card.more = vec!["--device".into(), id.clone()];
        let mut device = card.start_with_clock(offset);
        // The clock comes from the token that enrolment brings.
        says(&mut device, "clock");
        says(&mut device, "connected");
        let ours = format!("d/{id}/telemetry");
        reader.line("a message", |line| line.starts_with(&ours));
        if role == "short" {
            // Its own clock is refused, and a nonce is signed.
            says(&mut device, "new token over mqtt");
            reader.line("a message", |line| line.starts_with(&ours));
            continue;
        }
        // With a kept token and no clock to go by.
        device.kill();
        let mut device = card.start_with_clock("-2h");
        says(&mut device, "new token over rest");
        says(&mut device, "connected");
        reader.line("a message", |line| line.starts_with(&ours));
    }
}

#[test]
fn comes_through_a_broker_that_was_killed_and_a_token_that_ended() {
    in_each(comes_through_a_broker_that_was_killed_and_a_token_that_ended_in);
}

fn comes_through_a_broker_that_was_killed_and_a_token_that_ended_in(language: Language) {
    let places = Places::fresh();
    let server = start_on(places);
    let mut reader_of_first = reader(&server);
    let card = Card::of(language, &server, "sensor");
    let mut device = card.start();
    says(&mut device, "connected");
    heard(&mut reader_of_first);
    let Server { mut process, folder, .. } = server;
    process.kill();
    says(&mut device, "ended");
    let server = start_at(places, folder, &[]);
    // By a proof of its own: the one before is used up.
    says(&mut device, "connected");
    let boss = server.enrol("boss", "backend");
    let mut reader = Process::start(mosquitto(&boss, "mosquitto_sub").args([
        "-t",
        "d/+/telemetry",
        "-q",
        "1",
        "-v",
    ]));
    heard(&mut reader);
    assert!(!device.output().contains("over rest"), "{}", device.output());
    // The token and whatever counter there was are lost; the key is enough.
    device.kill();
    std::fs::remove_file(card.folder.join("token")).unwrap();
    let mut device = Process::start(card.command().args(["--claim", ""]));
    says(&mut device, "new token over rest");
    says(&mut device, "connected");
    heard(&mut reader);
    device.kill();
    // A token that ended while the servers were away.
    let mut card = Card::of(language, &server, "short");
    card.folder = server.folder.path().join("e-2");
    card.more = vec!["--device".into(), "e-2".into()];
    let mut device = card.start();
    says(&mut device, "connected");
    let folder = server.stop();
    rest(Duration::from_secs(SHORT));
    let _server = start_at(places, folder, &[]);
    says(&mut device, "new token over rest");
    says(&mut device, "connected");
}

#[test]
fn speaks_tls() {
    in_each(speaks_tls_in);
}

fn speaks_tls_in(language: Language) {
    let folder = TempDir::new().unwrap();
    let (cert, key) = certificate(folder.path());
    let more = ["--mqtts", "0.0.0.0:0", "--cert", &cert, "--key", &key];
    let more: Vec<&str> =
        more.into_iter().chain(["--https-cert", &cert, "--https-key", &key]).collect();
    // On every loopback address, so that a wrong name finds the server.
    let places = Places { http: ([0, 0, 0, 0], 0).into(), ..Places::fresh() };
    let server = start_at(places, folder, &more);
    let run = std::fs::read(server.data().join("run.json")).unwrap();
    let run: serde_json::Value = serde_json::from_slice(&run).unwrap();
    let port = |name: &str| run[name].as_str().unwrap().rsplit_once(':').unwrap().1.to_owned();
    let (https, mqtts) = (port("http"), port("mqtts"));
    let claim = ok(Command::new(tessera())
        .args(["claim", "create", "--role", "sensor", "--plain", "--cafile", &cert, "--http"])
        .arg(format!("https://localhost:{https}"))
        .env("TESSERA_OPERATOR_TOKEN", server.operator_token()));
    let other = TempDir::new().unwrap();
    let (stranger, _) = certificate(other.path());
    let mut card = Card {
        language,
        http: format!("https://localhost:{https}"),
        mqtt: format!("mqtts://localhost:{mqtts}"),
        claim: claim.trim().to_owned(),
        folder: server.folder.path().join("e-1"),
        more: vec!["--cafile".into(), stranger],
    };
    // A certificate of another authority, and a name that is not in it: nothing is sent.
    card.refuses_the_certificate();
    card.more = vec!["--cafile".into(), cert];
    card.http = format!("https://127.0.0.2:{https}");
    card.refuses_the_certificate();
    card.http = format!("https://localhost:{https}");
    let mut device = card.start();
    says(&mut device, "enrolled");
    says(&mut device, "connected");
    device.kill();
    // The broker's certificate is asked for its name too.
    card.mqtt = format!("mqtts://127.0.0.2:{mqtts}");
    card.refuses_the_certificate();
}

#[test]
fn ends_with_a_clear_word() {
    in_each(ends_with_a_clear_word_in);
}

fn ends_with_a_clear_word_in(language: Language) {
    let server = start();
    let mut card = Card::of(language, &server, "sensor");
    let claim = std::mem::replace(&mut card.claim, "AAAA-AAAA-AAAA-AAAA".into());
    ends(card.start(), "claim_unknown");
    card.claim = claim;
    let mut device = card.start();
    says(&mut device, "connected");
    device.kill();
    // Another key under a known id; and a key that was never enrolled.
    let second = Card::of(language, &server, "sensor");
    let second = Card { folder: server.folder.path().join("other"), ..second };
    ends(second.start(), "device_key_mismatch");
    ends(Process::start(second.command().args(["--claim", ""])), "proof_invalid");
}
