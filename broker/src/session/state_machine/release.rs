//! QoS 2 of the client (MQTT 5 section 4.3.3): PUBLISH is held until PUBREL, and published then, with the rights of
//! then.
//!
//! The CONNACK says to a client of MQTT 5 how many it may have open. One of 3.1.1 cannot learn that, and reading no
//! more from it would leave its PUBRELs unread too. A message beyond that number is passed on when it comes (method B
//! of figure 4.3), and only the packet id is held.

use std::sync::Arc;

use hashbrown::HashMap;

use tessera_token::refusal::RefusalCode;

use super::publish::control_effect;
use super::{rows, Answer, Context, ControlEffect, Effect, Effects, Machine};
use crate::codec::{Ack, Packet, ReasonCode};
use crate::guard::Guard;
use crate::message::encoding;
use crate::message::Message;
use crate::persistence::Row;
use crate::refusals::What;

/// The messages that the client has not released, by packet id.
#[derive(Default)]
pub(super) struct Received {
    open: Option<Box<Open>>,
    /// Bytes of those that were taken out, still to be given back to the share of the session.
    ended: usize,
}

#[derive(Default)]
struct Open {
    /// Messages that wait. Their number is that of Receive Maximum at most.
    held: HashMap<u16, Arc<Message>>,
    passed_on: PacketIds,
}

impl Received {
    pub(super) fn has(&self, packet_id: u16) -> bool {
        let open = self.open.as_ref();
        open.is_some_and(|o| o.held.contains_key(&packet_id) || o.passed_on.has(packet_id))
    }

    /// Messages that are held.
    pub(super) fn len(&self) -> usize {
        self.open.as_ref().map_or(0, |open| open.held.len())
    }

    pub(super) fn put(&mut self, packet_id: u16, message: Arc<Message>) {
        self.open.get_or_insert_default().held.insert(packet_id, message);
    }

    pub(super) fn put_passed_on(&mut self, packet_id: u16) {
        self.open.get_or_insert_default().passed_on.put(packet_id);
    }

    fn take(&mut self, packet_id: u16) -> Option<Taken> {
        let open = self.open.as_mut()?;
        let taken = match open.held.remove(&packet_id) {
            Some(message) => {
                self.ended += message.held();
                Some(Taken::Held(message))
            }
            None => open.passed_on.take(packet_id).then_some(Taken::PassedOn),
        };
        if open.held.is_empty() && open.passed_on.is_empty() {
            self.open = None;
        }
        taken
    }

    /// Bytes that have left since this was asked.
    pub(super) fn take_ended(&mut self) -> usize {
        std::mem::take(&mut self.ended)
    }
}

enum Taken {
    Held(Arc<Message>),
    PassedOn,
}

/// A set of packet ids in 8 KiB, whatever a client does.
#[derive(Default)]
struct PacketIds {
    words: Vec<u64>,
    count: usize,
}

impl PacketIds {
    fn is_empty(&self) -> bool {
        self.count == 0
    }

    fn has(&self, id: u16) -> bool {
        self.words.get(usize::from(id >> 6)).is_some_and(|word| word & bit(id) != 0)
    }

    fn put(&mut self, id: u16) {
        self.words.resize(PACKET_ID_WORDS, 0);
        if let Some(word) = self.words.get_mut(usize::from(id >> 6)) {
            self.count += usize::from(*word & bit(id) == 0);
            *word |= bit(id);
        }
    }

    fn take(&mut self, id: u16) -> bool {
        let had = self.has(id);
        if let Some(word) = self.words.get_mut(usize::from(id >> 6)).filter(|_| had) {
            *word &= !bit(id);
            self.count -= 1;
        }
        had
    }
}

/// Words of 64 bits for all packet ids.
const PACKET_ID_WORDS: usize = 1 << 10;

fn bit(id: u16) -> u64 {
    1 << (id & 63)
}

impl Machine {
    /// Whether the share of the session's device has room for a message that is held until it is released.
    pub(super) fn may_hold(&self, message: &Message) -> bool {
        self.outbox.as_ref().is_none_or(|outbox| outbox.holding().begin(message.held()))
    }

