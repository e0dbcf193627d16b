//! The topics below `$tessera/`.

/// The control topics. Routing does not know them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum ControlTopic {
    /// `$tessera/token`: publish a token request or a token; receive the answer.
    Token,
    /// `$tessera/status`: receive server time, token expiry, refusals.
    Status,
    /// `$tessera/alerts`: receive what behaviour tracking noticed, where the scope says so.
    Alerts,
}

impl ControlTopic {
    /// The topic.
    pub const fn topic(self) -> &'static str {
        match self {
            Self::Token => "$tessera/token",
            Self::Status => "$tessera/status",
            Self::Alerts => "$tessera/alerts",
        }
    }

    /// The control topic of this name.
    pub fn of(topic: &str) -> Option<Self> {
        [Self::Token, Self::Status, Self::Alerts].into_iter().find(|one| one.topic() == topic)
    }
}
