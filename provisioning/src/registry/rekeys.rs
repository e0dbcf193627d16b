//! Requests for new keys that wait for an operator: of devices that have lost theirs. Any peer may ask in the name of a device,
//! so the list is bounded, its rows end, and an operator compares the thumbprint with the one that the device shows.

use tessera_runtime::sql::{Batch, Key};
use tessera_token::encoding::base64url;
use tessera_token::ids::{DeviceId, TenantId};
use tessera_token::key::PublicKey;
use tessera_token::refusal::RefusalCode;

use super::device_keys::{self, Exchange};
use super::{devices, tenants};
use crate::audit::Actor;
use crate::limits::{REKEYS_PER_DEVICE, REKEYS_PER_TENANT, REKEY_SECONDS};
use crate::records::rekey::RekeyRecord;
use crate::records::{DeviceRecord, Page};
use crate::refused::Refused;
use crate::service::Service;
use crate::tables::{bytes, one, pair, text};
use crate::write::{until_committed, Attempt};

/// A request that waits.
pub(crate) struct Waiting {
    pub(crate) device: String,
    pub(crate) thumbprint: [u8; 32],
    pub(crate) record: RekeyRecord,
}

/// Whether a row waits still. One that a clock far ahead has dated does not.
fn waits(record: &RekeyRecord, now: u64) -> bool {
    (now + 1..=now.saturating_add(REKEY_SECONDS)).contains(&record.expires)
}

/// Puts the request on the list, when it is not there and the list has room.
pub(crate) async fn ask(
    service: &Service,
    tenant: &TenantId,
    device: &DeviceId,
    key: &PublicKey,
) -> Result<(), Refused> {
    until_committed(async || put(service, tenant, device, key).await).await
}

/// The mark of the requests of a tenant, whose number each one moves: of several at once, all but one look again.
fn turn_of(tenant: &TenantId) -> String {
    format!("rekeys {tenant}")
}

async fn put(
    service: &Service,
    tenant: &TenantId,
    device: &DeviceId,
    key: &PublicKey,
) -> Result<Attempt<()>, Refused> {
    let marks = &service.tables.marks;
    let turn: Option<u64> = marks.get(&turn_of(tenant)).await?;
    let now = service.now().get();
    let rows = all(service, tenant).await?;
    let named = *key.thumbprint().as_bytes();
    let waiting = |row: &&Waiting| waits(&row.record, now);
    let of_device: Vec<_> =
        rows.iter().filter(waiting).filter(|row| row.device == device.as_str()).collect();
    if of_device.iter().any(|row| row.thumbprint == named) {
        return Ok(Attempt::Committed(()));
    }
    if of_device.len() >= REKEYS_PER_DEVICE
        || rows.iter().filter(waiting).count() >= REKEYS_PER_TENANT
    {
        service.metrics.limits_hit.inc(&["rekeys"]);
        return Ok(Attempt::Committed(()));
    }
    let record = RekeyRecord {
        key: key.as_bytes().to_vec(),
        asked: now,
        expires: now.saturating_add(REKEY_SECONDS),
    };
    let mut batch = Batch::new();
    let row = vec![tenant.as_str().into(), device.as_str().into(), named.into()];
    // One that has ended may still lie there; the same request once more writes the same.
    batch.put(&service.tables.rekeys, row, &record);
    marks.expect_same(&mut batch, &turn_of(tenant), turn.as_ref());
    marks.put(&mut batch, &turn_of(tenant), &turn.unwrap_or(0).wrapping_add(1));
    service.write_unnoted(batch).await
}

async fn all(service: &Service, tenant: &TenantId) -> Result<Vec<Waiting>, Refused> {
    let rows =
        service.tables.rekeys.scan(&one(tenant.as_str()), None, 2 * REKEYS_PER_TENANT).await?;
    let read = rows.into_iter().map(|(key, record)| {
        let (device, thumbprint) = (text(&key, 1)?.to_owned(), bytes::<32>(&key, 2)?);
        Ok(Waiting { device, thumbprint, record })
    });
    read.collect()
}

/// The requests of a tenant that wait.
pub(crate) async fn list(service: &Service, tenant: &TenantId) -> Result<Page<Waiting>, Refused> {
    tenants::known(service, tenant).await?;
    let (now, mut items) = (service.now().get(), all(service, tenant).await?);
    items.retain(|row| waits(&row.record, now));
    Ok(Page { items, next: None })
}

/// Gives the device the key of this request, and takes its other requests off the list. It may be revoked or suspended: it is
/// reinstated after it has a key that no thief has.
pub(crate) async fn approve(
    service: &Service,
    by: &Actor,
    tenant: &TenantId,
    device: &DeviceId,
    thumbprint: &[u8; 32],
) -> Result<DeviceRecord, Refused> {
    until_committed(async || {
        let owner = tenants::known(service, tenant).await?;
        let row = known(service, tenant, device, thumbprint).await?;
        let old = devices::known(service, tenant, device).await?;
        let key = PublicKey::from_bytes(&row.key).map_err(|_| RefusalCode::ConfirmationKey)?;
        let of = Exchange { tenant, device, owner: &owner, old: &old, key: &key, claim: None };
        let others = service.tables.rekeys.scan(&pair(tenant, device.as_str()), None, 100).await?;
        let way = "approved by an operator";
        device_keys::exchange(service, by, &of, way, |batch| {
            batch.expect(&service.tables.rekeys, place(tenant, device, thumbprint), &row);
            for (key, _) in &others {
                batch.delete(&service.tables.rekeys, key.clone());
            }
        })
        .await
    })
    .await
}

/// Takes the request off the list. The device may ask again.
pub(crate) async fn refuse(
    service: &Service,
    by: &Actor,
    tenant: &TenantId,
    device: &DeviceId,
    thumbprint: &[u8; 32],
) -> Result<(), Refused> {
    until_committed(async || {
        tenants::known(service, tenant).await?;
        let row = known(service, tenant, device, thumbprint).await?;
        let mut batch = Batch::new();
        batch.expect(&service.tables.rekeys, place(tenant, device, thumbprint), &row);
        batch.delete(&service.tables.rekeys, place(tenant, device, thumbprint));
        let entry = service.entry(by, "device.refuse-key", tenant.as_str(), device.as_str());
        service.write(batch, entry.detail(format!("key {}", base64url(thumbprint)))).await
    })
    .await
}

fn place(tenant: &TenantId, device: &DeviceId, thumbprint: &[u8; 32]) -> Key {
    vec![tenant.as_str().into(), device.as_str().into(), thumbprint.into()]
}

async fn known(
    service: &Service,
    tenant: &TenantId,
    device: &DeviceId,
    thumbprint: &[u8; 32],
) -> Result<RekeyRecord, Refused> {
    let row = service.tables.rekeys.get(place(tenant, device, thumbprint)).await?;
    let now = service.now().get();
    row.filter(|row| waits(row, now)).ok_or_else(|| RefusalCode::NotFound.into())
}
