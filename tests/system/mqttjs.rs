//! mqtt.js over TCP and WebSocket, in MQTT 5 with properties and 3.1.1: the connect proof as password, and the method
//! `ace` through its hooks for enhanced authentication.

use std::process::Command;

use serde_json::{json, Value};
use tempfile::TempDir;
use tessera_tests::process::{root, Process};
use tessera_tests::server::{Device, Server};
use tessera_token::encoding::{from_base64url, hex};

/// An mqtt.js client that is driven line by line.
struct Js(Process);

/// The server, and both ways to it.
struct Two {
    server: Server,
    urls: [String; 2],
}

fn start() -> Two {
    let server = Server::start_with(TempDir::new().unwrap(), &["--ws", "127.0.0.1:0"]);
    let run = std::fs::read(server.data().join("run.json")).unwrap();
    let run: Value = serde_json::from_slice(&run).unwrap();
    let ws = run["ws"].as_str().unwrap();
    let urls = [format!("mqtt://{}", server.mqtt), format!("ws://{ws}/mqtt")];
    Two { server, urls }
}

fn connect_proof(device: &Device, url: &str, version: u8) -> Value {
    let password = hex::encode(from_base64url(&device.password()).unwrap());
    json!({ "url": url, "version": version, "id": device.id, "password": password })
}

fn ace(device: &Device, url: &str) -> Value {
    let read = |name: &str| std::fs::read_to_string(device.folder.join(name)).unwrap();
    let stored: Value = serde_json::from_str(&read("token.json")).unwrap();
    let token = from_base64url(stored["token"].as_str().unwrap()).unwrap();
    let ace = json!({ "token": hex::encode(token), "seed": read("device.key").trim() });
    json!({ "url": url, "version": 5, "id": device.id, "ace": ace })
}

impl Js {
    fn start(plan: &Value) -> Self {
        let library = root().join("tests/node_modules/mqtt");
        assert!(library.exists(), "{} is not there: run tests/run", library.display());
        let mut command = Command::new("node");
        let mut process = Process::start(
            command.arg(root().join("tests/clients/mqttjs_peer.js")).arg(plan.to_string()),
        );
        process.line("start of node (is it installed? run tests/run)", |l| l.contains("\"ready\""));
        process.say("connect");
        Self(process)
    }

    fn connected(plan: &Value) -> Self {
        let mut js = Self::start(plan);
        assert_eq!(code(&js.event("connack")), 0);
        js
    }

    fn event(&mut self, name: &str) -> Value {
        let wanted = format!("{{\"event\":\"{name}\"");
        serde_json::from_str(&self.0.line(name, |l| l.starts_with(&wanted))).unwrap()
    }

    fn subscribed(&mut self, words: &str) -> Value {
        self.0.say(&format!("sub {words}"));
        self.event("suback")["granted"][0].clone()
    }
}

/// The reason code of a packet in MQTT 5, the return code in 3.1.1.
fn code(packet: &Value) -> u64 {
    let code = packet.get("reasonCode").filter(|code| !code.is_null());
    code.or_else(|| packet.get("returnCode")).and_then(Value::as_u64).unwrap_or(0)
}

