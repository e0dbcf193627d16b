//! The lines that a peer can make a server write are bounded, and the log tells how many were left out.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;

use tessera_tests::process::{run, tessera};
use tessera_tests::server::Server;

/// Enough for a flood; fewer than an hour's worth of one thief in the field.
const SHOWN: usize = 2_000;
const THREADS: usize = 40;

/// An MQTT 3.1.1 CONNECT.
fn connect(id: &str, password: &str) -> Vec<u8> {
    let mut rest = b"\x00\x04MQTT\x04\xc2\x00\x3c".to_vec();
    for text in [id, id, password] {
        rest.extend(u16::try_from(text.len()).unwrap().to_be_bytes());
        rest.extend(text.as_bytes());
    }
    let length = rest.len();
    let mut packet = vec![0x10, (length % 128) as u8 | 0x80, (length / 128) as u8];
    packet.append(&mut rest);
    packet
}

/// The return code of the CONNACK; none when the socket was closed unread.
fn show(mqtt: SocketAddr, packet: &[u8]) -> Option<u8> {
    let mut socket = TcpStream::connect(mqtt).ok()?;
    socket.write_all(packet).ok()?;
    let mut answer = [0; 4];
    socket.read_exact(&mut answer).ok()?;
    Some(answer[3])
}

fn number_before(line: &str, word: &str) -> u64 {
    let before = line.split(word).next().unwrap();
    before.rsplit(' ').next().unwrap().replace(',', "").parse().unwrap()
}

#[test]
fn a_stolen_password_that_is_shown_again_and_again_fills_no_disk() {
    let mut server = Server::start();
    let device = server.enrol("d-1", "sensor");
    let packet = connect("d-1", &device.password());
    assert_eq!(show(server.mqtt, &packet), Some(0));
    let (mqtt, shown) = (server.mqtt, &packet);
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(move || {
                for _ in 0..SHOWN / THREADS {
                    assert_ne!(show(mqtt, shown), Some(0), "a proof was good twice");
                }
            });
        }
    });
    let metrics = http_get(server.metrics, "/metrics");
    let value = |name: &str| -> u64 {
        let line = metrics.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_else(|| panic!("no {name} in\n{metrics}")).trim().parse().unwrap()
    };
    let refused = value("tessera_broker_refusals_total{code=\"proof_replayed\",what=\"connect\"}");
    assert!(refused > SHOWN as u64 / 4, "{refused} of {SHOWN}: no flood");
    let series = metrics.lines().filter(|l| l.starts_with("tessera_log_suppressed_total{"));
    let suppressed: u64 = series
        .filter(|line| line.contains("proof_replayed default"))
        .map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap())
        .sum();
    server.process.terminate();
    assert!(server.process.wait().success());
    let output = server.process.output();
    let of_it: Vec<&str> = output.lines().filter(|line| line.contains("connect refused")).collect();
    let (closing, written): (Vec<&str>, Vec<&str>) =
        of_it.into_iter().partition(|line| line.contains("more of the same"));
    assert!((20..40).contains(&written.len()), "{} lines\n{output}", written.len());
    let told: u64 = closing.iter().map(|line| number_before(line, " more of the same")).sum();
    assert_eq!(told + written.len() as u64, refused, "{output}");
    assert_eq!(suppressed, told, "{metrics}");
}

/// Bytes that strangers send to an HTTP port, whole or broken, and before the CONNECT of a WebSocket.
const BROKEN: [&[u8]; 6] = [
    b"\xff\r\n\r\n",
    b"GET / HTTP/1.1\r\na b: c\r\n\r\n",
    b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n\xff\r\n\r\n",
    b"POST /v1/token HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
    b"GET / HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
];

const UPGRADE: &[u8] =
    b"GET /mqtt HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Protocol: mqtt\r\n\r\n";

/// Sends it, and reads to the end so that it was dealt with.
fn send(at: SocketAddr, parts: &[&[u8]]) {
    let mut socket = TcpStream::connect(at).unwrap();
    for part in parts {
        socket.write_all(part).unwrap();
    }
    let _ = socket.shutdown(std::net::Shutdown::Write);
    let _ = socket.read_to_end(&mut Vec::new());
}

