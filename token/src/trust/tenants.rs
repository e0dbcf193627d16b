use alloc::vec::Vec;
use core::fmt;

use crate::cbor::{Reader, Writer};
use crate::hash::sha256;
use crate::ids::TenantId;
use crate::limits;

use super::TrustError;

/// The tenants of a reader that reads no other's trust state: sorted, each once, at least one and at most
/// [`limits::FEED_TENANTS`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TenantSet(Vec<TenantId>);

/// The name of a [`TenantSet`]: SHA-256 of its CBOR. A view is as small for many tenants as for one.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct TenantSetId([u8; 32]);

impl TenantSetId {
    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    pub(super) const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl TenantSet {
    /// The set of these tenants, in any order.
    ///
    /// # Errors
    /// [`TrustError::Malformed`] without a tenant, [`TrustError::TooLarge`] with too many.
    pub fn new(tenants: impl IntoIterator<Item = TenantId>) -> Result<Self, TrustError> {
        let mut set = Vec::new();
        for tenant in tenants {
            let Err(place) = set.binary_search(&tenant) else { continue };
            if set.len() >= limits::FEED_TENANTS {
                return Err(TrustError::TooLarge);
            }
            set.insert(place, tenant);
        }
        match set.is_empty() {
            true => Err(TrustError::Malformed),
            false => Ok(Self(set)),
        }
    }

    /// Whether the tenant is one of them.
    pub fn contains(&self, tenant: &TenantId) -> bool {
        self.0.binary_search(tenant).is_ok()
    }

    /// The tenants, in their order.
    pub fn iter(&self) -> impl Iterator<Item = &TenantId> {
        self.0.iter()
    }

    /// The name of the set.
    pub fn id(&self) -> TenantSetId {
        let mut w = Writer::new();
        self.write(&mut w);
        TenantSetId(sha256(&w.finish()))
    }

    /// Appends `[tenant, …]`.
    pub(super) fn write(&self, w: &mut Writer) {
        w.array(self.0.len());
        for tenant in &self.0 {
            w.text(tenant.as_str());
        }
    }

    /// Reads what [`Self::write`] wrote: another order is another message.
    pub(super) fn read(r: &mut Reader<'_>) -> Result<Self, TrustError> {
        let n = r.array()?;
        if n > limits::FEED_TENANTS {
            return Err(TrustError::TooLarge);
        }
        let mut set: Vec<TenantId> = Vec::with_capacity(n);
        for _ in 0..n {
            let tenant = TenantId::parse(r.text()?).map_err(|_| TrustError::Malformed)?;
            if set.last().is_some_and(|last| *last >= tenant) {
                return Err(TrustError::Malformed);
            }
            set.push(tenant);
        }
        match set.is_empty() {
            true => Err(TrustError::Malformed),
            false => Ok(Self(set)),
        }
    }
}

impl fmt::Display for TenantSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, tenant) in self.0.iter().enumerate() {
            let space = if place == 0 { "" } else { " " };
            write!(f, "{space}{tenant}")?;
        }
        Ok(())
    }
}
