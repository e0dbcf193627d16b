//! PUBLISH to the client. Live, retained, queued and repeated deliveries all pass through [`Machine::write`], so there
//! is one place where the right to receive is asked.

use bytes::BytesMut;
use tessera_token::refusal::RefusalCode;

use super::{Context, Machine};
use crate::codec::publish::{encode_head, encoded_len, PublishHead};
use crate::codec::{Properties, PropertyId, QoS, Version};
use crate::lanes::Delivery;

/// What became of a delivery.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Delivered {
    /// Written.
    Sent(QoS),
    /// Left out, and why.
    Dropped(&'static str, QoS),
    /// The token has expired: the connection must end.
    Ended(RefusalCode),
}

impl Machine {
    /// How many new deliveries the client can take now.
    pub fn room(&self) -> usize {
        self.flight.room()
    }

    /// Writes the next delivery of an earlier connection again, with DUP; `None` when there is none to write now.
    pub fn deliver_again(&mut self, cx: Context<'_>, out: &mut BytesMut) -> Option<Delivered> {
        let open = self.flight.next_again()?;
        let (delivery, packet_id) = (open.delivery.clone(), open.packet_id);
        let done = self.write(&delivery, Some(packet_id), true, cx, out);
        match done {
            Delivered::Sent(_) => self.flight.sent_again(),
            Delivered::Dropped(..) => drop(self.flight.drop_again()),
            Delivered::Ended(_) => {}
        }
        Some(done)
    }

    /// Writes a new delivery. The caller has asked [`Self::room`].
    pub fn deliver(
        &mut self,
        delivery: Delivery,
        cx: Context<'_>,
        out: &mut BytesMut,
    ) -> Delivered {
        if granted_qos(&delivery) == QoS::AtMostOnce {
            return self.write(&delivery, None, false, cx, out);
        }
        let packet_id = self.flight.add(delivery.clone());
        let done = self.write(&delivery, Some(packet_id), false, cx, out);
        if let Delivered::Dropped(..) = done {
            self.flight.withdraw();
        }
        done
    }

    fn write(
        &self,
        delivery: &Delivery,
        packet_id: Option<u16>,
        dup: bool,
        cx: Context<'_>,
        out: &mut BytesMut,
    ) -> Delivered {
        let message = &*delivery.message;
        let qos = granted_qos(delivery);
        if message.is_expired(cx.unix) {
            return Delivered::Dropped("expired", qos);
        }
        match cx.rights.receive(message.topic.as_str(), cx.unix) {
            Ok(()) => {}
            Err(RefusalCode::TokenExpired) => return Delivered::Ended(RefusalCode::TokenExpired),
            Err(_) => return Delivered::Dropped("not_authorised", qos),
        }
        if let Some(frame) = self.ready_made(delivery) {
            if frame.len() > self.max_packet {
                return Delivered::Dropped("too_large", qos);
            }
            out.extend_from_slice(frame);
            return Delivered::Sent(qos);
        }
        let properties = self.properties(delivery, cx);
        let head = PublishHead {
            dup,
            qos,
            retain: delivery.retain(),
            topic: message.topic.as_str(),
            packet_id,
            properties: &properties,
        };
        if encoded_len(&head, self.version, message.payload.len()) > self.max_packet {
            return Delivered::Dropped("too_large", qos);
        }
        let start = out.len();
        if encode_head(&head, self.version, message.payload.len(), out).is_err() {
            out.truncate(start);
            return Delivered::Dropped("not_encodable", qos);
        }
        out.extend_from_slice(&message.payload);
        Delivered::Sent(qos)
    }

    /// The packet that all plain QoS 0 receivers share.
    fn ready_made<'d>(&self, delivery: &'d Delivery) -> Option<&'d [u8]> {
        let plain = granted_qos(delivery) == QoS::AtMostOnce
            && !delivery.retain()
            && delivery.options.id.is_none();
        if !plain {
            return None;
        }
        delivery.message.shared_frame(self.version).map(|frame| &**frame)
    }

    fn properties(&self, delivery: &Delivery, cx: Context<'_>) -> Properties {
        let message = &*delivery.message;
        if self.version == Version::V311
            || (message.expires.is_none() && delivery.options.id.is_none())
        {
            return message.properties.clone();
        }
        let mut all = Properties::build();
        if let Some(expires) = message.expires {
            let left = u32::try_from(expires.since(cx.unix)).unwrap_or(u32::MAX);
            all = all.number(PropertyId::MessageExpiry, left);
        }
        if let Some(id) = delivery.options.id {
            all = all.number(PropertyId::SubscriptionId, id.get());
        }
        all.all_of(&message.properties).finish().unwrap_or_default()
    }
}

/// QoS 2 is not offered: every subscription was granted QoS 1 at most.
fn granted_qos(delivery: &Delivery) -> QoS {
    delivery.qos().min(QoS::AtLeastOnce)
}
