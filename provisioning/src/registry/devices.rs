use tessera_runtime::sql::Batch;
use tessera_token::ids::{DeviceId, GroupId, TenantId};
use tessera_token::refusal::RefusalCode;
use tessera_token::trust::{Change, DeviceEpoch};

use super::{groups, tenants};
use crate::audit::{Actor, Entry};
use crate::records::{DeviceRecord, Page};
use crate::refused::Refused;
use crate::service::Service;
use crate::tables::pair;
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
        let Self { tenant, device, old, new } = *self;
        let change = Change::Device(DeviceEpoch {
            tenant: tenant.clone(),
            device: device.clone(),
            epoch: new.epoch,
            at: service.time.stamp(),
        });
        let mut batch = replacing(service, tenant, device, old, new);
        also(&mut batch)?;
        match service.publish(vec![change], batch, entry.clone()).await {
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
        let tried = service.publish(vec![change], batch, entry.detail(detail)).await?;
        if tried == Attempt::Committed(()) {
            tracing::warn!(%tenant, %device, %group, "no room for the device alone: its group moved");
        }
        Ok(tried.map(|()| Ended::Group))
    }
}

/// Serves the device again. Its epoch stays where it is: tokens from before the revocation stay revoked.
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
        new.revoked = false;
        let batch = replacing(service, tenant, device, &old, &new);
        let entry = service.entry(by, "device.reinstate", tenant.as_str(), device.as_str());
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

pub(crate) async fn list(
    service: &Service,
    tenant: &TenantId,
    after: Option<&str>,
    limit: usize,
) -> Result<Page<(String, DeviceRecord)>, Refused> {
    tenants::known(service, tenant).await?;
    Ok(Page::in_tenant(&service.tables.devices, tenant, after, limit).await?)
}
