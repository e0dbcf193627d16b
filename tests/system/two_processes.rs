//! Provisioning and broker as two processes that talk over HTTP only, and a gateway agent beside.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::{json, Value};
use tessera_tests::process::{ok, run, tessera, Process};
use tessera_tests::server::{Device, Provisioning};
use tessera_tests::site::Watch;

/// A whole folder.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    // A store that others can read is not opened.
    fs::set_permissions(to, fs::metadata(from).unwrap().permissions()).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &to.join(entry.file_name())),
            false => drop(fs::copy(entry.path(), to.join(entry.file_name())).unwrap()),
        }
    }
}

/// A broker or an agent on the feed.
fn reader(parts: &Provisioning, verb: &str, data: &str, more: &[&str]) -> Process {
    let p = parts.folder.path().join("p");
    let mut process = Process::start(
        Command::new(tessera())
            .arg(verb)
            .arg("--data")
            .arg(parts.folder.path().join(data))
            .args(["--provisioning", &format!("http://{}", parts.http)])
            .arg("--feed-token")
            .arg(p.join("feed.token"))
            .arg("--root")
            .arg(p.join("root.thumbprint"))
            .args(more),
    );
    process.line("ready", |l| l == "ready");
    process
}

#[test]
fn an_outage_of_provisioning_stops_no_device() {
    let mut parts = Provisioning::start();
    let broker = ["--mqtt", "127.0.0.1:0", "--metrics", "127.0.0.1:0"];
    let mut process = reader(&parts, "broker", "b", &broker);
    let mqtt = parts.run_file("b")["mqtt"].as_str().unwrap().to_owned();
    let device = parts.enrol("default", "t-1").at(&mqtt);
    let words = ["-q", "1", "-t", "d/t-1/telemetry", "-m", "x"];
    assert!(run(device.mosquitto("mosquitto_pub").args(words)).0);
    let mut subscriber =
        Process::start(device.mosquitto("mosquitto_sub").args(["-t", "d/t-1/cmd"]));
    subscriber.line("SUBACK", |l| l.contains("received SUBACK"));
    parts.process.kill();
    // A second connection of the same device, while the first one goes on.
    let (sent, output) = run(Command::new("mosquitto_pub")
        .args(["-d", "-h", "127.0.0.1", "-p", mqtt.rsplit(':').next().unwrap(), "-i", "t-1~2"])
        .args(["-u", "t-1", "-P", &device.password_for("t-1~2")])
        .args(words));
    assert!(sent, "{output}");
    // And after a restart of the broker, from its own store alone.
    subscriber.kill();
    process.terminate();
    assert!(process.wait().success());
    drop(process);
    let _process = reader(&parts, "broker", "b", &broker);
    let mqtt = parts.run_file("b")["mqtt"].as_str().unwrap().to_owned();
    let device = device.at(&mqtt);
    let (sent, output) = run(device.mosquitto("mosquitto_pub").args(words));
    assert!(sent, "{output}");
}

fn ask(mut stream: impl Read + Write, body: &Value) -> Value {
    let body = body.to_string();
    write!(
        stream,
        "POST /v1/validate HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200"), "{answer}");
    serde_json::from_str(body).unwrap()
}

#[test]
fn a_gateway_agent_decides_offline() {
    let mut parts = Provisioning::start();
    let socket = parts.folder.path().join("agent.sock");
    let more = ["--http", "127.0.0.1:0", "--socket", socket.to_str().unwrap()];
    let _agent = reader(&parts, "agent", "a", &more);
    let http = parts.run_file("a")["http"].as_str().unwrap().to_owned();
    let name = parts.run_file("a")["verifier"].as_str().unwrap().to_owned();
    let device = parts.enrol("default", "t-1");
    parts.process.kill();
    // A password for the broker is none here, so that a gateway that is asked to validate learns nothing it can use.
    let for_broker = json!({ "client_id": "t-1", "password": device.password() });
    let answer = ask(TcpStream::connect(&http).unwrap(), &for_broker);
    assert_eq!((&answer["allow"], &answer["code"]), (&false.into(), &"proof_invalid".into()));
    assert_eq!(answer["verifier"], name.as_str(), "{answer}");
    let password = device.password_at(&name);
    let good = json!({ "client_id": "t-1", "password": password });
    let answer = ask(TcpStream::connect(&http).unwrap(), &good);
    assert_eq!((&answer["allow"], &answer["device"]), (&true.into(), &"t-1".into()), "{answer}");
    // The same password again, on the other door: the counter was used.
    let answer = ask(UnixStream::connect(&socket).unwrap(), &good);
    assert_eq!((&answer["allow"], &answer["code"]), (&false.into(), &"proof_replayed".into()));
    let other = json!({ "client_id": "t-2", "password": device.password_at(&name) });
    let answer = ask(UnixStream::connect(&socket).unwrap(), &other);
    assert_eq!(answer["code"], "proof_invalid", "{answer}");
}

