use tessera_runtime::sql::Batch;
use tessera_runtime::store::StoreError;
use tessera_token::ids::{GroupId, TenantId};
use tessera_token::refusal::RefusalCode;
use tessera_token::time::UnixSeconds;
use tessera_token::trust::{Change, GroupEpoch};

use super::tenants;
use crate::audit::Actor;
use crate::once::Keep;
use crate::records::{GroupRecord, Reenrol, TenantRecord};
use crate::refused::Refused;
use crate::revision::Precondition;
use crate::room::{Load, Purpose};
use crate::service::Service;
use crate::tables::{one, pair, Tables};
use crate::trust::restored::{epoch_floor, group_floor, next_epoch};
use crate::write::until_committed;

pub(crate) async fn known(
    service: &Service,
    tenant: &TenantId,
    group: &str,
) -> Result<GroupRecord, Refused> {
    let record = service.tables.groups.get(pair(tenant, group)).await?;
    record.ok_or_else(|| RefusalCode::GroupUnknown.into())
}

/// Writes a new group and moves the tenant's group counter; the caller writes the tenant.
pub(crate) async fn found(
    tables: &Tables,
    batch: &mut Batch,
    tenant: &TenantId,
    group: &GroupId,
    owner: &mut TenantRecord,
    now: u64,
) -> Result<GroupRecord, StoreError> {
    // A number that a lost part of the store may have given out is not given out again.
    let number = owner.next_group.max(group_floor(tables).await?);
    let record = GroupRecord {
        number,
        epoch: epoch_floor(tables).await?,
        created: now,
        suspended: None,
        reenrol: None,
        announced: None,
    };
    owner.next_group = number + 1;
    batch.insert(&tables.groups, pair(tenant, group.as_str()), &record);
    Ok(record)
}

pub(crate) async fn create(
    service: &Service,
    by: &Actor,
    tenant: &TenantId,
    group: &GroupId,
    keep: &Keep<'_, GroupRecord>,
) -> Result<GroupRecord, Refused> {
    let load = Load::group(tenant.as_str(), group.as_str());
    until_committed(async || {
        let old = tenants::known(service, tenant).await?;
        if service.tables.groups.contains(pair(tenant, group.as_str())).await? {
            return Err(RefusalCode::AlreadyExists.into());
        }
        // Its epoch may have to move one day: it has its room from now on.
        let hold = service.room_for(tenant.as_str(), load, Purpose::Growth).await?;
        let (mut owner, mut batch) = (old.clone(), Batch::new());
        let (tables, now) = (&service.tables, service.now().get());
        let record = found(tables, &mut batch, tenant, group, &mut owner, now).await?;
        batch.expect(&tables.tenants, one(tenant.as_str()), &old);
        batch.put(&tables.tenants, one(tenant.as_str()), &owner);
        keep.with(service, &mut batch, &record).await?;
        let made = service.room.note_group(tables, &mut batch).await?;
        let entry = service.entry(by, "group.create", tenant.as_str(), group.as_str());
        let entry = entry.change(None, Some(&record));
        let tried = service.write(batch, entry).await?;
        Ok(tried.map(|()| {
            hold.keep();
            service.room.group_noted(made);
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
        tenants::known(service, tenant).await?;
        let old = known(service, tenant, group.as_str()).await?;
        let mut batch = Batch::new();
        let (new, change) = moved(&service.tables, &mut batch, tenant, group, &old).await?;
        let entry = service.entry(by, "group.revoke", tenant.as_str(), group.as_str());
        let entry = entry.change(Some(&old), Some(&new));
        let tried = service.publish(vec![change], batch, entry).await?;
        Ok(tried.map(|()| {
            service.metrics.revoked.inc(&["group"]);
            new
        }))
    })
    .await
}

/// Writes the next epoch of the group, and what verifiers must know of it.
pub(crate) async fn moved(
    tables: &Tables,
    batch: &mut Batch,
    tenant: &TenantId,
    group: &GroupId,
    old: &GroupRecord,
) -> Result<(GroupRecord, Change), StoreError> {
    let mut new = old.clone();
    new.epoch = next_epoch(tables, old.epoch).await?;
    let key = pair(tenant, group.as_str());
    batch.expect(&tables.groups, key.clone(), old);
    batch.put(&tables.groups, key, &new);
    let change = told(tenant, group, &new);
    Ok((new, change))
}

/// The change that verifiers must know of: the epoch of the group.
pub(crate) fn told(tenant: &TenantId, group: &GroupId, record: &GroupRecord) -> Change {
    Change::Group(GroupEpoch {
        tenant: tenant.clone(),
        group: group.clone(),
        number: record.number,
        epoch: record.epoch,
        announced_until: record.announced.as_ref().map(|one| UnixSeconds::new(one.until)),
    })
}

/// The claims by which devices of the group may enrol with another key.
pub(crate) async fn set_reenrol(
    service: &Service,
    by: &Actor,
    tenant: &TenantId,
    group: &GroupId,
    (reenrol, when): (Option<Reenrol>, &Precondition),
) -> Result<GroupRecord, Refused> {
    until_committed(async || {
        tenants::known(service, tenant).await?;
        let old = known(service, tenant, group.as_str()).await?;
        when.check(Some(&old))?;
        let new = GroupRecord { reenrol, ..old.clone() };
        let (table, key) = (&service.tables.groups, pair(tenant, group.as_str()));
        let mut batch = Batch::new();
        batch.expect(table, key.clone(), &old);
        batch.put(table, key, &new);
        let entry = service.entry(by, "group.change", tenant.as_str(), group.as_str());
        let entry = entry.detail(format!("reenrol {}", Reenrol::word(reenrol)));
        let entry = entry.change(Some(&old), Some(&new));
        let tried = service.write(batch, entry).await?;
        Ok(tried.map(|()| new))
    })
    .await
}
