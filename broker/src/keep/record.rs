//! The rows as bytes: a version, then fields in order. Whatever does not read to its last byte is damaged.

use std::num::NonZeroU32;
use std::time::Duration;

use bytes::{Buf, Bytes};
use tessera_token::claims::Epochs;

use tessera_token::hash::TokenHash;
use tessera_token::ids::{ClientId, DeviceId, TenantId};
use tessera_token::key::{KeyId, Thumbprint};
use tessera_token::proof::DerivationId;
use tessera_token::standing::Standing;
use tessera_token::time::UnixSeconds;
use tessera_token::topic::{Subscription, TopicName};

use super::same::Same;
use crate::codec::{Properties, QoS};
use crate::lanes::{envelope, Delivery, Message, Options};
use crate::session::machine::{Held, Will};

const VERSION: u8 = 1;

/// A session as it is kept. Its rights are not.
pub(crate) struct SessionRecord {
    pub(crate) client_id: ClientId,
    pub(crate) standing: Standing,
    /// Seconds that it is kept after its connection has ended.
    pub(crate) expiry: u32,
    /// When its connection ended; `None` while there is one.
    pub(crate) left: Option<UnixSeconds>,
    pub(crate) will: Option<Will>,
}

/// What waits for a client.
pub(crate) enum Outgoing {
    /// Perhaps sent, not acknowledged.
    Message(Delivery),
    /// Received by the client (PUBREC), to be released.
    Released,
}

impl SessionRecord {
    pub(crate) fn encode(
        client_id: &ClientId,
        standing: &Standing,
        expiry: u32,
        left: Option<UnixSeconds>,
        will: Option<&Will>,
    ) -> Vec<u8> {
        let mut out = vec![VERSION];
        put_bytes(&mut out, client_id.as_str().as_bytes());
        put_standing(&mut out, standing);
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
            standing: standing(&mut raw)?,
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

pub(crate) fn encode_subscription(held: &Held) -> Vec<u8> {
    let mut out = vec![VERSION];
    put_options(&mut out, &held.options, false);
    put_bytes(&mut out, held.text().as_bytes());
    out
}

pub(crate) fn decode_subscription(raw: Vec<u8>) -> Option<(Subscription, Options)> {
    let mut raw = open(raw)?;
    let (options, _) = options(&mut raw)?;
    let subscription = Subscription::parse(&text(&mut raw)?).ok()?;
    raw.is_empty().then_some((subscription, options))
}

pub(crate) fn encode_delivery(delivery: &Delivery) -> Vec<u8> {
    let mut out = vec![VERSION, 0];
    put_options(&mut out, &delivery.options, delivery.retained);
    out.extend_from_slice(&envelope::wrap(&delivery.message));
    out
}

pub(crate) fn encode_released() -> Vec<u8> {
    vec![VERSION, 1]
}

pub(crate) fn decode_outgoing(
    raw: Vec<u8>,
    tenant: &TenantId,
    same: &mut Same,
) -> Option<Outgoing> {
    let mut raw = open(raw)?;
    match raw.try_get_u8().ok()? {
        0 => {
            let (options, retained) = options(&mut raw)?;
            let message = same.message(raw, tenant)?;
            Some(Outgoing::Message(Delivery::new(message, options, retained)))
        }
        1 if raw.is_empty() => Some(Outgoing::Released),
        _ => None,
    }
}

/// A retained message, or one that its publisher has not released.
pub(crate) fn encode_message(message: &Message) -> Vec<u8> {
    let mut out = vec![VERSION];
    put_bytes(&mut out, message.tenant.as_str().as_bytes());
    out.extend_from_slice(&envelope::wrap(message));
    out
}

/// A message that was passed on before its publisher released it.
pub(crate) fn encode_passed_on() -> Vec<u8> {
    vec![VERSION]
}

/// A QoS 2 message that its publisher has not released.
pub(crate) enum Incoming {
    /// Held until then.
    Held(Message),
    PassedOn,
}

pub(crate) fn decode_incoming(raw: Vec<u8>) -> Option<Incoming> {
    match raw == encode_passed_on() {
        true => Some(Incoming::PassedOn),
        false => decode_message(raw).map(Incoming::Held),
    }
}

pub(crate) fn decode_message(raw: Vec<u8>) -> Option<Message> {
    let mut raw = open(raw)?;
    let tenant = TenantId::parse(&text(&mut raw)?).ok()?;
    envelope::unwrap(raw, &tenant)
}

fn open(raw: Vec<u8>) -> Option<Bytes> {
    let mut raw = Bytes::from(raw);
    (raw.try_get_u8().ok()? == VERSION).then_some(raw)
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
    out.extend_from_slice(bytes);
}

fn bytes(raw: &mut Bytes) -> Option<Bytes> {
    let length = raw.try_get_u32().ok()? as usize;
    (raw.len() >= length).then(|| raw.split_to(length))
}

fn text(raw: &mut Bytes) -> Option<String> {
    String::from_utf8(bytes(raw)?.to_vec()).ok()
}

fn put_time(out: &mut Vec<u8>, time: Option<UnixSeconds>) {
    let number = time.map_or(0, |time| time.get().saturating_add(1));
    out.extend_from_slice(&number.to_be_bytes());
}

fn time(raw: &mut Bytes) -> Option<Option<UnixSeconds>> {
    Some(raw.try_get_u64().ok()?.checked_sub(1).map(UnixSeconds::new))
}

fn put_options(out: &mut Vec<u8>, options: &Options, retained: bool) {
    out.push(
        options.qos as u8
            | (u8::from(options.no_local) << 2)
            | (u8::from(options.retain_as_published) << 3)
            | (u8::from(retained) << 4),
    );
    out.extend_from_slice(&options.id.map_or(0, NonZeroU32::get).to_be_bytes());
}

fn options(raw: &mut Bytes) -> Option<(Options, bool)> {
    let flags = raw.try_get_u8().ok()?;
    let options = Options {
        qos: QoS::from_bits(flags & 0b11)?,
        no_local: flags & 0b100 != 0,
        retain_as_published: flags & 0b1000 != 0,
        id: NonZeroU32::new(raw.try_get_u32().ok()?),
    };
    Some((options, flags & 0b1_0000 != 0))
}

fn put_standing(out: &mut Vec<u8>, standing: &Standing) {
    put_bytes(out, standing.tenant.as_str().as_bytes());
    put_bytes(out, standing.device.as_str().as_bytes());
    let e = standing.epochs;
    for number in [e.tenant, e.group_number, e.group, e.device, standing.expires.get()] {
        out.extend_from_slice(&number.to_be_bytes());
    }
    out.extend_from_slice(standing.key_id.as_bytes());
    out.extend_from_slice(standing.token.as_bytes());
    let Some(thumbprint) = &standing.confirmation else { return out.push(0) };
    out.push(if standing.derived_by.is_some() { 2 } else { 1 });
    out.extend_from_slice(thumbprint.as_bytes());
    if let Some(key) = &standing.derived_by {
        out.extend_from_slice(key.as_bytes());
    }
}

fn standing(raw: &mut Bytes) -> Option<Standing> {
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
    Some(Standing { tenant, device, epochs, key_id, token, confirmation, derived_by, expires })
}

fn array<const N: usize>(raw: &mut Bytes) -> Option<[u8; N]> {
    if raw.len() < N {
        return None;
    }
    raw.split_to(N).as_ref().try_into().ok()
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
