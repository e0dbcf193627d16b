//! The devices of `examples/` on lines that the test holds: how large their CONNECT is, that they sign no time that a
//! stranger names and one nonce for a request, and their bounds for times, counters and answers.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tessera_runtime::clock::{Clock, SystemClock};
use tessera_tests::process::{root, Process, PATIENCE};
use tessera_tests::site::{rest, Watch};
use tessera_tests::stranger::{claims, token_answer, Asked, Stranger};
use tessera_token::encoding::{from_base64url, hex};
use tessera_token::key::SecretKey;
use tessera_token::messages::{AceError, NonceAnswer, RefusalAnswer, TokenRequest};
use tessera_token::proof::{ConnectProof, Credential};
use tessera_token::refusal::RefusalCode;
use tessera_token::time::UnixSeconds;

use crate::devices::{in_each, with_clock, Language};

/// 1790000000, the time of the vectors.
const THEN: &str = "@2026-09-21 14:13:20";
/// How far ahead the stranger's time is.
const AHEAD: u64 = 1_000_000;
/// As far as the device's own clock may be from that of the test.
const NEAR: u64 = 60;

fn device(language: Language, dir: &Path, http: &str, mqtt: &str) -> Command {
    let mut command = language.program();
    command.args(["--device", "device-0001", "--tenant", "acme", "--every", "60", "--dir"]);
    command.arg(dir).args(["--http", http, "--mqtt", mqtt]);
    command
}

fn keep(dir: &Path, name: &str, bytes: &[u8]) {
    let path = dir.join(name);
    std::fs::write(&path, bytes).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

/// A packet of MQTT, whole.
pub(crate) fn packet(line: &mut TcpStream) -> Vec<u8> {
    let mut all = vec![0; 2];
    line.read_exact(&mut all).unwrap();
    let mut length = usize::from(all[1] & 0x7f);
    let mut shift = 7;
    while all.last().unwrap() & 0x80 != 0 {
        let mut more = [0];
        line.read_exact(&mut more).unwrap();
        length |= usize::from(more[0] & 0x7f) << shift;
        shift += 7;
        all.push(more[0]);
    }
    let head = all.len();
    all.resize(head + length, 0);
    line.read_exact(&mut all[head..]).unwrap();
    all
}

/// The next connection of the device.
pub(crate) fn accept(listener: &TcpListener) -> TcpStream {
    listener.set_nonblocking(true).unwrap();
    let mut found = None;
    Watch::until(PATIENCE, || {
        found = listener.accept().ok();
        found.is_some()
    });
    let at = listener.local_addr().unwrap();
    let (line, _) = found.unwrap_or_else(|| panic!("no device came to {at} in {PATIENCE:?}"));
    line.set_nonblocking(false).unwrap();
    line.set_read_timeout(Some(PATIENCE)).unwrap();
    line
}

/// The last field of a CONNECT, which is the password.
pub(crate) fn password(connect: &[u8]) -> Credential {
    // Token and proof are the tail, raw or as text.
    let fits = |n: usize| {
        let at = connect.len().checked_sub(n + 2)?;
        let length = u16::from_be_bytes(connect[at..at + 2].try_into().unwrap());
        (usize::from(length) == n).then(|| &connect[at + 2..])
    };
    let found = (100..connect.len()).find_map(fits).expect("a password");
    let raw = from_base64url(std::str::from_utf8(found).unwrap_or("~")).unwrap_or(found.to_vec());
    Credential::from_password(&raw).unwrap()
}

#[test]
fn sizes_of_connect_are_those_of_the_page() {
    let text = std::fs::read(root().join("tests/vectors/ace/connect_proof.json")).unwrap();
    let vector: Value = serde_json::from_slice(&text).unwrap();
    let known = hex::decode(vector["cases"]["ed25519"]["password"].as_str().unwrap()).unwrap();
    let token = &known[..known.len() - 74];
    let page = std::fs::read_to_string(root().join("docs/device.md")).unwrap();
    in_each(|language| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let dir = TempDir::new().unwrap();
        keep(dir.path(), "device.key", hex::encode([3; 32]).as_bytes());
        keep(dir.path(), "token", token);
        let mqtt = format!("mqtt://{}", listener.local_addr().unwrap());
        let mut command = device(language, dir.path(), "http://127.0.0.1:1", &mqtt);
        let mut process = Process::start(with_clock(&mut command, THEN));
        let connect = packet(&mut accept(&listener));
        process.kill();
        let shown = password(&connect);
        assert_eq!(shown.token, token, "{language:?}");
        let proof = shown.proof.unwrap();
        let by = SecretKey::from_seed(&[3; 32]).public();
        assert!(proof.verifies(&by, "mqtt", "device-0001", token), "{language:?}");
        let library = match language {
            Language::Python => "paho-mqtt",
            Language::C => "libmosquitto",
            Language::JavaScript => "mqtt.js",
        };
        let row = page.lines().find(|line| line.starts_with(&format!("| {library} ")));
        let row = row.unwrap_or_else(|| panic!("no row for {library}"));
        assert!(row.ends_with(&format!("| {} |", connect.len())), "{}: {row}", connect.len());
    });
}

