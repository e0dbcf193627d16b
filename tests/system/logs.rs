//! The lines that a peer can make a server write are bounded, and the log tells how many were left out.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

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

fn http_get(at: SocketAddr, path: &str) -> String {
    let mut socket = TcpStream::connect(at).unwrap();
    write!(socket, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    answer
}

/// Strangers who send anything at all write a bounded number of lines, and each kind is there.
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
