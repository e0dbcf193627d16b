//! PUBLISH from the client: alias, then topic, then right, and only then anything else (MQTT 5 section 3.3).

use std::sync::Arc;

use bytes::Bytes;
use tessera_token::refusal::RefusalCode;
use tessera_token::topic::TopicName;

use super::{Answer, Context, Effect, Effects, End, Machine, Rarer};
use crate::codec::{Ack, Packet, PropertyId, Publish, QoS, ReasonCode, Version};
use crate::limits::{SMALL_PAYLOAD, TOPIC_ALIASES};
use crate::message::Message;
use crate::refusals::What;
use crate::rights::Control;

impl Machine {
    pub(super) fn publish(&mut self, publish: Publish, cx: Context<'_>, effects: &mut Effects) {
        let exchange = (publish.qos, publish.packet_id);
        let topic = match self.resolve(&publish) {
            Ok(topic) => topic,
            Err(Unresolved::Alias(end)) => return effects.push(Rarer::End(end)),
            Err(Unresolved::Name) => {
                let code = RefusalCode::PublishNotAuthorised;
                effects.push(Rarer::Refused {
                    what: What::Publish,
                    code,
                    topic: Arc::from(&*publish.topic),
                });
                let why = (ReasonCode::TOPIC_NAME_INVALID, code);
                return self.refuse_publish(exchange, why, cx, effects);
            }
        };
        if let (QoS::ExactlyOnce, Some(packet_id)) = exchange {
            if self.received.has(packet_id) {
                // [MQTT-4.3.3-10]: the same message once more, until it is released.
                let ack = Ack::new(packet_id, ReasonCode::SUCCESS);
                return effects.push(Effect::Send(Packet::PubRec(ack)));
            }
        }
        let full = self.received.len() >= usize::from(cx.policy.receive_maximum);
        // 3.1.1 knows no Receive Maximum: such a client is not cut at a limit that it was not told.
        if full && publish.qos != QoS::AtMostOnce && self.version() == Version::V5 {
            let end = End::broken(ReasonCode::RECEIVE_MAXIMUM_EXCEEDED, "receive_maximum_exceeded");
            return effects.push(Rarer::End(end));
        }
        if let Err(code) = cx.rights.publish(&topic, cx.unix) {
            effects.push(Rarer::Refused { what: What::Publish, code, topic: topic.shared() });
            return self.refuse_publish(exchange, (ReasonCode::NOT_AUTHORIZED, code), cx, effects);
        }
        if let (QoS::ExactlyOnce, Some(packet_id)) = exchange {
            let message = message(publish, topic, cx);
            if full {
                return self.pass_on(packet_id, message, effects);
            }
            if !self.may_hold(&message) {
                if self.version() == Version::V311 {
                    return self.pass_on(packet_id, message, effects);
                }
                let why = (ReasonCode::QUOTA_EXCEEDED, RefusalCode::ShareUsedUp);
                let (what, topic) = (What::Publish, message.topic.shared());
                effects.push(Rarer::Refused { what, code: why.1, topic });
                return self.refuse_publish(exchange, why, cx, effects);
            }
            return self.receive(packet_id, message, effects);
        }
        if Control::of(topic.as_str()) == Some(Control::Token) {
            effects.push(Rarer::Token(publish.payload));
            if let Some(packet_id) = publish.packet_id {
                let ack = Ack::new(packet_id, ReasonCode::SUCCESS);
                effects.push(Effect::Send(Packet::PubAck(ack)));
            }
            return;
        }
        let answer = publish.packet_id.map_or(Answer::Nothing, Answer::PubAck);
        effects.push(Effect::Publish { message: message(publish, topic, cx), answer });
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
        match (TopicName::parse(&publish.topic), alias) {
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
            _ => effects.push(Rarer::End(End::refused(reason, code))),
        }
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
