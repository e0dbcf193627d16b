//! A stranger in the place of provisioning and of the broker.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::process::Command;
use std::sync::{Arc, Mutex};

use serde_json::json;
use tessera_runtime::clock::{Clock, SystemClock};
use tessera_tests::process::{run, tessera};
use tessera_tests::server::{Device, Server};
use tessera_tests::stranger::{claims, token_answer, Stranger};
use tessera_token::encoding::{from_base64url, hex};
use tessera_token::key::SecretKey;
use tessera_token::messages::{NonceAnswer, TokenRequest};
use tessera_token::proof::Credential;

use super::{doctor, TokenText};

/// A stranger in the place of provisioning, whose tokens are issued so many seconds from now.
fn stranger(device: &Device, ahead: u64) -> Stranger {
    let seed = fs::read_to_string(device.folder.join("device.key")).unwrap();
    let seed: [u8; 32] = hex::decode(seed.trim()).unwrap().try_into().unwrap();
    let key = SecretKey::from_seed(&seed).public();
    let id = device.id.clone();
    Stranger::start(move |asked| {
        let time = SystemClock::new().unix().plus(ahead);
        let nonce = NonceAnswer { nonce: vec![7; 32], expires_in: 60, server_time: time };
        let claims = || claims("default", &id, &key, (time, time.plus(3600)));
        (
            200,
            match asked.path.as_str() {
                "/v1/enrol/nonce" => nonce.to_cbor(),
                _ => token_answer(&claims(), time),
            },
        )
    })
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
        let service = stranger(&sensor, ahead);
        sensor.change("device.json", |card| card["http"] = json!(service.url()));
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
        // The times in the stranger's tokens move no request either: each is good now, or for a nonce.
        run(Command::new(tessera())
            .args(["device", "token", "--refresh", "--dir"])
            .arg(&sensor.folder));
        let requests: Vec<_> =
            service.asked().iter().filter_map(|a| TokenRequest::from_cbor(&a.body).ok()).collect();
        assert!(requests.len() > 1, "{ahead}: {}", requests.len());
        for request in requests.iter().filter(|request| request.cnonce.is_none()) {
            assert!(request.time <= now.plus(5), "{ahead}: {} s ahead", request.time.since(now));
        }
    }
}
