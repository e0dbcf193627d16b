//! The weight of a row of the trust data: one of its kind, and bytes of a snapshot. Bytes are counted from above, by the
//! lengths of names and the widest form of numbers; none is below four bytes for each CBOR item, so that a snapshot within
//! its bytes is also within its items (16 Mi).

use tessera_runtime::store::StoreError;
use tessera_token::trust::Change;

use crate::tables::{one, pair, text, Tables};

/// Heads and numbers of each kind, without names and keys.
const TENANT: usize = 52;
const KEY: usize = 64;
const GROUP: usize = 37;
const DEVICE: usize = 28;
const TOKEN: usize = 64;
const DEVICE_KEY: usize = 16;
/// An event of the greatest size, since a rule is of any size.
const RULE: usize = tessera_token::limits::EVENT_BYTES;
/// More than its bytes: what verifiers hold is bounded by it.
const RESTRAINT: usize = 512;
/// Bytes of the longest device key, that of P-256.
const LONGEST_KEY: usize = 65;

/// Rows of each kind, and bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Load {
    pub(crate) tenants: usize,
    pub(crate) groups: usize,
    pub(crate) keys: usize,
    pub(crate) device_keys: usize,
    pub(crate) devices: usize,
    pub(crate) tokens: usize,
    pub(crate) bytes: usize,
}

impl Load {
    pub(crate) fn tenant(tenant: &str) -> Self {
        Self { tenants: 1, bytes: TENANT + tenant.len(), ..Self::default() }
    }

    /// A new tenant with its default group and its first two issuer keys.
    pub(crate) fn founding(tenant: &str, group: &str) -> Self {
        let keys = Self::key(tenant).plus(&Self::key(tenant));
        Self::tenant(tenant).plus(&Self::group(tenant, group)).plus(&keys)
    }

    pub(crate) fn group(tenant: &str, group: &str) -> Self {
        Self { groups: 1, bytes: GROUP + tenant.len() + group.len(), ..Self::default() }
    }

    pub(crate) fn key(tenant: &str) -> Self {
        Self { keys: 1, bytes: KEY + tenant.len(), ..Self::default() }
    }

    pub(crate) fn device(tenant: &str, device: &str) -> Self {
        Self { devices: 1, bytes: DEVICE + tenant.len() + device.len(), ..Self::default() }
    }

    pub(crate) fn token(tenant: &str, device: &str) -> Self {
        Self { tokens: 1, bytes: TOKEN + tenant.len() + device.len(), ..Self::default() }
    }

    pub(crate) fn device_key(tenant: &str, device: &str, key: usize) -> Self {
        let bytes = DEVICE_KEY + tenant.len() + device.len() + key;
        Self { device_keys: 1, bytes, ..Self::default() }
    }

    pub(crate) fn rule(_tenant: &str, _rule: &str) -> Self {
        Self { bytes: RULE, ..Self::default() }
    }

    pub(crate) fn restraint(_tenant: &str, _device: &str) -> Self {
        Self { bytes: RESTRAINT, ..Self::default() }
    }

    pub(crate) fn plus(&self, other: &Self) -> Self {
        self.with(other, usize::saturating_add)
    }

    pub(crate) fn minus(&self, other: &Self) -> Self {
        self.with(other, usize::saturating_sub)
    }

    /// Each of them, changed in the same way.
    pub(super) fn map(&self, change: impl Fn(usize) -> usize) -> Self {
        self.with(self, |one, _| change(one))
    }

    /// Whether nothing but the tenant itself is more than in `most`.
    pub(super) fn is_within(&self, most: &Self) -> bool {
        let pairs = self.kinds().into_iter().zip(most.kinds());
        pairs.skip(1).all(|((_, own), (_, most))| own <= most)
    }

