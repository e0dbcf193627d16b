//! Broken packets: bytes, version, side, code, rule.

use super::{hex, read};
use crate::codec::{FrameReader, Peer, ReasonCode, Version};
use bytes::BytesMut;
use Peer::{Client, Server};
use Version::{V311, V5};

type Case = (&'static str, Version, Peer, u8, &'static str);

fn check(cases: &[Case]) {
    for (raw, version, peer, reason, rule) in cases {
        match read(&hex(raw), *version, *peer) {
            Ok(packet) => panic!("{rule}: {raw} was read as {packet:?}"),
            Err(error) => assert_eq!(
                (error.rule, error.reason),
                (*rule, ReasonCode(*reason)),
                "{raw}"
            ),
        }
    }
}

#[test]
fn headers() {
    let cases: &[(&str, &str)] = &[
        ("00 00", "packet_type_zero"),
        ("11 00", "reserved_flags"),
        ("21 00", "reserved_flags"),
        ("41 00", "reserved_flags"),
        ("60 00", "reserved_flags"),
        ("63 00", "reserved_flags"),
        ("80 00", "reserved_flags"),
        ("92 00", "reserved_flags"),
        ("a0 00", "reserved_flags"),
        ("c1 00", "reserved_flags"),
        ("d8 00", "reserved_flags"),
        ("e2 00", "reserved_flags"),
        ("f1 00", "reserved_flags"),
        ("36 00", "publish_qos_3"),
        ("37 00", "publish_qos_3"),
        ("38 00", "publish_dup_qos_0"),
        ("c0 8000", "varint_not_shortest"),
        ("c0 808000", "varint_not_shortest"),
        ("c0 ff8000", "varint_not_shortest"),
        ("c0 80808080", "varint_too_long"),
        ("c0 ffffffff01", "varint_too_long"),
    ];
    for (raw, rule) in cases {
        let error = FrameReader::new(1 << 28)
            .next(&mut BytesMut::from(&hex(raw)[..]))
            .unwrap_err();
        assert_eq!(
            (error.rule, error.reason),
            (*rule, ReasonCode::MALFORMED_PACKET),
            "{raw}"
        );
    }
}

