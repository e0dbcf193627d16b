//! The RFC 9431 packets of the shared vectors.

use super::{hex, read};
use crate::codec::*;
use std::path::Path;

fn load() -> Option<serde_json::Value> {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/vectors/rfc9431_derived.json");
    match std::fs::read_to_string(&path) {
        Ok(text) => Some(serde_json::from_str(&text).unwrap()),
        Err(_) => {
            println!("the shared vectors are not here ({}): nothing compared", path.display());
            None
        }
    }
}

#[test]
fn packets_of_rfc9431_decode_and_encode_to_the_same_bytes() {
    let Some(vectors) = load() else { return };
    let packets = vectors["packets"].as_object().unwrap();
    assert!(packets.len() >= 11, "only {} packets", packets.len());
    for (name, raw) in packets {
        let raw = hex(raw.as_str().unwrap());
        let from_server =
            ["connack", "broker", "disconnect"].iter().any(|word| name.contains(word));
        let peer = if from_server { Peer::Server } else { Peer::Client };
        let version = if name.starts_with("mqtt311") { Version::V311 } else { Version::V5 };
        let packet = read(&raw, version, peer).unwrap_or_else(|error| panic!("{name}: {error}"));
        let mut out = bytes::BytesMut::new();
        encode(&packet, version, &mut out).unwrap();
        assert_eq!(out, raw[..], "{name}");
    }
}

#[test]
fn authentication_data_comes_out_as_it_went_in() {
    let Some(vectors) = load() else { return };
    let packets = &vectors["packets"];
    let raw = hex(packets["mqtt5_connect_exporter"].as_str().unwrap());
    let Packet::Connect(connect) = read(&raw, Version::V5, Peer::Client).unwrap() else {
        panic!("kind")
    };
    let wanted = hex(vectors["pop_exporter"]["authentication_data"].as_str().unwrap());
    assert_eq!(connect.properties.text(PropertyId::AuthMethod), Some("ace"));
    assert_eq!(connect.properties.binary(PropertyId::AuthData).unwrap(), wanted);
    assert!(connect.user_name.is_none() && connect.password.is_none());
    let raw = hex(packets["mqtt5_connack_0x87_with_as_hint"].as_str().unwrap());
    let Packet::ConnAck(ack) = read(&raw, Version::V5, Peer::Server).unwrap() else {
        panic!("kind")
    };
    assert_eq!(ack.reason, ReasonCode::NOT_AUTHORIZED);
    assert_eq!(ack.properties.user().map(|(name, _)| name).collect::<Vec<_>>(), ["ace_as_hint"]);
}
