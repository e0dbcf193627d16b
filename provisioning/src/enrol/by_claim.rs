//! Enrolment by a claim code: of one device, or of a number of devices.

use tessera_runtime::sql::Batch;
use tessera_token::ids::{DeviceId, TenantId};
use tessera_token::messages::{Entitlement, Way};
use tessera_token::refusal::RefusalCode;

use super::way::{Ask, Entitled, Verifier};
use crate::records::{ClaimRecord, DeviceRecord, TenantRecord};
use crate::reenrol;
use crate::refused::Refused;
use crate::registry::claim_uses::{self, Use};
use crate::registry::claims::{self, Stored};
use crate::registry::pattern::IdPattern;
use crate::registry::{devices, groups, tenants, ways};
use crate::service::Service;
use crate::tables::pair;

pub(super) struct ByClaim;

impl Verifier for ByClaim {
    async fn verify(ask: &Ask<'_>) -> Result<Entitled, Refused> {
        let (service, request) = (ask.service, ask.request);
        let Entitlement::Claim(code) = &request.entitlement else {
            return Err(RefusalCode::Internal.into());
        };
        let Good { owner, stored, used } =
            good(service, (&request.tenant, &request.device), code).await?;
        let known = devices::find(service, &request.tenant, &request.device).await?;
        let named = claims::id_of(&stored.0)?;
        let mut batch = Batch::new();
        let mut renews = false;
        match known.as_ref().filter(|record| record.key != ask.key.as_bytes()) {
            Some(record) => {
                let group = groups::known(service, &request.tenant, &record.group).await?;
                reenrol::may_renew(&owner, &group, record, (&stored.1, &used))?;
                let (tenant, named) = (&request.tenant, record.group.as_str());
                ways::expect_taken(service, tenant, named, Way::Claim, &mut batch).await?;
                batch.expect(&service.tables.groups, pair(tenant, named), &group);
                claim_uses::add(service, &mut batch, &stored, &request.device, ask.key);
                renews = true;
            }
            None if is_again(ask, known.as_ref(), &used)? => {
                batch.expect(&service.tables.claims, stored.0.clone(), &stored.1);
            }
            None => claim_uses::add(service, &mut batch, &stored, &request.device, ask.key),
        }
        let ClaimRecord { role, group, attributes, .. } = stored.1;
        Ok(Entitled { owner, known, role, group, attributes, named, batch, renews })
    }
}

/// A claim that is good for a device: it could use it now, or has used it.
pub(super) struct Good {
    owner: TenantRecord,
    stored: Stored,
    used: Use,
}

/// The claim of this code, when it is good for this device.
pub(super) async fn good(
    service: &Service,
    (tenant, device): (&TenantId, &DeviceId),
    code: &str,
) -> Result<Good, Refused> {
    let stored = shown(service, tenant, code).await?;
    let owner = tenants::serving(service, tenant).await?;
    let used = claim_uses::of(service, &stored, device).await?;
    good_for(service, device, &stored.1, &used)?;
    Ok(Good { owner, stored, used })
}

/// The claim of this code. Without one, tenants and devices get one answer, whether they exist or not.
async fn shown(service: &Service, tenant: &TenantId, code: &str) -> Result<Stored, Refused> {
    let found = match tenants::known(service, tenant).await {
        Ok(_) => claims::by_code(service, tenant, code).await,
        Err(refused) => Err(refused),
    };
    found.map_err(|refused| match refused.code {
        code @ (RefusalCode::TenantUnknown | RefusalCode::ClaimUnknown) => {
            service.strangers.refused(code, RefusalCode::ClaimUnknown)
        }
        _ => refused,
    })
}

/// Whether the claim is good for this id.
fn good_for(
    service: &Service,
    device: &DeviceId,
    claim: &ClaimRecord,
    used: &Use,
) -> Result<(), Refused> {
    // A code that others used up, or that is over, tells nothing of other devices.
    if used.is_used_up && used.mine.is_none() {
        return Err(RefusalCode::ClaimUsed.into());
    }
    if used.mine.is_none() && claim.expires <= service.now().get() {
        return Err(RefusalCode::ClaimUnknown.into());
    }
    let device = device.as_str();
    let pattern = claim.pattern.as_deref().map(IdPattern::parse).transpose()?;
    let is_bound_elsewhere = claim.device.as_deref().is_some_and(|bound| bound != device);
    match is_bound_elsewhere || pattern.is_some_and(|pattern| !pattern.matches(device)) {
        true => Err(RefusalCode::ClaimMismatch.into()),
        false => Ok(()),
    }
}

/// Whether this device and key used the claim before; otherwise the claim is not used by it and the device is new.
fn is_again(ask: &Ask<'_>, known: Option<&DeviceRecord>, used: &Use) -> Result<bool, RefusalCode> {
    match (used.mine, known) {
        (Some(mine), Some(record)) if mine == *ask.key.thumbprint().as_bytes() => {
            match record.revoked {
                true => Err(RefusalCode::DeviceRevoked),
                // Its suspension, and that of its group, are found when its token is issued.
                false => Ok(true),
            }
        }
        (Some(_), _) => Err(RefusalCode::ClaimUsed),
        (None, Some(_)) => Err(RefusalCode::AlreadyExists),
        (None, None) => Ok(false),
    }
}