#[test]
fn connect() {
    check(&[
        ("10 00", V5, Client, 0x81, "packet_truncated"),
        (
            "10 0c 0004 4d515454 06 02 0000 0000",
            V5,
            Client,
            0x84,
            "protocol_version",
        ),
        (
            "10 0c 0004 4d515454 03 02 0000 0000",
            V5,
            Client,
            0x84,
            "protocol_version",
        ),
        (
            "10 0e 0006 4d5149736470 03 02 0000 0000",
            V5,
            Client,
            0x84,
            "protocol_version",
        ),
        (
            "10 0c 0004 4d515453 04 02 0000 0000",
            V5,
            Client,
            0x84,
            "protocol_name",
        ),
        (
            "10 0c 0004 4d515454 04 03 0000 0000",
            V311,
            Client,
            0x81,
            "connect_reserved_flag",
        ),
        (
            "10 0c 0004 4d515454 04 1a 0000 0000",
            V311,
            Client,
            0x81,
            "will_qos_3",
        ),
        (
            "10 0c 0004 4d515454 04 1e 0000 0000",
            V311,
            Client,
            0x81,
            "will_qos_3",
        ),
        (
            "10 0c 0004 4d515454 04 0a 0000 0000",
            V311,
            Client,
            0x81,
            "will_flags_without_will",
        ),
        (
            "10 0c 0004 4d515454 04 22 0000 0000",
            V311,
            Client,
            0x81,
            "will_flags_without_will",
        ),
        (
            "10 0e 0004 4d515454 04 42 0000 0000 0000",
            V311,
            Client,
            0x81,
            "password_without_user_name",
        ),
        (
            "10 0c 0004 4d515454 04 00 0000 0000",
            V311,
            Client,
            0x85,
            "client_id_empty_without_clean_session",
        ),
        (
            "10 0d 0004 4d515454 04 02 0000 0000 00",
            V311,
            Client,
            0x81,
            "trailing_bytes",
        ),
        (
            "10 0d 0004 4d515454 04 02 0000 0001 00",
            V311,
            Client,
            0x81,
            "utf8_null_character",
        ),
        (
            "10 0d 0004 4d515454 04 02 0000 0001 ff",
            V311,
            Client,
            0x81,
            "utf8_invalid",
        ),
        (
            "10 0f 0004 4d515454 04 02 0000 0003 eda080",
            V311,
            Client,
            0x81,
            "utf8_invalid",
        ),
        (
            "10 0e 0004 4d515454 04 02 0000 0002 c080",
            V311,
            Client,
            0x81,
            "utf8_invalid",
        ),
        (
            "10 0d 0004 4d515454 04 02 0000 0002 61",
            V311,
            Client,
            0x81,
            "packet_truncated",
        ),
        (
            "10 10 0004 4d515454 04 06 0000 0000 0000 0000",
            V311,
            Client,
            0x81,
            "topic_name_empty",
        ),
        (
            "10 11 0004 4d515454 04 06 0000 0000 0001 23 0000",
            V311,
            Client,
            0x81,
            "topic_name_wildcard",
        ),
        (
            "10 0c 0004 4d515454 04 82 0000 0000",
            V311,
            Client,
            0x81,
            "packet_truncated",
        ),
        (
            "10 10 0004 4d515454 05 02 0000 03 210000 0000",
            V5,
            Client,
            0x82,
            "receive_maximum_zero",
        ),
        (
            "10 12 0004 4d515454 05 02 0000 05 2700000000 0000",
            V5,
            Client,
            0x82,
            "maximum_packet_size_zero",
        ),
        (
            "10 0f 0004 4d515454 05 02 0000 02 1702 0000",
            V5,
            Client,
            0x82,
            "property_byte_out_of_range",
        ),
        (
            "10 0f 0004 4d515454 05 02 0000 02 1902 0000",
            V5,
            Client,
            0x82,
            "property_byte_out_of_range",
        ),
        (
            "10 11 0004 4d515454 05 02 0000 04 1700 1700 0000",
            V5,
            Client,
            0x82,
            "property_twice",
        ),
        (
            "10 11 0004 4d515454 05 02 0000 04 16 0001 00 0000",
            V5,
            Client,
            0x82,
            "auth_data_without_method",
        ),
        (
            "10 15 0004 4d515454 05 02 0000 08 15 0001 61 15 0001 61 0000",
            V5,
            Client,
            0x82,
            "property_twice",
        ),
        (
            "10 0f 0004 4d515454 05 02 0000 02 0100 0000",
            V5,
            Client,
            0x81,
            "property_not_allowed_here",
        ),
        (
            "10 0f 0004 4d515454 05 02 0000 02 7f00 0000",
            V5,
            Client,
            0x81,
            "property_unknown",
        ),
        (
            "10 0f 0004 4d515454 05 02 0000 02 0000 0000",
            V5,
            Client,
            0x81,
            "property_unknown",
        ),
        (
            "10 0f 0004 4d515454 05 02 0000 02 2100 0000",
            V5,
            Client,
            0x81,
            "packet_truncated",
        ),
        (
            "10 0d 0004 4d515454 05 02 0000 20 0000",
            V5,
            Client,
            0x81,
            "packet_truncated",
        ),
        (
            "10 0e 0004 4d515454 05 02 0000 8000 0000",
            V5,
            Client,
            0x81,
            "varint_not_shortest",
        ),
        (
            "10 18 0004 4d515454 05 06 0000 00 0000 05 1100000000 0001 61 0000",
            V5,
            Client,
            0x81,
            "property_not_allowed_here",
        ),
        ("20 02 0000", V311, Client, 0x82, "packet_from_wrong_side"),
    ]);
}

