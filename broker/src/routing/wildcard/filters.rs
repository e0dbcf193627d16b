//! Which filters are in use, and which commit log each one has.

use super::direct::{DirectReader, Offered, QueuedToLog};
use super::logs::{Log, LogPool, Residue};
use super::tree::FilterTree;
use crate::limits::ROUTER_LOGS_PER_TENANT;
use crate::message::Message;
use crate::routing::per_tenant::{Empties, PerTenant};
use crate::routing::RoutingError;
use crate::shares::{self, Account, Kind, Part};
use parking_lot::Mutex;
use std::sync::Arc;
use tessera_token::ids::TenantId;
use tessera_token::topic::TopicFilter;

/// Filters of all tenants. Publishing reads, subscribing writes.
#[derive(Default)]
pub(super) struct Filters {
    trees: PerTenant<OfTenant>,
    pool: Mutex<LogPool>,
}

#[derive(Default)]
struct OfTenant {
    tree: FilterTree<InUse>,
    logs: usize,
}

impl Empties for OfTenant {
    fn is_empty(&self) -> bool {
        self.tree.is_empty()
    }
}

#[derive(Clone)]
struct InUse {
    log: Log,
    readers: usize,
    /// The share of the device that had it first; it pays until the last reader leaves.
    _paid: Arc<Paid>,
    /// The only reader, if it is one that can be reached past the log.
    direct: Option<Arc<DirectReader>>,
}

/// The parts of a device's shares that a log takes.
#[derive(Default)]
struct Paid {
    _log: Option<Part>,
    _size: Option<Part>,
}

/// A log that a message is to go into.
pub(super) struct Route {
    pub(super) log: Log,
    pub(super) direct: Option<QueuedToLog>,
}

/// Where a message went, and where it is still to go.
#[derive(Default)]
pub(super) struct Found {
    /// Filters that match.
    pub(super) filters: usize,
    /// Readers that have it already.
    pub(super) done: u64,
    /// Readers that miss it: their share is used up.
    pub(super) lost: usize,
    /// Logs that are to get it.
    pub(super) routes: Vec<Route>,
}

/// The right to read the log of one filter; the log is free again when its last claim is dropped.
pub(super) struct Claim {
    filters: Arc<Filters>,
    tenant: TenantId,
    filter: TopicFilter,
    log: Log,
    _link: Option<Part>,
}

impl Filters {
    /// Claims the log of a filter, and the share of a link, for a device. `direct` is the reader, should it stay the
    /// only one.
    ///
    /// # Errors
    /// A share is used up, or no log is free.
    pub(super) fn claim(
        self: &Arc<Self>,
        tenant: &TenantId,
        filter: &TopicFilter,
        direct: Option<&Arc<DirectReader>>,
        account: Option<&Arc<Account>>,
    ) -> Result<Claim, RoutingError> {
        let used_up = |_| RoutingError::ShareUsedUp;
        let link = shares::part(account, Kind::Links, 1).map_err(used_up)?;
        let log =
            self.trees.change(tenant, |OfTenant { tree, logs }| match tree.remove(filter) {
                Some(known) => {
                    let log = known.log.clone();
                    // One that has unsubscribed does not count: its feed just has not ended yet.
                    let alone = known.direct.as_ref().is_some_and(|known| known.has_ended());
                    let direct = direct.filter(|_| alone).cloned();
                    tree.put(filter, InUse { readers: known.readers + 1, direct, ..known });
                    Ok(log)
                }
                None => {
                    if *logs >= ROUTER_LOGS_PER_TENANT {
                        return Err(RoutingError::ShareUsedUp);
                    }
                    let paid = shares::part(account, Kind::Logs, 1).map_err(used_up)?;
                    let taken = self.pool.lock().take(filter, account);
                    let (log, size) = taken.ok_or(RoutingError::QuotaExceeded)?;
                    *logs += 1;
                    let paid = Arc::new(Paid { _log: paid, _size: size });
                    let direct = direct.cloned();
                    tree.put(filter, InUse { log: log.clone(), readers: 1, _paid: paid, direct });
                    Ok(log)
                }
            })?;
        Ok(Claim {
            filters: Arc::clone(self),
            tenant: tenant.clone(),
            filter: filter.clone(),
            log,
            _link: link,
        })
    }

    /// Hands the message to the readers that can be reached past their log, and finds the logs of all others.
    /// Allocates only for these.
    pub(super) fn route(&self, message: &Arc<Message>) -> Found {
        let mut found = Found::default();
        self.trees.read(&message.tenant, |OfTenant { tree, .. }| {
            tree.matching(message.topic.as_str(), |in_use| found.take(in_use, message));
        });
        found
    }

    /// Messages that the logs of the router of this era hold.
    pub(super) fn residue(&self, era: u64) -> Residue {
        self.pool.lock().residue(era)
    }

    fn release(&self, claim: &Claim) {
        let free = self.trees.change(&claim.tenant, |OfTenant { tree, logs }| {
            let known = tree.remove(&claim.filter)?;
            if known.readers > 1 {
                tree.put(&claim.filter, InUse { readers: known.readers - 1, ..known });
                return None;
            }
            *logs -= 1;
            Some(known.log)
        });
        if let Some(log) = free {
            self.pool.lock().give_back(log);
        }
    }
}

