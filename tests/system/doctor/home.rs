//! The folder: its clock, its counter, its token and its key.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use serde_json::json;
use tessera_tests::process::{ok, run};
use tessera_tests::server::Server;
use tessera_tests::site::Watch;

use super::{doctor, Said};

#[test]
fn the_clock_and_the_counter_of_the_folder_are_mended() {
    let server = Server::start();
    let sensor = server.enrol("t-1", "sensor");
    for wrong in [4_000, -40_000_000, 90] {
        let serial = sensor.token()["serial"].clone();
        sensor.change("device.json", |card| card["clock_correction"] = json!(wrong));
        Said::of(&sensor, &["--topic", "d/t-1/telemetry"]).names(
            "proof_not_fresh",
            "clock",
            "connect again",
        );
        sensor.change("device.json", |card| {
            assert!(card["clock_correction"].as_i64().unwrap().abs() < 60, "{card}");
        });
        // Token and time go together.
        assert_ne!(sensor.token()["serial"], serial);
        let said = Said::of(&sensor, &[]);
        assert!(said.well, "{}", said.text);
    }
    // Many proofs of one second, then the counter is lost, old or broken.
    let counter = sensor.folder.join("counter");
    let publish = || {
        let words = ["-q", "1", "-t", "d/t-1/telemetry", "-m", "x"];
        run(sensor.mosquitto("mosquitto_pub").args(words))
    };
    for state in [None, Some("7"), Some("nonsense")] {
        assert!(Said::of(&sensor, &[]).well);
        match state {
            None => fs::remove_file(&counter).unwrap(),
            Some(text) => fs::write(&counter, text).unwrap(),
        }
        let said = Said::of(&sensor, &[]);
        assert!(said.well, "{state:?}: {}", said.text);
        assert!(state == Some("7") || said.cause().contains("counter"), "{}", said.text);
        assert!(publish().0, "{state:?}");
        assert!(fs::read_to_string(&counter).unwrap().parse::<u64>().unwrap() > 1_700_000_000);
    }
    // Without provisioning the clock is not corrected: the broker's own time tells it from another verifier name.
    let http = format!("http://{}", server.http);
    sensor.change("device.json", |card| card["clock_correction"] = json!(1_000));
    sensor.change("device.json", |card| card["http"] = json!("http://127.0.0.1:1"));
    Said::of(&sensor, &[]).names("proof_not_fresh", "16 min 40 s behind", "this machine");
    sensor.change("device.json", |card| card["http"] = json!(http));
    // A copy of the folder that is ahead within the window: a later proof was used.
    sensor.change("device.json", |card| card["clock_correction"] = json!(50));
    assert!(publish().0);
    sensor.change("device.json", |card| card["clock_correction"] = json!(0));
    Said::of(&sensor, &[]).names("proof_replayed", "later proof", "two minutes");
}

#[test]
fn tokens_and_keys_that_are_not_the_folders_are_named() {
    let server = Server::start();
    let here = |words: &[&str]| ok(&mut server.operator(words));
    let (sensor, other) = (server.enrol("t-1", "sensor"), server.enrol("t-2", "sensor"));
    let own = fs::read(sensor.folder.join("token.json")).unwrap();
    let put = |bytes: &[u8]| fs::write(sensor.folder.join("token.json"), bytes).unwrap();
    put(&fs::read(other.folder.join("token.json")).unwrap());
    Said::of(&sensor, &[]).names("client_id_mismatch", "t-2", "device token --refresh");
    put(b"{}");
    Said::of(&sensor, &[]).names("", "not a stored token", "device token --refresh");
    put(&own);
    // The key of another: provisioning knows it not.
    let key = fs::read(sensor.folder.join("device.key")).unwrap();
    fs::copy(other.folder.join("device.key"), sensor.folder.join("device.key")).unwrap();
    Said::of(&sensor, &[]).names("proof_invalid", "knows no device t-1", "enrol");
    fs::write(sensor.folder.join("device.key"), key).unwrap();
    // An expired one.
    here(&["role", "set", "brief", "--publish", "d/{device}/telemetry", "--token-seconds", "2"]);
    let brief = server.enrol("t-3", "brief");
    let expired = || Said::of(&brief, &[]).code() == "token_expired";
    assert!(Watch::until(Duration::from_secs(30), expired).is_some());
    Said::of(&brief, &[]).names("token_expired", "expired", "device token --refresh");
    // Files that others can read, and a folder that is none.
    fs::set_permissions(sensor.folder.join("device.key"), fs::Permissions::from_mode(0o640))
        .unwrap();
    Said::of(&sensor, &[]).names("", "0640", "chmod 600");
    doctor(&server.folder.path().join("nothing"), "127.0.0.1:1", &[]).names(
        "",
        "device.json",
        "enrol",
    );
    // Provisioning is away: the broker lets the device in, and the doctor says both.
    other.change("device.json", |card| card["http"] = json!("http://127.0.0.1:1"));
    let said = Said::of(&other, &[]);
    said.names("", "http://127.0.0.1:1 does not answer", "reachable");
    assert!(said.json["steps"]
        .as_array()
        .unwrap()
        .iter()
        .any(|step| step["name"] == "broker" && step["ok"] == true));
    brief.change("device.json", |card| card["http"] = json!("http://127.0.0.1:1"));
    assert!(Watch::until(Duration::from_secs(30), expired).is_some());
    Said::of(&brief, &[]).names("token_expired", "does not answer", "reachable");
}
