//! Restrictions beside the rights of tokens: rules of tenants, and devices that are held back.

use std::sync::Arc;

use tessera_token::ids::{DeviceId, TenantId};
use tessera_token::time::UnixSeconds;
use tessera_token::trust::{Restraint, RuleEntry, Step, TenantSet};

use super::effect::TrustEffect;
use super::names::{DeviceKey, DeviceName, GroupName};
use super::refusal::TrustRefusal;
use super::state::{room, TrustState};
use crate::limits;
use crate::rulebook::Rulebook;

/// How a device is held back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Restrained {
    /// The step; `Released` says that what held it back before `at` is over.
    pub step: Step,
    /// Since when.
    pub at: UnixSeconds,
    /// The first second after it.
    pub until: UnixSeconds,
}

impl TrustState {
    /// The rules of a tenant; `None` without any.
    pub fn rulebook(&self, tenant: &TenantId) -> Option<&Arc<Rulebook>> {
        self.rulebooks.get(tenant)
    }

    /// The rules of every tenant that has some.
    pub fn rulebooks(&self) -> impl Iterator<Item = (&TenantId, &Arc<Rulebook>)> {
        self.rulebooks.iter()
    }

    /// The last word about how a device is held back.
    pub fn restrained(&self, tenant: &TenantId, device: &DeviceId) -> Option<Restrained> {
        let name = DeviceName { tenant: tenant.as_str(), device: device.as_str() };
        self.restraints.get(&name).copied()
    }

    /// The name of a group, when it is known here.
    pub fn group_name(&self, tenant: &TenantId, number: u64) -> Option<&Arc<str>> {
        self.group_names.get(&GroupName { tenant: tenant.as_str(), number })
    }

    pub(super) fn apply_rule(&mut self, entry: &RuleEntry) -> Result<TrustEffect, TrustRefusal> {
        let before = self.rulebooks.get(&entry.tenant);
        let used: usize = self.rulebooks.values().map(|book| book.len()).sum();
        let is_known = before.is_some_and(|book| book.has(&entry.id));
        room(is_known || entry.rule.is_empty(), used, limits::TRUST_RULES)?;
        let floor = self.trusted_at.unwrap_or(UnixSeconds::new(0));
        let book = Rulebook::after(before.map(Arc::as_ref), entry, floor);
        let books = Arc::make_mut(&mut self.rulebooks);
        match book {
            Some(book) => drop(books.insert(entry.tenant.clone(), Arc::new(book))),
            None => drop(books.remove(&entry.tenant)),
        }
        Ok(TrustEffect::Rules(entry.tenant.clone()))
    }

    pub(super) fn apply_restraint(
        &mut self,
        entry: Restraint,
    ) -> Result<TrustEffect, TrustRefusal> {
        let key = DeviceKey { tenant: entry.tenant.clone(), device: entry.device.clone() };
        room(self.restraints.get(&key).is_some(), self.restraints.len(), limits::TRUST_RESTRAINTS)?;
        let Restraint { tenant, device, step, at, until } = entry;
        self.restraints.insert(key, Restrained { step, at, until });
        Ok(TrustEffect::Restraint { tenant, device })
    }

    /// Lets go of what is over at `expired`.
    pub(super) fn prune_restrictions(&mut self, expired: UnixSeconds) {
        self.restraints.retain(|restrained| restrained.until >= expired);
        if self.rulebooks.values().any(|book| book.has_ended(expired)) {
            let books = std::mem::take(Arc::make_mut(&mut self.rulebooks));
            let alive = books.into_iter().filter_map(|(tenant, book)| {
                let book = match book.has_ended(expired) {
                    true => Arc::new(book.alive_at(&tenant, expired)?),
                    false => book,
                };
                Some((tenant, book))
            });
            self.rulebooks = Arc::new(alive.collect());
        }
    }

    /// Lets go of everything that concerns other tenants than these.
    pub(super) fn narrow_restrictions_to(&mut self, tenants: &TenantSet) {
        Arc::make_mut(&mut self.group_names).retain(|key, _| tenants.contains(&key.tenant));
        Arc::make_mut(&mut self.rulebooks).retain(|tenant, _| tenants.contains(tenant));
        self.restraints.retain_keys(|key| tenants.contains(&key.tenant));
    }
}
