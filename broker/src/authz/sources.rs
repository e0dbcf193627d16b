use std::time::Duration;

use hashbrown::HashMap;
use tessera_token::refusal::RefusalCode;

use crate::admission::Prefix;
use crate::limits::{AUTHZ_BURST, AUTHZ_INTERVAL, AUTHZ_SOURCES};

/// What each address prefix has published, and how fast.
#[derive(Default)]
pub(super) struct Sources {
    known: HashMap<Prefix, Source>,
}

struct Source {
    kept: usize,
    /// When the tries so far would have been due, had they come one by one.
    due: Duration,
}

impl Sources {
    /// Counts a try: a burst, then one in an interval.
    pub(super) fn may_try(&mut self, from: Prefix, now: Duration) -> Result<(), RefusalCode> {
        if self.known.len() >= AUTHZ_SOURCES && !self.known.contains_key(&from) {
            self.known.retain(|_, source| source.kept > 0 || source.due > now);
            if self.known.len() >= AUTHZ_SOURCES {
                return Err(RefusalCode::RateLimited);
            }
        }
        let source = self.known.entry(from).or_insert(Source { kept: 0, due: now });
        let due = source.due.max(now) + AUTHZ_INTERVAL;
        if due > now + AUTHZ_INTERVAL * AUTHZ_BURST {
            return Err(RefusalCode::RateLimited);
        }
        source.due = due;
        Ok(())
    }

    pub(super) fn kept(&self, from: Prefix) -> usize {
        self.known.get(&from).map_or(0, |source| source.kept)
    }

    pub(super) fn keeps(&mut self, from: Prefix) {
        self.known.entry(from).or_insert(Source { kept: 0, due: Duration::ZERO }).kept += 1;
    }

    pub(super) fn lets_go(&mut self, from: Prefix) {
        if let Some(source) = self.known.get_mut(&from) {
            source.kept = source.kept.saturating_sub(1);
        }
    }
}
