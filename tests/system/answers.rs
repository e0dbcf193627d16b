//! Devices are held back, and rules put, by the commands that a person types.

use serde_json::Value;
use tessera_runtime::clock::{Clock, SystemClock};
use tessera_tests::process::{ok, run};
use tessera_tests::server::{Device, Server};

/// Whether a publish of the device is refused.
fn refused(card: &Device, payload: &str) -> bool {
    let words = ["-V", "5", "-q", "1", "-t", "d/d-1/telemetry", "-m", payload];
    let (good, output) = run(card.mosquitto("mosquitto_pub").args(words));
    !good || output.contains("Not authorized")
}

/// The broker hears of a change within seconds.
fn becomes(card: &Device, payload: &str, wanted: bool) {
    assert!((0..200).any(|_| refused(card, payload) == wanted), "refused should be {wanted}");
}

#[test]
fn a_device_is_restrained_and_released() {
    let server = Server::start();
    let card = server.enrol("d-1", "sensor");
    assert!(!refused(&card, "x"));
    let restrain = ["--step", "quarantine", "--for", "1h", "--reason", "worm"];
    ok(server.operator(&["answer", "restrain", "d-1"]).args(restrain));
    becomes(&card, "x", true);
    let listed = ok(&mut server.operator(&["answer", "list", "--json"]));
    let listed: Value = serde_json::from_str(&listed).unwrap();
    assert_eq!((&listed[0]["device"], &listed[0]["step"]), (&"d-1".into(), &"quarantine".into()));
    ok(&mut server.operator(&["answer", "verdict", "d-1", "real", "--reason", "seen"]));
    ok(&mut server.operator(&["answer", "release", "d-1", "--reason", "cleaned"]));
    becomes(&card, "x", false);
    let policy = ["--high", "quarantine", "--for", "1h", "--devices-an-hour", "5", "--shadow"];
    ok(server.operator(&["answer", "set", "--group", "default"]).args(policy));
    let policies = ok(&mut server.operator(&["answer", "policies"]));
    assert!(policies.contains("quarantine"), "{policies}");
    ok(&mut server.operator(&["answer", "remove", "--group", "default"]));
}

#[test]
fn a_rule_is_put_refused_untried_and_removed() {
    let server = Server::start();
    let card = server.enrol("d-1", "sensor");
    let now = SystemClock::new().unix().get();
    let file = server.data().join("large.toml");
    let rule = format!(
        "id = \"large\"\nversion = 1\non = \"publish\"\ntext = 'bytes > 100'\naction = \"deny\"\nmode = \"enforce\"\n\
         not_before = {}\nexpires = {}\nauthor = \"maria\"\nreason = \"a test\"\n[selector]\ntenant = \"default\"\n\
         groups = [\"default\"]\n",
        now - 60,
        now + 86_400
    );
    std::fs::write(&file, rule).unwrap();
    let put = |words: &[&str]| {
        let mut command = server.operator(&["rule", "put"]);
        run(command.arg("--rule").arg(&file).args(words))
    };
    let (good, output) = put(&[]);
    assert!(!good && output.contains("rule_not_tried"), "{output}");
    let (good, output) = put(&["--now", "worm on site 3"]);
    assert!(good, "{output}");
    let large = "x".repeat(200);
    becomes(&card, &large, true);
    assert!(!refused(&card, "x"));
    let listed = ok(&mut server.operator(&["rule", "list"]));
    assert!(listed.contains("large") && listed.contains("enforce"), "{listed}");
    // The broker tells how often it held.
    let counted = || -> u64 {
        let shown = ok(&mut server.operator(&["rule", "show", "large", "--json"]));
        let shown: Value = serde_json::from_str(&shown).unwrap();
        shown["matched"].as_u64().unwrap()
    };
    assert!((0..2000).any(|_| counted() > 0));
    ok(&mut server.operator(&["rule", "remove", "large"]));
    becomes(&card, &large, false);
}
