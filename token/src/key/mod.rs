//! Keys: public keys with their COSE form and thumbprint, secret keys that can only sign.

use alloc::vec::Vec;
use core::fmt;

use crate::cbor::{CborError, Reader, Writer};
use crate::hash::sha256;
use crate::text;

mod ed25519;
#[cfg(test)]
mod tests;

pub use ed25519::{PublicKey, SecretKey};

/// Bytes of an Ed25519 signature.
pub const SIGNATURE_BYTES: usize = 64;

/// Why bytes are no acceptable public key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyError {
    /// Not 32 bytes.
    Length,
    /// Not the canonical encoding of a point on the curve.
    NotAPoint,
    /// The identity or another point of small order: it verifies forged signatures.
    SmallOrder,
    /// A point with a torsion component: verifiers disagree about its signatures.
    Torsion,
    /// A COSE_Key that is no public OKP key on Ed25519.
    NotSupported,
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Length => "an Ed25519 public key is 32 bytes",
            Self::NotAPoint => "the bytes are no point of the curve in canonical form",
            Self::SmallOrder => "the point has small order",
            Self::Torsion => "the point has a torsion component",
            Self::NotSupported => "only public OKP keys on Ed25519 are supported",
        })
    }
}

impl core::error::Error for KeyError {}

/// A COSE signature algorithm as the protected header names it (RFC 9053, RFC 9864).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Algorithm {
    /// -19, fully specified. What is issued by default.
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
}

/// SHA-256 COSE Key Thumbprint (RFC 9679): a key's name everywhere.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Thumbprint([u8; 32]);

impl Thumbprint {
    /// A thumbprint that was computed elsewhere.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
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
        f.write_str(&text::base64url(&self.0))
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

const KTY: i64 = 1;
const CRV: i64 = -1;
const X: i64 = -2;
const OKP: i64 = 1;
const CURVE_ED25519: i64 = 6;

impl PublicKey {
    /// The COSE_Key `{1: 1, -1: 6, -2: x}`, deterministic.
    pub fn to_cose_key(&self) -> Vec<u8> {
        let mut w = Writer::new();
        w.map(3).int(KTY).int(OKP).int(CRV).int(CURVE_ED25519).int(X).bytes(self.as_bytes());
        w.finish()
    }

    /// Reads a public OKP key on Ed25519. Labels `kid`, `alg`, `key_ops` are ignored when they do
    /// not contradict; a private part (`-4`) is refused.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn from_cose_key(bytes: &[u8]) -> Result<Self, KeyError> {
        let parts = read_okp(bytes).map_err(|_| KeyError::NotSupported)?;
        let x = parts.ok_or(KeyError::NotSupported)?;
        Self::from_bytes(x)
    }

    /// RFC 9679 thumbprint over the required members.
    pub fn thumbprint(&self) -> Thumbprint {
        Thumbprint(sha256(&self.to_cose_key()))
    }

    /// The key id of this key as an issuer.
    pub fn key_id(&self) -> KeyId {
        self.thumbprint().key_id()
    }
}

/// The `x` of an OKP Ed25519 public key; `None` when the map is a key of another kind.
fn read_okp(bytes: &[u8]) -> Result<Option<&[u8]>, CborError> {
    let mut r = Reader::new(bytes);
    let (mut kty, mut crv, mut x) = (None, None, None);
    for _ in 0..r.map()? {
        match r.label()? {
            Some(KTY) => kty = Some(r.int()?),
            Some(CRV) => crv = Some(r.int()?),
            Some(X) => x = Some(r.bytes()?),
            Some(3) => {
                let alg = r.int()?;
                if alg != Algorithm::Ed25519.number() && alg != Algorithm::EdDsa.number() {
                    return Ok(None);
                }
            }
            Some(-4) => return Ok(None),
            _ => r.skip()?,
        }
    }
    r.end()?;
    Ok(if kty == Some(OKP) && crv == Some(CURVE_ED25519) { x } else { None })
}
