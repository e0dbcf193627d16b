use std::collections::BTreeSet;

use tessera_runtime::sql::{Batch, Record, Table};
use tessera_token::ids::{DeviceId, GroupId, TenantId};
use tessera_token::key::KeyId;
use tessera_token::messages::{is_service_tenant, SERVICE_TENANT};
use tessera_token::refusal::RefusalCode;
use tessera_token::trust::Change;

use super::{devices, groups};
use crate::audit::Actor;
use crate::keys::fresh::{first_pair, forget};
use crate::limits::{KEYS_PER_PUBLICATION, STALENESS_SECONDS_LEAST, STALENESS_SECONDS_MOST};
use crate::once::Keep;
use crate::records::keys::KeyRecord;
use crate::records::{Confirmation, Page, Staleness, TenantRecord};
use crate::refused::Refused;
use crate::revision::Precondition;
use crate::room::{Load, Purpose};
use crate::service::Service;
use crate::tables::{one, pair};
use crate::trust::restored::{epoch_floor, next_epoch};
use crate::write::{until_committed, Attempt};

/// The group that every tenant has.
pub(crate) const DEFAULT_GROUP: &str = "default";

pub(crate) async fn find(
    service: &Service,
    tenant: &TenantId,
) -> Result<Option<TenantRecord>, Refused> {
    Ok(service.tables.tenants.get(one(tenant.as_str())).await?)
}

/// The tenant; the service's own is none to anyone.
pub(crate) async fn known(service: &Service, tenant: &TenantId) -> Result<TenantRecord, Refused> {
    if is_service_tenant(tenant) {
        return Err(RefusalCode::TenantUnknown.into());
    }
    with_keys(service, tenant).await
}

/// As [`known`], and also the service's own tenant: its issuer keys are rotated and cut as those of others.
pub(crate) async fn with_keys(
    service: &Service,
    tenant: &TenantId,
) -> Result<TenantRecord, Refused> {
    find(service, tenant).await?.ok_or_else(|| RefusalCode::TenantUnknown.into())
}

/// A page of the rows that a tenant has in a table, each with its name.
pub(crate) async fn page_of<R: Record>(
    service: &Service,
    tenant: &TenantId,
    table: &Table<R>,
    (after, limit): (Option<&str>, usize),
) -> Result<Page<(String, R)>, Refused> {
    known(service, tenant).await?;
    Ok(Page::in_tenant(table, tenant, after, limit).await?)
}

/// Makes the service's own tenant when it is not there.
pub(crate) async fn found_own(
    service: &Service,
    by: &Actor,
    tenant: &TenantId,
) -> Result<(), Refused> {
    match found(service, by, tenant, false, None).await {
        Err(refused) if refused.code == RefusalCode::AlreadyExists => Ok(()),
        made => made.map(drop),
    }
}

/// The tenant, when devices of it may be served.
pub(crate) async fn serving(service: &Service, tenant: &TenantId) -> Result<TenantRecord, Refused> {
    let record = known(service, tenant).await?;
    match record.suspended {
        true => Err(RefusalCode::TenantSuspended.into()),
        false => Ok(record),
    }
}

/// A new tenant with an active and a next issuer key and its default group. Tenants are never deleted, so an id never
/// comes back with another meaning.
pub(crate) async fn create(
    service: &Service,
    by: &Actor,
    tenant: &TenantId,
    bearer: bool,
    keep: &Keep<'_, TenantRecord>,
) -> Result<TenantRecord, Refused> {
    match is_service_tenant(tenant) {
        true => Err(RefusalCode::AlreadyExists.into()),
        false => found(service, by, tenant, bearer, Some(keep)).await,
    }
}

async fn found(
    service: &Service,
    by: &Actor,
    tenant: &TenantId,
    bearer: bool,
    keep: Option<&Keep<'_, TenantRecord>>,
) -> Result<TenantRecord, Refused> {
    let load = Load::founding(tenant.as_str(), DEFAULT_GROUP);
    until_committed(async || {
        if find(service, tenant).await?.is_some() {
            return Err(RefusalCode::AlreadyExists.into());
        }
        let hold = service.room_for(tenant.as_str(), load, Purpose::Growth).await?;
        let (record, mut batch, changes, keys) = founding(service, tenant, bearer).await?;
        if let Some(keep) = keep {
            keep.with(service, &mut batch, &record).await?;
        }
        let entry = service.entry(by, "tenant.create", tenant.as_str(), tenant.as_str());
        let tried = service.publish_within(hold, changes.clone(), batch, entry).await?;
        if tried == Attempt::Conflict {
            // Made by another, or the line jumped and it begins with a higher epoch.
            forget(&service.issuer_keys, &keys).await;
        }
        Ok(tried.map(|()| record))
    })
    .await
}

