//! Counters of the use of each partner token, until provisioning has taken them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;

use hashbrown::HashMap;
use parking_lot::Mutex;
use serde::Serialize;
use tessera_runtime::credential;

use crate::limits::PARTNERS_KEPT;

/// The use of one partner token that provisioning has not taken yet.
#[derive(Default)]
pub struct PartnerUse {
    connects: AtomicU64,
    published: AtomicU64,
    published_bytes: AtomicU64,
    delivered: AtomicU64,
    delivered_bytes: AtomicU64,
}

/// The same as numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(super) struct Told {
    pub(super) partner_token: String,
    pub(super) connects: u64,
    pub(super) published: u64,
    pub(super) published_bytes: u64,
    pub(super) delivered: u64,
    pub(super) delivered_bytes: u64,
}

impl PartnerUse {
    /// A connection that was let in.
    pub(crate) fn connected(&self) {
        self.connects.fetch_add(1, Ordering::Relaxed);
    }

    /// A message from the partner, with the bytes of its payload.
    pub(crate) fn published(&self, bytes: usize) {
        self.published.fetch_add(1, Ordering::Relaxed);
        self.published_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Messages to the partner, with the bytes of their packets.
    pub(crate) fn delivered(&self, count: u64, bytes: usize) {
        self.delivered.fetch_add(count, Ordering::Relaxed);
        self.delivered_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    fn told(&self, id: &str) -> Told {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Told {
            partner_token: id.to_owned(),
            connects: of(&self.connects),
            published: of(&self.published),
            published_bytes: of(&self.published_bytes),
            delivered: of(&self.delivered),
            delivered_bytes: of(&self.delivered_bytes),
        }
    }

    fn taken(&self, told: &Told) {
        let off = |counter: &AtomicU64, by| {
            counter.fetch_sub(by, Ordering::Relaxed);
        };
        off(&self.connects, told.connects);
        off(&self.published, told.published);
        off(&self.published_bytes, told.published_bytes);
        off(&self.delivered, told.delivered);
        off(&self.delivered_bytes, told.delivered_bytes);
    }
}

impl Told {
    fn is_nothing(&self) -> bool {
        let Self { connects, published, delivered, .. } = self;
        *connects == 0 && *published == 0 && *delivered == 0
    }
}

/// The counters of all partner tokens, by their public names.
#[derive(Default)]
pub(crate) struct Uses(Mutex<HashMap<String, Arc<PartnerUse>>>);

impl Uses {
    /// The counters of this token. `None` when as many are kept as may be: its connection is served, and not counted.
    pub(crate) fn of(&self, token: &str) -> Option<Arc<PartnerUse>> {
        let (id, mut all) = (credential::id(token), self.0.lock());
        if all.len() >= PARTNERS_KEPT && !all.contains_key(&id) {
            return None;
        }
        Some(Arc::clone(all.entry(id).or_default()))
    }

    /// Those that have something to tell.
    pub(super) fn told(&self) -> Vec<Told> {
        let all = self.0.lock();
        let told = all.iter().map(|(id, counters)| counters.told(id));
        told.filter(|told| !told.is_nothing()).collect()
    }

    /// Provisioning has taken this. Counters without a connection that have nothing to tell are forgotten.
    pub(super) fn taken(&self, told: &[Told]) {
        let mut all = self.0.lock();
        for one in told {
            if let Some(counters) = all.get(&one.partner_token) {
                counters.taken(one);
            }
        }
        all.retain(|id, counters| {
            Arc::strong_count(counters) > 1 || !counters.told(id).is_nothing()
        });
    }
}
