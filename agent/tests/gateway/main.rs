//! The binary `tessera-agent` on a gateway without a network, over a store of many devices: ready soon, small, and at work.
//!
//! `TESSERA_GATEWAY_DEVICES` is the number of devices (200 unless set), `TESSERA_GATEWAY_BINARY` another binary, and the
//! figures are printed: `docs/performance.md` says how.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a binary of tests, whose helpers are functions beside them"
)]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{json, Value};
use tessera_agent::behaviour::{Network, NewConnection, Observation};
use tessera_agent::trust::{TrustState, TrustStore};
use tessera_agent::verifier::Verifier;
use tessera_agent::{Agent, AgentConfig};
use tessera_runtime::clock::{SharedClock, SystemClock};
use tessera_runtime::http::{HttpClient, HttpLimits};
use tessera_runtime::metrics::Metrics;
use tessera_runtime::random::SystemRandom;
use tessera_runtime::secret::{own_folder_of, write_secret_file};
use tessera_runtime::stop::Stop;
use tessera_runtime::store::Store;
use tessera_token::chain::{IssuerKey, KeyState, StalenessBudget, TenantTrust};
use tessera_token::claims::{Claims, Epochs, Serial};
use tessera_token::encoding::{base64url, hex};
use tessera_token::ids::{Audience, DeviceId, TenantId, VerifierName};
use tessera_token::key::{Algorithm, SecretKey};
use tessera_token::proof::{ConnectProof, Credential};
use tessera_token::scope::{Permission, Scope, ScopeEntry};
use tessera_token::time::UnixSeconds;
use tessera_token::topic::TopicFilter;
use tessera_token::trust::{Change, DeviceEpoch, EventHash, FeedNonce, Heartbeat, Snapshot};

mod mosquitto;

const VERIFIER: &str = "gw-1";

/// The issuer, and the gateway's folder.
struct Site {
    folder: tempfile::TempDir,
    clock: SharedClock,
    root: SecretKey,
    issuer: SecretKey,
    devices: usize,
}

fn tenant() -> TenantId {
    TenantId::parse("acme").unwrap()
}

fn audience() -> Audience {
    Audience::parse("mqtt").unwrap()
}

