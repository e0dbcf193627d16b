//! Rights of a validated token: the only thing the rest of a server asks about rights.

use crate::claims::{Claims, Epochs};
use crate::hash::TokenHash;
use crate::ids::{Audience, DeviceId, TenantId};
use crate::key::{KeyId, Thumbprint};
use crate::proof::{symmetric_name, DerivationId};
use crate::scope::Scope;
use crate::time::UnixSeconds;
use crate::topic::{TopicFilter, TopicName};

/// The outcome of the chain: who, what, until when. Only [`crate::chain`] makes one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Grant {
    claims: Claims,
    key_id: KeyId,
    token: TokenHash,
    confirmation: Option<Thumbprint>,
    derived_by: Option<DerivationId>,
    is_p256: bool,
}

impl Grant {
    /// From the proof on the name of the key is enough: a point takes 200 bytes of every session.
    pub(crate) fn new(
        mut claims: Claims,
        key_id: KeyId,
        token: TokenHash,
        confirmation: Option<Thumbprint>,
        derived_by: Option<DerivationId>,
    ) -> Self {
        let key = claims.confirmation.take();
        let is_p256 = key.is_some_and(|key| key.as_ed25519().is_none());
        Self { claims, key_id, token, confirmation, derived_by, is_p256 }
    }

    /// The tenant.
    pub fn tenant(&self) -> &TenantId {
        &self.claims.tenant
    }

    /// The device.
    pub fn device(&self) -> &DeviceId {
        &self.claims.device
    }

    /// Whom the token is for.
    pub fn audience(&self) -> &Audience {
        &self.claims.audience
    }

    /// The scope.
    pub fn scope(&self) -> &Scope {
        &self.claims.scope
    }

    /// When the token was issued.
    pub fn issued(&self) -> UnixSeconds {
        self.claims.issued
    }

    /// Whether its token may take the place of that of `held`: see [`crate::claims::Age::is_before`].
    #[must_use]
    pub fn is_not_older_than(&self, held: &Self) -> bool {
        !self.claims.age().is_before(&held.claims.age())
    }

    /// When every right ends.
    pub fn expires(&self) -> UnixSeconds {
        self.claims.expires
    }

    /// The epochs of the token.
    pub fn epochs(&self) -> Epochs {
        self.claims.epochs
    }

    /// The issuer key that signed the token.
    pub fn key_id(&self) -> KeyId {
        self.key_id
    }

    /// The token's name in revocation lists.
    pub fn token_hash(&self) -> TokenHash {
        self.token
    }

    /// The name of the device key, a public key's thumbprint; `None` for a bearer token.
    pub fn confirmation(&self) -> Option<Thumbprint> {
        self.confirmation
    }

    /// The derivation key behind the symmetric key of the token; `None` for tokens of every other kind.
    pub fn derived_by(&self) -> Option<DerivationId> {
        self.derived_by
    }

    /// Whether its token came with a public key on P-256. A grant that was kept over a restart does not say.
    #[must_use]
    pub fn is_p256(&self) -> bool {
        self.is_p256
    }

    /// Whether a peer that proves this grant holds what a peer with a key of this name, of the same device, held: the
    /// same key, or the device's other kind of key. A symmetric key is given only to a peer that signs with the device's
    /// public key.
    #[must_use]
    pub fn goes_on_from(&self, confirmation: Option<Thumbprint>) -> bool {
        if self.confirmation == confirmation {
            return true;
        }
        let shared = symmetric_name(self.tenant(), self.device());
        match (self.confirmation, confirmation) {
            (Some(now), Some(before)) => now == shared || before == shared,
            _ => false,
        }
    }

    /// Whether the right to publish to `topic` exists at `now`.
    #[must_use]
    pub fn may_publish(&self, topic: &TopicName, now: UnixSeconds) -> bool {
        now < self.claims.expires && self.claims.scope.may_publish(topic)
    }

    /// Whether the right to subscribe to `filter` exists at `now`.
    #[must_use]
    pub fn may_subscribe(&self, filter: &TopicFilter, now: UnixSeconds) -> bool {
        now < self.claims.expires && self.claims.scope.may_subscribe(filter)
    }

    /// Whether a message on `topic` may be delivered at `now`.
    #[must_use]
    pub fn may_receive(&self, topic: &str, now: UnixSeconds) -> bool {
        now < self.claims.expires && self.claims.scope.may_receive_str(topic)
    }
}
