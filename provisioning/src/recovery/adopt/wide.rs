//! Room for what a reader shows: a revocation that verifiers cannot hold ends more than was shown. A token ends with its
//! device, a device with its group, and one whose group is not known here with its tenant.

use tessera_runtime::sql::Batch;
use tessera_token::ids::TenantId;
use tessera_token::refusal::RefusalCode;
use tessera_token::trust::{Change, DeviceEpoch, RevokedToken};

use super::{entry, epoch_floor, next_epoch, put, put_on_list, told, Finding};
use crate::audit::Actor;
use crate::records::{DeviceRecord, TenantRecord};
use crate::refused::Refused;
use crate::registry::devices::Moved;
use crate::service::Service;
use crate::tables::{one, pair};
use crate::write::Attempt;

/// Tells of a device that is known here, or of its group.
pub(super) async fn publish(
    service: &Service,
    by: &Actor,
    moved: &Moved<'_>,
    found: &Finding,
) -> Result<Attempt<()>, Refused> {
    let also = |batch: &mut Batch| {
        put(service, batch, found);
        Ok(())
    };
    let tried = moved.publish(service, entry(service, by, found), also).await?;
    Ok(tried.map(|_| told(service, found)))
}

/// Whether verifiers hear from here that the tokens which were shown have ended: of the device, or of its group or tenant
/// where there was no room for it.
pub(super) async fn is_told(
    service: &Service,
    shown: &DeviceEpoch,
    known: &DeviceRecord,
) -> Result<bool, Refused> {
    let name = shown.device.as_str();
    if known.epoch < shown.epoch {
        return Ok(false);
    }
    if moved_to(service, &shown.tenant, name).await? >= shown.epoch {
        return Ok(true);
    }
    let floor = epoch_floor(&service.tables).await?;
    Ok(floor > 0 && has_ended(service, &shown.tenant, name, Some(known), floor).await?)
}

/// A revoked device that is not known here: new readers must hear of it too.
pub(super) async fn adopt_unknown(
    service: &Service,
    by: &Actor,
    shown: &DeviceEpoch,
) -> Result<Attempt<()>, Refused> {
    let name = shown.device.as_str();
    if moved_to(service, &shown.tenant, name).await? >= shown.epoch {
        return Ok(Attempt::Committed(()));
    }
    let found = super::finding(service, "device", &shown.tenant, name, shown.epoch, "unknown");
    tell_unknown(service, by, shown.clone(), &found).await
}

/// A revoked token without room of its own: all tokens that its device had in the lost part end.
pub(super) async fn end_device(
    service: &Service,
    by: &Actor,
    shown: &RevokedToken,
    found: &Finding,
) -> Result<Attempt<()>, Refused> {
    let (tenant, name) = (&shown.tenant, shown.device.as_str());
    let floor = epoch_floor(&service.tables).await?;
    let table = &service.tables.devices;
    let known = table.get(pair(tenant, name)).await?;
    if floor > 0 && has_ended(service, tenant, name, known.as_ref(), floor).await? {
        return put_on_list(service, Batch::new(), found).await;
    }
    let Some(old) = known else {
        let (device, epoch) = (shown.device.clone(), next_epoch(&service.tables, 0).await?);
        let at = service.time.stamp();
        let ended = DeviceEpoch { tenant: tenant.clone(), device, epoch, at };
        return tell_unknown(service, by, ended, found).await;
    };
    let epoch = next_epoch(&service.tables, old.epoch).await?;
    let new = DeviceRecord { epoch, ..old.clone() };
    let moved = Moved { tenant, device: &shown.device, old: &old, new: &new };
    publish(service, by, &moved, found).await
}

/// Whether verifiers know that every token of the device from before the last jump has ended.
async fn has_ended(
    service: &Service,
    tenant: &TenantId,
    device: &str,
    known: Option<&DeviceRecord>,
    floor: u64,
) -> Result<bool, Refused> {
    let tables = &service.tables;
    let by_tenant = tables.tenants.get(one(tenant.as_str())).await?;
    let by_group = match known {
        Some(known) => tables.groups.get(pair(tenant, &known.group)).await?,
        None => None,
    };
    Ok(moved_to(service, tenant, device).await? >= floor
        || by_group.is_some_and(|group| group.epoch >= floor)
        || by_tenant.is_some_and(|tenant| tenant.epoch >= floor))
}

/// The epoch of the device that new verifiers are told; 0 when they are told none.
async fn moved_to(service: &Service, tenant: &TenantId, device: &str) -> Result<u64, Refused> {
    let row = service.tables.moved_devices.get(pair(tenant, device)).await?;
    Ok(row.map_or(0, |row| row.epoch))
}

/// Tells of a device that is not known here, or of its tenant: which group it had is lost.
async fn tell_unknown(
    service: &Service,
    by: &Actor,
    ended: DeviceEpoch,
    found: &Finding,
) -> Result<Attempt<()>, Refused> {
    let tenant = ended.tenant.clone();
    let mut batch = Batch::new();
    // One that enrols at this moment is taken as a known one.
    batch.expect_missing(&service.tables.devices, pair(&tenant, ended.device.as_str()));
    match super::publish(service, by, Change::Device(ended), batch, found).await {
        Err(refused) if refused.code == RefusalCode::CapacityReached => {}
        tried => return tried,
    }
    let (table, floor) = (&service.tables.tenants, epoch_floor(&service.tables).await?);
    let old = table.get(one(tenant.as_str())).await?;
    // The keys of a tenant that is not known here are not told to new verifiers either.
    let Some(old) = old.filter(|old| floor == 0 || old.epoch < floor) else {
        return put_on_list(service, Batch::new(), found).await;
    };
    let epoch = next_epoch(&service.tables, old.epoch).await?;
    let new = TenantRecord { epoch, ..old.clone() };
    let mut batch = Batch::new();
    batch.expect(table, one(tenant.as_str()), &old);
    batch.put(table, one(tenant.as_str()), &new);
    put(service, &mut batch, found);
    let entry = entry(service, by, found);
    let detail = format!("no room for it alone: tenant {tenant} moved; {}", entry.detail);
    let change = Change::Tenant(new.trust(&tenant));
    let tried = service.publish(vec![change], batch, entry.detail(detail)).await?;
    if tried == Attempt::Committed(()) {
        told(service, found);
        tracing::warn!(%tenant, subject = %found.subject, "no room for a device that is not known: its tenant moved");
    }
    Ok(tried)
}
