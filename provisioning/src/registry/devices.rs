use std::collections::BTreeMap;

use tessera_runtime::sql::{Batch, Value};
use tessera_token::ids::{DeviceId, GroupId, RoleId, TenantId};
use tessera_token::refusal::RefusalCode;
use tessera_token::trust::{Change as Told, DeviceEpoch};

use super::standing::{OfGroups, State};
use super::{attributes, groups, roles, tenants};
use crate::audit::{Actor, Entry};
use crate::limits::DEVICES_LOOK;
use crate::records::{DeviceRecord, Page};
use crate::refused::Refused;
use crate::revision::Precondition;
use crate::service::Service;
use crate::tables::{pair, text};
use crate::trust::restored::next_epoch;
use crate::write::{until_committed, Attempt};

pub(crate) async fn find(
    service: &Service,
    tenant: &TenantId,
    device: &DeviceId,
) -> Result<Option<DeviceRecord>, Refused> {
    Ok(service.tables.devices.get(pair(tenant, device.as_str())).await?)
}

pub(crate) async fn known(
    service: &Service,
    tenant: &TenantId,
    device: &DeviceId,
) -> Result<DeviceRecord, Refused> {
    find(service, tenant, device).await?.ok_or_else(|| RefusalCode::DeviceUnknown.into())
}

/// Ends all tokens of the device and gives it no new one until it is reinstated.
pub(crate) async fn revoke(
    service: &Service,
    by: &Actor,
    tenant: &TenantId,
    device: &DeviceId,
) -> Result<DeviceRecord, Refused> {
    tenants::known(service, tenant).await?;
    let entry = service.entry(by, "device.revoke", tenant.as_str(), device.as_str());
    let (record, _) = end(service, tenant, device, entry, |record| record.revoked = true).await?;
    service.metrics.revoked.inc(&["device"]);
    Ok(record)
}

/// The device whose tokens a revocation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    Token,
    Device,
    Group,
}

impl Ended {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Device => "device",
            Self::Group => "group",
        }
    }
}

/// Moves the device's epoch, so that all of its tokens end. When verifiers can hold no more of these, its group's moves:
/// the other devices of the group refresh, the revoked one cannot.
pub(crate) async fn end(
    service: &Service,
    tenant: &TenantId,
    device: &DeviceId,
    entry: Entry,
    with: impl Fn(&mut DeviceRecord),
) -> Result<(DeviceRecord, Ended), Refused> {
    until_committed(async || {
        let old = known(service, tenant, device).await?;
        let mut new = old.clone();
        with(&mut new);
        new.epoch = next_epoch(&service.tables, old.epoch).await?;
        if new.revoked || new.key != old.key {
            // Its refresh tokens end for good: it has new ones by its key, once it is reinstated.
            new.refresh_from = Some(new.epoch);
        }
        let moved = Moved { tenant, device, old: &old, new: &new };
        let tried = moved.publish(service, entry.clone(), |_| Ok(())).await?;
        Ok(tried.map(|ended| (new, ended)))
    })
    .await
}

/// A device of which verifiers must hear that its tokens from before the epoch of `new` have ended.
pub(crate) struct Moved<'a> {
    pub(crate) tenant: &'a TenantId,
    pub(crate) device: &'a DeviceId,
    pub(crate) old: &'a DeviceRecord,
    pub(crate) new: &'a DeviceRecord,
}

impl Moved<'_> {
    /// Writes it and tells verifiers: of the device, or of its group when they can hold no more devices. `also` adds to
    /// what is written.
    pub(crate) async fn publish(
        &self,
        service: &Service,
        entry: Entry,
        also: impl Fn(&mut Batch) -> Result<(), Refused>,
    ) -> Result<Attempt<Ended>, Refused> {
        self.publish_with(service, entry, None, also).await
    }

    /// As [`Moved::publish`], with `more` that verifiers must hear.
    pub(crate) async fn publish_with(
        &self,
        service: &Service,
        entry: Entry,
        more: Option<Told>,
        also: impl Fn(&mut Batch) -> Result<(), Refused>,
    ) -> Result<Attempt<Ended>, Refused> {
        let Self { tenant, device, old, new } = *self;
        let entry = entry.change(Some(old), Some(new));
        let change = Told::Device(DeviceEpoch {
            tenant: tenant.clone(),
            device: device.clone(),
            epoch: new.epoch,
            at: service.time.stamp(),
        });
        let mut batch = replacing(service, tenant, device, old, new);
        also(&mut batch)?;
        let changes = std::iter::once(change).chain(more.clone()).collect();
        match service.publish(changes, batch, entry.clone()).await {
            Err(refused) if refused.code == RefusalCode::CapacityReached => {}
            tried => return Ok(tried?.map(|()| Ended::Device)),
        }
        let mut batch = replacing(service, tenant, device, old, new);
        also(&mut batch)?;
        let group = GroupId::parse(&old.group).map_err(|_| RefusalCode::Internal)?;
        let record = groups::known(service, tenant, &old.group).await?;
        let (_, change) =
            groups::moved(&service.tables, &mut batch, tenant, &group, &record).await?;
        let detail = format!("no room for it alone: group {group} moved; {}", entry.detail);
        let changes = std::iter::once(change).chain(more).collect();
        let tried = service.publish(changes, batch, entry.detail(detail)).await?;
        if tried == Attempt::Committed(()) {
            tracing::warn!(%tenant, %device, %group, "no room for the device alone: its group moved");
        }
        Ok(tried.map(|()| Ended::Group))
    }
}

