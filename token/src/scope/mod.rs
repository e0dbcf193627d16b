//! Scopes: what a token allows, as AIF-MQTT (RFC 9237 with the labels of RFC 9431 section 3.1).
//!
//! A scope is an allow-list. A right exists when *one* entry covers it; the union of entries
//! grants nothing more (RFC 9431).

use alloc::vec::Vec;
use core::fmt;

use crate::cbor::{CborError, Reader, Writer};
use crate::limits;
use crate::topic::{TopicFilter, TopicName};

#[cfg(test)]
mod tests;

/// `pub`, `sub`, or both.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Permission {
    /// May publish.
    Publish,
    /// May subscribe.
    Subscribe,
    /// May do both.
    Both,
}

impl Permission {
    /// Whether publishing is allowed.
    pub const fn publish(self) -> bool {
        matches!(self, Self::Publish | Self::Both)
    }

    /// Whether subscribing is allowed.
    pub const fn subscribe(self) -> bool {
        matches!(self, Self::Subscribe | Self::Both)
    }

    /// The words of AIF-MQTT.
    pub const fn words(self) -> &'static [&'static str] {
        match self {
            Self::Publish => &["pub"],
            Self::Subscribe => &["sub"],
            Self::Both => &["pub", "sub"],
        }
    }

    /// From the words of AIF-MQTT, in any order.
    pub fn from_words<'a>(words: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        let (mut publish, mut subscribe) = (false, false);
        for word in words {
            let seen = match word {
                "pub" => &mut publish,
                "sub" => &mut subscribe,
                _ => return None,
            };
            if core::mem::replace(seen, true) {
                return None;
            }
        }
        match (publish, subscribe) {
            (true, true) => Some(Self::Both),
            (true, false) => Some(Self::Publish),
            (false, true) => Some(Self::Subscribe),
            (false, false) => None,
        }
    }
}

/// One entry: a filter and what may be done under it.
#[derive(Clone, PartialEq, Eq, Debug, Hash)]
pub struct ScopeEntry {
    /// The topics.
    pub filter: TopicFilter,
    /// The rights on them.
    pub permission: Permission,
}

/// Why a scope is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ScopeError;

impl fmt::Display for ScopeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the scope is no AIF-MQTT of at most 64 valid entries")
    }
}

impl core::error::Error for ScopeError {}

impl From<CborError> for ScopeError {
    fn from(_: CborError) -> Self {
        Self
    }
}

/// The rights of a token, at most 64 entries. No entry, no right.
#[derive(Clone, PartialEq, Eq, Debug, Default, Hash)]
pub struct Scope(Vec<ScopeEntry>);

impl Scope {
    /// A scope of these entries.
    ///
    /// # Errors
    /// [`ScopeError`] beyond 64 entries.
    pub fn new(entries: Vec<ScopeEntry>) -> Result<Self, ScopeError> {
        if entries.len() > limits::SCOPE_ENTRIES {
            Err(ScopeError)
        } else {
            Ok(Self(entries))
        }
    }

    /// The entries in order.
    pub fn entries(&self) -> &[ScopeEntry] {
        &self.0
    }

    /// Whether one entry allows publishing to `topic`. `$share` has no meaning here.
    #[must_use]
    pub fn may_publish(&self, topic: &TopicName) -> bool {
        self.0.iter().any(|e| e.permission.publish() && e.filter.matches(topic))
    }

    /// Whether one entry allows subscribing to `filter`: the filter is a subset of the entry's.
    #[must_use]
    pub fn may_subscribe(&self, filter: &TopicFilter) -> bool {
        self.0.iter().any(|e| e.permission.subscribe() && e.filter.covers(filter))
    }

    /// Whether one entry allows receiving a message on `topic`.
    #[must_use]
    pub fn may_receive(&self, topic: &TopicName) -> bool {
        self.may_receive_str(topic.as_str())
    }

    /// As [`Self::may_receive`], for a topic name that was checked elsewhere.
    #[must_use]
    pub fn may_receive_str(&self, topic: &str) -> bool {
        self.0.iter().any(|e| e.permission.subscribe() && e.filter.matches_str(topic))
    }

    /// Whether every right of `self` is a right of `other`, entry by entry.
    #[must_use]
    pub fn within(&self, other: &Scope) -> bool {
        self.0.iter().all(|mine| {
            let covered = |wanted: fn(Permission) -> bool| {
                !wanted(mine.permission)
                    || other.0.iter().any(|o| wanted(o.permission) && o.filter.covers(&mine.filter))
            };
            covered(Permission::publish) && covered(Permission::subscribe)
        })
    }

    /// AIF-MQTT in deterministic CBOR: `[[filter, ["pub", "sub"]], …]`.
    pub fn to_aif(&self) -> Vec<u8> {
        let mut w = Writer::new();
        w.array(self.0.len());
        for entry in &self.0 {
            let words = entry.permission.words();
            w.array(2).text(entry.filter.as_str()).array(words.len());
            for word in words {
                w.text(word);
            }
        }
        w.finish()
    }

    /// Reads AIF-MQTT: strict CBOR, valid filters, each of `pub` and `sub` at most once an entry.
    ///
    /// # Errors
    /// [`ScopeError`].
    pub fn from_aif(bytes: &[u8]) -> Result<Self, ScopeError> {
        let mut r = Reader::strict(bytes, limits::TOKEN_BYTES)?;
        let n = r.array()?;
        if n > limits::SCOPE_ENTRIES {
            return Err(ScopeError);
        }
        let mut entries = Vec::with_capacity(n);
        for _ in 0..n {
            r.array_of(2)?;
            let filter = TopicFilter::parse(r.text()?).map_err(|_| ScopeError)?;
            let permission = match r.array()? {
                1 => Permission::from_words([r.text()?]),
                2 => Permission::from_words([r.text()?, r.text()?]),
                _ => None,
            };
            entries.push(ScopeEntry { filter, permission: permission.ok_or(ScopeError)? });
        }
        r.end()?;
        Ok(Self(entries))
    }
}
