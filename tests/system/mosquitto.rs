//! mosquitto's clients, and its bridge, against the started binary.

use std::net::TcpListener;
use std::process::Command;

use tessera_tests::process::{run, Process};
use tessera_tests::server::Server;

#[test]
fn messages_flow_within_scope_and_stop_at_its_edge() {
    let server = Server::start();
    let sensor = server.enrol("m-1", "sensor");
    let backend = server.enrol("back-1", "backend");

    let mut reader = Process::start(backend.mosquitto("mosquitto_sub").args([
        "-v",
        "-q",
        "1",
        "-C",
        "1",
        "-t",
        "d/+/telemetry",
    ]));
    reader.line("SUBACK", |l| l.contains("received SUBACK"));
    let (sent, output) = run(sensor.mosquitto("mosquitto_pub").args([
        "-q",
        "1",
        "-t",
        "d/m-1/telemetry",
        "-m",
        "21.5",
    ]));
    assert!(sent, "{output}");
    reader.line("message", |l| l == "d/m-1/telemetry 21.5");
    assert!(reader.wait().success());

    // The other way: a command to one device, by an exact route.
    let mut device = Process::start(sensor.mosquitto("mosquitto_sub").args([
        "-v",
        "-C",
        "1",
        "-t",
        "d/m-1/cmd",
    ]));
    device.line("SUBACK", |l| l.contains("received SUBACK"));
    let (sent, output) =
        run(backend.mosquitto("mosquitto_pub").args(["-q", "1", "-t", "d/m-1/cmd", "-m", "open"]));
    assert!(sent, "{output}");
    device.line("command", |l| l == "d/m-1/cmd open");
    assert!(device.wait().success());

    // Another device's topic: 3.1.1 has no other word than closing the connection.
    let (sent, output) = run(sensor.mosquitto("mosquitto_pub").args([
        "-q",
        "1",
        "-t",
        "d/m-2/telemetry",
        "-m",
        "x",
    ]));
    assert!(!sent, "{output}");
    let v5 = ["-V", "5", "-q", "1", "-t", "d/m-2/telemetry", "-m", "x"];
    let (_, output) = run(sensor.mosquitto("mosquitto_pub").args(v5));
    assert!(output.contains("RC:135") || output.contains("Not authorized"), "{output}");
    // A filter that is wider than the scope.
    let refused = ["-t", "d/+/cmd", "-W", "30"];
    let (_, output) = run(sensor.mosquitto("mosquitto_sub").args(refused));
    assert!(output.contains("128") || output.contains("denied"), "{output}");
}

#[test]
fn a_password_is_good_once_and_for_its_owner_only() {
    let server = Server::start();
    let one = server.enrol("m-1", "sensor");
    let two = server.enrol("m-2", "sensor");
    let password = one.password();
    let with = |client_id: &str, password: &str| {
        let port = server.mqtt.port().to_string();
        run(std::process::Command::new("mosquitto_pub")
            .args(["-d", "-h", "127.0.0.1", "-p", &port, "-i", client_id, "-u", client_id])
            .args(["-P", password, "-q", "1", "-t", "d/m-1/telemetry", "-m", "x"]))
    };
    let (thief, _) = with("m-2", &password);
    assert!(!thief, "another client id got in with a copied password");
    let (first, output) = with("m-1", &password);
    assert!(first, "{output}");
    let (replay, _) = with("m-1", &password);
    assert!(!replay, "a replayed password got in");
    let (bare, _) = with("m-1", "");
    assert!(!bare, "an empty password got in");
    let (suffixed, output) = with("m-1~b", &one.password_for("m-1~b"));
    assert!(suffixed, "{output}");
    let (other, _) = with("m-1", &two.password());
    assert!(!other, "another device's password got in");
}

#[test]
fn revocation_cuts_a_live_subscriber_and_keeps_it_out() {
    let server = Server::start();
    let sensor = server.enrol("m-1", "sensor");
    let v5 = ["-V", "5", "-t", "d/m-1/cmd"];
    let mut subscriber = Process::start(sensor.mosquitto("mosquitto_sub").args(v5));
    subscriber.line("SUBACK", |l| l.contains("received SUBACK"));
    let late = sensor.password();
    server.revoke("m-1");
    subscriber.line("DISCONNECT", |l| l.contains("DISCONNECT (152)"));
    subscriber.kill();
    let port = server.mqtt.port().to_string();
    let (back, output) = run(std::process::Command::new("mosquitto_pub")
        .args(["-d", "-h", "127.0.0.1", "-p", &port, "-i", "m-1", "-u", "m-1", "-P", &late])
        .args(["-t", "d/m-1/telemetry", "-m", "x"]));
    assert!(!back, "{output}");
    // Still out after kill -9 and restart.
    let server = server.kill_and_restart();
    let port = server.mqtt.port().to_string();
    let (back, output) = run(std::process::Command::new("mosquitto_pub")
        .args(["-d", "-h", "127.0.0.1", "-p", &port, "-i", "m-1", "-u", "m-1", "-P", &late])
        .args(["-t", "d/m-1/telemetry", "-m", "x"]));
    assert!(!back, "{output}");
}

