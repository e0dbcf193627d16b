use alloc::vec::Vec;

use crate::cbor::{Reader, Writer};
use crate::chain::{IssuerKey, KeyState, StalenessBudget, TenantTrust};
use crate::hash::TokenHash;
use crate::ids::{DeviceId, GroupId, TenantId};
use crate::key::PublicKey;
use crate::time::UnixSeconds;

use super::{Restraint, RuleEntry, TrustError};

/// A group's epoch, and the change that an operator announced.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GroupEpoch {
    /// The tenant.
    pub tenant: TenantId,
    /// The group's name, for people.
    pub group: GroupId,
    /// The group's number, which stands in tokens.
    pub number: u64,
    /// Tokens with a lower group epoch are refused.
    pub epoch: u64,
    /// Until when a change of its devices is announced: behaviour tracking raises no alert about their habits. `None`
    /// without one.
    pub announced_until: Option<UnixSeconds>,
}

/// A device's epoch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DeviceEpoch {
    /// The tenant.
    pub tenant: TenantId,
    /// The device.
    pub device: DeviceId,
    /// Tokens with a lower device epoch are refused.
    pub epoch: u64,
    /// When it moved: after the longest token life the entry says nothing any more.
    pub at: UnixSeconds,
}

/// One revoked token.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RevokedToken {
    /// Its name.
    pub token: TokenHash,
    /// Its owner: lets a broker find the session.
    pub tenant: TenantId,
    /// The device.
    pub device: DeviceId,
    /// When it expires and the entry can go.
    pub expires: UnixSeconds,
}

/// The key of a device, for tokens whose `cnf` only refers to it. Published for tenants that ask for it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RegisteredKey {
    /// The tenant.
    pub tenant: TenantId,
    /// The device.
    pub device: DeviceId,
    /// The public key in record form ([`PublicKey::from_bytes`]), judged when it was enrolled.
    pub key: Vec<u8>,
}

/// One change of what verifiers must know. Each carries the whole new state of its subject, so
/// applying one twice is the same as once.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// A tenant came or changed.
    Tenant(TenantTrust),
    /// An issuer key came or changed its state.
    Key(IssuerKey),
    /// A group's epoch moved.
    Group(GroupEpoch),
    /// A device's epoch moved.
    Device(DeviceEpoch),
    /// One token was revoked.
    Token(RevokedToken),
    /// A device's key was registered.
    DeviceKey(RegisteredKey),
    /// A rule came, changed or was removed.
    Rule(RuleEntry),
    /// A device is held back for a time, or no more.
    Restraint(Restraint),
}

const TENANT: u64 = 1;
const KEY: u64 = 2;
const GROUP: u64 = 3;
const DEVICE: u64 = 4;
const TOKEN: u64 = 5;
const DEVICE_KEY: u64 = 6;
const RULE: u64 = 7;
const RESTRAINT: u64 = 8;

impl Change {
    /// The tenant that it concerns; each change concerns one.
    pub fn tenant(&self) -> &TenantId {
        match self {
            Self::Tenant(tenant) => &tenant.tenant,
            Self::Key(key) => &key.tenant,
            Self::Group(group) => &group.tenant,
            Self::Device(device) => &device.tenant,
            Self::Token(token) => &token.tenant,
            Self::DeviceKey(key) => &key.tenant,
            Self::Rule(rule) => &rule.tenant,
            Self::Restraint(restraint) => &restraint.tenant,
        }
    }

