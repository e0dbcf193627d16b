use std::fmt;
use std::path::PathBuf;

/// Data that a store should hold and does not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loss {
    /// The store.
    pub store: PathBuf,
    /// The missing data, a phrase each.
    pub missing: Vec<String>,
}

impl Loss {
    pub(crate) fn new(store: impl Into<PathBuf>, missing: impl Into<String>) -> Self {
        Self { store: store.into(), missing: vec![missing.into()] }
    }

    pub(super) fn add(&mut self, other: Self) {
        self.missing.extend(other.missing);
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "store {}: {}", self.store.display(), self.missing.join("; "))
    }
}
