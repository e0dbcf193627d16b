//! The life of a device after enrolment, by the commands that a person types.

use std::process::Command;

use serde_json::Value;
use tessera_tests::process::{ok, run, tessera};
use tessera_tests::server::{Device, Server};

fn device(card: &Device, words: &[&str]) -> Command {
    let mut command = Command::new(tessera());
    command.arg("device").args(words).arg("--dir").arg(&card.folder);
    command
}

fn publishes(card: &Device, topic: &str) -> bool {
    run(card.mosquitto("mosquitto_pub").args(["-q", "1", "-t", topic, "-m", "x"])).0
}

#[test]
fn a_suspended_device_connects_again_after_it_is_reinstated() {
    let server = Server::start();
    let card = server.enrol("d-1", "sensor");
    assert!(publishes(&card, "d/d-1/telemetry"));
    ok(&mut server.operator(&["suspend", "device", "d-1", "--reason", "lent"]));
    let shown = ok(&mut server.operator(&["devices", "--where", "state=suspended", "--json"]));
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(shown[0]["suspended_reason"], "lent");
    let is_known = (0..100).any(|_| !publishes(&card, "d/d-1/telemetry"));
    assert!(is_known, "the broker hears of it");
    let (good, output) = run(&mut device(&card, &["token", "--refresh"]));
    assert!(!good && output.contains("device_suspended"), "{output}");
    let (may, output) = run(&mut server.operator(&["can", "d-1", "publish", "d/d-1/telemetry"]));
    assert!(!may && output.contains("device_suspended"), "{output}");
    ok(&mut server.operator(&["reinstate", "device", "d-1"]));
    ok(&mut server.operator(&["suspend", "group", "default"]));
    let (good, output) = run(&mut device(&card, &["token", "--refresh"]));
    assert!(!good && output.contains("group_suspended"), "{output}");
    ok(&mut server.operator(&["reinstate", "group", "default"]));
    ok(&mut device(&card, &["token", "--refresh"]));
    assert!(publishes(&card, "d/d-1/telemetry"));
    let history = ok(&mut server.operator(&["history", "d-1"]));
    for action in ["device.enrol", "device.suspend", "lent", "device.reinstate"] {
        assert!(history.contains(action), "{history}");
    }
}

#[test]
fn a_device_gets_another_key_by_itself_and_by_approval() {
    let server = Server::start();
    let card = server.enrol("d-1", "sensor");
    let key = || std::fs::read_to_string(card.folder.join("device.key")).unwrap();
    let first = key();
    ok(&mut device(&card, &["rekey"]));
    let second = key();
    assert_ne!(first, second);
    assert!(publishes(&card, "d/d-1/telemetry"), "the broker takes the token of the new key");
    // The former key is good for nothing.
    std::fs::write(card.folder.join("device.key"), &first).unwrap();
    let (good, output) = run(&mut device(&card, &["token", "--refresh"]));
    assert!(!good && output.contains("proof_invalid"), "{output}");
    let (good, output) = run(&mut device(&card, &["rekey"]));
    assert!(!good && output.contains("--lost"), "{output}");

    let lost = || device(&card, &["rekey", "--lost", "--json"]);
    let (good, output) = run(&mut lost());
    assert!(!good && output.contains("approval_pending"), "{output}");
    // The request is put on the list beside its answer.
    let listed = (0..100).find_map(|_| {
        let listed = ok(&mut server.operator(&["rekey", "list", "--json"]));
        let listed: Value = serde_json::from_str(&listed).unwrap();
        listed[0]["thumbprint"].as_str().map(str::to_owned)
    });
    let thumbprint = &listed.unwrap();
    assert!(output.contains(&format!("tessera rekey approve d-1 {thumbprint}")), "{output}");
    ok(&mut server.operator(&["rekey", "approve", "d-1", thumbprint]));
    let told: Value = serde_json::from_str(&ok(&mut lost())).unwrap();
    assert_eq!(told["key_thumbprint"], *thumbprint);
    assert!(publishes(&card, "d/d-1/telemetry"));
    ok(&mut device(&card, &["token", "--refresh"]));
}
