//! The MQTT session as a synchronous machine: a packet and the time go in, [`Effect`]s come out.
//!
//! No socket, no clock, no routing: the connection performs the effects. One machine serves one session across all its
//! connections; what belongs to a single connection is reset by [`Machine::attach`]. An idle machine owns no heap
//! memory but its subscriptions.
//!
//! Reading order: [`effect`] (the interface), [`connect`], [`publish`], [`release`] (QoS 2 of the client),
//! [`subscribe`], [`delivery`], [`flight`] (QoS 1 and 2 to the client). The machine of a persistent session notes
//! changes that must survive a crash; the connection waits for them before it sends.

mod alias;
mod connect;
mod delivery;
mod effect;
mod flight;
mod publish;
mod reason_string;
mod release;
mod subscribe;
#[cfg(test)]
mod tests;
mod will;

use std::sync::Arc;
use std::time::Duration;

use hashbrown::HashMap;
use tessera_token::refusal::RefusalCode;
use tessera_token::time::UnixSeconds;
use tessera_token::topic::TopicName;

use crate::authorisation::Rights;
use crate::codec::{Ack, Disconnect, Packet, PropertyId, ReasonCode, Recipient, Version};
use crate::guard::Guard;
use crate::message::SubscriberId;
use crate::message::Trusted;
use crate::persistence::{Row, SessionRows};
use crate::routing::row;
use crate::routing::{Delivery, Outbox};
use crate::session::policy::SessionPolicy;
use crate::session::Now;

pub use connect::check_will;
pub(crate) use connect::{granted_expiry, told};
pub use delivery::{Delivered, SendState};
pub use effect::{Answer, Cause, ControlEffect, Effect, Effects, End, Granted};
pub use flight::Flight;
pub(crate) use reason_string::reason_string;
pub use subscribe::Held;
pub use will::Will;

/// The settings and trust data that all sessions share.
#[derive(Clone, Copy)]
pub struct BrokerContext<'a> {
    /// Limits of every session.
    pub policy: &'a SessionPolicy,
    /// The revocations, as of now.
    pub trusted: Trusted<'a>,
}

/// The inputs of a step beside the packet.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// The rights that the token grants now.
    pub rights: &'a Rights,
    /// Restrictions beside them, when there are any.
    pub(crate) guard: Option<&'a Guard>,
    /// Limits of every session.
    pub policy: &'a SessionPolicy,
    /// The revocations, as of now.
    pub trusted: Trusted<'a>,
    /// This session, for No Local.
    pub session: SubscriberId,
    /// Wall time.
    pub unix: UnixSeconds,
    /// Monotonic time.
    pub monotonic: Duration,
}

impl<'a> Context<'a> {
    /// The world of this session at this look at the clock.
    pub fn at(
        rights: &'a Rights,
        context: BrokerContext<'a>,
        session: SubscriberId,
        now: Now,
    ) -> Self {
        let BrokerContext { policy, trusted } = context;
        let (unix, monotonic) = (now.unix, now.monotonic);
        Self { rights, guard: None, policy, trusted, session, unix, monotonic }
    }

    /// The same with the restrictions of the session.
    pub(crate) fn guarded(self, guard: Option<&'a Guard>) -> Self {
        Self { guard, ..self }
    }

    /// Whether a delivery from before a restart seems to be over by a time that rests on one clock alone: it is neither
    /// sent nor deleted before a second clock bears witness.
    pub(crate) fn waits_for_time(&self, delivery: &Delivery) -> bool {
        delivery.sequence.again
            && !delivery.retained
            && delivery.message.is_expired(self.unix)
            && self.trusted.witnessed_time().is_none()
    }

    /// Whether a delivery is over. The time by which everything is judged is the later one, and costs nothing here.
    fn is_expired(&self, delivery: &Delivery) -> bool {
        let message = &delivery.message;
        message.is_expired(self.unix) && message.is_expired(self.expiry_time(delivery))
    }

    /// The time by which a delivery is over. One that came from the retained messages stays there, and goes by the time
    /// by which everything is judged.
    fn expiry_time(&self, delivery: &Delivery) -> UnixSeconds {
        match delivery.message.expires() {
            Some(_) if !delivery.retained => self.trusted.witnessed_time().unwrap_or(self.unix),
            _ => self.unix,
        }
    }
}

