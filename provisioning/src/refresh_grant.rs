//! The grant `refresh_token` (RFC 9200, RFC 9700 section 4.14): a device that cannot sign gets its next bearer token and
//! the successor of the refresh token that it shows.
//!
//! The row of the family moves by one commit, which expects the row as it was read: of requests at once one rotates, and
//! the others find what it wrote. The successor is computed and never stored, the access token is stored sealed, so the
//! same request gets the same answer also after a restart.

use tessera_runtime::random;
use tessera_runtime::secret::Secret;
use tessera_runtime::sql::Batch;
use tessera_token::cbor::{Reader, Writer};
use tessera_token::hash::{sha256, TokenHash};
use tessera_token::key::PublicKey;
use tessera_token::limits::PROOF_WINDOW_SECONDS;
use tessera_token::messages::{RefreshRequest, TokenAnswer, TokenKind};
use tessera_token::refusal::RefusalCode;
use tessera_token::scope::{Permission, Scope, ScopeEntry};
use tessera_token::seal;
use tessera_token::time::UnixSeconds;

use crate::admission::Source;
use crate::families::{self, FamilyKey, Shown, Step};
use crate::limits::LIVE_TOKENS_PER_FAMILY;
use crate::records::families::{FamilyRecord, LiveToken, Used};
use crate::records::{DeviceRecord, TenantRecord};
use crate::refused::Refused;
use crate::registry::{devices, roles, tenants};
use crate::service::Service;
use crate::tables::{one, pair};
use crate::token_for_device;
use crate::trust::actor::Lost;
use crate::trust::restored::{epoch_floor, restorations};
use crate::write::{until_committed, Attempt};

const SEAL: &[u8] = b"tessera-refresh-answer-1";

/// An access token and the next refresh token.
pub(crate) struct Renewed {
    pub(crate) token: TokenAnswer,
    pub(crate) refresh_token: Secret<String>,
}

/// The parts that a family belongs to.
struct Holder {
    owner: TenantRecord,
    record: DeviceRecord,
    proved: bool,
}

/// The next access token and refresh token, or the same answer when the same request comes again. `leads` says whether
/// requests of a tenant may come the way of this one.
pub(crate) async fn renew(
    service: &Service,
    request: &RefreshRequest,
    source: &Source,
    leads: impl Fn(&str) -> Result<(), Refused>,
) -> Result<Renewed, Refused> {
    is_fresh(service, request)?;
    let key = FamilyKey::of(&service.founder);
    let shown = key.open(&request.token).ok_or(RefusalCode::RefreshTokenInvalid)?;
    let mut charged = false;
    until_committed(async || {
        let row = service.tables.families.get(one(shown.family)).await?;
        let row = row.ok_or(RefusalCode::RefreshTokenInvalid)?;
        leads(&row.tenant)?;
        let holder = holder(service, request, &row).await?;
        if !charged {
            let (tenant, device) = families::ids(&row)?;
            service.charge(source, &tenant, &device)?;
            charged = true;
        }
        attempt(service, request, (&key, &shown), &row, &holder).await
    })
    .await
}

/// A proof beside the token bears a time or a nonce as any other proof does. It gives nothing, so a nonce is not used up.
fn is_fresh(service: &Service, request: &RefreshRequest) -> Result<(), Refused> {
    let Some(proof) = &request.proof else { return Ok(()) };
    match &proof.cnonce {
        Some(cnonce) => Ok(service.nonces.is_ours(cnonce)?),
        None if proof.time.get().abs_diff(service.now().get()) > PROOF_WINDOW_SECONDS => {
            Err(RefusalCode::ProofNotFresh.into())
        }
        None => Ok(()),
    }
}

/// The device of the family, when it may have a token.
async fn holder(
    service: &Service,
    request: &RefreshRequest,
    row: &FamilyRecord,
) -> Result<Holder, Refused> {
    let (tenant, device) = families::ids(row)?;
    let invalid = Refused::from(RefusalCode::RefreshTokenInvalid);
    let names_another = request.tenant.as_ref().is_some_and(|named| *named != tenant)
        || request.device.as_ref().is_some_and(|named| *named != device);
    // By lived time: a clock that is ahead for a while must not end what the device would throw away then.
    if names_another || row.ends <= service.time.removal().get() {
        return Err(invalid);
    }
    let owner = tenants::known(service, &tenant).await?;
    let record = devices::find(service, &tenant, &device).await?.ok_or_else(|| invalid.clone())?;
    let key = PublicKey::from_known_good(&record.key).map_err(|_| RefusalCode::ConfirmationKey)?;
    let proved = match request.proves((&tenant, &device), &key) {
        Some(false) => return Err(RefusalCode::ProofInvalid.into()),
        proved => proved.unwrap_or(false),
    };
    if owner.suspended {
        return Err(RefusalCode::TenantSuspended.into());
    }
    if record.revoked {
        return Err(RefusalCode::DeviceRevoked.into());
    }
    match record.refresh_from.is_some_and(|from| row.epoch < from) {
        true => Err(invalid),
        false => Ok(Holder { owner, record, proved }),
    }
}

