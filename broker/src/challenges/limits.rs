//! Where challenges are offered, and how many of them, as settings give it.

use crate::config_error::ConfigError;

/// Where the challenge of RFC 9431 lets in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AceChallenge {
    /// Nowhere.
    Never,
    /// On connections in clear.
    ClearOnly,
    /// Everywhere, as RFC 9431 asks of a broker.
    Always,
}

impl AceChallenge {
    /// The name in settings.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Never => "never",
            Self::ClearOnly => "clear_only",
            Self::Always => "always",
        }
    }

    /// The one of this name.
    ///
    /// # Errors
    /// There is none.
    pub(crate) fn parse(text: &str) -> Result<Self, ConfigError> {
        let all = [Self::Never, Self::ClearOnly, Self::Always];
        all.into_iter().find(|one| one.name() == text).ok_or_else(|| ConfigError {
            key: "ace_challenge",
            problem: format!("{text:?}: use never, clear_only or always"),
        })
    }
}

/// Challenges in a second.
#[derive(Clone, Copy, Debug)]
pub struct ChallengeLimits {
    /// All together.
    pub per_second: u32,
    /// Of one address prefix.
    pub per_second_of_prefix: u32,
}