/// The state of one session.
pub struct Machine {
    /// The client of the present connection.
    to: Recipient,
    keep_alive: Option<Duration>,
    last_packet: Duration,
    expiry: u32,
    expiry_at_connect: u32,
    expiry_most: u32,
    problem_info: bool,
    aliases: Option<Box<HashMap<u16, TopicName>>>,
    /// The topic of the last PUBLISH: most devices publish to one, and its text is then read and allocated once.
    last_topic: Option<TopicName>,
    out_aliases: Option<Box<alias::Aliases>>,
    flight: Flight,
    received: release::Received,
    subscriptions: HashMap<Arc<str>, Held>,
    last_subscription: u32,
    will: Option<Box<Will>>,
    /// The outbox of its session: it has the share that its messages count for, and says whether they are persistent.
    outbox: Option<Arc<Outbox>>,
    /// The newest of what must be durable before anything more is sent.
    commit: u64,
}

impl Machine {
    /// Takes one packet of the client. Effects are appended to `effects` in the order in which they must happen.
    pub fn on_packet(&mut self, packet: Packet, cx: Context<'_>, effects: &mut Effects) {
        self.heard(cx.monotonic);
        if let Packet::Disconnect(packet) = packet {
            return self.disconnect(&packet, effects);
        }
        if let Err(code) = cx.rights.alive(cx.unix) {
            return effects
                .push(ControlEffect::End(End::refused(ReasonCode::NOT_AUTHORIZED, code)));
        }
        if matches!(packet, Packet::Publish(_) | Packet::PubRel(_)) {
            // The revocation pass is about to end this session; no publish of it gets through until then.
            if let Err(code) = cx.rights.trusted(cx.session, cx.trusted) {
                return effects.push(ControlEffect::End(End::revoked(code, cx.policy)));
            }
        }
        match packet {
            Packet::Publish(publish) => self.publish(publish, cx, effects),
            Packet::PubAck(ack) => {
                let acked = self.flight.acknowledged(ack.packet_id);
                self.finished(acked, effects);
            }
            Packet::Subscribe(subscribe) => self.subscribe(&subscribe, cx, effects),
            Packet::Unsubscribe(unsubscribe) => self.unsubscribe(&unsubscribe, effects),
            Packet::PingReq => effects.push(Effect::Send(Packet::PingResp)),
            Packet::PubRel(ack) => self.release(&ack, cx, effects),
            Packet::PubRec(ack) => self.received_by_client(&ack, effects),
            Packet::PubComp(ack) => {
                let acked = self.flight.completed(ack.packet_id);
                self.finished(acked, effects);
            }
            // A second CONNECT [MQTT-3.1.0-2]; AUTH without an authentication method in CONNECT [MQTT-4.12.0-6].
            _ => effects.push(ControlEffect::End(End::broken(
                ReasonCode::PROTOCOL_ERROR,
                "packet_out_of_place",
            ))),
        }
    }

    /// A packet of the client came at this monotonic time: its keep-alive begins anew [MQTT-3.1.2-22]. For those that
    /// are not handled here (AUTH).
    pub fn heard(&mut self, at: Duration) {
        self.last_packet = at;
    }

    fn finished(&mut self, acked: flight::Acked, effects: &mut Effects) {
        match acked {
            flight::Acked::Good(number) => self.drop_row(number),
            flight::Acked::Again | flight::Acked::Unknown => {}
            flight::Acked::OutOfPlace => effects.push(out_of_place()),
        }
    }

    /// PUBREC: the client has the message. From here on only its packet id is open [MQTT-4.3.3-5].
    fn received_by_client(&mut self, ack: &Ack, effects: &mut Effects) {
        let refused = ack.reason.is_error();
        let reason = match self.flight.received(ack.packet_id, refused) {
            flight::Acked::OutOfPlace => return effects.push(out_of_place()),
            flight::Acked::Good(number) if refused => return self.drop_row(number),
            _ if refused => return,
            flight::Acked::Unknown => ReasonCode::PACKET_ID_NOT_FOUND,
            flight::Acked::Again => ReasonCode::SUCCESS,
            flight::Acked::Good(number) => {
                if let (Some(rows), true) = (rows(&self.outbox), number > 0) {
                    let row = row::encode_released();
                    self.commit = rows.put(|id| Row::Outgoing(id, number), row);
                }
                ReasonCode::SUCCESS
            }
        };
        effects.push(Effect::Send(Packet::PubRel(Ack::new(ack.packet_id, reason))));
    }