#[test]
fn publish() {
    check(&[
        ("30 00", V311, Client, 0x81, "packet_truncated"),
        ("30 02 0000", V311, Client, 0x81, "topic_name_empty"),
        ("30 03 0001 23", V311, Client, 0x81, "topic_name_wildcard"),
        (
            "30 05 0003 612f2b",
            V311,
            Client,
            0x81,
            "topic_name_wildcard",
        ),
        (
            "30 05 0003 61002f",
            V311,
            Client,
            0x81,
            "utf8_null_character",
        ),
        ("32 03 0001 61", V311, Client, 0x81, "packet_truncated"),
        ("32 04 0001 61 01", V311, Client, 0x81, "packet_truncated"),
        ("32 05 0001 61 0000", V311, Client, 0x82, "packet_id_zero"),
        ("34 06 0001 61 0000 00", V5, Client, 0x82, "packet_id_zero"),
        (
            "30 03 0000 00",
            V5,
            Client,
            0x82,
            "topic_name_empty_without_alias",
        ),
        ("30 06 0000 03 230000", V5, Client, 0x94, "topic_alias_zero"),
        (
            "30 0a 0001 61 06 230001 230001",
            V5,
            Client,
            0x82,
            "property_twice",
        ),
        (
            "30 06 0001 61 02 0102",
            V5,
            Client,
            0x82,
            "property_byte_out_of_range",
        ),
        (
            "30 06 0001 61 02 0b01",
            V5,
            Client,
            0x81,
            "property_not_allowed_here",
        ),
        (
            "30 06 0001 61 02 0b00",
            V5,
            Server,
            0x82,
            "subscription_id_zero",
        ),
        (
            "30 09 0001 61 05 1100000000",
            V5,
            Client,
            0x81,
            "property_not_allowed_here",
        ),
        (
            "30 08 0001 61 04 08 0001 23",
            V5,
            Client,
            0x81,
            "topic_name_wildcard",
        ),
        (
            "30 07 0001 61 03 08 0000",
            V5,
            Client,
            0x81,
            "topic_name_empty",
        ),
        (
            "30 08 0001 61 04 03 0001 ff",
            V5,
            Client,
            0x81,
            "utf8_invalid",
        ),
        (
            "30 09 0001 61 05 26 0001 61 00",
            V5,
            Client,
            0x81,
            "packet_truncated",
        ),
    ]);
    let deep = format!("30 82 01 0080 {}", "2f".repeat(128));
    let error = read(&hex(&deep), V311, Client).unwrap_err();
    assert_eq!(
        (error.rule, error.reason),
        ("topic_name_levels", ReasonCode::TOPIC_NAME_INVALID)
    );
}