impl Site {
    fn new(devices: usize) -> Self {
        let site = Self {
            folder: tempfile::tempdir().unwrap(),
            clock: SystemClock::shared(),
            root: SecretKey::from_seed(&[1; 32]),
            issuer: SecretKey::from_seed(&[2; 32]),
            devices,
        };
        own_folder_of(&site.data(), &["agent"]).unwrap();
        write_secret_file(&site.path("feed.token"), b"a token for no service\n").unwrap();
        site.put_trust();
        site
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn data(&self) -> PathBuf {
        self.path("data")
    }

    fn now(&self) -> UnixSeconds {
        self.clock.unix()
    }

    fn name(number: usize) -> String {
        format!("d-{number}")
    }

    fn key(number: usize) -> SecretKey {
        let mut seed = [3; 32];
        seed[..8].copy_from_slice(&number.to_be_bytes());
        SecretKey::from_seed(&seed)
    }

    /// Trust data as a gateway has them that was online until now: the epoch of each device is among them.
    fn put_trust(&self) {
        let (now, tenant) = (self.now(), tenant());
        let staleness = StalenessBudget::default();
        let trust = TenantTrust {
            tenant: tenant.clone(),
            epoch: 1,
            suspended: false,
            bearer: false,
            staleness,
        };
        let key = IssuerKey {
            tenant: tenant.clone(),
            key: self.issuer.public(),
            not_before: UnixSeconds::new(now.get() - 1000),
            not_after: now.plus(100 * 86_400),
            state: KeyState::Active,
        };
        let mut state = vec![Change::Tenant(trust), Change::Key(key)];
        state.extend((0..self.devices).map(|number| {
            let device = DeviceId::parse(&Self::name(number)).unwrap();
            Change::Device(DeviceEpoch { tenant: tenant.clone(), device, epoch: 1, at: now })
        }));
        let (seq, head) = (0, EventHash::default());
        let valid_until = now.plus(30 * 86_400);
        let snapshot = Snapshot { seq, head, time: now, valid_until, state };
        let snapshot = snapshot.sign(&self.root).unwrap();
        let store = Store::open(&self.data().join("agent")).unwrap();
        let pin = self.root.public().thumbprint();
        let trust = TrustStore::new(&store, pin).unwrap();
        let known = TrustState::empty(audience()).with_snapshot(&snapshot, &pin, now).unwrap();
        trust.save_snapshot(&snapshot, &known).unwrap();
        let nonce = FeedNonce::from_bytes([7; 16]);
        let beat = Heartbeat { seq, head, time: now }.answer(&nonce, &self.root).unwrap();
        trust.save_events(1, [].iter(), Some((&beat, now))).unwrap();
        store.close().unwrap();
    }

    fn password(&self, number: usize, counter: u32) -> Vec<u8> {
        let (name, now) = (Self::name(number), self.now());
        let entry = |filter: String, permission| ScopeEntry {
            filter: TopicFilter::parse(&filter).unwrap(),
            permission,
        };
        let scope = vec![
            entry(format!("d/{name}/telemetry"), Permission::Publish),
            entry(format!("d/{name}/cmd"), Permission::Subscribe),
        ];
        let key = Self::key(number);
        let claims = Claims {
            tenant: tenant(),
            device: DeviceId::parse(&name).unwrap(),
            audience: audience(),
            expires: now.plus(3600),
            not_before: None,
            issued: now,
            serial: Serial::from_counter(number as u64 + 1),
            confirmation: Some(key.public()),
            scope: Scope::new(scope).unwrap(),
            epochs: Epochs { tenant: 1, group_number: 5, group: 0, device: 1 },
        };
        let token = tessera_token::issue::issue(&claims, Algorithm::Ed25519, &self.issuer).unwrap();
        let proof = ConnectProof::make(&key, VERIFIER, &name, &token, now, counter);
        Credential { token, proof: Some(proof) }.to_password()
    }

    /// Devices that were seen before: each has a profile in the store.
    async fn put_profiles(&self) {
        let pin = self.root.public().thumbprint();
        let mut config = AgentConfig::new(self.data().join("agent"), audience(), pin);
        (config.gateway, config.verifier) =
            (true, Verifier::Named(VerifierName::parse(VERIFIER).unwrap()));
        let (stop, metrics) = (Stop::new(), Metrics::new());
        let random = SystemRandom::shared();
        let agent =
            Agent::start(config, self.clock.clone(), random, &metrics, &stop).await.unwrap();
        let observer = agent.observer();
        for number in 0..self.devices {
            let name = Self::name(number);
            let password = self.password(number, 1);
            let grant = agent.validator().admit(&password, &name).await.unwrap().grant;
            let device = observer.device(&grant);
            observer.connected(&device, &NewConnection::of(&grant, Network::Local));
            let topic = &format!("d/{name}/telemetry");
            observer.observe(&device, Observation::Published { topic, bytes: 60 });
        }
        assert_eq!(observer.dropped(), 0);
        let left = stop.finish(Duration::from_secs(60)).await;
        assert!(left.is_empty(), "{left:?}");
        agent.close().unwrap();
    }
}

/// A process that ends with the test, also with one that fails.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The running binary.
struct Gateway {
    child: Running,
    client: HttpClient,
    /// From its start until it said that it is ready.
    ready: Duration,
}

impl Gateway {
    async fn start(site: &Site) -> Self {
        let binary = std::env::var("TESSERA_GATEWAY_BINARY");
        let binary = binary.unwrap_or_else(|_| env!("CARGO_BIN_EXE_tessera-agent").to_owned());
        let begin = site.clock.monotonic();
        let child = Command::new(binary)
            .args(["--http", "127.0.0.1:0", "--verifier", VERIFIER, "--log", "error"])
            .args(["--provisioning", "http://127.0.0.1:9"])
            .args(["--root", &hex::encode(site.root.public().thumbprint().as_bytes())])
            .arg("--feed-token")
            .arg(site.path("feed.token"))
            .arg("--data")
            .arg(site.data())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut child = Running(child);
        let mut lines = BufReader::new(child.0.stdout.take().unwrap()).lines();
        let place = lines.next().unwrap().unwrap();
        let url = place.strip_prefix("agent ").unwrap().to_owned();
        let client = HttpClient::new(url, None, HttpLimits::default()).unwrap();
        let answer = client.get("/readyz").await.unwrap();
        assert_eq!(answer.status, 200);
        let ready = site.clock.monotonic() - begin;
        Self { child, client, ready }
    }

