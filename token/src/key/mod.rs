//! Keys: public keys with their COSE form and thumbprint, secret keys that can only sign, and the trait of all that sign.
//!
//! Issuers sign with Ed25519. Devices prove themselves with Ed25519 or, where a secure element has
//! nothing else, with ECDSA on P-256 (feature `p256`, on by default).

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;

use crate::hash::sha256;

pub(crate) mod cose_key;
mod ed25519;
mod multiples;
mod names;
#[cfg(feature = "p256")]
mod p256;
mod signer;
#[cfg(test)]
mod tests;

pub use ed25519::{Preparation, SecretKey};
pub use names::{KeyId, Thumbprint};
pub use signer::{SignError, Signer};

/// Bytes of a signature, for both kinds of key: R and S, or r and s.
pub const SIGNATURE_BYTES: usize = 64;

/// Why bytes are no acceptable public key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyError {
    /// Not 32 bytes (Ed25519), nor 33 or 65 (P-256).
    Length,
    /// Not the canonical encoding of a point on the curve.
    NotAPoint,
    /// The identity or another point of small order: it verifies forged signatures.
    SmallOrder,
    /// A point with a torsion component: verifiers disagree about its signatures.
    Torsion,
    /// A COSE_Key that is no public key on Ed25519 or P-256, or names an algorithm of another kind.
    NotSupported,
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Length => "a public key is 32 bytes on Ed25519, 33 or 65 on P-256",
            Self::NotAPoint => "the bytes are no point of the curve in canonical form",
            Self::SmallOrder => "the point has small order",
            Self::Torsion => "the point has a torsion component",
            Self::NotSupported => "only public keys on Ed25519 and P-256 are supported",
        })
    }
}

impl core::error::Error for KeyError {}

/// A COSE signature algorithm as a token's protected header names it (RFC 9053, RFC 9864).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Algorithm {
    /// -19, fully specified. The default for issuing.
    #[default]
    Ed25519,
    /// -8, polymorphic: accepted for keys on Ed25519 only, issued for older verifiers by a setting.
    EdDsa,
}

impl Algorithm {
    /// The COSE algorithm number.
    pub const fn number(self) -> i64 {
        match self {
            Self::Ed25519 => -19,
            Self::EdDsa => -8,
        }
    }

    /// The name in settings: `Ed25519` or `EdDSA`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ed25519 => "Ed25519",
            Self::EdDsa => "EdDSA",
        }
    }

    /// The algorithm of this name.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Ed25519, Self::EdDsa].into_iter().find(|algorithm| algorithm.name() == name)
    }
}

/// ES256 (-7) and ESP256 (-9): ECDSA with SHA-256, here on P-256 only.
const ES256: i64 = -7;
const ESP256: i64 = -9;

/// A public key that was judged: a point on its curve in canonical form, and on Ed25519 neither of
/// small order nor with a torsion component. Its kind decides which algorithms go with it.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey(Kind);

#[derive(Clone, PartialEq, Eq)]
enum Kind {
    // Boxed: a point takes 200 bytes in everything that may hold a key.
    Ed25519(Box<ed25519::Point>),
    #[cfg(feature = "p256")]
    P256(Box<p256::Point>),
}

impl PublicKey {
    /// Takes and judges a key in record form: 32 bytes on Ed25519; 65 (`04 x y`) or 33 bytes
    /// (`02`/`03`, x) on P-256. On Ed25519 this costs about as much as a signature check, for the
    /// torsion test.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, KeyError> {
        Self::read(bytes, ed25519::Point::judge)
    }

    /// As [`PublicKey::from_bytes`], without the torsion test: for bytes that passed it before.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn from_known_good(bytes: &[u8]) -> Result<Self, KeyError> {
        Self::read(bytes, ed25519::Point::known_good)
    }

    /// The same key with a table of 215 KiB by which it verifies signatures in half of the time; making it costs as
    /// much as ten verifications. For keys that sign for many: an issuer's.
    #[must_use]
    pub fn prepared(mut self, with: &Preparation) -> Self {
        if let Kind::Ed25519(point) = &mut self.0 {
            point.prepare(with);
        }
        self
    }

    /// The same key without its table.
    #[must_use]
    pub fn unprepared(mut self) -> Self {
        if let Kind::Ed25519(point) = &mut self.0 {
            point.unprepare();
        }
        self
    }

    /// Whether it has a table. A key on P-256 has none.
    pub fn is_prepared(&self) -> bool {
        match &self.0 {
            Kind::Ed25519(point) => point.is_prepared(),
            #[cfg(feature = "p256")]
            Kind::P256(_) => false,
        }
    }

    fn read(
        bytes: &[u8],
        ed25519: impl FnOnce(&[u8; 32]) -> Result<ed25519::Point, KeyError>,
    ) -> Result<Self, KeyError> {
        match bytes.len() {
            32 => {
                let bytes = bytes.try_into().map_err(|_| KeyError::Length)?;
                ed25519(bytes).map(|point| Self(Kind::Ed25519(Box::new(point))))
            }
            #[cfg(feature = "p256")]
            33 | 65 => p256::Point::judge(bytes).map(|point| Self(Kind::P256(Box::new(point)))),
            _ => Err(KeyError::Length),
        }
    }

    /// The record form: 32 bytes on Ed25519, 65 on P-256.
    pub fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Kind::Ed25519(point) => point.as_bytes(),
            #[cfg(feature = "p256")]
            Kind::P256(point) => point.as_bytes(),
        }
    }

    /// The 32 bytes of a key on Ed25519, which every issuer key is; `None` for another kind.
    pub fn as_ed25519(&self) -> Option<&[u8; 32]> {
        match &self.0 {
            Kind::Ed25519(point) => Some(point.as_bytes()),
            #[cfg(feature = "p256")]
            Kind::P256(_) => None,
        }
    }

    /// Whether the COSE algorithm of this number goes with this key: -19 and -8 with Ed25519, -9
    /// and -7 with P-256.
    pub fn accepts(&self, algorithm: i64) -> bool {
        cose_key::goes_with(self.as_ed25519().is_some(), algorithm)
    }

    /// Whether `signature` over `message` was made by this key. Anything but 64 strict bytes is
    /// `false`.
    #[must_use]
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        let Ok(signature) = <&[u8; SIGNATURE_BYTES]>::try_from(signature) else {
            return false;
        };
        match &self.0 {
            Kind::Ed25519(point) => point.verifies(message, signature),
            #[cfg(feature = "p256")]
            Kind::P256(point) => point.verifies(message, signature),
        }
    }

    /// The public COSE_Key of required members, deterministic: `{1: 1, -1: 6, -2: x}` or
    /// `{1: 2, -1: 1, -2: x, -3: y}`.
    pub fn to_cose_key(&self) -> Vec<u8> {
        cose_key::write(self.as_bytes())
    }

    /// Reads a public COSE_Key: OKP on Ed25519, or EC2 on P-256 with `y` as bytes or as its sign.
    /// `kid` and `key_ops` are ignored; an `alg` of another kind and a private part (`-4`) are
    /// refused.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn from_cose_key(bytes: &[u8]) -> Result<Self, KeyError> {
        Self::from_bytes(&cose_key::read(bytes)?)
    }

    /// RFC 9679 thumbprint over the required members.
    pub fn thumbprint(&self) -> Thumbprint {
        Thumbprint::from_bytes(sha256(&self.to_cose_key()))
    }

    /// The key id of this key.
    pub fn key_id(&self) -> KeyId {
        self.thumbprint().key_id()
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({:?})", self.thumbprint())
    }
}
