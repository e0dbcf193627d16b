//! Device ids that may enrol by a group key, each once.

use std::collections::BTreeMap;

use tessera_runtime::sql::Batch;
use tessera_token::ids::{DeviceId, GroupId, TenantId};
use tessera_token::refusal::RefusalCode;

use super::group_keys;
use crate::audit::Actor;
use crate::limits::LISTED_PER_CALL;
use crate::records::ways::ListedId;
use crate::records::Page;
use crate::refused::Refused;
use crate::registry::tenants;
use crate::service::Service;
use crate::tables::pair;
use crate::write::until_committed;

/// Adds ids to the list of a group key. Those that are on it already stay as they are, those on the list of a deleted one change
/// over; gives the number of new ones.
pub(crate) async fn add(
    service: &Service,
    by: &Actor,
    tenant: &TenantId,
    name: &GroupId,
    ids: &[DeviceId],
) -> Result<u64, Refused> {
    tenants::known(service, tenant).await?;
    if !(1..=LISTED_PER_CALL).contains(&ids.len()) {
        return Err(Refused::malformed(format!("devices are 1 to {LISTED_PER_CALL} ids")));
    }
    let mut ids = ids.to_vec();
    ids.sort_unstable();
    ids.dedup();
    let row = ListedId {
        group_key: name.as_str().to_owned(),
        created: service.now().get(),
        by: by.name.clone(),
        used: None,
    };
    until_committed(async || {
        let of = group_keys::known(service, tenant, name.as_str()).await?;
        let mut batch = Batch::new();
        batch.expect(&service.tables.group_keys, pair(tenant, name.as_str()), &of);
        let (mut added, mut former) = (0, BTreeMap::new());
        for id in &ids {
            let (table, key) = (&service.tables.listed_ids, pair(tenant, id.as_str()));
            match table.get(key.clone()).await? {
                None => {
                    batch.insert(table, key, &row);
                    added += 1;
                }
                Some(old) if old.group_key == row.group_key => {}
                Some(old) if gone(service, tenant, &old, &mut batch, &mut former).await? => {
                    // It entitles no device any more. A used one stays used.
                    batch.expect(table, key.clone(), &old);
                    batch.put(table, key, &ListedId { used: old.used, ..row.clone() });
                    added += 1;
                }
                Some(old) => {
                    let detail = format!("{id} is on the list of the group key {}", old.group_key);
                    return Err(Refused::because(RefusalCode::AlreadyExists, detail));
                }
            }
        }
        let entry = service
            .entry(by, "listed_id.add", tenant.as_str(), name.as_str())
            .detail(format!("{added} ids"));
        let tried = service.write(batch, entry).await?;
        Ok(tried.map(|()| added))
    })
    .await
}

/// Whether the group key of an entry was deleted, as the batch demands. Each is looked for once.
async fn gone(
    service: &Service,
    tenant: &TenantId,
    entry: &ListedId,
    batch: &mut Batch,
    known: &mut BTreeMap<String, bool>,
) -> Result<bool, Refused> {
    if let Some(is_gone) = known.get(&entry.group_key) {
        return Ok(*is_gone);
    }
    let (table, key) = (&service.tables.group_keys, pair(tenant, entry.group_key.as_str()));
    let is_gone = !table.contains(key.clone()).await?;
    if is_gone {
        batch.expect_missing(table, key);
    }
    known.insert(entry.group_key.clone(), is_gone);
    Ok(is_gone)
}

pub(crate) async fn list(
    service: &Service,
    tenant: &TenantId,
    name: &GroupId,
    after: Option<&str>,
    limit: usize,
) -> Result<Page<(String, ListedId)>, Refused> {
    tenants::known(service, tenant).await?;
    let wanted = [("tenant", tenant.as_str().into()), ("group_key", name.as_str().into())];
    let after = after.map(|id| pair(tenant, id));
    let rows = service.tables.listed_ids.find(&wanted, after.as_deref(), limit + 1).await?;
    Ok(Page::named(rows, limit))
}

/// Takes an id off the list. A device that has enrolled by it stays enrolled.
pub(crate) async fn delete(
    service: &Service,
    by: &Actor,
    tenant: &TenantId,
    name: &GroupId,
    device: &DeviceId,
) -> Result<(), Refused> {
    tenants::known(service, tenant).await?;
    until_committed(async || {
        let (table, key) = (&service.tables.listed_ids, pair(tenant, device.as_str()));
        let found = table.get(key.clone()).await?;
        let of_this = |row: &ListedId| row.group_key == name.as_str();
        let old = found.filter(of_this).ok_or(RefusalCode::NotFound)?;
        let mut batch = Batch::new();
        batch.expect(table, key.clone(), &old);
        batch.delete(table, key);
        let entry = service
            .entry(by, "listed_id.delete", tenant.as_str(), device.as_str())
            .detail(format!("group key {name}"));
        service.write(batch, entry).await
    })
    .await
}
