//! Two customers of one service, and a broker of one of them: nothing of the other reaches it.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::ops::Deref;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tessera_tests::process::{run, tessera, Process, PATIENCE};
use tessera_tests::server::{Device, Provisioning};
use tessera_tests::site::Watch;

/// A line between two processes: everything that goes over it is kept.
struct Line {
    addr: SocketAddr,
    bytes: Arc<Mutex<Vec<u8>>>,
}

impl Line {
    fn to(server: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (addr, bytes) = (listener.local_addr().unwrap(), Arc::<Mutex<Vec<u8>>>::default());
        let kept = Arc::clone(&bytes);
        std::thread::spawn(move || {
            for peer in listener.incoming().map_while(Result::ok) {
                let Ok(server) = TcpStream::connect(&server) else { continue };
                let ways =
                    [(peer.try_clone().unwrap(), server.try_clone().unwrap()), (server, peer)];
                for (from, to) in ways {
                    let kept = Arc::clone(&kept);
                    std::thread::spawn(move || pass(from, to, &kept));
                }
            }
        });
        Self { addr, bytes }
    }

    fn has(&self, part: &str) -> bool {
        has(&self.bytes.lock().unwrap(), part)
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, kept: &Mutex<Vec<u8>>) {
    let mut piece = vec![0; 64 * 1024];
    while let Ok(n @ 1..) = from.read(&mut piece) {
        kept.lock().unwrap().extend(&piece[..n]);
        if to.write_all(&piece[..n]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}

fn has(bytes: &[u8], part: &str) -> bool {
    bytes.windows(part.len()).any(|window| window == part.as_bytes())
}

/// Whether a file below the folder has it.
fn stored(folder: &Path, part: &str) -> bool {
    fs::read_dir(folder).unwrap().any(|entry| {
        let entry = entry.unwrap();
        match entry.file_type().unwrap().is_dir() {
            true => stored(&entry.path(), part),
            false => has(&fs::read(entry.path()).unwrap_or_default(), part),
        }
    })
}

struct Service(Provisioning);

impl Deref for Service {
    type Target = Provisioning;

    fn deref(&self) -> &Provisioning {
        &self.0
    }
}

impl Service {
    fn start() -> Self {
        Self(Provisioning::start())
    }

    fn tenant(&self, tenant: &str) {
        self.operator(&["tenant", "create", tenant]);
        let topics = ["--publish", "d/{device}/telemetry", "--subscribe", "d/{device}/cmd"];
        self.operator(&[&["role", "set", "sensor", "--tenant", tenant][..], &topics].concat());
    }

    fn revoke(&self, tenant: &str, device: &str) {
        self.operator(&["revoke", "device", device, "--tenant", tenant]);
    }

    /// A broker whose feed goes over the line, with the token in this file.
    fn broker(&self, line: &Line, token: &Path, tenants: &[&str]) -> Process {
        let mut command = Command::new(tessera());
        command.args(["broker", "--mqtt", "127.0.0.1:0", "--metrics", "127.0.0.1:0", "--data"]);
        command.arg(self.folder.path().join("b"));
        command.args(["--provisioning", &format!("http://{}", line.addr)]);
        command.arg("--feed-token").arg(token);
        command.arg("--root").arg(self.folder.path().join("p/root.thumbprint"));
        for tenant in tenants {
            command.args(["--feed-tenant", tenant]);
        }
        Process::start(&mut command)
    }

    /// The device, at the broker.
    fn at_broker(&self, device: &Device) -> Device {
        device.at(self.run_file("b")["mqtt"].as_str().unwrap())
    }

    fn is_let_in(&self, device: &Device) -> bool {
        let topic = format!("d/{}/telemetry", device.id);
        let words = ["-q", "1", "-t", topic.as_str(), "-m", "x"];
        run(self.at_broker(device).mosquitto("mosquitto_pub").args(words)).0
    }
}

#[test]
fn a_broker_of_one_tenant_holds_and_hears_nothing_of_another() {
    let service = Service::start();
    for tenant in ["acme", "rival"] {
        service.tenant(tenant);
    }
    let mine = service.enrol("acme", "mine-1");
    let ended = service.enrol("acme", "mine-2");
    let theirs = service.enrol("rival", "hidden-1");
    service.enrol("rival", "hidden-2");
    service.revoke("rival", "hidden-2");
    let words = ["operator", "create", "gateway", "--role", "feed", "--tenant", "acme", "--json"];
    let made: Value = serde_json::from_str(&service.operator(&words)).unwrap();
    let token = service.folder.path().join("gateway.token");
    tessera_runtime::secret::write_secret_file(&token, made["token"].as_str().unwrap().as_bytes())
        .unwrap();
    let line = Line::to(service.http.clone());
    let mut broker = service.broker(&line, &token, &["acme"]);
    broker.line("ready", |l| l == "ready");
    assert!(service.is_let_in(&mine) && service.is_let_in(&ended));
    assert!(!service.is_let_in(&theirs), "its tenant is not known here");
    // A session of its own ends at once; what happens to the others is not heard of.
    let mut session = Process::start(service.at_broker(&ended).mosquitto("mosquitto_sub").args([
        "-V",
        "5",
        "-t",
        "d/mine-2/cmd",
    ]));
    session.line("SUBACK", |l| l.contains("received SUBACK"));
    service.revoke("rival", "hidden-1");
    service.operator(&["keys", "rotate", "--tenant", "rival"]);
    service.revoke("acme", "mine-2");
    session.line("DISCONNECT", |l| l.contains("DISCONNECT (152)"));
    assert!(!service.is_let_in(&ended) && service.is_let_in(&mine));
    // After a restart it goes on from its own store.
    broker.terminate();
    assert!(broker.wait().success());
    let mut broker = service.broker(&line, &token, &["acme"]);
    broker.line("ready", |l| l == "ready");
    assert!(!service.is_let_in(&ended) && service.is_let_in(&mine));
    broker.terminate();
    assert!(broker.wait().success());
    let agent = service.folder.path().join("b/agent");
    assert!(line.has("mine-2") && stored(&agent, "mine-2"), "what is there is found");
    for part in ["rival", "hidden"] {
        assert!(!line.has(part), "{part} on the line");
        assert!(!stored(&agent, part), "{part} in the store");
    }
}

#[test]
fn a_broker_that_was_told_other_tenants_says_so_and_lets_no_device_in() {
    let service = Service::start();
    for tenant in ["acme", "rival"] {
        service.tenant(tenant);
    }
    let line = Line::to(service.http.clone());
    let token = service.folder.path().join("p/feed.token");
    let mut broker = service.broker(&line, &token, &["acme"]);
    broker.line("why", |l| l.contains("--feed-tenant") && l.contains("acme"));
    let place = service.folder.path().join("b");
    assert!(Watch::until(PATIENCE, || place.join("run.json").exists()).is_some());
    let metrics = service.run_file("b")["metrics"].as_str().unwrap().to_owned();
    let mut stream = TcpStream::connect(metrics).unwrap();
    write!(stream, "GET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
}
