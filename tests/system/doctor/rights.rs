//! Rights of the device, and those that were revoked.

use std::process::Command;

use serde_json::Value;
use tessera_tests::process::{ok, tessera, Process};
use tessera_tests::server::Server;

use super::Said;

#[test]
fn a_device_that_is_well_has_all_that_was_asked_for_tried() {
    let server = Server::start();
    let sensor = server.enrol("t-1", "sensor");
    let rights = ["--class", "service", "--subscribe", "d/+/telemetry"];
    ok(server.operator(&["role", "set", "watcher"]).args(rights));
    let watcher = server.enrol("w-1", "watcher");
    let mut watch =
        Process::start(watcher.mosquitto("mosquitto_sub").args(["-t", "d/+/telemetry"]));
    watch.line("SUBACK", |line| line.contains("received SUBACK"));
    let more = ["--topic", "d/t-1/telemetry", "--subscribe", "d/t-1/cmd", "--client-id", "t-1~2"];
    let said = Said::of(&sensor, &more);
    assert!(said.well && said.cause() == "none" && said.remedy() == "nothing", "{}", said.text);
    let steps = said.json["steps"].as_array().unwrap();
    let names: Vec<&str> = steps.iter().map(|step| step["name"].as_str().unwrap()).collect();
    for name in
        ["folder", "key", "counter", "standing", "clock", "token", "broker", "publish", "subscribe"]
    {
        assert!(names.contains(&name), "{name}: {names:?}");
    }
    assert!(steps.iter().all(|step| step["ok"] == true && step["code"].is_null()));
    watch.line("the test message", |line| line.contains("\"test\":true"));
    // In words, the last line is the verdict.
    let text = ok(Command::new(tessera())
        .args(["device", "doctor", "--mqtt", &sensor.mqtt.to_string(), "--dir"])
        .arg(&sensor.folder));
    assert_eq!(text.lines().last(), Some("cause: none; do: nothing"));
}

#[test]
fn topics_filters_and_client_ids_beyond_the_rights_are_named() {
    let server = Server::start();
    let sensor = server.enrol("t-1", "sensor");
    let no_publish = "publish_not_authorised";
    let no_subscribe = "subscribe_not_authorised";
    for (more, code, cause, remedy) in [
        (["--topic", "d/t-2/telemetry"], no_publish, "d/t-2/telemetry", "--topic d/t-1/telemetry"),
        (["--topic", "d/t-1"], no_publish, "d/t-1", "role"),
        (["--topic", "$tessera/alerts"], no_publish, "$tessera/alerts", "role"),
        (["--topic", "d/+/telemetry"], "", "no topic", "correct the topic"),
        (["--subscribe", "d/t-2/cmd"], no_subscribe, "d/t-2/cmd", "--subscribe d/t-1/cmd"),
        (["--subscribe", "d/+/cmd"], no_subscribe, "d/+/cmd", "role"),
        (["--subscribe", "#"], no_subscribe, "subscribe to #", "role"),
        (["--subscribe", "$share/g/d/#"], no_subscribe, "$share/g/d/#", "role"),
        (["--subscribe", "d/#/x"], "", "no filter", "correct the filter"),
        (["--client-id", "t-2"], "client_id_mismatch", "t-2", "--client-id t-1"),
        (["--client-id", "t-1~"], "client_id_invalid", "no client id", "t-1~suffix"),
    ] {
        Said::of(&sensor, &more).names(code, cause, remedy);
    }
    let said = Said::of(&sensor, &["--client-id", "t-1~9"]);
    assert!(said.well, "{}", said.text);
}

#[test]
fn what_was_revoked_is_named() {
    let server = Server::start();
    let here = |words: &[&str]| ok(&mut server.operator(words));
    let sensor = server.enrol("t-1", "sensor");
    let hash = sensor.token()["token_hash"].as_str().unwrap().to_owned();
    here(&["revoke", "token", &hash]);
    Said::of(&sensor, &[]).names("token_revoked", "revoked", "device token --refresh");
    let refresh = || {
        ok(Command::new(tessera())
            .args(["device", "token", "--refresh", "--dir"])
            .arg(&sensor.folder));
    };
    refresh();
    assert!(Said::of(&sensor, &[]).well);
    here(&["revoke", "group", "default"]);
    Said::of(&sensor, &[]).names("group_epoch", "revoked", "device token --refresh");
    refresh();
    here(&["revoke", "device", "t-1"]);
    Said::of(&sensor, &[]).names("device_revoked", "t-1", "reinstate device t-1");
    here(&["reinstate", "device", "t-1"]);
    Said::of(&sensor, &[]).names("device_epoch", "revoked", "device token --refresh");
    refresh();
    // A token of an issuer key that was withdrawn.
    let keys: Value = serde_json::from_str(&here(&["keys", "list", "--json"])).unwrap();
    let active = find(&keys, "state", "active").expect("an active key");
    let kid = active["key"].as_str().unwrap().to_owned();
    here(&["keys", "compromise", &kid]);
    Said::of(&sensor, &[]).names("key_not_valid", "issuer key", "device token --refresh");
    refresh();
    here(&["revoke", "tenant", "default"]);
    Said::of(&sensor, &[]).names("tenant_suspended", "suspended", "reinstate tenant default");
}

/// The first object in which `member` is `value`.
fn find<'a>(value: &'a Value, member: &str, wanted: &str) -> Option<&'a Value> {
    match value {
        Value::Object(map) if map.get(member).is_some_and(|one| one == wanted) => Some(value),
        Value::Object(map) => map.values().find_map(|one| find(one, member, wanted)),
        Value::Array(list) => list.iter().find_map(|one| find(one, member, wanted)),
        _ => None,
    }
}
