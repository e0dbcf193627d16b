//! The schema: name, type, events, default and bounds of each attribute. `docs/rules.md` has the same table.

use std::fmt;

/// The events that rules are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum On {
    /// A device connects.
    Connect,
    /// It publishes.
    Publish,
    /// It subscribes to one filter.
    Subscribe,
}

impl On {
    /// Every event.
    pub const ALL: [Self; 3] = [Self::Connect, Self::Publish, Self::Subscribe];

    /// The stable name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Publish => "publish",
            Self::Subscribe => "subscribe",
        }
    }

    /// The event with this name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|on| on.as_str() == text)
    }
}

impl fmt::Display for On {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Attributes that are texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the table below has a sentence for each")]
pub enum Text {
    Tenant,
    Device,
    Group,
    Role,
    Kind,
    ClientId,
    Network,
    Country,
    TokenKind,
    Proof,
    Alg,
    Severity,
    WillTopic,
    UserName,
    Transport,
    Tls,
    Topic,
    ContentType,
    Filter,
    Share,
}

/// Attributes that are whole numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the table below has a sentence for each")]
pub enum Number {
    Asn,
    TokenAge,
    TokenLeft,
    Hour,
    Score,
    Version,
    KeepAlive,
    Bytes,
    Qos,
    TopicAlias,
    Expiry,
}

/// Attributes that are true or false.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the table below has a sentence for each")]
pub enum Flag {
    Clean,
    Retain,
    Wildcard,
}

/// An attribute with its type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// A text.
    Text(Text),
    /// A whole number.
    Number(Number),
    /// True or false.
    Flag(Flag),
    /// The set of the properties of a CONNECT.
    Properties,
}

/// One row of the schema.
#[derive(Clone, Copy, Debug)]
pub struct Attribute {
    /// The name in rules.
    pub name: &'static str,
    /// The attribute with its type.
    pub which: Which,
    /// The events that have it.
    pub on: &'static [On],
    /// The value when nothing is known.
    pub default: &'static str,
    /// The only values that it can have; empty when it can have any.
    pub values: &'static [&'static str],
    /// Bytes of the longest value of a text.
    pub most_bytes: u32,
    /// The meaning.
    pub meaning: &'static str,
}

const EACH: &[On] = &On::ALL;
const CONNECT: &[On] = &[On::Connect];
const PUBLISH: &[On] = &[On::Publish];
const SUBSCRIBE: &[On] = &[On::Subscribe];

const fn text(
    name: &'static str,
    text: Text,
    on: &'static [On],
    most_bytes: u32,
    meaning: &'static str,
) -> Attribute {
    Attribute {
        name,
        which: Which::Text(text),
        on,
        default: "\"\"",
        values: &[],
        most_bytes,
        meaning,
    }
}

const fn closed(
    name: &'static str,
    text: Text,
    on: &'static [On],
    default: &'static str,
    values: &'static [&'static str],
    meaning: &'static str,
) -> Attribute {
    Attribute { name, which: Which::Text(text), on, default, values, most_bytes: 16, meaning }
}

const fn number(
    name: &'static str,
    number: Number,
    on: &'static [On],
    default: &'static str,
    meaning: &'static str,
) -> Attribute {
    let which = Which::Number(number);
    Attribute { name, which, on, default, values: &[], most_bytes: 0, meaning }
}

const fn flag(
    name: &'static str,
    flag: Flag,
    on: &'static [On],
    default: &'static str,
    meaning: &'static str,
) -> Attribute {
    Attribute { name, which: Which::Flag(flag), on, default, values: &[], most_bytes: 0, meaning }
}

