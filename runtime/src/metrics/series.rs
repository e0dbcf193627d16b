use std::collections::HashSet;
use std::sync::Arc;

use parking_lot::RwLock;

use crate::limits::METRIC_SERIES;

const OTHER: &str = "other";

/// Which label values of one family were seen: bounded, so that no peer can grow memory by inventing values.
pub(super) struct SeriesSet {
    width: usize,
    seen: RwLock<HashSet<String>>,
}

impl SeriesSet {
    pub(super) fn shared(width: usize) -> Arc<Self> {
        Arc::new(Self { width, seen: RwLock::default() })
    }

    /// The labels to count under: the given ones, or `other` in each place once the family is full.
    pub(super) fn admit<'a>(&self, labels: &[&'a str]) -> Vec<&'a str> {
        if self.width == 0 || labels.len() != self.width {
            return labels.to_vec();
        }
        let key = labels.join("\u{1f}");
        if self.seen.read().contains(&key) {
            return labels.to_vec();
        }
        let mut seen = self.seen.write();
        if seen.len() >= METRIC_SERIES {
            return vec![OTHER; self.width];
        }
        seen.insert(key);
        labels.to_vec()
    }
}
