//! Enrolment: a claim code and a device key become a device, once.

use tessera_runtime::sql::{Batch, Key};
use tessera_token::key::PublicKey;
use tessera_token::messages::{EnrolRequest, NonceAnswer, TokenAnswer, TokenKind};
use tessera_token::refusal::RefusalCode;

use crate::admission::Source;
use crate::audit::Actor;
use crate::limits::NONCE_SECONDS;
use crate::records::{Attributes, ClaimRecord, ClaimUse, DeviceRecord, TenantRecord};
use crate::reenrol::{self, Renewal};
use crate::refused::Refused;
use crate::registry::claims::Stored;
use crate::registry::{attributes, claims, departure, device_keys, devices, groups, tenants};
use crate::service::Service;
use crate::tables::{one, pair};
use crate::token_for_device::{self, IssuedToken};
use crate::write::{until_committed, Attempt};

/// A nonce to sign.
pub(crate) fn nonce(service: &Service) -> Result<NonceAnswer, Refused> {
    let now = service.now();
    Ok(NonceAnswer {
        nonce: service.nonces.make(&*service.random)?.to_vec(),
        expires_in: NONCE_SECONDS,
        server_time: now,
    })
}

/// Binds device id and key by a claim, or answers again when the same device, key and claim ask again.
pub(crate) async fn enrol(
    service: &Service,
    request: &EnrolRequest,
    source: &Source,
) -> Result<TokenAnswer, Refused> {
    service.nonces.check(&request.nonce).await?;
    let key = request.verify()?;
    let _ = found(service, request, &key).await?;
    service.charge(source, &request.tenant, &request.device)?;
    // The used nonces are shared by all: a stranger without a claim uses up none.
    service.nonces.take(&request.nonce).await?;
    until_committed(async || renewed(service, request, &key).await).await?;
    until_committed(async || {
        let tried = attempt(service, request, &key).await?;
        Ok(tried.map(|granted| {
            service.metrics.issued.inc(&["enrol"]);
            granted.answer(service)
        }))
    })
    .await
}

async fn attempt(
    service: &Service,
    request: &EnrolRequest,
    key: &PublicKey,
) -> Result<Attempt<IssuedToken>, Refused> {
    let (owner, known, claim) = found(service, request, key).await?;
    if known.as_ref().is_some_and(|record| record.key != key.as_bytes()) {
        // It got this key a moment ago, and another one since.
        return Err(RefusalCode::DeviceKeyMismatch.into());
    }
    let mut batch = Batch::new();
    batch.expect(&service.tables.claims, claim.0.clone(), &claim.1);
    let record = match known {
        Some(record) => {
            batch.expect(&service.tables.devices, device_key(request), &record);
            record
        }
        None => {
            batch.expect(&service.tables.tenants, one(request.tenant.as_str()), &owner);
            bind(service, request, key, &claim, &mut batch).await?
        }
    };
    let granted = token_for_device::issue(
        service,
        &request.tenant,
        &owner,
        &request.device,
        &record,
        TokenKind::Key,
    )
    .await?;
    granted.expect_of_new(service, &mut batch);
    let of = (&request.tenant, &request.device);
    granted.issued.record(&service.tables, &mut batch, of, None);
    let by = Actor(format!("device {}", request.device));
    let entry =
        service.entry(&by, "device.enrol", request.tenant.as_str(), request.device.as_str());
    let entry = entry.detail(format!("claim {} serial {}", record.claim, granted.issued.serial));
    let tried = match owner.keys_published {
        true => {
            let change = record.key_change(&request.tenant, &request.device);
            service.publish(vec![change], batch, entry).await?
        }
        false => service.write(batch, entry).await?,
    };
    Ok(tried.map(|()| granted))
}

/// A device that is known with another key, and whose claim lets it have this one, gets it. Its token is issued as to any
/// device that has enrolled by this claim and asks once more.
async fn renewed(
    service: &Service,
    request: &EnrolRequest,
    key: &PublicKey,
) -> Result<Attempt<()>, Refused> {
    let (owner, known, claim) = found(service, request, key).await?;
    let Some(old) = known.filter(|record| record.key != key.as_bytes()) else {
        return Ok(Attempt::Committed(()));
    };
    let (tenant, device) = (&request.tenant, &request.device);
    let renewal = Renewal { tenant, device, owner: &owner, old: &old, key, claim: &claim };
    reenrol::renew(service, &renewal).await
}

