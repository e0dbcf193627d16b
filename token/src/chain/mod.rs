//! The validation chain: the one place that decides whether a token may connect.
//!
//! [`admit`] is the list of guards in the order in which they run, in two steps: `cheap` and
//! [`Screened::admit`]. Each stage takes the value that
//! only the stage before it can make, so none can be left out. Broker and gateway agent run the
//! same list. The data of a verifier come in through [`TrustView`]; time is an argument.

use alloc::string::String;

use crate::grant::Grant;
use crate::hash::TokenHash;
use crate::ids::{Audience, ClientId, DeviceId, TenantId};
use crate::key::{KeyId, PublicKey, Thumbprint};
use crate::pop::{DerivationId, Derived};
use crate::proof::{Place, Presented, Proof, TicketId, TicketKey};
use crate::refusal::RefusalCode;
use crate::time::UnixSeconds;
use crate::token_identity::TokenIdentity;

mod stages;
#[cfg(test)]
mod tests;
mod verified;

pub use verified::VerifiedToken;

use stages::{
    claims, client_id, current, known_key, proof, revocation, shape, signature, staleness,
};

/// The state of an issuer key in the trust feed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KeyState {
    /// Published, not yet signing. Its tokens are accepted.
    Next,
    /// Signing.
    Active,
    /// No longer signing; its tokens live out their time.
    Retiring,
    /// Gone: no token of it can be valid any more.
    Retired,
    /// Cut at once.
    Compromised,
}

impl KeyState {
    /// All of them, in the order in which they may follow each other: the place of each is its number in the trust feed.
    pub const ALL: [Self; 5] =
        [Self::Next, Self::Active, Self::Retiring, Self::Retired, Self::Compromised];

    /// Its number in the trust feed; no later state has a lower one.
    pub const fn number(self) -> u8 {
        match self {
            Self::Next => 0,
            Self::Active => 1,
            Self::Retiring => 2,
            Self::Retired => 3,
            Self::Compromised => 4,
        }
    }

    /// The state of this number.
    pub fn of_number(number: u64) -> Option<Self> {
        Self::ALL.get(usize::try_from(number).ok()?).copied()
    }

    /// Whether tokens of the key are accepted.
    pub const fn accepts(self) -> bool {
        matches!(self, Self::Next | Self::Active | Self::Retiring)
    }
}

/// An issuer key as a verifier knows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct IssuerKey {
    /// The tenant it may speak for, and no other.
    pub tenant: TenantId,
    /// The key; the algorithm follows from it, never from a header.
    pub key: PublicKey,
    /// First moment of validity.
    pub not_before: UnixSeconds,
    /// First moment at which it is no longer valid.
    pub not_after: UnixSeconds,
    /// Its state.
    pub state: KeyState,
}

/// How old trust data may be when a right is decided on it, in seconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StalenessBudget {
    /// For scopes that only publish, to exact topics.
    pub telemetry: u64,
    /// For scopes that also receive on exact topics: commands to the device itself.
    pub command: u64,
    /// For scopes with a wildcard: peers that act on the topics of others.
    pub actuation: u64,
}

impl Default for StalenessBudget {
    fn default() -> Self {
        // A device that takes commands must not go dark with the first short outage, so it is
        // told apart from a service that gives them.
        Self { telemetry: 24 * 3600, command: 24 * 3600, actuation: 600 }
    }
}

/// A tenant as a verifier knows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TenantTrust {
    /// Its id, which is `iss`.
    pub tenant: TenantId,
    /// Its epoch: tokens with a lower one are refused.
    pub epoch: u64,
    /// Whether the tenant is suspended as a whole.
    pub suspended: bool,
    /// Whether tokens without `cnf` are accepted.
    pub bearer: bool,
    /// How old trust data may be.
    pub staleness: StalenessBudget,
}