/// Every attribute.
pub const ATTRIBUTES: [Attribute; 35] = [
    text("tenant", Text::Tenant, EACH, 32, "the tenant"),
    text("device", Text::Device, EACH, 64, "the device"),
    text("group", Text::Group, EACH, 64, "the group of the device"),
    text("role", Text::Role, EACH, 64, "the role of the device"),
    closed(
        "kind",
        Text::Kind,
        EACH,
        "\"device\"",
        &["device", "service"],
        "`service` when the scope of the token has wildcards",
    ),
    text("client_id", Text::ClientId, EACH, 88, "the client id"),
    text("network", Text::Network, EACH, 45, "the address of the peer as a text"),
    number("asn", Number::Asn, EACH, "0", "the autonomous system of the peer"),
    text("country", Text::Country, EACH, 2, "the country of the peer, two capital letters"),
    number("token_age", Number::TokenAge, EACH, "0", "seconds since the token was issued"),
    number("token_left", Number::TokenLeft, EACH, "0", "seconds until the token ends"),
    closed(
        "token_kind",
        Text::TokenKind,
        EACH,
        "\"pop\"",
        &["pop", "symmetric", "bearer", "partner"],
        "the kind of the token: bound to a device key, to a symmetric key, to none, or of another party",
    ),
    closed(
        "proof",
        Text::Proof,
        EACH,
        "\"signature\"",
        &["signature", "mac", "resumption", "none"],
        "how the key of the token was proved",
    ),
    closed(
        "alg",
        Text::Alg,
        EACH,
        "\"EdDSA\"",
        &["EdDSA", "ES256", "HS256", "none"],
        "the algorithm of that key",
    ),
    number("hour", Number::Hour, EACH, "the hour of the event", "the hour of the day, 0 to 23, UTC"),
    number("score", Number::Score, EACH, "0", "the score of the behaviour engine"),
    closed(
        "severity",
        Text::Severity,
        EACH,
        "\"none\"",
        &["none", "low", "moderate", "high"],
        "the severity of the open alert about the device",
    ),
    number("version", Number::Version, CONNECT, "5", "the protocol level: 3, 4 or 5"),
    number("keep_alive", Number::KeepAlive, CONNECT, "0", "seconds of keep-alive, 0 for none"),
    flag("clean", Flag::Clean, CONNECT, "true", "clean start"),
    text("will_topic", Text::WillTopic, CONNECT, 1024, "the topic of the will"),
    text("user_name", Text::UserName, CONNECT, 1024, "the user name"),
    Attribute {
        name: "properties",
        which: Which::Properties,
        on: CONNECT,
        default: "none",
        values: &PROPERTIES,
        most_bytes: 0,
        meaning: "the properties that the CONNECT has",
    },
    closed(
        "transport",
        Text::Transport,
        CONNECT,
        "\"tcp\"",
        &["tcp", "ws", "quic"],
        "the transport below MQTT",
    ),
    closed("tls", Text::Tls, CONNECT, "\"none\"", &["none", "1.2", "1.3"], "the version of TLS"),
    text("topic", Text::Topic, PUBLISH, 1024, "the topic name"),
    number("bytes", Number::Bytes, PUBLISH, "0", "bytes of the payload"),
    number("qos", Number::Qos, &[On::Publish, On::Subscribe], "0", "the quality of service"),
    flag("retain", Flag::Retain, PUBLISH, "false", "the message is to be retained"),
    number("topic_alias", Number::TopicAlias, PUBLISH, "0", "the topic alias, 0 for none"),
    text("content_type", Text::ContentType, PUBLISH, 256, "the content type"),
    number("expiry", Number::Expiry, PUBLISH, "0", "seconds of the message expiry interval"),
    text("filter", Text::Filter, SUBSCRIBE, 1024, "the filter, without `$share/NAME/`"),
    text("share", Text::Share, SUBSCRIBE, 1024, "the name of the shared subscription"),
    flag("wildcard", Flag::Wildcard, SUBSCRIBE, "false", "the filter has `+` or `#`"),
];

/// The properties of a CONNECT (MQTT 5.0 section 3.1.2.11 and its will), each at its bit.
pub const PROPERTIES: [&str; 13] = [
    "session_expiry",
    "receive_maximum",
    "maximum_packet",
    "topic_alias_maximum",
    "request_response",
    "request_problem",
    "user_property",
    "authentication_method",
    "authentication_data",
    "will_delay",
    "will_expiry",
    "will_content_type",
    "will_response_topic",
];

impl Attribute {
    /// The attribute with this name.
    pub fn find(name: &str) -> Option<&'static Self> {
        ATTRIBUTES.iter().find(|attribute| attribute.name == name)
    }

    /// The row of a text.
    pub(crate) fn of(which: Which) -> Option<&'static Self> {
        ATTRIBUTES.iter().find(|attribute| attribute.which == which)
    }

    /// The name of its type.
    pub const fn type_name(&self) -> &'static str {
        match self.which {
            Which::Text(_) => "text",
            Which::Number(_) => "number",
            Which::Flag(_) => "bool",
            Which::Properties => "set of names",
        }
    }
}

/// The bit of a property.
pub fn property(name: &str) -> Option<u32> {
    PROPERTIES.iter().zip(0_u32..).find(|(known, _)| **known == name).map(|(_, bit)| 1 << bit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_attribute_has_one_row() {
        for (at, attribute) in ATTRIBUTES.iter().enumerate() {
            let same =
                |other: &&Attribute| other.name == attribute.name || other.which == attribute.which;
            assert_eq!(ATTRIBUTES.iter().filter(same).count(), 1, "{}", attribute.name);
            assert!(!attribute.on.is_empty() && !attribute.meaning.is_empty(), "{at}");
            let value = attribute.default.trim_matches('"');
            let is_text = matches!(attribute.which, Which::Text(_));
            assert!(!is_text || attribute.values.is_empty() || attribute.values.contains(&value));
        }
        assert_eq!(property("session_expiry"), Some(1));
        assert_eq!(property("will_response_topic"), Some(1 << 12));
        assert_eq!(property("nothing"), None);
    }
}
