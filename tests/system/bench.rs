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
