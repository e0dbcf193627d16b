//! Why an agent did not start.

use std::fmt;

use crate::location::LocationError;
use tessera_runtime::derivation::DerivationFileError;
use tessera_runtime::http::HttpError;
use tessera_runtime::metrics::MetricsError;
use tessera_runtime::random::RandomError;
use tessera_runtime::store::StoreError;
use tessera_token::ids::IdError;

use crate::behaviour;

/// Why an agent did not start.
#[derive(Debug)]
#[non_exhaustive]
pub enum AgentError {
    /// Its store.
    Store(StoreError),
    /// A metric's name is taken: two agents share a registry.
    Metrics(MetricsError),
    /// The URL of the feed.
    Feed(HttpError),
    /// The file of derivation keys.
    Derivation(DerivationFileError),
    /// A file of locations.
    Location(LocationError),
    /// No randomness.
    Random(RandomError),
    /// A verifier name that is none.
    Name(IdError),
    /// A thread or folder.
    Io(std::io::Error),
}

impl fmt::Display for AgentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Store(error) => error.fmt(f),
            Self::Metrics(error) => error.fmt(f),
            Self::Feed(error) => write!(f, "trust feed: {error}"),
            Self::Derivation(error) => error.fmt(f),
            Self::Location(error) => error.fmt(f),
            Self::Random(error) => error.fmt(f),
            Self::Name(error) => write!(f, "verifier name: {error}"),
            Self::Io(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for AgentError {}

impl From<StoreError> for AgentError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<MetricsError> for AgentError {
    fn from(error: MetricsError) -> Self {
        Self::Metrics(error)
    }
}

impl From<std::io::Error> for AgentError {
    fn from(error: std::io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<behaviour::StartError> for AgentError {
    fn from(error: behaviour::StartError) -> Self {
        match error {
            behaviour::StartError::Store(error) => Self::Store(error),
            behaviour::StartError::Metrics(error) => Self::Metrics(error),
            behaviour::StartError::Random(error) => Self::Random(error),
        }
    }
}
