//! `docs/webhooks.md`: real receivers verify events with libraries of other hands.

use std::fs;
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;
use tessera_tests::process::{ok, python, root, run, Process};
use tessera_tests::server::Server;

/// The port that a receiver tells.
fn port(receiver: &mut Process) -> u16 {
    let line = receiver.line("port", |line| line.starts_with("port "));
    line.trim_start_matches("port ").trim().parse().unwrap()
}

/// Events of a device reach a receiver, which verifies them.
fn deliver(mut receiver: Process) {
    let port = port(&mut receiver);
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("tessera.toml");
    let settings = format!(
        "[provisioning.webhooks]\nports = [443, {port}]\nnetworks = [\"127.0.0.0/8\"]\nin_clear = true\n"
    );
    fs::write(&file, settings).unwrap();
    let file = file.to_str().unwrap().to_owned();
    let server = Server::start_with(folder, &["--config", &file]);
    let url = format!("http://127.0.0.1:{port}/in");
    let words = ["webhook", "create", &url, "--on", "device.*", "--json"];
    let made: Value = serde_json::from_str(&ok(&mut server.operator(&words))).unwrap();
    let text = |name: &str| made[name].as_str().unwrap();
    receiver.say(&format!("{} {}", text("secret"), text("public_key")));
    let verified = |receiver: &mut Process, event: &str| {
        let line = receiver.line(event, |line| !line.is_empty());
        assert_eq!(line, format!("verified {event}"));
    };
    server.enrol("d-17", "sensor");
    verified(&mut receiver, "device.enrol d-17");
    ok(&mut server.operator(&["revoke", "device", "d-17"]));
    verified(&mut receiver, "device.revoke d-17");
    let id = text("webhook");
    ok(&mut server.operator(&["webhook", "test", id]));
    verified(&mut receiver, &format!("webhook.test {id}"));
    let shown = ok(&mut server.operator(&["webhook", "attempts", id]));
    assert!(shown.contains("delivered") && shown.contains("204"), "{shown}");
    let (good, out) =
        run(&mut server.operator(&["webhook", "create", "https://10.0.0.1/", "--on", "*"]));
    assert!(!good && out.contains("10.0.0.1 is no public address"), "{out}");
    ok(&mut server.operator(&["webhook", "change", id, "--state", "paused"]));
    let list = ok(&mut server.operator(&["webhook", "list"]));
    assert!(list.contains("paused") && !list.contains("whsec_"), "{list}");
    ok(&mut server.operator(&["webhook", "delete", id]));
    server.stop();
}

#[test]
fn a_receiver_in_python_verifies_events() {
    let mut command = Command::new(python());
    command.arg(root().join("tests/clients/webhook_receiver.py"));
    deliver(Process::start(&mut command));
}

#[test]
fn a_receiver_in_node_verifies_events() {
    let mut command = Command::new("node");
    command.arg(root().join("tests/clients/webhook_receiver.js"));
    command.env("NODE_PATH", root().join("tests/node_modules"));
    deliver(Process::start(&mut command));
}
