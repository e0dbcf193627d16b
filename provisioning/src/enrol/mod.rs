//! Enrolment: what entitles a device and the device key become a device, once. Each way of enrolment is a file of its own.

use tessera_runtime::sql::{self, Key};
use tessera_token::key::PublicKey;
use tessera_token::messages::{ClaimCheck, EnrolRequest, NonceAnswer, TokenAnswer, TokenKind, Way};
use tessera_token::refusal::RefusalCode;

use crate::admission::Source;
use crate::audit::Actor;
use crate::limits::NONCE_SECONDS;
use crate::records::{Attributes, DeviceRecord};
use crate::reenrol::{self, Renewal};
use crate::refused::Refused;
use crate::registry::{attributes, code, departure, device_keys, ways};
use crate::service::Service;
use crate::tables::{one, pair};
use crate::token_for_device::{self, IssuedToken};
use crate::write::{until_committed, Attempt};
use by_approval::ByApproval;
use by_certificate::ByCertificate;
use by_claim::ByClaim;
use by_group_key::ByGroupKey;
use by_key::ByKey;
use way::{Ask, Entitled, Verifier};

mod by_approval;
mod by_certificate;
mod by_claim;
mod by_group_key;
mod by_key;
mod way;

/// A nonce to sign.
pub(crate) fn nonce(service: &Service) -> Result<NonceAnswer, Refused> {
    let now = service.now();
    Ok(NonceAnswer {
        nonce: service.nonces.make(&*service.random)?.to_vec(),
        expires_in: NONCE_SECONDS,
        server_time: now,
    })
}

/// Whether this device could use this claim now, or has used it: a broker asks before it lets the device in to enrol.
/// Nothing is changed. A good claim is charged to the claim.
pub(crate) async fn check(
    service: &Service,
    ask: &ClaimCheck,
    source: &Source,
) -> Result<(), Refused> {
    let ClaimCheck { tenant, device, claim } = ask;
    let _ = by_claim::good(service, (tenant, device), claim.as_str()).await?;
    let named = (tenant.clone(), code::hash(claim.as_str()));
    match service.admission.claim(source, named, service.clock.monotonic()) {
        true => Ok(()),
        // Not `rate_limited`, which is a word about a wrong code.
        false => Err(RefusalCode::LimitReached.into()),
    }
}

/// Binds device id and key by what entitles them, or answers again when the same device and key ask again by the same.
pub(crate) async fn enrol(
    service: &Service,
    request: &EnrolRequest,
    source: &Source,
) -> Result<TokenAnswer, Refused> {
    sql::at_one_count(first_token(service, request, source)).await
}

async fn first_token(
    service: &Service,
    request: &EnrolRequest,
    source: &Source,
) -> Result<TokenAnswer, Refused> {
    service.nonces.check(&request.nonce).await?;
    let key = request.verify()?;
    let ask = Ask { service, request, key: &key, source };
    let mut found = match request.way() {
        // Everyone may ask for approval, and nothing in the answer may tell a request that was stored from another one:
        // so all of them are charged and use up their nonces.
        Way::Approval => {
            if !service.admission.approval(source, service.clock.monotonic()) {
                return Err(RefusalCode::RateLimited.into());
            }
            None
        }
        _ => {
            let found = entitled(&ask).await?;
            service.charge(source, &request.tenant, &request.device)?;
            Some(found)
        }
    };
    // The used nonces are shared by all: a stranger without an entitlement uses up none, and one that asks for approval
    // few.
    service.nonces.take(&request.nonce).await?;
    if found.as_ref().is_some_and(|found| found.renews) {
        found = None;
        until_committed(async || renewed(&ask).await).await?;
    }
    until_committed(async || {
        let entitled = match found.take() {
            Some(found) => found,
            None => entitled(&ask).await?,
        };
        let tried = attempt(&ask, entitled).await?;
        Ok(tried.map(|granted| {
            service.metrics.issued.inc(&["enrol"]);
            granted.answer(service)
        }))
    })
    .await
}

