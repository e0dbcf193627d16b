//! `tessera device doctor` names one cause and one thing to do, for each kind of fault.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{json, Value};
use tempfile::TempDir;
use tessera_runtime::clock::{Clock, SystemClock};
use tessera_tests::process::{ok, run, tessera, Process};
use tessera_tests::server::{Device, Server};
use tessera_tests::site::Watch;
use tessera_token::claims::{Claims, Epochs, Serial};
use tessera_token::ids::{Audience, DeviceId, TenantId};
use tessera_token::issue::issue;
use tessera_token::key::{Algorithm, PublicKey, SecretKey};
use tessera_token::messages::{NonceAnswer, TokenAnswer};
use tessera_token::proof::Credential;
use tessera_token::scope::Scope;
use tessera_token::text::{base64url, from_base64url};
use tessera_token::time::UnixSeconds;

use crate::tls::certificate;

/// What a doctor said.
struct Said {
    well: bool,
    text: String,
    json: Value,
}

impl Said {
    fn code(&self) -> &str {
        self.json["code"].as_str().unwrap_or_default()
    }

    fn cause(&self) -> &str {
        self.json["cause"].as_str().unwrap()
    }

    fn remedy(&self) -> &str {
        self.json["do"].as_str().unwrap()
    }

    #[track_caller]
    fn names(&self, code: &str, cause: &str, remedy: &str) {
        assert!(!self.well, "{}", self.text);
        assert_eq!(self.code(), code, "{}", self.text);
        assert!(self.cause().contains(cause) && self.remedy().contains(remedy), "{}", self.text);
    }
}

fn doctor(folder: &Path, mqtt: &str, more: &[&str]) -> Said {
    let (well, text) = run(Command::new(tessera())
        .args(["device", "doctor", "--json", "--mqtt", mqtt, "--dir"])
        .arg(folder)
        .args(more)
        .env_remove("TESSERA_CAFILE"));
    let json: Value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("no JSON: {text}"));
    assert_eq!(json["well"], well, "{text}");
    assert!(json["steps"].is_array() && json["cause"].is_string() && json["do"].is_string());
    Said { well, text, json }
}

impl Said {
    fn of(device: &Device, more: &[&str]) -> Self {
        doctor(&device.folder, &device.mqtt.to_string(), more)
    }
}

/// Changes a JSON file in the folder of a device.
fn change(device: &Device, file: &str, change: impl FnOnce(&mut Value)) {
    let path = device.folder.join(file);
    let mut kept: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    change(&mut kept);
    fs::write(&path, kept.to_string()).unwrap();
}

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

