//! The plan of a load: the devices, their connections, and their work.

use std::net::IpAddr;
use std::time::Duration;

use serde_json::{json, Value};
use tessera_runtime::http::Server;
use tessera_token::ids::{TenantId, VerifierName};
use tessera_token::messages::TokenKind;

use crate::device::life::Habits;
use crate::mqtt::{Broker, Qos, Session, Version};
use crate::operator::OperatorClient;

/// The plan.
#[derive(Clone)]
pub struct Plan {
    /// Provisioning.
    pub http: Server,
    /// An operator who may make roles and claims, and delete devices.
    pub operator: OperatorClient,
    /// The tenant.
    pub tenant: TenantId,
    /// The role of the devices; a role of the run, which is removed with them, when there is none.
    pub role: Option<String>,
    /// The broker.
    pub broker: Broker,
    /// Addresses of this machine to connect from, in turn.
    pub sources: Vec<IpAddr>,
    /// The verifier behind the broker's address, when it has a name of its own.
    pub verifier: Option<VerifierName>,
    /// In front of each device id.
    pub prefix: String,
    /// Whether an id is the prefix and the number alone.
    pub short_ids: bool,
    /// The number before that of the first device.
    pub start_number: usize,
    /// Devices.
    pub count: usize,
    /// Between the connects of two devices.
    pub pace: Duration,
    /// The version of MQTT.
    pub version: Version,
    /// The keep-alive.
    pub keep_alive: Duration,
    /// The session that is asked for.
    pub session: Session,
    /// The kind of their tokens.
    pub token: TokenKind,
    /// Their work.
    pub work: Work,
    /// End after this time; without it when the work is done, or when told to stop.
    pub lasts: Option<Duration>,
    /// Whether the devices stay registered.
    pub keep: bool,
    /// The seed of the keys.
    pub seed: u64,
}

/// The work of the devices.
#[derive(Clone, Debug)]
pub enum Work {
    /// They connect and stay.
    Connect,
    /// They publish.
    Publish(Publishing),
    /// They subscribe.
    Subscribe(Subscribing),
    /// The first one publishes to all others.
    FanOut(Publishing),
    /// They publish while connects are refused by the ten thousand.
    Rejected(Publishing),
    /// All lose their connection at once and come back.
    Reconnect,
    /// All need a new token at once, and connect with it.
    Refresh,
    /// All are revoked while they are connected.
    Revocation,
}

/// Messages of a publisher.
#[derive(Clone, Debug)]
pub struct Publishing {
    /// Topics; a message goes to each in turn.
    pub topics: Vec<Pattern>,
    /// Bytes of a payload.
    pub size: usize,
    /// The payload; bytes of one letter when there is none.
    pub message: Option<String>,
    /// The quality of service.
    pub qos: Qos,
    /// Whether they are retained.
    pub retain: bool,
    /// Between two messages of one device.
    pub every: Duration,
    /// Messages of all devices together; without a limit when there is none.
    pub limit: Option<u64>,
    /// Whether none publishes before all have connected.
    pub wait: bool,
    /// The headers of the payload.
    pub headers: Headers,
}

/// Subscriptions.
#[derive(Clone, Debug)]
pub struct Subscribing {
    /// Filters.
    pub topics: Vec<Pattern>,
    /// The quality of service.
    pub qos: Qos,
    /// The headers of the payloads that come.
    pub headers: Headers,
}

/// The headers of a payload, 8 bytes each in network order: the counter first, then the time.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Headers {
    /// `cnt64`: the number of the message among those of its device.
    pub counter: bool,
    /// `ts`: milliseconds since 1970 when it was sent.
    pub time: bool,
}

impl Headers {
    /// Bytes that they take.
    pub const fn bytes(self) -> usize {
        8 * (self.counter as usize + self.time as usize)
    }
}

/// A topic with `%c` (client id), `%u` (user name, which is the same) and `%i` (number of the device).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pattern(String);

impl Pattern {
    /// This one.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The topic of one device.
    pub fn of(&self, id: &str, number: usize) -> String {
        self.0.replace("%c", id).replace("%u", id).replace("%i", &number.to_string())
    }

