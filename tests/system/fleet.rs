//! A thousand devices on the default set-up.

use serde_json::Value;
use tessera_tests::process::ok;
use tessera_tests::server::Server;

#[test]
fn a_thousand_devices_enrol_connect_and_publish_without_a_failure() {
    let server = Server::start();
    let report = server.folder.path().join("report.json");
    let mqtt = server.mqtt.to_string();
    let words = ["sim", "run", "--devices", "1000", "--for", "20s", "--seed", "7", "--every", "5s"];
    let mut command = server.operator(&words);
    command.args(["--mqtt", &mqtt]).arg("--json").arg(&report);
    let output = ok(&mut command);
    let report: Value = serde_json::from_slice(&std::fs::read(&report).unwrap()).unwrap();
    println!("{output}");
    assert_eq!(report["enrolled"], 1000, "{output}");
    assert_eq!(report["connected_devices"], 1000, "{output}");
    assert_eq!(report["failures"], 0, "{output}");
    assert!(report["delivered"].as_u64().unwrap() >= 1000, "{output}");
}
