//! `tessera bench` measures what it says, on a handful of devices: the figures of a debug build say nothing.

use std::process::Command;

use serde_json::Value;
use tessera_tests::process::{ok, tessera};

#[test]
fn every_kind_of_measure_tells_its_figures() {
    let folder = tempfile::TempDir::new().unwrap();
    let file = folder.path().join("bench.json");
    let mut command = Command::new(tessera());
    command.args(["bench", "connect", "hold-tls", "storm", "storm-restart", "leave", "growth"]);
    command.args(["--clients", "20", "--sessions", "100", "--rounds", "1", "--seconds", "0.1"]);
    let table = ok(command.args(["--peer", "none", "--json"]).arg(&file));
    let report: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    let rows = report["rows"].as_array().unwrap();
    let value = |measure: &str, name: &str| {
        let row = rows.iter().find(|row| row["measure"] == measure).unwrap();
        row["values"][name].as_f64().unwrap_or_else(|| panic!("{measure} without {name}"))
    };
    assert!(value("hold-tls", "session_kib") > 0.0);
    assert_eq!(value("storm", "by_secret"), 20.0, "not every device was told its secret");
    assert_eq!(value("storm-restart", "by_secret"), 20.0);
    assert_eq!(value("leave", "left"), 20.0);
    assert_eq!((value("growth", "few"), value("growth", "many")), (50.0, 100.0));
    for name in ["connect", "subscribe", "command", "fan_in", "leave"] {
        assert!(value("growth", &format!("{name}_growth")) > 0.0, "{name}");
    }
    let checks = report["subtracted_micros"].as_f64().unwrap();
    assert!(checks > 0.0 && table.contains(&format!("{checks:.1} µs")), "{table}");
}

/// The peer here is mosquitto behind a script that reads the address and the certificate from FlashMQ's configuration: no
/// package of Debian has FlashMQ. FlashMQ itself does not read the options here.
#[test]
fn flashmq_takes_its_turns_from_the_named_binary() {
    let folder = tempfile::TempDir::new().unwrap();
    let (script, file) = (folder.path().join("flashmq"), folder.path().join("bench.json"));
    let lines = r#"#!/bin/sh
[ "$1" = --config-file ] && [ -r "$2" ] || exit 64
grep -qx 'allow_anonymous true' "$2" || exit 65
value() { sed -n "s/^  $1 //p" "$0.conf"; }
cp "$2" "$0.conf"
{
    echo "listener $(value port) $(value inet4_bind_address)"
    echo 'allow_anonymous true'
    echo 'user root'
    if [ -n "$(value fullchain)" ]; then
        echo "cafile $(value fullchain)"
        echo "certfile $(value fullchain)"
        echo "keyfile $(value privkey)"
    fi
} > "$0.mosquitto"
PATH="$PATH:/usr/sbin:/usr/local/sbin" exec mosquitto -c "$0.mosquitto"
"#;
    std::fs::write(&script, lines).unwrap();
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&script, executable).unwrap();
    let mut command = Command::new(tessera());
    command.args(["bench", "connect", "connect-tls", "fan-in-1", "--clients", "20"]);
    command.args(["--rounds", "1", "--seconds", "0.1", "--peer"]);
    command.arg(format!("flashmq={}", script.display())).arg("--json").arg(&file);
    let table = ok(&mut command);
    let report: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    for measure in ["connect", "connect-tls", "fan-in-1"] {
        let of = |server: &str| {
            let rows = report["rows"].as_array().unwrap();
            rows.iter().find(|row| row["measure"] == measure && row["server"] == server).cloned()
        };
        let (ours, theirs) = (of("tessera").unwrap(), of("flashmq").unwrap());
        assert!(theirs["rate"].as_f64().unwrap() > 0.0, "{table}");
        assert!(ours["rate_ratio"]["flashmq"].as_f64().unwrap() > 0.0, "{table}");
        assert!(of("mosquitto").is_none(), "{table}");
    }
}

#[test]
fn a_peer_that_is_no_program_is_named_before_anything_starts() {
    let folder = tempfile::TempDir::new().unwrap();
    let path = folder.path().join("flashmq");
    let mut command = Command::new(tessera());
    command.args(["bench", "connect", "--clients", "20", "--peer"]);
    let output = command.arg(format!("flashmq={}", path.display())).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && output.stdout.is_empty(), "{told}");
    assert!(told.contains(&format!("flashmq: {}: No such file", path.display())), "{told}");
    assert!(told.contains("--peer flashmq=/usr/bin/flashmq"), "{told}");
    assert!(!told.contains("enrolling"), "{told}");
}

#[test]
fn what_goes_to_the_disk_is_counted() {
    let folder = tempfile::TempDir::new().unwrap();
    let file = folder.path().join("bench.json");
    let mut command = Command::new(tessera());
    command.args(["bench", "wear", "--clients", "20", "--quiet", "10", "--peer", "none"]);
    let table = ok(command.arg("--json").arg(&file));
    let report: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    let values = &report["rows"][0]["values"];
    let value = |name: &str| values[name].as_f64().unwrap_or_else(|| panic!("no {name}: {report}"));
    // The promise of an answer is on the disk: at least the token of each device.
    assert!(value("refresh_bytes") > 200.0, "{table}");
    let day = value("gb_a_day_100000");
    assert!(day > value("gb_a_day_1000") && day > 0.0, "{table}");
    assert!(table.contains("bytes to the disk for a refresh in a group"), "{table}");
}
