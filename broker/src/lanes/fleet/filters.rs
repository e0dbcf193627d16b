//! Which filters are in use, and which commit log each one has.

use super::logs::{Log, LogPool};
use super::tree::FilterTree;
use hashbrown::HashMap;
use parking_lot::{Mutex, RwLock};
use std::sync::Arc;
use tessera_token::ids::TenantId;
use tessera_token::topic::TopicFilter;

/// Filters of all tenants. Publishing reads, subscribing writes.
#[derive(Default)]
pub(super) struct Filters {
    trees: RwLock<HashMap<TenantId, FilterTree<InUse>>>,
    pool: Mutex<LogPool>,
}

#[derive(Clone)]
struct InUse {
    log: Log,
    readers: usize,
}

/// The right to read the log of one filter; the log is free again when its last claim is dropped.
pub(super) struct Claim {
    filters: Arc<Filters>,
    tenant: TenantId,
    filter: TopicFilter,
    log: Log,
}

impl Filters {
    /// Claims the log of a filter. `None` when no log is free.
    pub(super) fn claim(
        self: &Arc<Self>,
        tenant: &TenantId,
        filter: &TopicFilter,
    ) -> Option<Claim> {
        let mut trees = self.trees.write();
        let tree = trees.entry(tenant.clone()).or_default();
        let log = match tree.remove(filter) {
            Some(known) => {
                let log = known.log.clone();
                tree.put(filter, InUse { readers: known.readers + 1, ..known });
                log
            }
            None => {
                let log = self.pool.lock().take(filter)?;
                tree.put(filter, InUse { log: log.clone(), readers: 1 });
                log
            }
        };
        drop(trees);
        Some(Claim {
            filters: Arc::clone(self),
            tenant: tenant.clone(),
            filter: filter.clone(),
            log,
        })
    }

    /// The logs of all filters that match. Allocates only when there is one.
    pub(super) fn logs_of(&self, tenant: &TenantId, topic: &str) -> Vec<Log> {
        let mut logs = Vec::new();
        if let Some(tree) = self.trees.read().get(tenant) {
            tree.matching(topic, |in_use| logs.push(in_use.log.clone()));
        }
        logs
    }

    fn release(&self, claim: &Claim) {
        let mut trees = self.trees.write();
        let Some(tree) = trees.get_mut(&claim.tenant) else { return };
        let Some(known) = tree.remove(&claim.filter) else { return };
        if known.readers > 1 {
            tree.put(&claim.filter, InUse { readers: known.readers - 1, ..known });
            return;
        }
        if tree.is_empty() {
            trees.remove(&claim.tenant);
        }
        drop(trees);
        self.pool.lock().give_back(known.log);
    }
}

impl Claim {
    pub(super) fn log(&self) -> &Log {
        &self.log
    }

    pub(super) fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    pub(super) fn filter(&self) -> &TopicFilter {
        &self.filter
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.filters.release(self);
    }
}