async fn attempt(
    service: &Service,
    request: &RefreshRequest,
    (key, shown): (&FamilyKey, &Shown),
    row: &FamilyRecord,
    holder: &Holder,
) -> Result<Attempt<Renewed>, Refused> {
    let nonce_hash = sha256(&request.nonce);
    let floor = epoch_floor(&service.tables).await?;
    let step = families::step(row, shown.place, &nonce_hash);
    if step == Step::Reused {
        let ended = families::end_reused(service, &shown.family, row, holder.proved).await?;
        return match ended {
            Attempt::Committed(()) => Err(RefusalCode::RefreshTokenReused.into()),
            Attempt::Conflict => Ok(Attempt::Conflict),
        };
    }
    if families::is_before_restoration(row, floor) {
        looked_at(service).await?;
    } else if step == Step::Beyond {
        // No reader has said so yet, and the token is ours: rows were lost. The next attempt finds that it is known.
        let jumped = service.trust.send(Lost { line: row.place.line }).await??;
        if jumped == Attempt::Committed(true) {
            service.metrics.restorations.inc(&["token"]);
        }
        return Ok(Attempt::Conflict);
    }
    is_for_this_audience(service, request, row)?;
    if let (Step::Again, Some(used)) = (step, &row.used) {
        if used.ends > service.now().get() {
            return stored(service, (key, shown), row, used).map(Attempt::Committed);
        }
    }
    rotate(service, request, (key, shown), (row, step, floor), holder).await
}

/// The rows of a restored service may be older than a revocation: before its families are served, an operator looks.
async fn looked_at(service: &Service) -> Result<(), Refused> {
    match restorations(&service.tables).await?.is_empty() {
        true => Ok(()),
        false => Err(Refused::because(
            RefusalCode::NotReady,
            "the service came back from an older copy, and refresh tokens from before that wait until an operator has looked; the device key gets a token at once",
        )),
    }
}

fn is_for_this_audience(
    service: &Service,
    request: &RefreshRequest,
    row: &FamilyRecord,
) -> Result<(), RefusalCode> {
    let audience = &service.config.audience;
    let is_other = request.wish.audience.as_ref().is_some_and(|wished| wished != audience);
    match is_other || row.audience != audience.as_str() {
        true => Err(RefusalCode::AudienceMismatch),
        false => Ok(()),
    }
}

async fn rotate(
    service: &Service,
    request: &RefreshRequest,
    (key, shown): (&FamilyKey, &Shown),
    (row, step, floor): (&FamilyRecord, Step, u64),
    holder: &Holder,
) -> Result<Attempt<Renewed>, Refused> {
    let (tenant, device) = families::ids(row)?;
    let over = service.time.removal().get();
    let mut live: Vec<_> = row.live.iter().filter(|one| one.expires > over).cloned().collect();
    if live.len() >= LIVE_TOKENS_PER_FAMILY {
        return Err(RefusalCode::RateLimited.into());
    }
    if !roles::known(service, &tenant, &holder.record.role).await?.refresh_tokens {
        return Err(RefusalCode::RefreshNotAllowed.into());
    }
    let narrow = |role: Scope| narrowed(role, row, request.wish.scope.as_ref());
    let of = (&tenant, &holder.owner, &device, &holder.record);
    let made = token_for_device::issue_within(service, of, TokenKind::Bearer, narrow).await?;
    let (issued, expires) = (&made.issued, made.issued.expires.get());
    live.push(LiveToken { hash: *TokenHash::of(&issued.token).as_bytes(), expires });
    let now = service.now().get();
    // A clock that was ahead when it began gives it no longer life.
    let created = row.created.min(now);
    let place = match step {
        Step::Again => row.place,
        _ => families::successor(row, shown.place, floor),
    };
    let answer = sealed(service, (key, shown), &issued.token, &made.scope)?;
    let nonce_hash = sha256(&request.nonce);
    let new = FamilyRecord {
        created,
        ends: families::end_of(created, now),
        place,
        used: Some(Used { place: shown.place, nonce_hash, answer, ends: expires }),
        live,
        ..row.clone()
    };
    let mut batch = Batch::new();
    batch.expect(&service.tables.devices, pair(&tenant, device.as_str()), &holder.record);
    batch.expect(&service.tables.families, one(shown.family), row);
    batch.put(&service.tables.families, one(shown.family), &new);
    issued.record(&service.tables, &mut batch, (&tenant, &device), None);
    made.expect(service, &mut batch);
    let tried = service.write_unnoted(batch).await?;
    Ok(tried.map(|()| {
        service.metrics.issued.inc(&["refresh_token"]);
        Renewed {
            token: answer_of(service, issued.token.clone(), made.scope.clone(), expires),
            refresh_token: key.make(&shown.family, place),
        }
    }))
}