    /// KiB that are resident, and those of them that no file backs.
    fn resident(&self) -> [u64; 2] {
        let path = format!("/proc/{}/status", self.child.0.id());
        let status = std::fs::read_to_string(Path::new(&path)).unwrap();
        ["VmRSS:", "RssAnon:"].map(|name| {
            let line = status.lines().find(|line| line.starts_with(name)).unwrap();
            line.split_whitespace().nth(1).unwrap().parse().unwrap()
        })
    }

    async fn call(&self, path: &str, body: &Value) -> Vec<Value> {
        let answer: Value = self.client.post_json(path, body).await.unwrap().json().unwrap();
        answer["answers"].as_array().unwrap().clone()
    }

    async fn shown(&self, name: &str) -> u64 {
        let text = self.client.get("/metrics").await.unwrap().text();
        let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or(" 0");
        line.trim().parse().unwrap()
    }

    fn end(mut self) {
        let kill = Command::new("kill").args(["-TERM", &self.child.0.id().to_string()]).status();
        assert!(kill.unwrap().success());
        assert!(self.child.0.wait().unwrap().success());
    }
}

#[tokio::test]
async fn the_binary_is_ready_with_all_its_devices_and_serves_them() {
    let devices = std::env::var("TESSERA_GATEWAY_DEVICES").map(|text| text.parse().unwrap());
    let site = Site::new(devices.unwrap_or(200));
    site.put_profiles().await;
    let gateway = Gateway::start(&site).await;
    // The tracker shows its devices with its first step.
    let tracked = async {
        while gateway.shown("tessera_behaviour_devices").await != site.devices as u64 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        site.devices
    };
    let tracked = tokio::time::timeout(Duration::from_secs(20), tracked).await.unwrap();
    println!(
        "devices {tracked}, ready after {:?}, resident {:?} KiB",
        gateway.ready,
        gateway.resident()
    );

    let mut sessions = Vec::new();
    for from in (0..site.devices).step_by(64) {
        let numbers = from..(from + 64).min(site.devices);
        let questions: Vec<Value> = numbers
            .map(|number| {
                let password = base64url(&site.password(number, 2));
                let client = Site::name(number);
                json!({"ask": "connect", "client_id": client, "password": password, "reports": true})
            })
            .collect();
        for answer in gateway.call("/v1/batch", &json!({ "questions": questions })).await {
            assert_eq!(answer["allow"], true, "{answer}");
            sessions.push(answer["session"].as_str().unwrap().to_owned());
        }
    }
    for (first, some) in sessions.chunks(128).enumerate() {
        let reports = some.iter().enumerate().flat_map(|(place, session)| {
            let name = Site::name(first * 128 + place);
            let topic = format!("d/{name}/telemetry");
            let published = json!({"kind": "published", "topic": topic, "count": 3, "bytes": 180});
            [json!({"kind": "connected", "keep_alive": 60}), published]
                .map(|seen| json!({"session": session, "seen": seen}))
        });
        let reports: Vec<Value> = reports.collect();
        for noted in gateway.call("/v1/report", &json!({ "reports": reports })).await {
            assert_eq!(noted, json!({"taken": true, "holds": true}));
        }
    }
    assert_eq!(gateway.shown("tessera_agent_sessions").await, site.devices as u64);
    assert_eq!(gateway.shown("tessera_behaviour_dropped_total").await, 0);
    println!("sessions {}, resident {:?} KiB", sessions.len(), gateway.resident());
    gateway.end();

    // A second start is over the same folder.
    let again = Gateway::start(&site).await;
    println!("again: ready after {:?}, resident {:?} KiB", again.ready, again.resident());
    again.end();
}

#[test]
fn flags_that_are_wrong_end_with_status_2() {
    let outcome = Command::new(env!("CARGO_BIN_EXE_tessera-agent")).arg("--fly").output().unwrap();
    assert_eq!(outcome.status.code(), Some(2));
    assert!(outcome.stdout.is_empty());
    let help = Command::new(env!("CARGO_BIN_EXE_tessera-agent")).arg("--help").output().unwrap();
    assert!(help.status.success() && help.stdout.starts_with(b"The agent"));
}
