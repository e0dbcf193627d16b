//! Shares: how much one device, one tenant and all clients together may hold of what the broker keeps for them.
//!
//! The [`Account`] of a device counts what its sessions hold, its tenant counts all its devices, and the whole counts all
//! tenants. A request beyond one of the three is refused to the client that asks, and counted in `limits_hit_total`;
//! others are served. A session takes bytes in steps ([`Holding`]), so that one that keeps up touches no counter that it
//! shares with others.

mod holding;
#[cfg(test)]
pub(crate) mod tests;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use hashbrown::HashMap;
use parking_lot::Mutex;
use tessera_runtime::metrics::Counter;
use tessera_token::ids::{DeviceId, TenantId};

pub(crate) use holding::Holding;

/// A resource that is shared out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Bytes of messages that wait for sessions, are under way to them, or were received and not released.
    QueuedBytes,
    /// Subscriptions in the lanes.
    Subscriptions,
    /// Links into the router: wildcard subscriptions and shared groups.
    Links,
    /// Commit logs of the router: filters that no other device had before.
    Logs,
    /// Commit logs of the middle size, and of the largest: without a share of these a filter has a smaller one.
    MiddleLogs,
    /// As [`Kind::MiddleLogs`].
    LargeLogs,
}

const KINDS: usize = 6;

impl Kind {
    /// All of them.
    pub const ALL: [Self; KINDS] = [
        Self::QueuedBytes,
        Self::Subscriptions,
        Self::Links,
        Self::Logs,
        Self::MiddleLogs,
        Self::LargeLogs,
    ];

    /// Labels of `limits_hit_total`: of a device, of a tenant, in all.
    const fn labels(self) -> [&'static str; 3] {
        match self {
            Self::QueuedBytes => {
                ["queued_bytes_per_device", "queued_bytes_per_tenant", "queued_bytes_in_all"]
            }
            Self::Subscriptions => {
                ["subscriptions_per_device", "subscriptions_per_tenant", "subscriptions_in_all"]
            }
            Self::Links => ["links_per_device", "links_per_tenant", "links_in_all"],
            Self::Logs => ["logs_per_device", "logs_per_tenant", "logs_in_all"],
            Self::MiddleLogs => {
                ["middle_logs_per_device", "middle_logs_per_tenant", "middle_logs_in_all"]
            }
            Self::LargeLogs => {
                ["large_logs_per_device", "large_logs_per_tenant", "large_logs_in_all"]
            }
        }
    }

    /// Its name as the label of a gauge.
    pub const fn label(self) -> &'static str {
        match self {
            Self::QueuedBytes => "queued_bytes",
            Self::Subscriptions => "subscriptions",
            Self::Links => "links",
            Self::Logs => "logs",
            Self::MiddleLogs => "middle_logs",
            Self::LargeLogs => "large_logs",
        }
    }
}

/// The most of one kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Most {
    /// Of one device or service.
    pub device: usize,
    /// Of one tenant.
    pub tenant: usize,
    /// In all.
    pub all: usize,
}

/// The most of every kind, in the order of [`Kind::ALL`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ShareLimits(pub [Most; KINDS]);

#[derive(Default)]
struct Used([AtomicUsize; KINDS]);

/// All accounts.
pub(crate) struct Shares(Arc<All>);

struct All {
    used: Used,
    most: ShareLimits,
    hits: Counter,
    tenants: Mutex<HashMap<TenantId, Weak<OfTenant>>>,
    devices: Mutex<HashMap<(TenantId, DeviceId), Weak<Account>>>,
}

struct OfTenant {
    name: TenantId,
    used: Used,
    all: Arc<All>,
}

/// The resources that one device holds. It lasts as long as something of the device does.
pub struct Account {
    device: DeviceId,
    used: Used,
    tenant: Arc<OfTenant>,
}

/// A part of a share; it is given back when dropped.
pub(crate) struct Part {
    account: Arc<Account>,
    kind: Kind,
    amount: usize,
}

/// A share is used up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct UsedUp;

impl Shares {
    /// No account yet. Refusals are counted in `hits`.
    pub(crate) fn new(most: ShareLimits, hits: Counter) -> Self {
        let (tenants, devices) = (Mutex::default(), Mutex::default());
        Self(Arc::new(All { used: Used::default(), most, hits, tenants, devices }))
    }

    /// The account of a device: the same one for all its sessions.
    pub(crate) fn account(&self, tenant: &TenantId, device: &DeviceId) -> Arc<Account> {
        let key = (tenant.clone(), device.clone());
        let mut devices = self.0.devices.lock();
        if let Some(known) = devices.get(&key).and_then(Weak::upgrade) {
            return known;
        }
        let tenant = self.tenant(tenant);
        let account = Arc::new(Account { device: device.clone(), used: Used::default(), tenant });
        devices.insert(key, Arc::downgrade(&account));
        account
    }

