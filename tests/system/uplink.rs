//! `docs/agent.md`, trust over MQTT: a gateway reads the trust feed over its own connection to a real broker, which asks a
//! real provisioning. Some tests stand on the way and lie.

use std::future::Future;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tessera_agent::config::UplinkConfig;
use tessera_agent::{Agent, AgentConfig};
use tessera_runtime::clock::SystemClock;
use tessera_runtime::metrics::Metrics;
use tessera_runtime::random::SystemRandom;
use tessera_runtime::stop::Stop;
use tessera_runtime::tls::Trust;
use tessera_tests::http::Http;
use tessera_tests::process::{ok, tessera};
use tessera_tests::server::{Device, Server};
use tessera_tests::site::Watch;
use tessera_token::encoding::{from_base64url, hex};
use tessera_token::ids::Audience;
use tessera_token::key::Thumbprint;
use tessera_token::refusal::RefusalCode;

use middle::{Middle, Trick};

mod middle;

/// How long anything may take before the product is broken.
const PATIENCE: Duration = Duration::from_secs(60);

/// A gateway in this process.
struct Gateway {
    agent: Agent,
    metrics: Metrics,
    stop: Stop,
    _folder: TempDir,
}

impl Gateway {
    async fn start(server: &Server, device: &Device, broker: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let uplink = UplinkConfig::read(broker, Trust::default(), &device.folder).unwrap();
        let root = std::fs::read_to_string(server.data().join("root.thumbprint")).unwrap();
        let root = hex::decode(root.trim()).unwrap().try_into().unwrap();
        let root = Thumbprint::from_bytes(root);
        let data = folder.path().join("agent");
        let mut config = AgentConfig::new(data, Audience::parse("mqtt").unwrap(), root)
            .with_uplink(uplink.with_page(1024));
        config.gateway = true;
        config.verifier = tessera_agent::verifier::Verifier::Own;
        let (metrics, stop) = (Metrics::new(), Stop::new());
        let (clock, random) = (SystemClock::shared(), SystemRandom::shared());
        let agent = Agent::start(config, clock, random, &metrics, &stop).await.unwrap();
        Self { agent, metrics, stop, _folder: folder }
    }

    /// Waits until it decides.
    async fn ready(&self) {
        self.until("it is ready", || self.agent.validator().ready().is_ok()).await;
    }

