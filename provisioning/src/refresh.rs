//! Refresh, pull: a device shows its key and gets its next token. A device whose token expired long ago recovers the
//! same way.

use tessera_runtime::secret::Secret;
use tessera_runtime::sql::{self, Batch};
use tessera_runtime::store::StoreError;
use tessera_token::encoding::hex;
use tessera_token::hash::TokenHash;
use tessera_token::key::PublicKey;
use tessera_token::limits::PROOF_WINDOW_SECONDS;
use tessera_token::messages::{
    AskedToken, IssuedKey, NamedKey, TokenAnswer, TokenKind, TokenRequest, Wish,
};
use tessera_token::refusal::RefusalCode;
use tessera_token::scope::Scope;
use tessera_token::time::UnixSeconds;

use crate::admission::Source;
use crate::audit::Actor;
use crate::families::{self, Beginning};
use crate::limits::{ANSWERS_PER_DEVICE, ANSWERS_READ, NONCE_SECONDS};
use crate::records::families::LiveToken;
use crate::records::{AnsweredRequest, DeviceRecord, IssuedRecord, TenantRecord};
use crate::refused::Refused;
use crate::registry::{devices, roles, standing, tenants};
use crate::service::Service;
use crate::tables::{number, pair};
use crate::token_for_device::{self, IssuedToken};
use crate::write::{until_committed, Attempt};

/// A token, and a refresh token when that was asked for.
pub(crate) struct Given {
    pub(crate) token: TokenAnswer,
    pub(crate) refresh_token: Option<Secret<String>>,
}

/// The next token, or the stored answer when the same request comes again.
pub(crate) async fn refresh(
    service: &Service,
    request: &TokenRequest,
    source: &Source,
) -> Result<TokenAnswer, Refused> {
    let asked = AskedToken { request: request.clone(), wish: Wish::default() };
    Ok(token(service, &asked, None, source).await?.token)
}

/// As [`refresh`], for a request that may wish more. `named` is the key to which it wants the token to be bound.
pub(crate) async fn token(
    service: &Service,
    asked: &AskedToken,
    named: Option<&NamedKey>,
    source: &Source,
) -> Result<Given, Refused> {
    sql::at_one_count(next_token(service, asked, named, source)).await
}

async fn next_token(
    service: &Service,
    asked: &AskedToken,
    named: Option<&NamedKey>,
    source: &Source,
) -> Result<Given, Refused> {
    let request = &asked.request;
    match &request.cnonce {
        Some(cnonce) => service.nonces.is_ours(cnonce)?,
        None if request.time.get().abs_diff(service.now().get()) > PROOF_WINDOW_SECONDS => {
            return Err(RefusalCode::ProofNotFresh.into());
        }
        None => {}
    }
    let (owner, record) = proved(service, asked).await?;
    let key = record.key.clone();
    let mut known = Some(may_have_one(service, request, (owner, record), &key).await?);
    service.charge(source, &request.tenant, &request.device)?;
    can_be_met(service, asked, named, &key)?;
    use_up_nonce(service, asked).await?;
    until_committed(async || {
        let now = match known.take() {
            Some(known) => known,
            None => entitled(service, request, &key).await?,
        };
        attempt(service, asked, now).await
    })
    .await
}

/// Whether audience and key are those that there are.
fn can_be_met(
    service: &Service,
    asked: &AskedToken,
    named: Option<&NamedKey>,
    key: &[u8],
) -> Result<(), RefusalCode> {
    let audience = &service.config.audience;
    if asked.wish.audience.as_ref().is_some_and(|wished| wished != audience) {
        return Err(RefusalCode::AudienceMismatch);
    }
    let Some(named) = named else { return Ok(()) };
    let key = PublicKey::from_known_good(key).map_err(|_| RefusalCode::ConfirmationKey)?;
    match named.names(&key) {
        true => Ok(()),
        false => Err(RefusalCode::ConfirmationKey),
    }
}