    /// Appends `[kind, …]`.
    pub(super) fn write(&self, w: &mut Writer) {
        match self {
            Self::Tenant(t) => {
                let s = t.staleness;
                w.array(8).uint(TENANT).text(t.tenant.as_str()).uint(t.epoch);
                w.bool(t.suspended).bool(t.bearer);
                w.uint(s.telemetry).uint(s.command).uint(s.actuation);
            }
            Self::Key(k) => {
                w.array(6).uint(KEY).text(k.tenant.as_str()).bytes(k.key.as_bytes());
                w.uint(k.not_before.get()).uint(k.not_after.get()).uint(k.state.number().into());
            }
            Self::Group(g) => {
                let announced = g.announced_until;
                let items = if announced.is_some() { 6 } else { 5 };
                w.array(items).uint(GROUP).text(g.tenant.as_str()).text(g.group.as_str());
                w.uint(g.number).uint(g.epoch);
                if let Some(until) = announced {
                    w.uint(until.get());
                }
            }
            Self::Device(d) => {
                w.array(5).uint(DEVICE).text(d.tenant.as_str()).text(d.device.as_str());
                w.uint(d.epoch).uint(d.at.get());
            }
            Self::Token(t) => {
                w.array(5).uint(TOKEN).bytes(t.token.as_bytes());
                w.text(t.tenant.as_str()).text(t.device.as_str()).uint(t.expires.get());
            }
            Self::DeviceKey(k) => {
                w.array(4).uint(DEVICE_KEY).text(k.tenant.as_str()).text(k.device.as_str());
                w.bytes(&k.key);
            }
            Self::Rule(rule) => {
                w.array(4).uint(RULE);
                rule.write(w);
            }
            Self::Restraint(restraint) => {
                w.array(6).uint(RESTRAINT);
                restraint.write(w);
            }
        }
    }

    /// Reads what [`Self::write`] wrote.
    pub(super) fn read(r: &mut Reader<'_>) -> Result<Self, TrustError> {
        let n = r.array()?;
        Ok(match (r.uint()?, n) {
            (TENANT, 8) => Self::Tenant(TenantTrust {
                tenant: tenant(r)?,
                epoch: r.uint()?,
                suspended: r.bool()?,
                bearer: r.bool()?,
                staleness: StalenessBudget {
                    telemetry: r.uint()?,
                    command: r.uint()?,
                    actuation: r.uint()?,
                },
            }),
            (KEY, 6) => Self::Key(IssuerKey {
                tenant: tenant(r)?,
                key: PublicKey::from_bytes(&r.bytes_of::<32>()?)
                    .map_err(|_| TrustError::Malformed)?,
                not_before: UnixSeconds::new(r.uint()?),
                not_after: UnixSeconds::new(r.uint()?),
                state: KeyState::of_number(r.uint()?).ok_or(TrustError::Malformed)?,
            }),
            (GROUP, 5 | 6) => Self::Group(GroupEpoch {
                tenant: tenant(r)?,
                group: GroupId::parse(r.text()?).map_err(|_| TrustError::Malformed)?,
                number: r.uint()?,
                epoch: r.uint()?,
                announced_until: if n == 6 { Some(UnixSeconds::new(r.uint()?)) } else { None },
            }),
            (DEVICE, 5) => Self::Device(DeviceEpoch {
                tenant: tenant(r)?,
                device: device(r)?,
                epoch: r.uint()?,
                at: UnixSeconds::new(r.uint()?),
            }),
            (TOKEN, 5) => Self::Token(RevokedToken {
                token: TokenHash::from_bytes(r.bytes_of()?),
                tenant: tenant(r)?,
                device: device(r)?,
                expires: UnixSeconds::new(r.uint()?),
            }),
            (DEVICE_KEY, 4) => Self::DeviceKey(RegisteredKey {
                tenant: tenant(r)?,
                device: device(r)?,
                key: key(r)?,
            }),
            (RULE, 4) => Self::Rule(RuleEntry::read(r)?),
            (RESTRAINT, 6) => Self::Restraint(Restraint::read(r)?),
            _ => return Err(TrustError::Malformed),
        })
    }
}

/// The root key vouches for the point: only the length is looked at, a million times in a snapshot.
fn key(r: &mut Reader<'_>) -> Result<Vec<u8>, TrustError> {
    let key = r.bytes()?;
    matches!(key.len(), 32 | 65).then(|| key.to_vec()).ok_or(TrustError::Malformed)
}

pub(super) fn tenant(r: &mut Reader<'_>) -> Result<TenantId, TrustError> {
    TenantId::parse(r.text()?).map_err(|_| TrustError::Malformed)
}

pub(super) fn device(r: &mut Reader<'_>) -> Result<DeviceId, TrustError> {
    DeviceId::parse(r.text()?).map_err(|_| TrustError::Malformed)
}
