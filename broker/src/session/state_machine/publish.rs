//! PUBLISH from the client: its steps, in their order (MQTT 5 section 3.3). The first that does not pass ends the list.
//!
//! 1. The token has not expired, and
//! 2. it was not revoked: [`Machine::on_packet`] asks both.
//! 3. The topic: an alias is resolved, the name is valid.
//! 4. A QoS 2 packet id that waits for PUBREL is the same message again: PUBREC.
//! 5. The client keeps to Receive Maximum.
//! 6. The grant allows the topic ([`crate::authorisation`]), and no restriction forbids it ([`crate::guard`]).
//! 7. A QoS 2 message is held until PUBREL ([`super::release`]).
//! 8. `$tessera/token`, `$tessera/refresh` and `$tessera/trust` go to [`crate::control_topics`].
//! 9. The connection performs [`Effect::Publish`]: `hub/route.rs` stores a retained message and delivers by exact,
//!    persistent and wildcard routes ([`crate::routing`]).
//! 10. The answer leaves when the commit of the rows is durable (`connection/serve.rs`).
//!
//! Each receiver asks again, before a message is written to it, whether its author was revoked and whether its own
//! grant allows the topic ([`super::delivery`]).

use std::sync::Arc;

use bytes::Bytes;
use tessera_token::refusal::RefusalCode;
use tessera_token::topic::{TopicError, TopicName};

use super::{Answer, Context, ControlEffect, Effect, Effects, End, Machine};
use crate::authorisation::ControlTopic;
use crate::codec::{Ack, Packet, PropertyId, Publish, QoS, ReasonCode, Version};
use crate::limits::{SMALL_PAYLOAD, TOPIC_ALIASES};
use crate::message::Message;
use crate::refusals::What;

impl Machine {
    /// Runs steps 3 to 9.
    pub(super) fn publish(&mut self, publish: Publish, cx: Context<'_>, effects: &mut Effects) {
        /* 3 */
        let Some(topic) = self.topic_of(&publish, cx, effects) else { return };
        let passes = /* 4 */ self.is_new(&publish, effects)
            && /* 5 */ self.is_within_receive_maximum(&publish, cx, effects)
            && /* 6 */ self.is_authorised(&publish, &topic, cx, effects)
            && self.is_let_through(&publish, &topic, cx, effects);
        if !passes {
            return;
        }
        /* 7 */
        if let (QoS::ExactlyOnce, Some(packet_id)) = (publish.qos, publish.packet_id) {
            return self.hold_or_pass_on(packet_id, message(publish, topic, cx), cx, effects);
        }
        /* 8 */
        if let Some(control) = control_effect(topic.as_str(), &publish.payload) {
            effects.push(control);
            if let Some(packet_id) = publish.packet_id {
                let ack = Ack::new(packet_id, ReasonCode::SUCCESS);
                effects.push(Effect::Send(Packet::PubAck(ack)));
            }
            return;
        }
        /* 9 */
        let answer = publish.packet_id.map_or(Answer::Nothing, Answer::PubAck);
        effects.push(Effect::Publish { message: message(publish, topic, cx), answer });
    }

    fn topic_of(
        &mut self,
        publish: &Publish,
        cx: Context<'_>,
        effects: &mut Effects,
    ) -> Option<TopicName> {
        match self.resolve(publish) {
            Ok(topic) => Some(topic),
            Err(Unresolved::Alias(end)) => {
                effects.push(ControlEffect::End(end));
                None
            }
            Err(Unresolved::Name) => {
                let why = (ReasonCode::TOPIC_NAME_INVALID, RefusalCode::PublishNotAuthorised);
                self.refuse(publish, Arc::from(&*publish.topic), why, cx, effects);
                None
            }
        }
    }

