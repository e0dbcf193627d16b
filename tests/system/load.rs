//! `tessera sim conn`, `pub`, `sub` and `storm` against a running system: exact counts, refusals by name, and nothing left
//! behind.

use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;
use tessera_tests::http::Http;
use tessera_tests::process::{ok, run, Process};
use tessera_tests::server::Server;

/// `tessera sim WORDS` at the broker of this system, with its report in a file.
fn sim(server: &Server, words: &[&str]) -> (Command, PathBuf) {
    let port = server.mqtt.port().to_string();
    let file = server.folder.path().join(format!("{}.json", words.join("_").replace('/', "-")));
    let mut command = server.operator(&[&["sim"], words].concat());
    command.args(["-h", "127.0.0.1", "-p", &port, "--json"]).arg(&file);
    (command, file)
}

fn read(file: &PathBuf) -> Value {
    serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap()
}

/// Observations of a stage.
fn count(report: &Value, stage: &str) -> u64 {
    let stages = report["stages"].as_array().unwrap();
    let found = stages.iter().find(|one| one["name"] == stage);
    found.map_or(0, |one| one["micros"]["count"].as_u64().unwrap())
}

/// Devices that the system knows.
fn devices(server: &Server) -> usize {
    let list = ok(&mut server.operator(&["devices", "--json"]));
    serde_json::from_str::<Value>(&list).unwrap().as_array().unwrap().len()
}

/// The address in the line about metrics.
fn metrics(process: &mut Process) -> Http {
    let line = process.line("metrics", |line| line.starts_with("metrics on http://"));
    let at = line.trim_start_matches("metrics on http://").trim_end_matches("/metrics");
    Http::new(at.parse().unwrap(), None)
}

#[test]
fn load_conn_counts_devices_and_removes_them() {
    let server = Server::start();
    let words = ["conn", "-c", "12", "-R", "500", "--ifaddr", "127.0.0.2,127.0.0.3"];
    let (mut command, file) = sim(&server, &words);
    let page = server.folder.path().join("conn.html");
    command.args(["--prometheus", "127.0.0.1:0", "--seed", "7", "--html"]).arg(&page);
    let mut process = Process::start(&mut command);
    let http = metrics(&mut process);
    process.line("all connected", |line| line.contains("all 12 devices are ready"));
    assert_eq!(devices(&server), 12);
    let told = http.get("/metrics").unwrap().text();
    assert!(told.contains("tessera_sim_devices_connected 12\n"), "{told}");
    process.terminate();
    assert!(process.wait().success(), "{}", process.output());
    let report = read(&file);
    for name in ["devices", "enrolled", "connected", "connections"] {
        assert_eq!(report[name], 12, "{name}: {report}");
    }
    assert_eq!((&report["lost"], &report["removal"]["removed"]), (&0.into(), &12.into()));
    assert_eq!(report["failures"], serde_json::json!({}));
    for stage in ["dns and tcp", "connect to connack", "whole connect"] {
        assert_eq!(count(&report, stage), 12, "{stage}");
    }
    assert_eq!(devices(&server), 0);
    let (known, told) = run(&mut server.operator(&["role", "show", "load-s7"]));
    assert!(!known, "{told}");
    let page = std::fs::read_to_string(page).unwrap();
    for foreign in ["http:", "https:", "src=", "href=", "url(", "<script", "<link"] {
        assert!(!page.contains(foreign), "{foreign}");
    }
    assert!(page.contains("<svg") && page.contains("connect to connack"));
}

