//! Places of revocations that wait until verifiers have taken them: so many of each share, and so many in all.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::limits::{REVOCATIONS_WAIT, REVOCATIONS_WAIT_OF_SHARE};

/// The revocations that wait, by share.
#[derive(Clone, Default)]
pub(crate) struct Waiting(Arc<Mutex<HashMap<String, usize>>>);

/// A place; given back when dropped.
pub(crate) struct Place {
    share: String,
    waiting: Waiting,
}

impl Waiting {
    /// A place; `None` when the share has no more, or all are taken.
    pub(crate) fn place(&self, share: &str) -> Option<Place> {
        let mut waiting = self.0.lock();
        let of_share = waiting.get(share).copied().unwrap_or(0);
        if of_share >= REVOCATIONS_WAIT_OF_SHARE
            || waiting.values().sum::<usize>() >= REVOCATIONS_WAIT
        {
            return None;
        }
        *waiting.entry(share.to_owned()).or_default() += 1;
        Some(Place { share: share.to_owned(), waiting: self.clone() })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut waiting = self.waiting.0.lock();
        if let Some(count) = waiting.get_mut(&self.share) {
            *count -= 1;
            if *count == 0 {
                waiting.remove(&self.share);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_bounded_for_each_share_and_for_all_and_given_back() {
        let waiting = Waiting::default();
        let first: Vec<_> =
            (0..REVOCATIONS_WAIT_OF_SHARE).map(|_| waiting.place("one").unwrap()).collect();
        assert!(waiting.place("one").is_none());
        let shares = REVOCATIONS_WAIT / REVOCATIONS_WAIT_OF_SHARE - 1;
        let rest: Vec<_> = (0..shares * REVOCATIONS_WAIT_OF_SHARE)
            .map(|number| waiting.place(&format!("n{}", number % shares)).unwrap())
            .collect();
        assert!(waiting.place("more").is_none());
        drop(first);
        assert!(waiting.place("more").is_some());
        drop(rest);
        assert!(waiting.0.lock().is_empty());
    }
}
