use tessera_runtime::store::{Batch, StoreError};
use tessera_token::ids::{GroupId, TenantId};
use tessera_token::refusal::RefusalCode;
use tessera_token::trust::{Change, GroupEpoch};

use super::tenants;
use crate::audit::Actor;
use crate::records::{GroupRecord, Page, TenantRecord};
use crate::refused::Refused;
use crate::room::{Load, Purpose};
use crate::service::Service;
use crate::tables::{pair, second, Tables};
use crate::trust::restored::{epoch_floor, group_floor, next_epoch};
use crate::write::until_committed;

pub(crate) fn known(
    service: &Service,
    tenant: &TenantId,
    group: &str,
) -> Result<GroupRecord, Refused> {
    let record = service.tables.groups.get_record(pair(tenant, group))?;
    record.ok_or_else(|| RefusalCode::GroupUnknown.into())
}

/// Writes a new group and moves the tenant's group counter; the caller writes the tenant.
pub(crate) fn found(
    tables: &Tables,
    batch: &mut Batch,
    tenant: &TenantId,
    group: &GroupId,
    owner: &mut TenantRecord,
    now: u64,
) -> Result<GroupRecord, StoreError> {
    // A number that a lost part of the store may have given out is not given out again.
    let number = owner.next_group.max(group_floor(tables)?);
    let record = GroupRecord { number, epoch: epoch_floor(tables)?, created: now };
    owner.next_group = number + 1;
    let key = pair(tenant, group.as_str());
    batch.expect_absent(&tables.groups, &key);
    batch.put_record(&tables.groups, key, &record);
    Ok(record)
}

pub(crate) async fn create(
    service: &Service,
    by: &Actor,
    tenant: &TenantId,
    group: &GroupId,
) -> Result<GroupRecord, Refused> {
    let load = Load::group(tenant.as_str(), group.as_str());
    until_committed(async || {
        let old = tenants::known(service, tenant)?;
        if service.tables.groups.contains(pair(tenant, group.as_str()))? {
            return Err(RefusalCode::AlreadyExists.into());
        }
        // Its epoch may have to move one day: it has its room from now on.
        let hold = service.room_for(tenant.as_str(), load, Purpose::Growth).await?;
        let (mut owner, mut batch) = (old.clone(), Batch::new());
        let record =
            found(&service.tables, &mut batch, tenant, group, &mut owner, service.now().get())?;
        batch.expect_record(&service.tables.tenants, tenant.as_str(), &old);
        batch.put_record(&service.tables.tenants, tenant.as_str(), &owner);
        let entry = service.entry(by, "group.create", tenant.as_str(), group.as_str());
        let tried = service.write(batch, entry).await?;
        Ok(tried.map(|()| {
            hold.keep();
            record
        }))
    })
    .await
}

/// Ends all tokens of the group; its devices may refresh at once.
pub(crate) async fn revoke(
    service: &Service,
    by: &Actor,
    tenant: &TenantId,
    group: &GroupId,
) -> Result<GroupRecord, Refused> {
    until_committed(async || {
        tenants::known(service, tenant)?;
        let old = known(service, tenant, group.as_str())?;
        let mut batch = Batch::new();
        let (new, change) = moved(&service.tables, &mut batch, tenant, group, &old)?;
        let entry = service.entry(by, "group.revoke", tenant.as_str(), group.as_str());
        let tried = service.publish(vec![change], batch, entry).await?;
        Ok(tried.map(|()| {
            service.metrics.revoked.inc(&["group"]);
            new
        }))
    })
    .await
}

/// Writes the next epoch of the group, and what verifiers must know of it.
pub(crate) fn moved(
    tables: &Tables,
    batch: &mut Batch,
    tenant: &TenantId,
    group: &GroupId,
    old: &GroupRecord,
) -> Result<(GroupRecord, Change), StoreError> {
    let mut new = old.clone();
    new.epoch = next_epoch(tables, old.epoch)?;
    let key = pair(tenant, group.as_str());
    batch.expect_record(&tables.groups, &key, old);
    batch.put_record(&tables.groups, &key, &new);
    let change = Change::Group(GroupEpoch {
        tenant: tenant.clone(),
        group: group.clone(),
        number: new.number,
        epoch: new.epoch,
    });
    Ok((new, change))
}

pub(crate) fn list(
    service: &Service,
    tenant: &TenantId,
    after: Option<&str>,
    limit: usize,
) -> Result<Page<(String, GroupRecord)>, Refused> {
    tenants::known(service, tenant)?;
    let after = after.map(|name| pair(tenant, name));
    let rows =
        service.tables.groups.scan_records(&pair(tenant, []), after.as_deref(), limit + 1)?;
    let items = rows
        .into_iter()
        .map(|(key, record)| (String::from_utf8_lossy(second(&key)).into_owned(), record));
    Ok(Page::of(items.collect(), limit, |(id, _)| id.clone()))
}
