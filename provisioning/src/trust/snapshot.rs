use std::collections::BTreeSet;

use tessera_rules::rule::Rule;
use tessera_runtime::sql::{Key, Record, Table};
use tessera_token::hash::TokenHash;
use tessera_token::ids::{DeviceId, GroupId, TenantId};
use tessera_token::key::SecretKey;
use tessera_token::limits::TOKEN_LIFE_SECONDS;
use tessera_token::refusal::RefusalCode;
use tessera_token::time::UnixSeconds;
use tessera_token::trust::{
    BoundSnapshot, Change, DeviceEpoch, EventHash, GroupEpoch, RevokedToken, RuleEntry, Snapshot,
    TenantSet,
};

use super::ledger::Head;
use crate::limits::SNAPSHOT_SECONDS;
use crate::records::keys::{KeyRecord, State};
use crate::records::restraints::RestraintRecord;
use crate::records::rules::RuleRecord;
use crate::records::{DeviceRecord, GroupRecord, MovedDevice, RevokedRow, TenantRecord};
use crate::refused::Refused;
use crate::tables::{bytes, number, one, text, Tables};

/// The whole at a head that was read before. Publications may go on: a row that is ahead of the head says what the events
/// behind it say once more. Rows that say nothing any more at `removal` are left out: a clock that is ahead leaves out
/// nothing that holds.
pub(crate) async fn make(
    tables: &Tables,
    head: &Head,
    root: &SecretKey,
    now: UnixSeconds,
    removal: UnixSeconds,
) -> Result<Vec<u8>, Refused> {
    let state = state(tables, None, removal).await?;
    Ok(snapshot(head, state, now).sign(root)?)
}

/// The same of some tenants.
pub(crate) async fn make_of(
    tables: &Tables,
    head: &Head,
    root: &SecretKey,
    tenants: &TenantSet,
    now: UnixSeconds,
    removal: UnixSeconds,
) -> Result<Vec<u8>, Refused> {
    let state = state(tables, Some(tenants), removal).await?;
    let snapshot = snapshot(head, state, now);
    Ok(BoundSnapshot { tenants: tenants.clone(), snapshot }.sign(root)?)
}

fn snapshot(head: &Head, state: Vec<Change>, now: UnixSeconds) -> Snapshot {
    Snapshot {
        seq: head.seq,
        head: EventHash::from_bytes(head.hash),
        time: now,
        valid_until: now.plus(SNAPSHOT_SECONDS),
        state,
    }
}

/// The state of these tenants; `None` is all.
async fn state(
    tables: &Tables,
    of: Option<&TenantSet>,
    removal: UnixSeconds,
) -> Result<Vec<Change>, Refused> {
    let mut state = Vec::new();
    let mut publishing = Vec::new();
    let mut tenant = |id: TenantId, tenant: TenantRecord| {
        state.push(Change::Tenant(tenant.trust(&id)));
        if tenant.keys_published {
            publishing.push(id);
        }
    };
    match of {
        None => {
            let add = |key: &Key, record| {
                tenant(tenant_id(key)?, record);
                Ok(())
            };
            each(&tables.tenants, &Vec::new(), add).await?;
        }
        Some(tenants) => {
            for id in tenants.iter() {
                if let Some(record) = tables.tenants.get(one(id.as_str())).await? {
                    tenant(id.clone(), record);
                }
            }
        }
    }
    for tenant in &publishing {
        let add = |key: &Key, record: DeviceRecord| {
            state.push(record.key_change(tenant, &device_id(text(key, 1)?)?));
            Ok(())
        };
        each(&tables.devices, &one(tenant.as_str()), add).await?;
    }
    for prefix in prefixes(of) {
        let add = |key: &Key, record: KeyRecord| {
            if record.state != State::Retired {
                state.push(record.change(&tenant_id(key)?)?);
            }
            Ok(())
        };
        each(&tables.keys, &prefix, add).await?;
        let mut selected = BTreeSet::new();
        let add = |key: &Key, row: RuleRecord| {
            let (tenant, id) = (tenant_id(key)?, text(key, 1)?.to_owned());
            let rule = Rule::from_cbor(&row.body).ok();
            let groups = rule.map(|rule| rule.draft().selector.groups.clone()).unwrap_or_default();
            selected.extend(groups.into_iter().map(|group| (tenant.clone(), group)));
            state.push(Change::Rule(RuleEntry { tenant, id, rule: row.body }));
            Ok(())
        };
        each(&tables.rules, &prefix, add).await?;
        let add = |key: &Key, group: GroupRecord| {
            let is_selected = selected.contains(&(tenant_id(key)?, text(key, 1)?.to_owned()));
            push_group(&mut state, key, &group, (removal, is_selected))
        };
        each(&tables.groups, &prefix, add).await?;
        let add = |key: &Key, row: RestraintRecord| {
            if UnixSeconds::new(row.ends) > removal {
                state.push(row.change(&tenant_id(key)?, &device_id(text(key, 1)?)?));
            }
            Ok(())
        };
        each(&tables.restraints, &prefix, add).await?;
        let add = |key: &Key, moved| push_device(&mut state, key, &moved, removal);
        each(&tables.moved_devices, &prefix, add).await?;
    }
    let add = |key: &Key, row| push_token(&mut state, key, &row, of, removal);
    each(&tables.revoked_tokens, &Vec::new(), add).await?;
    Ok(state)
}

