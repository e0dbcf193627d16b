//! Nothing that is secret is ever printed, also at the most talkative level.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;

use tempfile::TempDir;
use tessera_runtime::clock::{Clock, SystemClock};
use tessera_runtime::secret::write_secret_file;
use tessera_tests::process::{ok, run, tessera};
use tessera_tests::server::{Device, Server};
use tessera_token::encoding::{base64url, from_base64url, hex};
use tessera_token::key::SecretKey;
use tessera_token::messages::{TokenAnswer, TokenKind, TokenRequest};
use tessera_token::proof::{ConnectProof, Credential, ResumptionSecret};
use tessera_token::seal::OpeningKey;

use crate::tls::certificate;

fn get(at: std::net::SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(at).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// A client of the device over TLS.
fn over_tls(program: &str, at: SocketAddr, ca: &str, device: &Device, password: &str) -> Command {
    let mut command = Command::new(program);
    command.args(["-h", "localhost", "-p", &at.port().to_string(), "--cafile", ca]);
    command.args(["-i", &device.id, "-u", &device.id, "-P", password]);
    command
}

/// The resumption secret of the device, which is accepted at the next CONNECT.
fn resumed(at: SocketAddr, ca: &str, device: &Device) -> [u8; 32] {
    let mut listen = over_tls("mosquitto_sub", at, ca, device, &device.password());
    let (listened, status) = run(listen.args(["-t", "$tessera/status", "-C", "1", "-W", "60"]));
    assert!(listened, "{status}");
    let status: serde_json::Value = serde_json::from_str(status.trim()).unwrap();
    let bytes = from_base64url(status["resumption"].as_str().unwrap()).unwrap();
    let bytes: [u8; 32] = bytes.try_into().unwrap();
    let password = from_base64url(&device.password()).unwrap();
    let Credential { token, proof } = Credential::from_password(&password).unwrap();
    let made = proof.unwrap();
    let secret = ResumptionSecret::from_bytes(&bytes);
    let (time, counter) = (made.time, made.counter);
    let proof = Some(ConnectProof::resume(&secret, "mqtt", &device.id, &token, time, counter));
    let password = base64url(&Credential { token, proof }.to_password());
    let mut publish = over_tls("mosquitto_pub", at, ca, device, &password);
    let topic = format!("d/{}/telemetry", device.id);
    let (sent, output) = run(publish.args(["-q", "1", "-t", &topic, "-m", "x"]));
    assert!(sent, "{output}");
    bytes
}

/// The answer to a request for a token with a symmetric key, through the broker.
fn key_through_the_broker(device: &Device) -> Vec<u8> {
    let seed = std::fs::read_to_string(device.folder.join("device.key")).unwrap();
    let key = SecretKey::from_seed(&hex::decode(seed.trim()).unwrap().try_into().unwrap());
    let (tenant, id) = ("default".parse().unwrap(), device.id.parse().unwrap());
    let now = SystemClock::new().unix();
    let opens = OpeningKey::from_random([9; 32]);
    let ask = TokenRequest::draft(&tenant, &id, now, &[3; 16], TokenKind::Symmetric);
    let ask = ask.answered_to(opens.public()).signed_by(&key);
    let answer = async {
        let mut options = rumqttc::MqttOptions::new(&device.id, "127.0.0.1", device.mqtt.port());
        options.set_credentials(&device.id, device.password());
        let (client, mut events) = rumqttc::AsyncClient::new(options, 10);
        events.set_network_options(crate::rumqttc::patient());
        client.subscribe("$tessera/token", rumqttc::QoS::AtLeastOnce).await.unwrap();
        loop {
            match events.poll().await.unwrap() {
                rumqttc::Event::Incoming(rumqttc::Packet::SubAck(_)) => {
                    let qos = rumqttc::QoS::AtLeastOnce;
                    client.publish("$tessera/token", qos, false, ask.to_cbor()).await.unwrap();
                }
                rumqttc::Event::Incoming(rumqttc::Packet::Publish(told)) => return told.payload,
                _ => {}
            }
        }
    };
    let answer = tokio::runtime::Runtime::new().unwrap().block_on(answer);
    let issued = TokenAnswer::from_cbor_for(&answer, &opens).unwrap().key.unwrap();
    issued.key.expose_bytes().to_vec()
}

/// The symmetric key of the device's next token, by which it connects.
fn symmetric_key(device: &Device) -> Vec<u8> {
    let refresh = |pop| {
        let mut command = Command::new(tessera());
        command.args(["device", "token", "--refresh", "--json", "--pop", pop, "--dir"]);
        let shown = ok(command.arg(&device.folder));
        std::fs::read_to_string(device.folder.join("token.json")).map(|kept| (shown, kept)).unwrap()
    };
    let (shown, kept) = refresh("hmac");
    let kept: serde_json::Value = serde_json::from_str(&kept).unwrap();
    let key = kept["key"].as_str().unwrap().to_owned();
    assert!(shown.contains("symmetric") && !shown.contains(&key), "{shown}");
    let password = from_base64url(&device.password()).unwrap();
    let proof = Credential::from_password(&password).unwrap().proof.unwrap();
    assert!(proof.has_mac());
    let topic = format!("d/{}/telemetry", device.id);
    let (sent, output) =
        run(device.mosquitto("mosquitto_pub").args(["-q", "1", "-t", &topic, "-m", "x"]));
    assert!(sent, "{output}");
    let (_, kept) = refresh("key");
    assert!(!kept.contains("\"key\""), "{kept}");
    from_base64url(&key).unwrap()
}

#[test]
fn no_secret_reaches_logs_metrics_or_answers() {
    let folder = TempDir::new().unwrap();
    let (cert, key) = certificate(folder.path());
    let derivation = folder.path().join("derivation.keys");
    let shared = "c5".repeat(32);
    write_secret_file(&derivation, format!("mqtt {shared}\n").as_bytes()).unwrap();
    let derivation = derivation.display().to_string();
    let more = ["--log", "trace", "--mqtts", "127.0.0.1:0", "--cert", &cert, "--key", &key];
    let more = [more.as_slice(), &["--derivation-keys", &derivation]].concat();
    let mut server = Server::start_with(folder, &more);
    let run_file = std::fs::read(server.data().join("run.json")).unwrap();
    let places: serde_json::Value = serde_json::from_slice(&run_file).unwrap();
    let mqtts: SocketAddr = places["mqtts"].as_str().unwrap().parse().unwrap();
    let sensor = server.enrol("c-1", "sensor");
    let password = sensor.password();
    let words = ["-q", "1", "-t", "d/c-1/telemetry", "-m", "x"];
    let (sent, output) = run(sensor.mosquitto("mosquitto_pub").args(words));
    assert!(sent, "{output}");
    let (refused, _) = run(sensor.mosquitto("mosquitto_pub").args(["-i", "c-2"]).args(words));
    assert!(!refused);
    let resumption = resumed(mqtts, &cert, &sensor);
    let symmetric = symmetric_key(&sensor);
    let relayed = key_through_the_broker(&sensor);
    let kept = server.data().join("broker").join("tickets").join("keys");
    let ticket =
        std::fs::read_to_string(kept).unwrap().trim().rsplit(' ').next().unwrap().to_owned();
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
        shared.clone(),
        base64url(&[0xc5; 32]),
        format!("{:?}", [0xc5; 32]).trim_matches(['[', ']']).to_owned(),
        base64url(&relayed),
        hex::encode(&relayed),
        format!("{relayed:?}").trim_matches(['[', ']']).to_owned(),
        base64url(&symmetric),
        hex::encode(&symmetric),
        format!("{symmetric:?}").trim_matches(['[', ']']).to_owned(),
        base64url(&resumption),
        hex::encode(resumption),
        format!("{resumption:?}").trim_matches(['[', ']']).to_owned(),
        base64url(&hex::decode(&ticket).unwrap()),
        format!("{:?}", hex::decode(&ticket).unwrap()).trim_matches(['[', ']']).to_owned(),
        ticket,
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

/// A topic name of a peer is shown with its control characters written out: it makes no line and no colour of a log.
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
            events.set_network_options(crate::rumqttc::patient());
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