    /// [MQTT-4.3.3-10]: the same message once more, until it is released.
    fn is_new(&self, publish: &Publish, effects: &mut Effects) -> bool {
        let (QoS::ExactlyOnce, Some(packet_id)) = (publish.qos, publish.packet_id) else {
            return true;
        };
        if self.received.has(packet_id) {
            let ack = Ack::new(packet_id, ReasonCode::SUCCESS);
            effects.push(Effect::Send(Packet::PubRec(ack)));
            return false;
        }
        true
    }

    fn is_full(&self, cx: Context<'_>) -> bool {
        self.received.len() >= usize::from(cx.policy.receive_maximum)
    }

    /// 3.1.1 knows no Receive Maximum: such a client is not cut at a limit that it was not told.
    fn is_within_receive_maximum(
        &self,
        publish: &Publish,
        cx: Context<'_>,
        effects: &mut Effects,
    ) -> bool {
        if publish.qos == QoS::AtMostOnce || self.version() != Version::V5 || !self.is_full(cx) {
            return true;
        }
        let end = End::broken(ReasonCode::RECEIVE_MAXIMUM_EXCEEDED, "receive_maximum_exceeded");
        effects.push(ControlEffect::End(end));
        false
    }

    fn is_authorised(
        &self,
        publish: &Publish,
        topic: &TopicName,
        cx: Context<'_>,
        effects: &mut Effects,
    ) -> bool {
        let Err(code) = cx.rights.publish(topic, cx.unix) else { return true };
        self.refuse(publish, topic.shared(), (ReasonCode::NOT_AUTHORIZED, code), cx, effects);
        false
    }

    fn is_let_through(
        &mut self,
        publish: &Publish,
        topic: &TopicName,
        cx: Context<'_>,
        effects: &mut Effects,
    ) -> bool {
        let Some(guard) = cx.guard else { return true };
        let ruling = guard.publish(publish, topic.as_str(), cx.unix);
        if let Some(told) = ruling.told {
            effects.push(ControlEffect::Ruled(told));
        }
        if let Some(until) = guard.pause(publish.payload.len(), cx.unix, cx.monotonic) {
            // Its pings are not read meanwhile either.
            self.heard(until);
            effects.push(ControlEffect::Pause(until));
        }
        let Some(code) = ruling.refusal else { return true };
        if publish.qos == QoS::AtMostOnce {
            // The token allows it: the connection goes on, and keeps the device's refresh and status alive.
            let topic = topic.shared();
            effects.push(ControlEffect::Refused { what: What::Publish, code, topic });
        } else {
            self.refuse(publish, topic.shared(), (ReasonCode::NOT_AUTHORIZED, code), cx, effects);
        }
        false
    }

    /// Holds a QoS 2 message until PUBREL. A 3.1.1 client is not refused for want of room: its message goes on at once.
    fn hold_or_pass_on(
        &mut self,
        packet_id: u16,
        message: Arc<Message>,
        cx: Context<'_>,
        effects: &mut Effects,
    ) {
        if self.is_full(cx) {
            return self.pass_on(packet_id, message, effects);
        }
        if self.may_hold(&message) {
            return self.receive(packet_id, message, effects);
        }
        if self.version() == Version::V311 {
            return self.pass_on(packet_id, message, effects);
        }
        let why = (ReasonCode::QUOTA_EXCEEDED, RefusalCode::ShareUsedUp);
        let topic = message.topic.shared();
        effects.push(ControlEffect::Refused { what: What::Publish, code: why.1, topic });
        self.refuse_publish((QoS::ExactlyOnce, Some(packet_id)), why, cx, effects);
    }

    fn refuse(
        &self,
        publish: &Publish,
        topic: Arc<str>,
        why: (ReasonCode, RefusalCode),
        cx: Context<'_>,
        effects: &mut Effects,
    ) {
        effects.push(ControlEffect::Refused { what: What::Publish, code: why.1, topic });
        self.refuse_publish((publish.qos, publish.packet_id), why, cx, effects);
    }

