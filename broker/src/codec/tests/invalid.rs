//! Broken packets: the table in `invalid.txt` says which bytes break which rule, with which code.

use super::{hex, read};
use crate::codec::{FrameReader, Peer, ReasonCode, Version};
use bytes::BytesMut;

#[test]
fn every_row_of_the_table_is_refused_with_its_code_and_rule() {
    let rows: Vec<&str> =
        include_str!("invalid.txt").lines().filter(|row| !row.starts_with('#')).collect();
    assert!(rows.len() > 120, "only {} rows", rows.len());
    for row in rows {
        let mut words = row.split_whitespace();
        let mut word = || words.next().unwrap();
        let version = if word() == "5" { Version::V5 } else { Version::V311 };
        let from = if word() == "Client" { Peer::Client } else { Peer::Server };
        let reason = ReasonCode(u8::from_str_radix(word(), 16).unwrap());
        let rule = word();
        let raw = hex(&words.collect::<String>());
        match read(&raw, version, from) {
            Ok(packet) => panic!("read as {packet:?}: {row}"),
            Err(error) => assert_eq!((error.rule, error.reason), (rule, reason), "{row}"),
        }
    }
}

#[test]
fn broken_headers_are_refused_before_any_body_comes() {
    for row in HEADERS.lines().filter(|row| !row.is_empty()) {
        let (rule, raw) = row.split_once(' ').unwrap();
        let error = FrameReader::new(1 << 28).next(&mut BytesMut::from(&hex(raw)[..])).unwrap_err();
        assert_eq!((error.rule, error.reason), (rule, ReasonCode::MALFORMED_PACKET), "{row}");
    }
}

const HEADERS: &str = "
packet_type_zero 00 00
reserved_flags 11 00
reserved_flags 21 00
reserved_flags 41 00
reserved_flags 60 00
reserved_flags 63 00
reserved_flags 80 00
reserved_flags 92 00
reserved_flags a0 00
reserved_flags c1 00
reserved_flags d8 00
reserved_flags e2 00
reserved_flags f1 00
publish_qos_3 36 00
publish_qos_3 37 00
publish_dup_qos_0 38 00
varint_not_shortest c0 8000
varint_not_shortest c0 808000
varint_not_shortest c0 ff8000
varint_too_long c0 80808080
varint_too_long c0 ffffffff01
";

#[test]
fn too_many_levels_in_a_name() {
    let deep = format!("30 82 01 0080 {}", "2f".repeat(128));
    let error = read(&hex(&deep), Version::V311, Peer::Client).unwrap_err();
    assert_eq!((error.rule, error.reason), ("topic_name_levels", ReasonCode::TOPIC_NAME_INVALID));
}

#[test]
fn too_many_filters_and_levels() {
    let one = "0001 61 00";
    let body = 2 + 513 * 4;
    let raw = format!("82 {:02x}{:02x} 0001 {}", (body & 0x7f) | 0x80, body >> 7, one.repeat(513));
    let error = read(&hex(&raw), Version::V311, Peer::Client).unwrap_err();
    assert_eq!((error.rule, error.reason), ("filters_too_many", ReasonCode::QUOTA_EXCEEDED));
    let slashes = 65_000usize;
    let body = 2 + 2 + slashes + 1;
    let (a, b, c) = ((body & 0x7f) | 0x80, ((body >> 7) & 0x7f) | 0x80, body >> 14);
    let raw = format!("82 {a:02x}{b:02x}{c:02x} 0001 {slashes:04x} {} 00", "2f".repeat(slashes));
    let error = read(&hex(&raw), Version::V311, Peer::Client).unwrap_err();
    assert_eq!(
        (error.rule, error.reason),
        ("topic_filter_levels", ReasonCode::TOPIC_FILTER_INVALID)
    );
}
