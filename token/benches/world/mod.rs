//! A verifier that knows one tenant, and a token of it.

use tessera_token::chain::{IssuerKey, KeyState, StalenessBudget, TenantTrust, TrustView};
use tessera_token::claims::{Claims, Epochs, Serial};
use tessera_token::hash::TokenHash;
use tessera_token::ids::{Audience, DeviceId, TenantId};
use tessera_token::issue::{issue, issue_symmetric};
use tessera_token::key::{Algorithm, KeyId, SecretKey};
use tessera_token::proof::{DerivationKeys, Derived, SymmetricKey};
use tessera_token::scope::{Permission, Scope, ScopeEntry};
use tessera_token::time::UnixSeconds;
use tessera_token::topic::TopicFilter;

pub(crate) const NOW: UnixSeconds = UnixSeconds::new(1_790_000_000);

pub(crate) fn device_key() -> SecretKey {
    SecretKey::from_seed(&[3; 32])
}

fn issuer() -> SecretKey {
    SecretKey::from_seed(&[1; 32])
}

pub(crate) fn scope(entries: usize) -> Scope {
    let entry = |number| ScopeEntry {
        filter: TopicFilter::parse(&format!("d/d-1/topic-{number}")).unwrap(),
        permission: Permission::Publish,
    };
    Scope::new((0..entries).map(entry).collect()).unwrap()
}

/// A token whose key is derived from it, and the key.
pub(crate) fn symmetric_token() -> (Vec<u8>, SymmetricKey) {
    let derivation = derivation();
    let by = derivation.newest().unwrap();
    let token = issue_symmetric(&claims(), by, Algorithm::Ed25519, &issuer()).unwrap();
    let key = by.key_of(&token).unwrap();
    (token, key)
}

fn derivation() -> DerivationKeys {
    let line = "mqtt 0101010101010101010101010101010101010101010101010101010101010101";
    DerivationKeys::parse(line, &Audience::parse("mqtt").unwrap()).unwrap()
}

pub(crate) fn token() -> Vec<u8> {
    issue(&claims(), Algorithm::Ed25519, &issuer()).unwrap()
}

fn claims() -> Claims {
    Claims {
        tenant: TenantId::parse("acme").unwrap(),
        device: DeviceId::parse("d-1").unwrap(),
        audience: Audience::parse("mqtt").unwrap(),
        expires: NOW.plus(3_600),
        not_before: None,
        issued: NOW,
        serial: Serial::from_counter(7),
        confirmation: Some(device_key().public()),
        scope: scope(2),
        epochs: Epochs::default(),
    }
}

pub(crate) struct World {
    audience: Audience,
    key: KeyId,
    keys: [IssuerKey; 1],
    tenant: TenantTrust,
    met: bool,
    derivation: DerivationKeys,
}

impl World {
    /// `met`: whether the device's key passed the torsion test before.
    pub(crate) fn new(met: bool) -> Self {
        let tenant = TenantId::parse("acme").unwrap();
        let public = issuer().public();
        Self {
            audience: Audience::parse("mqtt").unwrap(),
            key: public.key_id(),
            keys: [IssuerKey {
                tenant: tenant.clone(),
                not_before: NOW.minus(86_400),
                not_after: NOW.plus(86_400),
                state: KeyState::Active,
                key: public,
            }],
            tenant: TenantTrust {
                tenant,
                epoch: 0,
                suspended: false,
                bearer: false,
                staleness: StalenessBudget::default(),
            },
            met,
            derivation: derivation(),
        }
    }
}

impl TrustView for World {
    fn audience(&self) -> &Audience {
        &self.audience
    }
    fn issuer_keys(&self, kid: KeyId) -> &[IssuerKey] {
        if kid == self.key {
            &self.keys
        } else {
            &[]
        }
    }
    fn tenant(&self, tenant: &str) -> Option<&TenantTrust> {
        (tenant == "acme").then_some(&self.tenant)
    }
    fn group_epoch(&self, _: &TenantId, _: u64) -> u64 {
        0
    }
    fn device_epoch(&self, _: &TenantId, _: &str) -> u64 {
        0
    }
    fn token_revoked(&self, _: &TokenHash) -> bool {
        false
    }
    fn trusted_at(&self) -> Option<UnixSeconds> {
        Some(NOW)
    }
    fn symmetric_key(&self, kid: &[u8], token: &[u8]) -> Option<Derived> {
        self.derivation.key_behind(kid, token)
    }
    fn known_good(&self, _: &[u8; 32]) -> bool {
        self.met
    }
}
