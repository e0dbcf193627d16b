//! The attributes of an event: a value for each, filled by the caller from what it has at hand.
//!
//! Those of a session are filled once and borrowed; the ages of a token and the hour are made when a rule asks.

use tessera_token::time::UnixSeconds;

pub mod schema;

pub use schema::{Flag, Number, On, Text};

/// The attributes of one event.
#[derive(Clone, Copy, Debug)]
pub struct Attributes<'a> {
    /// The session.
    pub session: &'a Session<'a>,
    /// The time and the verdicts of the behaviour engine.
    pub moment: Moment,
    /// The event.
    pub event: Event<'a>,
}

/// Attributes that stay while a session lives. The default is a session of which nothing is known.
#[derive(Clone, Copy, Debug)]
pub struct Session<'a> {
    /// The tenant.
    pub tenant: &'a str,
    /// The device.
    pub device: &'a str,
    /// Its group.
    pub group: &'a str,
    /// Its role.
    pub role: &'a str,
    /// `device`, or `service` when its scope has wildcards.
    pub kind: &'a str,
    /// The client id.
    pub client_id: &'a str,
    /// The address of the peer; empty for a peer without one.
    pub network: &'a str,
    /// The number of the autonomous system, 0 when it is not known.
    pub asn: u32,
    /// Two letters, or empty.
    pub country: &'a str,
    /// When the token was issued; nothing when that is not known.
    pub token_issued: Option<UnixSeconds>,
    /// When the token ends.
    pub token_expires: Option<UnixSeconds>,
    /// `pop`, `symmetric`, `bearer` or `partner`.
    pub token_kind: &'a str,
    /// `signature`, `mac`, `resumption` or `none`.
    pub proof: &'a str,
    /// `EdDSA`, `ES256`, `HS256` or `none`.
    pub alg: &'a str,
}

impl Default for Session<'_> {
    fn default() -> Self {
        Self {
            tenant: "",
            device: "",
            group: "",
            role: "",
            kind: "device",
            client_id: "",
            network: "",
            asn: 0,
            country: "",
            token_issued: None,
            token_expires: None,
            token_kind: "pop",
            proof: "signature",
            alg: "EdDSA",
        }
    }
}

/// Attributes that change while a session lives.
#[derive(Clone, Copy, Debug, Default)]
pub struct Moment {
    /// The trusted time: never below the highest time that was seen.
    pub now: UnixSeconds,
    /// The score of the behaviour engine for this device.
    pub score: u32,
    /// The severity of the device's open alert.
    pub severity: Severity,
}

/// The severity of an open alert.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Severity {
    /// There is no open alert.
    #[default]
    None,
    /// Worth a look.
    Low,
    /// To be looked at today.
    Moderate,
    /// To be looked at now.
    High,
}

impl Severity {
    /// The name in rules.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Low => "low",
            Self::Moderate => "moderate",
            Self::High => "high",
        }
    }
}

/// An event, with the attributes that it alone has.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// A CONNECT whose credential is good.
    Connect(Connect<'a>),
    /// A PUBLISH of the device that its token allows.
    Publish(Publish<'a>),
    /// A topic filter of a SUBSCRIBE that its token allows.
    Subscribe(Subscribe<'a>),
}

impl Event<'_> {
    /// The kind.
    #[inline]
    pub const fn on(&self) -> On {
        match self {
            Self::Connect(_) => On::Connect,
            Self::Publish(_) => On::Publish,
            Self::Subscribe(_) => On::Subscribe,
        }
    }
}

/// Attributes of a CONNECT.
#[derive(Clone, Copy, Debug)]
pub struct Connect<'a> {
    /// The protocol level: 3, 4 or 5.
    pub version: u8,
    /// Seconds of keep-alive, 0 for none.
    pub keep_alive: u16,
    /// Clean start.
    pub clean: bool,
    /// The topic of the will, empty without one.
    pub will_topic: &'a str,
    /// The user name, empty without one.
    pub user_name: &'a str,
    /// Bits of [`schema::PROPERTIES`].
    pub properties: u32,
    /// `tcp`, `ws` or `quic`.
    pub transport: &'a str,
    /// `none`, `1.2` or `1.3`.
    pub tls: &'a str,
}

impl Default for Connect<'_> {
    fn default() -> Self {
        Self {
            version: 5,
            keep_alive: 0,
            clean: true,
            will_topic: "",
            user_name: "",
            properties: 0,
            transport: "tcp",
            tls: "none",
        }
    }
}

