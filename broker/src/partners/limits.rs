use crate::config_error::ConfigError;

/// The connections on which partner tokens are accepted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PartnerTokens {
    /// None.
    Off,
    /// Over TLS and QUIC.
    Encrypted,
    /// All: something before this broker ends TLS, or the network is trusted.
    InClear,
}

impl PartnerTokens {
    /// The name in settings.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Encrypted => "encrypted",
            Self::InClear => "in_clear",
        }
    }

    /// The one of this name.
    ///
    /// # Errors
    /// There is none.
    pub(crate) fn parse(text: &str) -> Result<Self, ConfigError> {
        let all = [Self::Off, Self::Encrypted, Self::InClear];
        all.into_iter().find(|one| one.name() == text).ok_or_else(|| ConfigError {
            key: "partner_tokens",
            problem: format!("{text:?}: use off, encrypted or in_clear"),
        })
    }
}
