//! After a jump: subjects that this process may have revoked below a lost epoch are revoked once more, above
//! every epoch of the lost part. Until then, "revoked" might be no news to a reader.

use std::collections::BTreeSet;

use tessera_runtime::sql::Batch;
use tessera_token::ids::{DeviceId, GroupId, TenantId};
use tessera_token::refusal::RefusalCode;
use tessera_token::trust::{Change, DeviceEpoch, Event};

use crate::audit::{Actor, Entry};
use crate::records::{DeletedDevice, DeviceRecord, GroupRecord, SignedEvent, TenantRecord};
use crate::refused::Refused;
use crate::registry::devices::Moved;
use crate::registry::groups;
use crate::service::Service;
use crate::tables::{one, pair, text};
use crate::trust::ledger::Head;
use crate::trust::restored::{epoch_floor, lifted, lifting, Lifting};
use crate::write::{until_committed, Attempt};

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Subject {
    Tenant(String),
    Group(String, String),
    Device(String, String),
}

/// Lifts what is due; nothing in a service that lost nothing. It may be cut off anywhere and goes on with the next call.
pub(crate) async fn run(service: &Service) -> Result<(), Refused> {
    while let Some(due) = lifting(&service.tables).await? {
        // When another jump got in between, the next call does the rest.
        if step(service, &due).await? == Attempt::Conflict {
            break;
        }
    }
    Ok(())
}

async fn step(service: &Service, due: &Lifting) -> Result<Attempt<()>, Refused> {
    let mut subjects = revoked(service, due).await?;
    moved_after(service, due, &mut subjects).await?;
    let floor = epoch_floor(&service.tables).await?;
    let mut moved = 0;
    for subject in &subjects {
        moved += usize::from(lift(service, subject, floor).await? == Lift::Moved);
    }
    let mut batch = Batch::new();
    lifted(&service.tables, &mut batch, due);
    // Evidence that is shown again moves nothing, and a reader must not fill the audit log.
    if moved == 0 {
        return service.write_unnoted(batch).await;
    }
    let by = Actor::service();
    let entry = service.entry(&by, "trust.lift", "", "service");
    let entry = entry.detail(format!("{moved} subjects above epoch {floor}"));
    service.write(batch, entry).await
}

/// A subject that is revoked or suspended now has no token that must live on.
async fn revoked(service: &Service, due: &Lifting) -> Result<BTreeSet<Subject>, Refused> {
    let mut subjects = BTreeSet::new();
    let mut moved = service.tables.moved_devices.walk(&[]);
    while let Some(page) = moved.next().await? {
        for (key, _) in page {
            let (tenant, device) = (text(&key, 0)?.to_owned(), text(&key, 1)?.to_owned());
            let is_deleted = service.tables.deleted_devices.contains(key.clone()).await?;
            let record = service.tables.devices.get(key).await?;
            let has_none = |record: DeviceRecord| record.revoked || record.suspended.is_some();
            let is_revoked = is_deleted || record.is_some_and(has_none);
            if is_revoked && due.after(&tenant).is_some() {
                subjects.insert(Subject::Device(tenant, device));
            }
        }
    }
    let mut tenants = service.tables.tenants.walk(&[]);
    while let Some(page) = tenants.next().await? {
        for (key, tenant) in page {
            let name = text(&key, 0)?;
            if tenant.suspended && due.after(name).is_some() {
                subjects.insert(Subject::Tenant(name.to_owned()));
            }
        }
    }
    let mut groups = service.tables.groups.walk(&[]);
    while let Some(page) = groups.next().await? {
        for (key, group) in page {
            let (tenant, name) = (text(&key, 0)?, text(&key, 1)?);
            if group.suspended.is_some() && due.after(tenant).is_some() {
                subjects.insert(Subject::Group(tenant.to_owned(), name.to_owned()));
            }
        }
    }
    Ok(subjects)
}

/// Subjects of the events above the numbers of their tenants, which this process has said itself.
async fn moved_after(
    service: &Service,
    due: &Lifting,
    subjects: &mut BTreeSet<Subject>,
) -> Result<(), Refused> {
    let line = Head::read(&service.tables).await?.start;
    // No event has a number that no column holds.
    let lowest = due.lowest().min(i64::MAX.unsigned_abs());
    let mut events = service.tables.trust_events.walk_after(one(lowest));
    while let Some(page) = events.next().await? {
        for (_, SignedEvent(signed)) in page {
            // Our own row. A former root key may have signed it.
            let event = Event::unverified(&signed);
            let event = event.map_err(|_| RefusalCode::Internal)?;
            let after = due.after(event.change.tenant().as_str());
            let is_known = event.seq > line && moves_nothing(&event.change);
            if after.is_some_and(|after| event.seq > after) && !is_known {
                subjects.extend(subject(&event.change));
            }
        }
    }
    Ok(())
}

/// A tenant that is reinstated or gets other settings keeps its epoch: its tokens live on, however often a reader shows what
/// it had before.
fn moves_nothing(change: &Change) -> bool {
    matches!(change, Change::Tenant(tenant) if !tenant.suspended)
}

