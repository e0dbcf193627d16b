use std::sync::Arc;

use parking_lot::{RwLock, RwLockUpgradableReadGuard};

use crate::limits::METRIC_SERIES;

const OTHER: &str = "other";

/// The series of one family by their label values: bounded, so that no peer can grow memory by inventing values. In the
/// order of the values, so that one is found without a copy of them.
pub(super) struct SeriesSet<M> {
    width: usize,
    seen: RwLock<Vec<(Values, M)>>,
}

type Values = Box<[Box<str>]>;

impl<M> SeriesSet<M> {
    pub(super) fn shared(width: usize) -> Arc<Self> {
        Arc::new(Self { width, seen: RwLock::default() })
    }

    /// Does something with the series of these labels, or with that of `other` in each place once the family is full.
    /// `make` takes a new one from the family. Nothing is done for a wrong number of labels.
    pub(super) fn with<T>(
        &self,
        labels: &[&str],
        make: impl FnOnce(&[&str]) -> prometheus::Result<M>,
        act: impl FnOnce(&M) -> T,
    ) -> Option<T> {
        if labels.len() != self.width {
            return None;
        }
        if let Ok(series) = find(&self.seen.read(), labels) {
            return Some(act(series));
        }
        let seen = self.seen.upgradable_read();
        let others = vec![OTHER; self.width];
        let labels = if seen.len() < METRIC_SERIES { labels } else { &others };
        let place = match find(&seen, labels) {
            Ok(series) => return Some(act(series)),
            Err(place) => place,
        };
        let series = make(labels).ok()?;
        let done = act(&series);
        let values = labels.iter().map(|value| Box::from(*value)).collect();
        RwLockUpgradableReadGuard::upgrade(seen).insert(place, (values, series));
        Some(done)
    }
}

/// The series of these values, or the place where it belongs.
fn find<'s, M>(seen: &'s [(Values, M)], labels: &[&str]) -> Result<&'s M, usize> {
    let order =
        |(values, _): &(Values, M)| values.iter().map(|value| &**value).cmp(labels.iter().copied());
    let place = seen.binary_search_by(order)?;
    seen.get(place).map(|(_, series)| series).ok_or(place)
}
