//! The approval queue: devices that asked to be enrolled, and the decisions of operators.

use tessera_runtime::sql::{Batch, Key};
use tessera_token::encoding::hex;
use tessera_token::hash::sha256;
use tessera_token::ids::{DeviceId, RoleId, TenantId};
use tessera_token::key::Thumbprint;
use tessera_token::limits::CLOCK_SKEW_SECONDS;
use tessera_token::messages::Way;
use tessera_token::refusal::RefusalCode;

use super::{queue, Rights};
use crate::admission::Source;
use crate::audit::Actor;
use crate::limits::{APPROVALS, APPROVAL_SECONDS, SWEEP_ROWS};
use crate::records::approvals::{ApprovalRecord, ApprovalState};
use crate::refused::Refused;
use crate::registry::tenants;
use crate::service::Service;
use crate::tables::{one, pair, text};
use crate::write::{until_committed, Attempt};

/// The id of the request of this device and key.
pub(crate) fn id_of(device: &DeviceId, thumbprint: &Thumbprint) -> String {
    let hash = sha256(&[device.as_str().as_bytes(), &[0], thumbprint.as_bytes()].concat());
    hex::encode(hash.get(..8).unwrap_or_default())
}

/// The request of this device and key, when it is there and not over.
pub(crate) async fn find(
    service: &Service,
    tenant: &TenantId,
    device: &DeviceId,
    thumbprint: &Thumbprint,
) -> Result<Option<(Key, ApprovalRecord)>, Refused> {
    let key = pair(tenant, id_of(device, thumbprint));
    let found = service.tables.approvals.get(key.clone()).await?;
    let is_it = |row: &ApprovalRecord| {
        row.device == device.as_str() && row.thumbprint == *thumbprint.as_bytes()
    };
    Ok(found.filter(is_it).map(|row| (key, row)))
}

/// The outcome of a request that is not decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    /// It waits, from now on or from before.
    Waits,
    /// The tenant or the source has as many as it may.
    Full,
}

/// Puts a request into the queue. One that waits already stays as it is.
pub(crate) async fn ask(
    service: &Service,
    tenant: &TenantId,
    device: &DeviceId,
    thumbprint: &Thumbprint,
    source: &Source,
) -> Result<Asked, Refused> {
    until_committed(async || {
        let (table, key) = (&service.tables.approvals, pair(tenant, id_of(device, thumbprint)));
        let old = table.get(key.clone()).await?;
        if old.as_ref().is_some_and(|old| !is_over(service, old)) {
            return Ok(Attempt::Committed(Asked::Waits));
        }
        let (now, source) = (service.now().get(), queue::name_of(source));
        let row = ApprovalRecord {
            device: device.as_str().to_owned(),
            thumbprint: *thumbprint.as_bytes(),
            state: ApprovalState::Waiting,
            rights: None,
            asked: now,
            expires: now + APPROVAL_SECONDS,
            source,
            decided: None,
        };
        let mut batch = Batch::new();
        if let Some(old) = old {
            // The sweeper has not come by yet: the place is counted already.
            batch.expect(table, key.clone(), &old);
            batch.put(table, key, &ApprovalRecord { source: old.source.clone(), ..row });
            return Ok(service.write_unnoted(batch).await?.map(|()| Asked::Waits));
        }
        if !queue::enter(service, tenant.as_str(), &row.source, &mut batch).await? {
            return Ok(Attempt::Committed(Asked::Full));
        }
        batch.insert(table, key, &row);
        // A stranger makes no entry of the audit log: the queue itself is the list.
        let tried = service.write_unnoted(batch).await?;
        Ok(tried.map(|()| Asked::Waits))
    })
    .await
}

/// Forgets a request in the batch that enrols its device.
pub(crate) async fn settle(
    service: &Service,
    tenant: &TenantId,
    (key, row): (Key, &ApprovalRecord),
    batch: &mut Batch,
) -> Result<(), Refused> {
    batch.expect(&service.tables.approvals, key.clone(), row);
    batch.delete(&service.tables.approvals, key);
    queue::leave(service, tenant.as_str(), &row.source, batch).await
}

async fn known(
    service: &Service,
    tenant: &TenantId,
    id: &str,
) -> Result<(Key, ApprovalRecord), Refused> {
    if id.len() != 16 || !id.chars().all(|c| c.is_ascii_hexdigit()) {
        return Err(RefusalCode::NotFound.into());
    }
    let key = pair(tenant, id);
    let found = service.tables.approvals.get(key.clone()).await?;
    found.map(|row| (key, row)).ok_or_else(|| RefusalCode::NotFound.into())
}