#[test]
fn subscribe_and_unsubscribe() {
    check(&[
        ("82 00", V311, Client, 0x81, "packet_truncated"),
        ("82 02 0001", V311, Client, 0x82, "subscribe_without_filter"),
        (
            "82 03 0001 00",
            V5,
            Client,
            0x82,
            "subscribe_without_filter",
        ),
        (
            "82 06 0000 0001 61 00",
            V311,
            Client,
            0x82,
            "packet_id_zero",
        ),
        ("82 05 0001 0001 61", V311, Client, 0x81, "packet_truncated"),
        (
            "82 05 0001 0000 00",
            V311,
            Client,
            0x81,
            "topic_filter_empty",
        ),
        (
            "82 06 0001 0001 61 03",
            V311,
            Client,
            0x82,
            "subscribe_qos_3",
        ),
        (
            "82 06 0001 0001 61 04",
            V311,
            Client,
            0x81,
            "subscribe_reserved_bits",
        ),
        (
            "82 07 0001 00 0001 61 03",
            V5,
            Client,
            0x82,
            "subscribe_qos_3",
        ),
        (
            "82 07 0001 00 0001 61 40",
            V5,
            Client,
            0x81,
            "subscribe_reserved_bits",
        ),
        (
            "82 07 0001 00 0001 61 80",
            V5,
            Client,
            0x81,
            "subscribe_reserved_bits",
        ),
        (
            "82 07 0001 00 0001 61 30",
            V5,
            Client,
            0x82,
            "retain_handling_3",
        ),
        (
            "82 09 0001 02 0b00 0001 61 00",
            V5,
            Client,
            0x82,
            "subscription_id_zero",
        ),
        (
            "82 0b 0001 04 0b01 0b02 0001 61 00",
            V5,
            Client,
            0x82,
            "property_twice",
        ),
        (
            "82 07 0001 0002 6123 00",
            V311,
            Client,
            0x81,
            "topic_filter_wildcard_in_level",
        ),
        (
            "82 07 0001 0002 2b61 00",
            V311,
            Client,
            0x81,
            "topic_filter_wildcard_in_level",
        ),
        (
            "82 07 0001 0002 2323 00",
            V311,
            Client,
            0x81,
            "topic_filter_wildcard_in_level",
        ),
        (
            "82 08 0001 0003 232f61 00",
            V311,
            Client,
            0x81,
            "topic_filter_hash_not_last",
        ),
        (
            "82 07 0001 0002 232f 00",
            V311,
            Client,
            0x81,
            "topic_filter_hash_not_last",
        ),
        (
            "82 0b 0001 0006 247368617265 00",
            V311,
            Client,
            0x81,
            "share_without_filter",
        ),
        (
            "82 0d 0001 0008 2473686172652f67 00",
            V311,
            Client,
            0x81,
            "share_without_filter",
        ),
        (
            "82 0e 0001 0009 2473686172652f672f 00",
            V311,
            Client,
            0x81,
            "topic_filter_empty",
        ),
        (
            "82 0e 0001 0009 2473686172652f2f61 00",
            V311,
            Client,
            0x81,
            "share_name_invalid",
        ),
        (
            "82 0f 0001 000a 2473686172652f2b2f61 00",
            V311,
            Client,
            0x81,
            "share_name_invalid",
        ),
        (
            "82 10 0001 00 000a 2473686172652f672f61 04",
            V5,
            Client,
            0x82,
            "no_local_on_shared",
        ),
        (
            "a2 02 0001",
            V311,
            Client,
            0x82,
            "unsubscribe_without_filter",
        ),
        (
            "a2 03 0001 00",
            V5,
            Client,
            0x82,
            "unsubscribe_without_filter",
        ),
        ("a2 05 0000 0001 61", V311, Client, 0x82, "packet_id_zero"),
        (
            "a2 08 0001 02 0b01 0001 61",
            V5,
            Client,
            0x81,
            "property_not_allowed_here",
        ),
        (
            "90 03 0001 00",
            V311,
            Client,
            0x82,
            "packet_from_wrong_side",
        ),
        (
            "90 03 0001 03",
            V311,
            Server,
            0x82,
            "reason_code_not_allowed_here",
        ),
        ("90 02 0001", V311, Server, 0x82, "suback_without_codes"),
        (
            "90 04 0001 00 04",
            V5,
            Server,
            0x82,
            "reason_code_not_allowed_here",
        ),
        (
            "b0 03 0001 00",
            V311,
            Server,
            0x82,
            "reason_code_not_allowed_here",
        ),
        (
            "b0 04 0001 00 01",
            V5,
            Server,
            0x82,
            "reason_code_not_allowed_here",
        ),
    ]);
}

#[test]
fn too_many_filters_and_levels() {
    let one = "0001 61 00";
    let body = 2 + 513 * 4;
    let raw = format!(
        "82 {:02x}{:02x} 0001 {}",
        (body & 0x7f) | 0x80,
        body >> 7,
        one.repeat(513)
    );
    let error = read(&hex(&raw), V311, Client).unwrap_err();
    assert_eq!(
        (error.rule, error.reason),
        ("filters_too_many", ReasonCode::QUOTA_EXCEEDED)
    );
    let slashes = 65_000usize;
    let body = 2 + 2 + slashes + 1;
    let (a, b, c) = (
        (body & 0x7f) | 0x80,
        ((body >> 7) & 0x7f) | 0x80,
        body >> 14,
    );
    let raw = format!(
        "82 {a:02x}{b:02x}{c:02x} 0001 {slashes:04x} {} 00",
        "2f".repeat(slashes)
    );
    let error = read(&hex(&raw), V311, Client).unwrap_err();
    assert_eq!(
        (error.rule, error.reason),
        ("topic_filter_levels", ReasonCode::TOPIC_FILTER_INVALID)
    );
}

