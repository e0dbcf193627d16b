//! `examples/gateway`: a gateway as people run one. A mosquitto on loopback has a bridge to the broker of the fleet, the
//! guard stands in front of it, and the agent decides by trust data that come over the same broker.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::process::Command;

use tempfile::TempDir;
use tessera_tests::process::{ok, root, run, tessera, Process};
use tessera_tests::server::{run_file, Device, Server};
use tessera_tests::site::Watch;

/// Seconds within which each part of the way must be there.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// The parts on the machine of the gateway. They end with it.
struct Gateway {
    guard: String,
    _processes: Vec<Process>,
    _folder: TempDir,
}

impl Gateway {
    fn start(server: &Server, device: &Device) -> Self {
        let folder = TempDir::new().unwrap();
        let mut proxy = Process::start(
            Command::new(tessera())
                .args(["device", "proxy", "--listen", "127.0.0.1:0"])
                .args(["--broker", &server.mqtt.to_string(), "--dir"])
                .arg(&device.folder),
        );
        let line = proxy.line("its place", |line| line.starts_with("listening"));
        let up = line.rsplit(' ').next().unwrap().to_owned();
        proxy.line("ready", |line| line == "ready");

        let local = free_port();
        let example = fs::read_to_string(root().join("examples/gateway/mosquitto.conf")).unwrap();
        let text = example
            .replace("listener 1883 127.0.0.1", &format!("listener {local} 127.0.0.1"))
            .replace("address 127.0.0.1:1885", &format!("address {up}"));
        assert_ne!(text, example);
        let config = folder.path().join("mosquitto.conf");
        fs::write(&config, text).unwrap();
        let program = mosquitto();
        let mosquitto = Process::start(Command::new(program).arg("-c").arg(&config));
        let is_up = || TcpStream::connect(("127.0.0.1", local)).is_ok();
        assert!(Watch::until(PATIENCE, is_up).is_some(), "mosquitto does not listen");

        let data = folder.path().join("agent");
        let mut agent = Process::start(
            Command::new(tessera())
                .args(["agent", "--http", "127.0.0.1:0", "--verifier", "gateway-1"])
                .args(["--uplink", &format!("mqtt://{}", server.mqtt), "--device"])
                .arg(&device.folder)
                .arg("--root")
                .arg(server.data().join("root.thumbprint"))
                .arg("--data")
                .arg(&data),
        );
        agent.line("ready", |line| line == "ready");
        let api = format!("http://{}", run_file(&data)["http"].as_str().unwrap());

        let mut guard = Process::start(
            Command::new("python3")
                .arg(root().join("examples/gateway/guard.py"))
                .args(["--listen", "127.0.0.1:0", "--broker", &format!("127.0.0.1:{local}")])
                .args(["--agent", &api]),
        );
        let place = guard.line("its place", |line| line.contains("127.0.0.1:"));
        let guard_port = place.rsplit(':').next().unwrap().trim().to_owned();
        let processes = vec![guard, agent, mosquitto, proxy];
        Self { guard: guard_port, _processes: processes, _folder: folder }
    }

    /// A message of a device, handed to the guard.
    fn publish(&self, device: &Device, topic: &str, text: &str) -> (bool, String) {
        let password = device.password_at("gateway-1");
        run(Command::new("mosquitto_pub")
            .args(["-h", "127.0.0.1", "-p", &self.guard, "-i", &device.id, "-u", &device.id])
            .args(["-P", &password, "-q", "1", "-t", topic, "-m", text]))
    }
}

/// The broker, which distributions keep where not every search path leads.
fn mosquitto() -> &'static str {
    let places = ["/usr/sbin/mosquitto", "/usr/local/sbin/mosquitto", "mosquitto"];
    let is_there = |place: &&str| Command::new(place).arg("-h").output().is_ok();
    let found = places.into_iter().find(is_there);
    found.expect("mosquitto is not installed, and the example of a gateway cannot be run: tests/run says how")
}

#[test]
fn a_local_mosquitto_bridges_while_the_agent_decides() {
    let server = Server::start();
    ok(server.operator(&["role", "set", "gateway", "--class", "service"]).args([
        "--publish",
        "$tessera/trust",
        "--subscribe",
        "$tessera/trust",
        "--publish",
        "d/+/telemetry",
        "--subscribe",
        "d/+/cmd",
    ]));
    let device = server.enrol("gw-1", "gateway");
    let (one, other) = (server.enrol("d-17", "sensor"), server.enrol("d-18", "sensor"));
    let backend = server.enrol("back-1", "backend");
    let gateway = Gateway::start(&server, &device);
    let words = ["-v", "-q", "1", "-t", "d/+/telemetry"];
    let mut reader = Process::start(backend.mosquitto("mosquitto_sub").args(words));
    reader.line("SUBACK", |line| line.contains("received SUBACK"));

    // From a device through guard and bridge to the broker of the fleet. The bridge may still be on its way.
    let mut sent = (false, String::new());
    let passes = || {
        sent = gateway.publish(&one, "d/d-17/telemetry", "21.5");
        sent.0
    };
    assert!(Watch::until(PATIENCE, passes).is_some(), "{}", sent.1);
    reader.line("the message", |line| line == "d/d-17/telemetry 21.5");
    // The topic of another device: the agent says no, and nothing is carried.
    assert!(!gateway.publish(&one, "d/d-18/telemetry", "forged").0);
    assert!(gateway.publish(&other, "d/d-18/telemetry", "22").0);
    reader.line("the next", |line| line == "d/d-18/telemetry 22");
    assert!(!reader.output().contains("forged"));

    // The gateway alone saw the refusal, and tells it over its uplink.
    let is_told = || {
        let uses = ok(&mut server.operator(&["role", "uses", "sensor", "--json"]));
        let uses: serde_json::Value = serde_json::from_str(&uses).unwrap();
        let mut items = uses["items"].as_array().unwrap().iter();
        items.any(|one| one["usage"] == "publish_refused" && one["topic"] == "d/d-18/telemetry")
    };
    assert!(Watch::until(PATIENCE, is_told).is_some());

    // A revocation reaches the gateway over its uplink.
    server.revoke("d-17");
    let is_out = || !gateway.publish(&one, "d/d-17/telemetry", "late").0;
    assert!(Watch::until(PATIENCE, is_out).is_some());
    assert!(gateway.publish(&other, "d/d-18/telemetry", "23").0);
    // Without provisioning and broker the agent decides as before, and mosquitto keeps what the bridge cannot send.
    let _folder = server.stop();
    assert!(gateway.publish(&other, "d/d-18/telemetry", "24").0);
    assert!(!gateway.publish(&one, "d/d-17/telemetry", "later").0);
}
