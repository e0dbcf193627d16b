//! A file of devices is imported and exported by the command line, and changes rest on what was read.

use std::fs;

use serde_json::Value;
use tessera_tests::process::{ok, run};
use tessera_tests::server::Server;

#[test]
fn a_fleet_moves_from_one_tenant_to_another_by_a_file() {
    let server = Server::start();
    for device in ["a-1", "a-2"] {
        server.enrol(device, "sensor");
    }
    let folder = server.folder.path();
    let (file, refused) = (folder.join("fleet.ndjson"), folder.join("refused.ndjson"));
    let out = ok(server.operator(&["export", "devices"]).arg(&file));
    assert!(out.contains(": 2 devices"), "{out}");
    let exported = fs::read_to_string(&file).unwrap();
    assert_eq!(exported.lines().count(), 2, "{exported}");
    assert!(!folder.join("fleet.ndjson.part").exists());

    ok(&mut server.operator(&["tenant", "create", "acme"]));
    let topic = "d/{device}/telemetry";
    ok(&mut server.operator(&["role", "set", "sensor", "--publish", topic, "--tenant", "acme"]));
    let import = |more: &[&str]| {
        let mut command = server.operator(&["import", "devices"]);
        command.arg(&file).args(["--tenant", "acme"]).args(more);
        run(&mut command)
    };
    let (good, out) = import(&["--dry-run"]);
    assert!(good && out.contains("2 would be imported"), "{out}");
    let (good, out) = import(&[]);
    assert!(good && out.contains("2 imported, 0 unchanged, 0 refused"), "{out}");
    let (good, out) = import(&["--from-line", "2"]);
    assert!(good && out.contains("0 imported, 1 unchanged, 0 refused"), "{out}");
    let moved = ok(&mut server.operator(&["export", "devices", "--tenant", "acme"]));
    for line in exported.lines() {
        assert!(moved.contains(line), "{moved}");
    }

    // A bad line is told, and the exit code says that not all is as it should be.
    fs::write(
        &file,
        format!("{exported}{{\"device\":\"a-3\",\"key\":\"AA\",\"role\":\"sensor\"}}\n"),
    )
    .unwrap();
    let (good, out) = import(&["--errors", refused.to_str().unwrap()]);
    assert!(!good && out.contains("line 3 (a-3): key: confirmation_key"), "{out}");
    assert!(out.contains("2 unchanged, 1 refused"), "{out}");
    let told: Value = serde_json::from_str(fs::read_to_string(&refused).unwrap().trim()).unwrap();
    assert_eq!((&told["line"], &told["field"]), (&Value::from(3), &Value::from("key")));
}

#[test]
fn a_change_by_the_command_line_rests_on_what_it_read_or_was_told() {
    let server = Server::start();
    server.enrol("a-1", "sensor");
    let shown = ok(&mut server.operator(&["devices", "a-1", "--json"]));
    let shown: Value = serde_json::from_str(&shown).unwrap();
    let tag = shown["etag"].as_str().unwrap().to_owned();
    let change = |site: &str, more: &[&str]| {
        let site = format!("site={site}");
        let mut command = server.operator(&["change", "device", "a-1", "--attr", &site]);
        run(command.args(more))
    };
    assert!(change("one", &["--if-match", &tag]).0);
    let (good, out) = change("two", &["--if-match", &tag]);
    assert!(!good && out.contains("precondition_failed"), "{out}");
    assert!(change("three", &[]).0);
    assert!(change("four", &["--if-match", "*"]).0);
    let shown = ok(&mut server.operator(&["devices", "a-1"]));
    assert!(shown.contains("four"), "{shown}");
    let claim = ok(&mut server.operator(&["claim", "create", "--role", "sensor", "--json"]));
    let claim: Value = serde_json::from_str(&claim).unwrap();
    let id = claim["claims"][0]["claim"].as_str().unwrap();
    assert!(ok(&mut server.operator(&["claim", "show", id])).contains("open"));
    ok(&mut server.operator(&["claim", "delete", id]));
    // An account that may change and not read.
    let made = ["operator", "create", "ann", "--role", "admin", "--all-tenants", "--json"];
    let made: Value = serde_json::from_str(&ok(&mut server.operator(&made))).unwrap();
    let token = made["token"].as_str().unwrap();
    assert!(ok(&mut server.operator(&["operator", "show", "ann"])).contains("admin"));
    for topic in ["d/{device}/x", "d/{device}/y"] {
        let words = ["role", "set", "new", "--publish", topic, "--operator-token", token];
        ok(&mut server.operator(&words));
    }
    ok(&mut server.operator(&["role", "delete", "new"]));
}
