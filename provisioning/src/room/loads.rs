//! Loads of each tenant, and their sum.

use std::collections::HashMap;

use tessera_runtime::store::StoreError;

use super::load::{first, text, Load};
use crate::records::{RevokedRow, TenantRecord};
use crate::tables::{second, Tables};

/// Loads of each tenant, and their sum.
#[derive(Debug, Default)]
pub(crate) struct Loads {
    all: Load,
    of: HashMap<String, Load>,
}

impl Loads {
    pub(crate) fn all(&self) -> &Load {
        &self.all
    }

    pub(super) fn of(&self, tenant: &str) -> Load {
        self.of.get(tenant).copied().unwrap_or_default()
    }

    /// How many tenants have any.
    pub(super) fn tenants(&self) -> usize {
        self.of.len()
    }

    pub(super) fn others<'a>(&'a self, tenant: &'a str) -> impl Iterator<Item = &'a Load> {
        self.of.iter().filter(move |(name, _)| *name != tenant).map(|(_, load)| load)
    }

    pub(super) fn add(&mut self, tenant: &str, load: &Load) {
        if *load == Load::default() {
            return;
        }
        self.all = self.all.plus(load);
        let of = self.of.entry(tenant.to_owned()).or_default();
        *of = of.plus(load);
    }

    pub(super) fn add_all(&mut self, others: &Self) {
        others.of.iter().for_each(|(tenant, load)| self.add(tenant, load));
    }

    pub(super) fn remove(&mut self, tenant: &str, load: &Load) {
        self.all = self.all.minus(load);
        let Some(of) = self.of.get_mut(tenant) else { return };
        *of = of.minus(load);
        if *of == Load::default() {
            self.of.remove(tenant);
        }
    }

    /// Everything that there is.
    pub(crate) fn of_all(tables: &Tables) -> Result<Self, StoreError> {
        let mut sum = Self::default();
        let mut publishing = Vec::new();
        for row in tables.tenants.rows(&[], None) {
            let (key, value) = row?;
            let tenant = text(&key);
            sum.add(&tenant, &Load::tenant(&tenant));
            if tables.tenants.decode::<TenantRecord>(&value)?.keys_published {
                publishing.push(tenant);
            }
        }
        for tenant in &publishing {
            sum.add(tenant, &Load::of_device_keys(tables, tenant)?);
        }
        let named = |sum: &mut Self, key: &[u8], load: fn(&str, &str) -> Load| {
            let tenant = text(first(key));
            sum.add(&tenant, &load(&tenant, &text(second(key))));
        };
        for row in tables.groups.rows(&[], None) {
            let (key, _) = row?;
            named(&mut sum, &key, Load::group);
        }
        for row in tables.keys.rows(&[], None) {
            let (key, _) = row?;
            let tenant = text(first(&key));
            sum.add(&tenant, &Load::key(&tenant));
        }
        for row in tables.moved_devices.rows(&[], None) {
            let (key, _) = row?;
            named(&mut sum, &key, Load::device);
        }
        for row in tables.revoked_tokens.rows(&[], None) {
            let (_, value) = row?;
            let row: RevokedRow = tables.revoked_tokens.decode(&value)?;
            sum.add(&row.tenant, &Load::token(&row.tenant, &row.device));
        }
        Ok(sum)
    }
}
