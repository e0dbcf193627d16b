use tessera_runtime::store::{Batch, Store, StoreError, Table};
use tessera_token::ids::{DeviceId, TenantId};

use super::profile::Profile;
use super::tracker::{Group, Name, Tracker};

const PAGE: usize = 1000;

/// Profiles at rest: one row a device (`tenant/device`), one a group (`tenant/number`). Neither id can hold `/`.
pub(super) struct ProfileStore {
    store: Store,
    devices: Table,
    groups: Table,
}

impl ProfileStore {
    pub(super) fn new(store: &Store) -> Result<Self, StoreError> {
        Ok(Self {
            store: store.clone(),
            devices: store.table("behaviour_devices")?,
            groups: store.table("behaviour_groups")?,
        })
    }

    /// Puts everything stored back; how many rows could not be read, and are learned anew.
    pub(super) fn restore(&self, tracker: &mut Tracker) -> Result<usize, StoreError> {
        let mut unread = 0;
        each(&self.devices, |tenant, device, row| {
            let name = (TenantId::parse(tenant).ok()).zip(DeviceId::parse(device).ok());
            match name.zip(Profile::from_record(row).ok()) {
                Some(((tenant, device), profile)) => {
                    tracker.restore(Name { tenant, device }, profile);
                }
                None => unread += 1,
            }
        })?;
        each(&self.groups, |tenant, number, row| {
            let name = (TenantId::parse(tenant).ok()).zip(number.parse().ok());
            match name.zip(Group::from_record(row).ok()) {
                Some(((tenant, number), group)) => tracker.restore_group(tenant, number, group),
                None => unread += 1,
            }
        })?;
        Ok(unread)
    }

    /// Writes these profiles, and removes those that were let go.
    pub(super) fn save_some(
        &self,
        tracker: &mut Tracker,
        names: &[Name],
    ) -> Result<(), StoreError> {
        let mut batch = Batch::new();
        for name in tracker.take_evicted() {
            batch.delete(&self.devices, key(&name));
        }
        for name in names {
            if let Some(record) = tracker.record(name) {
                batch.put(&self.devices, key(name), record);
            }
        }
        match batch.is_empty() {
            true => Ok(()),
            false => self.store.commit_blocking(batch),
        }
    }

    pub(super) fn save_groups(&self, tracker: &Tracker) -> Result<(), StoreError> {
        let mut batch = Batch::new();
        for (tenant, number, group) in tracker.groups() {
            batch.put(&self.groups, format!("{tenant}/{number}"), group.to_record());
        }
        self.store.commit_blocking(batch)
    }
}

fn key(name: &Name) -> String {
    format!("{}/{}", name.tenant, name.device)
}

fn each(table: &Table, mut row: impl FnMut(&str, &str, &[u8])) -> Result<(), StoreError> {
    let mut after: Option<Vec<u8>> = None;
    loop {
        let page = table.scan_prefix(&[], after.as_deref(), PAGE)?;
        for (key, value) in &page {
            let text = std::str::from_utf8(key).unwrap_or_default();
            let (tenant, rest) = text.split_once('/').unwrap_or_default();
            row(tenant, rest, value);
        }
        match page.into_iter().next_back() {
            Some((key, _)) => after = Some(key),
            None => return Ok(()),
        }
    }
}
