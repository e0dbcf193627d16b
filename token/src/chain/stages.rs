//! The guards, one function each, in the order of the list in [`super`].

use alloc::vec::Vec;

use super::{
    Attempt, IssuerKey, KeyState, ProofUse, Refusal, StalenessBudget, Subject, TenantTrust,
    TrustView, VerifiedToken,
};
use crate::ace::Meant;
use crate::cbor::strict;
use crate::claims::{Claims, Epochs, KeySource, Raw};
use crate::cose::{self, Sealed};
use crate::grant::Grant;
use crate::hash::TokenHash;
use crate::ids::{ClientId, DeviceId, TenantId};
use crate::key::{cose_key, PublicKey};
use crate::limits;
use crate::pop::{Derived, PopKey};
use crate::proof::{ConnectProof, Proof, TicketId, TicketKey};
use crate::refusal::RefusalCode;
use crate::scope::Scope;
use crate::time::UnixSeconds;
use crate::token_identity::TokenIdentity;

/// 1 · Size and shape: our one form, strict CBOR outside and inside.
pub(super) struct Shaped {
    sealed: Sealed,
    hash: TokenHash,
}

pub(super) fn shape(token: &[u8]) -> Result<Shaped, RefusalCode> {
    if token.len() > limits::TOKEN_BYTES {
        return Err(RefusalCode::TokenTooLarge);
    }
    if cose::token_end(token)? != token.len() {
        return Err(RefusalCode::TokenMalformed);
    }
    let sealed = cose::open_token(token)?;
    strict::check(&sealed.payload).map_err(|_| RefusalCode::TokenMalformed)?;
    Ok(Shaped { sealed, hash: TokenHash::of(token) })
}

/// 2 · Key: known by kid and within its validity. The algorithm is one that goes with the key.
pub(super) struct Keyed {
    shaped: Shaped,
    keys: Vec<IssuerKey>,
}

pub(super) fn known_key<T: TrustView>(
    shaped: Shaped,
    trust: &T,
    now: UnixSeconds,
) -> Result<Keyed, RefusalCode> {
    if trust.trusted_at().is_none() {
        return Err(RefusalCode::TrustMissing);
    }
    trust.may_decide()?;
    let known = trust.issuer_keys(shaped.sealed.key_id);
    if known.is_empty() {
        return Err(RefusalCode::KeyUnknown);
    }
    let algorithm = shaped.sealed.algorithm.number();
    if !known.iter().any(|k| k.key.accepts(algorithm)) {
        return Err(RefusalCode::AlgorithmNotAllowed);
    }
    let fits = |k: &&IssuerKey| k.key.accepts(algorithm) && key_holds(k, now);
    let keys: Vec<IssuerKey> =
        known.iter().filter(fits).take(limits::KEYS_PER_KID).cloned().collect();
    if keys.is_empty() {
        return Err(RefusalCode::KeyNotValid);
    }
    Ok(Keyed { shaped, keys })
}

fn key_holds(key: &IssuerKey, now: UnixSeconds) -> bool {
    key.state.accepts()
        && now.plus(limits::CLOCK_SKEW_SECONDS) >= key.not_before
        && now < key.not_after
}

/// 3 · Cheap claims, before any signature is computed: issuer, audience, expiry, epochs.
pub(super) struct Current {
    keyed: Keyed,
    names_a_key: bool,
}

pub(super) fn current<T: TrustView>(
    mut keyed: Keyed,
    trust: &T,
    now: UnixSeconds,
) -> Result<Current, RefusalCode> {
    let raw = Raw::read(&keyed.shaped.sealed.payload).map_err(|_| RefusalCode::ClaimsMalformed)?;
    let missing = RefusalCode::ClaimsMalformed;
    let issuer = raw.iss.ok_or(missing)?;
    keyed.keys.retain(|k| k.tenant.as_str() == issuer);
    if keyed.keys.is_empty() {
        return Err(RefusalCode::IssuerMismatch);
    }
    let tenant = trust.tenant(issuer).ok_or(RefusalCode::IssuerMismatch)?;
    if raw.aud.ok_or(missing)? != trust.audience().as_str() {
        return Err(RefusalCode::AudienceMismatch);
    }
    if now >= raw.exp.ok_or(missing)? {
        return Err(RefusalCode::TokenExpired);
    }
    epochs_hold(tenant, raw.epochs.ok_or(missing)?, raw.sub.ok_or(missing)?, trust)?;
    let names_a_key = raw.cnf.is_some();
    Ok(Current { keyed, names_a_key })
}

