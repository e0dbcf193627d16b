//! Loads of each tenant, and their sum.

use std::collections::HashMap;

use tessera_runtime::sql::{Record, Table};
use tessera_runtime::store::StoreError;

use super::load::Load;
use crate::tables::{text, Tables};

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
    pub(crate) async fn of_all(tables: &Tables) -> Result<Self, StoreError> {
        let mut sum = Self::default();
        let mut publishing = Vec::new();
        let mut tenants = tables.tenants.walk(&[]);
        while let Some(page) = tenants.next().await? {
            for (key, record) in page {
                let tenant = text(&key, 0)?;
                sum.add(tenant, &Load::tenant(tenant));
                if record.keys_published {
                    publishing.push(tenant.to_owned());
                }
            }
        }
        for tenant in &publishing {
            sum.add(tenant, &Load::of_device_keys(tables, tenant).await?);
        }
        sum.add_named(&tables.groups, Load::group).await?;
        sum.add_named(&tables.moved_devices, Load::device).await?;
        sum.add_named(&tables.rules, Load::rule).await?;
        sum.add_named(&tables.restraints, Load::restraint).await?;
        let mut keys = tables.keys.walk(&[]);
        while let Some(page) = keys.next().await? {
            for (key, _) in page {
                let tenant = text(&key, 0)?;
                sum.add(tenant, &Load::key(tenant));
            }
        }
        let mut tokens = tables.revoked_tokens.walk(&[]);
        while let Some(page) = tokens.next().await? {
            for (_, row) in page {
                sum.add(&row.tenant, &Load::token(&row.tenant, &row.device));
            }
        }
        Ok(sum)
    }

    /// The rows of a table whose key is a tenant and a name.
    async fn add_named<R: Record>(
        &mut self,
        table: &Table<R>,
        load: fn(&str, &str) -> Load,
    ) -> Result<(), StoreError> {
        let mut rows = table.walk(&[]);
        while let Some(page) = rows.next().await? {
            for (key, _) in page {
                let tenant = text(&key, 0)?;
                self.add(tenant, &load(tenant, text(&key, 1)?));
            }
        }
        Ok(())
    }
}
