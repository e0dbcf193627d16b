//! A setting that cannot hold: every room that reads settings of its own says so by it.

use std::fmt;

/// A setting that cannot hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The key.
    pub key: &'static str,
    /// The fault, and a value that would be accepted.
    pub problem: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "broker setting {}: {}", self.key, self.problem)
    }
}

impl std::error::Error for ConfigError {}
