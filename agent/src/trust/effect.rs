use tessera_token::hash::TokenHash;
use tessera_token::ids::{DeviceId, TenantId};
use tessera_token::key::KeyId;

/// Owners of rights that a change of trust may have touched. A holder of sessions asks
/// [`crate::validator::Validator::still_holds`] again for those.
///
/// A subscriber that lagged behind the channel must treat that as [`TrustEffect::Reloaded`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TrustEffect {
    /// Everything of a tenant: its epoch, suspension or policy.
    Tenant(TenantId),
    /// Every device of a group.
    Group {
        /// The tenant.
        tenant: TenantId,
        /// The group's number in tokens.
        number: u64,
    },
    /// One device.
    Device {
        /// The tenant.
        tenant: TenantId,
        /// The device.
        device: DeviceId,
    },
    /// Every token that an issuer key signed.
    Key {
        /// The tenant.
        tenant: TenantId,
        /// The key.
        kid: KeyId,
    },
    /// One token.
    Token {
        /// The tenant.
        tenant: TenantId,
        /// Its owner.
        device: DeviceId,
        /// Its name.
        hash: TokenHash,
    },
    /// The rules of a tenant, or the names of its groups, which rules read.
    Rules(TenantId),
    /// A device is held back, or no more.
    Restraint {
        /// The tenant.
        tenant: TenantId,
        /// The device.
        device: DeviceId,
    },
    /// Anything: check every session.
    Reloaded,
}

impl TrustEffect {
    /// A word for logs and metrics.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Tenant(_) => "tenant",
            Self::Group { .. } => "group",
            Self::Device { .. } => "device",
            Self::Key { .. } => "key",
            Self::Token { .. } => "token",
            Self::Rules(_) => "rules",
            Self::Restraint { .. } => "restraint",
            Self::Reloaded => "reloaded",
        }
    }
}