#[test]
fn a_password_is_taken_apart_and_tried() {
    let server = Server::start();
    let (sensor, other) = (server.enrol("t-1", "sensor"), server.enrol("t-2", "sensor"));
    let try_it = |password: &str, more: &[&str]| {
        Said::of(&sensor, &[&["--password", password], more].concat())
    };
    let password = sensor.password();
    assert!(try_it(&password, &[]).well);
    try_it(&password, &[]).names("proof_replayed", "used already", "device password");
    // One that a client used.
    let password = sensor.password();
    let words = ["-q", "1", "-t", "d/t-1/telemetry", "-m", "x"];
    ok(Command::new("mosquitto_pub")
        .args(["-h", "127.0.0.1", "-p", &sensor.mqtt.port().to_string()])
        .args(["-i", "t-1", "-u", "t-1", "-P", &password])
        .args(words));
    try_it(&password, &[]).names("proof_replayed", "used already", "device password");
    let suffixed = sensor.password_for("t-1~2");
    try_it(&suffixed, &[]).names("proof_invalid", "client id t-1~2", "device password");
    assert!(try_it(&suffixed, &["--client-id", "t-1~2"]).well);
    let password = sensor.password();
    try_it(&password, &["--client-id", "t-1~3"]).names("proof_invalid", "client id t-1,", "t-1~3");
    try_it(&sensor.password_at("north"), &[]).names(
        "proof_invalid",
        "another verifier",
        "password",
    );
    let foreign = other.password();
    try_it(&foreign, &[]).names("client_id_mismatch", "t-2", "--client-id t-2");
    assert!(try_it(&foreign, &["--client-id", "t-2"]).well);
    // A proof of one token behind another one, and a token alone.
    let token = sensor.token_text();
    try_it(&token, &[]).names("proof_missing", "bound to a key", "device password");
    let bytes = from_base64url(&token).unwrap();
    for (bad, code) in [
        ("no password".to_owned(), "token_malformed"),
        ("A".to_owned(), "credential_malformed"),
        (base64url(&bytes[..bytes.len() - 9]), "token_malformed"),
        (base64url(&[&bytes[..], &[0x41, 0]].concat()), "proof_malformed"),
        (String::new(), "credential_missing"),
    ] {
        let said = try_it(&bad, &[]);
        assert!(!said.well && said.code() == code, "{bad}: {}", said.text);
        assert!(said.remedy().contains("device password"), "{}", said.text);
    }
    // From a file, which others must not be able to read.
    let file = server.folder.path().join("password.txt");
    fs::write(&file, sensor.password()).unwrap();
    let given = format!("@{}", file.display());
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    try_it(&given, &[]).names("", "0644", "chmod 600");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    assert!(try_it(&given, &[]).well);
    try_it("@/nowhere/at/all", &[]).names("", "/nowhere/at/all", "--password @FILE");
    // Made by a clock that was wrong.
    change(&sensor, "device.json", |card| card["clock_correction"] = json!(-300));
    let late = sensor.password();
    change(&sensor, "device.json", |card| card["clock_correction"] = json!(0));
    try_it(&late, &[]).names("proof_not_fresh", "ago", "device password");
}

trait TokenText {
    fn token_text(&self) -> String;
}

impl TokenText for Device {
    /// The token in the folder.
    fn token_text(&self) -> String {
        let text = fs::read_to_string(self.folder.join("token.json")).unwrap();
        let stored: Value = serde_json::from_str(&text).unwrap();
        stored["token"].as_str().unwrap().to_owned()
    }
}

#[test]
fn the_clock_and_the_counter_of_the_folder_are_mended() {
    let server = Server::start();
    let sensor = server.enrol("t-1", "sensor");
    for wrong in [4_000, -40_000_000, 90] {
        let serial = sensor.token()["serial"].clone();
        change(&sensor, "device.json", |card| card["clock_correction"] = json!(wrong));
        Said::of(&sensor, &["--topic", "d/t-1/telemetry"]).names(
            "proof_not_fresh",
            "clock",
            "connect again",
        );
        change(&sensor, "device.json", |card| {
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
    change(&sensor, "device.json", |card| card["clock_correction"] = json!(1_000));
    change(&sensor, "device.json", |card| card["http"] = json!("http://127.0.0.1:1"));
    Said::of(&sensor, &[]).names("proof_not_fresh", "16 min 40 s behind", "this machine");
    change(&sensor, "device.json", |card| card["http"] = json!(http));
    // A copy of the folder that is ahead within the window: a later proof was used.
    change(&sensor, "device.json", |card| card["clock_correction"] = json!(50));
    assert!(publish().0);
    change(&sensor, "device.json", |card| card["clock_correction"] = json!(0));
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
    change(&other, "device.json", |card| card["http"] = json!("http://127.0.0.1:1"));
    let said = Said::of(&other, &[]);
    said.names("", "http://127.0.0.1:1 does not answer", "reachable");
    assert!(said.json["steps"]
        .as_array()
        .unwrap()
        .iter()
        .any(|step| step["name"] == "broker" && step["ok"] == true));
    change(&brief, "device.json", |card| card["http"] = json!("http://127.0.0.1:1"));
    assert!(Watch::until(Duration::from_secs(30), expired).is_some());
    Said::of(&brief, &[]).names("token_expired", "does not answer", "reachable");
}

/// Answers each connection with these bytes.
fn answering(bytes: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(bytes);
        }
    });
    at
}

