//! MQTT 5 properties, kept as they came: one checked slice of the packet, read on demand.
//!
//! Nothing is unpacked, so a packet full of user properties costs its own bytes and no more, their order is that of
//! the sender, and forwarding them is a copy. Checking is one pass; every reader is a pass, linear in the bytes.

mod builder;
mod table;

pub use builder::PropertiesBuilder;
pub use table::PropertyId;

use super::error::{CodecError, ReasonCode, Result};
use super::primitive::{self, Cursor};
use super::topic;
use crate::limits::MAX_USER_PROPERTIES;
use bytes::{Bytes, BytesMut};
use table::{Shape, BY_ID};

/// Where a set of properties stands; decides what it may hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Place;

impl Place {
    pub(super) const CONNECT: u32 = 1;
    pub(super) const CONNACK: u32 = 1 << 1;
    pub(super) const WILL: u32 = 1 << 2;
    pub(super) const PUBLISH: u32 = 1 << 3;
    pub(super) const PUBLISH_FROM_SERVER: u32 = 1 << 4;
    /// PUBACK, PUBREC, PUBREL, PUBCOMP.
    pub(super) const PUBACK: u32 = 1 << 5;
    pub(super) const SUBSCRIBE: u32 = 1 << 6;
    pub(super) const UNSUBSCRIBE: u32 = 1 << 7;
    /// SUBACK, UNSUBACK.
    pub(super) const SUBACK: u32 = 1 << 8;
    pub(super) const DISCONNECT_FROM_CLIENT: u32 = 1 << 9;
    pub(super) const DISCONNECT_FROM_SERVER: u32 = 1 << 10;
    pub(super) const DISCONNECT_ANY: u32 =
        Self::DISCONNECT_FROM_CLIENT | Self::DISCONNECT_FROM_SERVER;
    pub(super) const AUTH: u32 = 1 << 11;
}

/// The properties of one packet or will. Empty for MQTT 3.1.1. May hold authentication data: no `Debug`.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Properties {
    raw: Bytes,
}

/// The value of one property.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Value<'a> {
    /// Any of the integer types, widened.
    Number(u32),
    /// UTF-8 string.
    Text(&'a str),
    /// Binary data.
    Binary(&'a [u8]),
    /// Name and value of a user property.
    Pair(&'a str, &'a str),
}

impl Properties {
    /// No properties.
    pub const fn new() -> Self {
        Self { raw: Bytes::new() }
    }

    /// A builder, for packets of our own.
    pub fn build() -> PropertiesBuilder {
        PropertiesBuilder::default()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.raw.is_empty()
    }

    /// Bytes on the wire, without the length in front.
    pub fn len(&self) -> usize {
        self.raw.len()
    }

    /// All properties in the order of the packet.
    pub fn iter(&self) -> impl Iterator<Item = (PropertyId, Value<'_>)> + '_ {
        self.entries().map(|entry| (entry.id, entry.value))
    }

    /// A number, whatever its width on the wire.
    pub fn number(&self, id: PropertyId) -> Option<u32> {
        self.iter().find_map(|(found, value)| match value {
            Value::Number(number) if found == id => Some(number),
            _ => None,
        })
    }

    /// A two-byte number.
    pub fn short(&self, id: PropertyId) -> Option<u16> {
        self.number(id).and_then(|number| u16::try_from(number).ok())
    }

    /// A byte that is 0 or 1.
    pub fn flag(&self, id: PropertyId) -> Option<bool> {
        self.number(id).map(|number| number != 0)
    }

    /// A string.
    pub fn text(&self, id: PropertyId) -> Option<&str> {
        self.iter().find_map(|(found, value)| match value {
            Value::Text(text) if found == id => Some(text),
            _ => None,
        })
    }

    /// Binary data, shared with the packet.
    pub fn binary(&self, id: PropertyId) -> Option<Bytes> {
        self.entries().find_map(|entry| match entry.value {
            Value::Binary(slice) if entry.id == id => Some(self.raw.slice_ref(slice)),
            _ => None,
        })
    }

    /// All values of a number that may stand more than once (subscription identifiers).
    pub fn numbers(&self, id: PropertyId) -> impl Iterator<Item = u32> + '_ {
        self.iter().filter_map(move |(found, value)| match value {
            Value::Number(number) if found == id => Some(number),
            _ => None,
        })
    }

    /// User properties in order.
    pub fn user(&self) -> impl Iterator<Item = (&str, &str)> + '_ {
        self.iter().filter_map(|(_, value)| match value {
            Value::Pair(name, value) => Some((name, value)),
            _ => None,
        })
    }

    /// The same properties without those that concern one hop only: topic alias, subscription identifiers, will delay
    /// and message expiry (which the forwarder writes anew). Shares memory when there is nothing to leave out.
    pub fn forwardable(&self) -> Self {
        self.without(&HOP_ONLY)
    }

    /// The same properties, in their order, without these. Shares memory when there is nothing to leave out.
    pub fn without(&self, ids: &[PropertyId]) -> Self {
        if !self.entries().any(|entry| ids.contains(&entry.id)) {
            return self.clone();
        }
        let mut kept = BytesMut::with_capacity(self.raw.len());
        for entry in self.entries().filter(|entry| !ids.contains(&entry.id)) {
            kept.extend_from_slice(entry.raw);
        }
        Self { raw: kept.freeze() }
    }

    /// A copy that holds on to no packet buffer, for what is kept long.
    pub fn detached(&self) -> Self {
        Self { raw: Bytes::copy_from_slice(&self.raw) }
    }

    /// The checked bytes, for storage.
    pub fn as_bytes(&self) -> &[u8] {
        &self.raw
    }

    /// Reads properties that were stored with [`Self::as_bytes`], as those of a message (PUBLISH or will).
    ///
    /// # Errors
    /// As for a packet.
    pub fn from_stored(raw: Bytes) -> Result<Self> {
        check(&raw, Place::PUBLISH_FROM_SERVER | Place::WILL)?;
        Ok(Self { raw })
    }

    pub(super) fn read(cursor: &mut Cursor<'_>, place: u32) -> Result<Self> {
        let length = cursor.varint()? as usize;
        if length == 0 {
            return Ok(Self::new());
        }
        let raw = cursor.take_bytes(length)?;
        check(&raw, place)?;
        Ok(Self { raw })
    }

    pub(super) fn write(&self, out: &mut BytesMut) -> Result<()> {
        primitive::put_varint(out, self.raw.len())?;
        out.extend_from_slice(&self.raw);
        Ok(())
    }

    /// Bytes of [`Self::write`].
    pub(super) fn written_len(&self) -> usize {
        primitive::varint_len(self.raw.len()) + self.raw.len()
    }

    fn entries(&self) -> Entries<'_> {
        Entries { cursor: Cursor::new(&self.raw) }
    }
}

