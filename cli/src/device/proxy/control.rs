//! The control topics on a connection: which packets belong to the proxy, and which to a client that subscribed itself.

use tessera_broker::codec::{self, Frame, Kind, Peer, Version};
use tessera_simulators::device::renewal::TOKEN_TOPIC;

use super::packets::{STATUS_TOPIC, SUBSCRIBE_ID};
use super::scanner::{Fate, Head, Judge, Packet};

const PUBLISH: u8 = 3;
const SUBSCRIBE: u8 = 8;
const SUBACK: u8 = 9;
const UNSUBSCRIBE: u8 = 10;
/// The packet type of DISCONNECT.
pub(super) const DISCONNECT: u8 = 14;

/// A control topic that the proxy listens on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Topic {
    Token,
    Status,
}

impl Topic {
    fn of(name: &[u8]) -> Option<Self> {
        [(TOKEN_TOPIC, Self::Token), (STATUS_TOPIC, Self::Status)]
            .into_iter()
            .find_map(|(topic, found)| (topic.as_bytes() == name).then_some(found))
    }
}

/// Packets of the client that are looked into: its subscriptions and its end. All of them pass.
pub(super) struct FromClient;

impl Judge for FromClient {
    fn fate(&self, head: Head, _: &[u8]) -> Option<Fate> {
        Some(match head.first >> 4 {
            SUBSCRIBE | UNSUBSCRIBE | DISCONNECT => Fate::Copy,
            _ => Fate::Pass,
        })
    }
}

/// Packets of the broker: those on the control topics are the proxy's.
pub(super) struct FromBroker {
    version: Version,
    /// Whether SUBACK for the proxy's own subscription is to come.
    pub(super) awaits_suback: bool,
    /// Topics that the client subscribed to itself.
    client_hears: Vec<Topic>,
}

/// A message on a control topic.
pub(super) struct Message {
    pub(super) topic: Topic,
    pub(super) payload: Vec<u8>,
}

impl FromBroker {
    pub(super) fn new(version: Version) -> Self {
        Self { version, awaits_suback: true, client_hears: Vec::new() }
    }

    /// Takes a SUBSCRIBE or UNSUBSCRIBE of the client into account.
    pub(super) fn client_says(&mut self, packet: &Packet) {
        let (filters, subscribes) = match packet.read(self.version, Peer::Client) {
            Some(codec::Packet::Subscribe(said)) => {
                (said.entries.into_iter().map(|entry| entry.filter).collect(), true)
            }
            Some(codec::Packet::Unsubscribe(said)) => (said.filters, false),
            // The broker ends the connection for what breaks a rule.
            _ => return,
        };
        for topic in filters.iter().filter_map(|filter| Topic::of(filter.as_bytes())) {
            self.client_hears.retain(|heard| *heard != topic);
            if subscribes {
                self.client_hears.push(topic);
            }
        }
    }

    /// Whether this is SUBACK for the proxy's own subscription, and whether it is granted.
    pub(super) fn suback(&mut self, packet: &Packet) -> Option<bool> {
        if packet.kind() != SUBACK {
            return None;
        }
        self.awaits_suback = false;
        let codes = packet.body.iter().rev().take(2);
        Some(codes.into_iter().all(|code| *code < 0x80))
    }

    /// The message that a packet brings.
    pub(super) fn message(&self, packet: &Packet) -> Option<Message> {
        let Some(codec::Packet::Publish(publish)) = packet.read(self.version, Peer::Server) else {
            return None;
        };
        let topic = Topic::of(publish.topic.as_bytes())?;
        Some(Message { topic, payload: publish.payload.to_vec() })
    }

    /// The topic of a PUBLISH as far as it is a control topic; `None` asks for more bytes. The broker has no topic alias:
    /// the CONNECT offers none ([`super::connect`]).
    #[allow(clippy::option_option, reason = "a topic may be known not to be one of ours")]
    fn topic(body: &[u8]) -> Option<Option<Topic>> {
        let (length, rest) = body.split_first_chunk()?;
        let length = usize::from(u16::from_be_bytes(*length));
        match [TOKEN_TOPIC, STATUS_TOPIC].iter().any(|topic| topic.len() == length) {
            true => Some(Topic::of(rest.get(..length)?)),
            false => Some(None),
        }
    }
}

impl Judge for FromBroker {
    fn fate(&self, head: Head, body: &[u8]) -> Option<Fate> {
        match head.first >> 4 {
            PUBLISH => Some(match Self::topic(body)? {
                None => Fate::Pass,
                // A message that must be acknowledged belongs to a subscription of the client.
                Some(_) if head.first & 0x06 != 0 => Fate::Copy,
                Some(topic) if self.client_hears.contains(&topic) => Fate::Copy,
                Some(_) => Fate::Take,
            }),
            SUBACK if self.awaits_suback => {
                let id = body.first_chunk()?;
                let is_own = *id == SUBSCRIBE_ID.to_be_bytes();
                Some(if is_own { Fate::Take } else { Fate::Pass })
            }
            DISCONNECT => Some(Fate::Copy),
            _ => Some(Fate::Pass),
        }
    }
}

impl Packet {
    /// The packet by the codec of the broker; `None` when it breaks a rule.
    fn read(&self, version: Version, from: Peer) -> Option<codec::Packet> {
        let kind = Kind::from_first_byte(self.first).ok()?;
        let frame = Frame { kind, first: self.first, body: self.body.clone().into() };
        codec::decode(&frame, version, from).ok()
    }
}

#[cfg(test)]
mod tests;
