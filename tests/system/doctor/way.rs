//! The way to the broker, and brokers that are not the right one.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;

use serde_json::{json, Value};
use tempfile::TempDir;
use tessera_tests::server::Server;

use super::{doctor, Said};
use crate::tls::certificate;

/// Answers each connection with these bytes.
fn answering(bytes: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(bytes);
        }
    });
    at
}

#[test]
fn the_way_to_the_broker_is_named() {
    let folder = TempDir::new().unwrap();
    let (cert, key) = certificate(folder.path());
    let more = ["--mqtts", "0.0.0.0:0", "--ws", "127.0.0.1:0", "--cert", &cert, "--key", &key];
    let server = Server::start_with(folder, &more);
    let places: Value =
        serde_json::from_slice(&fs::read(server.data().join("run.json")).unwrap()).unwrap();
    let at = |name: &str| places[name].as_str().unwrap().to_owned();
    let port = |name: &str| at(name).rsplit_once(':').unwrap().1.to_owned();
    let sensor = server.enrol("t-1", "sensor");
    let ask = |mqtt: &str, more: &[&str]| doctor(&sensor.folder, mqtt, more);
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    ask(&free.to_string(), &[]).names("", "nothing listens", "port in --mqtt");
    ask("no.such.host.invalid:1883", &[]).names("", "nothing answers", "host in --mqtt");
    ask("nonsense:port", &[]).names("", "no broker", "--mqtt as host:port");
    ask(&answering(b"SSH-2.0-x\r\n").to_string(), &[]).names("", "no MQTT", "MQTT port");
    ask(&answering(b"").to_string(), &[]).names("", "closed the connection", "MQTT port");
    ask(&answering(b"HTTP/1.1 400 Bad Request\r\n\r\n").to_string(), &[])
        .names("", "HTTP", "ws://");
    ask(&at("http"), &[]).names("", "", "MQTT port");
    let in_clear = format!("127.0.0.1:{}", port("mqtts"));
    ask(&in_clear, &[]).names("", "TLS", "mqtts://");
    let secure = format!("mqtts://localhost:{}", port("mqtts"));
    ask(&secure, &[]).names("", "not trusted", "--cafile");
    assert!(ask(&secure, &["--cafile", &cert]).well);
    ask(&secure, &["--cafile", "/nowhere/at/all"]).names("", "/nowhere/at/all", "PEM");
    let wrong = format!("mqtts://127.0.0.2:{}", port("mqtts"));
    let other = TempDir::new().unwrap();
    let (stranger, _) = certificate(other.path());
    ask(&secure, &["--cafile", &stranger]).names("", "not trusted", "--cafile");
    ask(&wrong, &["--cafile", &cert]).names("", "another name", "stands in the certificate");
    let clear = format!("mqtts://localhost:{}", port("mqtt"));
    ask(&clear, &["--cafile", &cert]).names("", "TLS", "TLS listener");
    let ws = |path: &str| format!("ws://{}{path}", at("ws"));
    assert!(ask(&ws(""), &["--topic", "d/t-1/telemetry"]).well);
    ask(&ws("/wrong"), &[]).names("", "WebSocket", "/mqtt");
    ask(&format!("ws://{}", at("mqtt")), &[]).names("", "WebSocket", "another listener");
    for (connack, code) in [
        (&[0x20, 3, 0, 0x89, 0][..], "rate_limited"),
        (&[0x20, 3, 0, 0x88, 0], "not_ready"),
        (&[0x20, 3, 0, 0x97, 0], "share_used_up"),
    ] {
        let said = ask(&answering(connack).to_string(), &[]);
        assert!(!said.well && said.code() == code, "{}", said.text);
    }
    // A broker of another kind that lets no client in, and one of 3.1.1 alone, which judges the password.
    let old = answering(&[0x20, 2, 0, 1]);
    ask(&old.to_string(), &[]).names("", "unsupported_protocol_version", "--mqtt");
    let foreign = answering(&[0x20, 3, 0, 0x8a, 0]);
    ask(&foreign.to_string(), &[]).names("", "banned", "--mqtt");
}

#[test]
fn another_verifier_name_and_another_provisioning_are_told_apart() {
    let folder = TempDir::new().unwrap();
    let (cert, key) = certificate(folder.path());
    let tls = ["--wss", "127.0.0.1:0", "--cert", &cert, "--key", &key];
    let server = Server::start_with(folder, &[&["--verifier", "north"], &tls[..]].concat());
    let sensor = server.enrol("t-1", "sensor");
    Said::of(&sensor, &[]).names("proof_invalid", "audience mqtt", "--verifier NAME");
    Said::of(&sensor, &["--verifier", "south"]).names(
        "proof_invalid",
        "not named south",
        "--verifier NAME",
    );
    assert!(Said::of(&sensor, &["--verifier", "north"]).well);
    // Over TLS too, where the challenge is bound to the channel.
    let places: Value =
        serde_json::from_slice(&fs::read(server.data().join("run.json")).unwrap()).unwrap();
    let port = places["wss"].as_str().unwrap().rsplit_once(':').unwrap().1;
    let wss = format!("wss://localhost:{port}");
    let told = doctor(&sensor.folder, &wss, &["--cafile", &cert]);
    told.names("proof_invalid", "audience mqtt", "--verifier NAME");
    // A password for the audience, where the name is known.
    let password = sensor.password();
    let said = Said::of(&sensor, &["--verifier", "north", "--password", &password]);
    said.names("proof_invalid", "verifier mqtt", "--verifier");
    // The broker of another provisioning.
    let other = Server::start();
    let said = doctor(&sensor.folder, &other.mqtt.to_string(), &[]);
    said.names("audience_mismatch", "takes no token of", "--mqtt");
    // A token of it in this folder.
    let twin = other.enrol("t-1", "sensor");
    let own = sensor.folder.join("token.json");
    fs::copy(twin.folder.join("token.json"), &own).unwrap();
    Said::of(&sensor, &[]).names("proof_invalid", "another key", "device token --refresh");
}

#[test]
fn a_token_for_another_audience_is_named() {
    let folder = TempDir::new().unwrap();
    let config = folder.path().join("tessera.toml");
    let start = |folder: TempDir, config: &PathBuf, audience: &str| {
        fs::write(config, format!("audience = \"{audience}\"\n")).unwrap();
        Server::start_with(folder, &["--config", config.to_str().unwrap()])
    };
    let server = start(folder, &config, "north");
    let sensor = server.enrol("t-1", "sensor");
    assert!(Said::of(&sensor, &[]).well);
    let folder = server.stop();
    let server = start(folder, &config, "south");
    let http = format!("http://{}", server.http);
    sensor.change("device.json", |card| card["http"] = json!(http));
    let said = doctor(&sensor.folder, &server.mqtt.to_string(), &[]);
    said.names("audience_mismatch", "north", "device token --refresh");
    assert!(said.cause().contains("south"), "{}", said.text);
}
