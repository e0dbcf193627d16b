//! The ways of enrolment that each group takes, and what entitles devices by them. A group takes claims alone until an
//! operator sets its ways.

use tessera_runtime::sql::{Batch, Record, Table};
use tessera_token::ids::{GroupId, RoleId, TenantId};
use tessera_token::messages::Way;
use tessera_token::refusal::RefusalCode;

use super::{groups, open_rows, roles, templates, tenants};
use crate::audit::Actor;
use crate::limits::{GROUP_KEYS, ROLE_CLAIMS_COUNTED};
use crate::records::attributes::missing;
use crate::records::ways::{GroupWays, ListedKey};
use crate::refused::Refused;
use crate::revision::Precondition;
use crate::service::Service;
use crate::tables::{one, pair};
use crate::write::until_committed;

pub(crate) mod approvals;
pub(crate) mod authorities;
pub(crate) mod denied;
pub(crate) mod group_keys;
pub(crate) mod listed_ids;
pub(crate) mod listed_keys;
mod queue;

/// Role and group of the devices that an entry entitles.
pub(crate) struct Rights {
    pub(crate) role: RoleId,
    pub(crate) group: GroupId,
}

impl Rights {
    /// Whether the tenant has both, and the group takes this way. The batch that gives these rights expects the role as it
    /// was read.
    ///
    /// # Errors
    /// `attribute_missing` for a role whose lines name attributes: only claims carry them.
    pub(crate) async fn check(
        &self,
        service: &Service,
        tenant: &TenantId,
        way: Way,
        batch: &mut Batch,
    ) -> Result<(), Refused> {
        tenants::known(service, tenant).await?;
        let role = roles::known(service, tenant, self.role.as_str()).await?;
        if let Some(name) = templates::attributes_of(&role).next() {
            return Err(missing(name));
        }
        groups::known(service, tenant, self.group.as_str()).await?;
        taken(service, tenant, self.group.as_str(), way).await?;
        roles::expect(service, batch, (tenant, self.role.as_str()), &role);
        Ok(())
    }
}

/// The ways of a group; without a row those of every new group.
pub(crate) async fn of_group(
    service: &Service,
    tenant: &TenantId,
    group: &str,
) -> Result<GroupWays, Refused> {
    let row = service.tables.group_ways.get(pair(tenant, group)).await?;
    Ok(row.unwrap_or_else(GroupWays::of_new_group))
}

/// Whether the group takes this way.
///
/// # Errors
/// `way_not_taken`.
pub(crate) async fn taken(
    service: &Service,
    tenant: &TenantId,
    group: &str,
    way: Way,
) -> Result<(), Refused> {
    match of_group(service, tenant, group).await?.takes(way) {
        true => Ok(()),
        false => Err(not_taken(group, way)),
    }
}

/// As [`taken`], for a batch that enrols: the ways must still be these when it is written.
pub(crate) async fn expect_taken(
    service: &Service,
    tenant: &TenantId,
    group: &str,
    way: Way,
    batch: &mut Batch,
) -> Result<(), Refused> {
    let (table, key) = (&service.tables.group_ways, pair(tenant, group));
    let row = table.get(key.clone()).await?;
    let takes = row.as_ref().map_or(way == Way::Claim, |row| row.takes(way));
    match &row {
        Some(row) => batch.expect(table, key, row),
        None => batch.expect_missing(table, key),
    }
    match takes {
        true => Ok(()),
        false => Err(not_taken(group, way)),
    }
}

fn not_taken(group: &str, way: Way) -> Refused {
    Refused::because(RefusalCode::WayNotTaken, format!("group {group} does not take {way}"))
}

/// Whether any group of the tenant takes this way by the decision of an operator.
pub(crate) async fn takes_approval(service: &Service, tenant: &TenantId) -> Result<bool, Refused> {
    let wanted = [("tenant", tenant.as_str().into()), ("approval", true.into())];
    Ok(!service.tables.group_ways.find(&wanted, None, 1).await?.is_empty())
}

/// Sets the ways that a group takes. Devices that are enrolled stay enrolled.
pub(crate) async fn set(
    service: &Service,
    by: &Actor,
    tenant: &TenantId,
    group: &GroupId,
    (wanted, when): (&[Way], &Precondition),
) -> Result<GroupWays, Refused> {
    let mut wanted = wanted.to_vec();
    wanted.sort_unstable();
    wanted.dedup();
    tenants::known(service, tenant).await?;
    until_committed(async || {
        groups::known(service, tenant, group.as_str()).await?;
        let (table, key) = (&service.tables.group_ways, pair(tenant, group.as_str()));
        let old = table.get(key.clone()).await?;
        when.check(Some(&old.clone().unwrap_or_else(GroupWays::of_new_group)))?;
        let new =
            GroupWays { ways: wanted.clone(), changed: service.now().get(), by: by.name.clone() };
        let mut batch = Batch::new();
        batch.expect_same(table, key.clone(), old.as_ref());
        batch.put(table, key, &new);
        let names: Vec<&str> = wanted.iter().map(|way| way.as_str()).collect();
        let entry = service
            .entry(by, "group.ways", tenant.as_str(), group.as_str())
            .detail(names.join(" "))
            .change(old.as_ref(), Some(&new));
        let tried = service.write(batch, entry).await?;
        Ok(tried.map(|()| new.clone()))
    })
    .await
}

/// How many entries give devices this role: listed keys that are not used, group keys, authorities, and requests that are
/// approved. The count of listed keys ends at its bound.
pub(crate) async fn of_role(
    service: &Service,
    tenant: &TenantId,
    role: &RoleId,
) -> Result<usize, Refused> {
    let tables = &service.tables;
    let columns = [("tenant", tenant.as_str().into()), ("role", role.as_str().into())];
    let is_open = |entry: &ListedKey| entry.used.is_none();
    let most = ROLE_CLAIMS_COUNTED;
    let listed = open_rows::count(&tables.listed_keys, &columns, most, is_open).await?;
    let of = one(tenant.as_str());
    // A few more than there may be, when several were made at once.
    let keys = tables.group_keys.scan(&of, None, 2 * GROUP_KEYS).await?;
    let keys = keys.iter().filter(|(_, entry)| entry.role == role.as_str()).count();
    let authorities = authorities::of_tenant(service, tenant).await?;
    let authorities = authorities.iter().filter(|(_, entry)| entry.role == role.as_str()).count();
    let approved = approvals::approved(service, tenant, role).await?;
    Ok(listed + keys + authorities + approved)
}

/// Deletes what entitles under this name. Devices that have enrolled by it stay enrolled.
async fn take_off<R: Record>(
    service: &Service,
    by: &Actor,
    tenant: &TenantId,
    table: &Table<R>,
    (name, action): (&str, &str),
) -> Result<(), Refused> {
    tenants::known(service, tenant).await?;
    until_committed(async || {
        let key = pair(tenant, name);
        let old = table.get(key.clone()).await?.ok_or(RefusalCode::NotFound)?;
        let mut batch = Batch::new();
        batch.expect(table, key.clone(), &old);
        batch.delete(table, key);
        let entry = service.entry(by, action, tenant.as_str(), name);
        service.write(batch, entry.change(Some(&old), None)).await
    })
    .await
}

/// Whether a tenant may have one more row of a table with this bound.
pub(crate) fn within(count: usize, most: usize, what: &str) -> Result<(), Refused> {
    match count < most {
        true => Ok(()),
        false => {
            let detail = format!("a tenant has at most {most} {what}: delete one first");
            Err(Refused::because(RefusalCode::LimitReached, detail))
        }
    }
}
