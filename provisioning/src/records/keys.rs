//! The row of an issuer key.

use serde::{Deserialize, Serialize};
use tessera_token::chain::{IssuerKey, KeyState};
use tessera_token::ids::TenantId;
use tessera_token::key::PublicKey;
use tessera_token::refusal::RefusalCode;
use tessera_token::time::UnixSeconds;
use tessera_token::trust::Change;

use crate::limits::KEY_SECONDS;

/// A key's state at rest; the words are those of the REST answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    Next,
    Active,
    Retiring,
    Retired,
    Compromised,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KeyRecord {
    pub(crate) public: [u8; 32],
    pub(crate) state: State,
    pub(crate) created: u64,
    pub(crate) not_before: u64,
    pub(crate) not_after: u64,
    /// When it came into its present state.
    pub(crate) since: u64,
    /// The lived time of that moment, by which the schedule counts; `None` in rows of former versions and of a founding.
    pub(crate) lived: Option<u64>,
    /// Its place in a security module; `None` for a key with a seed.
    pub(crate) module: Option<InModule>,
}

/// The private half of a key in a token of a security module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct InModule {
    /// The label of the token.
    pub(crate) token: String,
    /// The `CKA_ID` of the object.
    pub(crate) object: [u8; 16],
}

impl State {
    /// Its word at rest.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Next => "next",
            Self::Active => "active",
            Self::Retiring => "retiring",
            Self::Retired => "retired",
            Self::Compromised => "compromised",
        }
    }
}

impl KeyRecord {
    /// A next key. Valid from a minute ago, so that a verifier whose clock lags accepts its first token.
    pub(crate) fn next(public: [u8; 32], now: u64) -> Self {
        Self {
            public,
            state: State::Next,
            created: now,
            not_before: now.saturating_sub(tessera_token::limits::CLOCK_SKEW_SECONDS),
            not_after: now.saturating_add(KEY_SECONDS),
            since: now,
            lived: None,
            module: None,
        }
    }

    /// The same, of a key in a security module.
    pub(crate) fn in_module(self, module: InModule) -> Self {
        Self { module: Some(module), ..self }
    }

    /// The moment from which the schedule counts its age.
    pub(crate) fn from(&self) -> u64 {
        self.lived.unwrap_or(self.since)
    }

    /// The same, with an age that counts from this lived time.
    pub(crate) fn counted_from(self, lived: u64) -> Self {
        Self { lived: Some(lived), ..self }
    }

    pub(crate) fn public(&self) -> Result<PublicKey, RefusalCode> {
        PublicKey::from_bytes(&self.public).map_err(|_| RefusalCode::Internal)
    }

    pub(crate) fn in_state(&self, state: State, now: u64) -> Self {
        Self { state, since: now, lived: None, ..self.clone() }
    }

    /// The change that verifiers must know.
    pub(crate) fn change(&self, tenant: &TenantId) -> Result<Change, RefusalCode> {
        Ok(Change::Key(IssuerKey {
            tenant: tenant.clone(),
            key: self.public()?,
            not_before: UnixSeconds::new(self.not_before),
            not_after: UnixSeconds::new(self.not_after),
            state: match self.state {
                State::Next => KeyState::Next,
                State::Active => KeyState::Active,
                State::Retiring => KeyState::Retiring,
                State::Retired => KeyState::Retired,
                State::Compromised => KeyState::Compromised,
            },
        }))
    }
}
