//! A token that is shown to be ended (RFC 7009), by an operator or by its own device.
//!
//! The issuer's signature is verified before any row of tokens or devices is read. A token that is not ours, or that has
//! ended, is no error for an operator: there is nothing to do. A device proves the key that the registry has for it, and
//! learns nothing without that.

use tessera_token::ids::{DeviceId, TenantId};
use tessera_token::key::PublicKey;
use tessera_token::limits::PROOF_WINDOW_SECONDS;
use tessera_token::messages::RevokeRequest;
use tessera_token::presented::Presented;
use tessera_token::refusal::RefusalCode;

use super::{token, Named, Revoked};
use crate::admission::Source;
use crate::audit::Actor;
use crate::records::operators::Tenants;
use crate::refused::Refused;
use crate::registry::devices;
use crate::service::Service;
use crate::tables::pair;

/// The token, when an issuer key that this service knows has signed it.
///
/// # Errors
/// The code of the first thing that is wrong with it.
pub(crate) async fn ours(service: &Service, bytes: &[u8]) -> Result<Presented, Refused> {
    let shown = Presented::read(bytes)?;
    let key = pair(&shown.tenant, shown.key_id.as_bytes());
    let record = service.tables.keys.get(key).await?.ok_or(RefusalCode::KeyUnknown)?;
    match shown.is_signed_by(&record.public()?) {
        true => Ok(shown),
        false => Err(RefusalCode::SignatureInvalid.into()),
    }
}

/// Ends a token that an operator shows. `None` when there is nothing to end, or nothing of its tenants.
pub(crate) async fn by_operator(
    service: &Service,
    by: &Actor,
    tenants: &Tenants,
    shown: &Presented,
) -> Result<Option<Revoked>, Refused> {
    if !tenants.cover(shown.tenant.as_str()) || shown.expires <= service.now() {
        return Ok(None);
    }
    found(token(service, by, &shown.tenant, Named::Token(shown)).await)
}

/// Ends a token that its device shows, and that device alone.
///
/// # Errors
/// `proof_not_fresh`, `proof_invalid` for everything that the device does not prove, `rate_limited`.
pub(crate) async fn by_device(
    service: &Service,
    request: &RevokeRequest,
    source: &Source,
    may: impl Fn(&str) -> Result<(), Refused>,
) -> Result<Option<Revoked>, Refused> {
    let shown = proved(service, request, source, may, RevokeRequest::verifies).await?;
    if shown.expires <= service.now() {
        return Ok(None);
    }
    let by = Actor::device(&shown.device);
    found(token(service, &by, &shown.tenant, Named::Token(&shown)).await)
}

/// The device that asks for the list of its revoked tokens, by one of its tokens, revoked or not.
///
/// # Errors
/// As [`by_device`].
pub(crate) async fn reader(
    service: &Service,
    request: &RevokeRequest,
    source: &Source,
    may: impl Fn(&str) -> Result<(), Refused>,
) -> Result<(TenantId, DeviceId), Refused> {
    let shown = proved(service, request, source, may, RevokeRequest::verifies_list).await?;
    Ok((shown.tenant, shown.device))
}

/// The token, when its device has signed the request.
async fn proved(
    service: &Service,
    request: &RevokeRequest,
    source: &Source,
    may: impl Fn(&str) -> Result<(), Refused>,
    verifies: fn(&RevokeRequest, &PublicKey) -> bool,
) -> Result<Presented, Refused> {
    if request.time.get().abs_diff(service.now().get()) > PROOF_WINDOW_SECONDS {
        return Err(RefusalCode::ProofNotFresh.into());
    }
    let stranger = |truth| service.strangers.refused(truth, RefusalCode::ProofInvalid);
    let shown = match ours(service, &request.token).await {
        Ok(shown) => shown,
        Err(refused) if refused.code == RefusalCode::NotReady => return Err(refused),
        Err(refused) => return Err(stranger(refused.code)),
    };
    may(shown.tenant.as_str())?;
    let known = devices::find(service, &shown.tenant, &shown.device).await?;
    let record = known.ok_or_else(|| stranger(RefusalCode::DeviceUnknown))?;
    let key = PublicKey::from_known_good(&record.key).map_err(|_| RefusalCode::ConfirmationKey)?;
    if !verifies(request, &key) {
        return Err(stranger(RefusalCode::ProofInvalid));
    }
    service.charge(source, &shown.tenant, &shown.device)?;
    Ok(shown)
}

fn found(revoked: Result<Revoked, Refused>) -> Result<Option<Revoked>, Refused> {
    match revoked {
        Ok(revoked) => Ok(Some(revoked)),
        Err(refused) if is_gone(refused.code) => Ok(None),
        Err(refused) => Err(refused),
    }
}

fn is_gone(code: RefusalCode) -> bool {
    matches!(code, RefusalCode::NotFound | RefusalCode::TenantUnknown | RefusalCode::DeviceUnknown)
}
