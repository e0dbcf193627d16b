//! MQTT 3.1.1 and 5.0 on the wire, both directions, strict: pure functions over bytes.
//!
//! Reading: [`FrameReader`] cuts one packet out of a buffer, [`decode`] reads it. Writing: [`encode`] appends to a
//! buffer, and a [`Recipient`] does so for a client, no larger than it takes; a PUBLISH that goes to many is written
//! head by head with [`publish::encode_head`]. Bytes that a peer may not send give a [`CodecError`] with the MQTT 5
//! reason code and the name of the broken rule; the choice between malformed (0x81) and protocol error (0x82) follows
//! the text of MQTT 5 sections 1.5, 2.2, 3 and 4.13. State is not kept here: packet order, topic aliases, flow control
//! and rights belong to the session.

mod acks;
mod auth;
mod connack;
mod connect;
mod error;
mod frame;
mod packet;
mod primitive;
mod properties;
pub mod publish;
mod recipient;
mod subscribe;
#[cfg(test)]
mod tests;
mod topic;

pub use acks::Ack;
pub use auth::{Auth, Disconnect};
pub use connack::{to_v311, ConnAck};
pub use connect::{peek_version, Connect, Password, Will};
pub use error::{CodecError, ReasonCode, Result};
pub use frame::{Frame, FrameReader, Kind, Step};
pub use packet::{Packet, Peer, QoS, Version};
pub use properties::{Properties, PropertiesBuilder, PropertyId, Value};
pub use publish::{Publish, PublishHead};
pub use recipient::Recipient;
pub use subscribe::{
    RetainHandling, SubAck, Subscribe, SubscribeOptions, Subscription, Unsubscribe,
};

use bytes::{BufMut, BytesMut};
use primitive::{put_varint, Cursor};

/// Reads one packet that `from` sent. `version` is that of the connection; CONNECT brings its own.
///
/// # Errors
/// The broken rule, with the reason code to answer with. The connection ends.
pub fn decode(frame: &Frame, version: Version, from: Peer) -> Result<Packet> {
    check_direction(frame.kind, from)?;
    let body = &frame.body;
    Ok(match frame.kind {
        Kind::Connect => Packet::Connect(Box::new(connect::decode(body)?)),
        Kind::ConnAck => Packet::ConnAck(connack::decode(body, version)?),
        Kind::Publish => Packet::Publish(publish::decode(frame, version, from)?),
        Kind::PubAck => Packet::PubAck(acks::decode(body, version, frame.kind)?),
        Kind::PubRec => Packet::PubRec(acks::decode(body, version, frame.kind)?),
        Kind::PubRel => Packet::PubRel(acks::decode(body, version, frame.kind)?),
        Kind::PubComp => Packet::PubComp(acks::decode(body, version, frame.kind)?),
        Kind::Subscribe => Packet::Subscribe(subscribe::decode_subscribe(body, version)?),
        Kind::SubAck => Packet::SubAck(subscribe::decode_suback(body, version, frame.kind)?),
        Kind::Unsubscribe => Packet::Unsubscribe(subscribe::decode_unsubscribe(body, version)?),
        Kind::UnsubAck => Packet::UnsubAck(subscribe::decode_suback(body, version, frame.kind)?),
        Kind::PingReq => Cursor::new(body).finish().map(|()| Packet::PingReq)?,
        Kind::PingResp => Cursor::new(body).finish().map(|()| Packet::PingResp)?,
        Kind::Disconnect => Packet::Disconnect(auth::decode_disconnect(body, version, from)?),
        Kind::Auth => Packet::Auth(auth::decode_auth(body, version, from)?),
    })
}

fn check_direction(kind: Kind, from: Peer) -> Result<()> {
    let wrong = match from {
        Peer::Client => {
            matches!(kind, Kind::ConnAck | Kind::SubAck | Kind::UnsubAck | Kind::PingResp)
        }
        Peer::Server => {
            matches!(kind, Kind::Connect | Kind::Subscribe | Kind::Unsubscribe | Kind::PingReq)
        }
    };
    if wrong {
        Err(CodecError::protocol("packet_from_wrong_side"))
    } else {
        Ok(())
    }
}

/// Appends one packet to `out`. On an error `out` is as it was.
///
/// # Errors
/// A field that does not fit its length on the wire, a packet id of 0.
pub fn encode(packet: &Packet, version: Version, out: &mut BytesMut) -> Result<()> {
    let start = out.len();
    let done = match packet {
        Packet::Publish(publish) => publish::encode(publish, version, out),
        _ => encode_framed(packet, version, out),
    };
    if done.is_err() {
        out.truncate(start);
    }
    done
}

/// Most packets are shorter than 128 bytes: one length byte is set aside and only longer bodies are moved.
fn encode_framed(packet: &Packet, version: Version, out: &mut BytesMut) -> Result<()> {
    let start = out.len();
    out.put_u8(packet.kind().first_byte(0));
    out.put_u8(0);
    encode_body(packet, version, out)?;
    let length = out.len().saturating_sub(start + 2);
    match (u8::try_from(length), out.get_mut(start + 1)) {
        (Ok(short), Some(slot)) if short < 0x80 => *slot = short,
        _ => {
            let body = out.split_off(start + 2);
            out.truncate(start + 1);
            put_varint(out, length)?;
            out.extend_from_slice(&body);
        }
    }
    Ok(())
}

fn encode_body(packet: &Packet, version: Version, out: &mut BytesMut) -> Result<()> {
    match packet {
        Packet::Connect(connect) => connect::encode(connect, out),
        Packet::ConnAck(ack) => connack::encode(ack, version, out),
        Packet::PubAck(ack) | Packet::PubRec(ack) | Packet::PubRel(ack) | Packet::PubComp(ack) => {
            acks::encode(ack, version, out)
        }
        Packet::Subscribe(packet) => subscribe::encode_subscribe(packet, version, out),
        Packet::Unsubscribe(packet) => subscribe::encode_unsubscribe(packet, version, out),
        Packet::SubAck(ack) => subscribe::encode_suback(ack, version, Kind::SubAck, out),
        Packet::UnsubAck(ack) => subscribe::encode_suback(ack, version, Kind::UnsubAck, out),
        Packet::Disconnect(_) if version == Version::V311 => Ok(()),
        Packet::Disconnect(packet) => auth::encode(packet.reason, &packet.properties, out),
        Packet::Auth(_) if version == Version::V311 => Err(CodecError::malformed("auth_in_v311")),
        Packet::Auth(packet) => auth::encode(packet.reason, &packet.properties, out),
        Packet::PingReq | Packet::PingResp | Packet::Publish(_) => Ok(()),
    }
}
