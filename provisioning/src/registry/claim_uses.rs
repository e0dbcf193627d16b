//! Uses of a claim code: by the one device of an ordinary claim, or by each device of a counted one.

use tessera_runtime::sql::{Batch, Key};
use tessera_token::ids::DeviceId;
use tessera_token::key::PublicKey;

use super::claims::Stored;
use crate::records::ways::CountedUse;
use crate::records::{ClaimUse, Counted};
use crate::refused::Refused;
use crate::service::Service;

/// The use of a claim by a device, and whether the claim has room for others.
pub(crate) struct Use {
    /// The thumbprint with which this device used it.
    pub(crate) mine: Option<[u8; 32]>,
    pub(crate) is_used_up: bool,
}

/// The use of this claim by this device, as its rows are now.
pub(crate) async fn of(
    service: &Service,
    (row, claim): &Stored,
    device: &DeviceId,
) -> Result<Use, Refused> {
    let Some(Counted { uses, made }) = claim.counted else {
        let used = claim.used.as_ref();
        let mine = used.filter(|used| used.device == device.as_str()).map(|used| used.thumbprint);
        return Ok(Use { mine, is_used_up: used.is_some() });
    };
    let found = service.tables.claim_uses.get(place(row, device)).await?;
    Ok(Use { mine: found.map(|found| found.thumbprint), is_used_up: made >= uses })
}

/// Writes that this device uses the claim with this key, when the claim is still as it was read.
pub(crate) fn add(
    service: &Service,
    batch: &mut Batch,
    (row, claim): &Stored,
    device: &DeviceId,
    key: &PublicKey,
) {
    let (tables, at) = (&service.tables, service.now().get());
    let thumbprint = *key.thumbprint().as_bytes();
    let mut used = claim.clone();
    match &mut used.counted {
        Some(counted) => {
            counted.made += 1;
            batch.insert(&tables.claim_uses, place(row, device), &CountedUse { thumbprint, at });
        }
        None => used.used = Some(ClaimUse { device: device.as_str().to_owned(), thumbprint, at }),
    }
    batch.expect(&tables.claims, row.clone(), claim);
    batch.put(&tables.claims, row.clone(), &used);
}

fn place(row: &Key, device: &DeviceId) -> Key {
    row.iter().cloned().chain([device.as_str().into()]).collect()
}