/// Verified, local data of a verifier. Every answer must come from verified, local data.
pub trait TrustView {
    /// The name this verifier answers to in `aud`.
    fn audience(&self) -> &Audience;
    /// The name of this verifier in the connect proofs that are made for it: the audience, unless it has one of its own.
    fn verifier(&self) -> &str {
        self.audience().as_str()
    }
    /// The issuer keys with this kid.
    fn issuer_keys(&self, kid: KeyId) -> &[IssuerKey];
    /// The tenant of this name.
    fn tenant(&self, tenant: &str) -> Option<&TenantTrust>;
    /// The epoch of a group; 0 when it never moved.
    fn group_epoch(&self, tenant: &TenantId, group_number: u64) -> u64;
    /// The epoch of a device; 0 when it never moved within the longest token life.
    fn device_epoch(&self, tenant: &TenantId, device: &str) -> u64;
    /// Whether a single token is on the revocation list.
    fn token_revoked(&self, token: &TokenHash) -> bool;
    /// The signed time of the newest trust data; `None` when there is none.
    fn trusted_at(&self) -> Option<UnixSeconds>;
    /// Seconds since the trust data were last confirmed; `None` when there are none. A verifier that counts them by
    /// monotonic time tells that instead.
    fn age(&self, now: UnixSeconds) -> Option<u64> {
        self.trusted_at().map(|at| now.since(at))
    }
    /// Whether the verifier may decide at all by what it knows.
    ///
    /// # Errors
    /// `trust_missing` before anything was confirmed, `trust_not_followed` when it cannot follow the feed.
    fn may_decide(&self) -> Result<(), RefusalCode> {
        Ok(())
    }
    /// The registered key of a device, for tokens whose `cnf` only refers to it.
    fn device_key(&self, _tenant: &TenantId, _device: &DeviceId) -> Option<PublicKey> {
        None
    }
    /// The symmetric key behind this kid of this very token. The derivation key never comes through the
    /// trust feed, which is signed but not encrypted.
    fn symmetric_key(&self, _kid: &[u8], _token: &[u8]) -> Option<Derived> {
        None
    }
    /// Whether symmetric keys that this derivation key made are still accepted.
    fn derives_by(&self, _key: DerivationId) -> bool {
        false
    }
    /// Whether this Ed25519 key passed the torsion test before, which costs as much as a signature.
    fn known_good(&self, _key: &[u8; 32]) -> bool {
        false
    }
    /// This Ed25519 key of a signed token passed the torsion test.
    fn learned_good(&self, _key: &[u8; 32]) {}
}

/// One attempt to connect.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// Token and proof.
    pub presented: Presented,
    /// The client id of the CONNECT, as it came.
    pub client_id: String,
}

impl Attempt {
    /// An attempt with what a password held, or with what the `ace` method brought.
    pub fn new(presented: impl Into<Presented>, client_id: impl Into<String>) -> Self {
        Self { presented: presented.into(), client_id: client_id.into() }
    }
}

/// Subject of a signed token. Known only once the issuer's signature has verified.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Subject {
    /// The tenant.
    pub tenant: TenantId,
    /// The device.
    pub device: DeviceId,
}

/// A refusal: the code, and whose token it was when its signature had verified by then.
///
/// Unsigned claims are never an identity, so before stage 4 there is no subject.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// Why.
    pub code: RefusalCode,
    /// The subject of the presented token, not the peer that presented it.
    pub subject: Option<Subject>,
}

impl From<RefusalCode> for Refusal {
    fn from(code: RefusalCode) -> Self {
        Self { code, subject: None }
    }
}

/// A connect proof that must be used up, once and for all, before the peer is let in. With the client id of the
/// admission, which the proof covers, it says which one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ProofUse {
    /// The device key.
    pub key: Thumbprint,
    /// The place of the proof among those of this key and client id.
    pub place: Place,
}

/// The chain's good outcome.
///
/// It is complete only when the holder of the replay ledger has taken [`Admission::proof_use`]:
/// a proof whose place is not above the last one taken is `proof_replayed`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Admission {
    /// The rights.
    pub grant: Grant,
    /// The client id, bound to the subject.
    pub client_id: ClientId,
    /// The entry for the ledger; `None` unless the proof was a connect proof.
    pub proof_use: Option<ProofUse>,
    /// The ticket key whose resumption secret made the proof; `None` when the key of the token did.
    pub resumed: Option<TicketId>,
}

/// Runs every guard over one attempt, in this order.
///
/// # Errors
/// The [`Refusal`] of the first guard that says no. Nothing is changed anywhere.
pub fn admit<T: TrustView>(
    attempt: &Attempt,
    trust: &T,
    now: UnixSeconds,
) -> Result<Admission, Refusal> {
    admit_with(attempt, &[], trust, now)
}

/// As [`admit`], on a connection over TLS, where a resumption secret of one of these ticket keys may
/// have made the connect proof. At most [`crate::limits::TICKET_KEYS`] are tried.
///
/// # Errors
/// As [`admit`].
pub fn admit_with<T: TrustView>(
    attempt: &Attempt,
    tickets: &[TicketKey],
    trust: &T,
    now: UnixSeconds,
) -> Result<Admission, Refusal> {
    Screened::new(attempt.clone(), trust, now)?.admit(tickets, trust, now)
}

/// An attempt that passed the guards that cost nothing (1 to 3): all that is left are signatures and
/// what depends on them. A server that refuses many runs the two steps on different threads.
pub struct Screened {
    attempt: Attempt,
    current: stages::Current,
}

impl Screened {
    /// Runs guards 1 to 3.
    ///
    /// # Errors
    /// The code of the first guard that says no.
    pub fn new<T: TrustView>(
        attempt: Attempt,
        trust: &T,
        now: UnixSeconds,
    ) -> Result<Self, RefusalCode> {
        let current = cheap(&attempt.presented.token, trust, now)?;
        Ok(Self { attempt, current })
    }