#[test]
fn acknowledgements() {
    check(&[
        ("40 00", V311, Client, 0x81, "packet_truncated"),
        ("40 01 00", V5, Client, 0x81, "packet_truncated"),
        ("40 02 0000", V311, Client, 0x82, "packet_id_zero"),
        ("40 03 0001 00", V311, Client, 0x81, "trailing_bytes"),
        (
            "40 03 0001 01",
            V5,
            Client,
            0x82,
            "reason_code_not_allowed_here",
        ),
        (
            "40 03 0001 92",
            V5,
            Client,
            0x82,
            "reason_code_not_allowed_here",
        ),
        (
            "50 03 0001 92",
            V5,
            Client,
            0x82,
            "reason_code_not_allowed_here",
        ),
        (
            "62 03 0001 10",
            V5,
            Client,
            0x82,
            "reason_code_not_allowed_here",
        ),
        (
            "70 03 0001 87",
            V5,
            Client,
            0x82,
            "reason_code_not_allowed_here",
        ),
        ("40 05 0001 00 00 00", V5, Client, 0x81, "trailing_bytes"),
        (
            "40 06 0001 00 02 0100",
            V5,
            Client,
            0x81,
            "property_not_allowed_here",
        ),
        (
            "40 0c 0001 00 08 1f 0001 61 1f 0001 61",
            V5,
            Client,
            0x82,
            "property_twice",
        ),
        ("c0 01 00", V311, Client, 0x81, "trailing_bytes"),
        ("d0 00", V311, Client, 0x82, "packet_from_wrong_side"),
        ("c0 00", V311, Server, 0x82, "packet_from_wrong_side"),
    ]);
}

#[test]
fn connack_disconnect_auth() {
    check(&[
        ("20 02 0200", V311, Server, 0x81, "connack_reserved_flags"),
        ("20 02 0006", V311, Server, 0x81, "connack_return_code"),
        (
            "20 02 0105",
            V311,
            Server,
            0x82,
            "session_present_in_refusal",
        ),
        (
            "20 03 0001 00",
            V5,
            Server,
            0x82,
            "reason_code_not_allowed_here",
        ),
        (
            "20 03 0187 00",
            V5,
            Server,
            0x82,
            "session_present_in_refusal",
        ),
        ("20 02 0000", V5, Server, 0x81, "packet_truncated"),
        (
            "20 05 0000 02 2402",
            V5,
            Server,
            0x82,
            "property_byte_out_of_range",
        ),
        ("e0 01 00", V311, Client, 0x81, "trailing_bytes"),
        ("e0 00", V311, Server, 0x82, "disconnect_from_v311_server"),
        ("e0 01 8e", V5, Client, 0x82, "reason_code_not_allowed_here"),
        ("e0 01 04", V5, Server, 0x82, "reason_code_not_allowed_here"),
        ("e0 01 01", V5, Client, 0x82, "reason_code_not_allowed_here"),
        (
            "e0 07 00 05 1100000000",
            V5,
            Server,
            0x81,
            "property_not_allowed_here",
        ),
        (
            "e0 06 00 04 1c 0001 61",
            V5,
            Client,
            0x81,
            "property_not_allowed_here",
        ),
        ("e0 03 00 00 00", V5, Client, 0x81, "trailing_bytes"),
        ("f0 00", V311, Client, 0x81, "auth_in_v311"),
        ("f0 00", V5, Client, 0x82, "reason_code_not_allowed_here"),
        ("f0 00", V5, Server, 0x82, "auth_without_method"),
        ("f0 02 18 00", V5, Client, 0x82, "auth_without_method"),
        (
            "f0 06 00 04 15 0001 61",
            V5,
            Client,
            0x82,
            "reason_code_not_allowed_here",
        ),
        (
            "f0 06 19 04 15 0001 61",
            V5,
            Server,
            0x82,
            "reason_code_not_allowed_here",
        ),
        (
            "f0 06 18 04 16 0001 61",
            V5,
            Client,
            0x82,
            "auth_data_without_method",
        ),
        (
            "f0 08 18 06 15 0001 61 0100",
            V5,
            Client,
            0x81,
            "property_not_allowed_here",
        ),
    ]);
}