#[test]
fn the_way_to_the_broker_is_named() {
    let folder = TempDir::new().unwrap();
    let (cert, key) = certificate(folder.path());
    let more = ["--mqtts", "0.0.0.0:0", "--ws", "127.0.0.1:0", "--cert", &cert, "--key", &key];
    let server = Server::start_with(folder, &more);
    let places: Value =
        serde_json::from_slice(&fs::read(server.data().join("run.json")).unwrap()).unwrap();
    let at = |name: &str| places[name].as_str().unwrap().to_owned();
    let port = |name: &str| at(name).rsplit_once(':').unwrap().1.to_owned();
    let sensor = server.enrol("t-1", "sensor");
    let ask = |mqtt: &str, more: &[&str]| doctor(&sensor.folder, mqtt, more);
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    ask(&free.to_string(), &[]).names("", "nothing listens", "port in --mqtt");
    ask("no.such.host.invalid:1883", &[]).names("", "nothing answers", "host in --mqtt");
    ask("nonsense:port", &[]).names("", "no broker", "--mqtt as host:port");
    ask(&answering(b"SSH-2.0-x\r\n").to_string(), &[]).names("", "no MQTT", "MQTT port");
    ask(&answering(b"").to_string(), &[]).names("", "closed the connection", "MQTT port");
    ask(&answering(b"HTTP/1.1 400 Bad Request\r\n\r\n").to_string(), &[])
        .names("", "HTTP", "ws://");
    ask(&at("http"), &[]).names("", "", "MQTT port");
    let in_clear = format!("127.0.0.1:{}", port("mqtts"));
    ask(&in_clear, &[]).names("", "TLS", "mqtts://");
    let secure = format!("mqtts://localhost:{}", port("mqtts"));
    ask(&secure, &[]).names("", "not trusted", "--cafile");
    assert!(ask(&secure, &["--cafile", &cert]).well);
    ask(&secure, &["--cafile", "/nowhere/at/all"]).names("", "/nowhere/at/all", "PEM");
    let wrong = format!("mqtts://127.0.0.2:{}", port("mqtts"));
    let other = TempDir::new().unwrap();
    let (stranger, _) = certificate(other.path());
    ask(&secure, &["--cafile", &stranger]).names("", "not trusted", "--cafile");
    ask(&wrong, &["--cafile", &cert]).names("", "another name", "stands in the certificate");
    let clear = format!("mqtts://localhost:{}", port("mqtt"));
    ask(&clear, &["--cafile", &cert]).names("", "TLS", "TLS listener");
    let ws = |path: &str| format!("ws://{}{path}", at("ws"));
    assert!(ask(&ws(""), &["--topic", "d/t-1/telemetry"]).well);
    ask(&ws("/wrong"), &[]).names("", "WebSocket", "/mqtt");
    ask(&format!("ws://{}", at("mqtt")), &[]).names("", "WebSocket", "another listener");
    for (connack, code) in [
        (&[0x20, 3, 0, 0x89, 0][..], "rate_limited"),
        (&[0x20, 3, 0, 0x88, 0], "not_ready"),
        (&[0x20, 3, 0, 0x97, 0], "share_used_up"),
    ] {
        let said = ask(&answering(connack).to_string(), &[]);
        assert!(!said.well && said.code() == code, "{}", said.text);
    }
    // A broker of another kind that lets nobody in, and one of 3.1.1 alone, which judges the password.
    let old = answering(&[0x20, 2, 0, 1]);
    ask(&old.to_string(), &[]).names("", "ProtocolVersion", "--mqtt");
    let foreign = answering(&[0x20, 3, 0, 0x8a, 0]);
    ask(&foreign.to_string(), &[]).names("", "Banned", "--mqtt");
}

