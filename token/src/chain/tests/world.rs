//! A verifier's world, and tokens that can be bent in every place.

use std::cell::RefCell;
use std::collections::BTreeMap;

use crate::cbor::Writer;
use crate::chain::{Attempt, IssuerKey, KeyState, StalenessBudget, TenantTrust, TrustView};
use crate::claims::{Claims, Epochs};
use crate::hash::TokenHash;
use crate::ids::Serial;
use crate::ids::{Audience, DeviceId, TenantId};
use crate::key::{Algorithm, KeyId, PublicKey, SecretKey};
use crate::pop::{DerivationId, DerivationKeys, Derived, SymmetricKey};
use crate::proof::{ConnectProof, Credential};
use crate::scope::{Permission, Scope, ScopeEntry};
use crate::time::UnixSeconds;
use crate::topic::TopicFilter;

pub(super) const NOW: u64 = 1_790_000_000;

pub(super) fn now() -> UnixSeconds {
    UnixSeconds::new(NOW)
}

pub(super) fn issuer() -> SecretKey {
    SecretKey::from_seed(&[1; 32])
}

pub(super) fn other_issuer() -> SecretKey {
    SecretKey::from_seed(&[2; 32])
}

pub(super) fn device_key() -> SecretKey {
    SecretKey::from_seed(&[3; 32])
}

/// The derivation key behind [`World::symmetric_key`], which follows from none.
const FIXED: DerivationId = DerivationId::from_bytes([9; 4]);

pub(super) struct World {
    pub(super) audience: Audience,
    pub(super) verifier: Option<String>,
    pub(super) keys: BTreeMap<KeyId, Vec<IssuerKey>>,
    pub(super) tenants: BTreeMap<String, TenantTrust>,
    pub(super) group_epoch: u64,
    pub(super) device_epoch: u64,
    pub(super) revoked: Vec<TokenHash>,
    pub(super) trusted_at: Option<UnixSeconds>,
    pub(super) refuses: Option<crate::refusal::RefusalCode>,
    pub(super) device_key: Option<PublicKey>,
    pub(super) symmetric_key: Option<(Vec<u8>, SymmetricKey)>,
    pub(super) derivation: DerivationKeys,
    pub(super) known_good: RefCell<Vec<[u8; 32]>>,
}

impl World {
    pub(super) fn new() -> Self {
        let mut world = Self {
            audience: Audience::parse("mqtt").unwrap(),
            verifier: None,
            keys: BTreeMap::new(),
            tenants: BTreeMap::new(),
            group_epoch: 0,
            device_epoch: 0,
            revoked: Vec::new(),
            trusted_at: Some(now()),
            refuses: None,
            device_key: None,
            symmetric_key: None,
            derivation: DerivationKeys::default(),
            known_good: RefCell::default(),
        };
        world.add("acme", &issuer());
        world.add("rival", &other_issuer());
        world
    }

    fn add(&mut self, name: &str, key: &SecretKey) {
        let tenant = TenantId::parse(name).unwrap();
        self.tenants.insert(
            name.into(),
            TenantTrust {
                tenant: tenant.clone(),
                epoch: 0,
                suspended: false,
                bearer: false,
                staleness: StalenessBudget::default(),
            },
        );
        let key = key.public();
        let record = IssuerKey {
            tenant,
            not_before: now().minus(86_400),
            not_after: now().plus(86_400),
            state: KeyState::Active,
            key: key.clone(),
        };
        self.keys.entry(key.key_id()).or_default().push(record);
    }

    pub(super) fn key(&mut self) -> &mut IssuerKey {
        let id = issuer().public().key_id();
        &mut self.keys.get_mut(&id).unwrap()[0]
    }

    pub(super) fn acme(&mut self) -> &mut TenantTrust {
        self.tenants.get_mut("acme").unwrap()
    }
}

impl TrustView for World {
    fn audience(&self) -> &Audience {
        &self.audience
    }
    fn verifier(&self) -> &str {
        self.verifier.as_deref().unwrap_or(self.audience.as_str())
    }
    fn issuer_keys(&self, kid: KeyId) -> &[IssuerKey] {
        self.keys.get(&kid).map_or(&[], Vec::as_slice)
    }
    fn tenant(&self, tenant: &str) -> Option<&TenantTrust> {
        self.tenants.get(tenant)
    }
    fn group_epoch(&self, _: &TenantId, _: u64) -> u64 {
        self.group_epoch
    }
    fn device_epoch(&self, _: &TenantId, _: &str) -> u64 {
        self.device_epoch
    }
    fn token_revoked(&self, token: &TokenHash) -> bool {
        self.revoked.contains(token)
    }
    fn trusted_at(&self) -> Option<UnixSeconds> {
        self.trusted_at
    }
    fn may_decide(&self) -> Result<(), crate::refusal::RefusalCode> {
        self.refuses.map_or(Ok(()), Err)
    }
    fn device_key(&self, tenant: &TenantId, device: &DeviceId) -> Option<PublicKey> {
        let ours = tenant.as_str() == "acme" && device.as_str() == "s-0042";
        self.device_key.clone().filter(|_| ours)
    }
    fn symmetric_key(&self, kid: &[u8], token: &[u8]) -> Option<Derived> {
        let fixed = self.symmetric_key.as_ref().filter(|(known, _)| known == kid);
        let derived = |(_, key): &(_, SymmetricKey)| Derived { key: key.clone(), by: FIXED };
        fixed.map(derived).or_else(|| self.derivation.key_behind(kid, token))
    }
    fn derives_by(&self, key: DerivationId) -> bool {
        (key == FIXED && self.symmetric_key.is_some()) || self.derivation.get(key).is_some()
    }
    fn known_good(&self, key: &[u8; 32]) -> bool {
        self.known_good.borrow().contains(key)
    }
    fn learned_good(&self, key: &[u8; 32]) {
        self.known_good.borrow_mut().push(*key);
    }
}