async fn founding(
    service: &Service,
    tenant: &TenantId,
    bearer: bool,
) -> Result<(TenantRecord, Batch, Vec<Change>, [(KeyId, KeyRecord); 2]), Refused> {
    let now = service.now().get();
    let mut record = TenantRecord::new(bearer, now);
    record.epoch = epoch_floor(&service.tables).await?;
    let mut batch = Batch::new();
    let group = GroupId::parse(DEFAULT_GROUP).map_err(|_| RefusalCode::Internal)?;
    groups::found(&service.tables, &mut batch, tenant, &group, &mut record, now).await?;
    batch.insert(&service.tables.tenants, one(tenant.as_str()), &record);
    let mut changes = vec![Change::Tenant(record.trust(tenant))];
    let (keys, random) = (&service.issuer_keys, &*service.random);
    let keys = first_pair(&service.tables, keys, random, tenant, &mut batch, now).await?;
    for (_, key) in &keys {
        changes.push(key.change(tenant)?);
    }
    Ok((record, batch, changes, keys))
}

/// Ends all tokens of the tenant and serves none of its devices until it is reinstated.
pub(crate) async fn revoke(
    service: &Service,
    by: &Actor,
    tenant: &TenantId,
) -> Result<TenantRecord, Refused> {
    service.metrics.revoked.inc(&["tenant"]);
    change(service, by, tenant, "tenant.revoke", |record, next| {
        record.suspended = true;
        record.epoch = next;
    })
    .await
}

/// Serves the tenant again. Its epoch stays where it is: tokens from before the revocation stay revoked.
pub(crate) async fn reinstate(
    service: &Service,
    by: &Actor,
    tenant: &TenantId,
) -> Result<TenantRecord, Refused> {
    change(service, by, tenant, "tenant.reinstate", |record, _| record.suspended = false).await
}

/// Whether devices may ask for tokens without `cnf`.
pub(crate) async fn set_bearer(
    service: &Service,
    by: &Actor,
    tenant: &TenantId,
    (bearer, when): (bool, &Precondition),
) -> Result<TenantRecord, Refused> {
    let action = match bearer {
        true => "tenant.bearer-on",
        false => "tenant.bearer-off",
    };
    change_when(service, by, tenant, (action, when), |record, _| record.bearer = bearer).await
}

/// How new tokens name the device key. Before tokens only refer to it, verifiers hear of every key; one that has not
/// heard yet refuses with `confirmation_key`.
pub(crate) async fn set_confirmation(
    service: &Service,
    by: &Actor,
    tenant: &TenantId,
    (confirmation, when): (Confirmation, &Precondition),
) -> Result<TenantRecord, Refused> {
    if confirmation == Confirmation::Key {
        return change_when(service, by, tenant, ("tenant.confirmation", when), |record, _| {
            record.confirmation = confirmation;
        })
        .await;
    }
    begin_publishing(service, by, tenant, when).await?;
    publish_keys(service, by, tenant).await?;
    // It began under the precondition, and comes to its end.
    change(service, by, tenant, "tenant.confirmation", |record, _| {
        record.confirmation = confirmation;
    })
    .await
}

/// From this write on enrolment publishes too, so that the walk behind it misses no device.
async fn begin_publishing(
    service: &Service,
    by: &Actor,
    tenant: &TenantId,
    when: &Precondition,
) -> Result<(), Refused> {
    let held = match known(service, tenant).await?.keys_published {
        true => Load::default(),
        false => device_keys(service, tenant).await?,
    };
    let hold = service.room_for(tenant.as_str(), held, Purpose::Growth).await?;
    change_when(service, by, tenant, ("tenant.publish-keys", when), |record, _| {
        record.keys_published = true;
    })
    .await?;
    hold.keep();
    if held != Load::default() {
        // Those that enrolled between the count and the write.
        let late = device_keys(service, tenant).await?.minus(&held);
        service.room.book(tenant.as_str(), &late);
    }
    Ok(())
}

async fn device_keys(service: &Service, tenant: &TenantId) -> Result<Load, Refused> {
    Ok(Load::of_device_keys(&service.tables, tenant.as_str()).await?)
}

