//! Unsigned times: a device signs for none of them, and a device whose clock is wrong comes back by a nonce.

use std::process::Command;

use serde_json::json;
use tessera_runtime::clock::{Clock, SystemClock};
use tessera_tests::process::{run, tessera};
use tessera_tests::server::{Device, Server};
use tessera_tests::stranger::Stranger;
use tessera_token::encoding::from_base64url;
use tessera_token::messages::{AceError, RefusalAnswer, TokenRequest};
use tessera_token::proof::Credential;
use tessera_token::refusal::RefusalCode;

const MONTH: u64 = 30 * 24 * 3600;

fn device(words: &[&str], device: &Device) -> (bool, String) {
    run(Command::new(tessera()).arg("device").args(words).arg("--dir").arg(&device.folder))
}

/// A stranger in the place of provisioning. It says that it is a month later.
fn stranger() -> Stranger {
    Stranger::start(|_| {
        let later = SystemClock::new().unix().plus(MONTH);
        let refusal = RefusalAnswer::new(AceError::InvalidGrant, RefusalCode::ProofNotFresh, later);
        (400, refusal.with_cnonce(&[7; 32]).to_cbor())
    })
}

#[test]
fn a_stranger_gets_nothing_signed_for_a_future() {
    let server = Server::start();
    let sensor = server.enrol("t-1", "sensor");
    let stranger = stranger();
    sensor.change("device.json", |card| card["http"] = json!(stranger.url()));
    for _ in 0..2 {
        let (good, output) = device(&["token", "--refresh"], &sensor);
        assert!(!good && output.contains("proof_not_fresh"), "{output}");
    }
    let near = SystemClock::new().unix();
    let asked = stranger.asked();
    assert_eq!(asked.len(), 4, "each refresh asks by its time, and once more by the nonce");
    for asked in asked {
        let request = TokenRequest::from_cbor(&asked.body).unwrap();
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
        sensor.change("device.json", |card| card["clock_correction"] = json!(wrong));
        let (good, output) = device(&["connect", "--test", "--mqtt", &mqtt], &sensor);
        assert!(good, "{wrong}: {output}");
        let learned = sensor.change("device.json", |card| {
            std::mem::replace(&mut card["clock_correction"], json!(0))
        });
        let learned = learned.as_i64().unwrap();
        assert!(learned.abs() < 60, "{wrong}: {learned}");
    }
}
