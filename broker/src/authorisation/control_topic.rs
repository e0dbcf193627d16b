//! The topics below `$tessera/`.

use tessera_token::trust::TRUST_TOPIC;

/// The control topics. Routing does not know them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum ControlTopic {
    /// `$tessera/token`: publish a token request or a token; receive the answer.
    Token,
    /// `$tessera/status`: receive server time, token expiry, refusals.
    Status,
    /// `$tessera/alerts`: receive what behaviour tracking noticed, where the scope says so.
    Alerts,
    /// `$tessera/refresh`: provisioning hears of sessions and pushes tokens; it is closed to all others.
    Refresh,
    /// `$tessera/trust`: a gateway reads the trust feed, where the scope says so.
    Trust,
}

impl ControlTopic {
    /// The topic.
    pub const fn topic(self) -> &'static str {
        match self {
            Self::Token => "$tessera/token",
            Self::Status => "$tessera/status",
            Self::Alerts => "$tessera/alerts",
            Self::Refresh => "$tessera/refresh",
            Self::Trust => TRUST_TOPIC,
        }
    }

    /// The control topic of this name.
    pub fn of(topic: &str) -> Option<Self> {
        // Every publish is asked, and few are one of these.
        if !topic.starts_with("$tessera/") {
            return None;
        }
        let all = [Self::Token, Self::Status, Self::Alerts, Self::Refresh, Self::Trust];
        all.into_iter().find(|one| one.topic() == topic)
    }
}
