//! Attributes of devices: their index, their effect on rights, and the devices that have some.

use tessera_runtime::sql::Batch;
use tessera_token::ids::{DeviceId, GroupId, TenantId};
use tessera_token::scope::Scope;

use super::devices::Wanted;
use super::standing::OfGroups;
use super::templates::{self, Placeholders};
use crate::limits::ATTRIBUTES_LOOK;
use crate::records::attributes::AttributeRow;
use crate::records::{Attributes, DeviceRecord, Page, RoleRecord};
use crate::refused::Refused;
use crate::service::Service;
use crate::tables::{pair, text, Tables};

/// Writes the rows by which the device is found, in the batch that writes its attributes.
pub(crate) fn index(
    tables: &Tables,
    batch: &mut Batch,
    (tenant, device): (&TenantId, &DeviceId),
    old: &Attributes,
    new: &Attributes,
) {
    let key = |name: &str, value: &str| {
        vec![tenant.as_str().into(), name.into(), value.into(), device.as_str().into()]
    };
    for (name, value) in old.iter().filter(|(name, value)| new.get(name) != Some(*value)) {
        batch.delete(&tables.device_attributes, key(name, value));
    }
    for (name, value) in new.iter().filter(|(name, value)| old.get(name) != Some(*value)) {
        batch.put(&tables.device_attributes, key(name, value), &AttributeRow);
    }
}

/// The changes of attributes, in words for the audit log.
pub(crate) fn told<'a>(
    old: &'a Attributes,
    new: &'a Attributes,
) -> impl Iterator<Item = String> + 'a {
    let gone = old.iter().filter(|(name, _)| new.get(name).is_none());
    let gone = gone.map(|(name, value)| format!("attr.{name} {value} removed"));
    let set = new.iter().filter(|(name, value)| old.get(name) != Some(*value));
    gone.chain(set.map(|(name, value)| match old.get(name) {
        Some(old) => format!("attr.{name} {old} to {value}"),
        None => format!("attr.{name} {value}"),
    }))
}

/// Whether the role gives the device other rights than before.
pub(crate) fn change_rights(
    tenant: &TenantId,
    device: &DeviceId,
    role: Option<&RoleRecord>,
    (old, new): (&DeviceRecord, &DeviceRecord),
) -> bool {
    let scope = |record: &DeviceRecord| -> Option<Scope> {
        let group = GroupId::parse(&record.group).ok()?;
        let attributes = &record.attributes;
        templates::resolve(role?, &Placeholders { tenant, group: &group, device, attributes }).ok()
    };
    scope(old) != scope(new)
}

/// Devices with these attributes and properties, found by the first of the attributes.
pub(super) async fn find_all(
    service: &Service,
    tenant: &TenantId,
    wanted: &Wanted,
    after: Option<&str>,
    limit: usize,
) -> Result<Page<(String, DeviceRecord)>, Refused> {
    let Some((name, value)) = wanted.attributes.first() else {
        return Ok(Page { items: Vec::new(), next: None });
    };
    let of = vec![tenant.as_str().into(), name.as_str().into(), value.as_str().into()];
    let (mut items, mut from) = (Vec::new(), wanted.from(after));
    let behind = from.as_ref().map(|device| {
        let mut key = of.clone();
        key.push(device.as_str().into());
        key
    });
    let table = &service.tables.device_attributes;
    let mut groups = OfGroups::new(service, tenant);
    let rows = table.scan(&of, behind.as_deref(), ATTRIBUTES_LOOK).await?;
    let is_last = rows.len() < ATTRIBUTES_LOOK;
    for (key, AttributeRow) in rows {
        let device = text(&key, 3)?;
        if !wanted.begins(device) {
            if wanted.prefix.as_deref().is_some_and(|prefix| device > prefix) {
                return Ok(Page { items, next: None });
            }
        } else if let Some(record) = service.tables.devices.get(pair(tenant, device)).await? {
            // It may have lost the attribute since its row was read: `is_met_by` looks at all of them.
            if wanted.is_met_by(&record) && wanted.has_state(&record, &mut groups).await? {
                if items.len() == limit {
                    return Ok(Page { items, next: from });
                }
                items.push((device.to_owned(), record));
            }
        }
        from = Some(device.to_owned());
    }
    Ok(Page { items, next: from.filter(|_| !is_last) })
}
