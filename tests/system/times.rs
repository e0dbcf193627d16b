//! Unsigned times: a device signs for none of them, and a device whose clock is wrong comes back by a nonce.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::{Arc, Mutex};

use serde_json::{json, Value};
use tessera_runtime::clock::{Clock, SystemClock};
use tessera_tests::process::{run, tessera};
use tessera_tests::server::{Device, Server};
use tessera_token::messages::{AceError, RefusalAnswer, TokenRequest};
use tessera_token::proof::Credential;
use tessera_token::refusal::RefusalCode;
use tessera_token::text::from_base64url;

const MONTH: u64 = 30 * 24 * 3600;

/// One member of what the device keeps about itself.
fn set(device: &Device, member: &str, value: Value) -> Value {
    let path = device.folder.join("device.json");
    let mut card: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    let before = std::mem::replace(&mut card[member], value);
    std::fs::write(&path, card.to_string()).unwrap();
    before
}

fn device(words: &[&str], device: &Device) -> (bool, String) {
    run(Command::new(tessera()).arg("device").args(words).arg("--dir").arg(&device.folder))
}

/// A stranger in the place of provisioning. It says that it is a month later, and keeps what it is sent.
fn stranger() -> (SocketAddr, Arc<Mutex<Vec<Vec<u8>>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (at, kept) = (listener.local_addr().unwrap(), Arc::new(Mutex::new(Vec::new())));
    let keeps = Arc::clone(&kept);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            keeps.lock().unwrap().push(answer(stream.unwrap()));
        }
    });
    (at, kept)
}

fn answer(mut stream: TcpStream) -> Vec<u8> {
    let mut seen = Vec::new();
    let body = loop {
        let mut chunk = [0; 4096];
        let read = stream.read(&mut chunk).unwrap();
        seen.extend_from_slice(&chunk[..read]);
        let Some(end) = seen.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&seen[..end]).to_ascii_lowercase();
        let length = head.split("content-length: ").nth(1).map_or("0", |rest| rest.trim());
        let length: usize = length.split("\r\n").next().unwrap().parse().unwrap();
        if seen.len() >= end + 4 + length {
            break seen[end + 4..end + 4 + length].to_vec();
        }
    };
    let later = SystemClock::new().unix().plus(MONTH);
    let refusal = RefusalAnswer::new(AceError::InvalidGrant, RefusalCode::ProofNotFresh, later);
    let refusal = refusal.with_cnonce(&[7; 32]).to_cbor();
    let head = format!(
        "HTTP/1.1 400 Bad Request\r\nContent-Type: application/ace+cbor\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        refusal.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(&refusal).unwrap();
    body
}

#[test]
fn a_stranger_gets_nothing_signed_for_a_future() {
    let server = Server::start();
    let sensor = server.enrol("t-1", "sensor");
    let (at, kept) = stranger();
    set(&sensor, "http", json!(format!("http://{at}")));
    for _ in 0..2 {
        let (good, output) = device(&["token", "--refresh"], &sensor);
        assert!(!good && output.contains("proof_not_fresh"), "{output}");
    }
    let near = SystemClock::new().unix();
    let kept = kept.lock().unwrap();
    assert_eq!(kept.len(), 4, "each refresh asks by its time, and once more by the nonce");
    for body in kept.iter() {
        let request = TokenRequest::from_cbor(body).unwrap();
        match &request.cnonce {
            // A nonce that provisioning did not make is good nowhere.
            Some(nonce) => assert_eq!((nonce.as_slice(), request.time.get()), (&[7; 32][..], 0)),
            None => assert!(request.time.get().abs_diff(near.get()) < 60, "{request:?}"),
        }
    }
    let (good, password) = device(&["password"], &sensor);
    assert!(good, "{password}");
    let password = from_base64url(password.trim()).unwrap();
    let proof = Credential::from_password(&password).unwrap().proof.unwrap();
    assert!(proof.time.get().abs_diff(near.get()) < 60, "{proof:?}");
}

#[test]
fn a_device_whose_clock_is_wrong_comes_back_by_a_nonce() {
    let server = Server::start();
    let sensor = server.enrol("t-1", "sensor");
    let mqtt = sensor.mqtt.to_string();
    for wrong in [-40_000_000, 4_000] {
        set(&sensor, "clock_correction", json!(wrong));
        let (good, output) = device(&["connect", "--test", "--mqtt", &mqtt], &sensor);
        assert!(good, "{wrong}: {output}");
        let learned = set(&sensor, "clock_correction", json!(0)).as_i64().unwrap();
        assert!(learned.abs() < 60, "{wrong}: {learned}");
    }
}
