//! PUBLISH to the client. Live, retained, queued and repeated deliveries all pass through [`Machine::write`], so there
//! is one place where the right to receive is asked.

use std::sync::Arc;

use bytes::BytesMut;
use tessera_token::refusal::RefusalCode;

use super::flight::What;
use super::{Context, Machine};
use crate::codec::publish::{encode_head, encoded_len, PublishHead};
use crate::codec::{Ack, Packet, Properties, PropertyId, QoS, ReasonCode, Version};
use crate::message::Trusted;
use crate::routing::Delivery;

/// The result of a delivery.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Delivered {
    /// Written.
    Sent(QoS),
    /// PUBREL of an earlier connection, written again.
    Released,
    /// Left out, and why.
    Dropped(&'static str, QoS),
    /// The token has expired: the connection must end.
    Ended(RefusalCode),
}

/// Which deliveries a client can be sent now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SendState {
    /// None: its Receive Maximum is used up until it acknowledges something.
    WindowFull,
    /// New ones.
    Ready,
    /// Those that an earlier connection left unacknowledged, before any new one.
    ResendPending,
    /// New ones, once a second clock confirms whether the next one has expired.
    ClockPending,
}

impl Machine {
    /// How many new deliveries the client can take now.
    pub fn room(&self) -> usize {
        self.flight.room()
    }

    /// Which deliveries the client can be sent now; only a packet of the client makes it more.
    pub fn send_state(&self) -> SendState {
        if self.flight.next_again().is_some() {
            SendState::ResendPending
        } else if self.room() > 0 {
            SendState::Ready
        } else {
            SendState::WindowFull
        }
    }

    /// Writes the next delivery of an earlier connection, with DUP when the client was sent it before [MQTT-3.3.1-1];
    /// `None` when there is none to write now.
    /// Expiry is not asked: what was sent once is completed [MQTT-4.3.3-7], [MQTT-4.4.0-1].
    pub fn deliver_again(&mut self, cx: Context<'_>, out: &mut BytesMut) -> Option<Delivered> {
        let open = self.flight.next_again()?;
        let (what, packet_id) = (open.what.clone(), open.packet_id);
        let dup = open.begun || open.sequence.again;
        let done = match what {
            What::Message(delivery) => self.write(&delivery, Some(packet_id), dup, cx, out),
            What::Released => self.release_again(packet_id, out),
        };
        match done {
            Delivered::Sent(_) | Delivered::Released => self.flight.sent_again(),
            Delivered::Dropped(..) => {
                let number = self.flight.drop_again();
                self.drop_row(number.unwrap_or(0));
            }
            Delivered::Ended(_) => {}
        }
        Some(done)
    }

    /// Drops deliveries of an earlier connection whose publishers were revoked; returns the QoS of each.
    pub(crate) fn drop_revoked(&mut self, trusted: Trusted<'_>) -> Vec<QoS> {
        let dropped = self.flight.drop_revoked(trusted);
        dropped
            .into_iter()
            .map(|(qos, number)| {
                self.drop_row(number);
                qos
            })
            .collect()
    }

    /// The right to receive was asked when the message went out; nothing of it is checked now.
    fn release_again(&self, packet_id: u16, out: &mut BytesMut) -> Delivered {
        let packet = Packet::PubRel(Ack::new(packet_id, ReasonCode::SUCCESS));
        match self.to.write(&packet, out) {
            Ok(true) => Delivered::Released,
            Ok(false) => Delivered::Dropped("too_large", QoS::ExactlyOnce),
            Err(_) => Delivered::Dropped("not_encodable", QoS::ExactlyOnce),
        }
    }