/// The device, when its key signed the request. Without that, tenants and devices that exist and those that do not get one
/// answer.
async fn proved(
    service: &Service,
    asked: &AskedToken,
) -> Result<(TenantRecord, DeviceRecord), Refused> {
    let request = &asked.request;
    let known = async {
        let owner = tenants::known(service, &request.tenant).await?;
        let record = devices::known(service, &request.tenant, &request.device).await?;
        Ok::<_, Refused>((owner, record))
    };
    let unproved = match known.await {
        Ok((owner, record)) => {
            // It passed the torsion test when it enrolled, and its row has the sum of these bytes.
            let key = PublicKey::from_known_good(&record.key);
            if asked.verifies(&key.map_err(|_| RefusalCode::ConfirmationKey)?) {
                return Ok((owner, record));
            }
            RefusalCode::ProofInvalid
        }
        Err(refused) => {
            if !matches!(refused.code, RefusalCode::TenantUnknown | RefusalCode::DeviceUnknown) {
                return Err(refused);
            }
            // As much work as for a device that exists.
            let _ = std::hint::black_box(asked.verifies(&service.root.public()));
            refused.code
        }
    };
    Err(service.strangers.refused(unproved, RefusalCode::ProofInvalid))
}

/// A nonce of ours is good for one request, which may come again until it is too old: its answer is stored then.
async fn use_up_nonce(service: &Service, asked: &AskedToken) -> Result<(), Refused> {
    let Some(cnonce) = &asked.request.cnonce else { return Ok(()) };
    let answers = Answers::read(service, &asked.request).await?;
    if answers.known(asked)?.is_some() {
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
    /// With their serials.
    rows: Vec<(u64, IssuedRecord)>,
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
        let is_fresh = |row: &IssuedRecord| {
            row.answer.as_ref().is_some_and(|answer| answer.until >= now.get())
        };
        let rows = found.await?.into_iter().filter(|(_, row)| is_fresh(row));
        let rows = rows.map(|(key, row)| Ok((number(&key, 0)?, row)));
        Ok(Self { rows: rows.collect::<Result<_, StoreError>>()?, now })
    }

    /// The answer of this very request. A nonce that comes back with another request is refused.
    fn known(&self, asked: &AskedToken) -> Result<Option<Known<'_>>, RefusalCode> {
        let (request, nonce) = (&asked.request, request_nonce(asked));
        let each = self.rows.iter().filter_map(|(serial, row)| {
            let (answer, expires) = (row.answer.as_ref()?, row.expires);
            Some(Known { answer, expires, serial: *serial })
        });
        let Some(found) = each.into_iter().find(|known| known.answer.nonce == nonce) else {
            return Ok(None);
        };
        let known = found.answer;
        let bearer = request.kind == TokenKind::Bearer;
        let symmetric = request.kind == TokenKind::Symmetric;
        let same = (known.bearer, !known.kid.is_empty()) == (bearer, symmetric);
        match known.time == request.time.get() && same {
            true => Ok(Some(found)),
            false => Err(RefusalCode::NonceInvalid),
        }
    }

    fn are_too_many(&self) -> bool {
        self.rows.len() >= ANSWERS_PER_DEVICE
    }
}

/// An answer that was given.
struct Known<'a> {
    answer: &'a AnsweredRequest,
    expires: u64,
    serial: u64,
}

/// The bytes by which a repeated request is recognised: its nonce, behind that of the service when it has one, and the name
/// of what it wishes.
fn request_nonce(asked: &AskedToken) -> Vec<u8> {
    let cnonce = asked.request.cnonce.as_deref().unwrap_or_default();
    [cnonce, &asked.request.nonce, &asked.wish_hash()].concat()
}

async fn attempt(
    service: &Service,
    asked: &AskedToken,
    (owner, record): (TenantRecord, DeviceRecord),
) -> Result<Attempt<Given>, Refused> {
    let request = &asked.request;
    let answers = Answers::read(service, request).await?;
    if let Some(Known { answer, expires, serial }) = answers.known(asked)? {
        let token = again(service, answer, expires)?;
        return given(service, asked, token, serial).await.map(Attempt::Committed);
    }
    if answers.are_too_many() {
        return Err(RefusalCode::RateLimited.into());
    }
    let (of, wish) = ((&request.tenant, &owner, &request.device, &record), &asked.wish);
    if wish.refresh_token && !roles::known(service, of.0, &record.role).await?.refresh_tokens {
        return Err(RefusalCode::RefreshNotAllowed.into());
    }
    let narrow = |role: Scope| match &wish.scope {
        None => Ok(role),
        Some(wished) if wished.within(&role) => Ok(wished.clone()),
        Some(_) => Err(RefusalCode::ScopeNotAllowed),
    };
    let granted = token_for_device::issue_within(service, of, request.kind, narrow).await?;
    let answered = answered(asked, &granted, answers.now);
    let mut batch = Batch::new();
    let device = pair(&request.tenant, request.device.as_str());
    batch.expect(&service.tables.devices, device, &record);
    granted.expect(service, &mut batch);
    // Of two with one nonce the table takes one: the other finds its answer.
    let of = (&request.tenant, &request.device);
    granted.issued.record(&service.tables, &mut batch, of, Some(answered.clone()));
    if wish.refresh_token {
        families::begin(service, &mut batch, beginning(asked, &record, &granted)).await?;
    }
    if commit(service, asked, &granted, batch).await? == Attempt::Conflict {
        return Ok(Attempt::Conflict);
    }
    let occasion = if answered.kid.is_empty() { "refresh" } else { "symmetric" };
    service.metrics.issued.inc(&[occasion]);
    let token = again(service, &answered, granted.issued.expires.get())?;
    given(service, asked, token, granted.issued.serial).await.map(Attempt::Committed)
}

