//! Revocations by the commands, with a broker that takes them, and the lists that others read.

use std::process::Command;

use serde_json::{json, Value};
use tessera_tests::process::{ok, python, root};
use tessera_tests::server::Server;

/// The answer of a verb; progress is on the other pipe.
fn said(server: &Server, words: &[&str]) -> Value {
    let output = server.operator(&[words, &["--json"]].concat()).output().unwrap();
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn a_revocation_that_waits_is_taken_by_the_broker() {
    let server = Server::start();
    server.enrol("d-1", "sensor");
    let answer = said(&server, &["revoke", "device", "d-1", "--wait"]);
    let verifiers = &answer["verifiers"];
    assert_eq!((&verifiers["known"], &verifiers["taken"]), (&json!(1), &json!(1)), "{answer}");
    assert_eq!(verifiers["missing"], json!([]));
    let listed = said(&server, &["trust", "verifiers"]);
    let broker = &listed[0];
    assert_eq!((&broker["kind"], &broker["state"]), (&json!("broker"), &json!("here")), "{listed}");
    assert!(broker["event"].as_u64() >= answer["event"].as_u64(), "{listed} {answer}");
    let text = ok(&mut server.operator(&["revoke", "group", "default", "--wait=10s"]));
    assert!(text.contains("1 of 1 verifiers have taken it"), "{text}");
}

#[test]
fn an_independent_reader_finds_revoked_tokens_in_the_status_list() {
    let server = Server::start();
    for device in ["d-1", "d-2", "d-3"] {
        server.enrol(device, "sensor");
    }
    said(&server, &["revoke", "device", "d-2"]);
    let hashes = said(&server, &["trust", "revoked"]);
    assert_eq!(hashes["full_set"].as_array().unwrap().len(), 1, "{hashes}");
    let file = server.folder.path().join("status.cwt");
    let path = file.to_str().unwrap();
    said(&server, &["trust", "status-list", path]);
    // The serials of the three enrolments follow each other.
    let script = root().join("tests/clients/status_list.py");
    let text = ok(Command::new(python()).arg(script).arg(&file).args(["1", "2", "3"]));
    let read: Value = serde_json::from_str(&text).unwrap();
    let expected = json!({
        "sub": "urn:tessera:status-list:default", "lives": 86_400, "ttl": 300,
        "revoked": [false, true, false], "set": 1,
    });
    assert_eq!(read, expected);
}
