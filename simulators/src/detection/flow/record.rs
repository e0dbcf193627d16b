//! The observations of one step of the generator, in few bytes each, and their order by time.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use tessera_behaviour::observation::{
    Connected, Denial, Event, Fault, Messages, Network, Observation, SubjectKind, UnixMillis,
};
use tessera_token::refusal::RefusalCode;

use super::super::world::{RunMillis, Topic, World, BEGIN};

/// An address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Address {
    /// A prefix of 24 bits among the networks of the fleet, and the rest.
    Home(u16, u8),
    /// One of a network that no device of the fleet uses.
    Foreign(u16, u8),
    /// A prefix of 48 bits and the rest.
    Six(u32, u32),
}

impl Address {
    fn network(self) -> Network {
        Network::Address(match self {
            Self::Home(prefix, host) => {
                let [a, b] = prefix.to_be_bytes();
                IpAddr::V4(Ipv4Addr::new(10, a, b, host))
            }
            Self::Foreign(prefix, host) => {
                let [a, b] = prefix.to_be_bytes();
                IpAddr::V4(Ipv4Addr::new(172, 16 + a % 16, b, host))
            }
            Self::Six(prefix, host) => {
                let [a, b, c, d] = prefix.to_be_bytes();
                let pair = |a, b| u16::from_be_bytes([a, b]);
                let low = host.to_be_bytes();
                IpAddr::V6(Ipv6Addr::new(
                    0xfd00,
                    pair(a, b),
                    pair(c, d),
                    1,
                    0,
                    0,
                    pair(low[0], low[1]),
                    pair(low[2], low[3]),
                ))
            }
        })
    }

    /// Another address in the same prefix.
    pub(super) const fn neighbour(self) -> Self {
        match self {
            Self::Home(prefix, host) => Self::Home(prefix, host ^ 0x55),
            Self::Foreign(prefix, host) => Self::Foreign(prefix, host ^ 0x55),
            Self::Six(prefix, host) => Self::Six(prefix, host ^ 0x55),
        }
    }
}

/// How a session begins.
#[derive(Clone, Copy, Debug)]
pub(super) struct Opening {
    pub(super) address: Address,
    pub(super) key: u32,
    pub(super) software: u32,
    pub(super) keep_alive: u16,
    /// The number behind `~` in the client id.
    pub(super) suffix: Option<u32>,
}

/// A refused peer whose name is its own word.
#[derive(Clone, Debug)]
pub(super) struct Stranger {
    pub(super) code: RefusalCode,
    pub(super) address: Address,
    pub(super) name: Option<String>,
    pub(super) credential: u32,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum What {
    Opened(u32),
    Closed { clean: bool },
    Published { topic: Topic, count: u32, bytes: u32 },
    Received { topic: Topic, bytes: u32 },
    Subscribed(Topic),
    Pinged(u32),
    Refused { publish: bool, topic: Topic, kind: Kind },
    Faulted(Fault),
    Outside(u32),
    Stranger(u32),
    Skipped(u32),
    Announced(u32),
}

/// Kinds of refused topics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Own,
    Owner,
    Wide,
    System,
}

#[derive(Clone, Copy, Debug)]
struct Record {
    device: u32,
    session: u32,
    what: What,
}

/// The observations of a step.
#[derive(Debug, Default)]
pub(super) struct Sink {
    begin: RunMillis,
    end: RunMillis,
    records: Vec<Record>,
    /// Time and place of each record; sorted, they are the order.
    order: Vec<u64>,
    clients: Vec<(Opening, Option<String>)>,
    outside: Vec<(RefusalCode, Address)>,
    strangers: Vec<Stranger>,
    announced: Vec<(u64, RunMillis)>,
    /// Commands for devices: who, and when.
    pub(super) commands: Vec<(u32, RunMillis)>,
}

impl Sink {
    pub(super) fn start(&mut self, begin: RunMillis, end: RunMillis) {
        self.begin = begin;
        self.end = end;
        self.records.clear();
        self.order.clear();
        self.clients.clear();
        self.outside.clear();
        self.strangers.clear();
        self.announced.clear();
        self.commands.clear();
    }

    pub(super) fn push(&mut self, at: RunMillis, device: u32, session: u32, what: What) {
        let at = at.clamp(self.begin, self.end - 1) - self.begin;
        self.order.push(at << 32 | self.records.len() as u64);
        self.records.push(Record { device, session, what });
    }

    pub(super) fn opened(&mut self, at: RunMillis, device: u32, session: u32, opening: Opening) {
        let place = self.clients.len() as u32;
        let client = opening.suffix.map(|suffix| format!("~{suffix}"));
        self.clients.push((opening, client));
        self.push(at, device, session, What::Opened(place));
    }

