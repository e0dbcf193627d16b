//! HTTPS of provisioning and TLS of every client of ours, as docs/doors.md says.

use std::path::Path;
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;
use tessera_tests::process::{ok, run, tessera, Process, PATIENCE};
use tessera_tests::site::Watch;

use crate::tls::{certificate, largest_record, OF_THE_RECORD};

struct Site {
    folder: TempDir,
    process: Process,
    cert: String,
    places: Value,
}

fn start() -> Site {
    let folder = TempDir::new().unwrap();
    let (cert, key) = certificate(folder.path());
    let mut process = Process::start(
        Command::new(tessera())
            .args(["up", "--mqtt", "127.0.0.1:0", "--mqtts", "0.0.0.0:0", "--ws", "127.0.0.1:0"])
            .args(["--wss", "127.0.0.1:0", "--cert", &cert, "--key", &key])
            .args(["--http", "0.0.0.0:0", "--https-cert", &cert, "--https-key", &key])
            .args(["--metrics", "127.0.0.1:0", "--data"])
            .arg(folder.path().join("data")),
    );
    process.line("ready", |line| line == "ready");
    let run = std::fs::read(folder.path().join("data/run.json")).unwrap();
    let places = serde_json::from_slice(&run).unwrap();
    Site { folder, process, cert, places }
}

impl Site {
    fn port(&self, name: &str) -> &str {
        self.places[name].as_str().unwrap().rsplit_once(':').unwrap().1
    }

    fn https(&self) -> String {
        format!("https://localhost:{}", self.port("http"))
    }

    fn tessera(&self, words: &[&str]) -> Command {
        let mut command = Command::new(tessera());
        command.args(words).env_remove("TESSERA_CAFILE");
        let token = self.folder.path().join("data/operator.token");
        command.env("TESSERA_OPERATOR_TOKEN", format!("@{}", token.display()));
        command
    }

    fn enrol(&self, device: &str) -> String {
        let (https, cert) = (self.https(), self.cert.as_str());
        let here = ["--http", &https, "--cafile", cert];
        let claim = ok(self.tessera(&["claim", "create", "--role", "sensor", "--json"]).args(here));
        let claim: Value = serde_json::from_str(&claim).unwrap();
        let dir = self.folder.path().join(device).display().to_string();
        ok(self
            .tessera(&["device", "enrol", "--device", device, "--dir", &dir])
            .args(["--claim", claim["claims"][0]["code"].as_str().unwrap()])
            .args(here));
        dir
    }

    fn stop(mut self) {
        self.process.terminate();
        assert!(self.process.wait().success(), "{}", self.process.output());
    }
}

#[test]
fn every_client_speaks_tls_and_refuses_what_it_must() {
    let site = start();
    let dir = site.enrol("m-1");
    // The folder remembers the authority.
    ok(&mut site.tessera(&["device", "token", "--refresh", "--dir", &dir]));
    for scheme in ["mqtts", "wss"] {
        let broker = format!("{scheme}://localhost:{}", site.port(scheme));
        for more in [&[][..], &["--v5"]] {
            let words = ["device", "connect", "--test", "--dir", &dir, "--mqtt", &broker];
            let told = ok(site.tessera(&words).args(more));
            assert!(told.contains("the broker acknowledged it"), "{told}");
        }
        let told = ok(&mut site.tessera(&["device", "doctor", "--dir", &dir, "--mqtt", &broker]));
        assert!(told.contains("the device is well"), "{told}");
    }
    let ws = format!("ws://127.0.0.1:{}", site.port("ws"));
    ok(&mut site.tessera(&["device", "connect", "--test", "--dir", &dir, "--mqtt", &ws]));
    // An authority of another, a name that is not there, and none at all.
    let other = TempDir::new().unwrap();
    let (stranger, _) = certificate(other.path());
    let wrong_name = format!("https://127.0.0.2:{}", site.port("http"));
    let in_clear = format!("http://localhost:{}", site.port("http"));
    let far = "http://tessera.example:8080".to_owned();
    for (http, cafile, words) in [
        (site.https(), Some(&stranger), "--cafile FILE"),
        (site.https(), None, "--cafile FILE"),
        (wrong_name, Some(&site.cert), "Use a name that stands in the certificate"),
        (in_clear, Some(&site.cert), "connection"),
        (far, Some(&site.cert), "--http-in-clear"),
    ] {
        let mut command = site.tessera(&["devices", "--http", &http]);
        command.args(cafile.iter().flat_map(|file| ["--cafile", file.as_str()]));
        let (good, told) = run(&mut command);
        assert!(!good && told.contains(words), "{http}: {told}");
    }
    let broker = format!("mqtts://127.0.0.2:{}", site.port("mqtts"));
    let (good, told) =
        run(&mut site.tessera(&["device", "connect", "--test", "--dir", &dir, "--mqtt", &broker]));
    assert!(!good && told.contains("not for this host"), "{told}");
    site.stop();
}

