//! Files of devices and claims are imported and exported by the command line, and changes rest on what was read.

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

/// An import of claims that was stopped goes on with the same files, and the codes of lost answers come again.
#[test]
fn claims_are_imported_and_a_stopped_import_goes_on() {
    let server = Server::start();
    let folder = server.folder.path();
    let (file, answers) = (folder.join("lots.ndjson"), folder.join("codes.ndjson"));
    let lines = (0..1200).map(|n| format!("{{\"role\":\"sensor\",\"device\":\"d-{n}\"}}\n"));
    let list: String = lines.collect();
    fs::write(&file, format!("{list}{{\"role\":\"none\"}}\n")).unwrap();
    let import = |more: &[&str]| {
        let mut command = server.operator(&["import", "claims"]);
        run(command.arg(&file).args(more))
    };
    let to = ["--answers", answers.to_str().unwrap()];
    let (good, out) = import(&["--dry-run"]);
    assert!(!good && out.contains("1200 would be imported"), "{out}");
    let (good, out) = import(&to);
    assert!(!good && out.contains("1200 imported, 0 unchanged, 1 refused"), "{out}");
    assert!(out.contains("line 1201: role: role_unknown"), "{out}");
    let whole = fs::read_to_string(&answers).unwrap();
    assert_eq!(whole.lines().count(), 1202);

    // As a kill leaves it: the last answers are not there, and one is cut.
    let kept: usize = whole.split_inclusive('\n').take(701).map(str::len).sum();
    fs::write(&answers, &whole[..kept + 20]).unwrap();
    let (_, out) = import(&to);
    assert!(out.contains("it begins at line 701"), "{out}");
    assert!(out.contains("0 imported, 500 unchanged, 1 refused"), "{out}");
    let codes = |text: &str| -> Vec<String> {
        let of = |line: &str| serde_json::from_str::<Value>(line).unwrap()["claim_code"].clone();
        text.lines().filter_map(|line| of(line).as_str().map(str::to_owned)).collect()
    };
    let again = codes(&fs::read_to_string(&answers).unwrap());
    assert_eq!((again.len(), &again), (1200, &codes(&whole)));
    let (_, out) = import(&to);
    assert!(out.contains("0 lines in"), "nothing is left: {out}");

    // The answers are those of this tenant and of this list.
    let before = fs::read_to_string(&answers).unwrap();
    let (good, out) = import(&[to[0], to[1], "--tenant", "acme"]);
    assert!(!good && out.contains("for the tenant default, not for acme"), "{out}");
    let other = folder.join("other.ndjson");
    fs::write(&other, list.replacen("d-699", "e-699", 1)).unwrap();
    let mut command = server.operator(&["import", "claims"]);
    let (good, out) = run(command.arg(&other).args(to));
    assert!(!good && out.contains("begins with other lines"), "{out}");
    assert_eq!(fs::read_to_string(&answers).unwrap(), before, "nothing was sent");
}
