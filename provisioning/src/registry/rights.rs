//! The end of tokens after their role was changed.
//!
//! The change of a role is written first, with the mark that tokens with its former rights are still to be ended. A token
//! that is issued from then on has the new rights: its batch demands the role as it was read. The epochs move next, in the
//! batch that removes the mark. A service that stops between the two goes on at its next sweep.

use tessera_runtime::sql::Batch;
use tessera_token::ids::{DeviceId, GroupId, RoleId, TenantId};
use tessera_token::refusal::RefusalCode;
use tessera_token::trust::{Change, DeviceEpoch};

use super::reach::{Moves, Reach};
use super::{groups, tenants};
use crate::audit::{Actor, Entry};
use crate::limits::ROLES_RESUMED;
use crate::refused::Refused;
use crate::revision::Precondition;
use crate::service::Service;
use crate::tables::{one, pair, text};
use crate::trust::restored::next_epoch;
use crate::write::{until_committed, Attempt};

/// The epochs that were moved, and the devices for which they were.
pub(crate) struct RightsEnded {
    pub(crate) reach: Reach,
    /// `nothing`, `devices`, `groups` or `tenant`.
    pub(crate) moved: &'static str,
}

/// Ends the tokens that have former rights of the role, when there is a mark that says so.
pub(crate) async fn end(
    service: &Service,
    by: &Actor,
    tenant: &TenantId,
    role: &RoleId,
) -> Result<RightsEnded, Refused> {
    let (table, key) = (&service.tables.roles, pair(tenant, role.as_str()));
    until_committed(async || {
        let Some(record) = table.get(key.clone()).await? else {
            // Deleted: no device has it.
            let reach = Reach::default();
            return Ok(Attempt::Committed(RightsEnded { reach, moved: Moves::Nothing.as_str() }));
        };
        let reach = Reach::of(service, tenant, role, &record).await?;
        let moved = reach.moves().as_str();
        if record.progress.ending.is_none() {
            // Another call, or the sweep, was faster.
            return Ok(Attempt::Committed(RightsEnded { reach, moved }));
        }
        let mut done = record.clone();
        done.progress.ending = None;
        let unmarking = || {
            let mut batch = Batch::new();
            batch.expect(table, key.clone(), &record);
            batch.put(table, key.clone(), &done);
            batch
        };
        let entry = service.entry(by, "role.end", tenant.as_str(), role.as_str());
        let detail = format!("tokens of {} devices, by the epochs of: ", reach.devices);
        let told = |moved: &str| entry.clone().detail(format!("{detail}{moved}"));
        let (mut tried, mut moved) =
            (publish(service, tenant, reach.moves(), unmarking(), told(moved)).await, moved);
        if tried.as_ref().is_err_and(|refused| refused.code == RefusalCode::CapacityReached) {
            let moves = reach.moves_of_groups();
            moved = moves.as_str();
            tracing::warn!(%tenant, %role, "no room for the devices alone: epochs of their {moved} move");
            tried = publish(service, tenant, moves, unmarking(), told(moved)).await;
        }
        Ok(tried?.map(|()| RightsEnded { reach, moved }))
    })
    .await
}

async fn publish(
    service: &Service,
    tenant: &TenantId,
    moves: Moves<'_>,
    mut batch: Batch,
    entry: Entry,
) -> Result<Attempt<()>, Refused> {
    let tables = &service.tables;
    let mut changes = Vec::new();
    match moves {
        Moves::Nothing => return service.write(batch, entry).await,
        Moves::Devices(devices) => {
            for (name, old) in devices {
                let device = DeviceId::parse(name).map_err(|_| RefusalCode::Internal)?;
                let mut new = old.clone();
                new.epoch = next_epoch(tables, old.epoch).await?;
                let key = pair(tenant, name.as_str());
                batch.expect(&tables.devices, key.clone(), old);
                batch.put(&tables.devices, key, &new);
                let (tenant, at) = (tenant.clone(), service.time.stamp());
                changes.push(Change::Device(DeviceEpoch { tenant, device, epoch: new.epoch, at }));
            }
        }
        Moves::Groups(names) => {
            for name in names {
                let group = GroupId::parse(name).map_err(|_| RefusalCode::Internal)?;
                let old = groups::known(service, tenant, name).await?;
                let (_, change) = groups::moved(tables, &mut batch, tenant, &group, &old).await?;
                changes.push(change);
            }
        }
        Moves::Tenant => {
            let old = tenants::known(service, tenant).await?;
            let mut new = old.clone();
            new.epoch = next_epoch(tables, old.epoch).await?;
            batch.expect(&tables.tenants, one(tenant.as_str()), &old);
            batch.put(&tables.tenants, one(tenant.as_str()), &new);
            changes.push(Change::Tenant(new.trust(tenant)));
        }
    }
    service.publish(changes, batch, entry).await
}

/// Goes on with what a stop of the service has left: tokens to end, and deletions.
pub(crate) async fn resume(service: &Service) -> Result<(), Refused> {
    let by = Actor::service();
    let roles = &service.tables.roles;
    for (key, _) in roles.up_to("ending", u64::MAX, ROLES_RESUMED).await? {
        let tenant = TenantId::parse(text(&key, 0)?).map_err(|_| RefusalCode::Internal)?;
        let role = RoleId::parse(text(&key, 1)?).map_err(|_| RefusalCode::Internal)?;
        end(service, &by, &tenant, &role).await?;
    }
    for (key, _) in roles.up_to("leaving", u64::MAX, ROLES_RESUMED).await? {
        let tenant = TenantId::parse(text(&key, 0)?).map_err(|_| RefusalCode::Internal)?;
        let role = RoleId::parse(text(&key, 1)?).map_err(|_| RefusalCode::Internal)?;
        match super::roles::delete(service, &by, &tenant, &role, &Precondition::Nothing).await {
            Err(refused) if refused.code != RefusalCode::RoleInUse => return Err(refused),
            _ => {}
        }
    }
    Ok(())
}