/// An example on its way to a broker and a service of the test.
struct Rig {
    listener: TcpListener,
    dir: TempDir,
    _process: Process,
}

impl Rig {
    fn start(language: Language, service: &Stranger) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mqtt = format!("mqtt://{}", listener.local_addr().unwrap());
        let dir = TempDir::new().unwrap();
        keep(dir.path(), "device.key", hex::encode([3; 32]).as_bytes());
        let process = Process::start(&mut device(language, dir.path(), &service.url(), &mqtt));
        Self { listener, dir, _process: process }
    }

    fn connected(&self) -> Line {
        let mut stream = accept(&self.listener);
        let connect = packet(&mut stream);
        let five = connect.windows(7).any(|seven| seven == b"\0\x04MQTT\x05");
        Line { stream, connect, five }
    }
}

/// One connection of the device.
struct Line {
    stream: TcpStream,
    connect: Vec<u8>,
    five: bool,
}

const TOKEN_TOPIC: &[u8] = b"$tessera/token";

impl Line {
    fn shown(&self) -> (Vec<u8>, ConnectProof) {
        let Credential { token, proof } = password(&self.connect);
        (token, proof.unwrap())
    }

    /// CONNACK, with the reason code of each version.
    fn answer(&mut self, five: u8, older: u8) {
        let packet: &[u8] = if self.five { &[0x20, 3, 0, five, 0] } else { &[0x20, 2, 0, older] };
        self.stream.write_all(packet).unwrap();
    }

    /// The payload of the next PUBLISH on `$tessera/token`. Packets before it are acknowledged.
    fn published(&mut self) -> Vec<u8> {
        loop {
            let sent = packet(&mut self.stream);
            if sent[0] == 0x82 {
                let rest: &[u8] = if self.five { &[0, 1, 0, 1] } else { &[1, 0, 1] };
                let length = u8::try_from(2 + rest.len()).unwrap();
                let suback = [&[0x90, length, sent[2], sent[3]], rest].concat();
                self.stream.write_all(&suback).unwrap();
            }
            let found = sent.windows(TOKEN_TOPIC.len()).position(|part| part == TOKEN_TOPIC);
            if let Some(at) = found.filter(|_| sent[0] >> 4 == 3) {
                // The packet id, and the length of no properties.
                return sent[at + TOKEN_TOPIC.len() + 2 + usize::from(self.five)..].to_vec();
            }
        }
    }

