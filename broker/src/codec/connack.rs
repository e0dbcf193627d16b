//! CONNACK (section 3.2 of both versions).

use super::error::{CodecError, ReasonCode, Result};
use super::packet::Version;
use super::primitive::Cursor;
use super::properties::{Place, Properties};
use bytes::{BufMut, Bytes, BytesMut};

/// The server's answer to CONNECT. `reason` is the MQTT 5 code; on a 3.1.1 wire it is one of the six return codes.
#[derive(Clone, PartialEq, Eq)]
pub struct ConnAck {
    /// Whether the server resumes a session.
    pub session_present: bool,
    /// Outcome.
    pub reason: ReasonCode,
    /// Empty in 3.1.1.
    pub properties: Properties,
}

/// Codes that MQTT 5 table 3-1 allows.
const ALLOWED: &[u8] = &[
    0x00, 0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8A, 0x8C, 0x90, 0x95, 0x97,
    0x99, 0x9A, 0x9B, 0x9C, 0x9D, 0x9F,
];

pub(super) fn decode(body: &Bytes, version: Version) -> Result<ConnAck> {
    let mut cursor = Cursor::new(body);
    let flags = cursor.u8()?;
    if flags > 1 {
        return Err(CodecError::malformed("connack_reserved_flags"));
    }
    let code = cursor.u8()?;
    let (reason, properties) = match version {
        Version::V311 => (from_v311(code)?, Properties::new()),
        Version::V5 if ALLOWED.contains(&code) => {
            (ReasonCode(code), Properties::read(&mut cursor, Place::CONNACK)?)
        }
        Version::V5 => return Err(CodecError::protocol("reason_code_not_allowed_here")),
    };
    cursor.finish()?;
    let session_present = flags == 1;
    if session_present && reason != ReasonCode::SUCCESS {
        return Err(CodecError::protocol("session_present_in_refusal"));
    }
    Ok(ConnAck { session_present, reason, properties })
}

pub(super) fn encode(ack: &ConnAck, version: Version, out: &mut BytesMut) -> Result<()> {
    out.put_u8(u8::from(ack.session_present && !ack.reason.is_error()));
    match version {
        Version::V311 => out.put_u8(to_v311(ack.reason)),
        Version::V5 => {
            out.put_u8(ack.reason.0);
            ack.properties.write(out)?;
        }
    }
    Ok(())
}

/// The MQTT 3.1.1 return code (table 3.1) for a reason.
pub fn to_v311(reason: ReasonCode) -> u8 {
    match reason {
        ReasonCode::SUCCESS => 0,
        ReasonCode::UNSUPPORTED_VERSION => 1,
        ReasonCode::CLIENT_ID_NOT_VALID => 2,
        ReasonCode::BAD_USER_NAME_OR_PASSWORD => 4,
        ReasonCode::NOT_AUTHORIZED | ReasonCode::BANNED | ReasonCode::BAD_AUTHENTICATION_METHOD => {
            5
        }
        _ => 3,
    }
}

fn from_v311(code: u8) -> Result<ReasonCode> {
    Ok(match code {
        0 => ReasonCode::SUCCESS,
        1 => ReasonCode::UNSUPPORTED_VERSION,
        2 => ReasonCode::CLIENT_ID_NOT_VALID,
        3 => ReasonCode::SERVER_UNAVAILABLE,
        4 => ReasonCode::BAD_USER_NAME_OR_PASSWORD,
        5 => ReasonCode::NOT_AUTHORIZED,
        _ => return Err(CodecError::malformed("connack_return_code")),
    })
}
