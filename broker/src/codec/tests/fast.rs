//! Tests of the properties that the hot path relies on: shared payloads, linear time, one encoded head for many
//! receivers.

use super::{frame, hex};
use crate::codec::*;
use bytes::{Bytes, BytesMut};

#[test]
fn payload_and_topic_of_a_publish_are_slices_of_the_packet() {
    let frame = frame(&hex("3208 0003612f62 0007 ff")).unwrap();
    let range = frame.body.as_ptr_range();
    let Packet::Publish(publish) = decode(&frame, Version::V311, Peer::Client).unwrap() else {
        panic!("kind")
    };
    assert!(range.contains(&publish.payload.as_ptr()));
    assert!(range.contains(&publish.topic.as_bytes().as_ptr()));
    assert_eq!((publish.packet_id, &publish.payload[..]), (Some(7), &[0xff][..]));
}

#[test]
fn head_and_payload_apart_are_the_packet() {
    let properties = Properties::build().user("a", "b").finish().unwrap();
    let payload = Bytes::from(vec![1u8; 20_000]);
    for (qos, id) in [(QoS::AtMostOnce, None), (QoS::AtLeastOnce, Some(3))] {
        let head = PublishHead {
            dup: false,
            qos,
            retain: false,
            topic: "a/b",
            packet_id: id,
            properties: &properties,
        };
        for version in [Version::V311, Version::V5] {
            let mut out = BytesMut::new();
            publish::encode_head(&head, version, payload.len(), &mut out).unwrap();
            out.extend_from_slice(&payload);
            assert_eq!(out.len(), publish::encoded_len(&head, version, payload.len()));
            let read = super::read(&out, version, Peer::Server).unwrap();
            let Packet::Publish(publish) = read else { panic!("kind") };
            assert_eq!((publish.packet_id, publish.payload.len()), (id, 20_000));
        }
    }
}

#[test]
fn properties_keep_order_and_drop_only_what_concerns_one_hop() {
    let properties = Properties::build()
        .user("b", "1")
        .number(PropertyId::TopicAlias, 4)
        .text(PropertyId::ContentType, "t")
        .number(PropertyId::MessageExpiry, 9)
        .user("a", "2")
        .user("b", "3")
        .finish()
        .unwrap();
    let forwarded = properties.forwardable();
    assert_eq!(forwarded.user().collect::<Vec<_>>(), [("b", "1"), ("a", "2"), ("b", "3")]);
    assert_eq!(forwarded.text(PropertyId::ContentType), Some("t"));
    assert_eq!(forwarded.number(PropertyId::TopicAlias), None);
    assert_eq!(forwarded.number(PropertyId::MessageExpiry), None);
    assert_eq!(properties.number(PropertyId::MessageExpiry), Some(9));
}

fn publish_with(users: usize) -> BytesMut {
    let mut properties = Properties::build();
    for _ in 0..users {
        properties = properties.user("", "");
    }
    let mut out = BytesMut::new();
    let packet = Packet::Publish(Publish {
        dup: false,
        qos: QoS::AtMostOnce,
        retain: false,
        topic: "t".into(),
        packet_id: None,
        properties: properties.finish().unwrap(),
        payload: Bytes::new(),
    });
    encode(&packet, Version::V5, &mut out).unwrap();
    out
}

#[test]
fn nine_thousand_user_properties_are_read_in_their_own_memory() {
    let raw = publish_with(9_000);
    let Packet::Publish(publish) = super::read(&raw, Version::V5, Peer::Client).unwrap() else {
        panic!("kind")
    };
    assert_eq!(publish.properties.user().count(), 9_000);
    assert_eq!(publish.properties.len(), 45_000);
}

#[test]
fn one_user_property_above_the_limit_is_refused() {
    let limit = crate::limits::MAX_USER_PROPERTIES;
    assert!(super::read(&publish_with(limit), Version::V5, Peer::Client).is_ok());
    let error = super::read(&publish_with(limit + 1), Version::V5, Peer::Client).unwrap_err();
    assert_eq!(
        (error.reason, error.rule),
        (ReasonCode::QUOTA_EXCEEDED, "user_properties_too_many")
    );
}

#[test]
fn the_size_limit_acts_on_the_header_alone() {
    let reader = FrameReader::new(crate::limits::MAX_PACKET_BEFORE_AUTH);
    let mut fits = BytesMut::from(&hex("10 fd3f")[..]);
    assert!(matches!(reader.next(&mut fits).unwrap(), Step::NeedMore(8189)));
    for header in ["10 fe3f", "10 ffffff7f"] {
        let error = reader.next(&mut BytesMut::from(&hex(header)[..])).unwrap_err();
        assert_eq!((error.reason, error.rule), (ReasonCode::PACKET_TOO_LARGE, "packet_too_large"));
    }
}

#[test]
fn the_first_byte_tells_the_kind() {
    let reader = FrameReader::new(100);
    assert_eq!(reader.peek_kind(&[]).unwrap(), None);
    assert_eq!(reader.peek_kind(&[0x10]).unwrap(), Some(Kind::Connect));
    assert_eq!(reader.peek_kind(&[0x11]).unwrap_err().rule, "reserved_flags");
}

#[test]
fn what_cannot_be_written_leaves_the_buffer_alone() {
    let mut out = BytesMut::from(&b"before"[..]);
    let long = Packet::PubAck(Ack::new(0, ReasonCode::SUCCESS));
    assert_eq!(encode(&long, Version::V5, &mut out).unwrap_err().rule, "packet_id_zero");
    assert_eq!(&out[..], b"before");
    assert!(Properties::build()
        .text(PropertyId::ContentType, &"x".repeat(65_536))
        .finish()
        .is_err());
    assert!(Properties::build().text(PropertyId::TopicAlias, "x").finish().is_err());
}
