//! From an observation of the world to the act that leaves it.

use std::net::{IpAddr, Ipv4Addr};

use tessera_behaviour::observation::{Event, Fault, Network, Observation};
use tessera_token::refusal::RefusalCode;

use super::limits;
use super::plan::named;

/// How a session is opened.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Opening {
    /// The end of the client id, behind the device id.
    pub(super) suffix: String,
    /// Seconds of keep-alive, in the time of the scenario.
    pub(super) keep_alive: u16,
    /// A mark of the client software.
    pub(super) software: u32,
    pub(super) from: Option<IpAddr>,
}

/// One act of a device, or in its name.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Act {
    Open {
        session: u64,
        opening: Opening,
    },
    Close {
        session: u64,
        clean: bool,
    },
    Order {
        session: u64,
        order: Order,
    },
    /// The counter of proofs goes up.
    Skip(u32),
    /// The token is shown without its key.
    Outside {
        code: RefusalCode,
        from: Option<IpAddr>,
    },
}

/// One act within a session. A foreign one is to be refused.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Order {
    Publish {
        topic: String,
        count: u32,
        bytes: u64,
        foreign: bool,
    },
    Subscribe {
        filter: String,
        foreign: bool,
    },
    /// A packet that breaks the protocol.
    Break(Fault),
    /// The token that the session goes on with.
    Token(Vec<u8>),
    /// DISCONNECT once all is acknowledged.
    Leave,
}

/// An act of no device.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Other {
    Stranger { code: RefusalCode, from: Option<IpAddr>, name: String, credential: u32 },
    Announced { group: u64, millis: u64 },
}

/// The act of a device, the act of no device, or neither: pings and received messages come by themselves.
#[derive(Debug, PartialEq)]
pub(super) enum Made {
    Of(Act),
    Other(Other),
    Nothing,
}

/// The addresses from which the devices of a run connect.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sources(bool);

impl Sources {
    /// A broker on the loopback of IPv4 is reached from any address of 127.0.0.0/8: each network of the world gets its own
    /// prefix. Elsewhere all devices come from the address of this machine.
    pub(super) fn of(host: &str) -> Self {
        Self(host.parse::<Ipv4Addr>().is_ok_and(|ip| ip.is_loopback()))
    }

    fn from(self, network: Network) -> Option<IpAddr> {
        let Network::Address(address) = network else { return None };
        self.0.then(|| {
            let [side, a, b, host] = match address {
                IpAddr::V4(v4) => v4.octets(),
                IpAddr::V6(v6) => {
                    let [.., low] = v6.octets();
                    let [_, _, a, b, c, ..] = v6.octets();
                    [10, a ^ c, b, low]
                }
            };
            // Networks of the fleet are below 128, foreign ones above.
            let second =
                if side == 10 { a & 0x7f } else { 0x80 | ((side & 0x0f) << 3) | (a & 0x07) };
            IpAddr::V4(Ipv4Addr::new(127, second.min(254), b, host.clamp(1, 254)))
        })
    }
}

