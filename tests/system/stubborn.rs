//! Peers that hold their HTTP connections for as long as they are let: on provisioning, the broker's metrics and a
//! gateway's agent an honest peer of the same address is served meanwhile.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tessera_runtime::clock::{Clock, SystemClock};
use tessera_tests::api::Api;
use tessera_tests::http::Http;
use tessera_tests::process::{tessera, Process};
use tessera_tests::server::Server;
use tessera_token::ids::DeviceId;
use tessera_token::key::SecretKey;

/// The bound for 99 of 100 calls; an honest peer on an idle machine needs a tenth of it.
const P99: Duration = Duration::from_millis(250);
/// How long the honest peer is watched.
const WATCH: Duration = Duration::from_secs(10);

/// As many connections as the descriptors of this process allow, and no more than the report had.
fn connections() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap();
    let files = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap();
    let soft: usize = files.split_whitespace().next().unwrap().parse().unwrap();
    soft.saturating_sub(600).min(8_400)
}

/// The first bytes of one stubborn connection, and those with which it goes on.
const WAYS: [(&str, &str); 5] = [
    (
        "POST /v1/token HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n",
        "1\r\nx\r\n",
    ),
    ("POST /nothing HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n", "1\r\nx\r\n"),
    ("POST /v1/token HTTP/1.1\r\nhost: x\r\ncontent-length: 4000\r\n\r\n", "x"),
    ("GET /readyz HTTP/1.1\r\nx: ", "y"),
    ("", ""),
];

/// A peer that keeps `count` connections busy without an end, and opens each again when it is closed.
struct Attack {
    over: Arc<AtomicBool>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

impl Attack {
    fn on<S, C>(count: usize, connect: C) -> Self
    where
        S: Read + Write + Send + 'static,
        C: Fn() -> Option<S> + Send + Sync + Clone + 'static,
    {
        let over = Arc::new(AtomicBool::new(false));
        let opened = Arc::new(Mutex::new(0));
        let threads = (0..4).map(|part| {
            let (over, connect, opened) = (Arc::clone(&over), connect.clone(), Arc::clone(&opened));
            std::thread::spawn(move || {
                let mut peers: Vec<(Option<S>, usize)> =
                    (0..count / 4).map(|n| (None, (n + part) % WAYS.len())).collect();
                for round in 0u64.. {
                    for (peer, way) in &mut peers {
                        if over.load(Ordering::Relaxed) {
                            return;
                        }
                        let (first, more) = WAYS[*way];
                        let alive = match peer {
                            Some(peer) => goes_on(peer, more.as_bytes()),
                            None => false,
                        };
                        if !alive {
                            *peer = None;
                            *peer = connect();
                            if let Some(peer) = peer {
                                let _ = peer.write_all(first.as_bytes());
                            }
                        }
                    }
                    if round == 0 {
                        *opened.lock().unwrap() += 1;
                    }
                    // Fast enough for a deadline between two bytes, and slow enough to leave the processor to the server.
                    std::thread::park_timeout(Duration::from_secs(2));
                }
            })
        });
        let threads = threads.collect();
        let begun = SystemClock::new();
        while *opened.lock().unwrap() < 4 && begun.monotonic() < Duration::from_secs(30) {
            std::thread::park_timeout(Duration::from_millis(20));
        }
        Self { over, threads }
    }

    fn end(self) {
        self.over.store(true, Ordering::Relaxed);
        self.threads.into_iter().for_each(|thread| thread.join().unwrap());
    }
}

/// Sends a few bytes more and takes what is there; whether the connection goes on.
fn goes_on(peer: &mut (impl Read + Write), more: &[u8]) -> bool {
    loop {
        match peer.read(&mut [0; 4096]) {
            Ok(0) => return false,
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(_) => return false,
        }
    }
    peer.write_all(more).is_ok()
}

fn tcp(at: SocketAddr) -> impl Fn() -> Option<TcpStream> + Send + Sync + Clone {
    move || {
        let peer = TcpStream::connect_timeout(&at, Duration::from_secs(2)).ok()?;
        peer.set_nonblocking(true).ok()?;
        Some(peer)
    }
}

/// Asks again and again. Every call must succeed, and 99 of 100 within [`P99`]. A machine that is busy with other things is
/// slow for a server that is not attacked too: `control` asks such a one in turns, and what that takes is allowed for.
fn watch(
    what: &str,
    mut call: impl FnMut() -> Result<(), String>,
    mut control: impl FnMut() -> Result<(), String>,
) {
    let clock = SystemClock::new();
    let (mut times, mut others) = (Vec::new(), Vec::new());
    let timed = |times: &mut Vec<Duration>, call: &mut dyn FnMut() -> Result<(), String>| {
        let start = clock.monotonic();
        let outcome = call();
        times.push(clock.monotonic() - start);
        outcome
    };
    while clock.monotonic() < WATCH || times.len() < 100 {
        assert_eq!(timed(&mut others, &mut control), Ok(()), "the control of {what}");
        let outcome = timed(&mut times, &mut call);
        assert_eq!(outcome, Ok(()), "{what}, call {}", times.len());
        std::thread::park_timeout(Duration::from_millis(15));
    }
    let count = times.len();
    let [attacked, calm] = [times, others].map(p99);
    println!("{what}: {count} calls, p99 {attacked:?}, without the attack {calm:?}");
    assert!(attacked <= P99.max(calm * 4), "{what}: p99 {attacked:?}, without the attack {calm:?}");
}

/// The time below which 99 of 100 stay.
fn p99(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() * 99 / 100]
}

