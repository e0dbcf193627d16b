//! ECDSA with SHA-256 on P-256 by ring; points by crypto-bigint: the only file that names them.
//!
//! ring verifies three times as fast as the RustCrypto curve, but takes uncompressed points only
//! and tells a point off the curve from a bad signature by nothing: so points are judged here.
//! All of it is public data, and ring looks again at every verification.

use crypto_bigint::modular::constant_mod::{Residue, ResidueParams};
use crypto_bigint::{impl_modulus, Encoding, U256};
use ring::signature::{UnparsedPublicKey, ECDSA_P256_SHA256_FIXED};

use super::{KeyError, SIGNATURE_BYTES};

impl_modulus!(Field, U256, "ffffffff00000001000000000000000000000000ffffffffffffffffffffffff");
type Element = Residue<Field, { Field::LIMBS }>;

const B: U256 =
    U256::from_be_hex("5ac635d8aa3a93e7b3ebbd55769886bc651d06b0cc53b0f63bce3c3e27d2604b");
/// (p + 1) / 4: raising a square to it gives its root, because p = 3 mod 4.
const ROOT: U256 =
    U256::from_be_hex("3fffffffc0000000400000000000000000000000400000000000000000000000");

/// `04 x y`, on the curve.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Point([u8; 65]);

impl Point {
    /// Takes `04 x y`, or `02`/`03` and x (SEC 1 section 2.3.3).
    pub(super) fn judge(bytes: &[u8]) -> Result<Self, KeyError> {
        let (form, rest) = bytes.split_first().ok_or(KeyError::Length)?;
        let (x, y) = rest.split_at_checked(32).ok_or(KeyError::Length)?;
        let x = element(x)?;
        let square = x * x * x - x - x - x + Element::new(&B);
        let y = match form {
            4 => element(y)?,
            2 | 3 if y.is_empty() => root_of(square, *form == 3),
            _ => return Err(KeyError::NotAPoint),
        };
        match y * y == square {
            true => Ok(Self::of(x, y)),
            false => Err(KeyError::NotAPoint),
        }
    }

    fn of(x: Element, y: Element) -> Self {
        let mut bytes = [4; 65];
        let (x, y) = (x.retrieve().to_be_bytes(), y.retrieve().to_be_bytes());
        for (to, from) in bytes.iter_mut().skip(1).zip(x.into_iter().chain(y)) {
            *to = from;
        }
        Self(bytes)
    }

    pub(super) fn as_bytes(&self) -> &[u8; 65] {
        &self.0
    }

    /// `signature` is r and s (RFC 9053 section 2.1).
    pub(super) fn verifies(&self, message: &[u8], signature: &[u8; SIGNATURE_BYTES]) -> bool {
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &self.0).verify(message, signature).is_ok()
    }
}

fn element(bytes: &[u8]) -> Result<Element, KeyError> {
    let bytes: [u8; 32] = bytes.try_into().map_err(|_| KeyError::Length)?;
    let number = U256::from_be_bytes(bytes);
    match number < Field::MODULUS {
        true => Ok(Element::new(&number)),
        false => Err(KeyError::NotAPoint),
    }
}

fn root_of(square: Element, odd: bool) -> Element {
    let root = square.pow(&ROOT);
    match bool::from(root.retrieve().bit(0)) == odd {
        true => root,
        false => -root,
    }
}
