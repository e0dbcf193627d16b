//! The daemon over HTTP and its Unix socket, with trust data in its store and no network.

use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{json, Value};
use tessera_runtime::clock::ManualClock;
use tessera_runtime::http::{HttpClient, HttpError, HttpLimits, JSON};
use tessera_runtime::random::SystemRandom;
use tessera_runtime::store::Store;
use tessera_token::encoding::base64url;

use super::*;
use crate::behaviour::Subject;
use crate::testing::*;
use crate::trust::{TrustState, TrustStore};

mod decisions;
mod document;
mod reports;

struct Rig {
    clock: Arc<ManualClock>,
    folder: tempfile::TempDir,
    world: World,
    daemon: AgentDaemon,
    stop: Stop,
    client: HttpClient,
}

/// A daemon without a network, over what a store holds.
async fn rig(known: bool) -> Rig {
    rig_with(known, limits::DAEMON_REQUEST_TIME).await
}

async fn rig_with(known: bool, request_time: Duration) -> Rig {
    let folder = tempfile::tempdir().unwrap();
    let world = World::new();
    if known {
        put_trust(folder.path(), &world);
    }
    let mut config =
        DaemonConfig::new(AgentConfig::new(folder.path().join("agent"), audience(), world.pin()));
    config.http.set_port(0);
    config.request_time = request_time;
    config.socket = Some(folder.path().join("agent.sock"));
    let stop = Stop::new();
    let clock = ManualClock::at(at(NOW));
    let daemon =
        AgentDaemon::start(config, clock.clone(), SystemRandom::shared(), &Metrics::new(), &stop)
            .await
            .unwrap();
    let client =
        HttpClient::new(format!("http://{}", daemon.http()), None, HttpLimits::default()).unwrap();
    Rig { clock, folder, world, daemon, stop, client }
}

fn put_trust(folder: &Path, world: &World) {
    let store = Store::open(&folder.join("agent")).unwrap();
    let trust = TrustStore::new(&store, world.pin()).unwrap();
    trust.save_snapshot(&world.snapshot(), &TrustState::empty(audience())).unwrap();
    // It was confirmed once: without that nothing is decided.
    trust.save_events(1, [].iter(), Some((&world.heartbeat(NOW), at(NOW)))).unwrap();
    store.close().unwrap();
}

impl Rig {
    fn question(&self, counter: u32) -> Value {
        let password = self.world.password(&self.world.token(), NOW, counter);
        json!({"client_id": DEVICE, "password": base64url(&password)})
    }

    async fn ask(&self, question: &Value) -> Value {
        self.client.post_json("/v1/validate", question).await.unwrap().json().unwrap()
    }

    async fn call(&self, path: &str, question: &Value) -> Value {
        self.client.post_json(path, question).await.unwrap().json().unwrap()
    }

    async fn status(&self, path: &str) -> u16 {
        match self.client.get(path).await {
            Ok(answer) => answer.status,
            Err(error) => error.status().unwrap(),
        }
    }

    async fn end(self) {
        let left = self.stop.finish(Duration::from_secs(10)).await;
        assert!(left.is_empty(), "{left:?}");
        self.daemon.agent().close().unwrap();
    }
}

#[tokio::test]
async fn it_admits_and_says_what_is_allowed() {
    let rig = rig(true).await;
    let answer = rig.ask(&rig.question(1)).await;
    assert_eq!(answer["allow"], true);
    assert_eq!(answer["tenant"], "acme");
    assert_eq!(answer["device"], DEVICE);
    assert_eq!(answer["expires"], NOW + 3600);
    assert_eq!(answer["trust_age_seconds"], 0);
    assert_eq!(answer["scope"][0]["filter"], "d/d-1/telemetry");
    assert_eq!(answer["scope"][0]["rights"], json!(["pub"]));
    assert!(answer.get("code").is_none());
    rig.end().await;
}

#[tokio::test]
async fn it_refuses_with_the_code_and_tells_the_tracker() {
    let rig = rig(true).await;
    let mut alerts = rig.daemon.agent().observer().alerts();
    assert_eq!(rig.ask(&rig.question(1)).await["allow"], true);
    let replayed = rig.ask(&rig.question(1)).await;
    assert_eq!(
        (replayed["allow"].as_bool(), replayed["code"].as_str()),
        (Some(false), Some("proof_replayed"))
    );
    assert_eq!(replayed["device"], DEVICE);
    let copied = json!({"client_id": DEVICE, "password": base64url(&rig.world.token())});
    for _ in 0..5 {
        assert_eq!(rig.ask(&copied).await["code"], "proof_missing");
    }
    let rubbish = json!({"client_id": DEVICE, "password": "===="});
    assert_eq!(rig.ask(&rubbish).await["code"], "credential_malformed");
    let alert =
        tokio::time::timeout(Duration::from_secs(10), alerts.recv()).await.unwrap().unwrap();
    assert_eq!(alert.subject, Subject::Device(DEVICE.to_owned()));
    assert_eq!(rig.status("/metrics").await, 200);
    let shown = rig.client.get("/metrics").await.unwrap().text();
    assert!(
        shown.contains("tessera_agent_validations_total{outcome=\"proof_missing\"} 5"),
        "{shown}"
    );
    rig.end().await;
}

