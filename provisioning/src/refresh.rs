//! Refresh, pull: a device shows its key and gets its next token. A device whose token expired long ago recovers the
//! same way.

use tessera_runtime::sql::Batch;
use tessera_runtime::store::StoreError;
use tessera_token::encoding::hex;
use tessera_token::key::PublicKey;
use tessera_token::limits::PROOF_WINDOW_SECONDS;
use tessera_token::messages::{IssuedKey, TokenAnswer, TokenKind, TokenRequest};
use tessera_token::refusal::RefusalCode;
use tessera_token::scope::Scope;
use tessera_token::time::UnixSeconds;

use crate::admission::Source;
use crate::audit::Actor;
use crate::limits::{ANSWERS_PER_DEVICE, ANSWERS_READ, NONCE_SECONDS};
use crate::records::{AnsweredRequest, DeviceRecord, IssuedRecord, TenantRecord};
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
        Some(cnonce) => service.nonces.is_ours(cnonce)?,
        None if request.time.get().abs_diff(service.now().get()) > PROOF_WINDOW_SECONDS => {
            return Err(RefusalCode::ProofNotFresh.into());
        }
        None => {}
    }
    let (owner, record) = proved(service, request).await?;
    let key = record.key.clone();
    let mut known = Some(may_have_one(owner, record, &key)?);
    service.charge(source, &request.tenant, &request.device)?;
    use_up_nonce(service, request).await?;
    until_committed(async || {
        let now = match known.take() {
            Some(known) => known,
            None => entitled(service, request, &key).await?,
        };
        attempt(service, request, now).await
    })
    .await
}

