//! Families of refresh tokens, for devices that cannot sign. A family begins with a proof of the device key; each refresh
//! token is good once and gives its successor. `docs/refresh.md` tells the rules.
//!
//! A family is its row: without the row none of its tokens is good, so it is revoked by deleting the row.

use tessera_runtime::sql::Batch;
use tessera_token::hash::TokenHash;
use tessera_token::ids::{DeviceId, TenantId};
use tessera_token::refusal::RefusalCode;
use tessera_token::time::UnixSeconds;
use tessera_token::trust::{Change, RevokedToken};

use crate::audit::{Actor, Entry};
use crate::limits::{FAMILIES_PER_DEVICE, REFRESH_IDLE_SECONDS, REFRESH_LIFE_SECONDS};
use crate::records::families::{FamilyRecord, LiveToken, Place};
use crate::records::DeviceRecord;
use crate::refused::Refused;
use crate::registry::devices::{self, Moved};
use crate::service::Service;
use crate::tables::{bytes, one};
use crate::trust::restored::{epoch_floor, next_epoch};
use crate::write::{until_committed, Attempt};

mod step;
#[cfg(test)]
mod tests;
mod token;

pub(crate) use step::{is_before_restoration, step, successor, Step};
pub(crate) use token::{Family, FamilyKey, Shown};

/// A family that begins.
pub(crate) struct Beginning<'a> {
    pub(crate) tenant: &'a TenantId,
    pub(crate) device: &'a DeviceId,
    pub(crate) record: &'a DeviceRecord,
    /// The scope that was asked for, in AIF; `None`: that of the role.
    pub(crate) scope: Option<Vec<u8>>,
    /// The access token that comes with the first refresh token.
    pub(crate) serial: u64,
    pub(crate) token: LiveToken,
}

/// The first place in every family; its line is that of the service.
async fn first_place(service: &Service) -> Result<Place, Refused> {
    Ok(Place { line: epoch_floor(&service.tables).await?, number: 1 })
}

/// Adds the row of a new family to the batch. Beyond [`FAMILIES_PER_DEVICE`] the oldest one ends.
pub(crate) async fn begin(
    service: &Service,
    batch: &mut Batch,
    new: Beginning<'_>,
) -> Result<(), Refused> {
    let table = &service.tables.families;
    let mut present = of_device(service, new.tenant, new.device).await?;
    present.sort_by_key(|(_, row)| row.created);
    let too_many = (present.len() + 1).saturating_sub(FAMILIES_PER_DEVICE);
    for (family, row) in present.into_iter().take(too_many) {
        batch.expect(table, one(family), &row);
        batch.delete(table, one(family));
    }
    let now = service.now().get();
    let row = FamilyRecord {
        tenant: new.tenant.as_str().to_owned(),
        device: new.device.as_str().to_owned(),
        scope: new.scope,
        audience: service.config.audience.as_str().to_owned(),
        epoch: new.record.epoch,
        created: now,
        ends: end_of(now, now),
        place: first_place(service).await?,
        used: None,
        live: vec![new.token],
    };
    let family = FamilyKey::of(&service.founder).family(new.serial);
    batch.insert(table, one(family), &row);
    Ok(())
}

/// The first refresh token of the family that began with this serial, while nothing was given behind it.
pub(crate) async fn first_token(
    service: &Service,
    serial: u64,
) -> Result<tessera_runtime::secret::Secret<String>, Refused> {
    let key = FamilyKey::of(&service.founder);
    let family = key.family(serial);
    let row = service.tables.families.get(one(family)).await?;
    // Its lost answer comes again while the family stands where it began.
    let row = row.filter(|row| row.used.is_none()).ok_or(RefusalCode::RefreshTokenInvalid)?;
    Ok(key.make(&family, row.place))
}

/// When a family ends that began and is used at these times.
pub(crate) fn end_of(created: u64, used: u64) -> u64 {
    let life = created.saturating_add(REFRESH_LIFE_SECONDS);
    used.saturating_add(REFRESH_IDLE_SECONDS).min(life)
}

/// The families of a device: a few more than there may be, when several began at once.
pub(crate) async fn of_device(
    service: &Service,
    tenant: &TenantId,
    device: &DeviceId,
) -> Result<Vec<(Family, FamilyRecord)>, Refused> {
    let wanted = [("tenant", tenant.as_str().into()), ("device", device.as_str().into())];
    let rows = service.tables.families.find(&wanted, None, 16 * FAMILIES_PER_DEVICE).await?;
    rows.into_iter().map(|(key, row)| Ok((bytes(&key, 0)?, row))).collect()
}

