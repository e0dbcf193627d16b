//! Refresh, pull: a device shows its key and gets its next token. A device whose token expired long ago recovers the
//! same way.

use tessera_runtime::store::{Batch, StoreError};
use tessera_token::encoding::hex;
use tessera_token::key::PublicKey;
use tessera_token::limits::PROOF_WINDOW_SECONDS;
use tessera_token::messages::{IssuedKey, TokenAnswer, TokenKind, TokenRequest};
use tessera_token::refusal::RefusalCode;
use tessera_token::scope::Scope;
use tessera_token::time::UnixSeconds;

use crate::admission::Source;
use crate::audit::Actor;
use crate::limits::{ANSWERS_PER_DEVICE, NONCE_SECONDS};
use crate::records::{AnsweredRefresh, DeviceRecord, RefreshRecord, TenantRecord};
use crate::refused::Refused;
use crate::registry::{devices, tenants};
use crate::service::Service;
use crate::tables::pair;
use crate::token_for_device::{self, IssuedToken};
use crate::write::{until_committed, Attempt};

/// The next token, or the stored answer when the same request comes again.
pub(crate) async fn refresh(
    service: &Service,
    request: &TokenRequest,
    source: &Source,
) -> Result<TokenAnswer, Refused> {
    match &request.cnonce {
        Some(cnonce) => service.nonces.is_ours(cnonce, service.time.monotonic())?,
        None if request.time.get().abs_diff(service.now().get()) > PROOF_WINDOW_SECONDS => {
            return Err(RefusalCode::ProofNotFresh.into());
        }
        None => {}
    }
    let proved = proved(service, request)?;
    entitled(service, request, &proved.key)?;
    service.charge(source, &request.tenant, &request.device)?;
    use_up_nonce(service, request)?;
    until_committed(async || attempt(service, request, &proved.key).await).await
}

/// The device, when its key signed the request. Without that, tenants and devices that exist and those that do not get one
/// answer.
fn proved(service: &Service, request: &TokenRequest) -> Result<DeviceRecord, Refused> {
    let known = tenants::known(service, &request.tenant)
        .and_then(|_| devices::known(service, &request.tenant, &request.device));
    let unproved = match known {
        Ok(record) => {
            let key = PublicKey::from_bytes(&record.key);
            if request.verifies(&key.map_err(|_| RefusalCode::ConfirmationKey)?) {
                return Ok(record);
            }
            RefusalCode::ProofInvalid
        }
        Err(refused) => {
            if !matches!(refused.code, RefusalCode::TenantUnknown | RefusalCode::DeviceUnknown) {
                return Err(refused);
            }
            // As much work as for a device that exists.
            let _ = std::hint::black_box(request.verifies(&service.root.public()));
            refused.code
        }
    };
    Err(service.strangers.refused(unproved, RefusalCode::ProofInvalid))
}

/// A nonce of ours is good for one request, which may come again until it is too old: its answer is stored then.
fn use_up_nonce(service: &Service, request: &TokenRequest) -> Result<(), Refused> {
    let Some(cnonce) = &request.cnonce else { return Ok(()) };
    let row = pair(&request.tenant, request.device.as_str());
    let stored = service.tables.refreshes.get_record::<RefreshRecord>(&row)?.unwrap_or_default();
    if known_answer(&stored, request)?.is_some() {
        return Ok(());
    }
    // The used nonces are shared by all devices: one that gets no answer uses up none.
    let now = service.now();
    let (oldest, latest) = (now.get(), now.plus(PROOF_WINDOW_SECONDS).get());
    let counts = |answer: &&AnsweredRefresh| answer.until >= oldest && answer.iat <= latest;
    match stored.answers.iter().filter(counts).count() >= ANSWERS_PER_DEVICE {
        true => Err(RefusalCode::RateLimited.into()),
        false => Ok(service.nonces.take(cnonce, service.time.monotonic())?),
    }
}

/// The bytes by which a repeated request is recognised: its nonce, behind that of the service when it has one.
fn request_nonce(request: &TokenRequest) -> Vec<u8> {
    let cnonce = request.cnonce.as_deref().unwrap_or_default();
    [cnonce, &request.nonce].concat()
}