/// The rights of the family that the role still gives; of them what is wished.
fn narrowed(role: Scope, row: &FamilyRecord, wished: Option<&Scope>) -> Result<Scope, RefusalCode> {
    let bound = match &row.scope {
        None => role,
        Some(aif) => {
            let bound = Scope::from_aif(aif).map_err(|_| RefusalCode::Internal)?;
            common(&bound, &role)?
        }
    };
    match wished {
        None if bound.entries().is_empty() => Err(RefusalCode::ScopeNotAllowed),
        None => Ok(bound),
        Some(wished) if wished.within(&bound) => Ok(wished.clone()),
        Some(_) => Err(RefusalCode::ScopeNotAllowed),
    }
}

/// The entries of `bound`, each with the rights that `role` gives on it.
fn common(bound: &Scope, role: &Scope) -> Result<Scope, RefusalCode> {
    let one = |entry: &ScopeEntry, permission| {
        let one = ScopeEntry { filter: entry.filter.clone(), permission };
        Scope::new(vec![one]).is_ok_and(|one| one.within(role))
    };
    let entries = bound.entries().iter().filter_map(|entry| {
        let publish = entry.permission.publish() && one(entry, Permission::Publish);
        let subscribe = entry.permission.subscribe() && one(entry, Permission::Subscribe);
        let permission = match (publish, subscribe) {
            (true, true) => Permission::Both,
            (true, false) => Permission::Publish,
            (false, true) => Permission::Subscribe,
            (false, false) => return None,
        };
        Some(ScopeEntry { filter: entry.filter.clone(), permission })
    });
    Scope::new(entries.collect()).map_err(|_| RefusalCode::Internal)
}

fn sealed(
    service: &Service,
    (key, shown): (&FamilyKey, &Shown),
    token: &[u8],
    scope: &Scope,
) -> Result<Vec<u8>, Refused> {
    let mut w = Writer::new();
    w.array(2).bytes(token).bytes(&scope.to_aif());
    let plain = Secret::new(w.finish());
    let (to, random) = (key.answer(shown).public(), random::bytes(&*service.random)?);
    let sealed = seal::seal(&to, random, SEAL, &shown.family, plain.expose());
    sealed.ok_or_else(|| RefusalCode::Internal.into())
}

/// The answer that was given before.
fn stored(
    service: &Service,
    (key, shown): (&FamilyKey, &Shown),
    row: &FamilyRecord,
    used: &Used,
) -> Result<Renewed, Refused> {
    let plain = key.answer(shown).open(&used.answer, SEAL, &shown.family);
    let plain = plain.ok_or(RefusalCode::Internal)?;
    let mut r = Reader::new(&plain);
    let mut read = || {
        r.array_of(2).ok()?;
        Some((r.bytes().ok()?.to_vec(), Scope::from_aif(r.bytes().ok()?).ok()?))
    };
    let (token, scope) = read().ok_or(RefusalCode::Internal)?;
    let token = answer_of(service, token, scope, used.ends);
    Ok(Renewed { token, refresh_token: key.make(&shown.family, row.place) })
}

fn answer_of(service: &Service, token: Vec<u8>, scope: Scope, expires: u64) -> TokenAnswer {
    let now = service.now();
    TokenAnswer {
        access_token: token,
        expires_in: UnixSeconds::new(expires).since(now),
        bearer: true,
        key: None,
        audience: service.config.audience.clone(),
        scope,
        server_time: now,
    }
}
