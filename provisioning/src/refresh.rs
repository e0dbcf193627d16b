//! Refresh, pull: a device shows its key and gets its next token. A device whose token expired long ago recovers the
//! same way.

use tessera_runtime::store::Batch;
use tessera_token::key::PublicKey;
use tessera_token::limits::PROOF_WINDOW_SECONDS;
use tessera_token::messages::{TokenAnswer, TokenRequest};
use tessera_token::refusal::RefusalCode;
use tessera_token::scope::Scope;
use tessera_token::time::UnixSeconds;

use crate::grant::{self, Granted};
use crate::limits::{ANSWERS_PER_DEVICE, ATTEMPTS};
use crate::refused::Refused;
use crate::registry::records::{AnsweredRefresh, DeviceRecord, RefreshRecord, TenantRecord};
use crate::registry::{devices, tenants};
use crate::service::Service;
use crate::tables::pair;

/// The next token, or the stored answer when the same request comes again.
pub(crate) async fn refresh(
    service: &Service,
    request: &TokenRequest,
) -> Result<TokenAnswer, Refused> {
    if request.time.get().abs_diff(service.now().get()) > PROOF_WINDOW_SECONDS {
        return Err(RefusalCode::ProofNotFresh.into());
    }
    tenants::known(service, &request.tenant)?;
    let proved = devices::known(service, &request.tenant, &request.device)?;
    let key = PublicKey::from_bytes(&proved.key).map_err(|_| RefusalCode::ConfirmationKey)?;
    if !request.verifies(&key) {
        return Err(RefusalCode::ProofInvalid.into());
    }
    for _ in 0..ATTEMPTS {
        if let Some(answer) = attempt(service, request, &proved.key).await? {
            return Ok(answer);
        }
    }
    Err(RefusalCode::LimitReached.into())
}

async fn attempt(
    service: &Service,
    request: &TokenRequest,
    key: &[u8],
) -> Result<Option<TokenAnswer>, Refused> {
    let (owner, record) = entitled(service, request, key)?;
    let row = pair(&request.tenant, request.device.as_str());
    let before = service.tables.refreshes.get(&row)?;
    let mut stored: RefreshRecord = match &before {
        Some(bytes) => service.tables.refreshes.decode(bytes)?,
        None => RefreshRecord::default(),
    };
    let now = service.now();
    stored.answers.retain(|answer| answer.until >= now.get());
    if let Some(known) = known_answer(&stored, request)? {
        // The stored answer may be a moment older than its flush.
        service.store.barrier().await?;
        return Ok(Some(again(service, known)?));
    }
    if stored.answers.len() >= ANSWERS_PER_DEVICE {
        return Err(RefusalCode::RateLimited.into());
    }
    let granted =
        grant::issue(service, &request.tenant, &owner, &request.device, &record, request.bearer)
            .await?;
    let answered = answered(request, &granted, now);
    stored.answers.push(answered.clone());
    let mut batch = Batch::new();
    batch.expect_record(&service.tables.devices, &row, &record);
    batch.expect(&service.tables.refreshes, &row, before);
    batch.put_record(&service.tables.refreshes, &row, &stored);
    granted.issued.record(&service.tables, &mut batch, &request.tenant, &request.device);
    match service.store.commit(batch).await {
        Ok(()) => {
            service.metrics.issued.inc(&["refresh"]);
            Ok(Some(again(service, &answered)?))
        }
        Err(tessera_runtime::store::StoreError::Conflict { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn entitled(
    service: &Service,
    request: &TokenRequest,
    key: &[u8],
) -> Result<(TenantRecord, DeviceRecord), Refused> {
    let owner = tenants::serving(service, &request.tenant)?;
    let record = devices::known(service, &request.tenant, &request.device)?;
    match record {
        record if record.key != key => Err(RefusalCode::ProofInvalid.into()),
        record if record.revoked => Err(RefusalCode::DeviceRevoked.into()),
        record => Ok((owner, record)),
    }
}

/// The answer of this very request. A nonce that comes back with another request is refused.
fn known_answer<'a>(
    stored: &'a RefreshRecord,
    request: &TokenRequest,
) -> Result<Option<&'a AnsweredRefresh>, RefusalCode> {
    let Some(known) = stored.answers.iter().find(|answer| answer.nonce == request.nonce) else {
        return Ok(None);
    };
    match known.iat == request.time.get() && known.bearer == request.bearer {
        true => Ok(Some(known)),
        false => Err(RefusalCode::NonceInvalid),
    }
}

fn answered(request: &TokenRequest, granted: &Granted, now: UnixSeconds) -> AnsweredRefresh {
    AnsweredRefresh {
        nonce: request.nonce.clone(),
        iat: request.time.get(),
        bearer: request.bearer,
        until: now.max(request.time).plus(PROOF_WINDOW_SECONDS).get(),
        token: granted.issued.token.clone(),
        expires: granted.issued.expires.get(),
        scope: granted.scope.to_aif(),
    }
}

fn again(service: &Service, answer: &AnsweredRefresh) -> Result<TokenAnswer, Refused> {
    let now = service.now();
    Ok(TokenAnswer {
        access_token: answer.token.clone(),
        expires_in: UnixSeconds::new(answer.expires).since(now),
        bearer: answer.bearer,
        audience: service.config.audience.clone(),
        scope: Scope::from_aif(&answer.scope).map_err(|_| RefusalCode::Internal)?,
        server_time: now,
    })
}
