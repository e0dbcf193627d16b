//! Which places are worth least, by one look at all of them that serves many newcomers.
//!
//! To look at 16,384 places takes a third of a millisecond and more, under the lock of the book, and 2,000 newcomers come
//! in a second. So of many places those that are worth least are kept in order for [`SERVER_RANKING`]. One that has done
//! something since keeps its place; one that has become worth less in the meantime is found by the next look.

use std::cmp::Reverse;
use std::sync::{Arc, Weak};

use super::place::{Place, Worth, STALLED};
use crate::limits::{SERVER_EVICTED, SERVER_LOOK, SERVER_RANKED, SERVER_RANKING};

/// The places that a look found to be worth least.
#[derive(Default)]
pub(super) struct Ranking {
    /// When all were looked at.
    pub(super) looked: Option<u64>,
    /// The least last.
    least: Vec<(Worth, Weak<Place>)>,
}

impl Ranking {
    /// Whether all of `count` places are to be looked at before this ranking is used.
    pub(super) fn is_over(&self, count: usize, now: u64) -> bool {
        count <= SERVER_RANKED || self.age(now) >= SERVER_RANKING.as_millis() as u64
    }

    /// Whether they may be looked at because it is used up. Else newcomers wait: what can end nothing, since all are being
    /// answered, is not looked through for each of them.
    pub(super) fn may_look(&self, now: u64) -> bool {
        self.age(now) >= SERVER_LOOK.as_millis() as u64
    }

    fn age(&self, now: u64) -> u64 {
        self.looked.map_or(u64::MAX, |looked| now.saturating_sub(looked))
    }

    /// Looks at all `places`.
    pub(super) fn look<'a>(&mut self, places: impl Iterator<Item = &'a Arc<Place>>, now: u64) {
        let mut ranked: Vec<_> =
            places.filter_map(|place| Some((place.worth(now)?, place))).collect();
        if ranked.len() > SERVER_RANKED {
            ranked.select_nth_unstable_by_key(SERVER_RANKED, |(worth, _)| *worth);
            ranked.truncate(SERVER_RANKED);
        }
        ranked.sort_unstable_by_key(|(worth, _)| Reverse(*worth));
        self.least =
            ranked.into_iter().map(|(worth, place)| (worth, Arc::downgrade(place))).collect();
        self.looked = Some(now);
    }

    /// Takes those that make room for a newcomer: the one that is worth least, and with it several that are worth nothing,
    /// so that a flood leaves room for the next ones. `end` says whether a place was still there.
    pub(super) fn take(&mut self, now: u64, mut end: impl FnMut(&Place) -> bool) -> Option<()> {
        let mut ended = 0;
        while let Some((was, place)) =
            self.least.pop_if(|((kind, ..), _)| ended == 0 || *kind <= STALLED)
        {
            let Some(place) = place.upgrade() else { continue };
            if place.worth(now).is_some_and(|worth| worth <= was) && end(&place) {
                ended += 1;
            }
            if ended == SERVER_EVICTED {
                break;
            }
        }
        (ended > 0).then_some(())
    }
}
