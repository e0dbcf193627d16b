//! A broker tells which topics a device uses, and a person reads what its role could do without.

use serde_json::Value;
use tessera_tests::process::{ok, run};
use tessera_tests::server::Server;

#[test]
fn a_role_is_advised_by_what_its_devices_did() {
    let server = Server::start();
    let role = ["role", "set", "wide", "--class", "service", "--publish", "d/{device}/#"];
    let lines =
        ["--publish", "old/{device}", "--subscribe", "d/{device}/cmd", "--token-seconds", "600"];
    ok(server.operator(&role).args(lines));
    let card = server.enrol("d-1", "wide");
    for topic in ["d/d-1/telemetry", "d/d-1/state/door"] {
        ok(card.mosquitto("mosquitto_pub").args(["-V", "5", "-q", "1", "-t", topic, "-m", "1"]));
    }
    let will = ["-V", "5", "--will-topic", "d/d-1/gone", "--will-payload", "x", "-t", "d/d-1/cmd"];
    run(card.mosquitto("mosquitto_sub").args(will).args(["-W", "1"]));
    let refused = ["-V", "5", "-q", "1", "-t", "OLD/d-1", "-m", "1"];
    run(card.mosquitto("mosquitto_pub").args(refused));
    let uses = || -> Vec<Value> {
        let told = ok(&mut server.operator(&["role", "uses", "wide", "--json"]));
        let told: Value = serde_json::from_str(&told).unwrap();
        told["items"].as_array().unwrap().clone()
    };
    // The broker tells it ten seconds after the first topic.
    assert!((0..2000).any(|_| uses().len() == 5), "{:?}", uses());
    let shown = ok(&mut server.operator(&["role", "uses", "wide", "--device", "d-1"]));
    assert!(shown.contains("d/{device}/telemetry"), "{shown}");
    let advised = ok(&mut server.operator(&["role", "advise", "wide", "--preview"]));
    for words in [
        "wide: 1 devices, 1 seen since",
        "d/{device}/gone d/{device}/state/door d/{device}/telemetry",
        "remove",
        "old/{device}",
        "do not change the role by it yet",
        "the change would do this:",
        "--class service --token-seconds 600 --publish 'd/{device}/gone'",
    ] {
        assert!(advised.contains(words), "{words}: {advised}");
    }
    let told = ok(&mut server.operator(&["role", "advise", "wide", "--json"]));
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!(told["refused"][0]["nearest"], "old/{device}");
    // Nothing was changed.
    let kept = ok(&mut server.operator(&["role", "show", "wide"]));
    assert!(kept.contains("d/{device}/#"), "{kept}");
}