#[test]
fn mqtt_5_with_properties_over_tcp_and_web_socket() {
    let two = start();
    let sensor = two.server.enrol("j-1", "sensor");
    let backend = two.server.enrol("j-back", "backend");
    for url in &two.urls {
        let mut plan = connect_proof(&backend, url, 5);
        plan["properties"] = json!({ "topicAliasMaximum": 5, "userProperties": { "from": "js" } });
        let mut reader = Js::connected(&plan);
        let granted = reader.subscribed(
            r#"2 d/+/telemetry {"rap":true,"rh":1,"properties":{"subscriptionIdentifier":7}}"#,
        );
        assert_eq!(granted, 2);
        let mut writer = Js::start(&connect_proof(&sensor, url, 5));
        let told = writer.event("connack")["properties"].clone();
        assert_eq!(
            (told["topicAliasMaximum"].as_u64(), told["receiveMaximum"].as_u64()),
            (Some(16), Some(256))
        );
        // The topic travels once, then its alias, both ways. mqtt.js forgets the topic behind an alias for QoS 2, so
        // that one comes first.
        for qos in [2, 0, 1, 0, 1] {
            let properties = r#"{"userProperties":{"a":["1","2"],"b":"3"},"contentType":"text/plain","responseTopic":"d/j-1/cmd","correlationData":"xyz","messageExpiryInterval":3600,"payloadFormatIndicator":true}"#;
            writer.0.say(&format!("pub {qos} 0 d/j-1/telemetry at-{qos} {properties}"));
            let message = reader.event("message");
            assert_eq!(
                (&message["topic"], &message["text"], &message["qos"]),
                (&json!("d/j-1/telemetry"), &json!(format!("at-{qos}")), &json!(qos))
            );
            let got = &message["properties"];
            assert_eq!(got["userProperties"], json!({ "a": ["1", "2"], "b": "3" }), "{got}");
            assert_eq!(got["contentType"], "text/plain");
            assert_eq!(got["responseTopic"], "d/j-1/cmd");
            assert_eq!(got["subscriptionIdentifier"], 7);
            assert_eq!(got["payloadFormatIndicator"], true);
            assert!(got["messageExpiryInterval"].as_u64().unwrap() > 3000);
        }
        assert!(reader.0.output().contains(r#""topicAlias":1"#), "aliases were not used");
        assert_eq!(writer.subscribed("1 d/#"), 0x87);
        writer.0.say("unsub d/none");
        assert_eq!(writer.event("unsuback")["granted"][0], 0x11);
        writer.0.say("pub 1 0 d/j-2/telemetry x");
        assert_eq!(code(&writer.event("puback")), 0x87);
        writer.0.say("pub 2 0 d/j-2/telemetry x");
        assert_eq!(code(&writer.event("pubrec")), 0x87);
        writer.0.say("pub 0 0 d/j-2/telemetry x");
        assert_eq!(code(&writer.event("disconnect")), 0x87);
        writer.event("closed");
    }
}

#[test]
fn mqtt_311_over_tcp_and_web_socket() {
    let two = start();
    let sensor = two.server.enrol("j-1", "sensor");
    let backend = two.server.enrol("j-back", "backend");
    for url in &two.urls {
        let mut reader = Js::connected(&connect_proof(&backend, url, 4));
        assert_eq!(reader.subscribed("2 d/+/telemetry"), 2);
        let mut writer = Js::connected(&connect_proof(&sensor, url, 4));
        for qos in [0, 1, 2] {
            writer.0.say(&format!("pub {qos} 0 d/j-1/telemetry at-{qos}"));
            let message = reader.event("message");
            assert_eq!(
                (&message["text"], &message["qos"]),
                (&json!(format!("at-{qos}")), &json!(qos))
            );
        }
        assert_eq!(writer.subscribed("1 d/j-1/cmd"), 1);
        reader.0.say("pub 1 0 d/j-1/cmd open");
        assert_eq!(writer.event("message")["text"], "open");
        assert_eq!(writer.subscribed("1 d/#"), 0x80);
        writer.0.say("pub 1 0 d/j-2/telemetry x");
        writer.event("closed");
        let mut bad = connect_proof(&sensor, url, 4);
        bad["password"] = json!("00");
        assert_eq!(code(&Js::start(&bad).event("connack")), 5);
    }
}

#[test]
fn what_waits_for_a_session_is_there_when_it_returns() {
    let two = start();
    let sensor = two.server.enrol("j-1", "sensor");
    let backend = two.server.enrol("j-back", "backend");
    for (version, url) in [(5, &two.urls[0]), (4, &two.urls[1])] {
        let kept = || {
            let mut plan = connect_proof(&sensor, url, version);
            plan["clean"] = json!(false);
            plan["properties"] = json!({ "sessionExpiryInterval": 600 });
            Js::start(&plan)
        };
        let mut device = kept();
        assert_eq!(device.event("connack")["sessionPresent"], false);
        assert_eq!(device.subscribed("2 d/j-1/cmd"), 2);
        device.0.say("drop");
        device.event("closed");
        let mut hub = Js::connected(&connect_proof(&backend, url, version));
        hub.0.say("pub 1 0 d/j-1/cmd one");
        hub.event("puback");
        hub.0.say("pub 2 0 d/j-1/cmd two");
        hub.event("pubcomp");
        let mut device = kept();
        assert_eq!(device.event("connack")["sessionPresent"], true);
        for (text, qos) in [("one", 1), ("two", 2)] {
            let message = device.event("message");
            assert_eq!((&message["text"], &message["qos"]), (&json!(text), &json!(qos)));
        }
        device.0.say("quit");
        device.event("closed");
        // Leaves nothing to the next round.
        Js::connected(&connect_proof(&sensor, url, version)).0.say("quit");
    }
}

#[test]
fn the_method_ace_with_its_challenge_and_again_on_a_live_session() {
    let two = start();
    let sensor = two.server.enrol("j-1", "sensor");
    for url in &two.urls {
        let mut device = Js::start(&ace(&sensor, url));
        let challenge = device.event("auth");
        assert_eq!(code(&challenge), 0x18);
        assert_eq!(challenge["properties"]["authenticationData"].as_str().unwrap().len(), 16);
        let accepted = device.event("connack");
        assert_eq!(
            (code(&accepted), &accepted["properties"]["authenticationMethod"]),
            (0, &json!("ace"))
        );
        assert_eq!(device.subscribed("1 d/j-1/cmd"), 1);
        device.0.say("reauth");
        assert_eq!(code(&device.event("auth")), 0x18);
        assert_eq!(code(&device.event("auth")), 0);
        device.0.say("pub 1 0 d/j-1/telemetry x");
        assert!(code(&device.event("puback")) < 0x80);
        let mut thief = ace(&sensor, url);
        thief["ace"]["seed"] = json!("11".repeat(32));
        let mut thief = Js::start(&thief);
        assert_eq!(code(&thief.event("auth")), 0x18);
        assert_eq!(code(&thief.event("connack")), 0x87);
        // The device noticed nothing.
        device.0.say("pub 1 0 d/j-1/telemetry x");
        assert!(code(&device.event("puback")) < 0x80);
    }
}

#[test]
fn wills_takeover_and_revocation() {
    let two = start();
    let backend = two.server.enrol("j-back", "backend");
    for (n, url) in two.urls.iter().enumerate() {
        let sensor = two.server.enrol(&format!("j-{n}"), "sensor");
        let mut reader = Js::connected(&connect_proof(&backend, url, 5));
        reader.subscribed("1 d/+/telemetry");
        let willing = || {
            let mut plan = connect_proof(&sensor, url, 5);
            plan["will"] = json!(format!("d/j-{n}/telemetry"));
            plan
        };
        let mut device = Js::connected(&willing());
        device.0.say("drop");
        assert_eq!(reader.event("message")["text"], "gone");
        let mut first = Js::connected(&connect_proof(&sensor, url, 5));
        let mut second = Js::connected(&willing());
        assert_eq!(code(&first.event("disconnect")), 0x8e);
        two.server.revoke(&sensor.id);
        let told = code(&second.event("disconnect"));
        assert!(told == 0x87 || told == 0x98, "{told:#x}");
        // The next thing the reader hears is its own question, not the will of the revoked device.
        reader.subscribed("1 $tessera/status");
        assert_eq!(reader.event("message")["topic"], "$tessera/status");
    }
}
