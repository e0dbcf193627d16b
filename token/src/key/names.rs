//! Names of keys: thumbprint and key id.

use core::fmt;

use super::cose_key;
use crate::encoding;
use crate::hash::sha256;

/// SHA-256 COSE Key Thumbprint (RFC 9679): a key's name everywhere.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Thumbprint([u8; 32]);

impl Thumbprint {
    /// A thumbprint that was computed elsewhere.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The thumbprint of the key on Ed25519 with these bytes, whether or not they are a point.
    pub fn of_ed25519(key: &[u8; 32]) -> Self {
        Self(sha256(&cose_key::write(key)))
    }

    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Its first 8 bytes, which is the `kid` of an issuer key.
    pub fn key_id(&self) -> KeyId {
        let [a, b, c, d, e, f, g, h, ..] = self.0;
        KeyId([a, b, c, d, e, f, g, h])
    }
}

impl fmt::Debug for Thumbprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&encoding::base64url(&self.0))
    }
}

/// `kid`: a hint which issuer key to try, never an identity.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId([u8; 8]);

impl KeyId {
    /// A key id from a header or record.
    pub const fn from_bytes(bytes: [u8; 8]) -> Self {
        Self(bytes)
    }

    /// The 8 bytes.
    pub const fn as_bytes(&self) -> &[u8; 8] {
        &self.0
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.0 {
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}