/// The act behind an observation; names get the prefix of the run.
pub(super) fn of(seen: &Observation<'_>, prefix: &str, sources: Sources) -> Made {
    let session = seen.session;
    let order = |order| Made::Of(Act::Order { session, order });
    match seen.event {
        Event::Connected(opened) => {
            let suffix = opened.client.strip_prefix(seen.device).unwrap_or_default().to_owned();
            let opening = Opening {
                suffix,
                keep_alive: opened.keep_alive,
                software: opened.fingerprint,
                from: sources.from(opened.network),
            };
            Made::Of(Act::Open { session, opening })
        }
        Event::Disconnected { clean } => Made::Of(Act::Close { session, clean }),
        Event::Published(messages) => {
            // A message that no packet holds becomes several.
            let least = messages.bytes.div_ceil(limits::PAYLOAD_BYTES);
            let least = u32::try_from(least).unwrap_or(u32::MAX);
            order(Order::Publish {
                topic: named(prefix, messages.topic),
                count: messages.count.max(least).max(1),
                bytes: messages.bytes,
                foreign: false,
            })
        }
        Event::Subscribed { filter } => {
            order(Order::Subscribe { filter: named(prefix, filter), foreign: false })
        }
        Event::Refused { topic: Some(topic), code, .. } => {
            let topic = named(prefix, topic);
            // No client may publish to a filter.
            let publish = code == RefusalCode::PublishNotAuthorised && !topic.contains(['+', '#']);
            order(match publish {
                true => Order::Publish { topic, count: 1, bytes: 64, foreign: true },
                false => Order::Subscribe { filter: topic, foreign: true },
            })
        }
        // A network that goes away is a socket that closes without a DISCONNECT, which follows.
        Event::Faulted(Fault::KeepAlive) => Made::Nothing,
        Event::Faulted(fault) => order(Order::Break(fault)),
        Event::Outside { code, network } => {
            Made::Of(Act::Outside { code, from: sources.from(network) })
        }
        Event::Stranger { code, network, name, credential } => Made::Other(Other::Stranger {
            code,
            from: sources.from(network),
            name: named(prefix, name.unwrap_or_default()),
            credential,
        }),
        Event::Skipped { step } => Made::Of(Act::Skip(step)),
        Event::Announced { group, until } => {
            Made::Other(Other::Announced { group, millis: until.saturating_sub(seen.at) })
        }
        Event::Refused { topic: None, .. } | Event::Received(_) | Event::Pinged { .. } => {
            Made::Nothing
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::detection::flow::Generator;
    use crate::detection::scenario::Scenario;

    /// A day of a small fleet with attacks: sessions are opened before they are used, names are those of the run, no
    /// payload is too large, and no client publishes to a filter.
    #[test]
    fn acts_of_a_world_can_be_played() {
        let text = "devices = 120\ndays = 1\nphases = []\n[attacks]\nfrom_day = 0\nshare = 0.2\neach = 2\n\
            [personas.sensor]\nperiod_s = 200\n[personas.tracker]\nperiod_s = 100\n[personas.noisy]\nperiod_s = 200\n";
        let scenario = Scenario::read(text).unwrap().in_one_tenant(None).unwrap();
        let mut world = Generator::new(&scenario, 5).unwrap();
        let (mut open, mut kinds) = (BTreeSet::new(), BTreeSet::new());
        world.run(|seen| {
            let made = of(seen, "p-", Sources::of("127.0.0.1"));
            let id = (seen.device.to_owned(), seen.session);
            match made {
                Made::Of(Act::Open { opening, .. }) => {
                    assert!(opening.from.is_some() && opening.suffix.len() < 12, "{opening:?}");
                    open.insert(id);
                }
                Made::Of(Act::Close { .. }) => assert!(open.remove(&id), "{seen:?}"),
                Made::Of(Act::Order { order, .. }) => {
                    assert!(open.contains(&id), "{seen:?}");
                    match order {
                        Order::Publish { topic, count, bytes, foreign } => {
                            kinds.insert(if foreign { "foreign" } else { "publish" });
                            assert!(topic.starts_with("d/p-") || foreign, "{topic}");
                            assert!(!topic.contains(['+', '#']), "{topic}");
                            assert!(bytes / u64::from(count) <= limits::PAYLOAD_BYTES);
                        }
                        Order::Subscribe { foreign, .. } => {
                            kinds.insert(if foreign { "wide" } else { "subscribe" });
                        }
                        Order::Break(_) => drop(kinds.insert("break")),
                        Order::Token(_) | Order::Leave => panic!("{seen:?}"),
                    }
                }
                Made::Of(Act::Outside { .. }) => drop(kinds.insert("outside")),
                Made::Other(Other::Stranger { .. }) => drop(kinds.insert("stranger")),
                _ => {}
            }
        });
        let wanted = ["break", "foreign", "outside", "publish", "stranger", "subscribe", "wide"];
        assert_eq!(kinds, wanted.into());
    }

    #[test]
    fn sources_keep_home_and_foreign_networks_apart() {
        let on = Sources::of("127.0.0.1");
        let from = |text: &str| on.from(Network::Address(text.parse().unwrap())).unwrap();
        let second = |ip: IpAddr| match ip {
            IpAddr::V4(v4) => v4.octets()[1],
            IpAddr::V6(_) => panic!("{ip}"),
        };
        for home in ["10.0.0.0", "10.255.7.255", "fd00:1234:5678:1::9"] {
            assert!(second(from(home)) < 128, "{home}: {}", from(home));
        }
        for foreign in ["172.16.0.1", "172.31.255.255"] {
            assert!(second(from(foreign)) >= 128, "{foreign}: {}", from(foreign));
        }
        assert_ne!(from("10.1.2.3"), from("10.1.2.4"));
        assert!(Sources::of("broker.example")
            .from(Network::Address("10.0.0.1".parse().unwrap()))
            .is_none());
    }
}