#[test]
fn load_pub_and_sub_count_each_message_once() {
    let server = Server::start();
    let words = ["sub", "-c", "3", "-t", "bench/%i", "-q", "2", "--payload-hdrs", "cnt64,ts"];
    let (mut command, heard) = sim(&server, &words);
    let mut subscribers =
        Process::start(command.args(["--prometheus", "127.0.0.1:0", "--prefix", "s-"]));
    let http = metrics(&mut subscribers);
    subscribers.line("subscriptions", |line| line.contains("all 3 devices are ready"));
    let mut total = 0;
    for (version, qos) in [("4", "0"), ("5", "1"), ("5", "2")] {
        let words =
            ["pub", "-c", "3", "-t", "bench/%i", "-L", "30", "-I", "5", "-w", "-V", version];
        let (mut command, file) = sim(&server, &words);
        ok(command.args(["-q", qos, "--payload-hdrs", "cnt64,ts"]));
        let report = read(&file);
        let acknowledged = if qos == "0" { 0 } else { 30 };
        assert_eq!(report["published"], 30, "{report}");
        assert_eq!(report["acknowledged"], acknowledged, "{report}");
        assert_eq!(count(&report, "publish to puback"), acknowledged, "{report}");
        assert_eq!(report["removal"]["removed"], 3, "{report}");
        total += 30;
    }
    let wanted = format!("tessera_sim_received_total {total}\n");
    let came = (0..10_000).any(|_| http.get("/metrics").unwrap().text().contains(&wanted));
    assert!(came, "{}", http.get("/metrics").unwrap().text());
    subscribers.terminate();
    assert!(subscribers.wait().success(), "{}", subscribers.output());
    let report = read(&heard);
    assert_eq!((&report["subscribed"], &report["received"]), (&3.into(), &total.into()));
    assert_eq!(count(&report, "end to end"), total, "{report}");
    assert_eq!(devices(&server), 0);
}

#[test]
fn load_refusals_are_counted_by_their_names() {
    let server = Server::start();
    ok(&mut server.operator(&["role", "set", "other", "--publish", "other/{device}"]));
    let words = ["pub", "-c", "1", "-t", "bench/%i", "-q", "1", "-L", "4", "-I", "5"];
    let (mut command, file) = sim(&server, &words);
    let (good, told) = run(command.args(["--role", "other"]));
    let report = read(&file);
    assert!(!good, "{told}");
    assert_eq!(report["failures"], serde_json::json!({ "publish:not_authorized": 4 }), "{told}");
    assert_eq!((&report["acknowledged"], &report["removal"]["removed"]), (&0.into(), &1.into()));

    // Nothing listens there: the devices are removed all the same.
    let file = server.folder.path().join("closed.json");
    let mut command = server.operator(&["sim", "conn", "-h", "127.0.0.1", "-p", "1", "-c", "3"]);
    let (good, told) = run(command.args(["--for", "1s", "--json"]).arg(&file));
    let report = read(&file);
    assert!(!good && report["connected"] == 0, "{told}");
    let failures = report["failures"].as_object().unwrap();
    assert!(failures.keys().all(|code| code == "connect:port_closed"), "{report}");
    assert_eq!(report["removal"]["removed"], 3, "{report}");
    assert_eq!(devices(&server), 0);
}

#[test]
fn load_tells_devices_that_it_could_not_remove() {
    let mut server = Server::start();
    let (mut command, file) = sim(&server, &["conn", "-c", "2", "-s", "--prefix", "left-"]);
    let mut process = Process::start(&mut command);
    process.line("all connected", |line| line.contains("all 2 devices are ready"));
    server.process.kill();
    process.terminate();
    assert!(!process.wait().success());
    let told = process.output();
    assert!(told.contains("not removed: left-1, left-2, load-left: "), "{told}");
    assert!(told.contains("tessera sim remove --prefix left- --tenant default"), "{told}");
    assert_eq!(read(&file)["removal"]["left"], serde_json::json!(["left-1", "left-2"]));
    let server = server.kill_and_restart();
    assert_eq!(devices(&server), 2);
    ok(&mut server.operator(&["sim", "remove", "--prefix", "left-", "--tenant", "default"]));
    assert_eq!(devices(&server), 0);
}

