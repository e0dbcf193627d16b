//! HPKE (RFC 9180) in base mode with DHKEM(X25519, HKDF-SHA256), HKDF-SHA256 and ChaCha20Poly1305: only the holder of
//! one X25519 key can read the sealed bytes. The only file that names the library.

use alloc::vec::Vec;
use core::fmt;

use hpke::aead::ChaCha20Poly1305;
use hpke::kdf::HkdfSha256;
use hpke::kem::X25519HkdfSha256;
use hpke::rand_core::{CryptoRng, Error, RngCore};
use hpke::{Deserializable, Kem, OpModeR, OpModeS, Serializable};
use zeroize::Zeroizing;

/// Bytes of a public key, and of the encapsulated key in front of a sealed text.
pub const SEAL_KEY_BYTES: usize = 32;
/// By how many bytes a sealed text is longer: the encapsulated key and the tag.
pub const SEAL_OVERHEAD: usize = SEAL_KEY_BYTES + 16;

type Public = <X25519HkdfSha256 as Kem>::PublicKey;
type Encapped = <X25519HkdfSha256 as Kem>::EncappedKey;

/// The public half of an [`OpeningKey`], as it came: it is judged when something is sealed to it.
pub type SealKey = [u8; SEAL_KEY_BYTES];

/// The key of one request, which opens its answer. Neither `Debug` of its bytes nor `Serialize`; its random bytes are
/// wiped on drop.
pub struct OpeningKey {
    random: Zeroizing<[u8; 32]>,
    public: SealKey,
}

impl fmt::Debug for OpeningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OpeningKey")
    }
}

impl OpeningKey {
    /// A key made of 32 random bytes (`DeriveKeyPair` of RFC 9180 section 7.1.3).
    pub fn from_random(random: [u8; 32]) -> Self {
        let random = Zeroizing::new(random);
        let (_, public) = X25519HkdfSha256::derive_keypair(random.as_slice());
        Self { random, public: public.to_bytes().into() }
    }

    /// The public half, to which others seal.
    pub fn public(&self) -> SealKey {
        self.public
    }

    /// Opens what was sealed to this key with the same `info` and `aad`; `None` for everything else.
    pub fn open(&self, sealed: &[u8], info: &[u8], aad: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let (encapped, ciphertext) = sealed.split_at_checked(SEAL_KEY_BYTES)?;
        let encapped = Encapped::from_bytes(encapped).ok()?;
        // The library's own private key is not wiped: it lives for this call alone.
        let (secret, _) = X25519HkdfSha256::derive_keypair(self.random.as_slice());
        hpke::single_shot_open::<ChaCha20Poly1305, HkdfSha256, X25519HkdfSha256>(
            &OpModeR::Base,
            &secret,
            &encapped,
            info,
            ciphertext,
            aad,
        )
        .ok()
        .map(Zeroizing::new)
    }
}

/// Seals to a key: the encapsulated key, then the ciphertext with its tag. `random` must be drawn for this call alone.
/// `None` for a key that every secret agrees with (a point of small order).
pub fn seal(
    to: &SealKey,
    random: [u8; 32],
    info: &[u8],
    aad: &[u8],
    plain: &[u8],
) -> Option<Vec<u8>> {
    let to = Public::from_bytes(to).ok()?;
    let mut once = Once(Some(Zeroizing::new(random)));
    let (encapped, ciphertext) = hpke::single_shot_seal::<
        ChaCha20Poly1305,
        HkdfSha256,
        X25519HkdfSha256,
        _,
    >(&OpModeS::Base, &to, info, plain, aad, &mut once)
    .ok()?;
    // Taken exactly once: the library drew no more than the bytes that it was given.
    let mut sealed = once.is_used().then(|| encapped.to_bytes().to_vec())?;
    sealed.extend_from_slice(&ciphertext);
    Some(sealed)
}

/// The randomness of one encapsulation, drawn by the caller.
struct Once(Option<Zeroizing<[u8; 32]>>);

impl Once {
    fn is_used(&self) -> bool {
        self.0.is_none()
    }
}

impl CryptoRng for Once {}

impl RngCore for Once {
    fn next_u32(&mut self) -> u32 {
        0
    }

    fn next_u64(&mut self) -> u64 {
        0
    }

    fn fill_bytes(&mut self, out: &mut [u8]) {
        let given = self.0.take();
        match given.filter(|given| given.len() == out.len()) {
            Some(given) => out.copy_from_slice(given.as_slice()),
            // Asked twice or for another length: `is_used` is asked as well, and nothing is sealed by zeros.
            None => self.0 = Some(Zeroizing::new([0; 32])),
        }
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Error> {
        self.fill_bytes(out);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoding::hex;

    fn bytes<const N: usize>(text: &str) -> [u8; N] {
        hex::decode(text).unwrap().try_into().unwrap()
    }

    /// RFC 9180 appendix A.2.1, sequence number 0.
    #[test]
    fn the_vector_of_the_standard() {
        let recipient = OpeningKey::from_random(bytes(
            "1ac01f181fdf9f352797655161c58b75c656a6cc2716dcb66372da835542e1df",
        ));
        assert_eq!(
            hex::encode(recipient.public()),
            "4310ee97d88cc1f088a5576c77ab0cf5c3ac797f3d95139c6c84b5429c59662a"
        );
        let ephemeral = bytes("909a9b35d3dc4713a5e72a4da274b55d3d3821a37e5d099e74a647db583a904b");
        let info = b"Ode on a Grecian Urn";
        let plain = b"Beauty is truth, truth beauty";
        let sealed = seal(&recipient.public(), ephemeral, info, b"Count-0", plain).unwrap();
        assert_eq!(
            hex::encode(&sealed),
            "1afa08d3dec047a643885163f1180476fa7ddb54c6a8029ea33f95796bf2ac4a\
             1c5250d8034ec2b784ba2cfd69dbdb8af406cfe3ff938e131f0def8c8b60b4db21993c62ce81883d2dd1b51a28"
        );
        assert_eq!(sealed.len(), plain.len() + SEAL_OVERHEAD);
        let opened = recipient.open(&sealed, info, b"Count-0").unwrap();
        assert_eq!(opened.as_slice(), plain);
    }

    #[test]
    fn nobody_else_opens_it_and_nothing_bent_is_opened() {
        let (one, two) = (OpeningKey::from_random([1; 32]), OpeningKey::from_random([2; 32]));
        let sealed = seal(&one.public(), [3; 32], b"i", b"a", b"secret").unwrap();
        assert!(one.open(&sealed, b"i", b"a").is_some());
        assert!(two.open(&sealed, b"i", b"a").is_none());
        assert!(one.open(&sealed, b"j", b"a").is_none());
        assert!(one.open(&sealed, b"i", b"b").is_none());
        for end in 0..sealed.len() {
            assert!(one.open(&sealed[..end], b"i", b"a").is_none());
        }
        for bit in 0..sealed.len() * 8 {
            let mut bent = sealed.clone();
            bent[bit / 8] ^= 1 << (bit % 8);
            // The highest bit of an X25519 key means nothing to the exchange, and everything to the context.
            assert!(one.open(&bent, b"i", b"a").is_none(), "{bit}");
        }
        assert!(!format!("{one:?}").contains('['));
    }

    #[test]
    fn nothing_is_sealed_to_a_point_of_small_order() {
        let mut one = [0; 32];
        one[0] = 1;
        for point in [[0; 32], one] {
            assert_eq!(seal(&point, [3; 32], b"i", b"a", b"secret"), None);
        }
    }
}
