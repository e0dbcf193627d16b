//! The end of a device: its row goes, its tokens are revoked, and its id is free again once no verifier can meet one of them.

use tessera_runtime::sql::Batch;
use tessera_token::ids::{DeviceId, TenantId};
use tessera_token::limits::{CLOCK_SKEW_SECONDS, TOKEN_LIFE_SECONDS};
use tessera_token::refusal::RefusalCode;

use super::devices::{known, Moved};
use super::{attributes, tenants};
use crate::audit::Actor;
use crate::limits::PARTNER_TOKEN_ROWS;
use crate::records::{Attributes, DeletedDevice, DeviceRecord};
use crate::refused::Refused;
use crate::revision::Precondition;
use crate::service::Service;
use crate::tables::pair;
use crate::trust::restored::{epoch_floor, next_epoch};
use crate::write::{until_committed, Attempt};

/// Deletes a device: all of its tokens end, for ever. Its id is free when the longest life of a token is over, or at once
/// with `force`. Returns the time from which on it is free.
pub(crate) async fn delete(
    service: &Service,
    by: &Actor,
    tenant: &TenantId,
    device: &DeviceId,
    (force, when): (bool, &Precondition),
) -> Result<u64, Refused> {
    tenants::known(service, tenant).await?;
    until_committed(async || {
        let old = match known(service, tenant, device).await {
            Err(refused) if force && refused.code == RefusalCode::DeviceUnknown => {
                if matches!(when, Precondition::OneOf(_)) {
                    when.check::<DeviceRecord>(None)?;
                }
                return free(service, by, tenant, device).await;
            }
            old => old?,
        };
        when.check(Some(&old))?;
        let epoch = next_epoch(&service.tables, old.epoch).await?;
        let new = DeviceRecord { epoch, revoked: true, ..old.clone() };
        let stamp = service.time.stamp();
        let free = match force {
            true => service.now(),
            false => stamp.plus(TOKEN_LIFE_SECONDS).plus(CLOCK_SKEW_SECONDS),
        };
        let gone = DeletedDevice { epoch, at: stamp.get(), free: free.get() };
        let entry = service.entry(by, "device.delete", tenant.as_str(), device.as_str());
        let way = if force { "its id is free at once" } else { "its id is free later" };
        let entry = entry.detail(format!("role {} group {}; {way}", old.role, old.group));
        let entry = entry.change(Some(&old), None);
        let moved = Moved { tenant, device, old: &old, new: &new };
        // Its partner tokens are none of a later device of this id.
        let mut turn = Batch::new();
        partner_turn(service, &mut turn, tenant, false).await?;
        let of = [("tenant", tenant.as_str().into()), ("device", device.as_str().into())];
        let shown = service.tables.partner_tokens.find(&of, None, PARTNER_TOKEN_ROWS).await?;
        for (id, _) in shown {
            turn.delete(&service.tables.partner_tokens, id);
        }
        let also = |batch: &mut Batch| {
            batch.append(turn.clone());
            let key = pair(tenant, device.as_str());
            batch.delete(&service.tables.devices, key.clone());
            batch.delete(&service.tables.device_uses, key.clone());
            let (old, none) = (&old.attributes, Attributes::default());
            attributes::index(&service.tables, batch, (tenant, device), old, &none);
            batch.put(&service.tables.deleted_devices, key, &gone);
            Ok(())
        };
        let tried = moved.publish(service, entry, also).await?;
        Ok(tried.map(|_| {
            service.metrics.revoked.inc(&["device"]);
            gone.free
        }))
    })
    .await
}

/// Demands that no partner token of the tenant is made meanwhile. `makes`: this batch makes one, so it is told to others.
pub(crate) async fn partner_turn(
    service: &Service,
    batch: &mut Batch,
    tenant: &TenantId,
    makes: bool,
) -> Result<(), Refused> {
    let (marks, name) = (&service.tables.marks, format!("partner_tokens/{tenant}"));
    let made = marks.get::<u64>(&name).await?;
    marks.expect_same(batch, &name, made.as_ref());
    if makes || made.is_none() {
        marks.put(batch, &name, &made.unwrap_or_default().wrapping_add(1));
    }
    Ok(())
}

/// Frees the id of a device that was deleted before.
async fn free(
    service: &Service,
    by: &Actor,
    tenant: &TenantId,
    device: &DeviceId,
) -> Result<Attempt<u64>, Refused> {
    let (table, key) = (&service.tables.deleted_devices, pair(tenant, device.as_str()));
    let gone = table.get(key.clone()).await?.ok_or(RefusalCode::DeviceUnknown)?;
    let now = service.now().get();
    if gone.free <= now {
        return Ok(Attempt::Committed(gone.free));
    }
    let mut batch = Batch::new();
    batch.expect(table, key.clone(), &gone);
    batch.put(table, key, &DeletedDevice { free: now, ..gone });
    let entry = service.entry(by, "device.free", tenant.as_str(), device.as_str());
    let tried = service.write(batch, entry).await?;
    Ok(tried.map(|()| now))
}

/// The epoch with which a new device of this id begins: no token of a former one is good again. The batch that makes the
/// device forgets the former one.
///
/// # Errors
/// `already_exists` while tokens of a deleted device may still be met.
pub(crate) async fn first_epoch(
    service: &Service,
    tenant: &TenantId,
    device: &DeviceId,
    batch: &mut Batch,
) -> Result<u64, Refused> {
    let floor = epoch_floor(&service.tables).await?;
    first_epoch_from(service, floor, (tenant, device), batch).await
}

/// As [`first_epoch`], with the floor that was read: above what a lost part of the database may have given to a device of
/// this name.
///
/// # Errors
/// As [`first_epoch`].
pub(crate) async fn first_epoch_from(
    service: &Service,
    floor: u64,
    (tenant, device): (&TenantId, &DeviceId),
    batch: &mut Batch,
) -> Result<u64, Refused> {
    let key = pair(tenant, device.as_str());
    let table = &service.tables.deleted_devices;
    let Some(gone) = table.get(key.clone()).await? else {
        batch.expect_missing(table, key);
        return Ok(floor);
    };
    let now = service.now().get();
    if gone.free > now {
        let seconds = gone.free - now;
        let detail = format!(
            "a device of this id was deleted; the id is free in {seconds} s, or when it is deleted by force"
        );
        return Err(Refused::because(RefusalCode::AlreadyExists, detail));
    }
    batch.expect(table, key.clone(), &gone);
    batch.delete(table, key);
    Ok(floor.max(gone.epoch))
}
