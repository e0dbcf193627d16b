//! A running broker follows a change of the root keys, and an offline root replaces an online root that was stolen.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use tessera_tests::process::{ok, run, tessera, Process};
use tessera_tests::server::{Device, Provisioning};

/// A broker that pins the first root key.
fn broker(parts: &Provisioning) -> Process {
    let folder = parts.folder.path();
    let mut process = Process::start(
        Command::new(tessera())
            .args(["broker", "--mqtt", "127.0.0.1:0", "--metrics", "127.0.0.1:0", "--data"])
            .arg(folder.join("b"))
            .args(["--provisioning", &format!("http://{}", parts.http), "--feed-token"])
            .arg(folder.join("p/feed.token"))
            .arg("--root")
            .arg(folder.join("pin")),
    );
    process.line("ready", |line| line == "ready");
    process
}

fn root_set(parts: &Provisioning) -> u64 {
    let at = parts.run_file("b")["metrics"].as_str().unwrap().to_owned();
    let mut stream = TcpStream::connect(at).unwrap();
    write!(stream, "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let line = answer.lines().find_map(|line| line.strip_prefix("tessera_trust_root_set "));
    line.unwrap_or_else(|| panic!("{answer}")).trim().parse().unwrap()
}

fn root(words: &[&str], folder: &Path) -> Command {
    let mut command = Command::new(tessera());
    command.arg("root").args(words).current_dir(folder);
    command
}

fn publishes(device: &Device) -> bool {
    let words = ["-q", "1", "-t", "d/t-1/telemetry", "-m", "x"];
    run(device.mosquitto("mosquitto_pub").args(words)).0
}

#[test]
fn an_offline_root_gives_a_running_broker_another_online_root() {
    let mut parts = Provisioning::start();
    let first = parts.folder.path().join("p/root.thumbprint");
    std::fs::copy(&first, parts.folder.path().join("pin")).unwrap();
    let mut process = broker(&parts);
    let mqtt = parts.run_file("b")["mqtt"].as_str().unwrap().to_owned();
    let device = parts.enrol("default", "t-1").at(&mqtt);
    assert!(publishes(&device));
    let (running, output) =
        run(&mut root(&["request", "--data", "p", "--out", "r"], parts.folder.path()));
    assert!(!running && output.contains("in use"), "{output}");
    parts.stopped(|folder| {
        let made = ok(&mut root(&["new", "--out", "offline.key", "--json"], folder));
        let made: Value = serde_json::from_str(&made).unwrap();
        let name = made["thumbprint"].as_str().unwrap();
        let words = ["request", "--data", "p", "--out", "r1", "--keep-online", "--offline", name];
        let told = ok(&mut root(&words, folder));
        assert!(told.contains("tessera root sign") && told.contains(name), "{told}");
        let words = ["sign", "r1", "--key", "offline.key", "--out", "s1"];
        let (signed, output) = run(&mut root(&words, folder));
        assert!(!signed && output.contains(name) && output.contains("--yes"), "{output}");
        ok(&mut root(&[&words[..], &["--yes"]].concat(), folder));
        ok(&mut root(&["accept", "s1", "--data", "p"], folder));
    });
    parts.stopped(|folder| {
        ok(&mut root(&["request", "--data", "p", "--out", "r2", "--compromised"], folder));
        let (taken, output) = run(&mut root(&["accept", "r2", "--data", "p"], folder));
        assert!(!taken && output.contains("lacks a signature"), "{output}");
        ok(&mut root(&["sign", "r2", "--key", "offline.key", "--out", "s2", "--yes"], folder));
        let told = ok(&mut root(&["accept", "s2", "--data", "p"], folder));
        assert!(told.contains("root set 2"), "{told}");
    });
    parts.stopped(|folder| {
        // The seed of the present online root is lost: the offline root replaces it.
        let keys = folder.join("p/provisioning/keys");
        let seeds = std::fs::read_dir(&keys).unwrap().map(|entry| entry.unwrap().path());
        let is_later = |path: &std::path::PathBuf| path.to_string_lossy().contains("/root-");
        let later: Vec<_> = seeds.filter(is_later).collect();
        assert_eq!(later.len(), 1, "{later:?}");
        std::fs::remove_file(&later[0]).unwrap();
        let words = ["request", "--data", "p", "--out", "r3"];
        let (made, output) = run(&mut root(&words, folder));
        assert!(!made && output.contains("--seed-lost"), "{output}");
        ok(&mut root(&[&words[..], &["--seed-lost"]].concat(), folder));
        let words = ["sign", "r3", "--key", "offline.key", "--out", "s3"];
        let (_, output) = run(&mut root(&words, folder));
        assert!(output.contains("a line of 2 links"), "{output}");
        ok(&mut root(&[&words[..], &["--yes"]].concat(), folder));
        let told = ok(&mut root(&["accept", "s3", "--data", "p"], folder));
        assert!(told.contains("root set 3"), "{told}");
    });
    assert_ne!(
        std::fs::read(&first).unwrap(),
        std::fs::read(parts.folder.path().join("pin")).unwrap()
    );
    // The broker hears the service again by the root that it did not know.
    parts.operator(&["revoke", "device", "t-1"]);
    assert!((0..300).any(|_| !publishes(&device)), "the broker hears of it");
    assert_eq!(root_set(&parts), 3);
    // After a restart it still pins the first root, and follows the stored links.
    process.terminate();
    assert!(process.wait().success());
    drop(process);
    let _process = broker(&parts);
    assert_eq!(root_set(&parts), 3);
    parts.operator(&["reinstate", "device", "t-1"]);
    let mqtt = parts.run_file("b")["mqtt"].as_str().unwrap().to_owned();
    let device = device.at(&mqtt);
    let card = device.folder.display().to_string();
    let renewed =
        || run(Command::new(tessera()).args(["device", "token", "--refresh", "--dir", &card])).0;
    assert!((0..100).any(|_| renewed() && publishes(&device)), "it connects again");
}