#[test]
fn load_storms_take_every_device_with_them() {
    let server = Server::start();
    for (kind, figure, stage) in [
        ("reconnect", "devices that came back", "outage to connack"),
        ("refresh", "devices with a new token", "new token to connack"),
    ] {
        let (mut command, file) = sim(&server, &["storm", "--kind", kind, "-c", "5"]);
        let told = ok(&mut command);
        let report = read(&file);
        assert_eq!(report["values"][figure], 5.0, "{told}");
        assert_eq!(count(&report, stage), 5, "{told}");
        assert_eq!(report["removal"]["removed"], 5, "{told}");
    }
    let (mut command, file) = sim(&server, &["storm", "--kind", "revocation", "-c", "5"]);
    let told = ok(&mut command);
    let report = read(&file);
    assert_eq!(report["refusals"], serde_json::json!({ "connect:not_authorized": 5 }), "{told}");
    assert_eq!(count(&report, "revoked to closed"), 5, "{told}");
    let words = ["storm", "--kind", "fan-out", "-c", "4", "-L", "10"];
    let (mut command, file) = sim(&server, &words);
    let told = ok(&mut command);
    let report = read(&file);
    assert_eq!((&report["published"], &report["received"]), (&10.into(), &30.into()), "{told}");
    assert_eq!(count(&report, "end to end"), 30, "{told}");
    assert_eq!(devices(&server), 0);
}

/// A system that speaks TLS and WebSocket too, the file of its authority, and where it listens for each.
pub(crate) fn on_all_transports() -> (Server, String, [(String, &'static [&'static str]); 3]) {
    let folder = tempfile::TempDir::new().unwrap();
    let (cert, key) = crate::tls::certificate(folder.path());
    let any = "127.0.0.1:0";
    let more = ["--mqtts", any, "--ws", any, "--wss", any, "--cert", &cert, "--key", &key];
    let server = Server::start_with(folder, &more);
    let places = tessera_tests::server::run_file(&server.data());
    let port = |name: &str| {
        let at: std::net::SocketAddr = places[name].as_str().unwrap().parse().unwrap();
        at.port().to_string()
    };
    let transports: [(String, &[&str]); 3] =
        [(port("mqtts"), &["-S"]), (port("ws"), &["--ws"]), (port("wss"), &["-S", "--ws"])];
    (server, cert, transports)
}

#[test]
fn load_pub_goes_over_tls_and_web_socket() {
    let (server, cert, transports) = on_all_transports();
    for (port, flags) in transports {
        let file = server.folder.path().join("pub.json");
        let words =
            ["sim", "pub", "-c", "3", "-t", "bench/%i", "-q", "1", "-L", "30", "-I", "5", "-w"];
        let mut command = server.operator(&words);
        command.args(["-h", "localhost", "-p", &port, "--cacertfile", &cert]).args(flags);
        let told = ok(command.arg("--json").arg(&file));
        let report = read(&file);
        assert_eq!(
            (&report["published"], &report["acknowledged"]),
            (&30.into(), &30.into()),
            "{told}"
        );
        assert_eq!((&report["connected"], &report["removal"]["removed"]), (&3.into(), &3.into()));
        let handshakes = if flags.contains(&"-S") { 3 } else { 0 };
        assert_eq!(count(&report, "tls"), handshakes, "{flags:?} {report}");
    }
    // An authority that did not sign the certificate: no device connects.
    let (other, _) = crate::tls::certificate(server.folder.path().join("data").as_path());
    let (port, file) = (server.mqtt.port().to_string(), server.folder.path().join("none.json"));
    let mut command = server.operator(&["sim", "conn", "-c", "2", "-h", "localhost", "-p", &port]);
    command.args(["-S", "--for", "1s", "--cacertfile", &other, "--json"]).arg(&file);
    let (good, told) = run(&mut command);
    assert!(!good && read(&file)["connected"] == 0, "{told}");
    assert_eq!(devices(&server), 0);
}
