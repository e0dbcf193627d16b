//! Another key for a device: a request that both keys signed, or one by the new key alone that an operator approves.

use std::sync::Arc;

use tessera_runtime::sql::Batch;
use tessera_token::key::PublicKey;
use tessera_token::messages::{RekeyRequest, TokenAnswer, TokenKind};
use tessera_token::refusal::RefusalCode;

use crate::admission::Source;
use crate::audit::Actor;
use crate::records::{DeviceRecord, TenantRecord};
use crate::refused::Refused;
use crate::registry::device_keys::{self, Exchange};
use crate::registry::{devices, rekeys, standing, tenants};
use crate::service::Service;
use crate::tables::{one, pair};
use crate::token_for_device;
use crate::write::{until_committed, Attempt};

/// A token for the new key. The same request once more has the same outcome: the new key is the one of the device then, and
/// proves that itself.
pub(crate) async fn rekey(
    service: &Arc<Service>,
    request: &RekeyRequest,
    source: &Source,
) -> Result<TokenAnswer, Refused> {
    service.nonces.check(&request.nonce).await?;
    let key = request.verify()?;
    let known = known(service, request).await;
    let (owner, record) = match (&request.former, known) {
        // The new key is the one of the device already: an exchange whose answer was lost, or that was approved.
        (_, Ok((owner, record))) if record.key == key.as_bytes() => (owner, record),
        (Some(_), known) => signed_by_both(service, request, &key, known)?,
        (None, known) => return Err(waits(service, request, &key, known)?),
    };
    standing::check(service, &request.tenant, &owner, &record).await?;
    service.charge(source, &request.tenant, &request.device)?;
    // The used nonces are shared by all: a stranger uses up none.
    service.nonces.take(&request.nonce).await?;
    until_committed(async || exchange(service, request, &key).await).await?;
    until_committed(async || token(service, request, &key).await).await
}

async fn known(
    service: &Service,
    request: &RekeyRequest,
) -> Result<(TenantRecord, DeviceRecord), Refused> {
    let owner = tenants::known(service, &request.tenant).await?;
    let record = devices::known(service, &request.tenant, &request.device).await?;
    Ok((owner, record))
}

/// The device, when the key that it has signed the request. Without that, tenants and devices that exist and those that do
/// not get one answer.
fn signed_by_both(
    service: &Service,
    request: &RekeyRequest,
    new: &PublicKey,
    known: Result<(TenantRecord, DeviceRecord), Refused>,
) -> Result<(TenantRecord, DeviceRecord), Refused> {
    let unproved = match known {
        Ok((owner, record)) => {
            let former = PublicKey::from_known_good(&record.key);
            let former = former.map_err(|_| RefusalCode::ConfirmationKey)?;
            if request.is_signed_by(&former, new) {
                return Ok((owner, record));
            }
            RefusalCode::ProofInvalid
        }
        Err(refused) => {
            let code = stranger(refused)?;
            // As much work as for a device that exists.
            let _ = std::hint::black_box(request.is_signed_by(&service.root.public(), new));
            code
        }
    };
    Err(service.strangers.refused(unproved, RefusalCode::ProofInvalid))
}

/// The answer to a device that has lost its key: it waits for an operator, and so does a device that does not exist. The
/// request is put on the list beside the answer, so that the time of the answer says nothing.
fn waits(
    service: &Arc<Service>,
    request: &RekeyRequest,
    key: &PublicKey,
    known: Result<(TenantRecord, DeviceRecord), Refused>,
) -> Result<Refused, Refused> {
    let truth = match known {
        Ok(_) => {
            let (service, key) = (Arc::clone(service), key.clone());
            let (tenant, device) = (request.tenant.clone(), request.device.clone());
            actix_rt::spawn(async move {
                if let Err(refused) = rekeys::ask(&service, &tenant, &device, &key).await {
                    tracing::warn!(%tenant, %device, code = %refused.code, "a request for a new key was not kept");
                }
            });
            RefusalCode::ApprovalPending
        }
        Err(refused) => stranger(refused)?,
    };
    Ok(service.strangers.refused(truth, RefusalCode::ApprovalPending))
}

/// The code for a tenant or device that does not exist.
fn stranger(refused: Refused) -> Result<RefusalCode, Refused> {
    match refused.code {
        code @ (RefusalCode::TenantUnknown | RefusalCode::DeviceUnknown) => Ok(code),
        _ => Err(refused),
    }
}

/// Puts the new key in the place of the one that signed the request.
async fn exchange(
    service: &Service,
    request: &RekeyRequest,
    key: &PublicKey,
) -> Result<Attempt<()>, Refused> {
    let (owner, old) = known(service, request).await?;
    if old.key == key.as_bytes() {
        return Ok(Attempt::Committed(()));
    }
    signed_by_both(service, request, key, Ok((owner.clone(), old.clone())))?;
    standing::check(service, &request.tenant, &owner, &old).await?;
    let by = Actor::device(&request.device);
    let (tenant, device) = (&request.tenant, &request.device);
    let of = Exchange { tenant, device, owner: &owner, old: &old, key, claim: None };
    let tried = device_keys::exchange(service, &by, &of, "signed by both", |_| {}).await?;
    Ok(tried.map(drop))
}

/// A token for the device, when it has this key.
async fn token(
    service: &Service,
    request: &RekeyRequest,
    key: &PublicKey,
) -> Result<Attempt<TokenAnswer>, Refused> {
    let (tenant, device) = (&request.tenant, &request.device);
    let (owner, record) = known(service, request).await?;
    if record.key != key.as_bytes() {
        return Err(RefusalCode::ProofInvalid.into());
    }
    let granted =
        token_for_device::issue(service, tenant, &owner, device, &record, TokenKind::Key).await?;
    let mut batch = Batch::new();
    batch.expect(&service.tables.tenants, one(tenant.as_str()), &owner);
    batch.expect(&service.tables.devices, pair(tenant, device.as_str()), &record);
    granted.expect(service, &mut batch);
    granted.issued.record(&service.tables, &mut batch, (tenant, device), None);
    let tried = service.write_unnoted(batch).await?;
    Ok(tried.map(|()| {
        service.metrics.issued.inc(&["rekey"]);
        granted.answer(service)
    }))
}