pub(super) fn entry(filter: &str, permission: Permission) -> ScopeEntry {
    ScopeEntry { filter: TopicFilter::parse(filter).unwrap(), permission }
}

pub(super) fn claims() -> Claims {
    Claims {
        tenant: TenantId::parse("acme").unwrap(),
        device: DeviceId::parse("s-0042").unwrap(),
        audience: Audience::parse("mqtt").unwrap(),
        expires: now().plus(3000),
        not_before: None,
        issued: now().minus(600),
        serial: Serial::from_counter(4711),
        confirmation: Some(device_key().public()),
        scope: Scope::new(vec![
            entry("d/s-0042/telemetry", Permission::Publish),
            entry("d/s-0042/cmd", Permission::Subscribe),
        ])
        .unwrap(),
        epochs: Epochs::default(),
    }
}

/// The items of a claims map in order, to be changed one by one: (label, encoded value).
pub(super) type Items = Vec<(i64, Vec<u8>)>;

pub(super) fn item(write: impl FnOnce(&mut Writer)) -> Vec<u8> {
    let mut w = Writer::new();
    write(&mut w);
    w.finish()
}

pub(super) fn items(claims: &Claims) -> Items {
    let cbor = claims.to_cbor();
    let mut r = crate::cbor::Reader::new(&cbor);
    (0..r.map().unwrap())
        .map(|_| (r.label().unwrap().unwrap(), r.item().unwrap().to_vec()))
        .collect()
}

pub(super) fn map(items: &Items) -> Vec<u8> {
    let mut w = Writer::new();
    w.map(items.len());
    for (label, value) in items {
        w.int(*label).raw(value);
    }
    w.finish()
}

pub(super) fn header(alg: i64, kid: &[u8]) -> Vec<u8> {
    item(|w| {
        w.map(2).int(1).int(alg).int(4).bytes(kid);
    })
}

pub(super) fn good_header() -> Vec<u8> {
    header(-19, issuer().public().key_id().as_bytes())
}

/// A COSE_Sign1 with tags 61(18), signed by `key` over whatever it is given.
pub(super) fn craft(
    protected: &[u8],
    unprotected: &[u8],
    payload: &[u8],
    key: &SecretKey,
) -> Vec<u8> {
    let signed = item(|w| {
        w.array(4).text("Signature1").bytes(protected).bytes(b"").bytes(payload);
    });
    let signature = key.sign(&signed);
    let mut token = vec![0xd8, 0x3d, 0xd2];
    token.extend(item(|w| {
        w.array(4).bytes(protected).raw(unprotected).bytes(payload).bytes(&signature);
    }));
    token
}

pub(super) fn token_of(claims: &Claims) -> Vec<u8> {
    crate::issue::issue(claims, Algorithm::Ed25519, &issuer()).unwrap()
}

/// A token whose claims map was bent after the fact, with a right signature over the bent map.
pub(super) fn bent(change: impl FnOnce(&mut Items)) -> Vec<u8> {
    let mut list = items(&claims());
    change(&mut list);
    craft(&good_header(), &[0xa0], &map(&list), &issuer())
}

pub(super) fn set(list: &mut Items, label: i64, value: Vec<u8>) {
    match list.iter_mut().find(|(l, _)| *l == label) {
        Some(item) => item.1 = value,
        None => list.push((label, value)),
    }
}

pub(super) fn without(label: i64) -> Vec<u8> {
    bent(|list| list.retain(|(l, _)| *l != label))
}

pub(super) fn attempt(token: &[u8]) -> Attempt {
    attempt_as(token, "s-0042", &device_key(), NOW, 1)
}

pub(super) fn attempt_as(
    token: &[u8],
    client_id: &str,
    key: &SecretKey,
    time: u64,
    counter: u32,
) -> Attempt {
    let time = UnixSeconds::new(time);
    let proof = ConnectProof::make(key, "mqtt", client_id, token, time, counter);
    Attempt::new(Credential { token: token.to_vec(), proof: Some(proof) }, client_id)
}
