//! Enrolment over MQTT with clients of paho and mosquitto, provisioning and a broker as two processes: the whole way, codes that are not
//! good, a service that is killed in between, and a flood of wrong codes.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::Value;
use tessera_tests::mqtt::{Mqtt, Refused};
use tessera_tests::process::{ok, python, root, run, tessera, Process};
use tessera_tests::server::{run_file, Provisioning};
use tessera_tests::site::Watch;
use tessera_token::encoding::hex;
use tessera_token::ids::{DeviceId, TenantId};
use tessera_token::key::SecretKey;
use tessera_token::messages::{EnrolRequest, NonceAnswer, RefusalAnswer, TokenAnswer, ENROL_TOPIC};
use tessera_token::refusal::RefusalCode;

const WRONG: &str = "TSR-00000-00000-00000-00000";
/// Return codes of 3.1.1.
const UNAVAILABLE: u8 = 3;
const NOT_AUTHORISED: u8 = 5;

struct Parts {
    service: Provisioning,
    _broker: Process,
    mqtt: SocketAddr,
}

fn start() -> Parts {
    let service = Provisioning::start();
    let folder = service.folder.path();
    let config = folder.join("broker.toml");
    std::fs::write(&config, "[broker]\nenrolment = true\n").unwrap();
    let mut broker = Process::start(
        Command::new(tessera())
            .args(["broker", "--mqtt", "127.0.0.1:0", "--metrics", "127.0.0.1:0", "--data"])
            .arg(folder.join("b"))
            .arg("--config")
            .arg(&config)
            .args(["--provisioning", &format!("http://{}", service.http)])
            .arg("--feed-token")
            .arg(folder.join("p/feed.token"))
            .arg("--root")
            .arg(folder.join("p/root.thumbprint")),
    );
    broker.line("ready", |line| line == "ready");
    let mqtt = run_file(&folder.join("b"))["mqtt"].as_str().unwrap().parse().unwrap();
    Parts { service, _broker: broker, mqtt }
}

impl Parts {
    fn claim(&self, more: &[&str]) -> String {
        let words = [&["claim", "create", "--role", "sensor", "--json"], more].concat();
        let made: Value = serde_json::from_str(&self.service.operator(&words)).unwrap();
        made["claims"][0]["code"].as_str().unwrap().to_owned()
    }

    /// The answer that a client of paho hears when it publishes this; else its own words.
    fn ask(&self, device: &str, code: &str, payload: &[u8]) -> Result<Vec<u8>, String> {
        let port = self.mqtt.port().to_string();
        let version = if payload.is_empty() { "5" } else { "3" };
        let mut client = Command::new(python());
        client.arg(root().join("tests/clients/enrol_mqtt.py"));
        client.args([&port, version, "default", device, code, &hex::encode(payload)]);
        let (good, output) = run(&mut client);
        let heard = output.lines().last().and_then(hex::decode);
        heard.filter(|_| good).ok_or(output)
    }

    fn mosquitto(&self, program: &str, device: &str, code: &str) -> Command {
        let mut command = Command::new(program);
        command.args(["-h", "127.0.0.1", "-p", &self.mqtt.port().to_string()]);
        command.args(["-i", device, "-u", "$claim/default", "-P", code]);
        command
    }

    fn nonce(&self, device: &str, code: &str) -> Vec<u8> {
        let answer = self.ask(device, code, b"").unwrap();
        NonceAnswer::from_cbor(&answer).unwrap().nonce
    }

    /// Asks for a token over this nonce.
    fn enrol(
        &self,
        device: &str,
        key: u8,
        code: &str,
        nonce: &[u8],
    ) -> Result<TokenAnswer, RefusalCode> {
        let id = DeviceId::parse(device).unwrap();
        let tenant = TenantId::parse("default").unwrap();
        let key = SecretKey::from_seed(&[key; 32]);
        let request = EnrolRequest::sign(&key, &tenant, &id, code, nonce).to_cbor();
        let answer = self.ask(device, code, &request).unwrap();
        TokenAnswer::from_cbor(&answer)
            .map_err(|_| RefusalAnswer::from_cbor(&answer).unwrap().code.unwrap())
    }
}

/// The return code of a CONNECT from an address of this machine; 0 when it was let in.
fn knock(at: SocketAddr, source: Ipv4Addr, device: &str, code: &str) -> Option<u8> {
    let user = ("$claim/default", code.as_bytes());
    match Mqtt::connect_as(Some(source), at, device, user, true) {
        Ok(_) => Some(0),
        Err(Refused::Code(code)) => Some(code),
        Err(Refused::Lost(_)) => None,
    }
}