    /// Writes a new delivery. The caller has asked [`Self::room`].
    pub fn deliver(
        &mut self,
        delivery: Delivery,
        cx: Context<'_>,
        out: &mut BytesMut,
    ) -> Delivered {
        if cx.is_expired(&delivery) {
            self.drop_row(delivery.sequence.number);
            self.flight.let_go(&delivery);
            return Delivered::Dropped("expired", delivery.qos());
        }
        if delivery.qos() == QoS::AtMostOnce {
            return self.write(&delivery, None, false, cx, out);
        }
        let packet_id = self.flight.add(delivery.clone());
        let again = delivery.sequence.again;
        let done = self.write(&delivery, Some(packet_id), again, cx, out);
        match done {
            Delivered::Dropped(..) => {
                self.flight.withdraw();
                self.drop_row(delivery.sequence.number);
            }
            _ => self.commit = self.commit.max(delivery.sequence.commit),
        }
        if let Delivered::Ended(_) = done {
            self.flight.put_off();
        }
        done
    }

    fn write(
        &mut self,
        delivery: &Delivery,
        packet_id: Option<u16>,
        dup: bool,
        cx: Context<'_>,
        out: &mut BytesMut,
    ) -> Delivered {
        let message = &*delivery.message;
        let qos = delivery.qos();
        if message.is_revoked(cx.trusted) {
            return Delivered::Dropped("publisher_withdrawn", qos);
        }
        match cx.rights.receive(message.topic.as_str(), cx.unix) {
            Ok(()) => {}
            Err(RefusalCode::TokenExpired) => return Delivered::Ended(RefusalCode::TokenExpired),
            Err(_) => return Delivered::Dropped("not_authorised", qos),
        }
        if cx.guard.is_some_and(|guard| !guard.receives(message.topic.as_str(), cx.unix)) {
            return Delivered::Dropped("quarantined", qos);
        }
        if let Some(frame) = self.ready_made(delivery) {
            if !self.to.takes(frame.len()) {
                return Delivered::Dropped("too_large", qos);
            }
            out.extend_from_slice(frame);
            return Delivered::Sent(qos);
        }
        let alias = self.out_aliases.as_ref().and_then(|aliases| aliases.of(&message.topic));
        let properties = self.properties(delivery, alias.map(|(alias, _)| alias), cx);
        let head = PublishHead {
            dup,
            qos,
            retain: delivery.retain(),
            topic: if alias.is_some_and(|(_, known)| known) { "" } else { message.topic.as_str() },
            packet_id,
            properties: &properties,
        };
        let version = self.version();
        if !self.to.takes(encoded_len(&head, version, message.payload.len())) {
            return Delivered::Dropped("too_large", qos);
        }
        let start = out.len();
        if encode_head(&head, version, message.payload.len(), out).is_err() {
            out.truncate(start);
            return Delivered::Dropped("not_encodable", qos);
        }
        out.extend_from_slice(&message.payload);
        if let (Some((alias, false)), Some(aliases)) = (alias, self.out_aliases.as_mut()) {
            aliases.told(&message.topic, alias);
        }
        Delivered::Sent(qos)
    }

    /// The packet that all plain QoS 0 receivers share.
    fn ready_made<'d>(&self, delivery: &'d Delivery) -> Option<&'d [u8]> {
        // The only receiver left writes it at once.
        let shared = Arc::strong_count(&delivery.message) > 1;
        let plain = shared
            && delivery.qos() == QoS::AtMostOnce
            && self.out_aliases.is_none()
            && !delivery.retain()
            && delivery.options.id.is_none();
        if !plain {
            return None;
        }
        delivery.message.shared_frame(self.version()).map(|frame| &**frame)
    }

    fn properties(&self, delivery: &Delivery, alias: Option<u16>, cx: Context<'_>) -> Properties {
        let message = &*delivery.message;
        if self.version() == Version::V311
            || (message.expires().is_none() && delivery.options.id.is_none() && alias.is_none())
        {
            return message.properties().clone();
        }
        let mut all = Properties::build();
        if let Some(expires) = message.expires() {
            let left = expires.since(cx.expiry_time(delivery));
            let left = u32::try_from(left).unwrap_or(u32::MAX);
            all = all.number(PropertyId::MessageExpiry, left);
        }
        if let Some(id) = delivery.options.id {
            all = all.number(PropertyId::SubscriptionId, id.get());
        }
        if let Some(alias) = alias {
            all = all.number(PropertyId::TopicAlias, u32::from(alias));
        }
        all.all_of(message.properties()).finish().unwrap_or_default()
    }
}