    pub(super) fn outside(
        &mut self,
        at: RunMillis,
        device: u32,
        code: RefusalCode,
        address: Address,
    ) {
        let place = self.outside.len() as u32;
        self.outside.push((code, address));
        self.push(at, device, 0, What::Outside(place));
    }

    /// The device is any one of the tenant.
    pub(super) fn stranger(&mut self, at: RunMillis, device: u32, stranger: Stranger) {
        let place = self.strangers.len() as u32;
        self.strangers.push(stranger);
        self.push(at, device, 0, What::Stranger(place));
    }

    /// The device is any one of the tenant.
    pub(super) fn announced(&mut self, at: RunMillis, device: u32, group: u64, until: RunMillis) {
        let place = self.announced.len() as u32;
        self.announced.push((group, until));
        self.push(at, device, 0, What::Announced(place));
    }

    /// Brings the records into the order of their times. Names of clients are completed.
    pub(super) fn sort(&mut self, world: &World) {
        self.order.sort_unstable();
        for record in &self.records {
            if let What::Opened(place) = record.what {
                if let Some((_, Some(client))) = self.clients.get_mut(place as usize) {
                    client.insert_str(0, world.names.device(record.device));
                }
            }
        }
    }

    pub(super) fn len(&self) -> usize {
        self.records.len()
    }

    pub(super) fn each(&self, world: &World, mut take: impl FnMut(&Observation<'_>)) {
        for key in &self.order {
            let Some(record) = self.records.get((key & 0xffff_ffff) as usize) else { continue };
            let at = BEGIN + self.begin + (key >> 32);
            if let Some(observation) = self.observation(world, at, *record) {
                take(&observation);
            }
        }
    }

    fn observation<'a>(
        &'a self,
        world: &'a World,
        at: UnixMillis,
        record: Record,
    ) -> Option<Observation<'a>> {
        let Record { device, session, what } = record;
        let home = world.homes.get(device as usize)?;
        let tenant = world.tenants.get(home.tenant as usize)?.name.as_str();
        let mut named = world.names.device(device);
        let event = match what {
            What::Opened(place) => self.connected(world, device, place)?,
            What::Closed { clean } => Event::Disconnected { clean },
            What::Published { topic, count, bytes } => Event::Published(Messages {
                topic: world.names.topic(topic),
                count,
                bytes: u64::from(bytes),
            }),
            What::Received { topic, bytes } => Event::Received(Messages {
                topic: world.names.topic(topic),
                count: 1,
                bytes: u64::from(bytes),
            }),
            What::Subscribed(topic) => Event::Subscribed { filter: world.names.topic(topic) },
            What::Pinged(count) => Event::Pinged { count },
            What::Refused { publish, topic, kind } => Event::Refused {
                code: match publish {
                    true => RefusalCode::PublishNotAuthorised,
                    false => RefusalCode::SubscribeNotAuthorised,
                },
                topic: Some(world.names.topic(topic)),
                denial: Some(denial(world, topic, kind)),
            },
            What::Faulted(fault) => Event::Faulted(fault),
            What::Outside(place) => {
                let (code, address) = *self.outside.get(place as usize)?;
                Event::Outside { code, network: address.network() }
            }
            What::Stranger(place) => {
                named = "";
                let stranger = self.strangers.get(place as usize)?;
                Event::Stranger {
                    code: stranger.code,
                    network: stranger.address.network(),
                    name: stranger.name.as_deref(),
                    credential: stranger.credential,
                }
            }
            What::Skipped(step) => Event::Skipped { step },
            What::Announced(place) => {
                named = "";
                let (group, until) = *self.announced.get(place as usize)?;
                Event::Announced { group, until: BEGIN + until }
            }
        };
        Some(Observation { at, tenant, device: named, session: u64::from(session), event })
    }

    fn connected<'a>(&'a self, world: &'a World, device: u32, place: u32) -> Option<Event<'a>> {
        let (opening, client) = self.clients.get(place as usize)?;
        let home = world.homes.get(device as usize)?;
        let group = world.groups.get(home.group as usize)?;
        let service = group.traits.service;
        Some(Event::Connected(Connected {
            network: opening.address.network(),
            key: opening.key,
            group: group.number,
            kind: if service { SubjectKind::Service } else { SubjectKind::Device },
            fingerprint: opening.software,
            keep_alive: opening.keep_alive,
            client: client.as_deref().unwrap_or_else(|| world.names.device(device)),
            place: None,
        }))
    }
}

fn denial(world: &World, topic: Topic, kind: Kind) -> Denial<'_> {
    match kind {
        Kind::Own => Denial::Own,
        Kind::Wide => Denial::Wide,
        Kind::System => Denial::System,
        Kind::Owner => match topic.owner() {
            Some((owner, true)) => Denial::Owner(world.names.former(owner)),
            Some((owner, false)) => Denial::Owner(world.names.device(owner)),
            None => Denial::System,
        },
    }
}