/// Approves a request: the device enrols with these rights when it asks again. A former decision is replaced.
pub(crate) async fn approve(
    service: &Service,
    by: &Actor,
    tenant: &TenantId,
    id: &str,
    rights: &Rights,
) -> Result<ApprovalRecord, Refused> {
    decide(service, by, tenant, id, Some(rights)).await
}

/// Refuses a request: the device is told so when it asks again, until the row expires.
pub(crate) async fn refuse(
    service: &Service,
    by: &Actor,
    tenant: &TenantId,
    id: &str,
) -> Result<ApprovalRecord, Refused> {
    decide(service, by, tenant, id, None).await
}

async fn decide(
    service: &Service,
    by: &Actor,
    tenant: &TenantId,
    id: &str,
    rights: Option<&Rights>,
) -> Result<ApprovalRecord, Refused> {
    tenants::known(service, tenant).await?;
    until_committed(async || {
        let (key, old) = known(service, tenant, id).await?;
        let now = service.now().get();
        let (state, action) = match rights {
            Some(_) => (ApprovalState::Approved, "approval.approve"),
            None => (ApprovalState::Refused, "approval.refuse"),
        };
        let new = ApprovalRecord {
            state,
            rights: rights
                .map(|given| (given.role.as_str().to_owned(), given.group.as_str().to_owned())),
            // A clock that was ahead asked: a decision now is not over at once.
            asked: old.asked.min(now),
            // A refusal frees the place when the request would have: junk does not stay longer for being refused.
            expires: match rights {
                Some(_) => now + APPROVAL_SECONDS,
                None => old.expires.min(now + APPROVAL_SECONDS),
            },
            decided: Some((by.name.clone(), now)),
            ..old.clone()
        };
        let mut batch = Batch::new();
        if let Some(given) = rights {
            given.check(service, tenant, Way::Approval, &mut batch).await?;
        }
        batch.expect(&service.tables.approvals, key.clone(), &old);
        batch.put(&service.tables.approvals, key, &new);
        let entry = service.entry(by, action, tenant.as_str(), &old.device).detail(match rights {
            Some(Rights { role, group }) => format!("{id} role {role} group {group}"),
            None => id.to_owned(),
        });
        let entry = entry.change(Some(&old), Some(&new));
        let tried = service.write(batch, entry).await?;
        Ok(tried.map(|()| new))
    })
    .await
}

/// Forgets a request: the device may ask anew.
pub(crate) async fn delete(
    service: &Service,
    by: &Actor,
    tenant: &TenantId,
    id: &str,
) -> Result<(), Refused> {
    tenants::known(service, tenant).await?;
    until_committed(async || {
        let (key, old) = known(service, tenant, id).await?;
        let mut batch = Batch::new();
        settle(service, tenant, (key, &old), &mut batch).await?;
        let entry = service.entry(by, "approval.delete", tenant.as_str(), &old.device).detail(id);
        let entry = entry.change(Some(&old), None);
        service.write(batch, entry).await
    })
    .await
}

/// How many requests of a tenant are approved with this role.
pub(super) async fn approved(
    service: &Service,
    tenant: &TenantId,
    role: &RoleId,
) -> Result<usize, Refused> {
    let of = one(tenant.as_str());
    // The queue of a tenant is bounded.
    let rows = service.tables.approvals.scan(&of, None, APPROVALS as usize).await?;
    let has_role =
        |row: &ApprovalRecord| row.rights.as_ref().is_some_and(|(given, _)| given == role.as_str());
    Ok(rows.iter().filter(|(_, row)| has_role(row) && !is_over(service, row)).count())
}

/// Whether a request waits no more. A time ahead of the clock is that of a wrong clock, and the device asks anew.
pub(crate) fn is_over(service: &Service, row: &ApprovalRecord) -> bool {
    let now = service.now().get();
    row.expires <= now || row.asked > now.saturating_add(CLOCK_SKEW_SECONDS)
}

/// Removes requests that are over. Called by the sweeper.
pub(crate) async fn sweep(service: &Service) -> Result<(), Refused> {
    let now = service.time.removal().get();
    for (key, row) in service.tables.approvals.up_to("expires", now, SWEEP_ROWS).await? {
        let tenant = text(&key, 0)?.to_owned();
        let mut batch = Batch::new();
        batch.expect(&service.tables.approvals, key.clone(), &row);
        batch.delete(&service.tables.approvals, key);
        queue::leave(service, &tenant, &row.source, &mut batch).await?;
        // When another change got in between, the next sweep looks again.
        if service.write_unnoted(batch).await? == Attempt::Committed(()) {
            service.metrics.swept.add(&["approvals"], 1);
        }
    }
    Ok(())
}
