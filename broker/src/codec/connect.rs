//! CONNECT (MQTT 5 section 3.1, MQTT 3.1.1 section 3.1).

use super::error::{CodecError, ReasonCode, Result};
use super::packet::{QoS, Version};
use super::primitive::{put_binary, put_text, Cursor};
use super::properties::{Place, Properties};
use super::topic;
use bytes::{BufMut, Bytes, BytesMut};
use bytestring::ByteString;

const USER_NAME: u8 = 0x80;
const PASSWORD: u8 = 0x40;
const WILL_RETAIN: u8 = 0x20;
const WILL: u8 = 0x04;
const CLEAN: u8 = 0x02;
const RESERVED: u8 = 0x01;

/// A credential from CONNECT: any bytes. Neither `Debug` nor `Serialize`.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(Bytes);

impl Password {
    /// Wraps bytes.
    pub fn new(raw: Bytes) -> Self {
        Self(raw)
    }

    /// The bytes, for the one place that verifies them.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

/// The Will Message: published when the connection ends without a DISCONNECT 0x00.
#[derive(Clone, PartialEq, Eq)]
pub struct Will {
    /// QoS of the publish.
    pub qos: QoS,
    /// Whether it is retained.
    pub retain: bool,
    /// Will delay, message expiry and the properties of the message.
    pub properties: Properties,
    /// A syntactically valid topic name.
    pub topic: ByteString,
    /// Payload, at most 65,535 bytes.
    pub payload: Bytes,
}

/// The first packet of a client. Holds credentials: no `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct Connect {
    /// Version that the client speaks.
    pub version: Version,
    /// Clean Start, in 3.1.1 Clean Session.
    pub clean_start: bool,
    /// Seconds; 0 turns it off.
    pub keep_alive: u16,
    /// Empty in 3.1.1.
    pub properties: Properties,
    /// May be empty: the server assigns one.
    pub client_id: ByteString,
    /// Last will.
    pub will: Option<Will>,
    /// User name.
    pub user_name: Option<ByteString>,
    /// Password.
    pub password: Option<Password>,
}

/// The version that a CONNECT body names, if it is one of ours: how to answer a CONNECT that is broken further on.
pub fn peek_version(body: &Bytes) -> Option<Version> {
    read_version(&mut Cursor::new(body)).ok()
}

pub(super) fn decode(body: &Bytes) -> Result<Connect> {
    let mut cursor = Cursor::new(body);
    let version = read_version(&mut cursor)?;
    let flags = cursor.u8()?;
    check_flags(flags, version)?;
    let keep_alive = cursor.u16()?;
    let properties = match version {
        Version::V5 => Properties::read(&mut cursor, Place::CONNECT)?,
        Version::V311 => Properties::new(),
    };
    let client_id = cursor.text()?;
    let clean_start = flags & CLEAN != 0;
    if version == Version::V311 && client_id.is_empty() && !clean_start {
        return Err(CodecError::with(
            ReasonCode::CLIENT_ID_NOT_VALID,
            "client_id_empty_without_clean_session",
        ));
    }
    let will = if flags & WILL == 0 { None } else { Some(read_will(&mut cursor, flags, version)?) };
    let user_name = if flags & USER_NAME == 0 { None } else { Some(cursor.text()?) };
    let password = if flags & PASSWORD == 0 { None } else { Some(Password(cursor.binary()?)) };
    cursor.finish()?;
    Ok(Connect {
        version,
        clean_start,
        keep_alive,
        properties,
        client_id,
        will,
        user_name,
        password,
    })
}

fn read_version(cursor: &mut Cursor<'_>) -> Result<Version> {
    const UNSUPPORTED: CodecError =
        CodecError::with(ReasonCode::UNSUPPORTED_VERSION, "protocol_version");
    let name = cursor.binary_slice()?;
    if name != b"MQTT" && name != b"MQIsdp" {
        return Err(CodecError::with(ReasonCode::UNSUPPORTED_VERSION, "protocol_name"));
    }
    match (name, cursor.u8()?) {
        (b"MQTT", 4) => Ok(Version::V311),
        (b"MQTT", 5) => Ok(Version::V5),
        _ => Err(UNSUPPORTED),
    }
}

fn check_flags(flags: u8, version: Version) -> Result<()> {
    if flags & RESERVED != 0 {
        return Err(CodecError::malformed("connect_reserved_flag"));
    }
    let qos = (flags >> 3) & 0b11;
    if qos == 3 {
        return Err(CodecError::malformed("will_qos_3"));
    }
    if flags & WILL == 0 && (qos != 0 || flags & WILL_RETAIN != 0) {
        return Err(CodecError::malformed("will_flags_without_will"));
    }
    if version == Version::V311 && flags & PASSWORD != 0 && flags & USER_NAME == 0 {
        return Err(CodecError::malformed("password_without_user_name"));
    }
    Ok(())
}

fn read_will(cursor: &mut Cursor<'_>, flags: u8, version: Version) -> Result<Will> {
    let properties = match version {
        Version::V5 => Properties::read(cursor, Place::WILL)?,
        Version::V311 => Properties::new(),
    };
    let topic = cursor.text()?;
    topic::check_name(&topic)?;
    let payload = cursor.binary()?;
    let qos = QoS::from_bits(flags >> 3).ok_or(CodecError::malformed("will_qos_3"))?;
    Ok(Will { qos, retain: flags & WILL_RETAIN != 0, properties, topic, payload })
}

pub(super) fn encode(connect: &Connect, out: &mut BytesMut) -> Result<()> {
    put_text(out, "MQTT")?;
    out.put_u8(connect.version.level());
    out.put_u8(flags_of(connect));
    out.put_u16(connect.keep_alive);
    let v5 = connect.version == Version::V5;
    if v5 {
        connect.properties.write(out)?;
    }
    put_text(out, &connect.client_id)?;
    if let Some(will) = &connect.will {
        if v5 {
            will.properties.write(out)?;
        }
        put_text(out, &will.topic)?;
        put_binary(out, &will.payload)?;
    }
    if let Some(name) = &connect.user_name {
        put_text(out, name)?;
    }
    if let Some(password) = &connect.password {
        put_binary(out, &password.0)?;
    }
    Ok(())
}

fn flags_of(connect: &Connect) -> u8 {
    let mut flags = 0;
    for (set, bit) in [
        (connect.clean_start, CLEAN),
        (connect.user_name.is_some(), USER_NAME),
        (connect.password.is_some(), PASSWORD),
    ] {
        flags |= if set { bit } else { 0 };
    }
    if let Some(will) = &connect.will {
        flags |= WILL | ((will.qos as u8) << 3) | if will.retain { WILL_RETAIN } else { 0 };
    }
    flags
}
