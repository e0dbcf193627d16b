//! Nothing that is secret is ever printed, also at the most talkative level.

use std::io::{Read, Write};
use std::net::TcpStream;

use tempfile::TempDir;
use tessera_tests::process::run;
use tessera_tests::server::Server;
use tessera_token::text::from_base64url;

fn get(at: std::net::SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(at).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn no_secret_reaches_logs_metrics_or_answers() {
    let mut server = Server::start_with(TempDir::new().unwrap(), &["--log", "trace"]);
    let sensor = server.enrol("c-1", "sensor");
    let password = sensor.password();
    let words = ["-q", "1", "-t", "d/c-1/telemetry", "-m", "x"];
    let (sent, output) = run(sensor.mosquitto("mosquitto_pub").args(words));
    assert!(sent, "{output}");
    let (refused, _) = run(sensor.mosquitto("mosquitto_pub").args(["-i", "c-2"]).args(words));
    assert!(!refused);
    server.revoke("c-1");
    let pages = [
        get(server.metrics, "/metrics"),
        get(server.http, "/metrics"),
        get(server.http, "/v1/tenants/default/devices"),
        get(server.http, "/nothing"),
    ];
    let operator = server.operator_token();
    let feed = std::fs::read_to_string(server.data().join("feed.token")).unwrap();
    let key = std::fs::read(sensor.folder.join("device.key")).unwrap();
    let raw = from_base64url(&password).unwrap();
    server.process.terminate();
    assert!(server.process.wait().success());
    let log = server.process.output();
    assert!(log.len() > 1000, "the log says nothing at trace level");
    let key_text = String::from_utf8_lossy(&key).trim().to_owned();
    let secrets = [
        operator.trim().to_owned(),
        feed.trim().to_owned(),
        key_text,
        // The token in the three spellings a careless line might use.
        password[..200].to_owned(),
        hex::encode(&raw[..64]),
        format!("{:?}", &raw[..32]).trim_matches(['[', ']']).to_owned(),
    ];
    for (number, secret) in secrets.iter().enumerate() {
        assert!(secret.len() > 20, "secret {number} is too short to look for");
        // The first line of the first start shows the operator token once, on purpose.
        let shown = log.matches(secret.as_str()).count();
        assert!(shown <= usize::from(number == 0), "secret {number} is in the log {shown} times");
        for page in &pages {
            assert!(!page.contains(secret.as_str()), "secret {number} is in an answer");
        }
    }
}

/// What a peer calls a topic is shown with its control characters written out: it makes no line and no colour of a log.
#[test]
fn control_characters_of_a_peer_reach_no_log() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for format in ["text", "json"] {
        let more = ["--log", "trace", "--log-format", format];
        let mut server = Server::start_with(TempDir::new().unwrap(), &more);
        let sensor = server.enrol("c-1", "sensor");
        let topic = "d/\u{1b}[31m\nforged\rforged/\u{9b}x";
        runtime.block_on(async {
            let mut options = rumqttc::MqttOptions::new("c-1", "127.0.0.1", sensor.mqtt.port());
            options.set_credentials("c-1", sensor.password());
            let (client, mut events) = rumqttc::AsyncClient::new(options, 10);
            client.subscribe(topic, rumqttc::QoS::AtMostOnce).await.unwrap();
            client.publish(topic, rumqttc::QoS::AtMostOnce, false, "x").await.unwrap();
            while events.poll().await.is_ok() {}
        });
        server.process.terminate();
        assert!(server.process.wait().success());
        let log = server.process.output();
        assert!(log.contains("forged"), "{format}: the topic is not in the log at all");
        assert!(!log.lines().any(|line| line.starts_with("forged")), "{format}");
        assert!(!log.contains(['\u{1b}', '\r', '\u{9b}']), "{format}");
    }
}
