use tessera_runtime::store::{Batch, Store, StoreError, Table};
use tessera_token::ids::{DeviceId, TenantId};

use super::profile::Profile;
use super::tracker::{Group, Name, Tracker, Turn};

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

    /// Writes these profiles, and removes those that were let go; tells how many were written. Profiles that could not be
    /// written are written in a later round.
    pub(super) fn save_some(
        &self,
        tracker: &mut Tracker,
        names: &[Name],
    ) -> Result<usize, StoreError> {
        let mut batch = Batch::new();
        let evicted = tracker.take_evicted();
        for name in &evicted {
            batch.delete(&self.devices, key(name));
        }
        let mut written = Vec::new();
        for name in names {
            if let Some(record) = tracker.record(name) {
                batch.put(&self.devices, key(name), record);
                written.push(name.clone());
            }
        }
        match self.commit(batch) {
            Ok(()) => Ok(written.len()),
            Err(error) => {
                tracker.not_written(&written);
                tracker.not_removed(evicted);
                Err(error)
            }
        }
    }

    /// Writes the groups of this turn that changed.
    pub(super) fn save_groups(&self, tracker: &mut Tracker, turn: Turn) -> Result<(), StoreError> {
        let groups = tracker.changed_groups(turn);
        let mut batch = Batch::new();
        for (tenant, number, record) in &groups {
            batch.put(&self.groups, format!("{tenant}/{number}"), record.clone());
        }
        self.commit(batch).inspect_err(|_| tracker.groups_not_written(groups))
    }

    fn commit(&self, batch: Batch) -> Result<(), StoreError> {
        match batch.is_empty() {
            true => Ok(()),
            false => self.store.commit_blocking(batch),
        }
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