    /// Each kind with its name in the metric. Tenants come first.
    pub(super) fn kinds(&self) -> [(&'static str, usize); 7] {
        [
            ("tenants", self.tenants),
            ("groups", self.groups),
            ("keys", self.keys),
            ("device_keys", self.device_keys),
            ("devices", self.devices),
            ("tokens", self.tokens),
            ("bytes", self.bytes),
        ]
    }

    fn with(&self, other: &Self, op: impl Fn(usize, usize) -> usize) -> Self {
        Self {
            tenants: op(self.tenants, other.tenants),
            groups: op(self.groups, other.groups),
            keys: op(self.keys, other.keys),
            device_keys: op(self.device_keys, other.device_keys),
            devices: op(self.devices, other.devices),
            tokens: op(self.tokens, other.tokens),
            bytes: op(self.bytes, other.bytes),
        }
    }

    /// The load that these changes add to verifiers. A group has its room since it was made, and the device keys of a
    /// tenant since it began to publish them.
    pub(crate) async fn of(tables: &Tables, changes: &[Change]) -> Result<Self, StoreError> {
        let mut sum = Self::default();
        for change in changes {
            sum = sum.plus(&Self::of_change(tables, change).await?);
        }
        Ok(sum)
    }

    async fn of_change(tables: &Tables, change: &Change) -> Result<Self, StoreError> {
        let known = match change {
            Change::Tenant(t) => tables.tenants.contains(one(t.tenant.as_str())).await?,
            Change::Key(k) => {
                tables.keys.contains(pair(&k.tenant, k.key.key_id().as_bytes())).await?
            }
            Change::Group(_) => true,
            Change::Device(d) => {
                tables.moved_devices.contains(pair(&d.tenant, d.device.as_str())).await?
            }
            Change::Token(t) => {
                let row = vec![t.expires.get().into(), t.token.as_bytes().into()];
                tables.revoked_tokens.contains(row).await?
            }
            Change::Rule(rule) => {
                let row = pair(&rule.tenant, rule.id.as_str());
                rule.rule.is_empty() || tables.rules.contains(row).await?
            }
            Change::Restraint(one) => {
                tables.restraints.contains(pair(&one.tenant, one.device.as_str())).await?
            }
            Change::DeviceKey(k) => {
                let known = tables.devices.get(pair(&k.tenant, k.device.as_str())).await?;
                let Some(known) = known else { return Ok(Self::weight(change)) };
                // A longer key in the place of another one.
                let bytes = k.key.len().saturating_sub(known.key.len());
                return Ok(Self { bytes, ..Self::default() });
            }
        };
        Ok(if known { Self::default() } else { Self::weight(change) })
    }

    /// The load of a change whose subject verifiers do not know yet. A group has its room since it was made.
    pub(super) fn weight(change: &Change) -> Self {
        let tenant = change.tenant().as_str();
        match change {
            Change::Tenant(_) => Self::tenant(tenant),
            Change::Key(_) => Self::key(tenant),
            Change::Group(_) => Self::default(),
            Change::Device(d) => Self::device(tenant, d.device.as_str()),
            Change::Token(t) => Self::token(tenant, t.device.as_str()),
            Change::DeviceKey(k) => Self::device_key(tenant, k.device.as_str(), k.key.len()),
            Change::Rule(rule) if rule.rule.is_empty() => Self::default(),
            Change::Rule(rule) => Self::rule(tenant, &rule.id),
            Change::Restraint(one) => Self::restraint(tenant, one.device.as_str()),
        }
    }

    /// The device keys of a tenant.
    pub(crate) async fn of_device_keys(tables: &Tables, tenant: &str) -> Result<Self, StoreError> {
        let mut sum = Self::default();
        // Verifiers go on to hold the keys of deleted devices: no event takes one away.
        let mut deleted = tables.deleted_devices.walk(&one(tenant));
        while let Some(page) = deleted.next().await? {
            for (key, _) in page {
                sum = sum.plus(&Self::device_key(tenant, text(&key, 1)?, LONGEST_KEY));
            }
        }
        let mut devices = tables.devices.walk(&one(tenant));
        while let Some(page) = devices.next().await? {
            for (key, record) in page {
                sum = sum.plus(&Self::device_key(tenant, text(&key, 1)?, record.key.len()));
            }
        }
        Ok(sum)
    }
}