    /// The string that is authorised here is the string that is routed.
    fn resolve(&mut self, publish: &Publish) -> Result<TopicName, Unresolved> {
        let alias = publish.properties.short(PropertyId::TopicAlias);
        match alias {
            Some(alias) if alias == 0 || alias > TOPIC_ALIASES => {
                let end = End::broken(ReasonCode::TOPIC_ALIAS_INVALID, "topic_alias_above_maximum");
                return Err(Unresolved::Alias(end));
            }
            Some(alias) if publish.topic.is_empty() => {
                let known = self.aliases.as_ref().and_then(|aliases| aliases.get(&alias));
                let end = End::broken(ReasonCode::PROTOCOL_ERROR, "topic_alias_unknown");
                return known.cloned().ok_or(Unresolved::Alias(end));
            }
            _ => {}
        }
        match (self.topic_name(&publish.topic), alias) {
            (Ok(topic), None) => Ok(topic),
            (Ok(topic), Some(alias)) => {
                self.aliases.get_or_insert_default().insert(alias, topic.clone());
                Ok(topic)
            }
            (Err(_), alias) => {
                // The client mapped it to another topic: it no longer stands for the one before.
                if let (Some(aliases), Some(alias)) = (self.aliases.as_mut(), alias) {
                    aliases.remove(&alias);
                }
                Err(Unresolved::Name)
            }
        }
    }

    fn topic_name(&mut self, text: &str) -> Result<TopicName, TopicError> {
        match &self.last_topic {
            Some(last) if last.as_str() == text => Ok(last.clone()),
            _ => TopicName::parse(text).inspect(|topic| self.last_topic = Some(topic.clone())),
        }
    }

    /// RFC 9431 section 3.2: QoS 0 ends an MQTT 5 connection, QoS 1 and 2 are answered, 3.1.1 is ended always.
    fn refuse_publish(
        &self,
        (qos, packet_id): (QoS, Option<u16>),
        (reason, code): (ReasonCode, RefusalCode),
        cx: Context<'_>,
        effects: &mut Effects,
    ) {
        match packet_id {
            Some(packet_id) if self.version() == Version::V5 => {
                let ack = Ack { packet_id, reason, properties: self.explain(code, cx) };
                let packet = match qos {
                    QoS::ExactlyOnce => Packet::PubRec(ack),
                    _ => Packet::PubAck(ack),
                };
                effects.push(Effect::Send(packet));
            }
            _ => effects.push(ControlEffect::End(End::refused(reason, code))),
        }
    }
}

/// The effect of a message on a control topic that takes messages, with every QoS; `None` for the topics of routes.
pub(super) fn control_effect(topic: &str, payload: &Bytes) -> Option<ControlEffect> {
    match ControlTopic::of(topic)? {
        ControlTopic::Token => Some(ControlEffect::Token(payload.clone())),
        ControlTopic::Refresh => Some(ControlEffect::Refresh(payload.clone())),
        ControlTopic::Trust => Some(ControlEffect::Trust(payload.clone())),
        // No rights allow a publish there.
        ControlTopic::Status | ControlTopic::Alerts => None,
    }
}

enum Unresolved {
    Alias(End),
    Name,
}

fn message(publish: Publish, topic: TopicName, cx: Context<'_>) -> Arc<Message> {
    let grant = cx.rights.grant();
    let publisher = cx.rights.publisher(cx.session);
    let mut message =
        Message::new(grant.tenant().clone(), topic, compact(publish.payload), publisher);
    message.qos = publish.qos;
    message.retain = publish.retain;
    if !publish.properties.is_empty() {
        message.set_properties(publish.properties.forwardable().detached());
        let expires_in = publish.properties.number(PropertyId::MessageExpiry);
        let now = || cx.trusted.witnessed_time().unwrap_or(cx.unix);
        message.set_expires(expires_in.map(|seconds| now().plus(u64::from(seconds))));
    }
    Arc::new(message)
}

/// A small payload is copied: a few bytes that wait for a slow reader must not hold a whole read buffer.
fn compact(payload: Bytes) -> Bytes {
    if payload.len() <= SMALL_PAYLOAD {
        Bytes::copy_from_slice(&payload)
    } else {
        payload
    }
}
