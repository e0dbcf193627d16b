//! The error that ends a command: words for a person, and what to try next.

use std::fmt;

use serde_json::Value;
use tessera_token::refusal::RefusalCode;

/// Why a command failed.
#[derive(Debug)]
pub(crate) struct Fault {
    words: String,
    hint: Option<String>,
    code: Option<RefusalCode>,
    passing: bool,
}

impl Fault {
    /// In these words.
    pub(crate) fn new(words: impl Into<String>) -> Self {
        Self { words: words.into(), hint: None, code: None, passing: false }
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

    /// With the place of the fault in front of the words.
    pub(crate) fn at(self, place: &str) -> Self {
        Self { words: format!("{place}: {}", self.words), ..self }
    }

    /// With the code of the refusal behind it, when there is one.
    pub(crate) fn code(self, code: Option<RefusalCode>) -> Self {
        Self { code, ..self }
    }

    /// As one object, for a command with `--json`.
    pub(crate) fn to_json(&self) -> Value {
        let members = [
            ("error", Some(self.words.as_str())),
            ("code", self.code.map(RefusalCode::as_str)),
            ("hint", self.hint.as_deref()),
        ];
        let present = members.into_iter().filter_map(|(name, text)| Some((name, text?)));
        present.map(|(name, text)| (name.to_owned(), Value::from(text))).collect()
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_error_as_json_has_what_the_text_has() {
        let fault = Fault::new("refused").hint("try again").code(Some(RefusalCode::RateLimited));
        let wanted = json!({ "error": "refused", "code": "rate_limited", "hint": "try again" });
        assert_eq!(fault.to_json(), wanted);
        assert_eq!(Fault::new("a").to_json(), json!({ "error": "a" }));
    }
}
