use tessera_runtime::store::Table;
use tessera_token::hash::TokenHash;
use tessera_token::ids::{DeviceId, GroupId, TenantId};
use tessera_token::key::SecretKey;
use tessera_token::limits::TOKEN_LIFE_SECONDS;
use tessera_token::refusal::RefusalCode;
use tessera_token::time::UnixSeconds;
use tessera_token::trust::{Change, DeviceEpoch, EventHash, GroupEpoch, RevokedToken, Snapshot};

use super::ledger::{Head, MovedDevice, RevokedRow};
use crate::keys::{KeyRecord, State};
use crate::limits::SNAPSHOT_SECONDS;
use crate::refused::Refused;
use crate::registry::records::{DeviceRecord, GroupRecord, TenantRecord};
use crate::tables::{number_of, pair, second, Tables};

/// The whole at the present head. Called between publications only, so that all tables agree. What says nothing any
/// more at `removal` is left out: a clock that is ahead leaves out nothing that holds.
pub(crate) fn make(
    tables: &Tables,
    root: &SecretKey,
    now: UnixSeconds,
    removal: UnixSeconds,
) -> Result<Vec<u8>, Refused> {
    let head = Head::read(tables)?;
    let mut state = Vec::new();
    let mut publishing = Vec::new();
    each::<TenantRecord>(&tables.tenants, &[], |key, tenant| {
        let id = tenant_id(key)?;
        state.push(Change::Tenant(tenant.trust(&id)));
        if tenant.keys_published {
            publishing.push(id);
        }
        Ok(())
    })?;
    for tenant in &publishing {
        each::<DeviceRecord>(&tables.devices, &pair(tenant, []), |key, record| {
            state.push(record.key_change(tenant, &device_id(text(second(key))?)?));
            Ok(())
        })?;
    }
    each::<KeyRecord>(&tables.keys, &[], |key, record| {
        if record.state != State::Retired {
            state.push(record.change(&tenant_id(key)?)?);
        }
        Ok(())
    })?;
    each::<GroupRecord>(&tables.groups, &[], |key, group| push_group(&mut state, key, &group))?;
    each::<MovedDevice>(&tables.moved_devices, &[], |key, moved| {
        push_device(&mut state, key, &moved, removal)
    })?;
    each::<RevokedRow>(&tables.revoked_tokens, &[], |key, row| {
        push_token(&mut state, key, &row, removal)
    })?;
    let snapshot = Snapshot {
        seq: head.seq,
        head: EventHash::from_bytes(head.hash),
        time: now,
        valid_until: now.plus(SNAPSHOT_SECONDS),
        state,
    };
    Ok(snapshot.sign(root)?)
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
    removal: UnixSeconds,
) -> Result<(), Refused> {
    let expires = UnixSeconds::new(number_of(key));
    let hash = key.last_chunk::<33>().ok_or(RefusalCode::Internal)?;
    if expires > removal {
        state.push(Change::Token(RevokedToken {
            token: TokenHash::from_bytes(*hash),
            tenant: TenantId::parse(&row.tenant).map_err(|_| RefusalCode::Internal)?,
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
