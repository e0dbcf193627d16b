//! A stranger in the place of provisioning and of the broker.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::{Arc, Mutex};

use serde_json::json;
use tessera_runtime::clock::{Clock, SystemClock};
use tessera_tests::process::{run, tessera};
use tessera_tests::server::{Device, Server};
use tessera_token::claims::{Claims, Epochs, Serial};
use tessera_token::ids::{Audience, DeviceId, TenantId};
use tessera_token::issue::issue;
use tessera_token::key::{Algorithm, PublicKey, SecretKey};
use tessera_token::messages::{NonceAnswer, TokenAnswer, TokenRequest};
use tessera_token::proof::Credential;
use tessera_token::scope::Scope;
use tessera_token::text::from_base64url;
use tessera_token::time::UnixSeconds;

use super::{change, doctor, TokenText};

/// One request over HTTP: its first line and its body.
fn request(stream: &mut TcpStream) -> (String, Vec<u8>) {
    let mut seen = Vec::new();
    loop {
        let mut chunk = [0; 4096];
        let read = stream.read(&mut chunk).unwrap_or(0);
        seen.extend_from_slice(&chunk[..read]);
        let text = String::from_utf8_lossy(&seen).to_ascii_lowercase();
        let whole = text.split_once("\r\n\r\n").is_some_and(|(head, _)| {
            let length = head.split("content-length: ").nth(1).map_or("0", |rest| rest);
            let length: usize = length.split("\r\n").next().unwrap().trim().parse().unwrap();
            seen.len() >= head.len() + 4 + length
        });
        if whole || read == 0 {
            let body = seen.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4);
            let first = text.lines().next().unwrap_or_default().to_owned();
            return (first, seen.split_off(body.unwrap_or(seen.len())));
        }
    }
}

/// A stranger in the place of provisioning, whose tokens are issued so many seconds from now.
/// It keeps the token requests that it gets.
fn stranger(device: &Device, ahead: u64) -> (SocketAddr, Arc<Mutex<Vec<TokenRequest>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    let seed = fs::read_to_string(device.folder.join("device.key")).unwrap();
    let seed: [u8; 32] = hex::decode(seed.trim()).unwrap().try_into().unwrap();
    let key = SecretKey::from_seed(&seed).public();
    let id = device.id.clone();
    let kept = Arc::new(Mutex::new(Vec::new()));
    let keeps = Arc::clone(&kept);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let (first, body) = request(&mut stream);
            keeps.lock().unwrap().extend(TokenRequest::from_cbor(&body));
            let time = SystemClock::new().unix().plus(ahead);
            let body = match first.contains("/v1/enrol/nonce") {
                true => {
                    NonceAnswer { nonce: vec![7; 32], expires_in: 60, server_time: time }.to_cbor()
                }
                false => false_token(&id, &key, time),
            };
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: application/ace+cbor\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                body.len()
            );
            let _ = stream.write_all(&[head.as_bytes(), &body].concat());
        }
    });
    (at, kept)
}

fn false_token(device: &str, key: &PublicKey, time: UnixSeconds) -> Vec<u8> {
    let claims = Claims {
        tenant: TenantId::parse("default").unwrap(),
        device: DeviceId::parse(device).unwrap(),
        audience: Audience::parse("mqtt").unwrap(),
        expires: time.plus(3600),
        not_before: None,
        issued: time,
        serial: Serial::from_counter(1),
        confirmation: Some(key.clone()),
        scope: Scope::default(),
        epochs: Epochs::default(),
    };
    let issuer = SecretKey::from_seed(&[9; 32]);
    let answer = TokenAnswer {
        access_token: issue(&claims, Algorithm::Ed25519, &issuer).unwrap(),
        expires_in: 3600,
        bearer: false,
        key: None,
        audience: claims.audience,
        scope: Scope::default(),
        server_time: time,
    };
    answer.to_cbor()
}

/// A broker that refuses every client, and keeps the passwords that it is shown.
fn keeping() -> (SocketAddr, Arc<Mutex<Vec<Credential>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (at, kept) = (listener.local_addr().unwrap(), Arc::new(Mutex::new(Vec::new())));
    let keeps = Arc::clone(&kept);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut packet = vec![0; 4096];
            let read = stream.read(&mut packet).unwrap_or(0);
            // The password is the last field, as text.
            let begin = packet[..read].windows(5).position(|five| five == b"2D3Sh");
            let password = begin.map(|begin| Credential::from_password(&packet[begin..read]));
            keeps.lock().unwrap().extend(password.map(Result::unwrap));
            let _ = stream.write_all(&[0x20, 3, 0, 0x87, 0]);
        }
    });
    (at, kept)
}

/// Requests of the device are signed with the clock that it has, never by the time in a token that nothing here verifies.
#[test]
fn a_stranger_gets_no_proof_for_a_true_token_at_a_time_of_its_choice() {
    let server = Server::start();
    for (number, ahead) in [50, 1_000].into_iter().enumerate() {
        let sensor = server.enrol(&format!("t-{number}"), "sensor");
        let (genuine, password) =
            (from_base64url(&sensor.token_text()).unwrap(), sensor.password());
        let (service, requests) = stranger(&sensor, ahead);
        change(&sensor, "device.json", |card| card["http"] = json!(format!("http://{service}")));
        let (broker, kept) = keeping();
        for more in [&[][..], &["--password", &password]] {
            assert!(!doctor(&sensor.folder, &broker.to_string(), more).well);
        }
        let kept = kept.lock().unwrap();
        let now = SystemClock::new().unix();
        for shown in kept.iter().filter(|shown| shown.token == genuine) {
            let time = shown.proof.as_ref().unwrap().time;
            assert!(time <= now, "{ahead}: {} s ahead", time.since(now));
        }
        assert!(kept.iter().any(|shown| shown.token != genuine), "the new token is tried");
        let (well, made) =
            run(Command::new(tessera()).args(["device", "password", "--dir"]).arg(&sensor.folder));
        assert!(well, "{made}");
        let made = Credential::from_password(made.trim().as_bytes()).unwrap();
        assert!(made.token != genuine || made.proof.unwrap().time <= now.plus(5));
        // What the stranger's tokens said moves no request either: each is good now, or for a nonce.
        run(Command::new(tessera())
            .args(["device", "token", "--refresh", "--dir"])
            .arg(&sensor.folder));
        let requests = requests.lock().unwrap();
        assert!(requests.len() > 1, "{ahead}: {}", requests.len());
        for request in requests.iter().filter(|request| request.cnonce.is_none()) {
            assert!(request.time <= now.plus(5), "{ahead}: {} s ahead", request.time.since(now));
        }
    }
}