#[tokio::test]
async fn without_trust_it_lives_but_is_not_ready() {
    let rig = rig(false).await;
    assert_eq!(rig.status("/healthz").await, 200);
    let error = rig.client.get("/readyz").await.unwrap_err();
    assert_eq!((error.status(), error.code()), (Some(503), Some("trust_missing")));
    let HttpError::Status { response, .. } = error else { panic!("{error}") };
    let body: Value = response.json().unwrap();
    assert_eq!(body["reasons"][0]["part"], "trust", "{body}");
    let answer = rig.ask(&rig.question(1)).await;
    assert_eq!(answer["code"], "trust_missing");
    assert_eq!(answer["trust_age_seconds"], Value::Null);
    rig.end().await;
}

#[tokio::test]
async fn bad_requests_get_a_code_and_change_nothing() {
    let rig = rig(true).await;
    assert_eq!(rig.status("/readyz").await, 200);
    let long = "x".repeat(20_000);
    let table: [(Vec<u8>, u16, &str); 4] = [
        (b"{".to_vec(), 400, "request_malformed"),
        (b"{\"client_id\":\"d-1\"}".to_vec(), 400, "request_malformed"),
        (
            b"{\"client_id\":\"d-1\",\"password\":\"\",\"more\":1}".to_vec(),
            400,
            "request_malformed",
        ),
        (
            json!({"client_id": "d-1", "password": long}).to_string().into_bytes(),
            413,
            "limit_reached",
        ),
    ];
    for (body, status, code) in table {
        let error = rig.client.post("/v1/validate", JSON, body).await.unwrap_err();
        assert_eq!((error.status(), error.code()), (Some(status), Some(code)));
    }
    let error = rig.client.get("/elsewhere").await.unwrap_err();
    assert_eq!((error.status(), error.code()), (Some(404), Some("not_found")));
    rig.end().await;
}

#[tokio::test]
async fn the_unix_socket_answers_the_same() {
    let rig = rig(true).await;
    let path = rig.folder.path().join("agent.sock");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
    let body = rig.question(1).to_string();
    let answer = tokio::task::spawn_blocking(move || {
        let mut socket = std::os::unix::net::UnixStream::connect(path).unwrap();
        let head = format!(
            "POST /v1/validate HTTP/1.1\r\nHost: agent\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        socket.write_all(head.as_bytes()).unwrap();
        socket.write_all(body.as_bytes()).unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        answer
    });
    let answer = answer.await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains("\"allow\":true"), "{answer}");
    rig.end().await;
}

#[tokio::test]
async fn a_left_over_socket_is_replaced_and_a_live_one_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("agent.sock");
    drop(UnixListener::bind(&path).unwrap());
    let live = open_socket(&path).unwrap();
    assert!(matches!(open_socket(&path), Err(DaemonError::Listen(..))));
    drop(live);
    let file = folder.path().join("file");
    std::fs::write(&file, "mine").unwrap();
    assert!(matches!(open_socket(&file), Err(DaemonError::Listen(..))));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "mine");
}

#[tokio::test]
async fn only_loopback_unless_told() {
    let folder = tempfile::tempdir().unwrap();
    let agent = AgentConfig::new(folder.path(), audience(), World::new().pin());
    let mut config = DaemonConfig::new(agent);
    config.http = "0.0.0.0:0".parse().unwrap();
    let (clock, metrics, stop) = (ManualClock::at(at(NOW)), Metrics::new(), Stop::new());
    let refused = AgentDaemon::start(config, clock, SystemRandom::shared(), &metrics, &stop).await;
    assert!(matches!(refused.err(), Some(DaemonError::NotLoopback(_))));
}

#[tokio::test]
async fn silent_and_slow_clients_are_cut_off() {
    // The server looks at a clock of half a second: less is not meant.
    let rig = rig_with(true, Duration::from_secs(5)).await;
    let address = rig.daemon.http();
    let cut_off = |start: &'static str| {
        tokio::task::spawn_blocking(move || {
            let mut socket = std::net::TcpStream::connect(address).unwrap();
            socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
            socket.write_all(start.as_bytes()).unwrap();
            let mut answer = Vec::new();
            let ended = socket.read_to_end(&mut answer);
            (ended.is_ok(), String::from_utf8_lossy(&answer).into_owned())
        })
    };
    let waiting = [
        cut_off(""),
        cut_off("POST /v1/validate HTTP/1.1\r\nHost: a"),
        cut_off("POST /v1/validate HTTP/1.1\r\nHost: agent\r\nContent-Type: application/json\r\nContent-Length: 50\r\n\r\n{"),
    ];
    assert_eq!(rig.ask(&rig.question(1)).await["allow"], true);
    for one in waiting {
        let (ended, answer) = one.await.unwrap();
        assert!(ended, "still open");
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408"), "{answer}");
    }
    rig.end().await;
}