/// Whether the request entitles, by its way.
async fn entitled(ask: &Ask<'_>) -> Result<Entitled, Refused> {
    match ask.request.way() {
        Way::Claim => ByClaim::verify(ask).await,
        Way::Key => ByKey::verify(ask).await,
        Way::GroupKey => ByGroupKey::verify(ask).await,
        Way::Certificate => ByCertificate::verify(ask).await,
        Way::Approval => ByApproval::verify(ask).await,
    }
}

async fn attempt(ask: &Ask<'_>, mut entitled: Entitled) -> Result<Attempt<IssuedToken>, Refused> {
    let Ask { service, request, key, .. } = *ask;
    if entitled.renews {
        // It got this key a moment ago, and another one since.
        return Err(RefusalCode::DeviceKeyMismatch.into());
    }
    let owner = entitled.owner.clone();
    let record = match entitled.known.take() {
        Some(record) => {
            entitled.batch.expect(&service.tables.devices, device_key(request), &record);
            record
        }
        None => {
            let tenant = one(request.tenant.as_str());
            entitled.batch.expect(&service.tables.tenants, tenant, &owner);
            bind(ask, &mut entitled).await?
        }
    };
    let mut batch = entitled.batch;
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
    let entry = entry(service, request, key, &record, &granted);
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
async fn renewed(ask: &Ask<'_>) -> Result<Attempt<()>, Refused> {
    let Ask { service, request, key, .. } = *ask;
    let entitled = entitled(ask).await?;
    let (true, Some(old)) = (entitled.renews, &entitled.known) else {
        return Ok(Attempt::Committed(()));
    };
    let EnrolRequest { tenant, device, .. } = request;
    let Entitled { owner, named: claim, batch, .. } = &entitled;
    let renewal = Renewal { tenant, device, owner, old, key, claim, batch };
    reenrol::renew(service, &renewal).await
}

fn entry(
    service: &Service,
    request: &EnrolRequest,
    key: &PublicKey,
    record: &DeviceRecord,
    granted: &IssuedToken,
) -> crate::audit::Entry {
    let by = Actor::device(&request.device);
    let entry =
        service.entry(&by, "device.enrol", request.tenant.as_str(), request.device.as_str());
    let serial = granted.issued.serial;
    entry.detail(match request.way() {
        Way::Claim => format!("claim {} serial {serial}", record.claim),
        _ => format!("{} key {} serial {serial}", record.claim, key.key_id()),
    })
}

/// Makes the device.
async fn bind(ask: &Ask<'_>, entitled: &mut Entitled) -> Result<DeviceRecord, Refused> {
    let Ask { service, request, key, .. } = *ask;
    let EnrolRequest { tenant, device, .. } = request;
    let Entitled { role, group, attributes: given, named, batch, .. } = entitled;
    ways::expect_taken(service, tenant, group, request.way(), batch).await?;
    device_keys::check(service, tenant, device, key).await?;
    let epoch = departure::first_epoch(service, tenant, device, batch).await?;
    let record = DeviceRecord {
        role: role.clone(),
        group: group.clone(),
        key: key.as_bytes().to_vec(),
        epoch,
        revoked: false,
        enrolled: service.now().get(),
        claim: named.clone(),
        attributes: given.clone(),
        // Refresh tokens of a former device of this id have ended.
        refresh_from: Some(epoch),
        suspended: None,
        thumbprint: Some(*key.thumbprint().as_bytes()),
    };
    let none = Attributes::default();
    attributes::index(&service.tables, batch, (tenant, device), &none, &record.attributes);
    batch.insert(&service.tables.devices, device_key(request), &record);
    Ok(record)
}

fn device_key(request: &EnrolRequest) -> Key {
    pair(&request.tenant, request.device.as_str())
}
