//! Identity of a grant without its rights.

use alloc::vec::Vec;

use crate::claims::{Claims, Epochs, Serial};
use crate::grant::Grant;
use crate::hash::TokenHash;
use crate::ids::{Audience, DeviceId, TenantId};
use crate::key::{KeyId, Thumbprint};
use crate::proof::DerivationId;
use crate::scope::Scope;
use crate::time::UnixSeconds;

/// Owner of a grant, and the names by which it can be revoked. It may be written down; it allows nothing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TokenIdentity {
    /// The tenant.
    pub tenant: TenantId,
    /// The device.
    pub device: DeviceId,
    /// The epochs of the token.
    pub epochs: Epochs,
    /// The issuer key that signed the token.
    pub key_id: KeyId,
    /// The token's name in revocation lists.
    pub token: TokenHash,
    /// The thumbprint of the device key; `None` for a bearer token.
    pub confirmation: Option<Thumbprint>,
    /// The derivation key behind a symmetric key.
    pub derived_by: Option<DerivationId>,
    /// When the token expires.
    pub expires: UnixSeconds,
}

impl TokenIdentity {
    /// The parts of a grant that may be stored.
    pub fn of(grant: &Grant) -> Self {
        Self {
            tenant: grant.tenant().clone(),
            device: grant.device().clone(),
            epochs: grant.epochs(),
            key_id: grant.key_id(),
            token: grant.token_hash(),
            confirmation: grant.confirmation(),
            derived_by: grant.derived_by(),
            expires: grant.expires(),
        }
    }

    /// A grant with an empty scope: [`crate::chain::still_holds`] and [`crate::chain::publisher_revoked`] tell whether trust in it
    /// was withdrawn, and it allows nothing. `None` never happens: the names that it needs are constants.
    pub fn without_rights(&self) -> Option<Grant> {
        let claims = Claims {
            tenant: self.tenant.clone(),
            device: self.device.clone(),
            audience: Audience::parse("none").ok()?,
            expires: self.expires,
            not_before: None,
            issued: UnixSeconds::new(0),
            serial: Serial::from_counter(0),
            confirmation: None,
            scope: Scope::new(Vec::new()).ok()?,
            epochs: self.epochs,
        };
        Some(Grant::new(claims, self.key_id, self.token, self.confirmation, self.derived_by))
    }
}
