//! SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK (sections 3.8 to 3.11 of both versions).

use super::error::{CodecError, ReasonCode, Result};
use super::frame::Kind;
use super::packet::{QoS, Version};
use super::primitive::{put_text, Cursor};
use super::properties::{Place, Properties};
use super::topic;
use crate::limits::MAX_FILTERS_PER_PACKET;
use bytes::{BufMut, Bytes, BytesMut};
use bytestring::ByteString;

/// When retained messages are sent for a new subscription.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(u8)]
pub enum RetainHandling {
    /// On every subscribe.
    #[default]
    Send = 0,
    /// Only when the subscription is new.
    SendIfNew = 1,
    /// Never.
    Never = 2,
}

/// The Subscription Options (MQTT 5 section 3.8.3.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SubscribeOptions {
    /// Highest QoS to deliver with.
    pub qos: QoS,
    /// Not what this connection published itself.
    pub no_local: bool,
    /// Keep the publisher's retain flag.
    pub retain_as_published: bool,
    /// Retained messages at subscribe.
    pub retain_handling: RetainHandling,
}

/// One entry of SUBSCRIBE.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Subscription {
    /// A syntactically valid filter, with its `$share/<name>/` if it has one.
    pub filter: ByteString,
    /// Options; in 3.1.1 only the QoS.
    pub options: SubscribeOptions,
}

/// Request to receive.
#[derive(Clone, PartialEq, Eq)]
pub struct Subscribe {
    /// Never 0.
    pub packet_id: u16,
    /// Subscription identifier and user properties.
    pub properties: Properties,
    /// At least one.
    pub entries: Vec<Subscription>,
}

/// Request to receive no more.
#[derive(Clone, PartialEq, Eq)]
pub struct Unsubscribe {
    /// Never 0.
    pub packet_id: u16,
    /// User properties.
    pub properties: Properties,
    /// At least one.
    pub filters: Vec<ByteString>,
}

/// Answer to SUBSCRIBE or UNSUBSCRIBE: one code for each entry. A 3.1.1 UNSUBACK has none.
#[derive(Clone, PartialEq, Eq)]
pub struct SubAck {
    /// That of the request.
    pub packet_id: u16,
    /// Reason string and user properties.
    pub properties: Properties,
    /// In the order of the request.
    pub reasons: Vec<ReasonCode>,
}

const SUBACK: &[u8] = &[0x00, 0x01, 0x02, 0x80, 0x83, 0x87, 0x8F, 0x91, 0x97, 0x9E, 0xA1, 0xA2];
const SUBACK_V311: &[u8] = &[0x00, 0x01, 0x02, 0x80];
const UNSUBACK: &[u8] = &[0x00, 0x11, 0x80, 0x83, 0x87, 0x8F, 0x91];

pub(super) fn decode_subscribe(body: &Bytes, version: Version) -> Result<Subscribe> {
    let mut cursor = Cursor::new(body);
    let packet_id = cursor.packet_id()?;
    let properties = read_properties(&mut cursor, version, Place::SUBSCRIBE)?;
    let mut entries = Vec::new();
    while !cursor.is_empty() {
        check_count(entries.len())?;
        let filter = cursor.text()?;
        let shared = topic::check_filter(&filter)?;
        let options = read_options(cursor.u8()?, version)?;
        if shared && options.no_local {
            return Err(CodecError::protocol("no_local_on_shared"));
        }
        entries.push(Subscription { filter, options });
    }
    if entries.is_empty() {
        return Err(CodecError::protocol("subscribe_without_filter"));
    }
    Ok(Subscribe { packet_id, properties, entries })
}

fn read_options(byte: u8, version: Version) -> Result<SubscribeOptions> {
    let reserved = if version == Version::V5 { 0b1100_0000 } else { 0b1111_1100 };
    if byte & reserved != 0 {
        return Err(CodecError::malformed("subscribe_reserved_bits"));
    }
    let qos = QoS::from_bits(byte).ok_or(CodecError::protocol("subscribe_qos_3"))?;
    let retain_handling = match (byte >> 4) & 0b11 {
        0 => RetainHandling::Send,
        1 => RetainHandling::SendIfNew,
        2 => RetainHandling::Never,
        _ => return Err(CodecError::protocol("retain_handling_3")),
    };
    Ok(SubscribeOptions {
        qos,
        no_local: byte & 0b100 != 0,
        retain_as_published: byte & 0b1000 != 0,
        retain_handling,
    })
}

