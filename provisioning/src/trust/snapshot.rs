use tessera_runtime::store::Table;
use tessera_token::hash::TokenHash;
use tessera_token::ids::{DeviceId, GroupId, TenantId};
use tessera_token::key::SecretKey;
use tessera_token::limits::TOKEN_LIFE_SECONDS;
use tessera_token::refusal::RefusalCode;
use tessera_token::time::UnixSeconds;
use tessera_token::trust::{
    BoundSnapshot, Change, DeviceEpoch, EventHash, GroupEpoch, RevokedToken, Snapshot, TenantSet,
};

use super::ledger::Head;
use crate::limits::SNAPSHOT_SECONDS;
use crate::records::keys::{KeyRecord, State};
use crate::records::{DeviceRecord, GroupRecord, MovedDevice, RevokedRow, TenantRecord};
use crate::refused::Refused;
use crate::tables::{number_of, pair, second, Tables};

/// The whole at a head that was read before. Publications may go on: a row that is ahead of the head says what the events
/// behind it say once more. Rows that say nothing any more at `removal` are left out: a clock that is ahead leaves out
/// nothing that holds.
pub(crate) fn make(
    tables: &Tables,
    head: &Head,
    root: &SecretKey,
    now: UnixSeconds,
    removal: UnixSeconds,
) -> Result<Vec<u8>, Refused> {
    let state = state(tables, None, removal)?;
    Ok(snapshot(head, state, now).sign(root)?)
}

/// The same of some tenants.
pub(crate) fn make_of(
    tables: &Tables,
    head: &Head,
    root: &SecretKey,
    tenants: &TenantSet,
    now: UnixSeconds,
    removal: UnixSeconds,
) -> Result<Vec<u8>, Refused> {
    let state = state(tables, Some(tenants), removal)?;
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
fn state(
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
        None => each::<TenantRecord>(&tables.tenants, &[], |key, record| {
            tenant(tenant_id(key)?, record);
            Ok(())
        })?,
        Some(tenants) => {
            for id in tenants.iter() {
                if let Some(record) = tables.tenants.get_record(id.as_str())? {
                    tenant(id.clone(), record);
                }
            }
        }
    }
    for tenant in &publishing {
        each::<DeviceRecord>(&tables.devices, &pair(tenant, []), |key, record| {
            state.push(record.key_change(tenant, &device_id(text(second(key))?)?));
            Ok(())
        })?;
    }
    for prefix in prefixes(of) {
        each::<KeyRecord>(&tables.keys, &prefix, |key, record| {
            if record.state != State::Retired {
                state.push(record.change(&tenant_id(key)?)?);
            }
            Ok(())
        })?;
        each::<GroupRecord>(&tables.groups, &prefix, |key, group| {
            push_group(&mut state, key, &group)
        })?;
        each::<MovedDevice>(&tables.moved_devices, &prefix, |key, moved| {
            push_device(&mut state, key, &moved, removal)
        })?;
    }
    each::<RevokedRow>(&tables.revoked_tokens, &[], |key, row| {
        push_token(&mut state, key, &row, of, removal)
    })?;
    Ok(state)
}

/// Where the rows of these tenants begin, in tables whose keys begin with the tenant.
fn prefixes(of: Option<&TenantSet>) -> Vec<Vec<u8>> {
    match of {
        None => vec![Vec::new()],
        Some(tenants) => tenants.iter().map(|tenant| pair(tenant, [])).collect(),
    }
}

fn push_group(state: &mut Vec<Change>, key: &[u8], group: &GroupRecord) -> Result<(), Refused> {
    if group.epoch > 0 {
        state.push(Change::Group(GroupEpoch {
            tenant: tenant_id(key)?,
            group: GroupId::parse(text(second(key))?).map_err(|_| RefusalCode::Internal)?,
            number: group.number,
            epoch: group.epoch,
        }));
    }
    Ok(())
}

/// An epoch that moved longer ago than the longest token life says nothing any more: all older tokens have expired.
fn push_device(
    state: &mut Vec<Change>,
    key: &[u8],
    moved: &MovedDevice,
    removal: UnixSeconds,
) -> Result<(), Refused> {
    let at = UnixSeconds::new(moved.at);
    if removal.since(at) <= TOKEN_LIFE_SECONDS {
        state.push(Change::Device(DeviceEpoch {
            tenant: tenant_id(key)?,
            device: device_id(text(second(key))?)?,
            epoch: moved.epoch,
            at,
        }));
    }
    Ok(())
}

fn push_token(
    state: &mut Vec<Change>,
    key: &[u8],
    row: &RevokedRow,
    of: Option<&TenantSet>,
    removal: UnixSeconds,
) -> Result<(), Refused> {
    let tenant = TenantId::parse(&row.tenant).map_err(|_| RefusalCode::Internal)?;
    if of.is_some_and(|tenants| !tenants.contains(&tenant)) {
        return Ok(());
    }
    let expires = UnixSeconds::new(number_of(key));
    let hash = key.last_chunk::<33>().ok_or(RefusalCode::Internal)?;
    if expires > removal {
        state.push(Change::Token(RevokedToken {
            token: TokenHash::from_bytes(*hash),
            tenant,
            device: device_id(&row.device)?,
            expires,
        }));
    }
    Ok(())
}

fn each<T: serde::de::DeserializeOwned>(
    table: &Table,
    prefix: &[u8],
    mut visit: impl FnMut(&[u8], T) -> Result<(), Refused>,
) -> Result<(), Refused> {
    for row in table.records::<T>(prefix) {
        let (key, record) = row?;
        visit(&key, record)?;
    }
    Ok(())
}

fn tenant_id(key: &[u8]) -> Result<TenantId, RefusalCode> {
    let name = key.split(|byte| *byte == 0).next().unwrap_or_default();
    TenantId::parse(text(name)?).map_err(|_| RefusalCode::Internal)
}

fn device_id(name: &str) -> Result<DeviceId, RefusalCode> {
    DeviceId::parse(name).map_err(|_| RefusalCode::Internal)
}

fn text(bytes: &[u8]) -> Result<&str, RefusalCode> {
    std::str::from_utf8(bytes).map_err(|_| RefusalCode::Internal)
}