#[test]
fn another_verifier_name_and_another_provisioning_are_told_apart() {
    let folder = TempDir::new().unwrap();
    let (cert, key) = certificate(folder.path());
    let tls = ["--wss", "127.0.0.1:0", "--cert", &cert, "--key", &key];
    let server = Server::start_with(folder, &[&["--verifier", "north"], &tls[..]].concat());
    let sensor = server.enrol("t-1", "sensor");
    Said::of(&sensor, &[]).names("proof_invalid", "audience mqtt", "--verifier NAME");
    Said::of(&sensor, &["--verifier", "south"]).names(
        "proof_invalid",
        "not named south",
        "--verifier NAME",
    );
    assert!(Said::of(&sensor, &["--verifier", "north"]).well);
    // Over TLS too, where the challenge is bound to the channel.
    let places: Value =
        serde_json::from_slice(&fs::read(server.data().join("run.json")).unwrap()).unwrap();
    let port = places["wss"].as_str().unwrap().rsplit_once(':').unwrap().1;
    let wss = format!("wss://localhost:{port}");
    let told = doctor(&sensor.folder, &wss, &["--cafile", &cert]);
    told.names("proof_invalid", "audience mqtt", "--verifier NAME");
    // A password for the audience, where the name is known.
    let password = sensor.password();
    let said = Said::of(&sensor, &["--verifier", "north", "--password", &password]);
    said.names("proof_invalid", "verifier mqtt", "--verifier");
    // The broker of another provisioning.
    let other = Server::start();
    let said = doctor(&sensor.folder, &other.mqtt.to_string(), &[]);
    said.names("audience_mismatch", "takes no token of", "--mqtt");
    // A token of it in this folder.
    let twin = other.enrol("t-1", "sensor");
    let own = sensor.folder.join("token.json");
    fs::copy(twin.folder.join("token.json"), &own).unwrap();
    Said::of(&sensor, &[]).names("proof_invalid", "another key", "device token --refresh");
}

#[test]
fn a_token_for_another_audience_is_named() {
    let folder = TempDir::new().unwrap();
    let config = folder.path().join("tessera.toml");
    let start = |folder: TempDir, config: &PathBuf, audience: &str| {
        fs::write(config, format!("audience = \"{audience}\"\n")).unwrap();
        Server::start_with(folder, &["--config", config.to_str().unwrap()])
    };
    let server = start(folder, &config, "north");
    let sensor = server.enrol("t-1", "sensor");
    assert!(Said::of(&sensor, &[]).well);
    let folder = server.stop();
    let server = start(folder, &config, "south");
    let http = format!("http://{}", server.http);
    change(&sensor, "device.json", |card| card["http"] = json!(http));
    let said = doctor(&sensor.folder, &server.mqtt.to_string(), &[]);
    said.names("audience_mismatch", "north", "device token --refresh");
    assert!(said.cause().contains("south"), "{}", said.text);
}

/// One request over HTTP: its first line.
fn request(stream: &mut TcpStream) -> String {
    let mut seen = Vec::new();
    loop {
        let mut chunk = [0; 4096];
        let read = stream.read(&mut chunk).unwrap_or(0);
        seen.extend_from_slice(&chunk[..read]);
        let text = String::from_utf8_lossy(&seen).to_ascii_lowercase();
        let whole = text.split_once("\r\n\r\n").is_some_and(|(head, _)| {
            let length = head.split("content-length: ").nth(1).map_or("0", |rest| rest);
            let length: usize = length.split("\r\n").next().unwrap().trim().parse().unwrap();
            seen.len() >= head.len() + 4 + length
        });
        if whole || read == 0 {
            return text.lines().next().unwrap_or_default().to_owned();
        }
    }
}