    fn tenant(&self, name: &TenantId) -> Arc<OfTenant> {
        let mut tenants = self.0.tenants.lock();
        if let Some(known) = tenants.get(name).and_then(Weak::upgrade) {
            return known;
        }
        let (used, all) = (Used::default(), Arc::clone(&self.0));
        let made = Arc::new(OfTenant { name: name.clone(), used, all });
        tenants.insert(name.clone(), Arc::downgrade(&made));
        made
    }

    /// How much of a kind is held in all.
    pub(crate) fn held(&self, kind: Kind) -> usize {
        self.0.used.of(kind).load(Ordering::Relaxed)
    }
}

impl Account {
    /// Takes so much, if the device, its tenant and the whole have it left; counts the limit that is hit otherwise.
    pub(crate) fn take(&self, kind: Kind, amount: usize) -> bool {
        self.try_take(kind, amount).inspect_err(|label| self.tenant.all.hits.inc(&[label])).is_ok()
    }

    fn try_take(&self, kind: Kind, amount: usize) -> Result<(), &'static str> {
        let most = self.tenant.all.most.of(kind);
        let [device, tenant, all] = kind.labels();
        let levels = [
            (&self.used, most.device, device),
            (&self.tenant.used, most.tenant, tenant),
            (&self.tenant.all.used, most.all, all),
        ];
        for (level, (used, most, label)) in levels.iter().enumerate() {
            if !used.take(kind, amount, *most) {
                for (below, ..) in levels.iter().take(level) {
                    below.give_back(kind, amount);
                }
                return Err(label);
            }
        }
        Ok(())
    }

    /// Takes so much in any case: it is there already.
    pub(crate) fn force(&self, kind: Kind, amount: usize) {
        for used in [&self.used, &self.tenant.used, &self.tenant.all.used] {
            used.of(kind).fetch_add(amount, Ordering::Relaxed);
        }
    }

    /// Gives so much back.
    pub(crate) fn give_back(&self, kind: Kind, amount: usize) {
        for used in [&self.used, &self.tenant.used, &self.tenant.all.used] {
            used.give_back(kind, amount);
        }
    }

    /// As [`Self::take`], until the part is dropped.
    pub(crate) fn part(self: &Arc<Self>, kind: Kind, amount: usize) -> Result<Part, UsedUp> {
        match self.take(kind, amount) {
            true => Ok(Part { account: Arc::clone(self), kind, amount }),
            false => Err(UsedUp),
        }
    }

    /// As [`Self::part`], for resources that have a substitute: nothing is counted.
    pub(crate) fn part_if_left(self: &Arc<Self>, kind: Kind, amount: usize) -> Option<Part> {
        self.try_take(kind, amount).ok()?;
        Some(Part { account: Arc::clone(self), kind, amount })
    }
}

impl Part {
    /// It is kept, until [`Account::give_back`] is told: many small ones take less room so.
    pub(crate) fn hold(mut self) {
        self.amount = 0;
    }
}

/// As [`Account::part`]; without an account nothing is counted.
pub(crate) fn part(
    account: Option<&Arc<Account>>,
    kind: Kind,
    amount: usize,
) -> Result<Option<Part>, UsedUp> {
    account.map(|account| account.part(kind, amount)).transpose()
}

impl Drop for Part {
    fn drop(&mut self) {
        self.account.give_back(self.kind, self.amount);
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        let key = (self.tenant.name.clone(), self.device.clone());
        forget(&mut self.tenant.all.devices.lock(), &key);
    }
}

impl Drop for OfTenant {
    fn drop(&mut self) {
        forget(&mut self.all.tenants.lock(), &self.name);
    }
}

/// Takes an entry out, unless another one has taken its place meanwhile.
fn forget<K: std::hash::Hash + Eq, T>(known: &mut HashMap<K, Weak<T>>, key: &K) {
    if known.get(key).is_some_and(|one| one.strong_count() == 0) {
        known.remove(key);
    }
}

impl ShareLimits {
    fn of(&self, kind: Kind) -> Most {
        let [queued, subscriptions, links, logs, middle, large] = self.0;
        match kind {
            Kind::QueuedBytes => queued,
            Kind::Subscriptions => subscriptions,
            Kind::Links => links,
            Kind::Logs => logs,
            Kind::MiddleLogs => middle,
            Kind::LargeLogs => large,
        }
    }
}

impl Used {
    fn of(&self, kind: Kind) -> &AtomicUsize {
        let [queued, subscriptions, links, logs, middle, large] = &self.0;
        match kind {
            Kind::QueuedBytes => queued,
            Kind::Subscriptions => subscriptions,
            Kind::Links => links,
            Kind::Logs => logs,
            Kind::MiddleLogs => middle,
            Kind::LargeLogs => large,
        }
    }

    /// Two that ask at once for the last part may both be refused; never do both get it.
    fn take(&self, kind: Kind, amount: usize, most: usize) -> bool {
        let before = self.of(kind).fetch_add(amount, Ordering::Relaxed);
        let fits = before.saturating_add(amount) <= most;
        if !fits {
            self.give_back(kind, amount);
        }
        fits
    }

    fn give_back(&self, kind: Kind, amount: usize) {
        self.of(kind).fetch_sub(amount, Ordering::Relaxed);
    }
}