/// Serves the device again, whether it was revoked or suspended. Its epoch stays where it is: tokens from before stay ended.
pub(crate) async fn reinstate(
    service: &Service,
    by: &Actor,
    tenant: &TenantId,
    device: &DeviceId,
) -> Result<DeviceRecord, Refused> {
    tenants::known(service, tenant).await?;
    until_committed(async || {
        let old = known(service, tenant, device).await?;
        let mut new = old.clone();
        (new.revoked, new.suspended) = (false, None);
        let batch = replacing(service, tenant, device, &old, &new);
        let entry = service.entry(by, "device.reinstate", tenant.as_str(), device.as_str());
        let entry = entry.change(Some(&old), Some(&new));
        let tried = service.write(batch, entry).await?;
        Ok(tried.map(|()| new))
    })
    .await
}

fn replacing(
    service: &Service,
    tenant: &TenantId,
    device: &DeviceId,
    old: &DeviceRecord,
    new: &DeviceRecord,
) -> Batch {
    let key = pair(tenant, device.as_str());
    let mut batch = Batch::new();
    batch.expect(&service.tables.devices, key.clone(), old);
    batch.put(&service.tables.devices, key, new);
    batch
}

/// New properties of a device.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) role: Option<RoleId>,
    pub(crate) group: Option<GroupId>,
    /// New values by name; `None` removes one.
    pub(crate) attributes: BTreeMap<String, Option<String>>,
}

/// Gives the device another role, group or attributes. When that changes its rights, all of its tokens end, so that its
/// sessions get the new rights with its next token, which it may ask for at once.
pub(crate) async fn change(
    service: &Service,
    by: &Actor,
    tenant: &TenantId,
    device: &DeviceId,
    (wanted, when): (&Change, &Precondition),
) -> Result<DeviceRecord, Refused> {
    tenants::known(service, tenant).await?;
    until_committed(async || {
        let old = known(service, tenant, device).await?;
        when.check(Some(&old))?;
        let mut new = old.clone();
        if let Some(role) = &wanted.role {
            new.role = role.as_str().to_owned();
        }
        if let Some(group) = &wanted.group {
            groups::known(service, tenant, group.as_str()).await?;
            new.group = group.as_str().to_owned();
        }
        new.attributes = old.attributes.with(&wanted.attributes)?;
        if new == old {
            return Ok(Attempt::Committed(old));
        }
        let role = match wanted.role {
            Some(_) => Some(roles::known(service, tenant, &new.role).await?),
            // It may be gone: then the device has no rights before and after.
            None => service.tables.roles.get(pair(tenant, new.role.as_str())).await?,
        };
        let (new_role, new_attributes) = (new.role.clone(), new.attributes.clone());
        let also = |batch: &mut Batch| {
            let (old, new) = (&old.attributes, &new_attributes);
            attributes::index(&service.tables, batch, (tenant, device), old, new);
            if let Some(role) = &role {
                roles::expect(service, batch, (tenant, &new_role), role);
            }
            Ok(())
        };
        let entry = service.entry(by, "device.change", tenant.as_str(), device.as_str());
        let parts = [("role", &old.role, &new.role), ("group", &old.group, &new.group)];
        let changed = parts.iter().filter(|(_, old, new)| old != new);
        let changed = changed.map(|(what, old, new)| format!("{what} {old} to {new}"));
        let changed = changed.chain(attributes::told(&old.attributes, &new.attributes));
        let entry = entry.detail(changed.collect::<Vec<_>>().join(", "));
        let is_moved = (&old.role, &old.group) != (&new.role, &new.group)
            || attributes::change_rights(tenant, device, role.as_ref(), (&old, &new));
        if !is_moved {
            let mut batch = replacing(service, tenant, device, &old, &new);
            also(&mut batch)?;
            let entry = entry.change(Some(&old), Some(&new));
            return Ok(service.write(batch, entry).await?.map(|()| new));
        }
        let epoch = next_epoch(&service.tables, old.epoch).await?;
        let new = DeviceRecord { epoch, ..new };
        let moved = Moved { tenant, device, old: &old, new: &new };
        let tried = moved.publish(service, entry, also).await?;
        Ok(tried.map(|_| new))
    })
    .await
}

