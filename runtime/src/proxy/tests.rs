use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use tokio::io::AsyncWriteExt;

use super::forwarded::{resolve, Header, Ignored};
use super::header::read;
use super::*;
use crate::limits::{PROXY_HEADER_BYTES, PROXY_LINE_BYTES};

const OWN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9);
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

fn header(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
    let length = (body.len() as u16).to_be_bytes();
    [SIGNATURE, &[command, family], &length, body, b"next"].concat()
}

/// Whole, and byte by byte: the outcome is the same, and what follows stays unread.
async fn told(bytes: &[u8]) -> Option<String> {
    let mut input = bytes;
    let whole = read(&mut input, OWN).await;
    if whole.is_some() {
        assert_eq!(input, b"next");
    }
    let (mut near, mut far) = tokio::io::duplex(1);
    let slowly = async {
        for byte in bytes {
            if far.write_all(&[*byte]).await.is_err() {
                break;
            }
        }
        drop(far);
    };
    let reading = async {
        let found = read(&mut near, OWN).await;
        drop(near);
        found
    };
    let (apart, ()) = tokio::join!(reading, slowly);
    assert_eq!(whole, apart, "{:?}", String::from_utf8_lossy(bytes));
    whole.map(|address| address.to_string())
}

#[tokio::test]
async fn binary_headers_are_taken_strictly() {
    let v4 = [192, 0, 2, 1, 10, 0, 0, 1, 0x30, 0x39, 7, 91];
    assert_eq!(told(&header(0x21, 0x11, &v4)).await.as_deref(), Some("192.0.2.1:12345"));
    let with_tlv = [&v4[..], &[4, 0, 1, 0]].concat();
    assert_eq!(told(&header(0x21, 0x11, &with_tlv)).await.as_deref(), Some("192.0.2.1:12345"));
    let mut v6 = [0; 36];
    v6[15] = 1;
    v6[33] = 5;
    assert_eq!(told(&header(0x21, 0x21, &v6)).await.as_deref(), Some("[::1]:5"));
    assert_eq!(told(&header(0x20, 0x00, &[])).await.as_deref(), Some("127.0.0.1:9"));
    for wrong in [
        header(0x11, 0x11, &v4),
        header(0x22, 0x11, &v4),
        header(0x21, 0x12, &v4),
        header(0x21, 0x31, &[0; 216]),
        header(0x21, 0x11, &v4[..11]),
        header(0x21, 0x21, &v6[..35]),
        header(0x21, 0x11, &vec![0; PROXY_HEADER_BYTES + 1]),
        header(0x21, 0x11, &v4)[..20].to_vec(),
    ] {
        assert_eq!(told(&wrong).await, None);
    }
}

#[tokio::test]
async fn lines_are_taken_strictly() {
    let longest = format!(
        "PROXY UNKNOWN {0} {0} 65535 65535\r\nnext",
        "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"
    );
    assert_eq!(longest.len(), PROXY_LINE_BYTES + 4);
    for (line, expected) in [
        ("PROXY TCP4 192.0.2.1 10.0.0.1 12345 1883\r\nnext", "192.0.2.1:12345"),
        ("PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\nnext", "1.2.3.4:1"),
        ("PROXY TCP6 2001:db8::1 ::1 12345 1883\r\nnext", "[2001:db8::1]:12345"),
        ("PROXY UNKNOWN\r\nnext", "127.0.0.1:9"),
        (&longest, "127.0.0.1:9"),
    ] {
        assert_eq!(told(line.as_bytes()).await.as_deref(), Some(expected), "{line}");
    }
    let long = format!("PROXY UNKNOWN {}\r\nnext", "x".repeat(PROXY_LINE_BYTES - 15));
    for wrong in [
        "PROXY TCP4 192.0.2.1 10.0.0.1 12345 1883\nnext and more",
        "PROXY TCP4 192.0.2.1 10.0.0.1 12345 1883\rnext and more",
        "PROXY TCP4 192.0.2.1 10.0.0.1 12345\r\nnext",
        "PROXY TCP4 192.0.2.256 10.0.0.1 1 2\r\nnext",
        "PROXY TCP4 2001:db8::1 ::1 1 2\r\nnext",
        "PROXY TCP6 192.0.2.1 10.0.0.1 1 2\r\nnext",
        "PROXY TCP4 192.0.2.1 10.0.0.1 65536 2\r\nnext",
        "PROXY TCP4  192.0.2.1 10.0.0.1 1 2\r\nnext",
        "PROXY UDP4 192.0.2.1 10.0.0.1 1 2\r\nnext",
        "PROXY \r\n\r\n\r\n\r\n\r\nnext",
        "proxy tcp4 192.0.2.1 10.0.0.1 1 2\r\nnext",
        "PROXY TCP4 192.0.2.1 10.0.0.1 1 2",
        "PROXY TCP4",
        "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        &long,
        &"PROXY ".repeat(40),
        "",
    ] {
        assert_eq!(told(wrong.as_bytes()).await, None, "{wrong}");
    }
    assert_eq!(told(b"PROXY TCP4 \xff\xfe 10.0.0.1 1 2\r\nnext").await, None);
}