async fn attempt(
    service: &Service,
    request: &TokenRequest,
    key: &[u8],
) -> Result<Attempt<TokenAnswer>, Refused> {
    let (owner, record) = entitled(service, request, key)?;
    let row = pair(&request.tenant, request.device.as_str());
    let before = service.tables.refreshes.get(&row)?;
    let mut stored: RefreshRecord = match &before {
        Some(bytes) => service.tables.refreshes.decode(bytes)?,
        None => RefreshRecord::default(),
    };
    let now = service.now();
    stored.answers.retain(|answer| answer.until >= now.get());
    make_room(&mut stored, now);
    if let Some(known) = known_answer(&stored, request)? {
        // The stored answer may be a moment older than its flush.
        service.store.barrier().await?;
        return Ok(Attempt::Committed(again(service, known)?));
    }
    if stored.answers.len() >= ANSWERS_PER_DEVICE {
        return Err(RefusalCode::RateLimited.into());
    }
    let granted = token_for_device::issue(
        service,
        &request.tenant,
        &owner,
        &request.device,
        &record,
        request.kind,
    )
    .await?;
    let answered = answered(request, &granted, now);
    stored.answers.push(answered.clone());
    let mut batch = Batch::new();
    batch.expect_record(&service.tables.devices, &row, &record);
    batch.expect(&service.tables.refreshes, &row, before);
    batch.put_record(&service.tables.refreshes, &row, &stored);
    granted.issued.record(&service.tables, &mut batch, &request.tenant, &request.device);
    if commit(service, request, &granted, batch).await? == Attempt::Conflict {
        return Ok(Attempt::Conflict);
    }
    let occasion = if answered.kid.is_empty() { "refresh" } else { "symmetric" };
    service.metrics.issued.inc(&[occasion]);
    Ok(Attempt::Committed(again(service, &answered)?))
}

/// Answers from a time when the clock was ahead stay until their requests are stale, but make way for those of now.
fn make_room(stored: &mut RefreshRecord, now: UnixSeconds) {
    let latest = now.plus(PROOF_WINDOW_SECONDS).get();
    while stored.answers.len() >= ANSWERS_PER_DEVICE {
        let Some(ahead) = stored.answers.iter().position(|answer| answer.iat > latest) else {
            return;
        };
        stored.answers.remove(ahead);
    }
}

/// A token with a symmetric key is told to the audit log: a secret leaves the house. The others have their record alone.
async fn commit(
    service: &Service,
    request: &TokenRequest,
    granted: &IssuedToken,
    batch: Batch,
) -> Result<Attempt<()>, Refused> {
    if granted.issued.kid.is_empty() {
        return match service.store.commit(batch).await {
            Ok(()) => Ok(Attempt::Committed(())),
            Err(StoreError::Conflict { .. }) => Ok(Attempt::Conflict),
            Err(error) => Err(error.into()),
        };
    }
    let (by, device) = (Actor(format!("device {}", request.device)), request.device.as_str());
    let entry = service.entry(&by, "token.symmetric", request.tenant.as_str(), device);
    let (serial, kid) = (granted.issued.serial, hex::encode(&granted.issued.kid));
    service.write(batch, entry.detail(format!("serial {serial} kid {kid}"))).await
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
    let nonce = request_nonce(request);
    let Some(known) = stored.answers.iter().find(|answer| answer.nonce == nonce) else {
        return Ok(None);
    };
    let bearer = request.kind == TokenKind::Bearer;
    let symmetric = request.kind == TokenKind::Symmetric;
    let same = (known.bearer, !known.kid.is_empty()) == (bearer, symmetric);
    match known.iat == request.time.get() && same {
        true => Ok(Some(known)),
        false => Err(RefusalCode::NonceInvalid),
    }
}

fn answered(request: &TokenRequest, granted: &IssuedToken, now: UnixSeconds) -> AnsweredRefresh {
    AnsweredRefresh {
        nonce: request_nonce(request),
        iat: request.time.get(),
        bearer: request.kind == TokenKind::Bearer,
        until: match request.cnonce {
            Some(_) => now.plus(NONCE_SECONDS).get(),
            None => now.max(request.time).plus(PROOF_WINDOW_SECONDS).get(),
        },
        token: granted.issued.token.clone(),
        expires: granted.issued.expires.get(),
        scope: granted.scope.to_aif(),
        kid: granted.issued.kid.clone(),
    }
}

fn again(service: &Service, answer: &AnsweredRefresh) -> Result<TokenAnswer, Refused> {
    let now = service.now();
    let derived = service.derivation.read().key_behind(&answer.kid, &answer.token);
    let key = derived.map(|derived| IssuedKey { kid: answer.kid.clone(), key: derived.key });
    if key.is_none() && !answer.kid.is_empty() {
        // Its derivation key was taken out since: no broker would take the token.
        return Err(RefusalCode::SymmetricNotOffered.into());
    }
    Ok(TokenAnswer {
        access_token: answer.token.clone(),
        expires_in: UnixSeconds::new(answer.expires).since(now),
        bearer: answer.bearer,
        key,
        audience: service.config.audience.clone(),
        scope: Scope::from_aif(&answer.scope).map_err(|_| RefusalCode::Internal)?,
        server_time: now,
    })
}
