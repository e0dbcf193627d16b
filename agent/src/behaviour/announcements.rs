//! Changes of groups that operators announced, on their way from the trust data to the engine.

use std::sync::Arc;

use tessera_behaviour::observation::{Event, Observation, UnixMillis};

use crate::announced::Announced;

/// Reads the announcements as they are now.
pub(crate) type Announcements = Box<dyn Fn() -> Announced + Send>;

/// The announcements that the engine knows.
pub(super) struct Told {
    read: Announcements,
    told: Announced,
}

impl Told {
    pub(super) fn new(read: Announcements) -> Self {
        Self { read, told: Announced::default() }
    }

    /// Hands on what changed since the last call. An announcement that is gone is over now.
    pub(super) fn follow(&mut self, now: UnixMillis, mut tell: impl FnMut(&Observation<'_>)) {
        let present = (self.read)();
        if Arc::ptr_eq(&present, &self.told) {
            return;
        }
        let gone = self.told.keys().filter(|name| !present.contains_key(*name));
        let over = gone.map(|name| (name, now));
        let news = present.iter().filter(|(name, until)| self.told.get(*name) != Some(*until));
        let news = news.map(|(name, until)| (name, until.get().saturating_mul(1000)));
        for ((tenant, group), until) in over.chain(news) {
            let event = Event::Announced { group: *group, until };
            tell(&Observation { at: now, tenant: tenant.as_str(), device: "", session: 0, event });
        }
        self.told = present;
    }
}
