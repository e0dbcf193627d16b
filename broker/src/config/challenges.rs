//! Challenges of the method `ace`, as they are set.

use super::{within, ConfigError, RawLimits};

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

    pub(super) fn parse(text: &str) -> Result<Self, ConfigError> {
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

impl RawLimits {
    pub(super) fn challenges(&self) -> Result<ChallengeLimits, ConfigError> {
        let rate = |key, value| within(key, value, 1, 1_000_000);
        Ok(ChallengeLimits {
            per_second: rate("limits.challenges_per_second", self.challenges_per_second)?,
            per_second_of_prefix: rate(
                "limits.challenges_per_second_per_prefix",
                self.challenges_per_second_per_prefix,
            )?,
        })
    }
}