const HOP_ONLY: [PropertyId; 4] = [
    PropertyId::TopicAlias,
    PropertyId::SubscriptionId,
    PropertyId::WillDelay,
    PropertyId::MessageExpiry,
];

struct Entry<'a> {
    id: PropertyId,
    value: Value<'a>,
    raw: &'a [u8],
}

struct Entries<'a> {
    cursor: Cursor<'a>,
}

impl<'a> Iterator for Entries<'a> {
    type Item = Entry<'a>;

    fn next(&mut self) -> Option<Entry<'a>> {
        if self.cursor.is_empty() {
            return None;
        }
        let start = self.cursor.position();
        let (id, shape, _) = lookup(self.cursor.u8().ok()?).ok()?;
        let value = read_value(&mut self.cursor, shape).ok()?;
        let raw = self.cursor.since(start);
        Some(Entry { id, value, raw })
    }
}

fn lookup(id: u8) -> Result<(PropertyId, Shape, u32)> {
    BY_ID.get(usize::from(id)).copied().flatten().ok_or(CodecError::malformed("property_unknown"))
}

fn read_value<'a>(cursor: &mut Cursor<'a>, shape: Shape) -> Result<Value<'a>> {
    Ok(match shape {
        Shape::Flag => Value::Number(u32::from(cursor.u8()?)),
        Shape::Two(_) => Value::Number(u32::from(cursor.u16()?)),
        Shape::Four(_) => Value::Number(cursor.u32()?),
        Shape::Var => Value::Number(cursor.varint()?),
        Shape::Text | Shape::Topic => Value::Text(cursor.text_slice()?),
        Shape::Binary => Value::Binary(cursor.binary_slice()?),
        Shape::Pair => Value::Pair(cursor.text_slice()?, cursor.text_slice()?),
    })
}

/// One pass over all properties: known, allowed here, once each, in range.
fn check(raw: &Bytes, place: u32) -> Result<()> {
    let mut cursor = Cursor::new(raw);
    let mut seen = 0u64;
    let mut users = 0usize;
    while !cursor.is_empty() {
        let (id, shape, places) = lookup(cursor.u8()?)?;
        if places & place == 0 {
            return Err(CodecError::malformed("property_not_allowed_here"));
        }
        check_value(id, shape, read_value(&mut cursor, shape)?)?;
        if id == PropertyId::UserProperty {
            users += 1;
        } else if seen & (1 << id as u8) != 0 && !may_repeat(id, place) {
            return Err(CodecError::protocol("property_twice"));
        }
        seen |= 1 << id as u8;
    }
    if users > MAX_USER_PROPERTIES {
        return Err(CodecError::with(ReasonCode::QUOTA_EXCEEDED, "user_properties_too_many"));
    }
    if seen & (1 << PropertyId::AuthData as u8) != 0
        && seen & (1 << PropertyId::AuthMethod as u8) == 0
    {
        return Err(CodecError::protocol("auth_data_without_method"));
    }
    Ok(())
}

fn may_repeat(id: PropertyId, place: u32) -> bool {
    id == PropertyId::SubscriptionId && place & Place::PUBLISH_FROM_SERVER != 0
}

fn check_value(id: PropertyId, shape: Shape, value: Value<'_>) -> Result<()> {
    match (shape, value) {
        (Shape::Flag, Value::Number(number)) if number > 1 => {
            Err(CodecError::protocol("property_byte_out_of_range"))
        }
        (Shape::Two(true) | Shape::Four(true) | Shape::Var, Value::Number(0)) => {
            Err(zero_error(id))
        }
        (Shape::Topic, Value::Text(name)) => topic::check_name(name),
        _ => Ok(()),
    }
}

fn zero_error(id: PropertyId) -> CodecError {
    match id {
        PropertyId::TopicAlias => {
            CodecError::with(ReasonCode::TOPIC_ALIAS_INVALID, "topic_alias_zero")
        }
        PropertyId::ReceiveMaximum => CodecError::protocol("receive_maximum_zero"),
        PropertyId::MaximumPacketSize => CodecError::protocol("maximum_packet_size_zero"),
        _ => CodecError::protocol("subscription_id_zero"),
    }
}