/// Each epoch on its own, all required: a token is refused when any counter has moved past it.
fn epochs_hold<T: TrustView>(
    tenant: &TenantTrust,
    epochs: Epochs,
    device: &str,
    trust: &T,
) -> Result<(), RefusalCode> {
    if tenant.suspended {
        return Err(RefusalCode::TenantSuspended);
    }
    if epochs.tenant < tenant.epoch {
        return Err(RefusalCode::TenantEpoch);
    }
    if epochs.group < trust.group_epoch(&tenant.tenant, epochs.group_number) {
        return Err(RefusalCode::GroupEpoch);
    }
    if epochs.device < trust.device_epoch(&tenant.tenant, device) {
        return Err(RefusalCode::DeviceEpoch);
    }
    Ok(())
}

/// 4 · The issuer's signature, with at most four keys that share the kid. It is verified in every attempt,
/// so that nothing but an issuer key makes a token.
pub(super) struct Signed {
    shaped: Shaped,
    tenant: TenantId,
}

pub(super) fn signature(current: Current) -> Result<Signed, RefusalCode> {
    let Keyed { shaped, keys } = current.keyed;
    let sealed = &shaped.sealed;
    let signer =
        keys.into_iter().find(|k| k.key.verifies(sealed.signed_bytes(), &sealed.signature));
    let tenant = signer.ok_or(RefusalCode::SignatureInvalid)?.tenant;
    Ok(Signed { shaped, tenant })
}

impl Current {
    pub(super) fn names_a_key(&self) -> bool {
        self.names_a_key
    }

    pub(super) fn token_hash(&self) -> TokenHash {
        self.keyed.shaped.hash
    }
}

/// 5 · All claims, with their types; time; the key in `cnf`. `token` is the whole token, whose signature holds by now.
pub(super) fn claims<T: TrustView>(
    signed: Signed,
    token: &[u8],
    by_mac: bool,
    trust: &T,
    now: UnixSeconds,
) -> Result<VerifiedToken, Refusal> {
    let Signed { shaped, tenant } = signed;
    let registry = Registry { trust, token, by_mac };
    let (mut claims, key) = Claims::read(&shaped.sealed.payload, &registry)?;
    let subject = || Subject { tenant: claims.tenant.clone(), device: claims.device.clone() };
    let refuse = |code| Err(Refusal { code, subject: Some(subject()) });
    if claims.tenant != tenant {
        return refuse(RefusalCode::IssuerMismatch);
    }
    let latest = now.plus(limits::CLOCK_SKEW_SECONDS);
    if claims.issued > latest || claims.not_before.is_some_and(|nbf| nbf > latest) {
        return refuse(RefusalCode::TokenNotYetValid);
    }
    let life = claims.expires.since(claims.issued);
    if life == 0 || life > limits::TOKEN_LIFE_SECONDS {
        return refuse(RefusalCode::TokenLifetime);
    }
    let key_id = shaped.sealed.key_id;
    // Equal, and shared by all grants.
    claims.tenant = tenant;
    if claims.audience == *trust.audience() {
        claims.audience = trust.audience().clone();
    }
    Ok(VerifiedToken { claims, key, key_id, hash: shaped.hash })
}

/// Keys as the verifier knows them.
struct Registry<'t, T> {
    trust: &'t T,
    token: &'t [u8],
    /// The key verifies no signature now: its torsion test was made when the secret was told.
    by_mac: bool,
}

impl<T: TrustView> KeySource for Registry<'_, T> {
    fn judge(&self, cose_key: &[u8]) -> Option<PublicKey> {
        let record = cose_key::read(cose_key).ok()?;
        let ed25519 = <&[u8; 32]>::try_from(record.as_slice()).ok();
        if self.by_mac || ed25519.is_some_and(|key| self.trust.known_good(key)) {
            return PublicKey::from_known_good(&record).ok();
        }
        let judged = PublicKey::from_bytes(&record).ok()?;
        if let Some(key) = ed25519 {
            self.trust.learned_good(key);
        }
        Some(judged)
    }

    fn device_key(&self, tenant: &TenantId, device: &DeviceId) -> Option<PublicKey> {
        self.trust.device_key(tenant, device)
    }

    fn symmetric_key(&self, kid: &[u8]) -> Option<Derived> {
        self.trust.symmetric_key(kid, self.token)
    }
}

