//! Why a measurement could not be made.

use std::fmt;

/// In words for the person who started it.
#[derive(Debug, Clone)]
pub struct BenchError(String);

impl BenchError {
    /// In these words.
    pub fn new(words: impl Into<String>) -> Self {
        Self(words.into())
    }
}

impl fmt::Display for BenchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BenchError {}

macro_rules! from {
    ($($error:ty),*) => {$(
        impl From<$error> for BenchError {
            fn from(error: $error) -> Self {
                Self(error.to_string())
            }
        }
    )*};
}

from!(
    std::io::Error,
    crate::operator::OperatorError,
    crate::fleet::FleetError,
    tokio::task::JoinError,
    tokio::sync::AcquireError
);
