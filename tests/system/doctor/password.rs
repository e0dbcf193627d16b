//! Passwords that are given.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use serde_json::json;
use tessera_tests::process::ok;
use tessera_tests::server::Server;
use tessera_token::encoding::{base64url, from_base64url};

use super::{Said, TokenText};

#[test]
fn a_password_is_taken_apart_and_tried() {
    let server = Server::start();
    let (sensor, other) = (server.enrol("t-1", "sensor"), server.enrol("t-2", "sensor"));
    let try_it = |password: &str, more: &[&str]| {
        Said::of(&sensor, &[&["--password", password], more].concat())
    };
    let password = sensor.password();
    assert!(try_it(&password, &[]).well);
    try_it(&password, &[]).names("proof_replayed", "used already", "device password");
    // One that a client used.
    let password = sensor.password();
    let words = ["-q", "1", "-t", "d/t-1/telemetry", "-m", "x"];
    ok(Command::new("mosquitto_pub")
        .args(["-h", "127.0.0.1", "-p", &sensor.mqtt.port().to_string()])
        .args(["-i", "t-1", "-u", "t-1", "-P", &password])
        .args(words));
    try_it(&password, &[]).names("proof_replayed", "used already", "device password");
    let suffixed = sensor.password_for("t-1~2");
    try_it(&suffixed, &[]).names("proof_invalid", "client id t-1~2", "device password");
    assert!(try_it(&suffixed, &["--client-id", "t-1~2"]).well);
    let password = sensor.password();
    try_it(&password, &["--client-id", "t-1~3"]).names("proof_invalid", "client id t-1,", "t-1~3");
    try_it(&sensor.password_at("north"), &[]).names(
        "proof_invalid",
        "another verifier",
        "password",
    );
    let foreign = other.password();
    try_it(&foreign, &[]).names("client_id_mismatch", "t-2", "--client-id t-2");
    assert!(try_it(&foreign, &["--client-id", "t-2"]).well);
    // A proof of one token behind another one, and a token alone.
    let token = sensor.token_text();
    try_it(&token, &[]).names("proof_missing", "bound to a key", "device password");
    let bytes = from_base64url(&token).unwrap();
    for (bad, code) in [
        ("no password".to_owned(), "token_malformed"),
        ("A".to_owned(), "credential_malformed"),
        (base64url(&bytes[..bytes.len() - 9]), "token_malformed"),
        (base64url(&[&bytes[..], &[0x41, 0]].concat()), "proof_malformed"),
        (String::new(), "credential_missing"),
    ] {
        let said = try_it(&bad, &[]);
        assert!(!said.well && said.code() == code, "{bad}: {}", said.text);
        assert!(said.remedy().contains("device password"), "{}", said.text);
    }
    // From a file, which others must not be able to read.
    let file = server.folder.path().join("password.txt");
    fs::write(&file, sensor.password()).unwrap();
    let given = format!("@{}", file.display());
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    try_it(&given, &[]).names("", "0644", "chmod 600");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    assert!(try_it(&given, &[]).well);
    try_it("@/nowhere/at/all", &[]).names("", "/nowhere/at/all", "--password @FILE");
    // Made by a clock that was wrong.
    sensor.change("device.json", |card| card["clock_correction"] = json!(-300));
    let late = sensor.password();
    sensor.change("device.json", |card| card["clock_correction"] = json!(0));
    try_it(&late, &[]).names("proof_not_fresh", "ago", "device password");
}
