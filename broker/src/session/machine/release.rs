//! QoS 2 of the client (MQTT 5 section 4.3.3): PUBLISH is held until PUBREL, and published then, with the rights of then.

use std::sync::Arc;

use hashbrown::HashMap;

use super::{kept, Answer, Context, Effect, Effects, Machine, Rarer};
use crate::codec::{Ack, Packet, ReasonCode};
use crate::keep::{record, Row};
use crate::lanes::Message;
use crate::rights::Control;

/// Messages that the client has not released, by packet id. Their number is that of Receive Maximum at most.
#[derive(Default)]
pub(super) struct Received {
    held: Option<Box<HashMap<u16, Arc<Message>>>>,
    /// Bytes of those that were taken out, still to be given back to the share of the session.
    ended: usize,
}

impl Received {
    pub(super) fn has(&self, packet_id: u16) -> bool {
        self.held.as_ref().is_some_and(|held| held.contains_key(&packet_id))
    }

    pub(super) fn len(&self) -> usize {
        self.held.as_ref().map_or(0, |held| held.len())
    }

    pub(super) fn put(&mut self, packet_id: u16, message: Arc<Message>) {
        self.held.get_or_insert_default().insert(packet_id, message);
    }

    fn take(&mut self, packet_id: u16) -> Option<Arc<Message>> {
        let held = self.held.as_mut()?;
        let message = held.remove(&packet_id);
        if held.is_empty() {
            self.held = None;
        }
        self.ended += message.as_ref().map_or(0, |message| message.held());
        message
    }

    /// Bytes that have left since this was asked.
    pub(super) fn take_ended(&mut self) -> usize {
        std::mem::take(&mut self.ended)
    }
}

impl Machine {
    /// Whether the share of the session's device has room for a message that is held until it is released.
    pub(super) fn may_hold(&self, message: &Message) -> bool {
        self.outbox.as_ref().is_none_or(|outbox| outbox.holding().begin(message.held()))
    }

    /// Takes an authorised message and answers PUBREC, which leaves once the message is durable.
    pub(super) fn receive(&mut self, packet_id: u16, message: Arc<Message>, effects: &mut Effects) {
        if let Some(kept) = kept(&self.outbox) {
            let row = record::encode_message(&message);
            self.ticket = kept.put(|id| Row::Incoming(id, packet_id), row);
        }
        self.received.put(packet_id, message);
        effects.push(Effect::Send(Packet::PubRec(Ack::new(packet_id, ReasonCode::SUCCESS))));
    }

    /// PUBREL: what was allowed when it came must be allowed still.
    pub(super) fn release(&mut self, ack: &Ack, cx: Context<'_>, effects: &mut Effects) {
        let packet_id = ack.packet_id;
        let comp = |reason| Effect::Send(Packet::PubComp(Ack::new(packet_id, reason)));
        let Some(message) = self.received.take(packet_id) else {
            return effects.push(comp(ReasonCode::PACKET_ID_NOT_FOUND));
        };
        let allowed = cx.rights.publish(&message.topic, cx.unix);
        if allowed.is_ok() && Control::of(message.topic.as_str()).is_none() {
            let message = self.as_of_now(message, cx);
            let answer = Answer::PubComp(packet_id);
            return effects.push(Effect::Publish { message, answer });
        }
        self.forget_received(packet_id);
        match allowed {
            Ok(()) => effects.push(Rarer::Token(message.payload.clone())),
            Err(code) => effects.push(Rarer::Refused { code, topic: message.topic.shared() }),
        }
        effects.push(comp(ReasonCode::SUCCESS));
    }

    /// The message is no longer held: it is published in the same step, or never.
    pub(crate) fn forget_received(&mut self, packet_id: u16) {
        if let Some(kept) = kept(&self.outbox) {
            self.ticket = kept.delete(|id| Row::Incoming(id, packet_id));
        }
    }

    /// It is published under the present token, which decides how long it may be retained.
    fn as_of_now(&self, message: Arc<Message>, cx: Context<'_>) -> Arc<Message> {
        let publisher = cx.rights.publisher(cx.session);
        if Arc::ptr_eq(&message.publisher, &publisher) {
            return message;
        }
        let mut copy = message.copied();
        copy.publisher = publisher;
        Arc::new(copy)
    }
}