    /// Waits for something that each look may find.
    async fn until(&self, what: &str, mut found: impl FnMut() -> bool) {
        let looking = async {
            while !found() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let seq = self.agent.trust().load().seq();
        if tokio::time::timeout(PATIENCE, looking).await.is_err() {
            panic!("{what}: never; at {seq}\n{}", self.metrics.render());
        }
    }

    /// The code with which a device is refused, by a password for this gateway.
    async fn admits(&self, device: &Device) -> Result<(), RefusalCode> {
        let password = device.password_at(self.agent.validator().verifier().as_str());
        let password = from_base64url(&password).unwrap();
        let admitted = self.agent.validator().admit(&password, &device.id).await;
        admitted.map(drop).map_err(|refusal| refusal.code)
    }

    /// The lines of its metrics that begin so.
    fn tells(&self, start: &str) -> Vec<String> {
        let page = self.metrics.render();
        page.lines().filter(|line| line.starts_with(start)).map(str::to_owned).collect()
    }

    async fn end(self) {
        assert_eq!(self.stop.finish(Duration::from_secs(20)).await, Vec::<String>::new());
        self.agent.close().unwrap();
    }
}

fn run(test: impl Future<Output = ()>) {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(2).enable_all().build().unwrap().block_on(test);
}

/// The role of a gateway.
fn role(server: &Server, name: &str, more: &[&str]) {
    let trust = ["--publish", "$tessera/trust", "--subscribe", "$tessera/trust"];
    let mut words = vec!["role", "set", name, "--class", "service"];
    words.extend(trust);
    words.extend(more);
    ok(&mut server.operator(&words));
}

fn gateway_of(server: &Server) -> Device {
    role(server, "gateway", &[]);
    server.enrol("gw-1", "gateway")
}

fn broker(server: &Server) -> String {
    format!("mqtt://{}", server.mqtt)
}

fn page(server: &Server) -> String {
    Http::new(server.metrics, None).get("/metrics").unwrap().text()
}

#[test]
fn trust_and_revocations_arrive_over_mqtt() {
    run(async {
        let server = Server::start();
        let gateway = gateway_of(&server);
        let (one, other) = (server.enrol("d-1", "sensor"), server.enrol("d-2", "sensor"));
        let agent = Gateway::start(&server, &gateway, &broker(&server)).await;
        agent.ready().await;
        assert_eq!(agent.agent.trust().load().tenants().unwrap().to_string(), "default");
        assert_eq!((agent.admits(&one).await, agent.admits(&other).await), (Ok(()), Ok(())));
        // A revocation arrives by the long poll, not by the next one.
        let before = agent.agent.trust().load().seq();
        let watch = Watch::start();
        server.revoke("d-1");
        agent.until("the revocation", || agent.agent.trust().load().seq() > before).await;
        assert!(watch.passed() < Duration::from_secs(8), "{:?}", watch.passed());
        assert_eq!(agent.admits(&one).await, Err(RefusalCode::DeviceEpoch));
        assert_eq!(agent.admits(&other).await, Ok(()));
        // The broker goes on beside it, and is itself no namesake of it.
        assert_eq!(agent.tells("tessera_verifier_name_shared"), ["tessera_verifier_name_shared 0"]);
        agent.end().await;
        server.stop();
    });
}

#[test]
fn devices_without_the_right_read_nothing() {
    run(async {
        let server = Server::start();
        let plain = server.enrol("d-1", "sensor");
        let agent = Gateway::start(&server, &plain, &broker(&server)).await;
        let refused = r#"tessera_trust_sync_errors_total{reason="not_allowed"}"#;
        agent.until("it is refused", || !agent.tells(refused).is_empty()).await;
        assert_eq!(agent.agent.validator().ready(), Err(RefusalCode::TrustMissing));
        let told =
            r#"tessera_broker_refusals_total{code="subscribe_not_authorised",what="subscribe"}"#;
        assert!(page(&server).contains(told), "{}", page(&server));
        // A role that may do one of the two has no use of it.
        let words = ["role", "set", "half", "--class", "service", "--subscribe", "$tessera/trust"];
        ok(&mut server.operator(&words));
        let half = server.enrol("gw-2", "half");
        let deaf = Gateway::start(&server, &half, &broker(&server)).await;
        let lost =
            |reason: &str| format!(r#"tessera_trust_sync_errors_total{{reason="{reason}"}}"#);
        deaf.until("it ends", || !deaf.tells(&lost("transport")).is_empty()).await;
        assert!(deaf.agent.trust().load().is_empty());
        agent.end().await;
        deaf.end().await;
    });
}

#[test]
fn the_tenant_of_the_gateway_is_all_that_it_reads() {
    run(async {
        let server = Server::start();
        let gateway = gateway_of(&server);
        ok(&mut server.operator(&["tenant", "create", "acme"]));
        let of_acme = |words: &[&str]| {
            let mut command = server.operator(words);
            command.args(["--tenant", "acme"]);
            ok(&mut command)
        };
        of_acme(&["role", "set", "sensor", "--publish", "d/{device}/telemetry"]);
        let claim = of_acme(&["claim", "create", "--role", "sensor", "--device", "a-1", "--json"]);
        let claim: Value = serde_json::from_str(&claim).unwrap();
        ok(Command::new(tessera())
            .args(["device", "enrol", "--tenant", "acme", "--device", "a-1"])
            .args(["--claim", claim["claims"][0]["code"].as_str().unwrap()])
            .args(["--http", &format!("http://{}", server.http), "--dir"])
            .arg(server.folder.path().join("a-1")));
        of_acme(&["revoke", "device", "a-1"]);
        let agent = Gateway::start(&server, &gateway, &broker(&server)).await;
        agent.ready().await;
        let revoked = || agent.agent.trust().load().device_count();
        assert_eq!(revoked(), 0, "a device of another tenant");
        server.enrol("d-1", "sensor");
        server.revoke("d-1");
        agent.until("its own", || revoked() == 1).await;
        // A whole snapshot, as a first start takes it, has no more.
        let second = Gateway::start(&server, &gateway, &broker(&server)).await;
        second.ready().await;
        assert_eq!(second.agent.trust().load().device_count(), 1);
        agent.end().await;
        second.end().await;
    });
}

#[test]
fn a_gateway_renews_its_token_and_goes_on_after_a_restart_of_the_broker() {
    run(async {
        let server = Server::start();
        role(&server, "gateway", &["--token-seconds", "30"]);
        let gateway = server.enrol("gw-1", "gateway");
        let first = gateway.token()["serial"].clone();
        let middle = Middle::before(server.mqtt).await;
        let at = format!("mqtt://{}", middle.address());
        let agent = Gateway::start(&server, &gateway, &at).await;
        agent.ready().await;
        agent.until("a token of its own", || gateway.token()["serial"] != first).await;
        let seq = agent.agent.trust().load().seq();
        let server = Server::start_with(server.stop(), &[]);
        middle.leads_to(server.mqtt);
        let late = server.enrol("d-9", "sensor");
        server.revoke("d-9");
        agent.until("it goes on", || agent.agent.trust().load().seq() > seq).await;
        agent.until("it follows", || agent.agent.trust().lapse().is_none()).await;
        assert_eq!(agent.admits(&late).await, Err(RefusalCode::DeviceEpoch));
        agent.end().await;
    });
}

#[test]
fn a_large_snapshot_comes_in_pages() {
    run(async {
        let server = Server::start();
        let gateway = gateway_of(&server);
        for number in 0..40 {
            let device =
                format!("a-device-with-a-name-that-is-nearly-as-long-as-it-can-be-{number}");
            server.enrol(&device, "sensor");
            server.revoke(&device);
        }
        let agent = Gateway::start(&server, &gateway, &broker(&server)).await;
        agent.ready().await;
        assert_eq!(agent.agent.trust().load().device_count(), 40);
        let pages = page(&server);
        let line = r#"tessera_broker_uplink_total{outcome="page"} "#;
        let count = pages.lines().find_map(|one| one.strip_prefix(line)).unwrap();
        assert!(count.parse::<u64>().unwrap() > 3, "{count}");
        agent.end().await;
    });
}

#[test]
fn a_broker_that_lies_changes_nothing_and_is_told() {
    run(async {
        let server = Server::start();
        let gateway = gateway_of(&server);
        let device = server.enrol("d-1", "sensor");
        for (trick, reasons) in [
            (Trick::Change, &["signature", "malformed", "root"][..]),
            (Trick::Replay, &["nonce", "malformed"]),
            (Trick::Mix, &["signature", "malformed", "nonce"]),
            (Trick::Gap, &["broken"]),
        ] {
            let other = format!("to-{trick:?}").to_ascii_lowercase();
            server.enrol(&other, "sensor");
            let middle = Middle::before(server.mqtt).await;
            let at = format!("mqtt://{}", middle.address());
            let agent = Gateway::start(&server, &gateway, &at).await;
            agent.ready().await;
            // A second poll, so that there is one to play again.
            agent.until("a poll", || middle.seen() > 2).await;
            middle.play(trick);
            let before = agent.agent.trust().load().as_ref().clone();
            server.revoke(&other);
            let start = "tessera_trust_not_followed_total";
            let is_told = |line: &String| reasons.iter().any(|reason| line.contains(reason));
            agent.until("it is told", || agent.tells(start).iter().any(is_told)).await;
            let after = agent.agent.trust().load().as_ref().clone();
            assert_eq!((before.seq(), before.head()), (after.seq(), after.head()), "{trick:?}");
            assert_eq!(after.device_count(), before.device_count(), "{trick:?}");
            assert_eq!(agent.admits(&device).await, Ok(()), "within the short budget");
            // An honest way mends it.
            middle.play(Trick::None);
            agent.until("it follows", || agent.agent.trust().lapse().is_none()).await;
            assert_eq!(agent.agent.trust().load().device_count(), before.device_count() + 1);
            agent.end().await;
        }
    });
}