impl Found {
    fn take(&mut self, in_use: &InUse, message: &Arc<Message>) {
        let direct = match in_use.direct.as_ref().map(|direct| direct.offer(message)) {
            Some(Offered::Gone) => return,
            Some(Offered::Done) => {
                self.filters += 1;
                self.done += 1;
                return;
            }
            Some(Offered::Lost) => {
                self.filters += 1;
                self.lost += 1;
                return;
            }
            Some(Offered::ToLog(direct)) => Some(direct),
            None => None,
        };
        self.filters += 1;
        self.routes.push(Route { log: in_use.log.clone(), direct });
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routing::testing::tenant;
    use crate::shares::tests::{account, shares_with, ALL_FREE, FREE};
    use crate::shares::{Most, ShareLimits};

    fn claims(filters: &Arc<Filters>, tenant: &TenantId, count: usize) -> Vec<Claim> {
        let filter = |number| TopicFilter::parse(&format!("d/{number}/#")).unwrap();
        (0..count)
            .map_while(|number| filters.claim(tenant, &filter(number), None, None).ok())
            .collect()
    }

    #[test]
    fn a_tenant_leaves_logs_to_others() {
        let filters = Arc::new(Filters::default());
        let (greedy, other) = (tenant("greedy"), tenant("other"));
        let mut held = claims(&filters, &greedy, ROUTER_LOGS_PER_TENANT + 1);
        assert_eq!(held.len(), ROUTER_LOGS_PER_TENANT);
        assert_eq!(claims(&filters, &other, 1_000).len(), 1_000);
        // A filter that it has costs none, and what is given back is there again.
        assert_eq!(claims(&filters, &greedy, 10).len(), 10);
        held.pop();
        let one = TopicFilter::parse("d/+/x").unwrap();
        let _one = filters.claim(&greedy, &one, None, None).unwrap();
        let two = TopicFilter::parse("d/+/y").unwrap();
        let refused = filters.claim(&greedy, &two, None, None).err();
        assert_eq!(refused, Some(RoutingError::ShareUsedUp));
    }

    #[test]
    fn the_largest_logs_are_for_those_who_gather_from_a_fleet() {
        let filters = Arc::new(Filters::default());
        let acme = tenant("acme");
        let claim = |filter: &str| {
            filters.claim(&acme, &TopicFilter::parse(filter).unwrap(), None, None).unwrap()
        };
        // A device in its own subtree.
        let held: Vec<_> = (0..200).map(|number| claim(&format!("d/x/+/n{number}"))).collect();
        assert_eq!((class(&held[0]), class(&held[199])), ("middle".into(), "small".into()));
        assert_eq!(class(&claim("d/+/telemetry")), "large");
        assert_eq!(class(&claim("d/x/#")), "small");
    }

    fn class(claim: &Claim) -> String {
        claim.log.text().split('/').next().unwrap().to_owned()
    }

    #[test]
    fn links_of_one_device_and_of_one_tenant() {
        let links = Most { device: 2, tenant: 3, ..FREE };
        let (shares, hits) = shares_with(ShareLimits { links, ..ALL_FREE });
        let [one, two] = ["d-1", "d-2"].map(|device| account(&shares, "acme", device));
        let filters = Arc::new(Filters::default());
        let (acme, filter) = (tenant("acme"), TopicFilter::parse("a/#").unwrap());
        // A filter that has its log already needs a link for each reader.
        let claim = |account: &Arc<Account>| filters.claim(&acme, &filter, None, Some(account));
        let refused = Some(RoutingError::ShareUsedUp);
        let first = claim(&one).unwrap();
        let _second = claim(&one).unwrap();
        assert_eq!((claim(&one).err(), hits.value(&["links_per_device"])), (refused, 1));
        let _third = claim(&two).unwrap();
        assert_eq!((claim(&two).err(), hits.value(&["links_per_tenant"])), (refused, 1));
        drop(first);
        assert!(claim(&two).is_ok());
    }

    #[test]
    fn scarce_logs_of_one_device_and_of_one_tenant() {
        let (large_logs, middle_logs) =
            (Most { device: 1, tenant: 2, ..FREE }, Most { device: 2, tenant: 3, ..FREE });
        let (shares, hits) = shares_with(ShareLimits { large_logs, middle_logs, ..ALL_FREE });
        let filters = Arc::new(Filters::default());
        let acme = tenant("acme");
        let mut held = Vec::new();
        let mut classes = |device: &str, count: usize| {
            let account = account(&shares, "acme", device);
            let mut classes = Vec::new();
            for number in 0..count {
                let filter = TopicFilter::parse(&format!("+/{device}/{number}")).unwrap();
                let claim = filters.claim(&acme, &filter, None, Some(&account)).unwrap();
                classes.push(class(&claim));
                held.push(claim);
            }
            classes
        };
        assert_eq!(classes("d-1", 5), ["large", "middle", "middle", "small", "small"]);
        assert_eq!(classes("d-2", 3), ["large", "middle", "small"]);
        assert_eq!(classes("d-3", 1), ["small"]);
        // Nothing was refused, so nothing is counted.
        for limit in ["large_logs_per_device", "middle_logs_per_device", "large_logs_per_tenant"] {
            assert_eq!(hits.value(&[limit]), 0);
        }
    }
}