/// Attributes of a PUBLISH.
#[derive(Clone, Copy, Debug, Default)]
pub struct Publish<'a> {
    /// The topic name.
    pub topic: &'a str,
    /// Bytes of the payload.
    pub bytes: u64,
    /// The quality of service.
    pub qos: u8,
    /// To be retained.
    pub retain: bool,
    /// The topic alias, 0 for none.
    pub topic_alias: u16,
    /// The content type, empty for none.
    pub content_type: &'a str,
    /// Seconds of the message expiry interval, 0 for none.
    pub expiry: u32,
}

/// Attributes of one topic filter of a SUBSCRIBE.
#[derive(Clone, Copy, Debug, Default)]
pub struct Subscribe<'a> {
    /// The filter, without `$share/NAME/`.
    pub filter: &'a str,
    /// The quality of service that is asked for.
    pub qos: u8,
    /// The name of the shared subscription, empty for a plain one.
    pub share: &'a str,
}

impl<'a> Attributes<'a> {
    /// The value of a text. One of another event has its default.
    #[inline]
    pub(crate) fn text(&self, text: Text) -> &'a str {
        let session = self.session;
        match (text, &self.event) {
            (Text::Tenant, _) => session.tenant,
            (Text::Device, _) => session.device,
            (Text::Group, _) => session.group,
            (Text::Role, _) => session.role,
            (Text::Kind, _) => session.kind,
            (Text::ClientId, _) => session.client_id,
            (Text::Network, _) => session.network,
            (Text::Country, _) => session.country,
            (Text::TokenKind, _) => session.token_kind,
            (Text::Proof, _) => session.proof,
            (Text::Alg, _) => session.alg,
            (Text::Severity, _) => self.moment.severity.as_str(),
            (Text::WillTopic, Event::Connect(connect)) => connect.will_topic,
            (Text::UserName, Event::Connect(connect)) => connect.user_name,
            (Text::Transport, Event::Connect(connect)) => connect.transport,
            (Text::Tls, Event::Connect(connect)) => connect.tls,
            (Text::Topic, Event::Publish(publish)) => publish.topic,
            (Text::ContentType, Event::Publish(publish)) => publish.content_type,
            (Text::Filter, Event::Subscribe(subscribe)) => subscribe.filter,
            (Text::Share, Event::Subscribe(subscribe)) => subscribe.share,
            _ => "",
        }
    }

    /// The value of a number. One of another event has its default.
    #[inline]
    pub(crate) fn number(&self, number: Number) -> i64 {
        let now = self.moment.now;
        match (number, &self.event) {
            (Number::Asn, _) => i64::from(self.session.asn),
            (Number::TokenAge, _) => {
                self.session.token_issued.map_or(0, |issued| capped(now.since(issued)))
            }
            (Number::TokenLeft, _) => {
                self.session.token_expires.map_or(0, |end| capped(end.since(now)))
            }
            (Number::Hour, _) => capped(now.get() / 3600 % 24),
            (Number::Score, _) => i64::from(self.moment.score),
            (Number::Version, Event::Connect(connect)) => i64::from(connect.version),
            (Number::KeepAlive, Event::Connect(connect)) => i64::from(connect.keep_alive),
            (Number::Bytes, Event::Publish(publish)) => capped(publish.bytes),
            (Number::Qos, Event::Publish(publish)) => i64::from(publish.qos),
            (Number::Qos, Event::Subscribe(subscribe)) => i64::from(subscribe.qos),
            (Number::TopicAlias, Event::Publish(publish)) => i64::from(publish.topic_alias),
            (Number::Expiry, Event::Publish(publish)) => i64::from(publish.expiry),
            _ => 0,
        }
    }

    /// The value of a flag. One of another event is false.
    #[inline]
    pub(crate) fn flag(&self, flag: Flag) -> bool {
        match (flag, &self.event) {
            (Flag::Clean, Event::Connect(connect)) => connect.clean,
            (Flag::Retain, Event::Publish(publish)) => publish.retain,
            (Flag::Wildcard, Event::Subscribe(subscribe)) => {
                subscribe.filter.bytes().any(|byte| matches!(byte, b'+' | b'#'))
            }
            _ => false,
        }
    }

    /// The bits of the properties of a CONNECT.
    #[inline]
    pub(crate) fn properties(&self) -> u32 {
        match &self.event {
            Event::Connect(connect) => connect.properties,
            _ => 0,
        }
    }

    /// The topic or the filter, against which the topic prefix of a selector is held. Empty for a CONNECT.
    #[inline]
    pub(crate) fn place(&self) -> &'a str {
        match &self.event {
            Event::Connect(_) => "",
            Event::Publish(publish) => publish.topic,
            Event::Subscribe(subscribe) => subscribe.filter,
        }
    }
}

fn capped(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
