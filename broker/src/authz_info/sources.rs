use std::time::Duration;

use hashbrown::HashMap;
use tessera_token::refusal::RefusalCode;

use crate::admission::Prefix;
use crate::limits::{
    ANONYMOUS_PREFIX_PART, AUTHZ_INFO_BURST, AUTHZ_INFO_INTERVAL, AUTHZ_INFO_SOURCES,
};

/// Per address prefix: the tokens it has published, the rate, and its connections that are open for publishing.
#[derive(Default)]
pub(super) struct Sources {
    known: HashMap<Prefix, Source>,
    open: usize,
}

#[derive(Default)]
struct Source {
    kept: usize,
    open: usize,
    /// When the tries so far would have been due, had they come one by one.
    due: Duration,
}

impl Sources {
    /// Counts a connection: `most` in all, a part of them for one prefix.
    pub(super) fn enter(&mut self, from: Prefix, most: usize, now: Duration) -> bool {
        let of_prefix = (most / ANONYMOUS_PREFIX_PART).max(1);
        if self.open >= most {
            return false;
        }
        let Some(source) = self.known(from, now).filter(|source| source.open < of_prefix) else {
            return false;
        };
        source.open += 1;
        self.open += 1;
        true
    }

    pub(super) fn leave(&mut self, from: Prefix) {
        self.open = self.open.saturating_sub(1);
        if let Some(source) = self.known.get_mut(&from) {
            source.open = source.open.saturating_sub(1);
        }
    }

    /// Counts a try: a burst, then one in an interval.
    pub(super) fn may_try(&mut self, from: Prefix, now: Duration) -> Result<(), RefusalCode> {
        let source = self.known(from, now).ok_or(RefusalCode::RateLimited)?;
        let due = source.due.max(now) + AUTHZ_INFO_INTERVAL;
        if due > now + AUTHZ_INFO_INTERVAL * AUTHZ_INFO_BURST {
            return Err(RefusalCode::RateLimited);
        }
        source.due = due;
        Ok(())
    }

    /// `None` when as many are remembered as may be.
    fn known(&mut self, from: Prefix, now: Duration) -> Option<&mut Source> {
        if self.known.len() >= AUTHZ_INFO_SOURCES && !self.known.contains_key(&from) {
            self.known.retain(|_, source| source.kept + source.open > 0 || source.due > now);
            if self.known.len() >= AUTHZ_INFO_SOURCES {
                return None;
            }
        }
        Some(self.known.entry(from).or_default())
    }

    pub(super) fn kept(&self, from: Prefix) -> usize {
        self.known.get(&from).map_or(0, |source| source.kept)
    }

    pub(super) fn keeps(&mut self, from: Prefix) {
        self.known.entry(from).or_default().kept += 1;
    }

    pub(super) fn lets_go(&mut self, from: Prefix) {
        if let Some(source) = self.known.get_mut(&from) {
            source.kept = source.kept.saturating_sub(1);
        }
    }
}
