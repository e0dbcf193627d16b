//! `tessera device connect` as a device that stays: it renews its token, comes back and loses no line.

use std::fs;
use std::process::Command;

use serde_json::json;
use tessera_tests::process::{ok, run, tessera, Process, PATIENCE};
use tessera_tests::server::{Device, Server};
use tessera_tests::site::{stands_still, unread_at, Watch};

/// Seconds of a token's life: a quarter of it is time enough for a renewal on a busy machine.
const LIFE: &str = "10";

fn brief(server: &Server, device: &str) -> Device {
    let words = ["role", "set", "brief", "--token-seconds", LIFE];
    let rights = ["--publish", "d/{device}/telemetry", "--subscribe", "d/{device}/cmd"];
    ok(server.operator(&words).args(rights));
    server.enrol(device, "brief")
}

fn connect(device: &Device, more: &[&str]) -> Process {
    let mut process = Process::start(
        Command::new(tessera())
            .args(["device", "connect", "--mqtt", &device.mqtt.to_string(), "--dir"])
            .arg(&device.folder)
            .args(more),
    );
    process.line("the connection", |line| line.starts_with("connected to"));
    process
}

#[test]
fn it_publishes_beyond_the_life_of_its_token_on_one_connection() {
    let server = Server::start();
    let start = |(id, more): (&str, &[&str])| {
        let device = brief(&server, id);
        let first = device.token()["serial"].clone();
        let mut process = connect(&device, more);
        process.say("before");
        (device, first, process)
    };
    let both = [("t-1", &[][..]), ("t-2", &["--v5"])].map(start);
    for (device, first, mut process) in both {
        // Two renewals are more than one life.
        for _ in 0..2 {
            process.line("a renewal", |line| line.contains("the token is renewed"));
        }
        process.say("after");
        let status = process.wait();
        let told = process.output();
        assert!(status.success() && told.contains("acknowledged 2 messages"), "{told}");
        assert_eq!(told.matches("connected to").count(), 1, "{told}");
        assert_ne!(device.token()["serial"], first, "the folder has the new token");
    }
}

#[test]
fn it_comes_back_with_its_new_token_and_sends_again_what_was_not_acknowledged() {
    let mut server = Server::start();
    let device = brief(&server, "t-1");
    let backend = server.enrol("backend", "backend");
    // A kept subscription: messages reach the backend although it is away.
    let subscribe = |more: &[&str]| {
        let mut command = backend.mosquitto("mosquitto_sub");
        command.args(["-c", "-q", "1", "-t", "d/+/telemetry"]).args(more);
        command
    };
    ok(&mut subscribe(&["-E"]));
    let mut process = connect(&device, &[]);
    process.say("one");
    process.line("a renewal", |line| line.contains("the token is renewed"));
    // A broker that reads and acknowledges nothing more: "two" is sent, and lost with the process.
    server.process.signal("STOP");
    stands_still(server.process.id());
    let before = unread_at(server.mqtt.port());
    process.say("two");
    let sent = || unread_at(server.mqtt.port()) > before;
    assert!(Watch::until(PATIENCE, sent).is_some(), "the device does not send its line");
    server.process.kill();
    process.line("the loss", |line| line.contains("connecting again"));
    process.say("three");
    // It comes back on the same addresses.
    let (mqtt, http) = (server.mqtt.to_string(), server.http.to_string());
    let data = server.data();
    let mut again = Process::start(
        Command::new(tessera())
            .args(["up", "--mqtt", &mqtt, "--http", &http, "--metrics", "127.0.0.1:0", "--data"])
            .arg(&data),
    );
    again.line("ready", |line| line == "ready");
    process.line("the connection", |line| line.starts_with("connected to"));
    let status = process.wait();
    let told = process.output();
    assert!(status.success() && told.contains("acknowledged 3 messages"), "{told}");
    let mut reader = Process::start(&mut subscribe(&[]));
    for line in ["one", "two", "three"] {
        reader.line(line, |heard| heard == line);
    }
}

#[test]
fn it_ends_when_the_device_is_refused_for_good() {
    let server = Server::start();
    let device = server.enrol("t-1", "sensor");
    let mut process = connect(&device, &["--v5"]);
    server.revoke("t-1");
    process.line("the reason", |line| line.contains("device_revoked"));
    assert_eq!(process.wait().code(), Some(1), "{}", process.output());
    // And when another client takes its place.
    let device = server.enrol("t-2", "sensor");
    let mut process = connect(&device, &["--v5"]);
    let words = ["-q", "1", "-t", "d/t-2/telemetry", "-m", "x"];
    assert!(run(device.mosquitto("mosquitto_pub").args(words)).0);
    process.line("the reason", |line| line.contains("same client id"));
    assert_eq!(process.wait().code(), Some(1), "{}", process.output());
}

#[test]
fn a_wrong_clock_and_a_lost_counter_do_not_keep_it_out() {
    let server = Server::start();
    let device = server.enrol("t-1", "sensor");
    let test = || {
        run(Command::new(tessera())
            .args(["device", "connect", "--test", "--mqtt", &device.mqtt.to_string(), "--dir"])
            .arg(&device.folder))
    };
    let counter = device.folder.join("counter");
    for (state, wrong) in [(None, -40_000_000), (Some("3"), 4_000), (Some("x"), -4_000)] {
        // Several in one second take the counter ahead of the time.
        for _ in 0..4 {
            let (good, told) = test();
            assert!(good, "{told}");
        }
        match state {
            None => fs::remove_file(&counter).unwrap(),
            Some(text) => fs::write(&counter, text).unwrap(),
        }
        device.change("device.json", |card| card["clock_correction"] = json!(wrong));
        let (good, told) = test();
        assert!(good, "{state:?}, {wrong} s: {told}");
        // The clock was refused, and set by the answer of provisioning.
        assert!(told.contains("once more with a new token"), "{told}");
        let correction = device.change("device.json", |card| card["clock_correction"].as_i64());
        assert!(correction.is_some_and(|seconds| seconds.abs() < 60), "{correction:?}");
    }
}
