//! AUTH and DISCONNECT, whose bodies have the same shape (MQTT 5 sections 3.14, 3.15; 3.1.1 section 3.14).

use super::error::{CodecError, ReasonCode, Result};
use super::packet::{Peer, Version};
use super::primitive::Cursor;
use super::properties::{Place, Properties, PropertyId};
use bytes::{BufMut, Bytes, BytesMut};

/// A step of enhanced authentication. Holds authentication data: no `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct Auth {
    /// Success, continue, or re-authenticate.
    pub reason: ReasonCode,
    /// Always with an authentication method.
    pub properties: Properties,
}

/// Goodbye. Always reason 0 without properties in 3.1.1.
#[derive(Clone, PartialEq, Eq)]
pub struct Disconnect {
    /// Why.
    pub reason: ReasonCode,
    /// Session expiry (client only), reason string, user properties, server reference (server only).
    pub properties: Properties,
}

const AUTH_FROM_CLIENT: &[u8] = &[0x18, 0x19];
const AUTH_FROM_SERVER: &[u8] = &[0x00, 0x18];
const DISCONNECT_FROM_CLIENT: &[u8] =
    &[0x00, 0x04, 0x80, 0x81, 0x82, 0x83, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99];
const DISCONNECT_FROM_SERVER: &[u8] = &[
    0x00, 0x80, 0x81, 0x82, 0x83, 0x87, 0x89, 0x8B, 0x8C, 0x8D, 0x8E, 0x8F, 0x90, 0x93, 0x94, 0x95,
    0x96, 0x97, 0x98, 0x99, 0x9A, 0x9B, 0x9C, 0x9D, 0x9E, 0x9F, 0xA0, 0xA1, 0xA2,
];

pub(super) fn decode_auth(body: &Bytes, version: Version, from: Peer) -> Result<Auth> {
    if version == Version::V311 {
        return Err(CodecError::malformed("auth_in_v311"));
    }
    let allowed = match from {
        Peer::Client => AUTH_FROM_CLIENT,
        Peer::Server => AUTH_FROM_SERVER,
    };
    let (reason, properties) = read_body(body, allowed, Place::AUTH)?;
    if properties.text(PropertyId::AuthMethod).is_none() {
        return Err(CodecError::protocol("auth_without_method"));
    }
    Ok(Auth { reason, properties })
}

pub(super) fn decode_disconnect(body: &Bytes, version: Version, from: Peer) -> Result<Disconnect> {
    if version == Version::V311 {
        Cursor::new(body).finish()?;
        if from == Peer::Server {
            return Err(CodecError::protocol("disconnect_from_v311_server"));
        }
        return Ok(Disconnect { reason: ReasonCode::SUCCESS, properties: Properties::new() });
    }
    let (allowed, place) = match from {
        Peer::Client => (DISCONNECT_FROM_CLIENT, Place::DISCONNECT_FROM_CLIENT),
        Peer::Server => (DISCONNECT_FROM_SERVER, Place::DISCONNECT_FROM_SERVER),
    };
    let (reason, properties) = read_body(body, allowed, place)?;
    Ok(Disconnect { reason, properties })
}

fn read_body(body: &Bytes, allowed: &[u8], place: u32) -> Result<(ReasonCode, Properties)> {
    let mut cursor = Cursor::new(body);
    let code = if cursor.is_empty() { 0 } else { cursor.u8()? };
    let properties =
        if cursor.is_empty() { Properties::new() } else { Properties::read(&mut cursor, place)? };
    cursor.finish()?;
    if !allowed.contains(&code) {
        return Err(CodecError::protocol("reason_code_not_allowed_here"));
    }
    Ok((ReasonCode(code), properties))
}

pub(super) fn encode(
    reason: ReasonCode,
    properties: &Properties,
    out: &mut BytesMut,
) -> Result<()> {
    if reason == ReasonCode::SUCCESS && properties.is_empty() {
        return Ok(());
    }
    out.put_u8(reason.0);
    // An empty property length may be left out, but rumqttc waits for it.
    properties.write(out)
}
