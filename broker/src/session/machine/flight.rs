//! QoS 1 deliveries that the client has not acknowledged, in the order in which they were sent (MQTT 5 section 4.6).

use std::collections::VecDeque;

use crate::lanes::Delivery;

/// The window of one client.
#[derive(Default)]
pub struct Flight {
    open: VecDeque<Open>,
    /// How many of `open`, from the front, were sent on the present connection. The rest are of an earlier one.
    sent: usize,
    window: usize,
    last_id: u16,
}

pub(super) struct Open {
    pub(super) packet_id: u16,
    pub(super) delivery: Delivery,
}

impl Flight {
    /// A new connection with this receive maximum: all that is open must be sent again.
    pub(super) fn attach(&mut self, window: u16) {
        self.window = usize::from(window);
        self.sent = 0;
    }

    /// How many new deliveries may be sent now. None while old ones wait to be sent again, so that order is kept.
    pub(super) fn room(&self) -> usize {
        if self.sent < self.open.len() {
            0
        } else {
            self.window.saturating_sub(self.open.len())
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
        self.sent += 1;
    }

    /// What must be sent again may no longer be sent at all.
    pub(super) fn drop_again(&mut self) -> Option<Delivery> {
        self.open.remove(self.sent).map(|open| open.delivery)
    }

    /// Takes a new delivery in and gives it a packet id that no open one has.
    pub(super) fn add(&mut self, delivery: Delivery) -> u16 {
        let mut packet_id = self.last_id;
        loop {
            packet_id = packet_id.checked_add(1).unwrap_or(1);
            if !self.open.iter().any(|open| open.packet_id == packet_id) {
                break;
            }
        }
        self.last_id = packet_id;
        self.open.push_back(Open { packet_id, delivery });
        self.sent += 1;
        packet_id
    }

    /// Gives the newest one up: it could not be written.
    pub(super) fn withdraw(&mut self) {
        if self.open.pop_back().is_some() {
            self.sent = self.sent.saturating_sub(1);
        }
    }

    pub(super) fn acknowledged(&mut self, packet_id: u16) {
        let Some(place) = self.open.iter().position(|open| open.packet_id == packet_id) else {
            return;
        };
        self.open.remove(place);
        if place < self.sent {
            self.sent -= 1;
        }
        if self.open.is_empty() {
            self.open = VecDeque::new();
        }
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
