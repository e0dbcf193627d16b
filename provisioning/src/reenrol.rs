//! Enrolment of a device that is there already, with another key: a fresh claim gives it that key, where its group allows it.

use tessera_runtime::sql::Batch;
use tessera_token::ids::{DeviceId, TenantId};
use tessera_token::key::PublicKey;
use tessera_token::refusal::RefusalCode;

use crate::audit::Actor;
use crate::records::{ClaimRecord, DeviceRecord, GroupRecord, Reenrol, TenantRecord};
use crate::refused::Refused;
use crate::registry::claim_uses::Use;
use crate::registry::device_keys::{self, Exchange};
use crate::registry::standing;
use crate::service::Service;
use crate::write::Attempt;

/// Whether this claim, which is good for the id, gives another key to a device of these records.
///
/// # Errors
/// `device_key_mismatch` where the group does not allow it, `claim_used`, `claim_mismatch` for a claim of another role or group,
/// and for one that names no device where the group wants that; the standing of the device.
pub(crate) fn may_renew(
    owner: &TenantRecord,
    group: &GroupRecord,
    record: &DeviceRecord,
    (claim, used): (&ClaimRecord, &Use),
) -> Result<(), RefusalCode> {
    match group.reenrol {
        None => return Err(RefusalCode::DeviceKeyMismatch),
        Some(Reenrol::Device) if claim.device.is_none() => return Err(RefusalCode::ClaimMismatch),
        Some(Reenrol::Device | Reenrol::Group) => {}
    }
    if used.mine.is_some() || used.is_used_up {
        return Err(RefusalCode::ClaimUsed);
    }
    if (&claim.role, &claim.group) != (&record.role, &record.group) {
        return Err(RefusalCode::ClaimMismatch);
    }
    standing::may_have_token(owner, record, group)
}

/// A device that [`may_renew`] lets have this key.
pub(crate) struct Renewal<'a> {
    pub(crate) tenant: &'a TenantId,
    pub(crate) device: &'a DeviceId,
    pub(crate) owner: &'a TenantRecord,
    pub(crate) old: &'a DeviceRecord,
    pub(crate) key: &'a PublicKey,
    /// The claim that entitles it, as its record names it.
    pub(crate) claim: &'a str,
    /// The rows on which this rests, and the use of the claim.
    pub(crate) batch: &'a Batch,
}

/// Gives it the key, and uses the claim up: from then on it is a device that has enrolled by this claim.
pub(crate) async fn renew(service: &Service, of: &Renewal<'_>) -> Result<Attempt<()>, Refused> {
    let Renewal { tenant, device, owner, old, key, claim, batch: rests_on } = *of;
    let by = Actor::device(device);
    let exchange = Exchange { tenant, device, owner, old, key, claim: Some(claim) };
    let way = format!("claim {claim}");
    let tried = device_keys::exchange(service, &by, &exchange, &way, |batch: &mut Batch| {
        batch.append(rests_on.clone());
    });
    Ok(tried.await?.map(drop))
}
