//! Messages that one session must send to its client, predicted one by one.

use std::collections::{BTreeMap, VecDeque};

use super::grants::Known;

/// Deliveries taken out of an outbox at once, as in the broker: what is taken when a token expires goes in flight.
const AT_ONCE: usize = 16;

/// A message on its way.
#[derive(Clone)]
pub(super) struct Sent {
    pub(super) number: u32,
    pub(super) topic: &'static str,
    pub(super) qos: u8,
    pub(super) expires: Option<u64>,
    /// Its publisher; `None` for a publisher that is never revoked.
    pub(super) by: Option<&'static Known>,
}

/// A PUBLISH that the client must see, or a PUBREL: number 0.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Expected {
    pub(super) number: u32,
    pub(super) qos: u8,
    pub(super) dup: bool,
    pub(super) packet_id: Option<u16>,
}

struct Open {
    message: Sent,
    packet_id: Option<u16>,
    /// The client has said PUBREC: only the packet id is open.
    released: bool,
}

#[derive(Default)]
pub(super) struct Model {
    /// The outbox.
    pub(super) waiting: VecDeque<Sent>,
    open: Vec<Open>,
    sent: usize,
    window: usize,
    /// QoS 2 messages of the client that it has not released: packet id and number.
    pub(super) held: BTreeMap<u16, u32>,
}

enum Fate {
    Sent,
    Dropped,
    Ended,
}

impl Model {
    pub(super) fn attach(&mut self, window: usize) {
        self.window = window;
        self.sent = 0;
    }

    /// No connection: QoS 0 is not kept.
    pub(super) fn unattended(&mut self) {
        self.waiting.retain(|message| message.qos > 0);
    }

    /// PUBACK.
    pub(super) fn acknowledged(&mut self, packet_id: u16) {
        self.done(packet_id, |open| open.message.qos == 1);
    }

    /// PUBREC, that accepts or refuses.
    pub(super) fn received(&mut self, packet_id: u16, refused: bool) {
        if refused {
            return self.done(packet_id, |open| open.message.qos == 2 && !open.released);
        }
        let open = self.open.iter_mut().find(|open| open.packet_id == Some(packet_id));
        if let Some(open) = open.filter(|open| open.message.qos == 2) {
            open.released = true;
        }
    }

    /// PUBCOMP.
    pub(super) fn completed(&mut self, packet_id: u16) {
        self.done(packet_id, |open| open.released);
    }

    fn done(&mut self, packet_id: u16, fits: impl Fn(&Open) -> bool) {
        let place = self.open.iter().position(|open| open.packet_id == Some(packet_id));
        if let Some(place) = place.filter(|place| fits(&self.open[*place])) {
            self.open.remove(place);
            self.sent -= usize::from(place < self.sent);
        }
    }

    /// Packets that the client may answer next: packet id, QoS, whether it has said PUBREC.
    pub(super) fn steps(&self) -> Vec<(u16, u8, bool)> {
        let known = |open: &Open| Some((open.packet_id?, open.message.qos, open.released));
        self.open.iter().filter_map(known).collect()
    }

    /// How many open messages others could get instead when the session ends.
    pub(super) fn returnable(&self) -> usize {
        self.open.iter().filter(|open| open.message.qos == 1).count()
    }

    pub(super) fn is_idle(&self) -> bool {
        self.open.is_empty() && self.waiting.is_empty()
    }

    /// Messages of one round of deliveries; true when it ends the connection.
    ///
    /// The order of the questions is that of `session/state_machine/delivery.rs`. A message sent once is not asked whether it
    /// has expired (MQTT-4.3.3-7, MQTT-4.4.0-1). A message taken back is left out before the token is looked at: it
    /// takes no place in the window of a connection that ends.
    pub(super) fn pump(
        &mut self,
        now: u64,
        alive: bool,
        withdrawn: impl Fn(&Sent) -> bool,
        receives: impl Fn(&Sent) -> bool,
    ) -> (Vec<Expected>, bool) {
        let fate_again = |message: &Sent| match message {
            message if withdrawn(message) => Fate::Dropped,
            _ if !alive => Fate::Ended,
            message if !receives(message) => Fate::Dropped,
            _ => Fate::Sent,
        };
        let fate = |message: &Sent| match message.expires {
            Some(expires) if now >= expires => Fate::Dropped,
            _ => fate_again(message),
        };
        let mut expected = Vec::new();
        loop {
            if self.sent < self.open.len() && self.sent < self.window {
                let open = &self.open[self.sent];
                if open.released {
                    let packet_id = open.packet_id;
                    expected.push(Expected { number: 0, qos: 2, dup: false, packet_id });
                    self.sent += 1;
                    continue;
                }
                match fate_again(&open.message) {
                    Fate::Ended => return (expected, true),
                    Fate::Dropped => drop(self.open.remove(self.sent)),
                    Fate::Sent => {
                        let (number, packet_id) = (open.message.number, open.packet_id);
                        let qos = open.message.qos;
                        // A message that was taken out when the token had ended was not sent before.
                        let dup = packet_id.is_some();
                        expected.push(Expected { number, qos, dup, packet_id });
                        self.sent += 1;
                    }
                }
                continue;
            }
            let full = self.sent < self.open.len() || self.open.len() >= self.window;
            let room = if full { 0 } else { self.window - self.open.len() };
            let taken: Vec<Sent> =
                self.waiting.drain(..room.min(AT_ONCE).min(self.waiting.len())).collect();
            if taken.is_empty() {
                return (expected, false);
            }
            let mut ended = false;
            for message in taken {
                let fate = fate(&message);
                if let Fate::Sent = fate {
                    let (number, qos) = (message.number, message.qos);
                    expected.push(Expected { number, qos, dup: false, packet_id: None });
                }
                ended |= matches!(fate, Fate::Ended);
                if message.qos > 0 && !matches!(fate, Fate::Dropped) {
                    self.open.push(Open { message, packet_id: None, released: false });
                    self.sent += 1;
                }
            }
            if ended {
                return (expected, true);
            }
        }
    }

    /// Compares what came with what was expected, and learns the packet ids.
    pub(super) fn compare(&mut self, expected: &[Expected], came: &[Expected]) {
        assert_eq!(expected.len(), came.len(), "expected {expected:?}, came {came:?}");
        for (e, c) in expected.iter().zip(came) {
            assert_eq!(
                (e.number, e.qos, e.dup),
                (c.number, c.qos, c.dup),
                "of {expected:?}: {came:?}"
            );
            assert_eq!(c.packet_id.is_some(), c.qos > 0);
            let Some(id) = c.packet_id else { continue };
            assert!(id != 0);
            if let Some(known) = e.packet_id {
                assert_eq!(id, known, "a repeated delivery has another packet id");
                continue;
            }
            assert!(
                self.open.iter().all(|open| open.packet_id != Some(id)),
                "packet id {id} twice"
            );
            if let Some(open) = self
                .open
                .iter_mut()
                .find(|open| open.message.number == c.number && open.packet_id.is_none())
            {
                open.packet_id = Some(id);
            }
        }
    }
}
