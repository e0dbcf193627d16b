//! Kinds of refused topics, and of broken protocol.

/// The owner of a topic that was refused to a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denial<'a> {
    /// A topic with the device's own name: a mistake in a setting.
    Own,
    /// A topic of another device or owner.
    Owner(&'a str),
    /// A filter with a wildcard where the topics of the device have its name.
    Wide,
    /// A topic that begins with `$`.
    System,
}

impl<'a> Denial<'a> {
    /// The kind of a refused topic or filter, for the device with this name whose topics have the name at the level
    /// `place` (0 for the first level).
    pub fn of(topic: &'a str, device: &str, place: usize) -> Self {
        if topic.starts_with('$') {
            return Self::System;
        }
        if topic.split('/').any(|level| level == device) {
            return Self::Own;
        }
        let named = topic.split('/').take(place + 1);
        if named.clone().any(|level| level == "+" || level == "#") {
            return Self::Wide;
        }
        Self::Owner(named.last().unwrap_or(topic))
    }
}

/// How a session broke the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A packet that does not decode (MQTT 5 reason 0x81).
    Malformed,
    /// A packet that is not allowed here (0x82).
    Protocol,
    /// A packet above the maximum size (0x95).
    TooLarge,
    /// More unacknowledged messages than allowed (0x93).
    ReceiveMaximum,
    /// A topic alias that does not exist (0x94).
    TopicAlias,
    /// A topic or filter that is not valid (0x8F, 0x90).
    TopicInvalid,
    /// Silent for longer than one and a half times the keep-alive (0x8D).
    KeepAlive,
}

impl Fault {
    /// Every kind.
    pub const ALL: [Self; 7] = [
        Self::Malformed,
        Self::Protocol,
        Self::TooLarge,
        Self::ReceiveMaximum,
        Self::TopicAlias,
        Self::TopicInvalid,
        Self::KeepAlive,
    ];

    /// The stable name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Protocol => "protocol",
            Self::TooLarge => "too_large",
            Self::ReceiveMaximum => "receive_maximum",
            Self::TopicAlias => "topic_alias",
            Self::TopicInvalid => "topic_invalid",
            Self::KeepAlive => "keep_alive",
        }
    }

    /// The kind with this name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|fault| fault.as_str() == text)
    }
}
