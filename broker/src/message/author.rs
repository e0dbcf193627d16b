//! The author of a message, and whether its token was revoked since: checked again before each delivery, for as long as
//! the message waits.

use std::sync::atomic::{AtomicU64, Ordering};

use tessera_agent::validator::Validator;
use tessera_token::claims::Epochs;
use tessera_token::grant::Grant;
use tessera_token::hash::TokenHash;
use tessera_token::ids::{DeviceId, TenantId};
use tessera_token::key::KeyId;
use tessera_token::refusal::RefusalCode;
use tessera_token::time::UnixSeconds;
use tessera_token::token_identity::TokenIdentity;

/// The revocations that are known, and a version of them.
pub trait Revocations: Sync {
    /// Moves up with every change of trust.
    fn version(&self) -> u64;
    /// As [`tessera_token::chain::publisher_revoked`].
    fn revoked(&self, published: &TokenIdentity) -> Option<RefusalCode>;
    /// As [`Validator::witnessed_time`].
    fn witnessed_time(&self) -> Option<UnixSeconds>;
    /// As [`Validator::absence_is_open`].
    fn absence_is_open(&self) -> bool;
}

impl Revocations for Validator {
    fn version(&self) -> u64 {
        self.trust_version()
    }

    fn revoked(&self, published: &TokenIdentity) -> Option<RefusalCode> {
        self.publisher_revoked(published)
    }

    fn witnessed_time(&self) -> Option<UnixSeconds> {
        Self::witnessed_time(self)
    }

    fn absence_is_open(&self) -> bool {
        Self::absence_is_open(self)
    }
}

/// [`Revocations`], with one look at their version for many messages.
#[derive(Clone, Copy)]
pub struct Trusted<'a> {
    revocations: &'a dyn Revocations,
    version: u64,
    absence_is_open: bool,
}

impl<'a> Trusted<'a> {
    /// As of now.
    pub fn now(revocations: &'a dyn Revocations) -> Self {
        // In this order: behind an absence that has ended, the version is the one that says how.
        let absence_is_open = revocations.absence_is_open();
        Self { revocations, version: revocations.version(), absence_is_open }
    }

    /// The time by which a message expires; `None` while it rests on one clock alone.
    pub(crate) fn witnessed_time(&self) -> Option<UnixSeconds> {
        self.revocations.witnessed_time()
    }

    /// Whether nothing is sent, because revocations may be missing.
    pub(crate) fn absence_is_open(&self) -> bool {
        self.absence_is_open
    }
}

/// Under which token something was published.
#[derive(Debug)]
pub struct Author {
    device: DeviceId,
    token: Option<PublishedUnder>,
    verdict: AtomicU64,
}

impl Clone for Author {
    fn clone(&self) -> Self {
        Self::restored(self.device.clone(), self.token, self.verdict())
    }
}

/// The properties of the publisher's token that a revocation can name beside tenant and device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PublishedUnder {
    /// The epochs of the token.
    pub epochs: Epochs,
    /// The issuer key that signed it.
    pub key_id: KeyId,
    /// Its name in revocation lists.
    pub token: TokenHash,
}

impl PublishedUnder {
    /// The token of this grant.
    pub fn of(grant: &Grant) -> Self {
        Self { epochs: grant.epochs(), key_id: grant.key_id(), token: grant.token_hash() }
    }
}

/// Verdicts: never asked, good at version `n - 1`, and what no later version makes good again: an epoch is forgotten
/// once no token below it can be alive, and messages may wait longer.
const NEVER_ASKED: u64 = 0;
const REVOKED: u64 = u64::MAX;

impl Author {
    /// The holder of this grant.
    pub fn of(grant: &Grant) -> Self {
        Self::restored(grant.device().clone(), Some(PublishedUnder::of(grant)), NEVER_ASKED)
    }

    /// The broker itself, speaking to one device.
    pub fn broker(device: DeviceId) -> Self {
        Self::restored(device, None, NEVER_ASKED)
    }

    /// As it was written down; `verdict` is what [`Self::verdict`] gave in this run, or 0.
    pub(crate) fn restored(device: DeviceId, token: Option<PublishedUnder>, verdict: u64) -> Self {
        Self { device, token, verdict: AtomicU64::new(verdict) }
    }

    /// Device or service, within the tenant of the message.
    pub fn device(&self) -> &DeviceId {
        &self.device
    }

    /// The token; `None` for the broker itself.
    pub fn token(&self) -> Option<&PublishedUnder> {
        self.token.as_ref()
    }

    /// The last verdict, good for nothing but [`Self::restored`].
    pub(crate) fn verdict(&self) -> u64 {
        self.verdict.load(Ordering::Relaxed)
    }

    /// The refusal when this author was revoked: its messages are delivered no more. Its token expires at `expires`.
    /// Costs a comparison while trust does not change.
    pub fn revoked(
        &self,
        tenant: &TenantId,
        expires: UnixSeconds,
        trusted: Trusted<'_>,
    ) -> Option<RefusalCode> {
        if self.verdict() == trusted.version.saturating_add(1) {
            return None;
        }
        self.ask(tenant, expires, trusted)
    }

    #[cold]
    fn ask(
        &self,
        tenant: &TenantId,
        expires: UnixSeconds,
        trusted: Trusted<'_>,
    ) -> Option<RefusalCode> {
        let under = self.token.as_ref()?;
        let published = TokenIdentity {
            tenant: tenant.clone(),
            device: self.device.clone(),
            epochs: under.epochs,
            key_id: under.key_id,
            token: under.token,
            confirmation: None,
            derived_by: None,
            expires,
        };
        let asked = trusted.revocations.revoked(&published);
        let verdict = match asked {
            None => trusted.version.saturating_add(1),
            // The tenant is not known: perhaps no trust data has come yet.
            Some(RefusalCode::IssuerMismatch) => NEVER_ASKED,
            Some(_) => REVOKED,
        };
        let before = self.verdict.fetch_max(verdict, Ordering::Relaxed);
        asked.or((before == REVOKED).then_some(RefusalCode::TokenRevoked))
    }
}