#[test]
fn sources_are_prefixes() {
    let one = Source::parse("10.1.0.0/16").unwrap();
    assert!(one.contains("10.1.255.1".parse().unwrap()));
    assert!(one.contains("::ffff:10.1.0.1".parse().unwrap()));
    assert!(!one.contains("10.2.0.1".parse().unwrap()));
    assert!(!one.contains("::1".parse().unwrap()));
    assert!(Source::parse("10.1.2.3/16").unwrap().contains("10.1.255.1".parse().unwrap()));
    assert!(Source::parse("::ffff:10.1.2.3").unwrap().contains("10.1.2.3".parse().unwrap()));
    assert!(Source::parse("0.0.0.0/0").unwrap().contains("8.8.8.8".parse().unwrap()));
    assert!(Source::parse("::/0").unwrap().contains("2001:db8::1".parse().unwrap()));
    assert!(!Source::parse("::1").unwrap().contains("::2".parse().unwrap()));
    for wrong in ["10.0.0.0/33", "::/129", "x/8", "10.0.0.0/", "", "10.0.0.0/-1", "localhost"] {
        assert_eq!(Source::parse(wrong), None, "{wrong}");
    }
}

fn sources() -> Vec<Source> {
    ["127.0.0.1", "10.0.0.0/8", "2001:db8:f::/48"]
        .iter()
        .map(|text| Source::parse(text).unwrap())
        .collect()
}

fn found(peer: &str, which: Header, forwarded: &[&str], x: &[&str]) -> (String, Option<Ignored>) {
    let bytes = |values: &[&'static str]| values.iter().map(|v| v.as_bytes()).collect::<Vec<_>>();
    let leak = |values: &[&str]| -> Vec<&'static str> {
        values.iter().map(|value| &*String::from(*value).leak()).collect()
    };
    let (forwarded, x) = (bytes(&leak(forwarded)), bytes(&leak(x)));
    let found = resolve(peer.parse().unwrap(), &sources(), which, &forwarded, &x);
    (found.address.to_string(), found.ignored)
}

#[test]
fn x_forwarded_for_is_walked_from_the_right() {
    for (values, address, ignored) in [
        (&["203.0.113.9"][..], "203.0.113.9", None),
        (&["198.51.100.1, 203.0.113.9"], "203.0.113.9", None),
        (&["127.0.0.1, 203.0.113.9"], "203.0.113.9", None),
        (&["203.0.113.9, 10.0.0.3"], "203.0.113.9", None),
        (&["198.51.100.1", "203.0.113.9,10.0.0.3 ", "10.0.0.4"], "203.0.113.9", None),
        (&["203.0.113.9:4711"], "203.0.113.9", None),
        (&["2001:db8::7"], "2001:db8::7", None),
        (&["[2001:db8::7]:80"], "2001:db8::7", None),
        (&["::ffff:203.0.113.9"], "203.0.113.9", None),
        (&["10.0.0.1, 10.0.0.2"], "10.0.0.1", None),
        (&["", " , "], "10.9.9.9", None),
        (&["203.0.113.9, nonsense"], "10.9.9.9", Some(Ignored::Unreadable)),
        (&["nonsense, 203.0.113.9"], "203.0.113.9", None),
        (&["203.0.113.9, unknown, 10.0.0.2"], "10.0.0.2", Some(Ignored::Unreadable)),
        (&["203.0.113.999"], "10.9.9.9", Some(Ignored::Unreadable)),
        (&["203.0.113.9\u{0}"], "10.9.9.9", Some(Ignored::Unreadable)),
    ] {
        let which = Header::Either;
        assert_eq!(
            found("10.9.9.9", which, &[], values),
            (address.to_owned(), ignored),
            "{values:?}"
        );
    }
}

/// The bytes of a client stand beside the entry of its proxy, in one line.
#[test]
fn bytes_that_are_no_text_hide_no_entry_of_a_proxy() {
    let peer = "10.9.9.9".parse().unwrap();
    let line: &[u8] = b"\xff\xfe, 203.0.113.9";
    let found = resolve(peer, &sources(), Header::Either, &[], &[line]);
    assert_eq!((found.address.to_string().as_str(), found.ignored), ("203.0.113.9", None));
    let line: &[u8] = b"for=\xff, for=203.0.113.9";
    let found = resolve(peer, &sources(), Header::Either, &[line], &[]);
    assert_eq!((found.address.to_string().as_str(), found.ignored), ("203.0.113.9", None));
}

