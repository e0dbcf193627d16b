//! Suspension of a device or a group, and its end. Tokens end at once at all verifiers, and no new one is issued until an
//! operator reinstates it; then the device refreshes with its key.

use tessera_runtime::sql::Batch;
use tessera_token::ids::{DeviceId, GroupId, TenantId};

use super::{devices, groups, tenants};
use crate::audit::Actor;
use crate::limits::REASON_CHARS;
use crate::records::{DeviceRecord, GroupRecord, Suspension};
use crate::refused::Refused;
use crate::service::Service;
use crate::tables::pair;
use crate::trust::restored::next_epoch;
use crate::write::{until_committed, Attempt};

/// The reason that an operator gave, within its bounds.
pub(crate) struct Reason(Option<String>);

impl Reason {
    /// # Errors
    /// `request_malformed` for a text that is empty, too long or has control characters.
    pub(crate) fn of(text: Option<String>) -> Result<Self, Refused> {
        let good = |text: &String| {
            (1..=REASON_CHARS).contains(&text.chars().count())
                && !text.chars().any(char::is_control)
        };
        match text {
            Some(text) if !good(&text) => Err(Refused::malformed(format!(
                "reason is 1 to {REASON_CHARS} characters without control characters"
            ))),
            text => Ok(Self(text)),
        }
    }

    fn suspension(&self, service: &Service, by: &Actor) -> Suspension {
        Suspension { at: service.now().get(), by: by.name.clone(), reason: self.0.clone() }
    }

    fn text(&self) -> &str {
        self.0.as_deref().unwrap_or_default()
    }
}

/// Ends all tokens of the device and gives it no new one until it is reinstated. A device that is suspended already stays
/// as it is.
pub(crate) async fn device(
    service: &Service,
    by: &Actor,
    tenant: &TenantId,
    device: &DeviceId,
    reason: &Reason,
) -> Result<DeviceRecord, Refused> {
    tenants::known(service, tenant).await?;
    let suspension = reason.suspension(service, by);
    until_committed(async || {
        let old = devices::known(service, tenant, device).await?;
        if old.suspended.is_some() {
            return Ok(Attempt::Committed(old));
        }
        let epoch = next_epoch(&service.tables, old.epoch).await?;
        let new = DeviceRecord { suspended: Some(suspension.clone()), epoch, ..old.clone() };
        let entry = service.entry(by, "device.suspend", tenant.as_str(), device.as_str());
        let moved = devices::Moved { tenant, device, old: &old, new: &new };
        let tried = moved.publish(service, entry.detail(reason.text()), |_| Ok(())).await?;
        Ok(tried.map(|_| {
            service.metrics.revoked.inc(&["device"]);
            new
        }))
    })
    .await
}

/// Ends all tokens of the group. No device in it gets a new one until the group is reinstated, also one that comes later.
pub(crate) async fn group(
    service: &Service,
    by: &Actor,
    tenant: &TenantId,
    group: &GroupId,
    reason: &Reason,
) -> Result<GroupRecord, Refused> {
    let suspension = reason.suspension(service, by);
    until_committed(async || {
        tenants::known(service, tenant).await?;
        let old = groups::known(service, tenant, group.as_str()).await?;
        if old.suspended.is_some() {
            return Ok(Attempt::Committed(old));
        }
        let epoch = next_epoch(&service.tables, old.epoch).await?;
        let new = GroupRecord { suspended: Some(suspension.clone()), epoch, ..old.clone() };
        let batch = replacing(service, tenant, group, &old, &new);
        let entry = service.entry(by, "group.suspend", tenant.as_str(), group.as_str());
        let entry = entry.change(Some(&old), Some(&new));
        let change = groups::told(tenant, group, &new);
        let tried = service.publish(vec![change], batch, entry.detail(reason.text())).await?;
        Ok(tried.map(|()| {
            service.metrics.revoked.inc(&["group"]);
            new
        }))
    })
    .await
}

/// Serves the group again. Devices that are suspended or revoked themselves stay so; tokens from before stay ended.
pub(crate) async fn reinstate_group(
    service: &Service,
    by: &Actor,
    tenant: &TenantId,
    group: &GroupId,
) -> Result<GroupRecord, Refused> {
    until_committed(async || {
        tenants::known(service, tenant).await?;
        let old = groups::known(service, tenant, group.as_str()).await?;
        let new = GroupRecord { suspended: None, ..old.clone() };
        let batch = replacing(service, tenant, group, &old, &new);
        let entry = service.entry(by, "group.reinstate", tenant.as_str(), group.as_str());
        let entry = entry.change(Some(&old), Some(&new));
        let tried = service.write(batch, entry).await?;
        Ok(tried.map(|()| new))
    })
    .await
}

fn replacing(
    service: &Service,
    tenant: &TenantId,
    group: &GroupId,
    old: &GroupRecord,
    new: &GroupRecord,
) -> Batch {
    let (table, key) = (&service.tables.groups, pair(tenant, group.as_str()));
    let mut batch = Batch::new();
    batch.expect(table, key.clone(), old);
    batch.put(table, key, new);
    batch
}
