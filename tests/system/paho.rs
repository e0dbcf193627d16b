//! paho, in MQTT 3.1.1 and 5, with the raw bytes of token and proof as password.

use std::process::Command;

use serde_json::Value;
use tessera_tests::process::{python, root, Process};
use tessera_tests::server::{Device, Server};
use tessera_token::encoding::{from_base64url, hex};

/// A paho client that is driven line by line.
struct Paho(Process);

impl Paho {
    fn start(device: &Device, version: &str, will: Option<&str>) -> Self {
        let password = from_base64url(&device.password()).unwrap();
        let mut process = Process::start(
            Command::new(python())
                .arg(root().join("tests/clients/paho_peer.py"))
                .args([&device.mqtt.port().to_string(), version, &device.id])
                .arg(hex::encode(password))
                .args(will),
        );
        process.line("start", |l| l.contains("\"ready\""));
        process.say("connect");
        Self(process)
    }

    fn event(&mut self, name: &str) -> Value {
        let wanted = format!("\"event\": \"{name}\"");
        serde_json::from_str(&self.0.line(name, |l| l.contains(&wanted))).unwrap()
    }

    fn connected(device: &Device, version: &str) -> Self {
        let mut paho = Self::start(device, version, None);
        assert_eq!(paho.event("connected")["code"], 0);
        paho
    }
}

#[test]
fn both_versions_exchange_within_scope_and_are_refused_outside() {
    let server = Server::start();
    let sensor = server.enrol("p-1", "sensor");
    let backend = server.enrol("p-back", "backend");
    for version in ["4", "5"] {
        let mut reader = Paho::connected(&backend, version);
        reader.0.say("sub 1 d/+/telemetry");
        assert_eq!(reader.event("suback")["codes"][0], 1);
        let mut writer = Paho::connected(&sensor, version);
        writer.0.say("sub 1 d/p-1/cmd");
        assert_eq!(writer.event("suback")["codes"][0], 1);
        for (qos, text) in [(0, "zero"), (1, "one")] {
            writer.0.say(&format!("pub {qos} 0 d/p-1/telemetry {text}"));
            let message = reader.event("message");
            assert_eq!(
                (&message["topic"], &message["text"]),
                (&"d/p-1/telemetry".into(), &text.into())
            );
            assert_eq!(message["qos"], qos);
        }
        reader.0.say("pub 1 0 d/p-1/cmd open");
        assert_eq!(writer.event("message")["text"], "open");
        writer.0.say("sub 1 d/#");
        let code = writer.event("suback")["codes"][0].as_u64().unwrap();
        assert_eq!(code, if version == "5" { 0x87 } else { 0x80 });
        writer.0.say("pub 1 0 d/p-2/telemetry x");
        if version == "5" {
            writer.0.line("PUBACK 0x87", |l| l.contains("puback") && l.contains("135"));
            writer.0.say("pub 0 0 d/p-2/telemetry x");
            assert_eq!(writer.event("disconnected")["code"], 0x87);
        } else {
            writer.event("disconnected");
        }
    }
}

#[test]
fn revocation_reaches_both_versions_and_suppresses_the_will() {
    for version in ["4", "5"] {
        let server = Server::start();
        let sensor = server.enrol("p-1", "sensor");
        let backend = server.enrol("p-back", "backend");
        let mut reader = Paho::connected(&backend, "5");
        reader.0.say("sub 1 d/+/telemetry");
        reader.event("suback");
        let mut writer = Paho::start(&sensor, version, Some("d/p-1/telemetry"));
        assert_eq!(writer.event("connected")["code"], 0);
        server.revoke("p-1");
        let code = writer.event("disconnected")["code"].as_u64().unwrap();
        if version == "5" {
            assert!(code == 0x87 || code == 0x98, "{code:#x}");
        }
        // The next thing the reader hears is its own marker, not the will of the revoked device.
        reader.0.say("sub 1 $tessera/status");
        reader.event("suback");
        assert!(!reader.0.output().contains("gone"));
        // A refused CONNECT after the revocation looks like any other.
        let password = from_base64url(&sensor.password());
        assert!(password.is_some());
        let mut late = Paho::start(&sensor, version, None);
        let code = late.event("connected")["code"].as_u64().unwrap();
        assert!(code == 0x87 || code == 5, "{code}");
    }
}

#[test]
fn a_will_outside_the_scope_refuses_the_connection() {
    let server = Server::start();
    let sensor = server.enrol("p-1", "sensor");
    let mut writer = Paho::start(&sensor, "5", Some("d/p-2/telemetry"));
    assert_eq!(writer.event("connected")["code"], 0x87);
}

#[test]
fn a_second_connection_takes_over_its_own_session_only() {
    let server = Server::start();
    let sensor = server.enrol("p-1", "sensor");
    let mut first = Paho::connected(&sensor, "5");
    let mut second = Paho::connected(&sensor, "5");
    assert_eq!(first.event("disconnected")["code"], 0x8e);
    second.0.say("pub 1 0 d/p-1/telemetry still-here");
    let code = second.event("puback")["code"].as_u64().unwrap();
    assert!(code == 0 || code == 0x10, "{code:#x}");
}