/// The token with the first refresh token of the family that began with it, when one was asked for.
async fn given(
    service: &Service,
    asked: &AskedToken,
    token: TokenAnswer,
    serial: u64,
) -> Result<Given, Refused> {
    let refresh_token = match asked.wish.refresh_token {
        true => Some(families::first_token(service, serial).await?),
        false => None,
    };
    Ok(Given { token, refresh_token })
}

fn beginning<'a>(
    asked: &'a AskedToken,
    record: &'a DeviceRecord,
    granted: &IssuedToken,
) -> Beginning<'a> {
    let (hash, expires) = (TokenHash::of(&granted.issued.token), granted.issued.expires.get());
    Beginning {
        tenant: &asked.request.tenant,
        device: &asked.request.device,
        record,
        scope: asked.wish.scope.as_ref().map(Scope::to_aif),
        serial: granted.issued.serial,
        token: LiveToken { hash: *hash.as_bytes(), expires },
    }
}

/// A token with a symmetric key or a refresh token is told to the audit log: a secret leaves the house. The others have their
/// record alone.
async fn commit(
    service: &Service,
    asked: &AskedToken,
    granted: &IssuedToken,
    batch: Batch,
) -> Result<Attempt<()>, Refused> {
    let request = &asked.request;
    if granted.issued.kid.is_empty() && !asked.wish.refresh_token {
        return match service.database.commit(batch).await {
            Ok(()) => Ok(Attempt::Committed(())),
            Err(StoreError::Conflict { .. }) => Ok(Attempt::Conflict),
            Err(error) => Err(error.into()),
        };
    }
    let (by, device) = (Actor::device(&request.device), request.device.as_str());
    let serial = granted.issued.serial;
    if asked.wish.refresh_token {
        let entry = service.entry(&by, "family.begin", request.tenant.as_str(), device);
        return service.write(batch, entry.detail(format!("serial {serial}"))).await;
    }
    let entry = service.entry(&by, "token.symmetric", request.tenant.as_str(), device);
    let kid = hex::encode(&granted.issued.kid);
    service.write(batch, entry.detail(format!("serial {serial} kid {kid}"))).await
}

async fn entitled(
    service: &Service,
    request: &TokenRequest,
    key: &[u8],
) -> Result<(TenantRecord, DeviceRecord), Refused> {
    let owner = tenants::known(service, &request.tenant).await?;
    let record = devices::known(service, &request.tenant, &request.device).await?;
    may_have_one(service, request, (owner, record), key).await
}

/// The tenant and the device that has this key, when they may have a token.
async fn may_have_one(
    service: &Service,
    request: &TokenRequest,
    (owner, record): (TenantRecord, DeviceRecord),
    key: &[u8],
) -> Result<(TenantRecord, DeviceRecord), Refused> {
    if record.key != key {
        return Err(RefusalCode::ProofInvalid.into());
    }
    standing::check(service, &request.tenant, &owner, &record).await?;
    Ok((owner, record))
}

fn answered(asked: &AskedToken, granted: &IssuedToken, now: UnixSeconds) -> AnsweredRequest {
    let request = &asked.request;
    let (asked_at, until) = match request.cnonce {
        Some(_) => (now, now.plus(NONCE_SECONDS)),
        None => (request.time, now.max(request.time).plus(PROOF_WINDOW_SECONDS)),
    };
    AnsweredRequest {
        nonce: request_nonce(asked),
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
