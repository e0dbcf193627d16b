//! Profiles, groups and tenants as rows of a store: which changed, their bytes, and how they are put back.

use super::device::{read_head, Device};
use super::group::Group;
use super::record::{Flow, RecordError};
use super::tenant::Tenant;
use super::{hash, limits, Engine};

/// Versions of the records of groups and tenants.
const GROUP_VERSION: u8 = 3;
const TENANT_VERSION: u8 = 1;

/// Which profiles one round of writing takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Turn {
    /// All that changed.
    All,
    /// This part, out of so many, of those that changed, and all that have an open alert.
    Part(u32, u32),
}

impl Turn {
    fn is_of(self, mark: u64) -> bool {
        match self {
            Self::All => true,
            Self::Part(part, parts) => {
                let parts = u64::from(parts.max(1));
                mark % parts == u64::from(part) % parts
            }
        }
    }
}

impl Engine {
    fn times(&self) -> (u32, u32) {
        let wall = super::clock::seconds(self.clock.wall_at(self.clock.now));
        (self.clock.seconds(), wall)
    }

    /// Tenant and device of the profiles of this turn that changed since they were last written.
    pub fn changed(&self, turn: Turn) -> Vec<(String, String)> {
        let changed = self.devices.each().filter(|entry| {
            let device = &entry.device;
            let is_of = turn.is_of(hash::mark(0, &entry.name)) || device.episode.is_open();
            device.changed && is_of
        });
        let names = changed.filter_map(|entry| {
            let tenant = self.tenants.get(entry.tenant as usize)?;
            Some((tenant.name.to_string(), entry.name.to_string()))
        });
        names.collect()
    }

    /// The record of a profile that changed; it counts as written.
    pub fn record(&mut self, tenant: &str, device: &str) -> Option<Vec<u8>> {
        let (now, wall) = self.times();
        let place = self.devices.find(*self.tenant_places.get(tenant)?, device)?;
        let entry = self.devices.get_mut(place).filter(|entry| entry.device.changed)?;
        entry.device.changed = false;
        let group = self.groups.get(entry.device.group as usize).map_or(0, |group| group.number);
        Some(entry.device.to_record(group, now, wall))
    }

    /// These were not written after all.
    pub fn not_written(&mut self, names: &[(String, String)]) {
        for (tenant, device) in names {
            let Some(tenant) = self.tenant_places.get(&**tenant) else { continue };
            let place = self.devices.find(*tenant, device);
            if let Some(entry) = place.and_then(|place| self.devices.get_mut(place)) {
                entry.device.changed = true;
            }
        }
    }

    /// Tenant and device of profiles that were let go since this was last asked.
    pub fn take_evicted(&mut self) -> Vec<(Box<str>, Box<str>)> {
        std::mem::take(&mut self.evicted)
    }

    /// Begins at this time, before rows are put back.
    pub fn begin(&mut self, at: crate::observation::UnixMillis) {
        self.go(at, &mut Vec::new());
    }

    /// Puts a profile back. Returns whether there was room for it.
    pub fn restore(
        &mut self,
        tenant: &str,
        device: &str,
        record: &[u8],
    ) -> Result<bool, RecordError> {
        let (now, wall) = self.times();
        let (group, mut restored) = Device::from_record(record, now, wall)?;
        let Some(tenant) = self.tenant(tenant) else { return Ok(false) };
        if self.devices.is_full() || self.devices.find(tenant, device).is_some() {
            return Ok(false);
        }
        restored.group = self.group(tenant, group);
        if restored.targets.is_some() {
            match self.services < limits::SERVICES {
                true => self.services += 1,
                false => restored.targets = None,
            }
        }
        self.devices.insert(tenant, device, Box::new(restored));
        Ok(true)
    }

    /// The records of groups of this turn, and of all tenants, that changed: tenant, number of the group, bytes.
    pub fn group_records(&mut self, turn: Turn) -> Vec<(String, u64, Vec<u8>)> {
        let (now, wall) = self.times();
        let mut rows = Vec::new();
        for group in self.groups.iter_mut().skip(1) {
            if !group.changed || !turn.is_of(group.number) {
                continue;
            }
            let Some(tenant) = self.tenants.get(group.tenant as usize) else { continue };
            group.changed = false;
            let mut out = head(GROUP_VERSION, now, wall);
            // The fields of a value that exists can all be written.
            let _ = group.flow(&mut Flow::Out(&mut out));
            rows.push((tenant.name.to_string(), group.number, out));
        }
        rows
    }

    /// These groups were not written after all.
    pub fn groups_not_written(&mut self, rows: &[(String, u64, Vec<u8>)]) {
        for (tenant, number, _) in rows {
            let Some(tenant) = self.tenant_places.get(&**tenant) else { continue };
            let place = self.group_places.get(&(*tenant, *number)).copied();
            if let Some(group) = place.and_then(|place| self.groups.get_mut(place as usize)) {
                group.changed = true;
            }
        }
    }

    /// Puts a group back.
    pub fn restore_group(
        &mut self,
        tenant: &str,
        number: u64,
        record: &[u8],
    ) -> Result<(), RecordError> {
        let (now, wall) = self.times();
        let Some(tenant) = self.tenant(tenant) else { return Ok(()) };
        let place = self.group(tenant, number);
        let Some(group) = self.groups.get_mut(place as usize).filter(|_| place != 0) else {
            return Ok(());
        };
        let mut restored = Group::new(tenant, number, group.policy, now / 3600);
        read_head(record, GROUP_VERSION, now, wall, |flow| restored.flow(flow))?;
        restored.changed = false;
        *group = restored;
        Ok(())
    }

    /// The records of all tenants.
    pub fn tenant_records(&mut self) -> Vec<(String, Vec<u8>)> {
        let (now, wall) = self.times();
        let rows = self.tenants.iter_mut().map(|tenant| {
            let mut out = head(TENANT_VERSION, now, wall);
            let _ = tenant.flow(&mut Flow::Out(&mut out));
            (tenant.name.to_string(), out)
        });
        rows.collect()
    }

    /// Puts what a tenant showed as a whole back.
    pub fn restore_tenant(&mut self, name: &str, record: &[u8]) -> Result<(), RecordError> {
        let (now, wall) = self.times();
        let mut restored = Tenant::new(name);
        read_head(record, TENANT_VERSION, now, wall, |flow| restored.flow(flow))?;
        if let Some(place) = self.tenant(name) {
            super::num::put(&mut self.tenants, place as usize, restored);
        }
        Ok(())
    }

    /// Bytes of all profiles, with their names.
    pub fn bytes(&self) -> usize {
        let devices = self.devices.each().map(|entry| {
            size_of::<Device>() + entry.device.heap() + entry.name.len() + size_of_val(entry)
        });
        devices.sum()
    }
}

fn head(version: u8, now: u32, wall: u32) -> Vec<u8> {
    let mut out = vec![version];
    out.extend(now.to_le_bytes());
    out.extend(wall.to_le_bytes());
    out
}

/// Records are bounded by what is bounded in memory.
const _: () = assert!(limits::DEVICE_BYTES <= 1024);
