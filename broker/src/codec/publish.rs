//! PUBLISH (section 3.3 of both versions). The payload is never copied: read, it is a slice of the packet; written,
//! the head is made apart so that the same payload can follow many heads.

use super::error::{CodecError, Result};
use super::frame::{Frame, Kind};
use super::packet::{Peer, QoS, Version};
use super::primitive::{put_text, put_varint, varint_len, Cursor};
use super::properties::{Place, Properties, PropertyId};
use super::topic;
use bytes::{BufMut, Bytes, BytesMut};
use bytestring::ByteString;

/// An application message on the wire.
#[derive(Clone, PartialEq, Eq)]
pub struct Publish {
    /// A repeated delivery.
    pub dup: bool,
    /// Quality of service.
    pub qos: QoS,
    /// Retain flag.
    pub retain: bool,
    /// A valid topic name; empty in MQTT 5 when a topic alias stands for it.
    pub topic: ByteString,
    /// Present exactly for QoS 1 and 2.
    pub packet_id: Option<u16>,
    /// Empty in 3.1.1.
    pub properties: Properties,
    /// The message.
    pub payload: Bytes,
}

pub(super) fn decode(frame: &Frame, version: Version, from: Peer) -> Result<Publish> {
    let mut cursor = Cursor::new(&frame.body);
    let qos = QoS::from_bits(frame.first >> 1).ok_or(CodecError::malformed("publish_qos_3"))?;
    let topic = cursor.text()?;
    let packet_id = if qos == QoS::AtMostOnce { None } else { Some(cursor.packet_id()?) };
    let properties = match version {
        Version::V311 => Properties::new(),
        Version::V5 => Properties::read(&mut cursor, place(from))?,
    };
    check_topic(&topic, version, &properties)?;
    Ok(Publish {
        dup: frame.first & 0b1000 != 0,
        qos,
        retain: frame.first & 1 != 0,
        topic,
        packet_id,
        properties,
        payload: cursor.rest(),
    })
}

fn place(from: Peer) -> u32 {
    match from {
        Peer::Client => Place::PUBLISH,
        Peer::Server => Place::PUBLISH_FROM_SERVER,
    }
}

fn check_topic(name: &ByteString, version: Version, properties: &Properties) -> Result<()> {
    if !name.is_empty() || version == Version::V311 {
        return topic::check_name(name);
    }
    match properties.number(PropertyId::TopicAlias) {
        Some(_) => Ok(()),
        None => Err(CodecError::protocol("topic_name_empty_without_alias")),
    }
}

/// All of a PUBLISH but its payload.
#[derive(Clone, Copy)]
pub struct PublishHead<'a> {
    /// A repeated delivery.
    pub dup: bool,
    /// Quality of service.
    pub qos: QoS,
    /// Retain flag.
    pub retain: bool,
    /// Topic name, or empty with an alias.
    pub topic: &'a str,
    /// Needed for QoS 1 and 2, ignored for QoS 0.
    pub packet_id: Option<u16>,
    /// Left out for 3.1.1.
    pub properties: &'a Properties,
}

/// Writes everything that stands before the payload; the caller sends `payload_len` bytes after it.
///
/// # Errors
/// QoS without packet id, a topic above 65,535 bytes, a packet above 256 MiB.
pub fn encode_head(
    head: &PublishHead<'_>,
    version: Version,
    payload_len: usize,
    out: &mut BytesMut,
) -> Result<()> {
    let packet_id = match (head.qos, head.packet_id) {
        (QoS::AtMostOnce, _) => None,
        (_, Some(id)) if id != 0 => Some(id),
        _ => return Err(CodecError::protocol("packet_id_zero")),
    };
    let length = head_len(head, version) + payload_len;
    out.reserve(1 + varint_len(length) + length - payload_len);
    let dup = head.dup && head.qos != QoS::AtMostOnce;
    let flags = (u8::from(dup) << 3) | ((head.qos as u8) << 1) | u8::from(head.retain);
    out.put_u8(Kind::Publish.first_byte(flags));
    put_varint(out, length)?;
    put_text(out, head.topic)?;
    if let Some(id) = packet_id {
        out.put_u16(id);
    }
    match version {
        Version::V311 => Ok(()),
        Version::V5 => head.properties.write(out),
    }
}

/// Bytes that a PUBLISH takes on the wire, to be compared with the receiver's maximum packet size.
pub fn encoded_len(head: &PublishHead<'_>, version: Version, payload_len: usize) -> usize {
    let length = head_len(head, version) + payload_len;
    1 + varint_len(length) + length
}

fn head_len(head: &PublishHead<'_>, version: Version) -> usize {
    let id = if head.qos == QoS::AtMostOnce { 0 } else { 2 };
    let properties = match version {
        Version::V311 => 0,
        Version::V5 => head.properties.written_len(),
    };
    2 + head.topic.len() + id + properties
}

impl Publish {
    /// The head, for [`encode_head`].
    pub fn head(&self) -> PublishHead<'_> {
        PublishHead {
            dup: self.dup,
            qos: self.qos,
            retain: self.retain,
            topic: &self.topic,
            packet_id: self.packet_id,
            properties: &self.properties,
        }
    }
}

pub(super) fn encode(publish: &Publish, version: Version, out: &mut BytesMut) -> Result<()> {
    encode_head(&publish.head(), version, publish.payload.len(), out)?;
    out.extend_from_slice(&publish.payload);
    Ok(())
}
