//! Rows that a verifier of some tenants stores of an answer. A view without events is worth no write of its own: it waits for
//! the next one with events, or for the next heartbeat that is stored. A crash forgets it, and it is asked for again.

use tessera_runtime::store::StoreError;
use tessera_token::trust::{BoundFeed, FeedAnswer};

use super::{SyncCore, Unstored};
use crate::limits;
use crate::trust::{Applied, Viewed};

impl SyncCore {
    /// Stores what was taken of an answer; `first` is the number behind the place before it.
    pub(super) fn store_answer(
        &mut self,
        first: u64,
        answer: &FeedAnswer,
        applied: &Applied,
    ) -> Result<(), StoreError> {
        match answer {
            FeedAnswer::All(feed) => self.store_feed(first, feed, applied),
            FeedAnswer::Bound(bound) => self.store_view(bound, applied),
        }
    }

    fn store_view(&mut self, bound: &BoundFeed, applied: &Applied) -> Result<(), StoreError> {
        let taken = || bound.feed.events.iter().take(applied.taken);
        if let Some(unstored) = &mut self.unstored {
            if applied.moved {
                unstored.add_view(&bound.view, taken());
            }
            return Ok(());
        }
        if applied.broken && applied.moved {
            // A view without all of its events is none for the store: the snapshot that is asked for now holds the good
            // ones in front of the bad one.
            let views = std::mem::take(&mut self.waiting);
            self.not_stored(&views).add_view(&bound.view, taken());
            return Ok(());
        }
        if applied.moved {
            let (seq, view) = (applied.state.seq(), bound.view.clone());
            self.waiting.push(Viewed { seq, view, events: bound.feed.events.clone() });
        }
        let beat_due = applied.beat && self.beat_due();
        let full = self.waiting.len() >= limits::TRUST_VIEWS_WAITING;
        if applied.taken == 0 && !beat_due && !full {
            return Ok(());
        }
        let beat = applied.state.confirmed_at().filter(|_| applied.beat);
        let beat = beat.map(|signed| (bound.feed.heartbeat.as_slice(), signed));
        let views = std::mem::take(&mut self.waiting);
        if let Err(error) = self.store.save_views(&views, beat) {
            self.not_stored(&views);
            return Err(error);
        }
        self.stored += views.iter().map(|view| 1 + view.events.len()).sum::<usize>();
        self.saved_beat = applied.beat.then(|| self.trust.monotonic());
        Ok(())
    }
    fn not_stored(&mut self, views: &[Viewed]) -> &mut Unstored {
        let unstored = self.unstored.get_or_insert_default();
        for Viewed { view, events, .. } in views {
            unstored.add_view(view, events.iter());
        }
        unstored
    }
}
