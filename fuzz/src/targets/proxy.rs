//! Headers by which a proxy names the address of a peer: the PROXY protocol, `Forwarded` and `X-Forwarded-For`. A header
//! that is not trusted names no address, and no header names one that does not stand in it.

use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use tessera_runtime::limits::PROXY_HEADER_BYTES;
use tessera_runtime::proxy::forwarded::{resolve, Header};
use tessera_runtime::proxy::{header, trusted, Source};

use super::numbered;
use crate::signal::note;

/// The other end of each connection.
const OWN: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));

/// Runs one input: a byte that chooses the form, then a PROXY header, or the lines of the other two.
pub fn target(data: &[u8]) {
    let Some((form, bytes)) = data.split_first() else { return };
    match form & 1 {
        0 => proxy(bytes),
        _ => forwarded(*form, bytes),
    }
}

/// The address that is read, and how many bytes that took.
fn read(bytes: &[u8]) -> (Option<SocketAddr>, usize) {
    let mut rest = bytes;
    let reading = pin!(header::read(&mut rest, SocketAddr::from((OWN, 7))))
        .poll(&mut Context::from_waker(Waker::noop()));
    let Poll::Ready(found) = reading else { panic!("bytes in memory are there at once") };
    (found, bytes.len() - rest.len())
}

fn proxy(bytes: &[u8]) {
    let (found, taken) = read(bytes);
    assert!(taken <= 16 + PROXY_HEADER_BYTES, "{taken} bytes of a header");
    let Some(found) = found else { return note(("none", bytes.first(), taken)) };
    let taken = &bytes[..taken];
    assert_eq!(read(taken), (Some(found), taken.len()), "bytes behind the header count");
    let named = match taken.starts_with(b"PROXY ") {
        true => of_line(std::str::from_utf8(taken).expect("a line is text")),
        false => of_binary(taken),
    };
    note((taken[..13].to_vec(), found.is_ipv4(), named.is_some()));
    assert_eq!(found, named.unwrap_or(SocketAddr::from((OWN, 7))));
}

/// A second reading of version 1.
fn of_line(line: &str) -> Option<SocketAddr> {
    let line = line.strip_suffix("\r\n").expect("an end of line");
    let words: Vec<&str> = line.split(' ').collect();
    match words[..] {
        ["PROXY", "TCP4" | "TCP6", source, _, port, _] => Some(SocketAddr::new(
            source.parse().expect("an address"),
            port.parse().expect("a port"),
        )),
        ["PROXY", "UNKNOWN", ..] => None,
        _ => panic!("{line:?} was taken"),
    }
}

/// A second reading of version 2.
fn of_binary(bytes: &[u8]) -> Option<SocketAddr> {
    let port = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
    match (bytes[12], bytes[13]) {
        (0x20, _) => None,
        (0x21, 0x11) => {
            let source: [u8; 4] = bytes[16..20].try_into().expect("four bytes");
            Some(SocketAddr::from((Ipv4Addr::from(source), port(24))))
        }
        (0x21, 0x21) => {
            let source: [u8; 16] = bytes[16..32].try_into().expect("sixteen bytes");
            Some(SocketAddr::from((Ipv6Addr::from(source), port(48))))
        }
        other => panic!("{other:?} was taken"),
    }
}

fn forwarded(form: u8, bytes: &[u8]) {
    let mut lines: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').collect();
    let second = lines.split_off(lines.len() / 2);
    let source = |text: &str| Source::parse(text).expect("a source");
    let all = [source("10.0.0.0/8"), source("fd00::/8")];
    let sources = if form & 2 == 0 { &all[..] } else { &[] };
    let which =
        [Header::Either, Header::Forwarded, Header::XForwardedFor][usize::from(form >> 2) % 3];
    let found = resolve(OWN, sources, which, &lines, &second);
    note((
        form & 15,
        found.ignored.map(|why| why as u8),
        found.address == OWN,
        trusted(sources, found.address),
        lines.len(),
    ));
    assert_eq!(found, resolve(OWN, sources, which, &lines, &second));
    if sources.is_empty() {
        assert_eq!(found.address, OWN, "a peer that is not trusted names no address");
    }
    if found.address != OWN {
        assert!(
            [lines, second].concat().iter().any(|line| names(line, found.address)),
            "{} stands in no header",
            found.address
        );
    }
}

/// Whether the address stands anywhere in the line.
fn names(line: &[u8], address: IpAddr) -> bool {
    // A backslash in a quoted string stands for the character behind it.
    let text = String::from_utf8_lossy(line).replace('\\', "");
    let parts: Vec<&str> =
        text.split(|one: char| !(one.is_ascii_hexdigit() || ".:".contains(one))).collect();
    parts.iter().any(|part| {
        let alone = part.parse::<IpAddr>().ok();
        let with_port = part.parse::<SocketAddr>().ok().map(|place| place.ip());
        [alone, with_port].into_iter().flatten().any(|found| found.to_canonical() == address)
    })
}

/// Inputs to begin with.
pub fn seeds() -> Vec<(String, Vec<u8>)> {
    let binary = |command: u8, family: u8, rest: &[u8]| {
        let length = u16::try_from(rest.len()).expect("short").to_be_bytes();
        let head = [b"\r\n\r\n\0\r\nQUIT\n".as_slice(), &[command, family], &length].concat();
        [head, rest.to_vec()].concat()
    };
    let proxies: [Vec<u8>; 9] = [
        b"PROXY TCP4 203.0.113.7 10.0.0.2 5000 1883\r\nmore".to_vec(),
        b"PROXY TCP6 2001:db8::7 fd00::2 5000 8883\r\n".to_vec(),
        b"PROXY UNKNOWN\r\n\x10".to_vec(),
        b"PROXY UNKNOWN ff:: ff:: 1 2\r\n".to_vec(),
        binary(0x20, 0, &[]),
        binary(0x21, 0x11, &[203, 0, 113, 7, 10, 0, 0, 2, 1, 2, 3, 4]),
        binary(0x21, 0x21, &[0x20; 36]),
        [binary(0x21, 0x11, &[203, 0, 113, 7, 10, 0, 0, 2, 1, 2, 3, 4, 4, 0, 1, 9]), vec![1; 9]]
            .concat(),
        binary(
            0x21,
            0x11,
            &[&[203, 0, 113, 7, 10, 0, 0, 2, 1, 2, 3, 4, 4, 7, 0xf1][..], &[0; 2033]].concat(),
        ),
    ];
    let lines: [&str; 7] = [
        "for=203.0.113.7;proto=https, for=10.0.0.2\n",
        "for=\"[2001:db8::7]:5000\"\n",
        "for=\"203.0.113.7:5000\";by=_x\n203.0.113.7",
        "\n203.0.113.7, 10.0.0.2\n10.0.0.3:99",
        "for=unknown, for=_hidden\n",
        "for=\"10.0.0.9\\\"\n",
        "\n::ffff:10.0.0.2, [fd00::1], junk",
    ];
    let proxies = proxies.into_iter().map(|header| [vec![0], header].concat());
    let forms = [1, 3, 5, 9];
    let lines = lines
        .into_iter()
        .enumerate()
        .map(|(at, text)| [&[forms[at % 4]], text.as_bytes()].concat());
    numbered(proxies.chain(lines))
}