/// The claim of this code. Without one, tenants and devices get one answer, whether they exist or not.
async fn shown_claim(service: &Service, request: &EnrolRequest) -> Result<Stored, Refused> {
    let found = match tenants::known(service, &request.tenant).await {
        Ok(_) => claims::by_code(service, &request.tenant, &request.claim).await,
        Err(refused) => Err(refused),
    };
    found.map_err(|refused| match refused.code {
        code @ (RefusalCode::TenantUnknown | RefusalCode::ClaimUnknown) => {
            service.strangers.refused(code, RefusalCode::ClaimUnknown)
        }
        _ => refused,
    })
}

/// The tenant, the device when it is known, and the claim that entitles it.
async fn found(
    service: &Service,
    request: &EnrolRequest,
    key: &PublicKey,
) -> Result<(TenantRecord, Option<DeviceRecord>, Stored), Refused> {
    let claim = shown_claim(service, request).await?;
    let owner = tenants::serving(service, &request.tenant).await?;
    let known = devices::find(service, &request.tenant, &request.device).await?;
    good_for(service, request, &claim.1)?;
    if let Some(record) = known.as_ref().filter(|record| record.key != key.as_bytes()) {
        let group = groups::known(service, &request.tenant, &record.group).await?;
        reenrol::may_renew(&owner, &group, record, &claim.1)?;
        return Ok((owner, known, claim));
    }
    let claim = entitled(request, key, known.as_ref(), claim)?;
    Ok((owner, known, claim))
}

/// Whether the claim is good for this id.
fn good_for(
    service: &Service,
    request: &EnrolRequest,
    claim: &ClaimRecord,
) -> Result<(), RefusalCode> {
    // A code that another device used up, or that is over, tells nothing of other devices.
    if claim.used.as_ref().is_some_and(|used| used.device != request.device.as_str()) {
        return Err(RefusalCode::ClaimUsed);
    }
    if claim.used.is_none() && claim.expires <= service.now().get() {
        return Err(RefusalCode::ClaimUnknown);
    }
    match claim.device.as_deref().is_some_and(|bound| bound != request.device.as_str()) {
        true => Err(RefusalCode::ClaimMismatch),
        false => Ok(()),
    }
}

/// The claim, when it entitles this device and key: unused for a new device, used by them for a known one.
fn entitled(
    request: &EnrolRequest,
    key: &PublicKey,
    known: Option<&DeviceRecord>,
    (row, claim): Stored,
) -> Result<Stored, Refused> {
    match (&claim.used, known) {
        (Some(used), Some(record)) if is_same(used, request, key) => match record.revoked {
            true => Err(RefusalCode::DeviceRevoked.into()),
            // Its suspension, and that of its group, are found when its token is issued.
            false => Ok((row, claim)),
        },
        (Some(_), _) => Err(RefusalCode::ClaimUsed.into()),
        (None, Some(_)) => Err(RefusalCode::AlreadyExists.into()),
        (None, None) => Ok((row, claim)),
    }
}

fn is_same(used: &ClaimUse, request: &EnrolRequest, key: &PublicKey) -> bool {
    used.device == request.device.as_str() && used.thumbprint == *key.thumbprint().as_bytes()
}

async fn bind(
    service: &Service,
    request: &EnrolRequest,
    key: &PublicKey,
    (row, claim): &Stored,
    batch: &mut Batch,
) -> Result<DeviceRecord, Refused> {
    device_keys::check(service, &request.tenant, &request.device, key).await?;
    let now = service.now().get();
    let epoch = departure::first_epoch(service, &request.tenant, &request.device, batch).await?;
    let record = DeviceRecord {
        role: claim.role.clone(),
        group: claim.group.clone(),
        key: key.as_bytes().to_vec(),
        epoch,
        revoked: false,
        enrolled: now,
        claim: claims::id_of(row)?,
        attributes: claim.attributes.clone(),
        // Refresh tokens of a former device of this id have ended.
        refresh_from: Some(epoch),
        suspended: None,
        thumbprint: Some(*key.thumbprint().as_bytes()),
    };
    let of = (&request.tenant, &request.device);
    attributes::index(&service.tables, batch, of, &Attributes::default(), &record.attributes);
    let mut used = claim.clone();
    used.used = Some(ClaimUse {
        device: request.device.as_str().to_owned(),
        thumbprint: *key.thumbprint().as_bytes(),
        at: now,
    });
    batch.put(&service.tables.claims, row.clone(), &used);
    batch.insert(&service.tables.devices, device_key(request), &record);
    Ok(record)
}

fn device_key(request: &EnrolRequest) -> Key {
    pair(&request.tenant, request.device.as_str())
}