#[test]
fn shared_subscriptions_and_retained_messages_reach_mosquitto() {
    let server = Server::start();
    let sensor = server.enrol("m-1", "sensor");
    let backend = server.enrol("back-1", "backend");
    let (sent, output) = run(sensor.mosquitto("mosquitto_pub").args([
        "-r",
        "-q",
        "1",
        "-t",
        "d/m-1/telemetry",
        "-m",
        "kept",
    ]));
    assert!(sent, "{output}");
    let mut reader = Process::start(backend.mosquitto("mosquitto_sub").args([
        "-v",
        "-C",
        "1",
        "-t",
        "d/+/telemetry",
    ]));
    reader.line("retained", |l| l == "d/m-1/telemetry kept");
    assert!(reader.wait().success());
    let mut shared = Process::start(backend.mosquitto("mosquitto_sub").args([
        "-V",
        "mqttv5",
        "-v",
        "-C",
        "1",
        "-t",
        "$share/g/d/+/telemetry",
    ]));
    shared.line("SUBACK", |l| l.contains("received SUBACK"));
    let (sent, output) = run(sensor.mosquitto("mosquitto_pub").args([
        "-q",
        "1",
        "-t",
        "d/m-1/telemetry",
        "-m",
        "one",
    ]));
    assert!(sent, "{output}");
    shared.line("shared", |l| l == "d/m-1/telemetry one");
    assert!(shared.wait().success());
}

#[test]
fn sigterm_drains_and_a_restart_goes_on() {
    let server = Server::start();
    let sensor = server.enrol("m-1", "sensor");
    let folder = server.stop();
    let server = Server::start_with(folder, &[]);
    let sensor = tessera_tests::server::Device { mqtt: server.mqtt, ..sensor };
    let (sent, output) = run(sensor.mosquitto("mosquitto_pub").args([
        "-q",
        "1",
        "-t",
        "d/m-1/telemetry",
        "-m",
        "x",
    ]));
    assert!(sent, "{output}");
    server.stop();
}

/// The server of mosquitto, where Debian puts it.
fn mosquitto() -> Command {
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = Command::new("mosquitto");
    command.env("PATH", format!("{path}:/usr/sbin"));
    command
}

/// A bridge sends its level with the highest bit set (`try_private`, its default), which no standard knows. It is told so
/// in the form of 3.1.1, and comes again without the bit.
#[test]
fn a_bridge_connects_by_its_second_try() {
    let mut server = Server::start();
    let sensor = server.enrol("m-1", "sensor");
    let backend = server.enrol("back-1", "backend");
    let mut reader = Process::start(backend.mosquitto("mosquitto_sub").args([
        "-v",
        "-q",
        "1",
        "-C",
        "1",
        "-t",
        "d/+/telemetry",
    ]));
    reader.line("SUBACK", |l| l.contains("received SUBACK"));
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let config = server.folder.path().join("bridge.conf");
    let lines = [
        "user root".to_owned(),
        "log_dest stderr".to_owned(),
        "log_type all".to_owned(),
        format!("listener {port} 127.0.0.1"),
        "allow_anonymous true".to_owned(),
        "connection up".to_owned(),
        format!("address {}", server.mqtt),
        "try_private true".to_owned(),
        "notifications false".to_owned(),
        "restart_timeout 1".to_owned(),
        "remote_clientid m-1".to_owned(),
        "remote_username m-1".to_owned(),
        format!("remote_password {}", sensor.password()),
        "topic telemetry out 1 local/ d/m-1/".to_owned(),
    ];
    std::fs::write(&config, lines.join("\n") + "\n").unwrap();
    let mut bridge = Process::start(mosquitto().arg("-c").arg(&config));
    bridge.line("refusal", |l| l.contains("unacceptable protocol version"));
    let port = port.to_string();
    let words = ["-h", "127.0.0.1", "-p", &port, "-q", "1", "-t", "local/telemetry", "-m", "21.5"];
    let (sent, output) = run(Command::new("mosquitto_pub").args(words));
    assert!(sent, "{output}");
    reader.line("message", |l| l == "d/m-1/telemetry 21.5");
    assert!(reader.wait().success());
    bridge.kill();
    server.process.terminate();
    assert!(server.process.wait().success());
    let output = server.process.output();
    let told = output.lines().find(|line| line.contains("code=protocol_version"));
    assert!(told.is_some_and(|line| line.contains("address=127.0.0.1 transport=mqtt")), "{output}");
}