    /// A delivery is done with; losing this in a crash costs a repetition that the client knows.
    fn drop_row(&self, number: u64) {
        if let (Some(rows), true) = (rows(&self.outbox), number > 0) {
            rows.delete(|id| Row::Outgoing(id, number));
        }
    }

    /// Takes the commit that must be durable before anything more is sent; 0 for none.
    pub fn take_commit(&mut self) -> u64 {
        std::mem::take(&mut self.commit)
    }

    /// It is the machine of the session with this outbox, which may be kept across restarts.
    pub(crate) fn belong(&mut self, outbox: &Arc<Outbox>) {
        self.outbox = Some(Arc::clone(outbox));
    }

    /// Gives back to the share the bytes that have ended since the last time.
    pub(crate) fn settle_share(&mut self) {
        let ended = self.flight.take_ended() + self.received.take_ended();
        if let Some(outbox) = self.outbox.as_ref().filter(|_| ended > 0) {
            outbox.holding().end(ended);
        }
    }

    /// Puts back what was there before a restart.
    pub(crate) fn restore(&mut self, restored: Restored) {
        self.expiry = restored.expiry;
        self.will = restored.will.map(Box::new);
        for number in restored.released {
            self.flight.restore_released(number);
        }
        for (packet_id, message) in restored.received {
            if let Some(outbox) = &self.outbox {
                outbox.holding().restore(0, message.held());
            }
            self.received.put(packet_id, message);
        }
        for packet_id in restored.passed_on {
            self.received.put_passed_on(packet_id);
        }
        for held in restored.subscriptions {
            self.last_subscription = self.last_subscription.max(held.number);
            self.subscriptions.insert(held.text(), held);
        }
    }

    /// The will, while it is held.
    pub fn will(&self) -> Option<&Will> {
        self.will.as_deref()
    }

    /// Takes all open deliveries out; gives those that others may get instead.
    pub fn clear_flight(&mut self) -> Vec<Delivery> {
        self.flight.clear()
    }

    fn disconnect(&mut self, packet: &Disconnect, effects: &mut Effects) {
        let wanted = packet.properties.number(PropertyId::SessionExpiry);
        if let Some(wanted) = wanted {
            if self.expiry_at_connect == 0 && wanted != 0 {
                let end =
                    End::broken(ReasonCode::PROTOCOL_ERROR, "session_expiry_raised_from_zero");
                return effects.push(ControlEffect::End(end));
            }
            self.expiry = wanted.min(self.expiry_most);
        }
        if packet.reason == ReasonCode::SUCCESS {
            self.will = None;
        }
        effects.push(ControlEffect::End(End::by_client()));
    }

    /// Seconds that it is kept once its connection has ended.
    pub(crate) fn expiry_seconds(&self) -> u32 {
        self.expiry
    }

    /// The version of the present connection.
    pub fn version(&self) -> Version {
        self.to.version()
    }

    /// For how long the session is kept once its connection has ended.
    pub fn expiry(&self) -> Duration {
        Duration::from_secs(u64::from(self.expiry))
    }

    /// When the client must have been heard from, monotonic; `None` without keep-alive.
    pub fn silent_until(&self) -> Option<Duration> {
        self.keep_alive.map(|allowed| self.last_packet.saturating_add(allowed))
    }

    /// Whether words may be added to reason codes: the setting allows it and the client did not decline.
    fn may_explain(&self, cx: Context<'_>) -> bool {
        cx.policy.reason_strings && self.problem_info && self.version() == Version::V5
    }

    fn explain(&self, code: RefusalCode, cx: Context<'_>) -> crate::codec::Properties {
        if self.may_explain(cx) {
            reason_string(code)
        } else {
            crate::codec::Properties::new()
        }
    }
}

/// The state of a machine as a restart restores it.
pub(crate) struct Restored {
    pub(crate) expiry: u32,
    pub(crate) will: Option<Will>,
    pub(crate) released: Vec<u64>,
    pub(crate) received: Vec<(u16, Arc<crate::message::Message>)>,
    pub(crate) passed_on: Vec<u16>,
    pub(crate) subscriptions: Vec<Held>,
}

/// The place for notes that must survive a crash, for a session that is kept.
fn rows(outbox: &Option<Arc<Outbox>>) -> Option<&SessionRows> {
    outbox.as_ref().and_then(|outbox| outbox.rows())
}

fn out_of_place() -> Effect {
    ControlEffect::End(End::broken(ReasonCode::PROTOCOL_ERROR, "acknowledgement_out_of_place"))
        .into()
}