    /// A message on `$tessera/token`, QoS 0.
    fn tell(&mut self, payload: &[u8]) {
        let properties: &[u8] = if self.five { &[0] } else { &[] };
        let body = [&[0, 14], TOKEN_TOPIC, properties, payload].concat();
        let (low, high) = (body.len() % 128, body.len() / 128);
        let head = [0x30, u8::try_from(low).unwrap() | 0x80, u8::try_from(high).unwrap()];
        self.stream.write_all(&[&head[..], &body].concat()).unwrap();
    }
}

fn key() -> SecretKey {
    SecretKey::from_seed(&[3; 32])
}

fn now() -> UnixSeconds {
    SystemClock::new().unix()
}

/// The answer to a request for a nonce.
fn nonce(time: UnixSeconds) -> (u16, Vec<u8>) {
    let answer = NonceAnswer { nonce: vec![7; 32], expires_in: 120, server_time: time };
    (200, answer.to_cbor())
}

/// A refusal with a nonce.
fn refusal(time: UnixSeconds, cnonce: u8) -> Vec<u8> {
    let refusal = RefusalAnswer::new(AceError::InvalidGrant, RefusalCode::ProofNotFresh, time);
    refusal.with_cnonce(&[cnonce; 32]).to_cbor()
}

/// `iat` and `exp`.
type Times = (UnixSeconds, UnixSeconds);

/// A service that gives tokens of these times, one after the other and then the last one.
fn giving(times: &'static [fn() -> Times]) -> Stranger {
    let mut given = 0;
    Stranger::start(move |asked: &Asked| {
        if asked.path == "/v1/enrol/nonce" {
            return nonce(now());
        }
        let (issued, expires) = times[given.min(times.len() - 1)]();
        given += 1;
        let claims = claims("acme", "device-0001", &key().public(), (issued, expires));
        (200, token_answer(&claims, issued.plus(60)))
    })
}

/// The service names a time in the future, and gives tokens of that time, which are to be renewed about a second later.
#[test]
fn no_time_that_a_stranger_names_is_signed_and_one_nonce_for_a_request() {
    in_each(|language| {
        let began = now();
        let future = began.plus(AHEAD);
        let mut refused = false;
        let service = Stranger::start(move |asked| match asked.path.as_str() {
            "/v1/enrol/nonce" => nonce(future),
            _ if !refused => {
                refused = true;
                (400, refusal(future, 8))
            }
            _ => {
                let times = (future, future.plus(4));
                let claims = claims("acme", "device-0001", &key().public(), times);
                (200, token_answer(&claims, future))
            }
        });
        let rig = Rig::start(language, &service);
        let mut line = rig.connected();
        line.answer(0, 0);
        // The proof for the token of the stranger may have its time: it is good for no other token.
        let (held, proof) = line.shown();
        assert!(proof.time >= future, "{language:?}");
        let request = TokenRequest::from_cbor(&line.published()).unwrap();
        assert!(request.verifies(&key().public()), "{language:?}");
        assert!(request.cnonce.is_none(), "{language:?}");
        assert!(request.time >= began && request.time <= now().plus(NEAR), "{language:?}");
        let by_rest = service.bodies("/v1/token");
        assert_eq!(by_rest.len(), 2, "{language:?}");
        // The nonce of the first refusal is signed, and no further one: then REST is asked.
        line.tell(&refusal(future, 20));
        let request = TokenRequest::from_cbor(&line.published()).unwrap();
        assert_eq!(request.cnonce.as_deref(), Some(&[20; 32][..]), "{language:?}");
        line.tell(&refusal(future, 21));
        let handed_in = line.published();
        assert!(TokenRequest::from_cbor(&handed_in).is_err(), "{language:?} signed a second nonce");
        assert_eq!(handed_in, held, "{language:?} hands in the token of REST");
        let by_rest = service.bodies("/v1/token");
        assert_eq!(by_rest.len(), 3, "{language:?}");
        for body in by_rest {
            let request = TokenRequest::from_cbor(&body).unwrap();
            assert!(request.cnonce.is_some(), "{language:?} signed a time over REST");
        }
    });
}