    /// Takes an authorised message and answers PUBREC, which leaves once the message is durable.
    pub(super) fn receive(&mut self, packet_id: u16, message: Arc<Message>, effects: &mut Effects) {
        if let Some(rows) = rows(&self.outbox) {
            let row = encoding::encode_message(&message);
            self.commit = rows.put(|id| Row::Incoming(id, packet_id), row);
        }
        self.received.put(packet_id, message);
        effects.push(Effect::Send(Packet::PubRec(Ack::new(packet_id, ReasonCode::SUCCESS))));
    }

    /// Passes a message on when it comes. That it was, and its packet id, are noted in one step:
    /// [`Self::note_passed_on`].
    pub(super) fn pass_on(&mut self, packet_id: u16, message: Arc<Message>, effects: &mut Effects) {
        let Some(control) = control_effect(message.topic.as_str(), &message.payload) else {
            let answer = Answer::PubRec(packet_id);
            return effects.push(Effect::Publish { message, answer });
        };
        effects.push(control);
        self.note_passed_on(packet_id);
        effects.push(Effect::Send(Packet::PubRec(Ack::new(packet_id, ReasonCode::SUCCESS))));
    }

    /// The message with this id was passed on: a repetition of it is not.
    pub(crate) fn note_passed_on(&mut self, packet_id: u16) {
        if let Some(rows) = rows(&self.outbox) {
            let row = encoding::encode_passed_on();
            self.commit = rows.put(|id| Row::Incoming(id, packet_id), row);
        }
        self.received.put_passed_on(packet_id);
    }

    /// PUBREL: what was allowed when it came must be allowed still.
    pub(super) fn release(&mut self, ack: &Ack, cx: Context<'_>, effects: &mut Effects) {
        let packet_id = ack.packet_id;
        let comp = |reason| Effect::Send(Packet::PubComp(Ack::new(packet_id, reason)));
        let message = match self.received.take(packet_id) {
            Some(Taken::Held(message)) => message,
            Some(Taken::PassedOn) => {
                self.forget_received(packet_id);
                return effects.push(comp(ReasonCode::SUCCESS));
            }
            None => return effects.push(comp(ReasonCode::PACKET_ID_NOT_FOUND)),
        };
        let allowed = cx.rights.publish(&message.topic, cx.unix).and_then(|()| {
            let is_free = |guard: &Guard| guard.releases(message.topic.as_str(), cx.unix);
            cx.guard.is_none_or(is_free).then_some(()).ok_or(RefusalCode::Quarantined)
        });
        let control = match allowed {
            Ok(()) => control_effect(message.topic.as_str(), &message.payload),
            Err(code) => {
                let (what, topic) = (What::Publish, message.topic.shared());
                Some(ControlEffect::Refused { what, code, topic })
            }
        };
        let Some(control) = control else {
            let message = self.as_of_now(message, cx);
            let answer = Answer::PubComp(packet_id);
            return effects.push(Effect::Publish { message, answer });
        };
        self.forget_received(packet_id);
        effects.push(control);
        effects.push(comp(ReasonCode::SUCCESS));
    }

    /// The message is no longer held: it is published in the same step, or never.
    pub(crate) fn forget_received(&mut self, packet_id: u16) {
        if let Some(rows) = rows(&self.outbox) {
            self.commit = rows.delete(|id| Row::Incoming(id, packet_id));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_packet_id_has_its_bit() {
        let mut ids = PacketIds::default();
        for id in 1..=u16::MAX {
            assert!(!ids.has(id) && !ids.take(id));
            ids.put(id);
            ids.put(id);
        }
        assert_eq!((ids.count, ids.words.len()), (65_535, PACKET_ID_WORDS));
        for id in (1..=u16::MAX).rev() {
            assert!(ids.has(id) && ids.take(id) && !ids.has(id));
        }
        assert!(ids.is_empty());
    }
}
