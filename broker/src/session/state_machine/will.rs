//! The last will (MQTT 5 section 3.1.2.5): held with the session, published when its connection ends without
//! DISCONNECT.

use std::time::Duration;

use bytes::Bytes;
use tessera_token::refusal::RefusalCode;
use tessera_token::topic::TopicName;

use super::{Context, Machine};
use crate::codec::{self, Properties, PropertyId, QoS};
use crate::message::Message;

/// A will that was authorised at CONNECT.
pub struct Will {
    /// Where it goes.
    pub topic: TopicName,
    pub(crate) payload: Bytes,
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
    pub(crate) properties: Properties,
    pub(crate) expires_in: Option<u32>,
    pub(crate) delay: Duration,
    /// It comes from before a restart: those who set it were allowed to then, and their rights were not kept.
    pub(crate) restored: bool,
}

impl Will {
    /// Copies the will out of the CONNECT, whose buffer is not kept.
    pub(super) fn of(asked: &codec::Will) -> Result<Self, RefusalCode> {
        let topic = TopicName::parse(&asked.topic).map_err(|_| RefusalCode::WillNotAuthorised)?;
        let p = &asked.properties;
        Ok(Self {
            topic,
            payload: Bytes::copy_from_slice(&asked.payload),
            qos: asked.qos,
            retain: asked.retain,
            properties: p.forwardable().detached(),
            expires_in: p.number(PropertyId::MessageExpiry),
            delay: Duration::from_secs(u64::from(p.number(PropertyId::WillDelay).unwrap_or(0))),
            restored: false,
        })
    }

    /// The Will Delay Interval: how long to wait for the client before it is published.
    pub fn delay(&self) -> Duration {
        self.delay
    }

    /// The message, authorised once more with the rights of those who set it.
    ///
    /// # Errors
    /// `will_not_authorised`.
    pub fn publish(self, cx: Context<'_>) -> Result<Message, RefusalCode> {
        if !self.restored {
            cx.rights.will(&self.topic)?;
        }
        let grant = cx.rights.grant();
        let publisher = cx.rights.publisher(cx.session);
        let mut message = Message::new(grant.tenant().clone(), self.topic, self.payload, publisher);
        message.qos = self.qos;
        message.retain = self.retain;
        message.set_properties(self.properties);
        message.set_expires(self.expires_in.map(|seconds| cx.unix.plus(u64::from(seconds))));
        Ok(message)
    }
}

impl Machine {
    /// Takes the will out, when there still is one: after DISCONNECT there is none.
    pub fn take_will(&mut self) -> Option<Will> {
        self.will.take().map(|will| *will)
    }

    /// Puts a will back that was taken out in vain.
    pub fn put_will(&mut self, will: Option<Will>) {
        self.will = will.map(Box::new);
    }
}
