use std::sync::Arc;

use arc_swap::Guard;
use tessera_token::chain::{IssuerKey, TenantTrust, TrustView};
use tessera_token::hash::TokenHash;
use tessera_token::ids::{Audience, DeviceId, TenantId};
use tessera_token::key::{KeyId, PublicKey};
use tessera_token::proof::{DerivationId, DerivationKeys, Derived};
use tessera_token::refusal::RefusalCode;
use tessera_token::time::UnixSeconds;

use super::known::KnownKeys;
use crate::trust::{Trust, TrustState};

/// One version of trust, and the keys whose torsion test need not be repeated.
pub(super) struct View<'v> {
    pub(super) trust: &'v TrustState,
    pub(super) freshness: &'v Trust,
    pub(super) known: &'v KnownKeys,
    pub(super) verifier: &'v str,
    pub(super) derivation: Guard<Arc<DerivationKeys>>,
}

impl TrustView for View<'_> {
    fn audience(&self) -> &Audience {
        self.trust.audience()
    }

    fn verifier(&self) -> &str {
        self.verifier
    }

    fn issuer_keys(&self, kid: KeyId) -> &[IssuerKey] {
        self.trust.issuer_keys(kid)
    }

    fn tenant(&self, tenant: &str) -> Option<&TenantTrust> {
        self.trust.tenant(tenant)
    }

    fn group_epoch(&self, tenant: &TenantId, group_number: u64) -> u64 {
        self.trust.group_epoch(tenant, group_number)
    }

    fn device_epoch(&self, tenant: &TenantId, device: &str) -> u64 {
        self.trust.device_epoch(tenant, device)
    }

    fn token_revoked(&self, token: &TokenHash) -> bool {
        self.trust.token_revoked(token)
    }

    fn trusted_at(&self) -> Option<UnixSeconds> {
        self.trust.trusted_at()
    }

    fn age(&self, _: UnixSeconds) -> Option<u64> {
        self.freshness.age_to_decide()
    }

    fn may_decide(&self) -> Result<(), RefusalCode> {
        self.freshness.may_decide()
    }

    fn device_key(&self, tenant: &TenantId, device: &DeviceId) -> Option<PublicKey> {
        self.trust.device_key(tenant, device)
    }

    fn symmetric_key(&self, kid: &[u8], token: &[u8]) -> Option<Derived> {
        self.derivation.key_behind(kid, token)
    }

    fn derives_by(&self, key: DerivationId) -> bool {
        self.derivation.get(key).is_some()
    }

    fn known_good(&self, key: &[u8; 32]) -> bool {
        self.known.holds(key)
    }

    fn learned_good(&self, key: &[u8; 32]) {
        self.known.add(key);
    }
}