    /// The line of a role that allows it: the device alone where `%c` or `%u` is a whole level, and any level where a variable
    /// is a part of one or a number.
    pub fn line(&self) -> String {
        let level = |level: &str| match level {
            "%c" | "%u" => "{device}".to_owned(),
            part if ["%c", "%u", "%i"].iter().any(|one| part.contains(one)) => "+".to_owned(),
            plain => plain.to_owned(),
        };
        self.0.split('/').map(level).collect::<Vec<_>>().join("/")
    }
}

impl Plan {
    /// The device ids, in order; each with its number.
    pub(super) fn ids(&self) -> Vec<String> {
        let numbers = (1..=self.count).map(|at| self.start_number + at);
        let kind = self.work.kind();
        numbers
            .map(|number| match self.short_ids {
                true => format!("{}{number}", self.prefix),
                false => format!("{}{kind}-{number:04}", self.prefix),
            })
            .collect()
    }

    /// The name of the role of the run.
    pub(super) fn own_role(&self) -> String {
        own_role(&self.prefix)
    }

    /// The role of the run, as the operator API takes it.
    pub(super) fn role_body(&self) -> Value {
        let lines = |topics: &[Pattern]| topics.iter().map(Pattern::line).collect::<Vec<_>>();
        let (publish, subscribe) = match &self.work {
            Work::Publish(work) | Work::Rejected(work) => (lines(&work.topics), Vec::new()),
            Work::FanOut(work) => (lines(&work.topics), lines(&work.topics)),
            Work::Subscribe(work) => (Vec::new(), lines(&work.topics)),
            Work::Connect | Work::Reconnect | Work::Refresh | Work::Revocation => {
                (vec!["load/{device}".to_owned()], Vec::new())
            }
        };
        let is_own = |line: &String| {
            line.split('/').any(|level| level == "{device}") && !line.contains(['+', '#'])
        };
        let own = publish.iter().chain(&subscribe).all(is_own);
        let class = if own { "device" } else { "service" };
        json!({ "class": class, "publish": publish, "subscribe": subscribe })
    }

    pub(super) fn habits(&self) -> Habits {
        let tick = match &self.work {
            Work::Publish(work) | Work::FanOut(work) | Work::Rejected(work) => work.every,
            _ => super::limits::SECOND,
        };
        Habits {
            tick,
            version: self.version,
            token: self.token,
            verifier: self.verifier.clone(),
            keep_alive: self.keep_alive,
            session: self.session,
            ..Habits::default()
        }
    }

    /// The broker as the device of this place among all reaches it.
    pub(super) fn broker_of(&self, at: usize) -> Broker {
        let source = self.sources.get(at % self.sources.len().max(1)).copied();
        self.broker.clone().reached_from(source)
    }
}

/// The name of the role of a run with this prefix.
pub(super) fn own_role(prefix: &str) -> String {
    format!("load-{}", prefix.trim_end_matches('-'))
}

/// The names of all roles that a run with this prefix may have made: that of its devices first.
pub(crate) fn own_roles(prefix: &str) -> Vec<String> {
    let role = own_role(prefix);
    vec![role.clone(), format!("{role}.service"), format!("{role}.watcher")]
}

impl Work {
    /// Its name, as in the device ids and the command.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Connect => "conn",
            Self::Publish(_) => "pub",
            Self::Subscribe(_) => "sub",
            Self::FanOut(_) => "fan-out",
            Self::Rejected(_) => "rejected",
            Self::Reconnect => "reconnect",
            Self::Refresh => "refresh",
            Self::Revocation => "revocation",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_becomes_the_topic_of_a_device_and_the_line_of_its_role() {
        for (pattern, topic, line) in [
            ("bench/%i", "bench/7", "bench/+"),
            ("d/%c/telemetry", "d/a-1/telemetry", "d/{device}/telemetry"),
            ("%u/x%i", "a-1/x7", "{device}/+"),
            ("plain/#", "plain/#", "plain/#"),
        ] {
            let one = Pattern::new(pattern);
            assert_eq!((one.of("a-1", 7).as_str(), one.line().as_str()), (topic, line));
        }
    }
}