#[test]
fn strangers_write_no_errors() {
    let folder = tempfile::TempDir::new().unwrap();
    let mut server = Server::start_with(folder, &["--ws", "127.0.0.1:0"]);
    let run: serde_json::Value =
        serde_json::from_slice(&std::fs::read(server.data().join("run.json")).unwrap()).unwrap();
    let ws: SocketAddr = run["ws"].as_str().unwrap().parse().unwrap();
    for _ in 0..20 {
        for broken in BROKEN {
            send(server.http, &[broken]);
            send(server.metrics, &[broken]);
        }
        for first in [0x08, 0x09, 0x0a, 0x79, 0x0f] {
            send(ws, &[UPGRADE, &[first, 0x80, 1, 2, 3, 4]]);
        }
    }
    server.process.terminate();
    assert!(server.process.wait().success());
    let output = server.process.output();
    let errors: Vec<&str> = output.lines().filter(|line| line.contains("ERROR")).collect();
    assert_eq!(errors, Vec::<&str>::new());
    let lines = output.lines().count();
    assert!(lines < 100, "{lines} lines\n{output}");
}

fn http_get(at: SocketAddr, path: &str) -> String {
    let mut socket = TcpStream::connect(at).unwrap();
    write!(socket, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    answer
}

/// The answer to a stranger does not say whether the tenant exists; the one line in the log does.
#[test]
fn a_stranger_at_enrolment_is_told_in_one_line_with_the_true_code() {
    let mut server = Server::start();
    for (tenant, device) in [("default", "s-1"), ("nothing", "s-2")] {
        let (done, output) = run(Command::new(tessera())
            .args(["device", "enrol", "--claim", "AAAA-BBBB-CCCC-DDDD", "--tenant", tenant])
            .args(["--http", &server.http.to_string(), "--device", device, "--dir"])
            .arg(server.folder.path().join(device)));
        assert!(!done && output.contains("claim_unknown"), "{output}");
        assert!(!output.contains("tenant_unknown"), "{output}");
    }
    let metrics = http_get(server.http, "/metrics");
    assert!(!metrics.contains("code=\"tenant_unknown\""), "{metrics}");
    server.process.terminate();
    assert!(server.process.wait().success());
    let output = server.process.output();
    for (device, code) in [("s-1", "claim_unknown"), ("s-2", "tenant_unknown")] {
        let shown = format!("shown_device={device}");
        let lines: Vec<&str> = output.lines().filter(|line| line.contains(&shown)).collect();
        let [line] = lines[..] else { panic!("{lines:#?}") };
        assert!(line.contains("enrolment refused"), "{line}");
        assert!(line.contains(&format!("code={code} ")), "{line}");
    }
}

/// A flood of strangers causes a bounded number of lines, and each kind is there.
#[test]
fn a_flood_of_strangers_is_told_in_few_lines() {
    let mut server = Server::start();
    let (mqtt, http) = (server.mqtt, server.http);
    let strange: [&[u8]; 4] =
        [b"\xc0\x00", b"GET / HTTP/1.1\r\n\r\n", b"\x10\xff\xff\xff\x7f", b"\x00"];
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(move || {
                for turn in 0..SHOWN / THREADS {
                    let _ = show(mqtt, strange[turn % strange.len()]);
                    let body = "POST /v1/enrol HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}";
                    let mut socket = TcpStream::connect(http).unwrap();
                    let _ = socket.write_all(body.as_bytes());
                    let _ = socket.read_to_string(&mut String::new());
                }
            });
        }
    });
    server.process.terminate();
    assert!(server.process.wait().success());
    let output = server.process.output();
    let lines = |words: &str| {
        let of_it = output.lines().filter(|line| line.contains(words));
        of_it.partition::<Vec<&str>, _>(|line| line.contains("more of the same"))
    };
    for kind in ["connect refused", "enrolment refused"] {
        let (closing, written) = lines(kind);
        assert!((20..150).contains(&written.len()), "{kind}: {} lines\n{output}", written.len());
        assert!(!closing.is_empty(), "{kind}\n{output}");
    }
    assert!(output.lines().count() < 400, "{}", output.lines().count());
}