/// 6 · Revocation of the single token. (The epochs were compared in stage 3, on bytes that the
/// signature has covered since.)
pub(super) fn revocation<T: TrustView>(
    token: &VerifiedToken,
    trust: &T,
) -> Result<(), RefusalCode> {
    if trust.token_revoked(&token.hash) {
        Err(RefusalCode::TokenRevoked)
    } else {
        Ok(())
    }
}

/// 7 · Staleness: how old may trust data be for what this scope can do.
pub(super) fn staleness<T: TrustView>(
    token: &VerifiedToken,
    trust: &T,
    now: UnixSeconds,
) -> Result<(), RefusalCode> {
    can_tell(&token.claims.tenant, &token.claims.scope, trust, now)
}

/// Whether the verifier may decide on this scope by what it knows.
pub(super) fn can_tell<T: TrustView>(
    tenant: &TenantId,
    scope: &Scope,
    trust: &T,
    now: UnixSeconds,
) -> Result<(), RefusalCode> {
    trust.may_decide()?;
    let age = trust.age(now).ok_or(RefusalCode::TrustMissing)?;
    let tenant = trust.tenant(tenant.as_str()).ok_or(RefusalCode::IssuerMismatch)?;
    if age > budget(scope, tenant.staleness) {
        return Err(RefusalCode::TrustStale);
    }
    Ok(())
}

fn budget(scope: &Scope, staleness: StalenessBudget) -> u64 {
    let mut seconds = staleness.telemetry;
    for entry in scope.entries() {
        if !entry.filter.is_exact() {
            seconds = seconds.min(staleness.actuation);
        } else if entry.permission.subscribe() {
            seconds = seconds.min(staleness.command);
        }
    }
    seconds
}

/// The findings of guard 8.
#[derive(Default)]
pub(super) struct Proved {
    pub(super) proof_use: Option<ProofUse>,
    /// Not the key made the proof, but a secret of this ticket key.
    pub(super) resumed: Option<TicketId>,
}

/// 8 · Proof: a token with `cnf` never passes without it; one without passes only where allowed.
pub(super) fn proof<T: TrustView>(
    token: &VerifiedToken,
    attempt: &Attempt,
    tickets: &[TicketKey],
    trust: &T,
    now: UnixSeconds,
) -> Result<Proved, RefusalCode> {
    let proof = &attempt.presented.proof;
    let Some(key) = &token.key else {
        return bearer(token, proof, trust);
    };
    match proof {
        Proof::None => Err(RefusalCode::ProofMissing),
        Proof::Connect(proof) => connect_proof(token, key, proof, attempt, tickets, trust, now),
        other => proved_now(key, other, attempt, trust).map(|()| Proved::default()),
    }
}

fn bearer<T: TrustView>(
    token: &VerifiedToken,
    proof: &Proof,
    trust: &T,
) -> Result<Proved, RefusalCode> {
    match (trust.tenant(token.claims.tenant.as_str()), proof) {
        (Some(tenant), Proof::None) if tenant.bearer => Ok(Proved::default()),
        _ => Err(RefusalCode::BearerNotAllowed),
    }
}

fn connect_proof<T: TrustView>(
    token: &VerifiedToken,
    key: &PopKey,
    proof: &ConnectProof,
    attempt: &Attempt,
    tickets: &[TicketKey],
    trust: &T,
    now: UnixSeconds,
) -> Result<Proved, RefusalCode> {
    if !is_fresh(proof, now) {
        return Err(RefusalCode::ProofNotFresh);
    }
    let (verifier, presented) = (trust.verifier(), &attempt.presented.token);
    let proof_use = ProofUse { key: token.key_name(key), place: proof.place() };
    if proof.verifies_by(key, verifier, &attempt.client_id, presented) {
        return Ok(Proved { proof_use: Some(proof_use), resumed: None });
    }
    let behind = |ticket: &&TicketKey| {
        let secret = ticket.secret_of(trust.audience(), &proof_use.key, &token.hash);
        proof.resumes(&secret, verifier, &attempt.client_id, presented)
    };
    let mut tickets = tickets.iter().take(limits::TICKET_KEYS).filter(|_| proof.has_mac());
    let ticket = tickets.find(behind).ok_or(RefusalCode::ProofInvalid)?;
    Ok(Proved { proof_use: Some(proof_use), resumed: Some(ticket.id()) })
}

