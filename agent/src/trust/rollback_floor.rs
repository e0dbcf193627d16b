//! Trust data of a verifier beyond its newest snapshot. A service that was restored from a backup signs snapshots that have
//! lost revocations; who has seen those keeps them, also over a restart.
//!
//! It is not signed: it is what this verifier took out of signed events before. It can only raise epochs and states, so
//! a writer of it could refuse devices, and let in none.

use std::sync::Arc;

use tessera_token::cbor::{strict, CborError, Reader, Writer};
use tessera_token::chain::{IssuerKey, KeyState, TenantTrust};
use tessera_token::hash::TokenHash;
use tessera_token::ids::{DeviceId, TenantId};
use tessera_token::key::PublicKey;
use tessera_token::time::UnixSeconds;

use super::names::{DeviceKey, GroupKey};
use super::refusal::TrustRefusal;
use super::state::{Moved, TrustState};
use crate::limits::TRUST_FLOOR_ITEMS;

/// Entries that a snapshot must not weaken, as far as it would.
#[derive(Default)]
pub struct RollbackFloor(Vec<Raised>);

enum Raised {
    Tenant { tenant: TenantId, epoch: u64 },
    Key { tenant: TenantId, key: PublicKey, state: KeyState },
    Group { tenant: TenantId, number: u64, epoch: u64 },
    Device { tenant: TenantId, device: DeviceId, epoch: u64, at: UnixSeconds },
    Token { token: TokenHash, expires: UnixSeconds },
}

const TENANT: u64 = 1;
const KEY: u64 = 2;
const GROUP: u64 = 3;
const DEVICE: u64 = 4;
const TOKEN: u64 = 5;

impl RollbackFloor {
    /// Whether the snapshot knew everything.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// CBOR `[[kind, …], …]`.
    pub(super) fn to_cbor(&self) -> Vec<u8> {
        let mut w = Writer::new();
        w.array(self.0.len());
        for raised in &self.0 {
            raised.write(&mut w);
        }
        w.finish()
    }

    /// Reads what [`Self::to_cbor`] wrote.
    pub(super) fn from_cbor(bytes: &[u8]) -> Result<Self, TrustRefusal> {
        Self::read(bytes).map_err(|_| TrustRefusal::Damaged)
    }

    fn read(bytes: &[u8]) -> Result<Self, CborError> {
        strict::check_large(bytes, TRUST_FLOOR_ITEMS)?;
        let mut r = Reader::new(bytes);
        let floor = (0..r.array()?).map(|_| Raised::read(&mut r)).collect::<Result<_, _>>()?;
        r.end()?;
        Ok(Self(floor))
    }
}

impl Raised {
    fn write(&self, w: &mut Writer) {
        match self {
            Self::Tenant { tenant, epoch } => {
                w.array(3).uint(TENANT).text(tenant.as_str()).uint(*epoch);
            }
            Self::Key { tenant, key, state } => {
                w.array(4).uint(KEY).text(tenant.as_str()).bytes(key.as_bytes());
                w.uint(state.number().into());
            }
            Self::Group { tenant, number, epoch } => {
                w.array(4).uint(GROUP).text(tenant.as_str()).uint(*number).uint(*epoch);
            }
            Self::Device { tenant, device, epoch, at } => {
                w.array(5).uint(DEVICE).text(tenant.as_str()).text(device.as_str());
                w.uint(*epoch).uint(at.get());
            }
            Self::Token { token, expires } => {
                w.array(3).uint(TOKEN).bytes(token.as_bytes()).uint(expires.get());
            }
        }
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, CborError> {
        let n = r.array()?;
        Ok(match (r.uint()?, n) {
            (TENANT, 3) => Self::Tenant { tenant: tenant(r)?, epoch: r.uint()? },
            (KEY, 4) => Self::Key {
                tenant: tenant(r)?,
                key: PublicKey::from_bytes(r.bytes()?).map_err(|_| CborError)?,
                state: KeyState::of_number(r.uint()?).ok_or(CborError)?,
            },
            (GROUP, 4) => Self::Group { tenant: tenant(r)?, number: r.uint()?, epoch: r.uint()? },
            (DEVICE, 5) => Self::Device {
                tenant: tenant(r)?,
                device: DeviceId::parse(r.text()?).map_err(|_| CborError)?,
                epoch: r.uint()?,
                at: UnixSeconds::new(r.uint()?),
            },
            (TOKEN, 3) => Self::Token {
                token: TokenHash::from_bytes(r.bytes_of()?),
                expires: UnixSeconds::new(r.uint()?),
            },
            _ => return Err(CborError),
        })
    }
}

fn tenant(r: &mut Reader<'_>) -> Result<TenantId, CborError> {
    TenantId::parse(r.text()?).map_err(|_| CborError)
}

impl TrustState {
    /// Takes over what an older version knew and this snapshot must not weaken.
    pub(super) fn keep_floor_of(&mut self, old: &Self) -> Result<(), TrustRefusal> {
        let floor = self.floor_of(old);
        self.raise(&floor)?;
        self.floor = Arc::new(floor);
        Ok(())
    }

