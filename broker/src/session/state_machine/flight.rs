//! QoS 1 and 2 deliveries that the client has not completed, in the order in which they were sent (MQTT 5 sections 4.3,
//! 4.6). A QoS 2 delivery is a message until PUBREC, then only a packet id until PUBCOMP.

use std::collections::VecDeque;

use crate::codec::QoS;
use crate::message::Trusted;
use crate::routing::{Delivery, Sequence};

/// The window of one client.
#[derive(Default)]
pub struct Flight {
    open: VecDeque<Open>,
    /// How many of `open`, from the front, were sent on the present connection. The rest are of an earlier one.
    sent: usize,
    window: usize,
    /// Bytes of the messages in `open`, and how many of them may be there before no further one is sent.
    bytes: u32,
    window_bytes: u32,
    /// Bytes that have left `open` and are still to be given back to the share of the session.
    ended: u32,
    last_id: u16,
}

pub(super) struct Open {
    pub(super) packet_id: u16,
    /// Whether the client was ever sent it: what was not, no acknowledgement can be for.
    pub(super) begun: bool,
    pub(super) sequence: Sequence,
    pub(super) what: What,
}

#[derive(Clone)]
pub(super) enum What {
    Message(Delivery),
    /// PUBREC has come, PUBCOMP has not.
    Released,
}

/// The result of an acknowledgement by the client.
pub(super) enum Acked {
    /// The exchange went on or is over; the row that it concerns, 0 for none.
    Good(u64),
    /// The same step as before.
    Again,
    /// There is no such exchange.
    Unknown,
    /// There is, and this step does not belong to it now.
    OutOfPlace,
}

/// Packet ids follow the numbers of kept deliveries. So far apart may the oldest and the newest be that no id comes
/// twice, with room for numbers that were never sent.
const SPREAD: u64 = 60_000;

impl Flight {
    /// A new connection with this receive maximum and as many bytes, but for the last message: all that is open must be
    /// sent again.
    pub(super) fn attach(&mut self, window: u16, bytes: usize) {
        self.window = usize::from(window);
        self.window_bytes = small(bytes);
        self.sent = 0;
    }

    /// How many new deliveries may be sent now. None while old ones wait to be sent again, so that order is kept.
    pub(super) fn room(&self) -> usize {
        if self.sent < self.open.len() || self.bytes >= self.window_bytes || self.is_spread() {
            0
        } else {
            self.window.saturating_sub(self.open.len())
        }
    }

    fn is_spread(&self) -> bool {
        match (self.open.front(), self.open.back()) {
            (Some(old), Some(new)) => new.sequence.number > old.sequence.number + SPREAD,
            _ => false,
        }
    }

    /// The next delivery that must be sent again, when the window allows.
    pub(super) fn next_again(&self) -> Option<&Open> {
        if self.sent < self.window {
            self.open.get(self.sent)
        } else {
            None
        }
    }

    pub(super) fn sent_again(&mut self) {
        if let Some(open) = self.open.get_mut(self.sent) {
            open.begun = true;
        }
        self.sent += 1;
    }

    /// Drops the delivery that would be sent again next: it may not be sent any more.
    pub(super) fn drop_again(&mut self) -> Option<u64> {
        let open = self.open.remove(self.sent)?;
        self.leaves(&open.what);
        Some(open.sequence.number)
    }

    /// Drops deliveries that wait to be sent again and whose publishers were revoked. Deliveries under way are asked
    /// about too, so that the verdict is known when their connection ends.
    pub(super) fn drop_revoked(&mut self, trusted: Trusted<'_>) -> Vec<(QoS, u64)> {
        let sent = self.sent;
        let (mut place, mut dropped, mut ended) = (0, Vec::new(), 0);
        self.open.retain(|open| {
            let waits = place >= sent;
            place += 1;
            let What::Message(delivery) = &open.what else { return true };
            let gone = delivery.message.is_revoked(trusted) && waits;
            if gone {
                dropped.push((delivery.qos(), open.sequence.number));
                ended += small(delivery.held_under_way());
            }
            !gone
        });
        self.left(ended);
        dropped
    }

    /// Takes a new delivery in and gives it a packet id that no open one has.
    pub(super) fn add(&mut self, delivery: Delivery) -> u16 {
        let sequence = delivery.sequence;
        let packet_id = self.free_id(sequence.number);
        self.bytes = self.bytes.saturating_add(small(delivery.held_under_way()));
        self.open.push_back(Open {
            packet_id,
            begun: true,
            sequence,
            what: What::Message(delivery),
        });
        self.sent += 1;
        packet_id
    }

    /// The newest one could not be sent on this connection: it waits for the next.
    pub(super) fn put_off(&mut self) {
        if let Some(open) = self.open.back_mut() {
            open.begun = false;
        }
    }