pub(super) fn is_fresh(proof: &ConnectProof, now: UnixSeconds) -> bool {
    let earliest = now.minus(limits::PROOF_WINDOW_SECONDS);
    let latest = now.plus(limits::PROOF_WINDOW_SECONDS);
    (earliest..=latest).contains(&proof.time)
}

/// A proof that is bound to the connection by itself and needs no counter.
fn proved_now<T: TrustView>(
    key: &PopKey,
    proof: &Proof,
    attempt: &Attempt,
    trust: &T,
) -> Result<(), RefusalCode> {
    let holds = match (proof, key) {
        (Proof::Challenge(proof), _) => proof.verifies(key),
        (Proof::Bound(proof), _) => {
            let (audience, client_id) = (trust.audience().as_str(), &*attempt.client_id);
            proof.verifies(key, Meant { audience, client_id, token: &attempt.presented.token })
        }
        (Proof::Exporter(proof), _) => proof.verifies(key),
        (Proof::TlsKey(seen), PopKey::Public(key)) => key.thumbprint() == *seen,
        (Proof::TlsKey(_), PopKey::Symmetric(_)) => false,
        (Proof::None | Proof::Connect(_), _) => return Err(RefusalCode::ProofMissing),
    };
    holds.then_some(()).ok_or(RefusalCode::ProofInvalid)
}

/// 9 · Client id: the subject, or the subject, `~` and a suffix.
pub(super) fn client_id(token: &VerifiedToken, text: &str) -> Result<ClientId, RefusalCode> {
    if text == token.claims.device.as_str() {
        return Ok(ClientId::of(&token.claims.device));
    }
    let client_id = ClientId::parse(text).map_err(|_| RefusalCode::ClientIdInvalid)?;
    if client_id.subject() != token.claims.device.as_str() {
        return Err(RefusalCode::ClientIdMismatch);
    }
    Ok(client_id)
}

pub(super) fn still_holds<T: TrustView>(
    grant: &Grant,
    trust: &T,
    now: UnixSeconds,
) -> Result<(), RefusalCode> {
    if now >= grant.expires() {
        return Err(RefusalCode::TokenExpired);
    }
    stands(grant, trust, |key| key_holds(key, now))?;
    can_tell(grant.tenant(), grant.scope(), trust, now)
}

/// Everything that was signed about the grant; the caller judges its key by a clock.
fn stands<T: TrustView>(
    grant: &Grant,
    trust: &T,
    fits: impl Fn(&IssuerKey) -> bool,
) -> Result<(), RefusalCode> {
    let tenant = trust.tenant(grant.tenant().as_str()).ok_or(RefusalCode::IssuerMismatch)?;
    epochs_hold(tenant, grant.epochs(), grant.device().as_str(), trust)?;
    let keys = trust.issuer_keys(grant.key_id());
    if !keys.iter().any(|k| &k.tenant == grant.tenant() && fits(k)) {
        return Err(RefusalCode::KeyNotValid);
    }
    if grant.confirmation().is_none() && !tenant.bearer {
        return Err(RefusalCode::BearerNotAllowed);
    }
    if grant.derived_by().is_some_and(|key| !trust.derives_by(key)) {
        return Err(RefusalCode::ConfirmationKey);
    }
    if trust.token_revoked(&grant.token_hash()) {
        return Err(RefusalCode::TokenRevoked);
    }
    Ok(())
}

pub(super) fn grant_revoked<T: TrustView>(grant: &Grant, trust: &T) -> Result<(), RefusalCode> {
    stands(grant, trust, |key| key.state.accepts())
}

pub(super) fn publisher_revoked<T: TrustView>(
    published: &TokenIdentity,
    trust: &T,
) -> Result<(), RefusalCode> {
    let tenant = trust.tenant(published.tenant.as_str()).ok_or(RefusalCode::IssuerMismatch)?;
    epochs_hold(tenant, published.epochs, published.device.as_str(), trust)?;
    let keys = trust.issuer_keys(published.key_id);
    let cut = |k: &IssuerKey| k.tenant == published.tenant && k.state == KeyState::Compromised;
    if keys.iter().any(cut) {
        return Err(RefusalCode::KeyNotValid);
    }
    if trust.token_revoked(&published.token) {
        return Err(RefusalCode::TokenRevoked);
    }
    Ok(())
}