/// The family of a refresh token that this service made, when it has not ended. For a revocation by the holder of the
/// token (RFC 7009).
///
/// # Errors
/// Those of the database.
pub(crate) async fn of_token(
    service: &Service,
    token: &[u8],
) -> Result<Option<(Shown, FamilyRecord)>, Refused> {
    let Some(shown) = FamilyKey::of(&service.founder).open(token) else { return Ok(None) };
    let row = service.tables.families.get(one(shown.family)).await?;
    Ok(row.map(|row| (shown, row)))
}

/// Ends a family and the access tokens that it gave. Whether there was one: ending it twice is the same as once.
///
/// # Errors
/// Those of the database.
pub(crate) async fn revoke(
    service: &Service,
    by: &Actor,
    family: &Family,
) -> Result<bool, Refused> {
    until_committed(async || {
        let Some(row) = service.tables.families.get(one(*family)).await? else {
            return Ok(Attempt::Committed(false));
        };
        let entry = service.entry(by, "family.revoke", &row.tenant, &row.device);
        let entry = entry.detail(format!("family {}", name(family)));
        Ok(end(service, family, &row, entry).await?.map(|()| true))
    })
    .await
}

/// Ends a family of which a used token was shown. `proved`: the device itself showed it; then all tokens and all families
/// of the device end with it. A token that was found somewhere cannot do that.
pub(crate) async fn end_reused(
    service: &Service,
    family: &Family,
    row: &FamilyRecord,
    proved: bool,
) -> Result<Attempt<()>, Refused> {
    let by = Actor::device(&row.device);
    let entry = service.entry(&by, "family.reuse", &row.tenant, &row.device);
    let entry = match proved {
        true => entry.detail(format!("family {}; the device key was proved", name(family))),
        false => entry.detail(format!("family {}", name(family))),
    };
    match proved {
        true => end_with_device(service, family, row, entry).await,
        false => end(service, family, row, entry).await,
    }
}

/// Ends the family and its access tokens. When verifiers can hold no more revoked tokens, all tokens of the device end.
async fn end(
    service: &Service,
    family: &Family,
    row: &FamilyRecord,
    entry: Entry,
) -> Result<Attempt<()>, Refused> {
    let (tenant, device) = ids(row)?;
    let over = service.time.removal().get();
    let live = row.live.iter().filter(|token| token.expires > over);
    let changes = live.map(|token| {
        Change::Token(RevokedToken {
            token: TokenHash::from_bytes(token.hash),
            tenant: tenant.clone(),
            device: device.clone(),
            expires: UnixSeconds::new(token.expires),
        })
    });
    let changes: Vec<Change> = changes.collect();
    let mut batch = Batch::new();
    batch.expect(&service.tables.families, one(*family), row);
    batch.delete(&service.tables.families, one(*family));
    let tried = match changes.is_empty() {
        true => service.write(batch, entry).await?,
        false => match service.publish(changes, batch, entry.clone()).await {
            Err(refused) if refused.code == RefusalCode::CapacityReached => {
                let entry =
                    entry.clone().detail(format!("{}; no room for its tokens alone", entry.detail));
                return end_with_device(service, family, row, entry).await;
            }
            tried => tried?,
        },
    };
    if tried == Attempt::Committed(()) {
        service.metrics.revoked.inc(&["family"]);
    }
    Ok(tried)
}

/// Ends the family and moves the epoch of its device: all of the device's tokens and families end. The device has new ones
/// by its key at once.
async fn end_with_device(
    service: &Service,
    family: &Family,
    row: &FamilyRecord,
    entry: Entry,
) -> Result<Attempt<()>, Refused> {
    let (tenant, device) = ids(row)?;
    let old = devices::known(service, &tenant, &device).await?;
    let epoch = next_epoch(&service.tables, old.epoch).await?;
    let new = DeviceRecord { epoch, refresh_from: Some(epoch), ..old.clone() };
    let moved = Moved { tenant: &tenant, device: &device, old: &old, new: &new };
    let also = |batch: &mut Batch| {
        batch.expect(&service.tables.families, one(*family), row);
        batch.delete(&service.tables.families, one(*family));
        Ok(())
    };
    let tried = moved.publish(service, entry, also).await?;
    Ok(tried.map(|_| {
        service.metrics.revoked.inc(&["family"]);
        service.metrics.revoked.inc(&["device"]);
    }))
}

pub(crate) fn ids(row: &FamilyRecord) -> Result<(TenantId, DeviceId), Refused> {
    let tenant = TenantId::parse(&row.tenant).map_err(|_| RefusalCode::Internal)?;
    let device = DeviceId::parse(&row.device).map_err(|_| RefusalCode::Internal)?;
    Ok((tenant, device))
}

/// The name of a family in the audit log: it gives no token.
fn name(family: &Family) -> String {
    tessera_token::encoding::hex::encode(family)
}
