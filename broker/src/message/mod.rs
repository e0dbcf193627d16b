//! One application message inside the broker, shared by all its receivers; its author, and its form as bytes.

pub(crate) mod author;
pub(crate) mod encoding;
pub(crate) mod envelope;
mod options;
pub(crate) mod same;

use crate::codec::publish::{encode_head, PublishHead};
use crate::codec::{Properties, QoS, Version};
use crate::limits::SHARED_FRAME_PAYLOAD;
use bytes::{Bytes, BytesMut};
use std::sync::{Arc, OnceLock};
use tessera_token::ids::TenantId;
use tessera_token::time::UnixSeconds;
use tessera_token::topic::TopicName;

pub use author::{Author, PublishedUnder, Revocations, Trusted};
pub use options::Options;

/// Number of a session within one run of the broker; never used twice.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct SubscriberId(pub u64);

/// The publisher of a message, as far as delivery must know it.
#[derive(Clone, Debug)]
pub struct Publisher {
    /// Device or service, and under which token.
    pub author: Author,
    /// The session it came from, for No Local.
    pub session: SubscriberId,
    /// When the token under which it was published expires: RFC 9431 lets a retained message live no longer.
    pub token_expires: UnixSeconds,
}

/// An authorised application message. Topic aliases are resolved, hop-by-hop properties removed.
pub struct Message {
    /// The mount point: nothing crosses it.
    pub tenant: TenantId,
    /// The topic that was authorised, within the tenant.
    pub topic: TopicName,
    /// The payload; may share a network buffer (see [`Message::detached`]).
    pub payload: Bytes,
    /// QoS of the publish.
    pub qos: QoS,
    /// Retain flag of the publish.
    pub retain: bool,
    /// The publisher.
    pub publisher: Arc<Publisher>,
    extra: Option<Box<Extra>>,
    /// Ready-made packets, 3.1.1 and 5, once several receivers share them.
    frames: OnceLock<Box<[OnceLock<Option<Bytes>>; 2]>>,
}

/// Fields that few messages have. They are a separate allocation, so that other messages stay small: memory of a
/// message is taken on one thread and freed on another.
#[derive(Default)]
struct Extra {
    properties: Properties,
    expires: Option<UnixSeconds>,
    row: u64,
}

static NO_PROPERTIES: Properties = Properties::new();

impl Message {
    /// A message with what every message has; the rest is set on the fields.
    pub fn new(
        tenant: TenantId,
        topic: TopicName,
        payload: Bytes,
        publisher: impl Into<Arc<Publisher>>,
    ) -> Self {
        Self {
            tenant,
            topic,
            payload,
            qos: QoS::AtMostOnce,
            retain: false,
            publisher: publisher.into(),
            extra: None,
            frames: OnceLock::new(),
        }
    }

    /// The properties that a subscriber must receive unchanged and in order (MQTT 5 section 3.3.2.3): made with
    /// [`Properties::forwardable`].
    pub fn properties(&self) -> &Properties {
        self.extra.as_ref().map_or(&NO_PROPERTIES, |extra| &extra.properties)
    }

    /// When the message expires, from its Message Expiry Interval.
    pub fn expires(&self) -> Option<UnixSeconds> {
        self.extra.as_ref().and_then(|extra| extra.expires)
    }

    /// Its row among the retained messages that are kept; 0 when there is none.
    pub(crate) fn row(&self) -> u64 {
        self.extra.as_ref().map_or(0, |extra| extra.row)
    }

    /// Sets [`Self::properties`].
    pub fn set_properties(&mut self, properties: Properties) {
        if !properties.is_empty() || self.extra.is_some() {
            self.extra.get_or_insert_default().properties = properties;
        }
    }

    /// Sets [`Self::expires`].
    pub fn set_expires(&mut self, expires: Option<UnixSeconds>) {
        if expires.is_some() || self.extra.is_some() {
            self.extra.get_or_insert_default().expires = expires;
        }
    }

    pub(crate) fn set_row(&mut self, row: u64) {
        self.extra.get_or_insert_default().row = row;
    }

    /// Bytes that keeping it takes, about.
    pub fn cost(&self) -> usize {
        crate::limits::OUTBOX_MESSAGE_OVERHEAD
            + self.topic.as_str().len()
            + self.payload.len()
            + self.properties().len()
    }

    /// The bytes that it counts for in a share.
    pub(crate) fn held(&self) -> usize {
        self.cost() + crate::limits::QUEUED_MESSAGE_OVERHEAD
    }

    /// A copy that holds on to no network buffer, for what is kept long.
    pub fn detached(&self) -> Arc<Self> {
        Arc::new(self.copied())
    }

    pub(crate) fn copied(&self) -> Self {
        let extra = self.extra.as_ref().map(|extra| {
            let (properties, expires) = (extra.properties.detached(), extra.expires);
            Box::new(Extra { properties, expires, row: 0 })
        });
        Self {
            tenant: self.tenant.clone(),
            topic: self.topic.clone(),
            payload: Bytes::copy_from_slice(&self.payload),
            qos: self.qos,
            retain: self.retain,
            publisher: Arc::clone(&self.publisher),
            extra,
            frames: OnceLock::new(),
        }
    }

    /// Whether it must no longer be delivered.
    pub fn is_expired(&self, now: UnixSeconds) -> bool {
        self.expires().is_some_and(|deadline| now >= deadline)
    }

    /// Whether it must no longer be delivered because trust in its publisher was taken back.
    pub fn is_revoked(&self, trusted: Trusted<'_>) -> bool {
        let Publisher { author, token_expires, .. } = &*self.publisher;
        author.revoked(&self.tenant, *token_expires, trusted).is_some()
    }

    /// The whole PUBLISH packet for a receiver that gets it with QoS 0, retain 0 and no subscription identifier: made
    /// once, shared by all. `None` when it depends on time (expiry) or the payload is large.
    pub fn shared_frame(&self, version: Version) -> Option<&Bytes> {
        let [v311, v5] = &**self.frames.get_or_init(Box::default);
        let slot = if version == Version::V5 { v5 } else { v311 };
        slot.get_or_init(|| self.make_frame(version)).as_ref()
    }

    fn make_frame(&self, version: Version) -> Option<Bytes> {
        if self.payload.len() > SHARED_FRAME_PAYLOAD || self.expires().is_some() {
            return None;
        }
        let head = PublishHead {
            dup: false,
            qos: QoS::AtMostOnce,
            retain: false,
            topic: self.topic.as_str(),
            packet_id: None,
            properties: self.properties(),
        };
        let mut out = BytesMut::new();
        encode_head(&head, version, self.payload.len(), &mut out).ok()?;
        out.extend_from_slice(&self.payload);
        Some(out.freeze())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With its two counts it is then a chunk of 128 bytes, the largest that glibc gives back without a lock. Messages
    /// are made on one thread and dropped on another, so a larger one costs both of them.
    #[test]
    fn a_plain_message_is_small() {
        assert!(size_of::<Message>() + 2 * size_of::<usize>() <= 120, "{}", size_of::<Message>());
    }
}
