//! Data of a verifier, all of it open to be bent, and the keys that sign for it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

use tessera_token::chain::{IssuerKey, KeyState, StalenessBudget, TenantTrust, TrustView};
use tessera_token::claims::{Claims, Epochs, Serial};
use tessera_token::hash::TokenHash;
use tessera_token::ids::{Audience, DeviceId, TenantId};
use tessera_token::key::{KeyId, SecretKey};
use tessera_token::scope::{Permission, Scope, ScopeEntry};
use tessera_token::time::UnixSeconds;
use tessera_token::topic::TopicFilter;

pub(crate) const NOW: u64 = 1_790_000_000;
pub(crate) const AUDIENCE: &str = "mqtt";

pub(crate) struct Keys {
    pub(crate) issuer: SecretKey,
    pub(crate) rival: SecretKey,
    pub(crate) device: SecretKey,
    pub(crate) other_device: SecretKey,
    pub(crate) root: SecretKey,
    pub(crate) other_root: SecretKey,
}

/// Made once: a key costs more than most executions.
pub(crate) fn keys() -> &'static Keys {
    static KEYS: OnceLock<Keys> = OnceLock::new();
    let key = |seed| SecretKey::from_seed(&[seed; 32]);
    KEYS.get_or_init(|| Keys {
        issuer: key(1),
        rival: key(2),
        device: key(3),
        other_device: key(4),
        root: key(5),
        other_root: key(6),
    })
}

pub(crate) fn at(seconds: u64) -> UnixSeconds {
    UnixSeconds::new(seconds)
}

pub(crate) fn tenant(name: &str) -> TenantId {
    TenantId::parse(name).expect("a tenant id of the harness")
}

pub(crate) fn device(name: &str) -> DeviceId {
    DeviceId::parse(name).expect("a device id of the harness")
}

pub(crate) fn scope(entries: &[(&str, Permission)]) -> Scope {
    let entry = |(filter, permission): &(&str, Permission)| ScopeEntry {
        filter: TopicFilter::parse(filter).expect("a filter of the harness"),
        permission: *permission,
    };
    Scope::new(entries.iter().map(entry).collect()).expect("a scope of the harness")
}

#[derive(Clone)]
pub(crate) struct World {
    pub(crate) audience: Audience,
    pub(crate) keys: BTreeMap<KeyId, Vec<IssuerKey>>,
    pub(crate) tenants: BTreeMap<String, TenantTrust>,
    pub(crate) groups: BTreeMap<(String, u64), u64>,
    pub(crate) devices: BTreeMap<(String, String), u64>,
    pub(crate) revoked: BTreeSet<TokenHash>,
    pub(crate) trusted_at: Option<UnixSeconds>,
}

impl World {
    /// Two tenants with a key each.
    pub(crate) fn new() -> Self {
        let mut world = Self {
            audience: Audience::parse(AUDIENCE).expect("an audience"),
            keys: BTreeMap::new(),
            tenants: BTreeMap::new(),
            groups: BTreeMap::new(),
            devices: BTreeMap::new(),
            revoked: BTreeSet::new(),
            trusted_at: Some(at(NOW)),
        };
        world.add("acme", &keys().issuer);
        world.add("rival", &keys().rival);
        world
    }

    fn add(&mut self, name: &str, key: &SecretKey) {
        let staleness = StalenessBudget::default();
        let trust = TenantTrust {
            tenant: tenant(name),
            epoch: 0,
            suspended: false,
            bearer: false,
            staleness,
        };
        self.tenants.insert(name.to_owned(), trust);
        let key = key.public();
        self.keys.entry(key.key_id()).or_default().push(IssuerKey {
            tenant: tenant(name),
            not_before: at(NOW - 86_400),
            not_after: at(NOW + 40 * 86_400),
            state: KeyState::Active,
            key,
        });
    }

    /// Changes the tenant, when it is there.
    pub(crate) fn acme(&mut self, change: impl FnOnce(&mut TenantTrust)) {
        if let Some(acme) = self.tenants.get_mut("acme") {
            change(acme);
        }
    }

    pub(crate) fn issuer(&mut self) -> &mut IssuerKey {
        let id = keys().issuer.public().key_id();
        self.keys.get_mut(&id).and_then(|keys| keys.first_mut()).expect("the issuer key")
    }
}

impl TrustView for World {
    fn audience(&self) -> &Audience {
        &self.audience
    }
    fn issuer_keys(&self, kid: KeyId) -> &[IssuerKey] {
        self.keys.get(&kid).map_or(&[], Vec::as_slice)
    }
    fn tenant(&self, tenant: &str) -> Option<&TenantTrust> {
        self.tenants.get(tenant)
    }
    fn group_epoch(&self, tenant: &TenantId, number: u64) -> u64 {
        self.groups.get(&(tenant.to_string(), number)).copied().unwrap_or(0)
    }
    fn device_epoch(&self, tenant: &TenantId, device: &str) -> u64 {
        self.devices.get(&(tenant.to_string(), device.to_owned())).copied().unwrap_or(0)
    }
    fn token_revoked(&self, token: &TokenHash) -> bool {
        self.revoked.contains(token)
    }
    fn trusted_at(&self) -> Option<UnixSeconds> {
        self.trusted_at
    }
}

/// The claims of a good token.
pub(crate) fn claims() -> Claims {
    Claims {
        tenant: tenant("acme"),
        device: device("s-0042"),
        audience: Audience::parse(AUDIENCE).expect("an audience"),
        expires: at(NOW + 3000),
        not_before: None,
        issued: at(NOW - 600),
        serial: Serial::from_counter(4711),
        confirmation: Some(keys().device.public()),
        scope: scope(&[
            ("d/s-0042/telemetry", Permission::Publish),
            ("d/s-0042/cmd", Permission::Subscribe),
        ]),
        epochs: Epochs { tenant: 2, group_number: 7, group: 3, device: 4 },
    }
}