    /// Entries that the first snapshot would have weakened.
    pub fn floor(&self) -> &RollbackFloor {
        &self.floor
    }

    fn floor_of(&self, old: &Self) -> RollbackFloor {
        let mut floor = Vec::new();
        for known in old.tenants.values() {
            if self.tenants.get(&known.tenant).is_some_and(|now| now.epoch < known.epoch) {
                let tenant = known.tenant.clone();
                floor.push(Raised::Tenant { tenant, epoch: known.epoch });
            }
        }
        for known in old.keys.values().flatten() {
            let now = self.same_key(&known.tenant, &known.key);
            if now.is_some_and(|now| now.state.number() < known.state.number()) {
                let (tenant, key) = (known.tenant.clone(), known.key.clone());
                floor.push(Raised::Key { tenant, key, state: known.state });
            }
        }
        // A verifier whose tenants changed keeps nothing of those it has left.
        let mine = |tenant| self.bound.as_ref().is_none_or(|bound| bound.contains(tenant));
        for (key, epoch) in old.groups.iter().filter(|(key, _)| mine(&key.tenant)) {
            if self.groups.get(key).is_none_or(|now| now < epoch) {
                let (tenant, number) = (key.tenant.clone(), key.number);
                floor.push(Raised::Group { tenant, number, epoch: *epoch });
            }
        }
        for (key, moved) in old.devices.iter().filter(|(key, _)| mine(&key.tenant)) {
            if self.devices.get(key).is_none_or(|now| now.epoch < moved.epoch) {
                let DeviceKey { tenant, device } = key.clone();
                floor.push(Raised::Device { tenant, device, epoch: moved.epoch, at: moved.at });
            }
        }
        for (token, expires) in old.tokens.iter() {
            if self.tokens.get(token).is_none_or(|now| now < expires) {
                floor.push(Raised::Token { token: *token, expires: *expires });
            }
        }
        RollbackFloor(floor)
    }

    /// Takes it in; nothing moves back.
    pub(super) fn raise(&mut self, floor: &RollbackFloor) -> Result<(), TrustRefusal> {
        for raised in &floor.0 {
            match raised {
                Raised::Tenant { tenant, epoch } => {
                    if let Some(now) = self.tenants.get(tenant).cloned() {
                        let epoch = now.epoch.max(*epoch);
                        self.apply_tenant(TenantTrust { epoch, ..now })?;
                    }
                }
                Raised::Key { tenant, key, state } => {
                    if let Some(now) = self.same_key(tenant, key).cloned() {
                        self.apply_key(IssuerKey { state: *state, ..now })?;
                    }
                }
                Raised::Group { tenant, number, epoch } => {
                    let key = GroupKey { tenant: tenant.clone(), number: *number };
                    let now = Arc::make_mut(&mut self.groups).entry(key).or_default();
                    *now = (*now).max(*epoch);
                }
                Raised::Device { tenant, device, epoch, at } => {
                    let key = DeviceKey { tenant: tenant.clone(), device: device.clone() };
                    if self.devices.get(&key).is_none_or(|now| now.epoch < *epoch) {
                        self.devices.insert(key, Moved { epoch: *epoch, at: *at });
                    }
                }
                Raised::Token { token, expires } => self.tokens.insert(*token, *expires),
            }
        }
        Ok(())
    }

    fn same_key(&self, tenant: &TenantId, key: &PublicKey) -> Option<&IssuerKey> {
        let same_kid = self.keys.get(&key.key_id())?;
        same_kid.iter().find(|known| known.key == *key && known.tenant == *tenant)
    }
}