/// Where the rows of these tenants begin, in tables whose keys begin with the tenant.
fn prefixes(of: Option<&TenantSet>) -> Vec<Key> {
    match of {
        None => vec![Vec::new()],
        Some(tenants) => tenants.iter().map(|tenant| one(tenant.as_str())).collect(),
    }
}

/// A group that never moved, of which no change is announced, and that no rule selects, says nothing. Rules name groups,
/// and tokens have their numbers.
fn push_group(
    state: &mut Vec<Change>,
    key: &Key,
    group: &GroupRecord,
    (removal, is_selected): (UnixSeconds, bool),
) -> Result<(), Refused> {
    let until = group.announced.as_ref().map(|announced| UnixSeconds::new(announced.until));
    let announced_until = until.filter(|until| *until > removal);
    if group.epoch > 0 || announced_until.is_some() || is_selected {
        state.push(Change::Group(GroupEpoch {
            tenant: tenant_id(key)?,
            group: GroupId::parse(text(key, 1)?).map_err(|_| RefusalCode::Internal)?,
            number: group.number,
            epoch: group.epoch,
            announced_until,
        }));
    }
    Ok(())
}

/// An epoch that moved longer ago than the longest token life says nothing any more: all older tokens have expired.
fn push_device(
    state: &mut Vec<Change>,
    key: &Key,
    moved: &MovedDevice,
    removal: UnixSeconds,
) -> Result<(), Refused> {
    let at = UnixSeconds::new(moved.at);
    if removal.since(at) <= TOKEN_LIFE_SECONDS {
        state.push(Change::Device(DeviceEpoch {
            tenant: tenant_id(key)?,
            device: device_id(text(key, 1)?)?,
            epoch: moved.epoch,
            at,
        }));
    }
    Ok(())
}

fn push_token(
    state: &mut Vec<Change>,
    key: &Key,
    row: &RevokedRow,
    of: Option<&TenantSet>,
    removal: UnixSeconds,
) -> Result<(), Refused> {
    let tenant = TenantId::parse(&row.tenant).map_err(|_| RefusalCode::Internal)?;
    if of.is_some_and(|tenants| !tenants.contains(&tenant)) {
        return Ok(());
    }
    let expires = UnixSeconds::new(number(key, 0)?);
    if expires > removal {
        state.push(Change::Token(RevokedToken {
            token: TokenHash::from_bytes(bytes(key, 1)?),
            tenant,
            device: device_id(&row.device)?,
            expires,
        }));
    }
    Ok(())
}

async fn each<R: Record>(
    table: &Table<R>,
    prefix: &Key,
    mut visit: impl FnMut(&Key, R) -> Result<(), Refused>,
) -> Result<(), Refused> {
    let mut rows = table.walk(prefix);
    while let Some(page) = rows.next().await? {
        page.into_iter().try_for_each(|(key, record)| visit(&key, record))?;
    }
    Ok(())
}

fn tenant_id(key: &Key) -> Result<TenantId, Refused> {
    TenantId::parse(text(key, 0)?).map_err(|_| RefusalCode::Internal.into())
}

fn device_id(name: &str) -> Result<DeviceId, RefusalCode> {
    DeviceId::parse(name).map_err(|_| RefusalCode::Internal)
}