fn subject(change: &Change) -> Option<Subject> {
    match change {
        Change::Tenant(tenant) if tenant.epoch > 0 => {
            Some(Subject::Tenant(tenant.tenant.to_string()))
        }
        Change::Group(group) => {
            Some(Subject::Group(group.tenant.to_string(), group.group.to_string()))
        }
        Change::Device(device) => {
            Some(Subject::Device(device.tenant.to_string(), device.device.to_string()))
        }
        _ => None,
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Lift {
    Moved,
    /// It is above the floor, or not known here.
    Needless,
}

async fn lift(service: &Service, subject: &Subject, floor: u64) -> Result<Lift, Refused> {
    until_committed(async || match subject {
        Subject::Tenant(tenant) => lift_tenant(service, tenant, floor).await,
        Subject::Group(tenant, group) => lift_group(service, tenant, group, floor).await,
        Subject::Device(tenant, device) => lift_device(service, tenant, device, floor).await,
    })
    .await
}

fn entry(service: &Service, tenant: &str, subject: &str) -> Entry {
    service.entry(&Actor::service(), "trust.lift", tenant, subject)
}

async fn lift_tenant(service: &Service, name: &str, floor: u64) -> Result<Attempt<Lift>, Refused> {
    let table = &service.tables.tenants;
    let old = table.get(one(name)).await?.filter(|old| old.epoch < floor);
    let Some(old) = old else { return Ok(Attempt::Committed(Lift::Needless)) };
    let new = TenantRecord { epoch: floor, ..old.clone() };
    let mut batch = Batch::new();
    batch.expect(table, one(name), &old);
    batch.put(table, one(name), &new);
    let change = Change::Tenant(new.trust(&id(name)?));
    let tried = service.publish(vec![change], batch, entry(service, name, name)).await?;
    Ok(tried.map(|()| Lift::Moved))
}

async fn lift_group(
    service: &Service,
    tenant: &str,
    group: &str,
    floor: u64,
) -> Result<Attempt<Lift>, Refused> {
    let (table, key) = (&service.tables.groups, pair(tenant, group));
    let old = table.get(key.clone()).await?.filter(|old| old.epoch < floor);
    let Some(old) = old else { return Ok(Attempt::Committed(Lift::Needless)) };
    let new = GroupRecord { epoch: floor, ..old.clone() };
    let mut batch = Batch::new();
    batch.expect(table, key.clone(), &old);
    batch.put(table, key, &new);
    let named = GroupId::parse(group).map_err(|_| RefusalCode::Internal)?;
    let change = groups::told(&id(tenant)?, &named, &new);
    let tried = service.publish(vec![change], batch, entry(service, tenant, group)).await?;
    Ok(tried.map(|()| Lift::Moved))
}

async fn lift_device(
    service: &Service,
    tenant: &str,
    device: &str,
    floor: u64,
) -> Result<Attempt<Lift>, Refused> {
    let old = service.tables.devices.get(pair(tenant, device)).await?;
    let Some(old) = old else { return lift_deleted(service, tenant, device, floor).await };
    if old.epoch >= floor {
        return Ok(Attempt::Committed(Lift::Needless));
    }
    let new = DeviceRecord { epoch: floor, ..old.clone() };
    let entry = entry(service, tenant, device);
    let (tenant, name) = (id(tenant)?, DeviceId::parse(device));
    let device = name.map_err(|_| RefusalCode::Internal)?;
    let moved = Moved { tenant: &tenant, device: &device, old: &old, new: &new };
    let tried = moved.publish(service, entry, |_| Ok(())).await?;
    Ok(tried.map(|_| Lift::Moved))
}

/// Of a deleted device nothing is left but its epoch, which verifiers must hear above the floor too.
async fn lift_deleted(
    service: &Service,
    tenant: &str,
    device: &str,
    floor: u64,
) -> Result<Attempt<Lift>, Refused> {
    let (table, key) = (&service.tables.deleted_devices, pair(tenant, device));
    let old = table.get(key.clone()).await?.filter(|old| old.epoch < floor);
    let Some(old) = old else { return Ok(Attempt::Committed(Lift::Needless)) };
    let new = DeletedDevice { epoch: floor, ..old.clone() };
    let mut batch = Batch::new();
    batch.expect(table, key.clone(), &old);
    batch.put(table, key, &new);
    let change = Change::Device(DeviceEpoch {
        tenant: id(tenant)?,
        device: DeviceId::parse(device).map_err(|_| RefusalCode::Internal)?,
        epoch: floor,
        at: service.time.stamp(),
    });
    match service.publish(vec![change], batch, entry(service, tenant, device)).await {
        // Its tokens that the service knows of are over. One that a lost part gave to a new device of this id ends by time.
        Err(refused) if refused.code == RefusalCode::CapacityReached => {
            tracing::warn!(
                tenant,
                device,
                "verifiers have no room for the end of this deleted device: revoke its group if it was enrolled again \
                 after the backup"
            );
            Ok(Attempt::Committed(Lift::Needless))
        }
        tried => Ok(tried?.map(|()| Lift::Moved)),
    }
}

fn id(tenant: &str) -> Result<TenantId, Refused> {
    TenantId::parse(tenant).map_err(|_| RefusalCode::Internal.into())
}
