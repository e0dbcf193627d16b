//! Proofs of possession of a key, and the keys that can be proved: public ones, and symmetric ones that follow from a
//! token.

mod derived;
pub(crate) mod mac;

use crate::hash::sha256;
use crate::ids::{DeviceId, TenantId};
use crate::key::{PublicKey, Thumbprint, SIGNATURE_BYTES};
use crate::refusal::RefusalCode;

pub use derived::{DerivationId, DerivationKey, DerivationKeys, DerivationKeysError, Derived};
pub use mac::{SymmetricKey, MAC_BYTES};

/// The bytes that prove possession: raw, without length or wrapper (RFC 9431 section 2.2.4).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pop {
    /// Ed25519, or r and s of ECDSA on P-256.
    Signature([u8; SIGNATURE_BYTES]),
    /// HMAC-SHA-256.
    Mac([u8; MAC_BYTES]),
}

impl Pop {
    /// Takes 64 bytes for a signature and 32 for a MAC.
    ///
    /// # Errors
    /// `proof_malformed` for any other length.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, RefusalCode> {
        if let Ok(signature) = bytes.try_into() {
            return Ok(Self::Signature(signature));
        }
        bytes.try_into().map(Self::Mac).map_err(|_| RefusalCode::ProofMalformed)
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Signature(bytes) => bytes,
            Self::Mac(bytes) => bytes,
        }
    }

    pub(crate) fn is_by(&self, key: &PublicKey, message: &[u8]) -> bool {
        match self {
            Self::Signature(signature) => key.verifies(message, signature),
            Self::Mac(_) => false,
        }
    }
}

/// The key that must be proved. Its kind decides what proves it, never the proof.
#[derive(Clone)]
pub enum PopKey {
    /// A public key, from the token or the registry.
    Public(PublicKey),
    /// A symmetric key that the verifier makes from the token and what it holds beside its trust data.
    Symmetric(Derived),
}

impl PopKey {
    /// Whether the holder of this key made `pop` over `message`.
    #[must_use]
    pub fn verifies(&self, message: &[u8], pop: &Pop) -> bool {
        match (self, pop) {
            (Self::Public(key), pop) => pop.is_by(key, message),
            (Self::Symmetric(derived), Pop::Mac(tag)) => derived.key.verifies(message, tag),
            (Self::Symmetric(_), Pop::Signature(_)) => false,
        }
    }

    /// The name under which counters and sessions know the key: a public key's thumbprint. A symmetric
    /// key is named by its holder, because a hash of the key would let a stranger guess at it.
    pub fn name(&self, tenant: &TenantId, device: &DeviceId) -> Thumbprint {
        match self {
            Self::Public(key) => key.thumbprint(),
            Self::Symmetric(_) => symmetric_name(tenant, device),
        }
    }
}

/// The name of every symmetric key of one holder: one counter for all of them.
pub(crate) fn symmetric_name(tenant: &TenantId, device: &DeviceId) -> Thumbprint {
    let (tenant, device) = (tenant.as_str().as_bytes(), device.as_str().as_bytes());
    Thumbprint::from_bytes(sha256(&[b"tessera-symmetric-1", tenant, &[0], device].concat()))
}
