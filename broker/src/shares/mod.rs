//! Shares: how much one device, one tenant and all clients together may hold of what the broker keeps for them.
//!
//! The [`Account`] of a device counts what its sessions hold, its tenant counts all its devices, and the whole counts
//! all tenants. A request beyond one of the three is refused to the client that asks, and counted in
//! `limits_hit_total`; others are served. A session takes bytes in steps ([`Holding`]), so that one that keeps up
//! touches no counter that it shares with others.

mod holding;
mod kind;
#[cfg(test)]
pub(crate) mod tests;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use hashbrown::HashMap;
use parking_lot::Mutex;
use tessera_runtime::metrics::Counter;
use tessera_token::ids::{DeviceId, TenantId};

pub(crate) use holding::Holding;
use kind::Level;
pub(crate) use kind::{Kind, PerKind};

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

/// The most of every kind.
pub(crate) type ShareLimits = PerKind<Most>;

#[derive(Default)]
struct Used(PerKind<AtomicUsize>);

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
pub(crate) struct Account {
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
        self.0.used.0.of(kind).load(Ordering::Relaxed)
    }
}

impl Account {
    /// Takes so much, if the device, its tenant and the whole have it left; counts the limit that is hit otherwise.
    pub(crate) fn take(&self, kind: Kind, amount: usize) -> bool {
        let taken = self.try_take(kind, amount);
        taken.inspect_err(|level| self.tenant.all.hits.inc(&[kind.limit(*level)])).is_ok()
    }

    fn try_take(&self, kind: Kind, amount: usize) -> Result<(), Level> {
        let most = self.tenant.all.most.of(kind);
        let most = [most.device, most.tenant, most.all];
        let names = [Level::Device, Level::Tenant, Level::All];
        let levels = self.levels();
        for (place, ((used, most), name)) in levels.iter().zip(most).zip(names).enumerate() {
            if !used.take(kind, amount, most) {
                levels.iter().take(place).for_each(|below| below.give_back(kind, amount));
                return Err(name);
            }
        }
        Ok(())
    }

    /// The counts of the device, its tenant and the whole broker.
    fn levels(&self) -> [&Used; 3] {
        [&self.used, &self.tenant.used, &self.tenant.all.used]
    }

    /// Takes so much in any case: it is there already.
    pub(crate) fn force(&self, kind: Kind, amount: usize) {
        for used in self.levels() {
            used.0.of(kind).fetch_add(amount, Ordering::Relaxed);
        }
    }

    /// Gives so much back.
    pub(crate) fn give_back(&self, kind: Kind, amount: usize) {
        self.levels().iter().for_each(|used| used.give_back(kind, amount));
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
    /// It is kept, until [`Account::give_back`] is called: many small ones take less room so.
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

/// Takes an entry out, unless another one has taken its place since.
fn forget<K: std::hash::Hash + Eq, T>(known: &mut HashMap<K, Weak<T>>, key: &K) {
    if known.get(key).is_some_and(|one| one.strong_count() == 0) {
        known.remove(key);
    }
}

impl Used {
    /// Two that ask at once for the last part may both be refused; never do both get it.
    fn take(&self, kind: Kind, amount: usize, most: usize) -> bool {
        let before = self.0.of(kind).fetch_add(amount, Ordering::Relaxed);
        let fits = before.saturating_add(amount) <= most;
        if !fits {
            self.give_back(kind, amount);
        }
        fits
    }

    fn give_back(&self, kind: Kind, amount: usize) {
        let before = self.0.of(kind).fetch_sub(amount, Ordering::Relaxed);
        debug_assert!(before >= amount, "{kind:?}: {amount} given back of {before}");
    }
}