    /// Whether the time of its connect proof is one that guard 8 will take; true for other proofs.
    pub fn is_fresh(&self, now: UnixSeconds) -> bool {
        match &self.attempt.presented.proof {
            Proof::Connect(proof) => stages::is_fresh(proof, now),
            _ => true,
        }
    }

    /// Whether the token says that a key must be proved. That is not verified yet.
    pub fn names_a_key(&self) -> bool {
        self.current.names_a_key()
    }

    /// The same attempt with another proof.
    #[must_use]
    pub fn proved_by(mut self, proof: Proof) -> Self {
        self.attempt.presented.proof = proof;
        self
    }

    /// The hash of the token, whose signature is not verified yet.
    pub fn token_hash(&self) -> TokenHash {
        self.current.token_hash()
    }

    /// How it is proved.
    pub fn proof(&self) -> &Proof {
        &self.attempt.presented.proof
    }

    /// Runs guards 4 to 9.
    ///
    /// # Errors
    /// The [`Refusal`] of the first guard that says no.
    pub fn admit<T: TrustView>(
        self,
        tickets: &[TicketKey],
        trust: &T,
        now: UnixSeconds,
    ) -> Result<Admission, Refusal> {
        let Self { attempt, current } = self;
        let Presented { token, proof: shown } = &attempt.presented;
        let by_mac = matches!(shown, Proof::Connect(proof) if proof.has_mac());
        let token = signed(current, token, by_mac, trust, now)?;
        let named = |code| Refusal { code, subject: Some(token.subject()) };
        /* 8 */
        let proved = proof(&token, &attempt, tickets, trust, now).map_err(named)?;
        /* 9 */
        let client_id = client_id(&token, &attempt.client_id).map_err(named)?;
        let stages::Proved { proof_use, resumed } = proved;
        Ok(Admission { grant: token.into_grant(), client_id, proof_use, resumed })
    }
}

/// Runs the guards that concern the token alone (1 to 7): for a token that is exchanged on a
/// connection whose peer has already proved the key.
///
/// # Errors
/// The [`Refusal`] of the first guard that says no.
pub fn verify<T: TrustView>(
    token: &[u8],
    trust: &T,
    now: UnixSeconds,
) -> Result<VerifiedToken, Refusal> {
    signed(cheap(token, trust, now)?, token, false, trust, now)
}

/// The guards that cost nothing (1 to 3), on claims that are not verified yet.
fn cheap<T: TrustView>(
    token: &[u8],
    trust: &T,
    now: UnixSeconds,
) -> Result<stages::Current, RefusalCode> {
    /* 1 */
    let shaped = shape(token)?;
    /* 2 */
    let keyed = known_key(shaped, trust, now)?;
    /* 3 */
    current(keyed, trust, now)
}

/// `by_mac`: the proof is a MAC, so that a public key in `cnf` has no signature to verify.
fn signed<T: TrustView>(
    current: stages::Current,
    token: &[u8],
    by_mac: bool,
    trust: &T,
    now: UnixSeconds,
) -> Result<VerifiedToken, Refusal> {
    /* 4 */
    let signed = signature(current)?;
    /* 5 */
    let token = claims(signed, token, by_mac, trust, now)?;
    let named = |code| Refusal { code, subject: Some(token.subject()) };
    /* 6 */
    revocation(&token, trust).map_err(named)?;
    /* 7 */
    staleness(&token, trust, now).map_err(named)?;
    Ok(token)
}

/// Whether a grant that was given earlier still holds: expiry, epochs, key, revocation list, and whether the verifier
/// can still tell: staleness. A withdrawal is told before staleness.
///
/// # Errors
/// The code of what ended it.
pub fn still_holds<T: TrustView>(
    grant: &Grant,
    trust: &T,
    now: UnixSeconds,
) -> Result<(), RefusalCode> {
    stages::still_holds(grant, trust, now)
}

/// The refusal, if signed trust data revoke the grant: the part of [`still_holds`] that no clock decides. A key that is not
/// valid yet, or not any more, by the time alone revokes nothing.
pub fn grant_revoked<T: TrustView>(grant: &Grant, trust: &T) -> Option<RefusalCode> {
    stages::grant_revoked(grant, trust).err()
}

/// Whether the verifier can still tell if a grant holds: its part in [`still_holds`].
///
/// # Errors
/// `trust_missing`, `trust_not_followed`, `trust_stale`.
pub fn can_tell<T: TrustView>(
    grant: &Grant,
    trust: &T,
    now: UnixSeconds,
) -> Result<(), RefusalCode> {
    stages::can_tell(grant.tenant(), grant.scope(), trust, now)
}

/// The refusal, if the publisher of earlier messages was revoked since: an epoch moved above the token's, or the token, its
/// key (compromised) or its tenant was revoked. The end of a token by time, of a key by rotation, or of the permission
/// for bearer tokens revokes no message that was accepted before.
pub fn publisher_revoked<T: TrustView>(
    published: &TokenIdentity,
    trust: &T,
) -> Option<RefusalCode> {
    stages::publisher_revoked(published, trust).err()
}
