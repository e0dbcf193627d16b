//! Topic names and filters of MQTT 5.0 section 4.7, as values that are right by construction.
//!
//! Matching and the subset relation walk levels in two cursors; nothing recurses.

use alloc::sync::Arc;
use core::fmt;

use crate::limits;

mod subset;
#[cfg(test)]
mod tests;

/// Why a text is no topic name or filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TopicError {
    /// No characters [MQTT-4.7.3-1].
    Empty,
    /// More than 1,024 bytes or 32 levels.
    TooLong,
    /// U+0000 or another control character.
    BadCharacter,
    /// `+` or `#` in a topic name [MQTT-3.3.2-2].
    WildcardInName,
    /// `#` not last or not alone in its level, or `+` not alone in its level [MQTT-4.7.1-1, -2].
    MisplacedWildcard,
    /// `$share/` without a name or a filter, or with a wildcard in the name [MQTT-4.8.2-1, -2].
    BadShare,
}

impl fmt::Display for TopicError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "a topic needs at least one character",
            Self::TooLong => "the topic is too long or has too many levels",
            Self::BadCharacter => "control characters are not allowed in a topic",
            Self::WildcardInName => "a topic name cannot hold + or #",
            Self::MisplacedWildcard => "+ must fill a level, # must fill the last one",
            Self::BadShare => "a shared filter is $share/NAME/FILTER",
        })
    }
}

impl core::error::Error for TopicError {}

fn check_text(text: &str) -> Result<(), TopicError> {
    if text.is_empty() {
        return Err(TopicError::Empty);
    }
    if text.len() > limits::TOPIC_BYTES {
        return Err(TopicError::TooLong);
    }
    let mut levels = 1;
    for c in text.chars() {
        if c.is_control() {
            return Err(TopicError::BadCharacter);
        }
        levels += usize::from(c == '/');
    }
    if levels > limits::TOPIC_LEVELS {
        return Err(TopicError::TooLong);
    }
    Ok(())
}

/// A topic a message is published to. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicName(Arc<str>);

impl TopicName {
    /// Checks a topic name.
    ///
    /// # Errors
    /// [`TopicError`]; a wildcard is [`TopicError::WildcardInName`].
    pub fn parse(text: &str) -> Result<Self, TopicError> {
        check_text(text)?;
        if text.bytes().any(|b| matches!(b, b'+' | b'#')) {
            return Err(TopicError::WildcardInName);
        }
        Ok(Self(text.into()))
    }

    /// The topic as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The shared text, for holders that keep it.
    pub fn shared(&self) -> Arc<str> {
        self.0.clone()
    }
}

/// A filter of a subscription or of a scope entry, without `$share`. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicFilter {
    text: Arc<str>,
    exact: bool,
}

impl TopicFilter {
    /// Checks a filter. `$share/…` is not special here: see [`Subscription::parse`].
    ///
    /// # Errors
    /// [`TopicError`].
    pub fn parse(text: &str) -> Result<Self, TopicError> {
        check_text(text)?;
        let mut exact = true;
        let mut ended = false;
        for level in text.split('/') {
            if ended {
                return Err(TopicError::MisplacedWildcard);
            }
            match level {
                "+" => exact = false,
                "#" => {
                    exact = false;
                    ended = true;
                }
                other if other.bytes().any(|b| matches!(b, b'+' | b'#')) => {
                    return Err(TopicError::MisplacedWildcard);
                }
                _ => {}
            }
        }
        Ok(Self { text: text.into(), exact })
    }

    /// The filter as text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The shared text, for holders that keep it.
    pub fn shared(&self) -> Arc<str> {
        self.text.clone()
    }

    /// True when the filter has no wildcard: it matches one topic name, its own text.
    pub fn is_exact(&self) -> bool {
        self.exact
    }

    /// Whether a message on `topic` matches. `#` and `+` in the first level do not match `$…`
    /// [MQTT-4.7.2-1]; `a/#` matches `a`.
    pub fn matches(&self, topic: &TopicName) -> bool {
        self.matches_str(topic.as_str())
    }

    /// As [`Self::matches`], for a topic name that was checked elsewhere.
    pub fn matches_str(&self, topic: &str) -> bool {
        if self.exact {
            return *self.text == *topic;
        }
        subset::covers(&self.text, topic)
    }

    /// Whether every topic that `other` can match is matched by `self` too. Exact: `+` does not
    /// cover `#`, and no wildcard of the first level covers a filter that starts with `$`.
    pub fn covers(&self, other: &TopicFilter) -> bool {
        subset::covers(&self.text, &other.text)
    }
}

/// A filter as a SUBSCRIBE names it: plain, or `$share/NAME/FILTER`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Subscription {
    /// The name of the shared group, when the filter is shared.
    pub share: Option<Arc<str>>,
    /// The filter that is authorised and matched.
    pub filter: TopicFilter,
}

impl Subscription {
    /// Splits off `$share/NAME/` and checks both parts.
    ///
    /// # Errors
    /// [`TopicError`].
    pub fn parse(text: &str) -> Result<Self, TopicError> {
        let Some(rest) = text.strip_prefix("$share/") else {
            if text == "$share" {
                return Err(TopicError::BadShare);
            }
            return Ok(Self { share: None, filter: TopicFilter::parse(text)? });
        };
        let (name, filter) = rest.split_once('/').ok_or(TopicError::BadShare)?;
        if name.is_empty() || filter.is_empty() || name.contains(['+', '#']) {
            return Err(TopicError::BadShare);
        }
        check_text(name)?;
        Ok(Self { share: Some(name.into()), filter: TopicFilter::parse(filter)? })
    }
}

macro_rules! show {
    ($name:ident) => {
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}
show!(TopicName);
show!(TopicFilter);