fn options_byte(options: SubscribeOptions, version: Version) -> u8 {
    if version == Version::V311 {
        return options.qos as u8;
    }
    (options.qos as u8)
        | (u8::from(options.no_local) << 2)
        | (u8::from(options.retain_as_published) << 3)
        | ((options.retain_handling as u8) << 4)
}

pub(super) fn decode_unsubscribe(body: &Bytes, version: Version) -> Result<Unsubscribe> {
    let mut cursor = Cursor::new(body);
    let packet_id = cursor.packet_id()?;
    let properties = read_properties(&mut cursor, version, Place::UNSUBSCRIBE)?;
    let mut filters = Vec::new();
    while !cursor.is_empty() {
        check_count(filters.len())?;
        let filter = cursor.text()?;
        topic::check_filter(&filter)?;
        filters.push(filter);
    }
    if filters.is_empty() {
        return Err(CodecError::protocol("unsubscribe_without_filter"));
    }
    Ok(Unsubscribe { packet_id, properties, filters })
}

pub(super) fn decode_suback(body: &Bytes, version: Version, kind: Kind) -> Result<SubAck> {
    let mut cursor = Cursor::new(body);
    let packet_id = cursor.packet_id()?;
    let properties = read_properties(&mut cursor, version, Place::SUBACK)?;
    let allowed = match (kind, version) {
        (Kind::SubAck, Version::V5) => SUBACK,
        (Kind::SubAck, Version::V311) => SUBACK_V311,
        (_, Version::V5) => UNSUBACK,
        (_, Version::V311) => &[],
    };
    let mut reasons = Vec::new();
    for code in cursor.rest() {
        check_count(reasons.len())?;
        if !allowed.contains(&code) {
            return Err(CodecError::protocol("reason_code_not_allowed_here"));
        }
        reasons.push(ReasonCode(code));
    }
    if reasons.is_empty() && !allowed.is_empty() {
        return Err(CodecError::protocol("suback_without_codes"));
    }
    Ok(SubAck { packet_id, properties, reasons })
}

fn read_properties(cursor: &mut Cursor<'_>, version: Version, place: u32) -> Result<Properties> {
    match version {
        Version::V311 => Ok(Properties::new()),
        Version::V5 => Properties::read(cursor, place),
    }
}

fn check_count(have: usize) -> Result<()> {
    if have < MAX_FILTERS_PER_PACKET {
        Ok(())
    } else {
        Err(CodecError::with(ReasonCode::QUOTA_EXCEEDED, "filters_too_many"))
    }
}

fn encode_start(
    packet_id: u16,
    properties: &Properties,
    version: Version,
    out: &mut BytesMut,
) -> Result<()> {
    if packet_id == 0 {
        return Err(CodecError::protocol("packet_id_zero"));
    }
    out.put_u16(packet_id);
    match version {
        Version::V311 => Ok(()),
        Version::V5 => properties.write(out),
    }
}

pub(super) fn encode_subscribe(
    packet: &Subscribe,
    version: Version,
    out: &mut BytesMut,
) -> Result<()> {
    encode_start(packet.packet_id, &packet.properties, version, out)?;
    for entry in &packet.entries {
        put_text(out, &entry.filter)?;
        out.put_u8(options_byte(entry.options, version));
    }
    Ok(())
}

pub(super) fn encode_unsubscribe(
    packet: &Unsubscribe,
    version: Version,
    out: &mut BytesMut,
) -> Result<()> {
    encode_start(packet.packet_id, &packet.properties, version, out)?;
    packet.filters.iter().try_for_each(|filter| put_text(out, filter))
}

pub(super) fn encode_suback(
    packet: &SubAck,
    version: Version,
    kind: Kind,
    out: &mut BytesMut,
) -> Result<()> {
    encode_start(packet.packet_id, &packet.properties, version, out)?;
    if version == Version::V311 && kind == Kind::UnsubAck {
        return Ok(());
    }
    for reason in &packet.reasons {
        let refused = version == Version::V311 && reason.is_error();
        out.put_u8(if refused { 0x80 } else { reason.0 });
    }
    Ok(())
}