/// The device, when its key signed the request. Without that, tenants and devices that exist and those that do not get one
/// answer.
async fn proved(
    service: &Service,
    request: &TokenRequest,
) -> Result<(TenantRecord, DeviceRecord), Refused> {
    let known = async {
        let owner = tenants::known(service, &request.tenant).await?;
        let record = devices::known(service, &request.tenant, &request.device).await?;
        Ok::<_, Refused>((owner, record))
    };
    let unproved = match known.await {
        Ok((owner, record)) => {
            // It passed the torsion test when it enrolled, and its row has the sum of these bytes.
            let key = PublicKey::from_known_good(&record.key);
            if request.verifies(&key.map_err(|_| RefusalCode::ConfirmationKey)?) {
                return Ok((owner, record));
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
async fn use_up_nonce(service: &Service, request: &TokenRequest) -> Result<(), Refused> {
    let Some(cnonce) = &request.cnonce else { return Ok(()) };
    let answers = Answers::read(service, request).await?;
    if answers.known(request)?.is_some() {
        return Ok(());
    }
    // The used nonces are shared by all devices: one that gets no answer uses up none.
    match answers.are_too_many() {
        true => Err(RefusalCode::RateLimited.into()),
        false => service.nonces.take(cnonce).await,
    }
}

/// The answers of one device whose requests are still fresh.
struct Answers {
    rows: Vec<IssuedRecord>,
    now: UnixSeconds,
}

impl Answers {
    async fn read(service: &Service, request: &TokenRequest) -> Result<Self, Refused> {
        let now = service.now();
        let device = [
            ("tenant", request.tenant.as_str().into()),
            ("device", request.device.as_str().into()),
        ];
        // A request may bear a time that was as old as it may be when it was answered. None that is taken bears a later
        // one: answers from a time when the clock was ahead do not count.
        let from = now.minus(NONCE_SECONDS.max(2 * PROOF_WINDOW_SECONDS)).get();
        let range = from..=now.plus(PROOF_WINDOW_SECONDS).get();
        let found = service.tables.issued.find_within(&device, ("asked_at", range), ANSWERS_READ);
        let rows = found.await?.into_iter().map(|(_, row)| row);
        let is_fresh = |row: &IssuedRecord| {
            row.answer.as_ref().is_some_and(|answer| answer.until >= now.get())
        };
        Ok(Self { rows: rows.filter(is_fresh).collect(), now })
    }

    /// The answer of this very request. A nonce that comes back with another request is refused.
    fn known(
        &self,
        request: &TokenRequest,
    ) -> Result<Option<(&AnsweredRequest, u64)>, RefusalCode> {
        let nonce = request_nonce(request);
        let each = self.rows.iter().filter_map(|row| Some((row.answer.as_ref()?, row.expires)));
        let Some((known, expires)) = each.into_iter().find(|(known, _)| known.nonce == nonce)
        else {
            return Ok(None);
        };
        let bearer = request.kind == TokenKind::Bearer;
        let symmetric = request.kind == TokenKind::Symmetric;
        let same = (known.bearer, !known.kid.is_empty()) == (bearer, symmetric);
        match known.time == request.time.get() && same {
            true => Ok(Some((known, expires))),
            false => Err(RefusalCode::NonceInvalid),
        }
    }

    fn are_too_many(&self) -> bool {
        self.rows.len() >= ANSWERS_PER_DEVICE
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
    (owner, record): (TenantRecord, DeviceRecord),
) -> Result<Attempt<TokenAnswer>, Refused> {
    let answers = Answers::read(service, request).await?;
    if let Some((known, expires)) = answers.known(request)? {
        return Ok(Attempt::Committed(again(service, known, expires)?));
    }
    if answers.are_too_many() {
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
    let answered = answered(request, &granted, answers.now);
    let mut batch = Batch::new();
    let device = pair(&request.tenant, request.device.as_str());
    batch.expect(&service.tables.devices, device, &record);
    granted.expect(service, &mut batch);
    // Of two with one nonce the table takes one: the other finds its answer.
    let of = (&request.tenant, &request.device);
    granted.issued.record(&service.tables, &mut batch, of, Some(answered.clone()));
    if commit(service, request, &granted, batch).await? == Attempt::Conflict {
        return Ok(Attempt::Conflict);
    }
    let occasion = if answered.kid.is_empty() { "refresh" } else { "symmetric" };
    service.metrics.issued.inc(&[occasion]);
    Ok(Attempt::Committed(again(service, &answered, granted.issued.expires.get())?))
}

/// A token with a symmetric key is told to the audit log: a secret leaves the house. The others have their record alone.
async fn commit(
    service: &Service,
    request: &TokenRequest,
    granted: &IssuedToken,
    batch: Batch,
) -> Result<Attempt<()>, Refused> {
    if granted.issued.kid.is_empty() {
        return match service.database.commit(batch).await {
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

async fn entitled(
    service: &Service,
    request: &TokenRequest,
    key: &[u8],
) -> Result<(TenantRecord, DeviceRecord), Refused> {
    let owner = tenants::known(service, &request.tenant).await?;
    let record = devices::known(service, &request.tenant, &request.device).await?;
    may_have_one(owner, record, key)
}

/// The tenant and the device that has this key, when they may have a token.
fn may_have_one(
    owner: TenantRecord,
    record: DeviceRecord,
    key: &[u8],
) -> Result<(TenantRecord, DeviceRecord), Refused> {
    if owner.suspended {
        return Err(RefusalCode::TenantSuspended.into());
    }
    match record {
        record if record.key != key => Err(RefusalCode::ProofInvalid.into()),
        record if record.revoked => Err(RefusalCode::DeviceRevoked.into()),
        record => Ok((owner, record)),
    }
}

fn answered(request: &TokenRequest, granted: &IssuedToken, now: UnixSeconds) -> AnsweredRequest {
    let (asked_at, until) = match request.cnonce {
        Some(_) => (now, now.plus(NONCE_SECONDS)),
        None => (request.time, now.max(request.time).plus(PROOF_WINDOW_SECONDS)),
    };
    AnsweredRequest {
        nonce: request_nonce(request),
        asked_at: asked_at.get(),
        time: request.time.get(),
        bearer: request.kind == TokenKind::Bearer,
        until: until.get(),
        token: granted.issued.token.clone(),
        scope: granted.scope.to_aif(),
        kid: granted.issued.kid.clone(),
    }
}

fn again(
    service: &Service,
    answer: &AnsweredRequest,
    expires: u64,
) -> Result<TokenAnswer, Refused> {
    let now = service.now();
    let derived = service.derivation.read().key_behind(&answer.kid, &answer.token);
    let key = derived.map(|derived| IssuedKey { kid: answer.kid.clone(), key: derived.key });
    if key.is_none() && !answer.kid.is_empty() {
        // Its derivation key was taken out since: no broker would take the token.
        return Err(RefusalCode::SymmetricNotOffered.into());
    }
    Ok(TokenAnswer {
        access_token: answer.token.clone(),
        expires_in: UnixSeconds::new(expires).since(now),
        bearer: answer.bearer,
        key,
        audience: service.config.audience.clone(),
        scope: Scope::from_aif(&answer.scope).map_err(|_| RefusalCode::Internal)?,
        server_time: now,
    })
}
