//! The control topics on a connection: which packets belong to the proxy, and which to a client that subscribed itself.

use tessera_simulators::device::renewal::TOKEN_TOPIC;

use super::connect::Version;
use super::packets::{STATUS_TOPIC, SUBSCRIBE_ID};
use super::reader::Reader;
use super::scanner::{Fate, Head, Judge, Packet};

const PUBLISH: u8 = 3;
const SUBSCRIBE: u8 = 8;
const SUBACK: u8 = 9;
const UNSUBSCRIBE: u8 = 10;
/// The packet type of DISCONNECT.
pub(super) const DISCONNECT: u8 = 14;

const TOPIC_ALIAS: u8 = 0x23;

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
    /// Topic aliases of control topics.
    aliases: Vec<(u16, Topic)>,
}

/// A message on a control topic.
pub(super) struct Message<'a> {
    pub(super) topic: Topic,
    pub(super) payload: &'a [u8],
}

impl FromBroker {
    pub(super) fn new(version: Version) -> Self {
        Self { version, awaits_suback: true, client_hears: Vec::new(), aliases: Vec::new() }
    }

    /// Takes a SUBSCRIBE or UNSUBSCRIBE of the client into account.
    pub(super) fn client_says(&mut self, packet: &Packet) {
        let subscribes = match packet.kind() {
            SUBSCRIBE => true,
            UNSUBSCRIBE => false,
            _ => return,
        };
        for topic in filters(packet, self.version, subscribes) {
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

    /// The message that a packet brings, and its alias for later ones.
    pub(super) fn message<'a>(&mut self, packet: &'a Packet) -> Option<Message<'a>> {
        if packet.kind() != PUBLISH {
            return None;
        }
        let mut rest = Reader(&packet.body);
        let name = rest.field()?;
        if packet.first & 0x06 != 0 {
            rest.two()?;
        }
        let alias = match self.version {
            Version::V5 => alias(rest.properties()?),
            Version::V311 => None,
        };
        let topic = Topic::of(name).or_else(|| self.aliased(alias?))?;
        if let Some(alias) = alias.filter(|alias| self.aliased(*alias).is_none()) {
            self.aliases.push((alias, topic));
        }
        Some(Message { topic, payload: rest.0 })
    }

    fn aliased(&self, alias: u16) -> Option<Topic> {
        self.aliases.iter().find(|(known, _)| *known == alias).map(|(_, topic)| *topic)
    }

    /// The topic of a PUBLISH as far as it is a control topic; `None` asks for more bytes.
    #[allow(clippy::option_option, reason = "a topic may be known not to be one of ours")]
    fn topic(&self, first: u8, body: &[u8]) -> Option<Option<Topic>> {
        let mut rest = Reader(body);
        let length = rest.two()?;
        if length == 0 && !self.aliases.is_empty() {
            if first & 0x06 != 0 {
                rest.two()?;
            }
            return Some(alias(rest.properties()?).and_then(|alias| self.aliased(alias)));
        }
        let of_ours = [TOKEN_TOPIC, STATUS_TOPIC].iter().any(|t| t.len() == usize::from(length));
        match of_ours {
            true => Some(Topic::of(rest.bytes(usize::from(length))?)),
            false => Some(None),
        }
    }
}

impl Judge for FromBroker {
    fn fate(&self, head: Head, body: &[u8]) -> Option<Fate> {
        match head.first >> 4 {
            PUBLISH => Some(match self.topic(head.first, body)? {
                None => Fate::Pass,
                // A message that must be acknowledged belongs to a subscription of the client.
                Some(_) if head.first & 0x06 != 0 => Fate::Copy,
                Some(topic) if self.client_hears.contains(&topic) => Fate::Copy,
                Some(_) => Fate::Take,
            }),
            SUBACK if self.awaits_suback => {
                let id = Reader(body).two()?;
                Some(if id == SUBSCRIBE_ID { Fate::Take } else { Fate::Pass })
            }
            DISCONNECT => Some(Fate::Copy),
            _ => Some(Fate::Pass),
        }
    }
}

/// Control topics that a SUBSCRIBE or UNSUBSCRIBE names.
fn filters(packet: &Packet, version: Version, has_options: bool) -> Vec<Topic> {
    let mut rest = Reader(&packet.body);
    let mut found = Vec::new();
    let mut read = || {
        rest.two()?;
        if version == Version::V5 {
            rest.properties()?;
        }
        while let Some(filter) = rest.field() {
            found.extend(Topic::of(filter));
            if has_options {
                rest.byte()?;
            }
        }
        Some(())
    };
    read();
    found
}

/// The Topic Alias among the properties of a PUBLISH.
fn alias(properties: &[u8]) -> Option<u16> {
    let mut rest = Reader(properties);
    loop {
        match rest.byte()? {
            TOPIC_ALIAS => return rest.two(),
            0x01 => drop(rest.byte()?),
            0x02 => drop(rest.bytes(4)?),
            0x03 | 0x08 | 0x09 => drop(rest.field()?),
            0x0b => drop(rest.number()?),
            0x26 => drop((rest.field()?, rest.field()?)),
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests;
