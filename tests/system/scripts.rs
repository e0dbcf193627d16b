//! The command line for scripts: JSON for results and errors, lists by page and condition, and `tessera can`.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;
use tessera_tests::process::{run, tessera, Process};
use tessera_tests::server::Server;

/// Exit code, standard output and error output.
fn outcome(command: &mut Command) -> (i32, String, String) {
    let output = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// The result of a command with `--json` that succeeds.
fn result(command: &mut Command) -> Value {
    let (code, output, error) = outcome(command.arg("--json"));
    assert_eq!(code, 0, "{command:?}: {output}{error}");
    serde_json::from_str(&output).unwrap_or_else(|e| panic!("{command:?}: {e}: {output}"))
}

/// The error of a command with `--json` that fails.
fn error(command: &mut Command, code: i32) -> Value {
    let (found, output, error) = outcome(command.arg("--json"));
    assert_eq!((found, output.as_str()), (code, ""), "{command:?}: {error}");
    serde_json::from_str(&error).unwrap_or_else(|e| panic!("{command:?}: {e}: {error}"))
}

#[test]
fn json_is_the_result_of_every_verb_of_operators() {
    let server = Server::start();
    server.enrol("c-1", "sensor");
    let said = |words: &str| result(&mut server.operator(&words.split(' ').collect::<Vec<_>>()));
    for words in [
        "tenant list",
        "tenant create acme",
        "tenant show acme",
        "tenant staleness acme --telemetry 86400 --command 86400 --actuation 600",
        "tenant bearer acme on",
        "operator list",
        "operator create ann --role viewer --tenant acme",
        "operator delete ann",
        "role set meter --publish d/{device}/telemetry",
        "role list",
        "group create floor-2",
        "group list",
        "claim list",
        "devices",
        "devices c-1",
        "can c-1 publish d/c-1/telemetry",
        "revoke group floor-2",
        "revoke device c-1",
        "reinstate device c-1",
        "revoke tenant acme",
        "reinstate tenant acme",
        "keys list",
        "keys rotate",
        "audit list",
        "audit verify",
        "audit head",
        "trust restored",
        "trust restored --looked-at",
    ] {
        said(words);
    }
    let made = said("claim create --role sensor");
    let id = made["claims"][0]["claim"].as_str().unwrap().to_owned();
    assert_eq!(said(&format!("claim delete {id}"))["done"], true);
    let keys = said("keys list");
    let key = keys[0]["key"].as_str().unwrap().to_owned();
    said(&format!("keys compromise {key}"));
    assert!(said("audit verify")["entries"].as_u64().unwrap() > 10);
}

#[test]
fn json_is_the_result_of_the_verbs_of_devices_and_folders() {
    let server = Server::start();
    let code = result(&mut server.operator(&["claim", "create", "--role", "sensor"]));
    let code = code["claims"][0]["code"].as_str().unwrap();
    let folder = server.folder.path().join("c-1");
    let with = |words: &[&str], option: &str, path: &Path| {
        let mut command = Command::new(tessera());
        command.args(words).arg(option).arg(path);
        result(&mut command)
    };
    let mut enrol = server.operator(&["device", "enrol", "--device", "c-1", "--claim", code]);
    let enrolled = result(enrol.arg("--dir").arg(&folder));
    assert_eq!((&enrolled["device"], &enrolled["tenant"]), (&"c-1".into(), &"default".into()));
    assert_eq!(with(&["device", "token"], "--dir", &folder)["device"], "c-1");
    let password = with(&["device", "password", "--client-id", "c-1~2"], "--dir", &folder);
    assert_eq!(password["client_id"], "c-1~2");
    assert!(password["password"].as_str().unwrap().len() > 300);
    let lines = server.folder.path().join("lines");
    let mut load = server.operator(&["sim", "credentials", "--devices", "2", "--proof", "connect"]);
    assert_eq!(result(load.arg("--out").arg(&lines))["credentials"], 2);
    let copy = server.folder.path().join("copy");
    let data = server.data();
    let mut backup = Command::new(tessera());
    let made = result(backup.args(["backup", "--data"]).arg(&data).arg("--out").arg(&copy));
    assert_eq!(made["has_keys"], true);
    let again = server.folder.path().join("again");
    let mut restore = Command::new(tessera());
    let made = result(restore.args(["restore", "--from"]).arg(&copy).arg("--data").arg(&again));
    assert!(made["stores"].as_array().unwrap().len() > 1, "{made}");
    let keys = with(&["new-ticket-keys"], "--data", &data);
    assert_eq!(keys["discarded"], true);
    let printed = result(Command::new(tessera()).args(["config", "print"]));
    assert_eq!(printed["token_seconds"], 3600);
}

#[test]
fn json_is_the_form_of_errors() {
    let server = Server::start();
    let refused = error(&mut server.operator(&["devices", "d-404"]), 1);
    assert_eq!(refused["code"], "device_unknown", "{refused}");
    let refused = error(&mut server.operator(&["claim", "create", "--role", "none"]), 1);
    assert_eq!(refused["code"], "role_unknown", "{refused}");
    let mut enrol = server.operator(&["device", "enrol", "--device", "c-1", "--claim", "TSR-NO"]);
    let refused = error(enrol.arg("--dir").arg(server.folder.path().join("c-1")), 1);
    assert_eq!(refused["code"], "claim_unknown", "{refused}");
    let wrong = error(Command::new(tessera()).args(["revoke", "devise", "d-1"]), 2);
    assert!(wrong["error"].as_str().unwrap().contains("devise"), "{wrong}");
    let nothing = server.folder.path().join("nothing");
    let mut backup = Command::new(tessera());
    let failed = error(backup.args(["backup", "--out", "x", "--data"]).arg(nothing), 1);
    assert!(failed["hint"].is_string(), "{failed}");
}

#[test]
fn lists_have_pages_and_conditions() {
    let server = Server::start();
    for device in ["c-1", "c-2", "c-3", "c-4"] {
        server.enrol(device, "sensor");
    }
    server.revoke("c-2");
    server.revoke("c-4");
    let page = |words: &[&str]| result(server.operator(&["devices"]).args(words));
    let names = |rows: &Value| -> Vec<String> {
        let rows = rows.as_array().unwrap().iter();
        rows.map(|row| row["device"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&page(&["--where", "state=revoked"])), ["c-2", "c-4"]);
    let none = ["--where", "state=revoked", "--where", "role=backend"];
    assert!(names(&page(&none)).is_empty());
    let first = page(&["--limit", "3"]);
    assert_eq!(names(&first["items"]), ["c-1", "c-2", "c-3"]);
    let cursor = first["next"].as_str().unwrap();
    let second = page(&["--limit", "3", "--cursor", cursor]);
    assert_eq!((names(&second["items"]), &second["next"]), (vec!["c-4".into()], &Value::Null));
    let first = page(&["--where", "state=revoked", "--limit", "1"]);
    assert_eq!(names(&first["items"]), ["c-2"]);
    let cursor = first["next"].as_str().unwrap();
    let second = page(&["--where", "state=revoked", "--limit", "1", "--cursor", cursor]);
    assert_eq!(names(&second["items"]), ["c-4"]);
    let (code, table, more) = outcome(server.operator(&["devices"]).args(["--limit", "1"]));
    assert!(code == 0 && table.lines().count() == 2 && more.contains("--cursor"), "{table}{more}");
    let wrong = error(server.operator(&["devices"]).args(["--where", "colour=red"]), 1);
    assert!(wrong["hint"].as_str().unwrap().contains("state"), "{wrong}");
}

/// The registry and the broker give the same answer.
#[test]
fn can_says_what_the_broker_does() {
    let server = Server::start();
    let sensor = server.enrol("c-1", "sensor");
    let mqtt = server.mqtt.to_string();
    let mut seen = [0, 0];
    for (act, option, name) in [
        ("publish", "--topic", "d/c-1/telemetry"),
        ("publish", "--topic", "d/c-2/telemetry"),
        ("publish", "--topic", "d/c-1/cmd"),
        ("publish", "--topic", "authz-info"),
        ("publish", "--topic", "$tessera/status"),
        ("subscribe", "--subscribe", "d/c-1/cmd"),
        ("subscribe", "--subscribe", "d/+/cmd"),
        ("subscribe", "--subscribe", "$tessera/token"),
        ("subscribe", "--subscribe", "$tessera/alerts"),
    ] {
        let asked = outcome(server.operator(&["can", "c-1", act]).args(["--json", "--", name]));
        let answer: Value = serde_json::from_str(&asked.1).unwrap();
        let allowed = answer["allowed"].as_bool().unwrap();
        assert_eq!(asked.0, i32::from(!allowed), "{answer}");
        let mut doctor = Command::new(tessera());
        doctor.args(["device", "doctor", "--v5", "--mqtt", &mqtt, option, name, "--dir"]);
        let (good, output) = run(doctor.arg(&sensor.folder));
        assert_eq!(good, allowed, "{act} {name}: {answer}\n{output}");
        seen[usize::from(allowed)] += 1;
    }
    assert!(seen[0] > 3 && seen[1] > 2, "{seen:?}");
    server.revoke("c-1");
    let asked = outcome(&mut server.operator(&["can", "c-1", "publish", "d/c-1/telemetry"]));
    assert!(asked.0 == 1 && asked.1.starts_with("no: device_revoked"), "{asked:?}");
}

#[test]
fn servers_say_as_json_where_they_listen_and_when_they_are_ready() {
    let folder = TempDir::new().unwrap();
    // The log is on the error output.
    let mut up = Command::new("sh");
    up.args(["-c", "exec \"$0\" \"$@\" 2>/dev/null"]).arg(tessera());
    up.args(["up", "--json", "--mqtt", "127.0.0.1:0", "--http", "127.0.0.1:0"]);
    up.args(["--metrics", "127.0.0.1:0", "--data"]).arg(folder.path().join("data"));
    let mut up = Process::start(&mut up);
    up.line("ready", |line| line == r#"{"ready":true}"#);
    let told = up.output();
    let objects: Vec<Value> = told
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}")))
        .collect();
    assert_eq!(objects.len(), 2, "{told}");
    for place in ["mqtt", "http", "metrics"] {
        let address: SocketAddr = objects[0][place].as_str().unwrap().parse().unwrap();
        assert_ne!(address.port(), 0, "{place}");
    }
    assert_eq!(objects[0]["data"], folder.path().join("data").display().to_string());
    up.terminate();
    assert!(up.wait().success());
}