/// How old trust data may be when verifiers decide on tokens of the tenant.
pub(crate) async fn set_staleness(
    service: &Service,
    by: &Actor,
    tenant: &TenantId,
    (staleness, when): (Staleness, &Precondition),
) -> Result<TenantRecord, Refused> {
    let Staleness { telemetry, command, actuation } = staleness;
    let good = STALENESS_SECONDS_LEAST..=STALENESS_SECONDS_MOST;
    if ![telemetry, command, actuation].iter().all(|seconds| good.contains(seconds)) {
        let (least, most) = (good.start(), good.end());
        return Err(Refused::malformed(format!("staleness is {least} to {most} seconds")));
    }
    change_when(service, by, tenant, ("tenant.staleness", when), |record, _| {
        record.staleness = Some(staleness);
    })
    .await
}

async fn publish_keys(service: &Service, by: &Actor, tenant: &TenantId) -> Result<(), Refused> {
    let mut after: Option<String> = None;
    loop {
        after = until_committed(async || publish_page(service, by, tenant, after.as_deref()).await)
            .await?;
        if after.is_none() {
            return Ok(());
        }
    }
}

/// Publishes the keys of a page of devices, as they are when that is written; gives where the next page begins.
async fn publish_page(
    service: &Service,
    by: &Actor,
    tenant: &TenantId,
    after: Option<&str>,
) -> Result<Attempt<Option<String>>, Refused> {
    let page = devices::list(service, tenant, after, KEYS_PER_PUBLICATION).await?;
    let (mut changes, mut batch) = (Vec::with_capacity(page.items.len()), Batch::new());
    for (name, record) in &page.items {
        let device = DeviceId::parse(name).map_err(|_| RefusalCode::Internal)?;
        changes.push(record.key_change(tenant, &device));
        batch.expect(&service.tables.devices, pair(tenant, name.as_str()), record);
    }
    if changes.is_empty() {
        return Ok(Attempt::Committed(page.next));
    }
    let entry = service.entry(by, "device.publish-keys", tenant.as_str(), tenant.as_str());
    let entry = entry.detail(format!("{} keys", changes.len()));
    let tried = service.publish(changes, batch, entry).await?;
    Ok(tried.map(|()| page.next))
}

async fn change(
    service: &Service,
    by: &Actor,
    tenant: &TenantId,
    action: &str,
    with: impl Fn(&mut TenantRecord, u64),
) -> Result<TenantRecord, Refused> {
    change_when(service, by, tenant, (action, &Precondition::Nothing), with).await
}

async fn change_when(
    service: &Service,
    by: &Actor,
    tenant: &TenantId,
    (action, when): (&str, &Precondition),
    with: impl Fn(&mut TenantRecord, u64),
) -> Result<TenantRecord, Refused> {
    until_committed(async || {
        let old = known(service, tenant).await?;
        when.check(Some(&old))?;
        let mut new = old.clone();
        with(&mut new, next_epoch(&service.tables, old.epoch).await?);
        let mut batch = Batch::new();
        batch.expect(&service.tables.tenants, one(tenant.as_str()), &old);
        batch.put(&service.tables.tenants, one(tenant.as_str()), &new);
        let entry = service.entry(by, action, tenant.as_str(), tenant.as_str());
        let entry = entry.change(Some(&old), Some(&new));
        let changes = vec![Change::Tenant(new.trust(tenant))];
        let tried = service.publish(changes, batch, entry).await?;
        Ok(tried.map(|()| new))
    })
    .await
}

pub(crate) async fn list(
    service: &Service,
    after: Option<&str>,
    limit: usize,
) -> Result<Page<(String, TenantRecord)>, Refused> {
    let after = after.map(one);
    let mut rows = service.tables.tenants.scan(&[], after.as_deref(), limit + 2).await?;
    rows.retain(|(key, _)| key.first() != Some(&SERVICE_TENANT.into()));
    rows.truncate(limit + 1);
    Ok(Page::named(rows, limit))
}

/// As [`list`], of these alone.
pub(crate) async fn list_of(
    service: &Service,
    these: &BTreeSet<String>,
    after: Option<&str>,
    limit: usize,
) -> Result<Page<(String, TenantRecord)>, Refused> {
    let mut items = Vec::new();
    for name in these.iter().filter(|name| after.is_none_or(|after| name.as_str() > after)) {
        let tenant = name.parse::<TenantId>().map_err(|_| RefusalCode::TenantUnknown)?;
        items.extend(find(service, &tenant).await?.map(|record| (name.clone(), record)));
        if items.len() > limit {
            break;
        }
    }
    Ok(Page::of(items, limit, |(id, _)| id.clone()))
}