/// The first second that a proof cannot hold.
const TOO_LATE: UnixSeconds = UnixSeconds::new(1 << 32);

#[test]
fn a_token_with_times_that_no_proof_can_hold_is_not_taken() {
    const LATE: fn() -> Times = || (TOO_LATE, TOO_LATE.plus(600));
    const LATE_EXPIRY: fn() -> Times = || (TOO_LATE.minus(600), TOO_LATE);
    const GOOD: fn() -> Times = || (now(), now().plus(3_600));
    in_each(|language| {
        let service = giving(&[LATE, LATE_EXPIRY, GOOD]);
        let rig = Rig::start(language, &service);
        let (shown, proof) = rig.connected().shown();
        assert_eq!(service.bodies("/v1/token").len(), 3, "{language:?} asks until one is good");
        assert!(proof.time <= now().plus(60 + NEAR), "{language:?}: {:?}", proof.time);
        assert!(proof.verifies(&key().public(), "mqtt", "device-0001", &shown), "{language:?}");
        let kept = std::fs::read(rig.dir.path().join("token")).unwrap();
        assert_eq!(kept, shown, "{language:?} keeps the good one");
    });
}

/// A token of a stranger takes time and counter to their ends. With the next token the device proves its key again.
#[test]
fn a_counter_at_its_end_goes_on_from_the_time() {
    in_each(|language| {
        let service = giving(&[
            || (TOO_LATE.minus(2), TOO_LATE.minus(1)),
            || (now().minus(60), now().plus(3_600)),
        ]);
        let rig = Rig::start(language, &service);
        let mut line = rig.connected();
        let (_, proof) = line.shown();
        assert_eq!(
            (proof.time.get(), proof.counter),
            (TOO_LATE.get() - 1, u32::MAX),
            "{language:?}"
        );
        line.answer(0x87, 5);
        drop(line);
        let (shown, proof) = rig.connected().shown();
        let time = proof.time.get();
        assert!(time.abs_diff(now().get()) <= NEAR, "{language:?}: {time}");
        assert_eq!(u64::from(proof.counter), time, "{language:?}");
        assert!(proof.verifies(&key().public(), "mqtt", "device-0001", &shown), "{language:?}");
    });
}

/// The deadline of the examples for an answer, and time for a busy machine.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
const BUSY: Duration = Duration::from_secs(10);

#[test]
fn an_answer_has_a_bound_of_bytes_and_one_deadline() {
    in_each(|language| {
        let (mut number, (send, ends)) = (0, std::sync::mpsc::sync_channel(64));
        let service = Stranger::serve(move |_, stream| {
            number += 1;
            let watch = Watch::start();
            let _ = stream.write_all(b"HTTP/1.1 200 x\r\nContent-Length: 99999999\r\n\r\n");
            if number == 1 {
                // As many bytes as the device takes, far beyond what sockets hold.
                let part = [b'x'; 65_536];
                let taken = (0..1_000).take_while(|_| stream.write_all(&part).is_ok()).count();
                let _ = send.send((taken, watch.passed()));
            } else {
                // A byte now and then: each read of the device is a quick one.
                let mut sent = 0;
                while stream.write_all(b"x").is_ok() && watch.passed() < ANSWER_WITHIN + 2 * BUSY {
                    rest(Duration::from_millis(200));
                    sent += 1;
                }
                let _ = send.send((sent, watch.passed()));
            }
        });
        let _rig = Rig::start(language, &service);
        let end = || ends.recv_timeout(PATIENCE).expect("the device asks again");
        let (parts, _) = end();
        assert!(parts < 1_000, "{language:?} takes an answer without end");
        let (_, passed) = end();
        assert!(passed < ANSWER_WITHIN + BUSY, "{language:?} reads for {passed:?}");
        assert!(passed + BUSY > ANSWER_WITHIN, "{language:?} gives up after {passed:?}");
    });
}
