//! PUBACK, PUBREC, PUBREL, PUBCOMP (sections 3.4 to 3.7 of both versions).

use super::error::{CodecError, ReasonCode, Result};
use super::frame::Kind;
use super::packet::Version;
use super::primitive::Cursor;
use super::properties::{Place, Properties};
use bytes::{BufMut, Bytes, BytesMut};

/// One step of a QoS 1 or 2 exchange.
#[derive(Clone, PartialEq, Eq)]
pub struct Ack {
    /// Never 0.
    pub packet_id: u16,
    /// Success in 3.1.1.
    pub reason: ReasonCode,
    /// Empty in 3.1.1.
    pub properties: Properties,
}

impl Ack {
    /// An acknowledgement without properties.
    pub fn new(packet_id: u16, reason: ReasonCode) -> Self {
        Self { packet_id, reason, properties: Properties::new() }
    }
}

/// PUBACK and PUBREC (tables 3-4, 3-5).
const RECEIPT: &[u8] = &[0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99];
/// PUBREL and PUBCOMP (tables 3-6, 3-7).
const RELEASE: &[u8] = &[0x00, 0x92];

pub(super) fn decode(body: &Bytes, version: Version, kind: Kind) -> Result<Ack> {
    let mut cursor = Cursor::new(body);
    let packet_id = cursor.packet_id()?;
    let mut ack = Ack::new(packet_id, ReasonCode::SUCCESS);
    if version == Version::V311 || cursor.is_empty() {
        cursor.finish()?;
        return Ok(ack);
    }
    let allowed = if matches!(kind, Kind::PubAck | Kind::PubRec) { RECEIPT } else { RELEASE };
    let code = cursor.u8()?;
    if !allowed.contains(&code) {
        return Err(CodecError::protocol("reason_code_not_allowed_here"));
    }
    ack.reason = ReasonCode(code);
    if !cursor.is_empty() {
        ack.properties = Properties::read(&mut cursor, Place::PUBACK)?;
    }
    cursor.finish()?;
    Ok(ack)
}

pub(super) fn encode(ack: &Ack, version: Version, out: &mut BytesMut) -> Result<()> {
    if ack.packet_id == 0 {
        return Err(CodecError::protocol("packet_id_zero"));
    }
    out.put_u16(ack.packet_id);
    let short = ack.reason == ReasonCode::SUCCESS && ack.properties.is_empty();
    if version == Version::V311 || short {
        return Ok(());
    }
    out.put_u8(ack.reason.0);
    if ack.properties.is_empty() {
        return Ok(());
    }
    ack.properties.write(out)
}
