//! The devices of `examples/` on lines that the test holds: how large their CONNECT is, and that they sign no time that
//! a stranger names.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::sync::mpsc::{sync_channel, Receiver};

use serde_json::Value;
use tempfile::TempDir;
use tessera_runtime::clock::{Clock, SystemClock};
use tessera_tests::process::{root, Process, PATIENCE};
use tessera_token::claims::{Claims, Epochs, Serial};
use tessera_token::ids::{Audience, DeviceId, TenantId};
use tessera_token::issue::issue;
use tessera_token::key::{Algorithm, SecretKey};
use tessera_token::messages::{AceError, NonceAnswer, RefusalAnswer, TokenAnswer, TokenRequest};
use tessera_token::proof::Credential;
use tessera_token::refusal::RefusalCode;
use tessera_token::scope::Scope;
use tessera_token::text::from_base64url;
use tessera_token::time::UnixSeconds;

use crate::devices::{with_clock, Language};

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
fn packet(line: &mut TcpStream) -> Vec<u8> {
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

fn accept(listener: &TcpListener) -> TcpStream {
    let (line, _) = listener.accept().unwrap();
    line.set_read_timeout(Some(PATIENCE)).unwrap();
    line
}

/// The last field of a CONNECT, which is the password.
fn password(connect: &[u8]) -> Credential {
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
    for language in Language::ALL {
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
    }
}

/// A service that names a time in the future, and gives a token of that time. It tells the bodies that it gets.
fn strange_service(future: UnixSeconds) -> (String, Receiver<(String, Vec<u8>)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (told, bodies) = sync_channel(64);
    std::thread::spawn(move || {
        let mut refused = false;
        while let Ok((mut line, _)) = listener.accept() {
            let Some((path, body)) = request(&mut line) else { continue };
            let refusal =
                RefusalAnswer::new(AceError::InvalidGrant, RefusalCode::ProofNotFresh, future);
            let (status, answer) = match path.as_str() {
                "/v1/enrol/nonce" => {
                    let nonce = vec![7; 32];
                    (200, NonceAnswer { nonce, expires_in: 120, server_time: future }.to_cbor())
                }
                _ if !refused => {
                    refused = true;
                    (400, refusal.with_cnonce(&[8; 32]).to_cbor())
                }
                _ => (200, strange_token(future)),
            };
            let head = format!(
                "HTTP/1.1 {status} x\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                answer.len()
            );
            let _ = line.write_all(&[head.as_bytes(), &answer].concat());
            if told.send((path, body)).is_err() {
                return;
            }
        }
    });
    (url, bodies)
}

fn request(line: &mut TcpStream) -> Option<(String, Vec<u8>)> {
    let (mut all, mut part) = (Vec::new(), [0; 1024]);
    loop {
        let n = line.read(&mut part).ok().filter(|n| *n > 0)?;
        all.extend_from_slice(&part[..n]);
        let Some(end) = all.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&all[..end]).to_ascii_lowercase();
        let length =
            head.split("content-length: ").nth(1)?.lines().next()?.parse::<usize>().ok()?;
        if all.len() >= end + 4 + length {
            return Some((head.split(' ').nth(1)?.to_owned(), all[end + 4..].to_vec()));
        }
    }
}

/// By a key that no broker trusts; it is to be renewed about a second later.
fn strange_token(issued: UnixSeconds) -> Vec<u8> {
    let claims = Claims {
        tenant: TenantId::parse("acme").unwrap(),
        device: DeviceId::parse("device-0001").unwrap(),
        audience: Audience::parse("mqtt").unwrap(),
        expires: issued.plus(4),
        not_before: None,
        issued,
        serial: Serial::from_counter(1),
        confirmation: Some(SecretKey::from_seed(&[3; 32]).public()),
        scope: Scope::default(),
        epochs: Epochs::default(),
    };
    let bytes = issue(&claims, Algorithm::Ed25519, &SecretKey::from_seed(&[9; 32])).unwrap();
    let answer = TokenAnswer {
        access_token: bytes,
        expires_in: 4,
        bearer: false,
        key: None,
        audience: Audience::parse("mqtt").unwrap(),
        scope: Scope::default(),
        server_time: issued,
    };
    answer.to_cbor()
}

#[test]
fn no_time_that_a_stranger_names_is_signed_in_a_request() {
    for language in Language::ALL {
        let now = SystemClock::new().unix();
        let (http, bodies) = strange_service(now.plus(AHEAD));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mqtt = format!("mqtt://{}", listener.local_addr().unwrap());
        let dir = TempDir::new().unwrap();
        keep(dir.path(), "device.key", hex::encode([3; 32]).as_bytes());
        let _process = Process::start(&mut device(language, dir.path(), &http, &mqtt));
        // A broker that lets every client in.
        let mut line = accept(&listener);
        let connect = packet(&mut line);
        let five = connect.windows(7).any(|seven| seven == b"\0\x04MQTT\x05");
        line.write_all(if five { &[0x20, 3, 0, 0, 0] } else { &[0x20, 2, 0, 0] }).unwrap();
        // The proof for the token of the stranger may have its time: it is good for no other token.
        assert!(password(&connect).proof.unwrap().time >= now.plus(AHEAD), "{language:?}");
        let by_mqtt = loop {
            let sent = packet(&mut line);
            if sent[0] == 0x82 {
                let rest: &[u8] = if five { &[0, 1, 0, 1] } else { &[1, 0, 1] };
                let length = u8::try_from(2 + rest.len()).unwrap();
                line.write_all(&[&[0x90, length, sent[2], sent[3]], rest].concat()).unwrap();
            }
            let topic = b"$tessera/token";
            let found = sent.windows(topic.len()).position(|part| part == topic);
            if let Some(at) = found.filter(|_| sent[0] >> 4 == 3) {
                // The packet id, and the length of no properties.
                break sent[at + topic.len() + 2 + usize::from(five)..].to_vec();
            }
        };
        let request = TokenRequest::from_cbor(&by_mqtt).unwrap();
        let own = SystemClock::new().unix();
        assert!(request.verifies(&SecretKey::from_seed(&[3; 32]).public()), "{language:?}");
        assert!(request.cnonce.is_none(), "{language:?}");
        assert!(request.time >= now && request.time <= own.plus(NEAR), "{language:?}");
        let by_rest: Vec<_> = bodies.try_iter().filter(|(path, _)| path == "/v1/token").collect();
        assert_eq!(by_rest.len(), 2, "{language:?}");
        for (_, body) in by_rest {
            let request = TokenRequest::from_cbor(&body).unwrap();
            assert!(request.cnonce.is_some(), "{language:?} signed a time over REST");
        }
    }
}
