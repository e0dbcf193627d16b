//! Hashes that name things.

use core::fmt;

use sha2::{Digest, Sha256, Sha512};

use crate::encoding;

/// SHA-256 of `bytes`.
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// SHA-512 of the parts one after another.
pub(crate) fn sha512(parts: &[&[u8]]) -> [u8; 64] {
    let mut hash = Sha512::new();
    parts.iter().for_each(|part| hash.update(part));
    hash.finalize().into()
}

/// The name of a token in revocation lists (RFC 9770 section 4): `0x01` (SHA-256 of RFC 6920) and
/// the digest of the token's base64url text, 33 bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokenHash([u8; 33]);

impl TokenHash {
    /// The hash of a token's bytes.
    pub fn of(token: &[u8]) -> Self {
        let digest = sha256(encoding::base64url(token).as_bytes());
        let mut bytes = [1u8; 33];
        for (to, from) in bytes.iter_mut().skip(1).zip(digest) {
            *to = from;
        }
        Self(bytes)
    }

    /// A hash from a list.
    pub const fn from_bytes(bytes: [u8; 33]) -> Self {
        Self(bytes)
    }

    /// The 33 bytes.
    pub const fn as_bytes(&self) -> &[u8; 33] {
        &self.0
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&encoding::base64url(&self.0))
    }
}