#[test]
fn a_code_enrols_its_device_and_reaches_nothing_else() {
    let parts = start();
    let code = parts.claim(&[]);
    let mut client = parts.mosquitto("mosquitto_rr", "m-1", &code);
    client.args(["-t", ENROL_TOPIC, "-e", ENROL_TOPIC, "-q", "1", "-W", "20", "-F", "%x", "-n"]);
    let heard = hex::decode(ok(&mut client).trim()).unwrap();
    let nonce = NonceAnswer::from_cbor(&heard).unwrap().nonce;
    let first = parts.enrol("m-1", 1, &code, &nonce).unwrap();
    // A used nonce is refused with another one; a lost answer is asked for again, by the same key alone.
    assert_eq!(parts.enrol("m-1", 1, &code, &nonce), Err(RefusalCode::NonceInvalid));
    let again = parts.enrol("m-1", 1, &code, &parts.nonce("m-1", &code)).unwrap();
    assert_ne!(first.access_token, again.access_token);
    let other = parts.enrol("m-1", 2, &code, &parts.nonce("m-1", &code));
    assert_eq!(other, Err(RefusalCode::DeviceKeyMismatch));
    let shown = parts.service.operator(&["devices", "--json"]);
    assert!(shown.contains("m-1"), "{shown}");
    let audit = parts.service.operator(&["audit", "list", "--json"]);
    assert!(audit.contains("device.enrol"), "{audit}");
    // Codes that are not good for the device are told apart from none.
    let bound = parts.claim(&["--device", "m-2"]);
    let short = parts.claim(&["--expires-in", "1"]);
    let over = || knock(parts.mqtt, Ipv4Addr::LOCALHOST, "m-9", &short) == Some(NOT_AUTHORISED);
    assert!(Watch::until(Duration::from_secs(30), over).is_some(), "it never ends");
    for (device, code) in [("m-3", &code), ("m-3", &bound), ("m-3", &WRONG.to_owned())] {
        let told = parts.ask(device, code, b"").unwrap_err();
        assert!(told.to_lowercase().contains("not authorized"), "{told}");
    }
    // With a good one, every filter but its own is refused.
    let good = parts.claim(&[]);
    for filter in ["#", "$tessera/#", "$tessera/token", "d/m-4/cmd"] {
        let mut client = parts.mosquitto("mosquitto_sub", "m-4", &good);
        let (_, told) = run(client.args(["-d", "-W", "5", "-t", filter]));
        assert!(told.contains("All subscription requests were denied"), "{filter}: {told}");
    }
    let mut client = parts.mosquitto("mosquitto_pub", "m-4", &good);
    let (sent, told) =
        run(client.args(["-d", "-V", "mqttv5", "-q", "1", "-t", "d/m-4/telemetry", "-m", "x"]));
    assert!(!sent || told.to_lowercase().contains("not authorized"), "{told}");
    parts.enrol("m-4", 4, &good, &parts.nonce("m-4", &good)).unwrap();
}

#[test]
fn a_service_that_was_killed_in_between_is_asked_again() {
    let mut parts = start();
    let code = parts.claim(&[]);
    let nonce = parts.nonce("k-1", &code);
    parts.service.process.kill();
    assert_eq!(knock(parts.mqtt, Ipv4Addr::LOCALHOST, "k-1", &code), Some(UNAVAILABLE));
    let (http, data) = (parts.service.http.clone(), parts.service.folder.path().join("p"));
    parts.service.process = provision(&http, &data);
    // The nonce of before was good once, and for a time: the refusal of a late one brings another.
    match parts.enrol("k-1", 1, &code, &nonce) {
        Ok(_) => {}
        Err(code) => assert_eq!(code, RefusalCode::NonceInvalid),
    }
    parts.enrol("k-1", 1, &code, &parts.nonce("k-1", &code)).unwrap();
    // The write of an enrolment outlives the process, and so does the right to ask again.
    parts.service.process.kill();
    parts.service.process = provision(&http, &data);
    parts.enrol("k-1", 1, &code, &parts.nonce("k-1", &code)).unwrap();
}

fn provision(http: &str, data: &Path) -> Process {
    let mut command = Command::new(tessera());
    command.args(["provision", "--http", http, "--data"]).arg(data);
    let mut process = Process::start(&mut command);
    process.line("ready", |line| line == "ready");
    process
}

/// Ends the flood, also when the test fails.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_flood_of_wrong_codes_leaves_honest_devices_served() {
    let parts = start();
    let codes: Vec<String> = (0..5).map(|_| parts.claim(&[])).collect();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _end = Ends(&done);
        for thread in 0..8u8 {
            let (mqtt, done) = (parts.mqtt, &done);
            scope.spawn(move || {
                let source = Ipv4Addr::new(127, 0, 66, thread + 1);
                while !done.load(Ordering::Relaxed) {
                    let told = knock(mqtt, source, "f-1", WRONG);
                    assert_ne!(told, Some(0));
                }
            });
        }
        for (n, code) in codes.iter().enumerate() {
            let device = format!("h-{n}");
            let watch = Watch::start();
            assert_eq!(knock(parts.mqtt, Ipv4Addr::new(127, 0, 7, 7), &device, code), Some(0));
            parts.enrol(&device, 9 + n as u8, code, &parts.nonce(&device, code)).unwrap();
            assert!(watch.passed() < Duration::from_secs(10), "{:?}", watch.passed());
        }
    });
    // And so is the relay of everything else.
    let device = parts.service.enrol("default", "r-1").at(&parts.mqtt.to_string());
    let (sent, told) = run(device.mosquitto("mosquitto_pub").args([
        "-q",
        "1",
        "-t",
        "d/r-1/telemetry",
        "-m",
        "x",
    ]));
    assert!(sent, "{told}");
}
