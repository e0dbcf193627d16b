//! Packets of the proxy's own: a subscription to the control topics and tokens to the broker, the last packet to a client.

use tessera_simulators::device::renewal::TOKEN_TOPIC;

use super::connect::Version;
use super::reader::{packet, put_field};

/// The control topic on which the broker says why it ends a session.
pub(super) const STATUS_TOPIC: &str = "$tessera/status";

/// The packet id of the subscription: it goes before the packets of the client, which wait for its answer.
pub(super) const SUBSCRIBE_ID: u16 = u16::MAX;

/// Reasons of MQTT 5 (section 2.4) that the proxy gives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Reason {
    Unspecified = 0x80,
    Malformed = 0x81,
    ClientIdNotValid = 0x85,
    NotAuthorised = 0x87,
    Unavailable = 0x88,
    ShuttingDown = 0x8b,
    BadAuthenticationMethod = 0x8c,
    KeepAliveTimeout = 0x8d,
}

/// SUBSCRIBE to the control topics with QoS 0, so that no answer needs a packet id.
pub(super) fn subscribe(version: Version) -> Vec<u8> {
    let mut body = SUBSCRIBE_ID.to_be_bytes().to_vec();
    no_properties(version, &mut body);
    for topic in [TOKEN_TOPIC, STATUS_TOPIC] {
        put_field(topic.as_bytes(), &mut body);
        body.push(0);
    }
    packet(0x82, &body)
}

/// PUBLISH on `$tessera/token` with QoS 0: it has no packet id.
pub(super) fn token(version: Version, payload: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    put_field(TOKEN_TOPIC.as_bytes(), &mut body);
    no_properties(version, &mut body);
    body.extend_from_slice(payload);
    packet(0x30, &body)
}

/// CONNACK that refuses.
pub(super) fn refusal(version: Version, reason: Reason) -> Vec<u8> {
    match version {
        Version::V5 => packet(0x20, &[0, reason as u8, 0]),
        Version::V311 => {
            let code = match reason {
                Reason::ClientIdNotValid => 2,
                Reason::NotAuthorised => 5,
                _ => 3,
            };
            packet(0x20, &[0, code])
        }
    }
}

/// CONNACK for a version that is neither 3.1.1 nor 5, in the form that older clients read.
pub(super) fn unknown_version() -> Vec<u8> {
    packet(0x20, &[0, 1])
}

/// DISCONNECT; 3.1.1 has none from the server.
pub(super) fn disconnect(version: Version, reason: Reason) -> Option<Vec<u8>> {
    (version == Version::V5).then(|| packet(0xe0, &[reason as u8, 0]))
}

fn no_properties(version: Version, body: &mut Vec<u8>) {
    if version == Version::V5 {
        body.push(0);
    }
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
        assert_eq!(token(Version::V311, b"xy"), b"\x30\x12\0\x0e$tessera/tokenxy");
        assert_eq!(token(Version::V5, b"xy"), b"\x30\x13\0\x0e$tessera/token\0xy");
        assert_eq!(refusal(Version::V5, Reason::Unavailable), [0x20, 3, 0, 0x88, 0]);
        assert_eq!(refusal(Version::V311, Reason::Unavailable), [0x20, 2, 0, 3]);
        assert_eq!(refusal(Version::V311, Reason::NotAuthorised), [0x20, 2, 0, 5]);
        assert_eq!(refusal(Version::V311, Reason::ClientIdNotValid), [0x20, 2, 0, 2]);
        assert_eq!(disconnect(Version::V5, Reason::ShuttingDown).unwrap(), [0xe0, 2, 0x8b, 0]);
        assert_eq!(disconnect(Version::V311, Reason::ShuttingDown), None);
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
