//! Packets of the proxy's own: a subscription to the control topics and tokens to the broker, the last packet to a client.

use tessera_broker::codec::{
    self, ConnAck, Disconnect, Packet, Properties, Publish, QoS, ReasonCode, Subscribe,
    SubscribeOptions, Subscription, Version,
};
use tessera_simulators::device::renewal::TOKEN_TOPIC;
use tessera_simulators::mqtt::BytesMut;

/// The control topic on which the broker says why it ends a session.
pub(super) const STATUS_TOPIC: &str = "$tessera/status";

/// The packet id of the subscription: it goes before the packets of the client, which wait for its answer.
pub(super) const SUBSCRIBE_ID: u16 = u16::MAX;

/// SUBSCRIBE to the control topics with QoS 0, so that no answer needs a packet id.
pub(super) fn subscribe(version: Version) -> Vec<u8> {
    let entry = |topic: &str| Subscription {
        filter: topic.into(),
        options: SubscribeOptions { qos: QoS::AtMostOnce, ..SubscribeOptions::default() },
    };
    bytes(
        version,
        &Packet::Subscribe(Subscribe {
            packet_id: SUBSCRIBE_ID,
            properties: Properties::new(),
            entries: [TOKEN_TOPIC, STATUS_TOPIC].map(entry).into(),
        }),
    )
}

/// PUBLISH on `$tessera/token` with QoS 0: it has no packet id.
pub(super) fn token(version: Version, payload: Vec<u8>) -> Vec<u8> {
    bytes(
        version,
        &Packet::Publish(Publish {
            dup: false,
            qos: QoS::AtMostOnce,
            retain: false,
            topic: TOKEN_TOPIC.into(),
            packet_id: None,
            properties: Properties::new(),
            payload: payload.into(),
        }),
    )
}

/// CONNACK that refuses.
pub(super) fn refusal(version: Version, reason: ReasonCode) -> Vec<u8> {
    let properties = Properties::new();
    bytes(version, &Packet::ConnAck(ConnAck { session_present: false, reason, properties }))
}

/// CONNACK for a version that is neither 3.1.1 nor 5, in the form that older clients read.
pub(super) fn unknown_version() -> Vec<u8> {
    refusal(Version::V311, ReasonCode::UNSUPPORTED_VERSION)
}

/// DISCONNECT; 3.1.1 has none from the server.
pub(super) fn disconnect(version: Version, reason: ReasonCode) -> Option<Vec<u8>> {
    let properties = Properties::new();
    let packet = Packet::Disconnect(Disconnect { reason, properties });
    (version == Version::V5).then(|| bytes(version, &packet))
}

/// None of these packets has a field that is too long; one that had would not be sent.
fn bytes(version: Version, packet: &Packet) -> Vec<u8> {
    let mut out = BytesMut::new();
    if let Err(error) = codec::encode(packet, version, &mut out) {
        tracing::error!(rule = error.rule, "a packet of the proxy could not be encoded");
    }
    out.to_vec()
}

/// Meaning of a CONNACK.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Answer {
    Accepted,
    /// The credential is refused.
    NotAuthorised,
    /// Anything else, with its code.
    Refused(u8),
}

impl Answer {
    /// By the body of a CONNACK.
    pub(super) fn of(version: Version, body: &[u8]) -> Option<Self> {
        let code = *body.get(1)?;
        Some(match (version, code) {
            (_, 0) => Self::Accepted,
            (Version::V5, 0x86 | 0x87) | (Version::V311, 4 | 5) => Self::NotAuthorised,
            (_, code) => Self::Refused(code),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_packets_are_those_of_the_standard() {
        assert_eq!(subscribe(Version::V311)[..6], [0x82, 37, 0xff, 0xff, 0, 14]);
        assert_eq!(subscribe(Version::V5)[..7], [0x82, 38, 0xff, 0xff, 0, 0, 14]);
        assert_eq!(token(Version::V311, b"xy".to_vec()), b"\x30\x12\0\x0e$tessera/tokenxy");
        assert_eq!(token(Version::V5, b"xy".to_vec()), b"\x30\x13\0\x0e$tessera/token\0xy");
        assert_eq!(refusal(Version::V5, ReasonCode::SERVER_UNAVAILABLE), [0x20, 3, 0, 0x88, 0]);
        assert_eq!(refusal(Version::V311, ReasonCode::SERVER_UNAVAILABLE), [0x20, 2, 0, 3]);
        assert_eq!(refusal(Version::V311, ReasonCode::NOT_AUTHORIZED), [0x20, 2, 0, 5]);
        assert_eq!(refusal(Version::V311, ReasonCode::CLIENT_ID_NOT_VALID), [0x20, 2, 0, 2]);
        assert_eq!(
            disconnect(Version::V5, ReasonCode::SERVER_SHUTTING_DOWN).unwrap(),
            [0xe0, 2, 0x8b, 0]
        );
        assert_eq!(disconnect(Version::V311, ReasonCode::SERVER_SHUTTING_DOWN), None);
    }

    #[test]
    fn a_connack_is_read_in_its_version() {
        assert_eq!(Answer::of(Version::V5, &[1, 0, 0]), Some(Answer::Accepted));
        assert_eq!(Answer::of(Version::V5, &[0, 0x87, 0]), Some(Answer::NotAuthorised));
        assert_eq!(Answer::of(Version::V311, &[0, 5]), Some(Answer::NotAuthorised));
        assert_eq!(Answer::of(Version::V5, &[0, 5, 0]), Some(Answer::Refused(5)));
        assert_eq!(Answer::of(Version::V311, &[0]), None);
    }
}