/// Properties that the devices of a list have.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// The beginning of the id.
    pub(crate) prefix: Option<String>,
    pub(crate) group: Option<GroupId>,
    pub(crate) role: Option<RoleId>,
    pub(crate) state: Option<State>,
    /// The thumbprint of the key.
    pub(crate) key: Option<[u8; 32]>,
    /// Names and values of attributes.
    pub(crate) attributes: Vec<(String, String)>,
}

impl Wanted {
    pub(super) fn is_met_by(&self, record: &DeviceRecord) -> bool {
        let has =
            |(name, value): &(String, String)| record.attributes.get(name) == Some(value.as_str());
        self.attributes.iter().all(has)
            && self.group.as_ref().is_none_or(|group| group.as_str() == record.group)
            && self.role.as_ref().is_none_or(|role| role.as_str() == record.role)
            && self.key.is_none_or(|key| record.name_of_key() == Some(key))
    }

    pub(super) async fn has_state(
        &self,
        record: &DeviceRecord,
        groups: &mut OfGroups<'_>,
    ) -> Result<bool, Refused> {
        let Some(wanted) = self.state else { return Ok(true) };
        let group = groups.get(&record.group).await?;
        Ok(State::of(record, group.as_ref()) == wanted)
    }

    pub(super) fn begins(&self, name: &str) -> bool {
        self.prefix.as_ref().is_none_or(|prefix| name.starts_with(prefix))
    }

    /// The row before the first one with the prefix: the prefix itself may be the id of a device.
    pub(super) fn from(&self, after: Option<&str>) -> Option<String> {
        after.map(str::to_owned).max(self.prefix.as_deref().and_then(before))
    }

    /// The columns by which rows are found: an index for each begins with them.
    fn columns(&self, tenant: &TenantId) -> Vec<(&'static str, Value)> {
        let by = match (&self.group, &self.role) {
            _ if self.key.is_some() => Some(("thumbprint", self.key.into())),
            (Some(group), _) => Some(("device_group", group.as_str().into())),
            (None, Some(role)) => Some(("role", role.as_str().into())),
            (None, None) => None,
        };
        std::iter::once(("tenant", tenant.as_str().into())).chain(by).collect()
    }
}

/// When the device refreshed last. The service knows it as long as it has the row of that token: until the token expires.
pub(crate) async fn last_refresh(
    service: &Service,
    tenant: &TenantId,
    device: &str,
) -> Result<Option<u64>, Refused> {
    let columns = [("tenant", tenant.as_str().into()), ("device", device.into())];
    let row = service.tables.issued.highest(&columns, "asked_at").await?;
    Ok(row.map(|(_, record)| record.issued))
}

pub(crate) async fn list(
    service: &Service,
    tenant: &TenantId,
    after: Option<&str>,
    limit: usize,
) -> Result<Page<(String, DeviceRecord)>, Refused> {
    find_all(service, tenant, &Wanted::default(), after, limit).await
}

/// Devices with these properties. A page looks at so many devices that it stays short; it may hold few, and name the next.
pub(crate) async fn find_all(
    service: &Service,
    tenant: &TenantId,
    wanted: &Wanted,
    after: Option<&str>,
    limit: usize,
) -> Result<Page<(String, DeviceRecord)>, Refused> {
    tenants::known(service, tenant).await?;
    if !wanted.attributes.is_empty() {
        return attributes::find_all(service, tenant, wanted, after, limit).await;
    }
    let (columns, mut items, mut seen) = (wanted.columns(tenant), Vec::new(), 0);
    let mut groups = OfGroups::new(service, tenant);
    let mut from = wanted.from(after);
    loop {
        let behind = from.as_deref().map(|name| pair(tenant, name));
        let most = (limit + 1).min(DEVICES_LOOK);
        let rows = service.tables.devices.find(&columns, behind.as_deref(), most).await?;
        let is_last = rows.len() < most;
        for (key, record) in rows {
            let name = text(&key, 1)?;
            if !wanted.begins(name) {
                // Names are in order: the first one that has the prefix no more ends the list.
                let is_behind = wanted.prefix.as_deref().is_some_and(|prefix| name > prefix);
                if is_behind {
                    return Ok(Page { items, next: None });
                }
            } else if wanted.is_met_by(&record) && wanted.has_state(&record, &mut groups).await? {
                if items.len() == limit {
                    return Ok(Page { items, next: from });
                }
                items.push((name.to_owned(), record));
            }
            from = Some(name.to_owned());
            seen += 1;
        }
        if is_last {
            return Ok(Page { items, next: None });
        }
        if seen >= DEVICES_LOOK {
            return Ok(Page { items, next: from });
        }
    }
}

/// A text that stands before this one, and nothing that begins with it between them; `None` for none at all.
fn before(prefix: &str) -> Option<String> {
    let mut characters = prefix.chars();
    let last = characters.next_back()?;
    // Ids are ASCII: one below, and the highest of all behind it.
    let lower = char::from_u32(u32::from(last).checked_sub(1)?)?;
    Some(format!("{}{lower}\u{10ffff}", characters.as_str()))
}