#[test]
fn a_fleet_runs_over_tls() {
    let site = start();
    let (https, broker) = (site.https(), format!("mqtts://localhost:{}", site.port("mqtts")));
    let told = ok(site
        .tessera(&["sim", "run", "--devices", "5", "--for", "5s", "--every", "300ms"])
        .args(["--http", &https, "--cafile", &site.cert, "--mqtt", &broker]));
    assert!(told.contains("expectations"), "{told}");
    site.stop();
}

#[test]
fn broker_and_agent_follow_the_feed_over_tls() {
    let site = start();
    let data = site.folder.path().join("data");
    let reader = |verb: &str, more: &[&str]| {
        let mut command = site.tessera(&[verb, "--provisioning", &site.https()]);
        command.arg("--data").arg(site.folder.path().join(verb));
        command.arg("--feed-token").arg(data.join("feed.token"));
        command.arg("--root").arg(data.join("root.thumbprint")).args(more);
        Process::start(&mut command)
    };
    let ca = ["--cafile", &site.cert];
    let listen = ["--mqtt", "127.0.0.1:0", "--metrics", "127.0.0.1:0"];
    let mut broker = reader("broker", &[&ca[..], &listen].concat());
    broker.line("ready", |line| line == "ready");
    let mut agent = reader("agent", &[&ca[..], &["--http", "127.0.0.1:0"]].concat());
    agent.line("ready", |line| line == "ready");
    drop((broker, agent));
    // One that does not know the authority hears nothing, and says why.
    let mut deaf = reader("agent", &["--http", "127.0.0.1:0"]);
    deaf.line("the reason", |line| line.contains("--cafile FILE"));
    site.stop();
}

#[test]
fn a_renewed_certificate_is_used_after_sighup() {
    let site = start();
    let folder = Path::new(&site.cert).parent().unwrap().to_owned();
    certificate(&folder);
    site.process.signal("HUP");
    // The client trusts the new certificate alone.
    let https = site.https();
    let ask = || run(&mut site.tessera(&["devices", "--http", &https, "--cafile", &site.cert])).0;
    let used = Watch::until(PATIENCE, ask);
    assert!(used.is_some(), "the new certificate is not used in {PATIENCE:?}");
    site.stop();
}

#[test]
fn http_in_clear_beyond_this_machine_is_said_aloud() {
    let folder = TempDir::new().unwrap();
    let up = |more: &[&str]| {
        let mut command = Command::new(tessera());
        command.args(["provision", "--http", "0.0.0.0:0", "--data"]);
        command.arg(folder.path().join("data")).args(more);
        command
    };
    let (good, told) = run(&mut up(&[]));
    assert!(!good && told.contains("--https-cert") && told.contains("--http-in-clear"), "{told}");
    let mut process = Process::start(&mut up(&["--http-in-clear"]));
    process.lines_with(&["in clear", "ready"]);
    process.terminate();
    assert!(process.wait().success());
}

/// The listener for others and that of its own broker are two: each has a gauge of its own.
#[test]
fn each_listener_of_provisioning_has_a_gauge_of_its_own() {
    let site = start();
    let metrics = format!("{}/metrics", site.https());
    let text = ok(Command::new("curl").args(["-s", "--cacert", &site.cert, &metrics]));
    let open = |listener: &str| -> u64 {
        let gauge = format!("tessera_provisioning_http_connections{{listener=\"{listener}\"}} ");
        let value = text.lines().find_map(|line| line.strip_prefix(&gauge));
        value.unwrap_or_else(|| panic!("no {gauge}in\n{text}")).parse().unwrap()
    };
    assert_eq!(open("https"), 1, "curl alone\n{text}");
    assert!(open("inner") > 0, "its broker follows the trust feed\n{text}");
    assert!(!text.contains("http_connections{listener=\"tcp\"}"), "{text}");
}

#[test]
fn a_client_with_small_buffers_gets_small_records_over_https() {
    let site = start();
    let request = b"GET /openapi.json HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    let largest =
        |more: &[&str]| largest_record((site.port("http"), &site.cert), request, 20_001, more);
    for version in ["-tls1_2", "-tls1_3"] {
        let found = largest(&[version, "-maxfraglen", "512"]);
        assert!((512..=512 + OF_THE_RECORD).contains(&found), "{version}: {found}");
        assert!(largest(&[version]) > 4_096, "{version}");
    }
    site.stop();
}

#[test]
fn a_handshake_that_fails_is_told_in_the_log_and_files_that_cannot_be_used_in_readyz() {
    let mut site = start();
    let in_clear = format!("http://127.0.0.1:{}/healthz", site.port("http"));
    assert!(!run(Command::new("curl").args(["-s", &in_clear])).0);
    site.process.line("the refusal", |line| {
        ["TLS handshake refused", "code=\"tls_refused\"", "address=127.0.0.1", "https", "detail="]
            .iter()
            .all(|part| line.contains(part))
    });
    std::fs::write(&site.cert, "no certificate").unwrap();
    site.process.signal("HUP");
    let ready = format!("https://localhost:{}/readyz", site.port("http"));
    site.process.line("the error", |line| line.contains("the new certificates are not used"));
    let told = ok(Command::new("curl").args(["-sk", &ready]));
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!(told["status"], "ready", "the old ones are good: {told}");
    assert_eq!(told["warnings"][0]["part"], "tls", "{told}");
    site.stop();
}
