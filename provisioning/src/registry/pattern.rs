//! Patterns of device ids: the characters of an id, and at most one `*`, which stands for one or more characters.

use std::fmt;

use crate::limits::PATTERN_CHARS;
use crate::refused::Refused;

/// A pattern of device ids, such as `press-*`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct IdPattern(String);

impl IdPattern {
    /// Takes a pattern.
    ///
    /// # Errors
    /// `request_malformed` for other characters, a second `*`, or more than [`PATTERN_CHARS`].
    pub(crate) fn parse(text: &str) -> Result<Self, Refused> {
        let may_be = |c: char| c.is_ascii_alphanumeric() || "._:-*".contains(c);
        let begins = text.chars().next().is_some_and(|c| c.is_ascii_alphanumeric() || c == '*');
        let stars = text.chars().filter(|c| *c == '*').count();
        match begins && stars <= 1 && text.len() <= PATTERN_CHARS && text.chars().all(may_be) {
            true => Ok(Self(text.to_owned())),
            false => Err(Refused::malformed(format!(
                "{text:?} is no pattern: use the characters of an id and at most one *, as in press-*"
            ))),
        }
    }

    /// Whether this id has the pattern.
    pub(crate) fn matches(&self, id: &str) -> bool {
        match self.0.split_once('*') {
            None => self.0 == id,
            Some((before, behind)) => {
                // At least one character stands in the place of the star.
                id.len() > before.len() + behind.len()
                    && id.starts_with(before)
                    && id.ends_with(behind)
            }
        }
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for IdPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_star_stands_for_one_or_more_characters() {
        for (pattern, ids, others) in [
            (
                "press-*",
                &["press-1", "press-10", "press--"][..],
                &["press-", "press", "xpress-1"][..],
            ),
            ("*-eu", &["a-eu", "press-1-eu"], &["-eu", "a-eu1", "eu"]),
            ("a*b", &["a1b", "aab", "abb"], &["ab", "a", "b", "a1c"]),
            ("*", &["a", "press-1"], &[""]),
            ("press-1", &["press-1"], &["press-10", "press"]),
            ("aa*aa", &["aaxaa", "aaaaa"], &["aaaa", "aaa"]),
        ] {
            let pattern = IdPattern::parse(pattern).unwrap();
            assert!(ids.iter().all(|id| pattern.matches(id)), "{pattern} {ids:?}");
            assert!(!others.iter().any(|id| pattern.matches(id)), "{pattern} {others:?}");
        }
        let long = "a".repeat(PATTERN_CHARS + 1);
        for wrong in ["", "a**", "*a*", "-a", "a b", "a/#", "a?", "[a]", "é", &long] {
            assert!(IdPattern::parse(wrong).is_err(), "{wrong}");
        }
    }
}