fn get(at: SocketAddr, path: &str) -> Result<(), String> {
    match Http::new(at, None).get(path) {
        Ok(answer) if answer.ok() => Ok(()),
        Ok(answer) => Err(format!("{} {}", answer.status, answer.text())),
        Err(error) => Err(error.to_string()),
    }
}

#[test]
fn provisioning_serves_while_thousands_of_connections_do_not_end() {
    let server = Server::start();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let api = || Api::new(server.http, &server.operator_token());
    let (key, id) = (SecretKey::from_seed(&[7; 32]), DeviceId::parse("honest").unwrap());
    runtime.block_on(async {
        let claim = api().claims("sensor", 1).await.unwrap().remove(0);
        api().enrol(&key, &id, &claim).await.unwrap();
    });
    let mut nonce = 0u64;
    let mut refresh = || {
        nonce += 1;
        let asked = runtime.block_on(api().refresh(&key, &id, &nonce.to_be_bytes()));
        asked.map(drop).map_err(|error| error.to_string())
    };
    // 64 answers are kept of one device within its proof's time: the rest of the calls ask for readiness.
    let mut turn = 0;
    let mut honest = || {
        turn += 1;
        match turn % 12 {
            0 => refresh(),
            _ => get(server.http, "/readyz"),
        }
    };
    let other = Server::start();
    let attack = Attack::on(connections(), tcp(server.http));
    watch("provisioning", &mut honest, || get(other.http, "/readyz"));
    server.revoke("honest");
    attack.end();
    server.stop();
}

#[test]
fn the_metrics_port_serves_while_hundreds_of_connections_do_not_end() {
    let server = Server::start();
    let other = Server::start();
    let attack = Attack::on(connections() / 4, tcp(server.metrics));
    let honest = || get(server.metrics, "/readyz");
    watch("metrics", honest, || get(other.metrics, "/readyz"));
    attack.end();
    server.stop();
}

fn over_socket(path: &Path) -> Result<(), String> {
    let ask = || -> std::io::Result<String> {
        let mut socket = UnixStream::connect(path)?;
        socket.set_read_timeout(Some(Duration::from_secs(10)))?;
        socket.write_all(b"GET /readyz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer)?;
        Ok(answer)
    };
    match ask() {
        Ok(answer) if answer.starts_with("HTTP/1.1 200") => Ok(()),
        Ok(answer) => Err(answer),
        Err(error) => Err(error.to_string()),
    }
}

#[test]
fn an_agent_serves_over_both_doors_while_either_is_held() {
    let server = Server::start();
    let (folder, path) = (server.folder.path(), server.folder.path().join("agent.sock"));
    let mut agent = Process::start(
        Command::new(tessera())
            .args(["agent", "--http", "127.0.0.1:0", "--provisioning"])
            .arg(format!("http://{}", server.http))
            .arg("--root")
            .arg(server.data().join("root.thumbprint"))
            .arg("--feed-token")
            .arg(server.data().join("feed.token"))
            .arg("--socket")
            .arg(&path)
            .arg("--data")
            .arg(folder.join("agent")),
    );
    agent.line("ready", |line| line == "ready");
    let run = std::fs::read(folder.join("agent").join("run.json")).unwrap();
    let run: serde_json::Value = serde_json::from_slice(&run).unwrap();
    let http: SocketAddr = run["http"].as_str().unwrap().parse().unwrap();
    let honest = || get(http, "/readyz").and_then(|()| over_socket(&path));
    let unix = path.clone();
    let both = [
        Attack::on(1_000, tcp(http)),
        Attack::on(1_000, move || {
            let peer = UnixStream::connect(&unix).ok()?;
            peer.set_nonblocking(true).ok()?;
            Some(peer)
        }),
    ];
    watch("agent", honest, || get(server.metrics, "/readyz"));
    both.into_iter().for_each(Attack::end);
}
