//! `tessera sim play` against a running system: honest devices are served, loud attacks are found, and nothing is left
//! behind, also when the run is stopped.

use std::path::Path;
use std::process::Command;

use serde_json::Value;
use tessera_tests::process::{ok, run, Process};
use tessera_tests::server::Server;

/// Twenty devices that speak about once in two minutes, on one site.
const FLEET: &str =
    "name = \"play\"\ndevices = 20\ndays = 1\nphases = []\nbackground_per_hour = 4\n\
    [personas.sensor]\nperiod_s = [100, 150]\nkeep_alive_s = 60\nmistake_days = 0\n\
    [[groups]]\npersona = \"sensor\"\nshare = 0.9\nnetwork = \"site\"\n\
    [[groups]]\npersona = \"backend\"\nshare = 0.1\nnetwork = \"site\"\n";

/// The command, with its scenario in the folder of the server.
fn play(server: &Server, name: &str, attacks: &str, words: &[&str]) -> Command {
    let file = server.folder.path().join(format!("{name}.toml"));
    std::fs::write(&file, format!("{FLEET}[attacks]\n{attacks}")).unwrap();
    let mut command = server.operator(&["sim", "play"]);
    command.arg("--scenario").arg(&file).args(words);
    for kind in ["truth", "alerts", "json"] {
        command.arg(format!("--{kind}")).arg(server.folder.path().join(format!("{name}.{kind}")));
    }
    command
}

fn lines(server: &Server, file: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(server.folder.path().join(file)).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Runs it; its report, and its output.
fn report(server: &Server, name: &str, command: &mut Command) -> (Value, String) {
    let (_, told) = run(command);
    let file = server.folder.path().join(format!("{name}.json"));
    let text = std::fs::read(file).unwrap_or_else(|error| panic!("{error}: {told}"));
    (serde_json::from_slice(&text).unwrap(), told)
}

/// Devices that the system knows.
fn devices(server: &Server) -> usize {
    let list = ok(&mut server.operator(&["devices", "--json"]));
    serde_json::from_str::<Value>(&list).unwrap().as_array().unwrap().len()
}

#[test]
fn play_serves_honest_devices_and_finds_loud_attacks() {
    let server = Server::start();
    let mqtt = server.mqtt.to_string();
    let attacks = "each = 1\nfrom_day = 0.05\nshare = 0.12\nclasses = [\"probe\", \"theft\"]\n";
    // Twelve hours in half a minute.
    let words =
        ["--mqtt", &mqtt, "--speed", "1440", "--for", "30s", "--seed", "3", "--settle", "3s"];
    let (report, told) = report(&server, "loud", &mut play(&server, "loud", attacks, &words));
    let (run, score) = (&report["run"], &report["score"]);
    let of = |name: &str| run[name].as_u64().unwrap();
    assert_eq!((of("devices"), of("enrolled"), of("connected")), (20, 21, 20), "{told}");
    assert_eq!(run["failures"], serde_json::json!({}), "{told}");
    assert!(of("published") > 1_000 && of("acknowledged") == of("published"), "{told}");
    assert_eq!(run["removal"]["removed"], 21, "{told}");
    assert_eq!(devices(&server), 0);
    // Foreign topics and a token without its key are tried, and refused.
    let refusals = run["refusals"].as_object().unwrap();
    let some = |begin: &str| refusals.keys().any(|code| code.starts_with(begin));
    assert!(some("outside:") && some("publish:") && some("stranger:"), "{refusals:?}");

    let truth = lines(&server, "loud.truth");
    let of_kind = |kind: &str| truth.iter().filter(|line| line["kind"] == kind).count();
    assert_eq!(of_kind("device"), 20);
    let loud: Vec<&Value> =
        truth.iter().filter(|line| line["kind"] == "attack" && line["grade"] == "loud").collect();
    assert!(!loud.is_empty(), "{truth:?}");
    let alerts = lines(&server, "loud.alerts");
    for attack in loud {
        let is_found = |alert: &Value| alert["subject"]["device"] == attack["device"];
        assert!(alerts.iter().any(is_found), "{attack}: {alerts:?}");
    }
    // The files score alike by the command that scores files.
    let path = |kind: &str| server.folder.path().join(format!("loud.{kind}"));
    let again = score_of(&path("truth"), &path("alerts"), &server.folder.path().join("again"));
    assert_eq!(again[0]["classes"], score[0]["classes"], "{told}");
}

fn score_of(truth: &Path, alerts: &Path, out: &Path) -> Value {
    let mut command = Command::new(tessera_tests::process::tessera());
    command.args(["sim", "score", "--truth"]).arg(truth).arg("--alerts").arg(alerts);
    ok(command.arg("--json").arg(out));
    serde_json::from_slice(&std::fs::read(out).unwrap()).unwrap()
}

#[test]
fn play_that_is_stopped_removes_its_devices() {
    let server = Server::start();
    let mqtt = server.mqtt.to_string();
    let words = ["--mqtt", &mqtt, "--speed", "720", "--seed", "4", "--prefix", "stop-"];
    let mut process = Process::start(&mut play(&server, "stop", "each = 0\n", &words));
    process.line("connected", |line| line.contains("connected 20 "));
    assert_eq!(devices(&server), 21);
    process.terminate();
    assert!(process.wait().success(), "{}", process.output());
    assert_eq!(devices(&server), 0);
    let file = server.folder.path().join("stop.json");
    let report: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    assert_eq!(report["run"]["removal"]["removed"], 21);
    for role in ["load-stop", "load-stop.service", "load-stop.watcher"] {
        let (known, told) = run(&mut server.operator(&["role", "show", role]));
        assert!(!known, "{told}");
    }
    assert!(lines(&server, "stop.truth").len() >= 20);
}

#[test]
fn play_goes_over_tls_and_web_socket() {
    let (server, cert, transports) = crate::load::on_all_transports();
    for ((port, _), scheme) in transports.into_iter().zip(["mqtts", "ws", "wss"]) {
        let mqtt = format!("{scheme}://localhost:{port}");
        let words =
            ["--mqtt", &mqtt, "--speed", "1440", "--for", "6s", "--seed", "5", "--settle", "500ms"];
        let mut command = play(&server, scheme, "each = 0\n", &words);
        let (report, told) = report(&server, scheme, command.args(["--cafile", &cert]));
        let of = |name: &str| report["run"][name].as_u64().unwrap();
        assert_eq!(report["run"]["failures"], serde_json::json!({}), "{scheme}: {told}");
        assert!(of("connected") == 20 && of("acknowledged") == of("published"), "{scheme}: {told}");
        assert!(of("published") > 100, "{scheme}: {told}");
    }
    assert_eq!(devices(&server), 0);
}
