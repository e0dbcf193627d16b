//! Recorded observations as events of rules. The begin of a session is remembered for its later events.

use std::collections::HashMap;

use tessera_behaviour::observation::{Event as Seen, Network, Observation, SubjectKind};
use tessera_rules::attributes::{
    Attributes, Connect, Event, Moment, On, Publish, Session, Subscribe,
};
use tessera_token::time::UnixSeconds;

/// Devices of which the begin of a session is remembered; later ones have the defaults.
const REMEMBERED: usize = 200_000;

/// Attributes that observations have, by event. All others have their default.
pub(super) const fn known(on: On) -> &'static [&'static str] {
    match on {
        On::Connect => {
            &["tenant", "device", "group", "kind", "client_id", "network", "hour", "keep_alive"]
        }
        On::Publish => {
            &["tenant", "device", "group", "kind", "client_id", "network", "hour", "topic", "bytes"]
        }
        On::Subscribe => &[
            "tenant",
            "device",
            "group",
            "kind",
            "client_id",
            "network",
            "hour",
            "filter",
            "share",
            "wildcard",
        ],
    }
}

/// The begin of a session.
struct Begun {
    group: String,
    kind: &'static str,
    client: Option<Box<str>>,
    network: String,
}

/// Sessions by tenant and device.
#[derive(Default)]
pub(super) struct Recorded {
    begun: HashMap<(Box<str>, Box<str>), Begun>,
}

impl Recorded {
    /// Gives the event of an observation, how many such there were, and whether the begin of the session is known. Other
    /// kinds of observations are no events.
    pub(super) fn event(
        &mut self,
        seen: &Observation<'_>,
        mut take: impl FnMut(&Attributes<'_>, u64, bool),
    ) {
        let (event, count) = match seen.event {
            Seen::Connected(connected) => {
                let begun = Begun {
                    group: connected.group.to_string(),
                    kind: match connected.kind {
                        SubjectKind::Device => "device",
                        SubjectKind::Service => "service",
                    },
                    client: (connected.client != seen.device).then(|| connected.client.into()),
                    network: match connected.network {
                        Network::Address(address) => address.to_canonical().to_string(),
                        Network::Local => String::new(),
                    },
                };
                let key = (seen.tenant.into(), seen.device.into());
                if self.begun.len() < REMEMBERED || self.begun.contains_key(&key) {
                    self.begun.insert(key, begun);
                }
                let connect = Connect { keep_alive: connected.keep_alive, ..Connect::default() };
                (Event::Connect(connect), 1)
            }
            Seen::Published(messages) => {
                let count = u64::from(messages.count.max(1));
                let publish = Publish {
                    topic: messages.topic,
                    bytes: messages.bytes / count,
                    ..Publish::default()
                };
                (Event::Publish(publish), count)
            }
            Seen::Subscribed { filter } => {
                let shared = filter.strip_prefix("$share/").and_then(|rest| rest.split_once('/'));
                let (share, filter) = shared.unwrap_or(("", filter));
                (Event::Subscribe(Subscribe { filter, share, ..Subscribe::default() }), 1)
            }
            _ => return,
        };
        let begun = self.begun.get(&(seen.tenant.into(), seen.device.into()));
        let mut session = Session {
            tenant: seen.tenant,
            device: seen.device,
            client_id: seen.device,
            ..Session::default()
        };
        if let Some(begun) = begun {
            session.group = &begun.group;
            session.kind = begun.kind;
            session.client_id = begun.client.as_deref().unwrap_or(seen.device);
            session.network = &begun.network;
        }
        let moment = Moment { now: UnixSeconds::new(seen.at / 1000), ..Moment::default() };
        take(&Attributes { session: &session, moment, event }, count, begun.is_some());
    }
}
