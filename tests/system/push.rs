//! `docs/refresh.md`, push: connected devices are handed their next tokens, by real servers.

use std::fs;
use std::net::SocketAddr;
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;
use tessera_tests::http::Http;
use tessera_tests::process::{ok, tessera, Process};
use tessera_tests::server::Server;

/// A server whose tokens live so long, and that pushes to its own broker.
fn server(seconds: u64) -> Server {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("tessera.toml");
    fs::write(&file, format!("token_seconds = {seconds}\n")).unwrap();
    let file = file.to_str().unwrap().to_owned();
    Server::start_with(folder, &["--push", "self", "--config", &file])
}

fn metrics(at: SocketAddr) -> String {
    Http::new(at, None).get("/metrics").unwrap().text()
}

fn value(page: &str, name: &str) -> u64 {
    let line = page
        .lines()
        .find(|line| line.starts_with(name))
        .unwrap_or_else(|| panic!("no {name}\n{page}"));
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

#[test]
fn a_hundred_devices_live_by_pushed_tokens() {
    let server = server(20);
    let report = server.folder.path().join("report.json");
    let mqtt = server.mqtt.to_string();
    let words = ["sim", "run", "--devices", "100", "--for", "60s", "--seed", "7", "--every", "10s"];
    let mut command = server.operator(&words);
    command.args(["--mqtt", &mqtt]).arg("--json").arg(&report);
    let output = ok(&mut command);
    let report: Value = serde_json::from_slice(&fs::read(&report).unwrap()).unwrap();
    println!("{output}");
    assert_eq!(report["failures"], 0, "{output}");
    assert_eq!(report["lost"], 0, "no session ended with its token: {output}");
    let (pushed, refreshes) = (&report["pushed"], &report["refreshes"]);
    let (pushed, refreshes) = (pushed.as_u64().unwrap(), refreshes.as_u64().unwrap());
    assert!(2 * pushed > refreshes && pushed > 150, "{pushed} of {refreshes}\n{output}");
    let page = metrics(server.http);
    let told = value(&page, r#"tessera_provisioning_pushes_total{outcome="pushed"}"#);
    assert!(told >= pushed, "{told} and {pushed}");
    server.stop();
}

#[test]
fn the_topic_of_push_is_closed_to_devices_and_backends() {
    let server = server(60);
    let device = server.enrol("d-17", "sensor");
    for (program, more, refused) in [
        ("mosquitto_pub", &["-m", "x"][..], "not authorized"),
        ("mosquitto_sub", &["-W", "20"][..], "denied"),
    ] {
        let mut command = device.mosquitto(program);
        command.args(["-V", "5", "-q", "1", "-t", "$tessera/refresh"]).args(more);
        let output = command.output().unwrap();
        // The word of the client about the answer: its exit code tells of a time-out too.
        let text = String::from_utf8_lossy(&output.stderr).to_ascii_lowercase();
        assert!(text.contains(refused), "{program}: {text}");
        let log = String::from_utf8_lossy(&output.stdout);
        assert!(!log.contains("received PUBLISH"), "{program}: {log}");
    }
    let page = metrics(server.metrics);
    for (what, code) in
        [("publish", "publish_not_authorised"), ("subscribe", "subscribe_not_authorised")]
    {
        let line = format!(r#"tessera_broker_refusals_total{{code="{code}",what="{what}"}}"#);
        assert_eq!(value(&page, &line), 1, "{page}");
    }
}

#[test]
fn a_device_that_stays_connected_keeps_the_pushed_token_in_its_folder() {
    let server = server(20);
    let device = server.enrol("d-17", "sensor");
    let first = device.token()["serial"].clone();
    let mut line = Process::start(
        Command::new(tessera())
            .args(["device", "connect", "--dir"])
            .arg(&device.folder)
            .args(["--mqtt", &server.mqtt.to_string()]),
    );
    line.line("renewed", |line| line.contains("the token is renewed"));
    line.line("renewed again", |line| line.contains("the token is renewed"));
    line.line("and again", |line| line.contains("the token is renewed"));
    assert_ne!(device.token()["serial"], first);
    let page = metrics(server.http);
    assert!(value(&page, r#"tessera_provisioning_pushes_total{outcome="pushed"}"#) >= 1, "{page}");
}

#[test]
fn self_is_for_up_alone_and_a_word_that_is_no_broker_is_told() {
    for (verb, broker, told) in
        [("provision", "self", "self is for tessera up"), ("up", "b1", "is no broker")]
    {
        let folder = TempDir::new().unwrap();
        let output = Command::new(tessera())
            .args([verb, "--push", broker, "--data"])
            .arg(folder.path().join("data"))
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && text.contains(told), "{text}");
    }
}