    /// Puts back an exchange from before a restart that only waits for PUBCOMP.
    pub(super) fn restore_released(&mut self, number: u64) {
        let packet_id = id_of(number);
        let sequence = Sequence { number, commit: 0, again: true };
        self.open.push_back(Open { packet_id, begun: true, sequence, what: What::Released });
    }

    fn free_id(&mut self, number: u64) -> u16 {
        let mut packet_id = if number > 0 { id_of(number) } else { next_id(self.last_id) };
        while self.open.iter().any(|open| open.packet_id == packet_id) {
            packet_id = next_id(packet_id);
        }
        self.last_id = packet_id;
        packet_id
    }

    /// Gives the newest one up: it could not be written.
    pub(super) fn withdraw(&mut self) {
        if let Some(open) = self.open.pop_back() {
            self.leaves(&open.what);
            self.sent = self.sent.saturating_sub(1);
        }
    }

    /// PUBACK.
    pub(super) fn acknowledged(&mut self, packet_id: u16) -> Acked {
        match self.find(packet_id) {
            None => Acked::Unknown,
            Some((place, open)) => match &open.what {
                What::Message(delivery) if delivery.qos() == QoS::AtLeastOnce => self.done(place),
                _ => Acked::OutOfPlace,
            },
        }
    }

    /// PUBREC that accepts, or refuses and so ends the exchange.
    pub(super) fn received(&mut self, packet_id: u16, refused: bool) -> Acked {
        let Some((place, open)) = self.find(packet_id) else { return Acked::Unknown };
        match &open.what {
            What::Released => Acked::Again,
            What::Message(delivery) if delivery.qos() != QoS::ExactlyOnce => Acked::OutOfPlace,
            What::Message(_) if refused => self.done(place),
            What::Message(_) => {
                let number = open.sequence.number;
                let was = std::mem::replace(&mut open.what, What::Released);
                self.leaves(&was);
                Acked::Good(number)
            }
        }
    }

    /// PUBCOMP.
    pub(super) fn completed(&mut self, packet_id: u16) -> Acked {
        match self.find(packet_id) {
            None => Acked::Unknown,
            Some((place, open)) => match open.what {
                What::Released => self.done(place),
                What::Message(_) => Acked::OutOfPlace,
            },
        }
    }

    /// A message that was taken out to be sent will not be.
    pub(super) fn let_go(&mut self, delivery: &Delivery) {
        self.ended += small(delivery.held_under_way());
    }

    /// Bytes that have left since this was asked.
    pub(super) fn take_ended(&mut self) -> usize {
        std::mem::take(&mut self.ended) as usize
    }

    fn leaves(&mut self, what: &What) {
        if let What::Message(delivery) = what {
            self.left(small(delivery.held_under_way()));
        }
    }

    fn left(&mut self, bytes: u32) {
        self.bytes = self.bytes.saturating_sub(bytes);
        self.ended = self.ended.saturating_add(bytes);
    }

    fn find(&mut self, packet_id: u16) -> Option<(usize, &mut Open)> {
        let sent = |open: &Open| open.begun && open.packet_id == packet_id;
        self.open.iter_mut().enumerate().find(|(_, open)| sent(open))
    }

    fn done(&mut self, place: usize) -> Acked {
        let open = self.open.remove(place);
        let number = open.as_ref().map_or(0, |open| open.sequence.number);
        if let Some(open) = &open {
            self.leaves(&open.what);
        }
        if place < self.sent {
            self.sent -= 1;
        }
        if self.open.is_empty() {
            self.open = VecDeque::new();
        }
        Acked::Good(number)
    }

    /// Takes out everything; gives the QoS 1 messages, which others may get instead (MQTT 5 section 4.8.2).
    pub(super) fn clear(&mut self) -> Vec<Delivery> {
        self.sent = 0;
        let all = std::mem::take(&mut self.open);
        self.left(self.bytes);
        all.into_iter()
            .filter_map(|open| match open.what {
                What::Message(delivery) if delivery.qos() == QoS::AtLeastOnce => Some(delivery),
                _ => None,
            })
            .collect()
    }

    /// Deliveries without acknowledgement.
    pub fn len(&self) -> usize {
        self.open.len()
    }

    /// Whether all is acknowledged.
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }
}

/// A session holds less than 4 GiB: 256 messages of less than 1 MiB are open at once.
fn small(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

fn next_id(packet_id: u16) -> u16 {
    packet_id.checked_add(1).unwrap_or(1)
}

/// 1 for the first, and round again after 65,535.
fn id_of(number: u64) -> u16 {
    u16::try_from(number.saturating_sub(1) % u64::from(u16::MAX)).unwrap_or(0).saturating_add(1)
}
