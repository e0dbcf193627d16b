//! The error that ends a command: words for a person, and what to try next.

use std::fmt;

/// Why a command failed.
#[derive(Debug)]
pub(crate) struct Fault {
    words: String,
    hint: Option<String>,
    passing: bool,
}

impl Fault {
    /// In these words.
    pub(crate) fn new(words: impl Into<String>) -> Self {
        Self { words: words.into(), hint: None, passing: false }
    }

    /// The event.
    pub(crate) fn words(&self) -> &str {
        &self.words
    }

    /// The next thing to try, when that is known.
    pub(crate) fn what_next(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// Whether the same may succeed later.
    pub(crate) fn is_passing(&self) -> bool {
        self.passing
    }

    /// As one that may pass by itself, or not.
    pub(crate) fn passing(self, passing: bool) -> Self {
        Self { passing, ..self }
    }

    /// With what to try next.
    pub(crate) fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words)?;
        self.hint.iter().try_for_each(|hint| write!(f, "\n  {hint}"))
    }
}

impl<E: std::error::Error> From<E> for Fault {
    fn from(error: E) -> Self {
        Self::new(error.to_string())
    }
}

/// Result of a command: the exit status.
pub(crate) type Outcome = Result<u8, Fault>;