/// A stranger in the place of provisioning, whose tokens are issued so many seconds from now.
fn stranger(device: &Device, ahead: u64) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    let seed = fs::read_to_string(device.folder.join("device.key")).unwrap();
    let seed: [u8; 32] = hex::decode(seed.trim()).unwrap().try_into().unwrap();
    let key = SecretKey::from_seed(&seed).public();
    let id = device.id.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let first = request(&mut stream);
            let time = SystemClock::new().unix().plus(ahead);
            let body = match first.contains("/v1/enrol/nonce") {
                true => {
                    NonceAnswer { nonce: vec![7; 32], expires_in: 60, server_time: time }.to_cbor()
                }
                false => false_token(&id, &key, time),
            };
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: application/ace+cbor\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                body.len()
            );
            let _ = stream.write_all(&[head.as_bytes(), &body].concat());
        }
    });
    at
}

fn false_token(device: &str, key: &PublicKey, time: UnixSeconds) -> Vec<u8> {
    let claims = Claims {
        tenant: TenantId::parse("default").unwrap(),
        device: DeviceId::parse(device).unwrap(),
        audience: Audience::parse("mqtt").unwrap(),
        expires: time.plus(3600),
        not_before: None,
        issued: time,
        serial: Serial::from_counter(1),
        confirmation: Some(key.clone()),
        scope: Scope::default(),
        epochs: Epochs::default(),
    };
    let issuer = SecretKey::from_seed(&[9; 32]);
    let answer = TokenAnswer {
        access_token: issue(&claims, Algorithm::Ed25519, &issuer).unwrap(),
        expires_in: 3600,
        bearer: false,
        key: None,
        audience: claims.audience,
        scope: Scope::default(),
        server_time: time,
    };
    answer.to_cbor()
}

/// A broker that refuses everybody, and keeps the passwords that it is shown.
fn keeping() -> (SocketAddr, Arc<Mutex<Vec<Credential>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (at, kept) = (listener.local_addr().unwrap(), Arc::new(Mutex::new(Vec::new())));
    let keeps = Arc::clone(&kept);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut packet = vec![0; 4096];
            let read = stream.read(&mut packet).unwrap_or(0);
            // The password is the last field, as text.
            let begin = packet[..read].windows(5).position(|five| five == b"2D3Sh");
            let password = begin.map(|begin| Credential::from_password(&packet[begin..read]));
            keeps.lock().unwrap().extend(password.map(Result::unwrap));
            let _ = stream.write_all(&[0x20, 3, 0, 0x87, 0]);
        }
    });
    (at, kept)
}

/// What the device has is signed for by the clock that it has, never by the time in a token that nothing here verifies.
#[test]
fn a_stranger_gets_no_proof_for_a_true_token_at_a_time_of_its_choice() {
    let server = Server::start();
    for (number, ahead) in [50, 1_000].into_iter().enumerate() {
        let sensor = server.enrol(&format!("t-{number}"), "sensor");
        let (genuine, password) =
            (from_base64url(&sensor.token_text()).unwrap(), sensor.password());
        let service = stranger(&sensor, ahead);
        change(&sensor, "device.json", |card| card["http"] = json!(format!("http://{service}")));
        let (broker, kept) = keeping();
        for more in [&[][..], &["--password", &password]] {
            assert!(!doctor(&sensor.folder, &broker.to_string(), more).well);
        }
        let kept = kept.lock().unwrap();
        let now = SystemClock::new().unix();
        for shown in kept.iter().filter(|shown| shown.token == genuine) {
            let time = shown.proof.as_ref().unwrap().time;
            assert!(time <= now, "{ahead}: {} s ahead", time.since(now));
        }
        assert!(kept.iter().any(|shown| shown.token != genuine), "the new token is tried");
        let (well, made) =
            run(Command::new(tessera()).args(["device", "password", "--dir"]).arg(&sensor.folder));
        assert!(well, "{made}");
        let made = Credential::from_password(made.trim().as_bytes()).unwrap();
        assert!(made.token != genuine || made.proof.unwrap().time <= now.plus(5));
    }
}
