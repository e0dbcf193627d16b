//! The row of a session: its client id, its token without rights, and its will.

use std::time::Duration;

use bytes::{Buf, Bytes};
use tessera_token::claims::Epochs;
use tessera_token::hash::TokenHash;
use tessera_token::ids::{ClientId, DeviceId, TenantId};
use tessera_token::key::{KeyId, Thumbprint};
use tessera_token::proof::DerivationId;
use tessera_token::time::UnixSeconds;
use tessera_token::token_identity::TokenIdentity;
use tessera_token::topic::TopicName;

use super::state_machine::Will;
use crate::codec::{Properties, QoS};
use crate::message::encoding::{array, bytes, open, put_bytes, put_time, text, time, VERSION};

/// A session as it is kept. Its rights are not.
pub(crate) struct SessionRecord {
    pub(crate) client_id: ClientId,
    pub(crate) identity: TokenIdentity,
    /// Seconds that it is kept after its connection has ended.
    pub(crate) expiry: u32,
    /// When its connection ended; `None` while there is one.
    pub(crate) left: Option<UnixSeconds>,
    pub(crate) will: Option<Will>,
}

impl SessionRecord {
    pub(crate) fn encode(
        client_id: &ClientId,
        identity: &TokenIdentity,
        expiry: u32,
        left: Option<UnixSeconds>,
        will: Option<&Will>,
    ) -> Vec<u8> {
        let mut out = vec![VERSION];
        put_bytes(&mut out, client_id.as_str().as_bytes());
        put_identity(&mut out, identity);
        out.extend_from_slice(&expiry.to_be_bytes());
        put_time(&mut out, left);
        match will {
            None => out.push(0),
            Some(will) => {
                out.push(1);
                put_will(&mut out, will);
            }
        }
        out
    }

    pub(crate) fn decode(raw: Vec<u8>) -> Option<Self> {
        let mut raw = open(raw)?;
        let record = Self {
            client_id: ClientId::parse(&text(&mut raw)?).ok()?,
            identity: identity(&mut raw)?,
            expiry: raw.try_get_u32().ok()?,
            left: time(&mut raw)?,
            will: match raw.try_get_u8().ok()? {
                0 => None,
                1 => Some(will(&mut raw)?),
                _ => return None,
            },
        };
        raw.is_empty().then_some(record)
    }
}

fn put_identity(out: &mut Vec<u8>, identity: &TokenIdentity) {
    put_bytes(out, identity.tenant.as_str().as_bytes());
    put_bytes(out, identity.device.as_str().as_bytes());
    let e = identity.epochs;
    for number in [e.tenant, e.group_number, e.group, e.device, identity.expires.get()] {
        out.extend_from_slice(&number.to_be_bytes());
    }
    out.extend_from_slice(identity.key_id.as_bytes());
    out.extend_from_slice(identity.token.as_bytes());
    let Some(thumbprint) = &identity.confirmation else { return out.push(0) };
    out.push(if identity.derived_by.is_some() { 2 } else { 1 });
    out.extend_from_slice(thumbprint.as_bytes());
    if let Some(key) = &identity.derived_by {
        out.extend_from_slice(key.as_bytes());
    }
}

fn identity(raw: &mut Bytes) -> Option<TokenIdentity> {
    let tenant = TenantId::parse(&text(raw)?).ok()?;
    let device = DeviceId::parse(&text(raw)?).ok()?;
    let mut number = || raw.try_get_u64().ok();
    let epochs =
        Epochs { tenant: number()?, group_number: number()?, group: number()?, device: number()? };
    let expires = UnixSeconds::new(number()?);
    let key_id = KeyId::from_bytes(array(raw)?);
    let token = TokenHash::from_bytes(array(raw)?);
    let (confirmation, derived_by) = match raw.try_get_u8().ok()? {
        0 => (None, None),
        1 => (Some(Thumbprint::from_bytes(array(raw)?)), None),
        2 => {
            let name = Thumbprint::from_bytes(array(raw)?);
            (Some(name), Some(DerivationId::from_bytes(array(raw)?)))
        }
        _ => return None,
    };
    Some(TokenIdentity { tenant, device, epochs, key_id, token, confirmation, derived_by, expires })
}

fn put_will(out: &mut Vec<u8>, will: &Will) {
    put_bytes(out, will.topic.as_str().as_bytes());
    put_bytes(out, &will.payload);
    put_bytes(out, will.properties.as_bytes());
    out.push(will.qos as u8 | (u8::from(will.retain) << 2));
    let expires = will.expires_in.map_or(0, |seconds| u64::from(seconds) + 1);
    out.extend_from_slice(&expires.to_be_bytes());
    out.extend_from_slice(&will.delay.as_secs().to_be_bytes());
}

fn will(raw: &mut Bytes) -> Option<Will> {
    let topic = TopicName::parse(&text(raw)?).ok()?;
    let payload = bytes(raw)?;
    let properties = Properties::from_stored(bytes(raw)?).ok()?;
    let flags = raw.try_get_u8().ok()?;
    let expires = raw.try_get_u64().ok()?.checked_sub(1);
    Some(Will {
        topic,
        payload,
        qos: QoS::from_bits(flags & 0b11)?,
        retain: flags & 0b100 != 0,
        properties,
        expires_in: expires.map(u32::try_from).transpose().ok()?,
        delay: Duration::from_secs(raw.try_get_u64().ok()?),
        restored: true,
    })
}
