//! The MQTT session as a synchronous machine: a packet and the time go in, [`Effect`]s come out.
//!
//! No socket, no clock, no lane: the connection performs the effects. One machine serves one session across all its
//! connections; what belongs to a single connection is reset by [`Machine::attach`]. An idle machine owns no heap
//! memory but its subscriptions.
//!
//! Reading order: [`effect`] (the interface), [`connect`], [`publish`], [`subscribe`], [`delivery`], [`flight`].

mod connect;
mod delivery;
mod effect;
mod flight;
mod publish;
mod refuse;
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

use crate::codec::{Ack, Disconnect, Packet, PropertyId, ReasonCode, Version};
use crate::config::SessionPolicy;
use crate::lanes::SubscriberId;
use crate::rights::Rights;

pub use connect::check_will;
pub use delivery::Delivered;
pub use effect::{Effect, End, Granted};
pub use flight::Flight;
pub use subscribe::Held;
pub use will::Will;

/// What a step may look at beside the machine itself.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// What the token allows now.
    pub rights: &'a Rights,
    /// What every session is held to.
    pub policy: &'a SessionPolicy,
    /// This session, for No Local.
    pub session: SubscriberId,
    /// Wall time.
    pub unix: UnixSeconds,
    /// Monotonic time.
    pub monotonic: Duration,
}

/// The state of one session.
pub struct Machine {
    version: Version,
    keep_alive: Option<Duration>,
    last_packet: Duration,
    expiry: u32,
    expiry_at_connect: u32,
    expiry_most: u32,
    max_packet: usize,
    problem_info: bool,
    aliases: Option<Box<HashMap<u16, TopicName>>>,
    flight: Flight,
    subscriptions: HashMap<Arc<str>, Held>,
    will: Option<Box<Will>>,
}

impl Machine {
    /// Takes one packet of the client. Effects are appended to `effects` in the order in which they must happen.
    pub fn on_packet(&mut self, packet: Packet, cx: Context<'_>, effects: &mut Vec<Effect>) {
        self.last_packet = cx.monotonic;
        if let Packet::Disconnect(goodbye) = packet {
            return self.goodbye(&goodbye, effects);
        }
        if let Err(code) = cx.rights.alive(cx.unix) {
            return effects.push(Effect::End(End::refused(ReasonCode::NOT_AUTHORIZED, code)));
        }
        match packet {
            Packet::Publish(publish) => self.publish(publish, cx, effects),
            Packet::PubAck(ack) => self.flight.acknowledged(ack.packet_id),
            Packet::Subscribe(subscribe) => self.subscribe(&subscribe, cx, effects),
            Packet::Unsubscribe(unsubscribe) => self.unsubscribe(&unsubscribe, effects),
            Packet::PingReq => effects.push(Effect::Send(Packet::PingResp)),
            Packet::PubRel(ack) => {
                let answer = Ack::new(ack.packet_id, ReasonCode::PACKET_ID_NOT_FOUND);
                effects.push(Effect::Send(Packet::PubComp(answer)));
            }
            Packet::PubRec(ack) if !ack.reason.is_error() => {
                let answer = Ack::new(ack.packet_id, ReasonCode::PACKET_ID_NOT_FOUND);
                effects.push(Effect::Send(Packet::PubRel(answer)));
            }
            Packet::PubRec(_) | Packet::PubComp(_) => {}
            // A second CONNECT [MQTT-3.1.0-2]; AUTH without an authentication method in CONNECT [MQTT-4.12.0-6].
            _ => effects
                .push(Effect::End(End::broken(ReasonCode::PROTOCOL_ERROR, "packet_out_of_place"))),
        }
    }

    fn goodbye(&mut self, goodbye: &Disconnect, effects: &mut Vec<Effect>) {
        let wanted = goodbye.properties.number(PropertyId::SessionExpiry);
        if let Some(wanted) = wanted {
            if self.expiry_at_connect == 0 && wanted != 0 {
                let end =
                    End::broken(ReasonCode::PROTOCOL_ERROR, "session_expiry_raised_from_zero");
                return effects.push(Effect::End(end));
            }
            self.expiry = wanted.min(self.expiry_most);
        }
        if goodbye.reason == ReasonCode::SUCCESS {
            self.will = None;
        }
        effects.push(Effect::End(End::by_client()));
    }

    /// The version of the present connection.
    pub fn version(&self) -> Version {
        self.version
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
        cx.policy.reason_strings && self.problem_info && self.version == Version::V5
    }

    fn explain(&self, code: RefusalCode, cx: Context<'_>) -> crate::codec::Properties {
        if self.may_explain(cx) {
            refuse::reason_string(code)
        } else {
            crate::codec::Properties::new()
        }
    }
}
