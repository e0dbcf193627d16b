//! Profiles at rest: one row a device (`tenant/device`), one a group (`tenant/number`), one a tenant. No id can hold `/`.

use hashbrown::HashSet;
use tessera_behaviour::engine::{Engine, Turn};
use tessera_runtime::random::{self, Random, RandomError};
use tessera_runtime::store::{Batch, Store, StoreError, Table};

use crate::limits;

const PAGE: usize = 1000;
const SEED: &str = "seed";
/// Tables of the tracker of former versions, whose profiles say nothing to the engine.
const FORMER: [&str; 2] = ["behaviour_devices", "behaviour_groups"];

/// The tables of profiles.
pub(super) struct ProfileStore {
    store: Store,
    devices: Table,
    groups: Table,
    tenants: Table,
    seed: Table,
    /// Tables of former versions that still have rows.
    former: Vec<Table>,
    /// Rows of profiles that were let go, and are still to be removed.
    removed: HashSet<String>,
    /// Rows that stay until the next start, since too many waited to be removed.
    pub(super) rows_left: u64,
}

impl ProfileStore {
    pub(super) fn new(store: &Store) -> Result<Self, StoreError> {
        let former: Result<_, _> = FORMER.iter().map(|name| store.table(name)).collect();
        Ok(Self {
            store: store.clone(),
            devices: store.table("behaviour_profiles")?,
            groups: store.table("behaviour_group_profiles")?,
            tenants: store.table("behaviour_tenant_profiles")?,
            seed: store.table("behaviour_seed")?,
            former: former?,
            removed: HashSet::new(),
            rows_left: 0,
        })
    }

    /// The number of this observer, by which profiles mark names. It is drawn once.
    pub(super) fn seed(&self, random: &dyn Random) -> Result<u64, SeedError> {
        let kept = self.seed.get(SEED).map_err(SeedError::Store)?;
        if let Some(kept) = kept.and_then(|kept| <[u8; 8]>::try_from(&kept[..]).ok()) {
            return Ok(u64::from_le_bytes(kept));
        }
        let drawn = random::number(random).map_err(SeedError::Random)?;
        let mut batch = Batch::new();
        batch.put(&self.seed, SEED, drawn.to_le_bytes());
        self.store.commit_blocking(batch).map_err(SeedError::Store)?;
        Ok(drawn)
    }

    /// Puts everything stored back; how many rows could not be read, and are learned anew.
    pub(super) fn restore(&mut self, engine: &mut Engine) -> Result<usize, StoreError> {
        let (mut unread, mut without_room) = (0, Vec::new());
        each(&self.tenants, |tenant, _, row| {
            unread += usize::from(engine.restore_tenant(tenant, row).is_err());
        })?;
        each(&self.groups, |tenant, number, row| {
            let is_read = number
                .parse()
                .is_ok_and(|number| engine.restore_group(tenant, number, row).is_ok());
            unread += usize::from(!is_read);
        })?;
        each(&self.devices, |tenant, device, row| match engine.restore(tenant, device, row) {
            Ok(true) => {}
            Ok(false) => without_room.push(key(tenant, device)),
            Err(_) => unread += 1,
        })?;
        without_room.into_iter().for_each(|key| self.remove(key));
        Ok(unread)
    }

    /// Writes these profiles, and removes those that were let go; tells how many were written. Profiles that could not be
    /// written are written in a later round.
    pub(super) fn save_some(
        &mut self,
        engine: &mut Engine,
        names: &[(String, String)],
    ) -> Result<usize, StoreError> {
        for (tenant, device) in engine.take_evicted() {
            self.remove(key(&tenant, &device));
        }
        let mut batch = Batch::new();
        let mut written = Vec::new();
        for (tenant, device) in names {
            if let Some(record) = engine.record(tenant, device) {
                let key = key(tenant, device);
                // It was let go, and came back.
                self.removed.remove(&key);
                batch.put(&self.devices, key, record);
                written.push((tenant.clone(), device.clone()));
            }
        }
        let removed = self.removed.iter().take(limits::PROFILES_PER_BATCH).cloned();
        let removed: Vec<String> = removed.collect();
        for key in &removed {
            self.removed.remove(key);
            batch.delete(&self.devices, key.as_str());
        }
        match self.commit(batch) {
            Ok(()) => Ok(written.len()),
            Err(error) => {
                engine.not_written(&written);
                self.removed.extend(removed);
                Err(error)
            }
        }
    }

    /// Whether rows wait to be removed.
    pub(super) fn has_removed(&self) -> bool {
        !self.removed.is_empty()
    }

    /// Has a row removed with the next batches, when there is room to remember it.
    pub(super) fn remove(&mut self, key: String) {
        if self.removed.len() < limits::PROFILES_EVICTED {
            self.removed.insert(key);
        } else {
            self.rows_left += 1;
        }
    }

    /// Writes the groups of this turn that changed, and the tenants.
    pub(super) fn save_groups(&self, engine: &mut Engine, turn: Turn) -> Result<(), StoreError> {
        let groups = engine.group_records(turn);
        let mut batch = Batch::new();
        for (tenant, number, record) in &groups {
            batch.put(&self.groups, format!("{tenant}/{number}"), record.clone());
        }
        for (tenant, record) in engine.tenant_records() {
            batch.put(&self.tenants, tenant, record);
        }
        self.commit(batch).inspect_err(|_| engine.groups_not_written(&groups))
    }

    /// Removes some of the rows of former versions.
    pub(super) fn forget_former(&mut self) -> Result<(), StoreError> {
        while let Some(table) = self.former.last() {
            let rows = table.scan_prefix(&[], None, PAGE)?;
            if rows.is_empty() {
                self.former.pop();
                continue;
            }
            let mut batch = Batch::new();
            for (key, _) in rows {
                batch.delete(table, key);
            }
            return self.commit(batch);
        }
        Ok(())
    }

    fn commit(&self, batch: Batch) -> Result<(), StoreError> {
        match batch.is_empty() {
            true => Ok(()),
            false => self.store.commit_blocking(batch),
        }
    }
}

/// Why the number of this observer is not known.
pub(super) enum SeedError {
    Store(StoreError),
    Random(RandomError),
}

fn key(tenant: &str, device: &str) -> String {
    format!("{tenant}/{device}")
}

fn each(table: &Table, mut row: impl FnMut(&str, &str, &[u8])) -> Result<(), StoreError> {
    let mut after: Option<Vec<u8>> = None;
    loop {
        let page = table.scan_prefix(&[], after.as_deref(), PAGE)?;
        for (key, value) in &page {
            let text = std::str::from_utf8(key).unwrap_or_default();
            let (tenant, rest) = text.split_once('/').unwrap_or((text, ""));
            row(tenant, rest, value);
        }
        match page.into_iter().next_back() {
            Some((key, _)) => after = Some(key),
            None => return Ok(()),
        }
    }
}