#[test]
fn forwarded_is_walked_from_the_right() {
    for (values, address, ignored) in [
        (&["for=203.0.113.9"][..], "203.0.113.9", None),
        (&["For=203.0.113.9;proto=https;by=10.0.0.1"], "203.0.113.9", None),
        (&["for=198.51.100.1, for=203.0.113.9"], "203.0.113.9", None),
        (&["for=198.51.100.1", "for=\"203.0.113.9:80\", for=10.0.0.3"], "203.0.113.9", None),
        (&["for=\"[2001:db8::7]:4711\""], "2001:db8::7", None),
        (&["for=\"[2001:db8::7]\";host=\"a,b;c\""], "2001:db8::7", None),
        (&["for=\"20\\3.0.113.9\""], "203.0.113.9", None),
        (&["for=_hidden"], "10.9.9.9", Some(Ignored::Unreadable)),
        (&["for=unknown, for=10.0.0.3"], "10.0.0.3", Some(Ignored::Unreadable)),
        (&["proto=https"], "10.9.9.9", Some(Ignored::Unreadable)),
        (&["for=1.1.1.1;for=2.2.2.2"], "10.9.9.9", Some(Ignored::Unreadable)),
        // A client's open quote does not swallow what the proxy adds, in the same line or in the next.
        (&["for=\"x, for=203.0.113.9"], "10.9.9.9", Some(Ignored::Unreadable)),
        (&["for=6.6.6.6;x=\", for=\"[2001:db8::7]\""], "10.9.9.9", Some(Ignored::Unreadable)),
        (&["for=6.6.6.6;x=\"", "for=203.0.113.9"], "203.0.113.9", None),
        (&["for=\"\\\\\", for=203.0.113.9"], "203.0.113.9", None),
    ] {
        let which = Header::Either;
        assert_eq!(
            found("10.9.9.9", which, values, &[]),
            (address.to_owned(), ignored),
            "{values:?}"
        );
    }
}

#[test]
fn a_header_of_a_stranger_counts_for_nothing() {
    let (for_me, by_name) = (&["203.0.113.9"][..], &["for=203.0.113.9"][..]);
    let told = |address: &str| (address.to_owned(), Some(Ignored::Untrusted));
    for which in [Header::Either, Header::Forwarded, Header::XForwardedFor] {
        assert_eq!(found("192.0.2.1", which, &[], for_me), told("192.0.2.1"));
        assert_eq!(found("192.0.2.1", which, by_name, &[]), told("192.0.2.1"));
        assert_eq!(found("192.0.2.1", which, &[], &[]), ("192.0.2.1".to_owned(), None));
    }
}

/// A proxy that sets one header passes the client's other one on.
#[test]
fn two_headers_must_agree_unless_one_is_chosen() {
    let own = |address: &str| (address.to_owned(), None);
    let (spoof, x) = (&["for=6.6.6.6"][..], &["203.0.113.9"][..]);
    let disagree = ("10.9.9.9".to_owned(), Some(Ignored::Disagree));
    assert_eq!(found("10.9.9.9", Header::Either, spoof, x), disagree);
    assert_eq!(found("10.9.9.9", Header::Either, &["for=203.0.113.9"], x), own("203.0.113.9"));
    assert_eq!(found("10.9.9.9", Header::XForwardedFor, spoof, x), own("203.0.113.9"));
    assert_eq!(
        found("10.9.9.9", Header::Forwarded, &["for=203.0.113.9"], &["6.6.6.6"]),
        own("203.0.113.9")
    );
    assert_eq!(found("10.9.9.9", Header::XForwardedFor, spoof, &[]), own("10.9.9.9"));
}

#[test]
fn a_row_of_trusted_hops_ends() {
    let hops = vec!["10.0.0.1"; 100_000].join(",");
    let (address, _) = found("10.9.9.9", Header::Either, &[], &[&format!("203.0.113.9,{hops}")]);
    assert_eq!(address, "10.0.0.1");
}

#[test]
fn settings_that_cannot_hold_are_named() {
    let strings = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    let raw = |listeners: &[&str], from: &[&str], trusted: &[&str], header: Option<&str>| {
        let raw = RawProxy {
            listeners: strings(listeners),
            from: strings(from),
            trusted: strings(trusted),
            header: header.map(str::to_owned),
        };
        raw.validate().map_err(|error| error.key)
    };
    assert_eq!(raw(&["quic"], &["::/0"], &[], None).unwrap_err(), "proxy.listeners");
    assert_eq!(raw(&["http"], &[], &[], None).unwrap_err(), "proxy.from");
    assert_eq!(raw(&["http"], &["10/8"], &[], None).unwrap_err(), "proxy.from");
    assert_eq!(raw(&[], &[], &["nginx"], None).unwrap_err(), "proxy.trusted");
    assert_eq!(raw(&[], &[], &[], Some("via")).unwrap_err(), "proxy.header");
    let good = raw(&["http"], &["10.0.0.0/8"], &["127.0.0.1"], Some("forwarded")).unwrap();
    assert!(good.expects("http") && !good.expects("ws"));
    assert_eq!(good.header, Header::Forwarded);
}
