//! Rows as bytes: a version, then fields in order. Whatever does not read to its last byte is damaged.

use std::num::NonZeroU32;

use bytes::{Buf, Bytes};
use tessera_token::ids::TenantId;
use tessera_token::time::UnixSeconds;
use tessera_token::topic::Subscription;

use super::{envelope, Message, Options};
use crate::codec::QoS;

/// The version of every row.
pub(crate) const VERSION: u8 = 1;

pub(crate) fn encode_subscription(text: &str, options: &Options) -> Vec<u8> {
    let mut out = vec![VERSION];
    put_options(&mut out, options, false);
    put_bytes(&mut out, text.as_bytes());
    out
}

pub(crate) fn decode_subscription(raw: Vec<u8>) -> Option<(Subscription, Options)> {
    let mut raw = open(raw)?;
    let (options, _) = options(&mut raw)?;
    let subscription = Subscription::parse(&text(&mut raw)?).ok()?;
    raw.is_empty().then_some((subscription, options))
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

pub(crate) fn open(raw: Vec<u8>) -> Option<Bytes> {
    let mut raw = Bytes::from(raw);
    (raw.try_get_u8().ok()? == VERSION).then_some(raw)
}

pub(crate) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
    out.extend_from_slice(bytes);
}

pub(crate) fn bytes(raw: &mut Bytes) -> Option<Bytes> {
    let length = raw.try_get_u32().ok()? as usize;
    (raw.len() >= length).then(|| raw.split_to(length))
}

pub(crate) fn text(raw: &mut Bytes) -> Option<String> {
    String::from_utf8(bytes(raw)?.to_vec()).ok()
}

pub(crate) fn put_time(out: &mut Vec<u8>, time: Option<UnixSeconds>) {
    let number = time.map_or(0, |time| time.get().saturating_add(1));
    out.extend_from_slice(&number.to_be_bytes());
}

pub(crate) fn time(raw: &mut Bytes) -> Option<Option<UnixSeconds>> {
    Some(raw.try_get_u64().ok()?.checked_sub(1).map(UnixSeconds::new))
}

pub(crate) fn put_options(out: &mut Vec<u8>, options: &Options, retained: bool) {
    out.push(
        options.qos as u8
            | (u8::from(options.no_local) << 2)
            | (u8::from(options.retain_as_published) << 3)
            | (u8::from(retained) << 4),
    );
    out.extend_from_slice(&options.id.map_or(0, NonZeroU32::get).to_be_bytes());
}

pub(crate) fn options(raw: &mut Bytes) -> Option<(Options, bool)> {
    let flags = raw.try_get_u8().ok()?;
    let options = Options {
        qos: QoS::from_bits(flags & 0b11)?,
        no_local: flags & 0b100 != 0,
        retain_as_published: flags & 0b1000 != 0,
        id: NonZeroU32::new(raw.try_get_u32().ok()?),
    };
    Some((options, flags & 0b1_0000 != 0))
}

pub(crate) fn array<const N: usize>(raw: &mut Bytes) -> Option<[u8; N]> {
    if raw.len() < N {
        return None;
    }
    raw.split_to(N).as_ref().try_into().ok()
}