/// Two brokers with one name on one feed serve on, and both say it; with names of their own neither does.
#[test]
fn brokers_of_one_name_are_told_and_brokers_of_two_names_take_a_proof_once() {
    let parts = Provisioning::start();
    let page = |name: &str, path: &str| {
        let at = parts.run_file(name)["metrics"].as_str().unwrap().to_owned();
        let mut stream = TcpStream::connect(&at).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    let more = ["--mqtt", "127.0.0.1:0", "--metrics", "127.0.0.1:0"];
    let named = [&more[..], &["--verifier", "north"]].concat();
    let _north = reader(&parts, "broker", "north", &named);
    let _one = reader(&parts, "broker", "one", &more);
    let ready = page("one", "/readyz");
    assert!(!ready.contains("verifier_name_shared"), "{ready}");
    let mut two = reader(&parts, "broker", "two", &more);
    for name in ["one", "two"] {
        let told = Watch::until(Duration::from_secs(60), || {
            let ready = page(name, "/readyz");
            ready.contains("HTTP/1.1 200") && ready.contains("\"warning\":\"verifier_name_shared\"")
        });
        assert!(told.is_some(), "{name}: {}", page(name, "/readyz"));
        assert!(page(name, "/metrics").contains("tessera_verifier_name_shared 1"));
    }
    two.line("its log", |line| {
        line.contains("another reader of the trust feed has this verifier name")
    });
    let ready = page("north", "/readyz");
    assert!(ready.contains("HTTP/1.1 200") && !ready.contains("verifier_name_shared"), "{ready}");
    // One password, shown to two brokers: good at the one that it names.
    let mqtt = |name: &str| parts.run_file(name)["mqtt"].as_str().unwrap().to_owned();
    let device = parts.enrol("default", "t-1").at(&mqtt("one"));
    let shown = |at: &str, password: &str| {
        let port = at.rsplit(':').next().unwrap().to_owned();
        run(Command::new("mosquitto_pub")
            .args(["-d", "-h", "127.0.0.1", "-p", &port, "-i", "t-1", "-u", "t-1", "-P", password])
            .args(["-q", "1", "-t", "d/t-1/telemetry", "-m", "x"]))
        .0
    };
    let password = device.password();
    assert!(shown(&mqtt("one"), &password));
    assert!(!shown(&mqtt("north"), &password));
    let password = device.password_at("north");
    assert!(!shown(&mqtt("one"), &password));
    assert!(shown(&mqtt("north"), &password));
    assert!(!shown(&mqtt("north"), &password), "twice");
    let told = ok(Command::new(tessera())
        .args([
            "device",
            "connect",
            "--test",
            "--verifier",
            "north",
            "--mqtt",
            &mqtt("north"),
            "--dir",
        ])
        .arg(&device.folder));
    assert!(told.contains("ok") || told.is_empty(), "{told}");
}

/// Provisioning alone comes back from a copy that is some revocations old: every revocation that it reports holds.
#[test]
fn what_a_restored_provisioning_revokes_ends_everywhere() {
    let mut parts = Provisioning::start();
    let more = ["--mqtt", "127.0.0.1:0", "--metrics", "127.0.0.1:0"];
    let _broker = reader(&parts, "broker", "b", &more);
    let mqtt = parts.run_file("b")["mqtt"].as_str().unwrap().to_owned();
    let devices = ["t-1", "t-2", "t-3"].map(|name| parts.enrol("default", name).at(&mqtt));
    let session = |device: &Device, name: &str| {
        let topic = format!("d/{name}/cmd");
        let mut process =
            Process::start(device.mosquitto("mosquitto_sub").args(["-V", "5", "-t", &topic]));
        process.line("SUBACK", |l| l.contains("received SUBACK"));
        process
    };
    let revoked = |parts: &Provisioning, device: &Device, name: &str, session: &mut Process| {
        parts.operator(&["revoke", "device", name]);
        session.line("DISCONNECT", |l| l.contains("DISCONNECT (152)"));
        let topic = format!("d/{name}/telemetry");
        let words = ["-q", "1", "-t", topic.as_str(), "-m", "x"];
        assert!(!run(device.mosquitto("mosquitto_pub").args(words)).0, "{name} is let in");
    };
    let [first, second, third] = &devices;
    let mut one = session(first, "t-1");
    let mut two = session(second, "t-2");
    let mut three = session(third, "t-3");
    parts.stopped(|folder| copy(&folder.join("p"), &folder.join("copy")));
    // Events that the copy does not have: the broker is three events beyond it.
    revoked(&parts, first, "t-1", &mut one);
    parts.operator(&["revoke", "device", "t-1"]);
    parts.operator(&["revoke", "device", "t-1"]);
    parts.stopped(|folder| {
        fs::remove_dir_all(folder.join("p")).unwrap();
        copy(&folder.join("copy"), &folder.join("p"));
    });
    // At once, before any reader has come, and once more.
    revoked(&parts, second, "t-2", &mut two);
    revoked(&parts, third, "t-3", &mut three);
    let list = parts.operator(&["trust", "restored", "--json"]);
    let list: Value = serde_json::from_str(&list).unwrap();
    let found = list["items"].as_array().unwrap();
    assert!(
        found.iter().any(|item| item["subject"] == "t-1" && item["done"] == "revoked"),
        "{list}"
    );
    let shown = parts.operator(&["devices", "t-1", "--json"]);
    assert_eq!(serde_json::from_str::<Value>(&shown).unwrap()["state"], "revoked", "{shown}");
}
