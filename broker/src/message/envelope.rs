//! Our few bytes in front of every payload that passes through the router, which treats them as payload.
//!
//! The router forwards a topic and bytes and nothing else that we rely on: author, QoS, properties, expiry and the real
//! topic travel here, and come out without a copy of the payload. Messages on disk have the same form.

use crate::codec::{Properties, QoS};
use crate::message::{Author, PublishedUnder};
use crate::message::{Message, Publisher, SubscriberId};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use tessera_token::claims::Epochs;
use tessera_token::hash::TokenHash;
use tessera_token::ids::{DeviceId, TenantId};
use tessera_token::key::KeyId;
use tessera_token::time::UnixSeconds;
use tessera_token::topic::TopicName;

const LAYOUT: u8 = 2;
const KEY_ID: usize = 8;
const TOKEN: usize = 33;
const AUTHOR: usize = 8 + 4 * 8 + KEY_ID + TOKEN;
const NUMBERS: usize = 1 + 1 + 8 + 8 + 8 + AUTHOR + 2 + 2 + 2 + 4;
const BY_BROKER: u8 = 0b1000;

/// `layout, flags, session, token expiry, expiry + 1 or 0, author, lengths of tenant, device, topic, properties`, then
/// those four, then the payload. The author is `verdict, epochs, key id, token hash`; the verdict counts for nothing in
/// another run and is left out.
pub(crate) fn wrap(message: &Message) -> Bytes {
    wrap_behind(&[], message, 0)
}

/// The same behind a number, which is taken off before [`unwrap`], for this run alone.
pub(crate) fn wrap_numbered(number: u64, message: &Message) -> Bytes {
    wrap_behind(&number.to_be_bytes(), message, message.publisher.author.verdict())
}

fn wrap_behind(first: &[u8], message: &Message, verdict: u64) -> Bytes {
    let author = &message.publisher.author;
    let texts = [message.tenant.as_str(), author.device().as_str(), message.topic.as_str()];
    let head = first.len() + NUMBERS + texts.iter().map(|text| text.len()).sum::<usize>();
    let mut out =
        BytesMut::with_capacity(head + message.properties().len() + message.payload.len());
    out.put_slice(first);
    out.put_u8(LAYOUT);
    let by_broker = if author.token().is_none() { BY_BROKER } else { 0 };
    out.put_u8(message.qos as u8 | (u8::from(message.retain) << 2) | by_broker);
    out.put_u64(message.publisher.session.0);
    out.put_u64(message.publisher.token_expires.get());
    out.put_u64(message.expires().map_or(0, |deadline| deadline.get().saturating_add(1)));
    put_author(&mut out, author.token(), verdict);
    for text in texts {
        // Ids and topics are checked types of at most 1,024 bytes.
        out.put_u16(u16::try_from(text.len()).unwrap_or(u16::MAX));
    }
    out.put_u32(u32::try_from(message.properties().len()).unwrap_or(u32::MAX));
    for text in texts {
        out.put_slice(text.as_bytes());
    }
    out.put_slice(message.properties().as_bytes());
    out.put_slice(&message.payload);
    out.freeze()
}

fn put_author(out: &mut BytesMut, token: Option<&PublishedUnder>, verdict: u64) {
    let Some(under) = token else { return out.put_bytes(0, AUTHOR) };
    let e = under.epochs;
    for number in [verdict, e.tenant, e.group_number, e.group, e.device] {
        out.put_u64(number);
    }
    out.put_slice(under.key_id.as_bytes());
    out.put_slice(under.token.as_bytes());
}

/// The verdict and the rest.
fn author(raw: &mut Bytes) -> (u64, PublishedUnder) {
    let verdict = raw.get_u64();
    let epochs = Epochs {
        tenant: raw.get_u64(),
        group_number: raw.get_u64(),
        group: raw.get_u64(),
        device: raw.get_u64(),
    };
    let (mut key_id, mut token) = ([0; KEY_ID], [0; TOKEN]);
    raw.copy_to_slice(&mut key_id);
    raw.copy_to_slice(&mut token);
    let (key_id, token) = (KeyId::from_bytes(key_id), TokenHash::from_bytes(token));
    (verdict, PublishedUnder { epochs, key_id, token })
}

/// The message again, if it belongs to `tenant`. Anything else in a log is not ours to deliver.
pub(crate) fn unwrap(mut raw: Bytes, tenant: &TenantId) -> Option<Message> {
    if raw.len() < NUMBERS || raw.get_u8() != LAYOUT {
        return None;
    }
    let flags = raw.get_u8();
    let session = SubscriberId(raw.get_u64());
    let token_expires = UnixSeconds::new(raw.get_u64());
    let expires = raw.get_u64().checked_sub(1).map(UnixSeconds::new);
    let (verdict, under) = author(&mut raw);
    let lengths = [raw.get_u16(), raw.get_u16(), raw.get_u16()].map(usize::from);
    let properties = raw.get_u32() as usize;
    if raw.len() < lengths.iter().sum::<usize>().checked_add(properties)? {
        return None;
    }
    let [of_tenant, of_device, of_topic] = lengths.map(|length| raw.split_to(length));
    if of_tenant != tenant.as_str() {
        return None;
    }
    let device = DeviceId::parse(core::str::from_utf8(&of_device).ok()?).ok()?;
    let topic = TopicName::parse(core::str::from_utf8(&of_topic).ok()?).ok()?;
    let properties = Properties::from_stored(raw.split_to(properties)).ok()?;
    let under = (flags & BY_BROKER == 0).then_some(under);
    let author = Author::restored(device, under, verdict);
    let publisher = Publisher { author, session, token_expires };
    let mut message = Message::new(tenant.clone(), topic, raw, publisher);
    message.qos = QoS::from_bits(flags)?;
    message.retain = flags & 0b100 != 0;
    message.set_properties(properties);
    message.set_expires(expires);
    Some(message)
}
