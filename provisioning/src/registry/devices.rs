use tessera_runtime::store::Batch;
use tessera_token::ids::{DeviceId, TenantId};
use tessera_token::refusal::RefusalCode;
use tessera_token::trust::{Change, DeviceEpoch};

use super::records::DeviceRecord;
use super::{tenants, Actor, Page};
use crate::limits::ATTEMPTS;
use crate::refused::Refused;
use crate::service::{Service, Tried};
use crate::tables::{pair, second};
use crate::trust::restored::next_epoch;

pub(crate) fn find(
    service: &Service,
    tenant: &TenantId,
    device: &DeviceId,
) -> Result<Option<DeviceRecord>, Refused> {
    Ok(service.tables.devices.get_record(pair(tenant, device.as_str()))?)
}

pub(crate) fn known(
    service: &Service,
    tenant: &TenantId,
    device: &DeviceId,
) -> Result<DeviceRecord, Refused> {
    find(service, tenant, device)?.ok_or_else(|| RefusalCode::DeviceUnknown.into())
}

/// Ends all tokens of the device and gives it no new one until it is reinstated.
pub(crate) async fn revoke(
    service: &Service,
    by: &Actor,
    tenant: &TenantId,
    device: &DeviceId,
) -> Result<DeviceRecord, Refused> {
    tenants::known(service, tenant)?;
    for _ in 0..ATTEMPTS {
        let old = known(service, tenant, device)?;
        let mut new = old.clone();
        new.revoked = true;
        new.epoch = next_epoch(&service.tables, old.epoch)?;
        let batch = replacing(service, tenant, device, &old, &new);
        let change = Change::Device(DeviceEpoch {
            tenant: tenant.clone(),
            device: device.clone(),
            epoch: new.epoch,
            at: service.time.stamp(),
        });
        let entry = service.entry(by, "device.revoke", tenant.as_str(), device.as_str());
        if let Tried::Done(()) = service.publish(vec![change], batch, entry).await? {
            service.metrics.revoked.inc(&["device"]);
            return Ok(new);
        }
    }
    Err(RefusalCode::LimitReached.into())
}

/// Serves the device again. Its epoch stays where it is: tokens from before the revocation stay dead.
pub(crate) async fn reinstate(
    service: &Service,
    by: &Actor,
    tenant: &TenantId,
    device: &DeviceId,
) -> Result<DeviceRecord, Refused> {
    tenants::known(service, tenant)?;
    for _ in 0..ATTEMPTS {
        let old = known(service, tenant, device)?;
        let mut new = old.clone();
        new.revoked = false;
        let batch = replacing(service, tenant, device, &old, &new);
        let entry = service.entry(by, "device.reinstate", tenant.as_str(), device.as_str());
        if let Tried::Done(()) = service.write(batch, entry).await? {
            return Ok(new);
        }
    }
    Err(RefusalCode::LimitReached.into())
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
    batch.expect_record(&service.tables.devices, &key, old);
    batch.put_record(&service.tables.devices, &key, new);
    batch
}

pub(crate) fn list(
    service: &Service,
    tenant: &TenantId,
    after: Option<&str>,
    limit: usize,
) -> Result<Page<(String, DeviceRecord)>, Refused> {
    tenants::known(service, tenant)?;
    let after = after.map(|name| pair(tenant, name));
    let rows =
        service.tables.devices.scan_records(&pair(tenant, []), after.as_deref(), limit + 1)?;
    let items = rows
        .into_iter()
        .map(|(key, record)| (String::from_utf8_lossy(second(&key)).into_owned(), record));
    Ok(Page::of(items.collect(), limit, |(id, _)| id.clone()))
}
