//! HMAC-SHA-256 (RFC 2104): the only file that names the library.

use hmac::{Hmac, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::Pop;
use crate::limits;

/// Bytes of a MAC.
pub const MAC_BYTES: usize = 32;

/// A key that device and verifier both hold (RFC 9431: HS256). It is never in a token in clear;
/// a verifier derives it by the token's `cnf {3: kid}`. Neither `Debug` nor `Serialize`; wiped on drop.
#[derive(Clone)]
pub struct SymmetricKey(Zeroizing<alloc::vec::Vec<u8>>);

impl SymmetricKey {
    /// Takes 32 to 64 bytes from a good source of randomness; `None` for another length.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        limits::SYMMETRIC_KEY_BYTES
            .contains(&bytes.len())
            .then(|| Self(Zeroizing::new(bytes.to_vec())))
    }

    /// A key that is itself a MAC.
    pub(crate) fn of_mac(bytes: &[u8; MAC_BYTES]) -> Self {
        Self(Zeroizing::new(bytes.to_vec()))
    }

    /// Its bytes, for the message that hands it over and for the place where the device keeps it.
    pub fn expose_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The MAC of `message`.
    pub fn mac(&self, message: &[u8]) -> [u8; MAC_BYTES] {
        mac(&self.0, &[message])
    }

    /// The MAC of `message`, as a proof of possession.
    pub fn prove(&self, message: &[u8]) -> Pop {
        Pop::Mac(self.mac(message))
    }

    /// Whether `tag` is the MAC of `message`, in constant time.
    #[must_use]
    pub fn verifies(&self, message: &[u8], tag: &[u8; MAC_BYTES]) -> bool {
        verify(&self.0, &[message], tag)
    }
}

impl PartialEq for SymmetricKey {
    /// In constant time for keys of one length.
    fn eq(&self, other: &Self) -> bool {
        self.0.as_slice().ct_eq(other.0.as_slice()).into()
    }
}

impl Eq for SymmetricKey {}

pub(crate) fn mac(key: &[u8], parts: &[&[u8]]) -> [u8; MAC_BYTES] {
    keyed(key, parts).map_or([0; MAC_BYTES], |mac| mac.finalize().into_bytes().into())
}

pub(crate) fn verify(key: &[u8], parts: &[&[u8]], tag: &[u8; MAC_BYTES]) -> bool {
    keyed(key, parts).is_some_and(|mac| mac.verify_slice(tag).is_ok())
}

/// HMAC takes keys of every length, so there is always one.
fn keyed(key: &[u8], parts: &[&[u8]]) -> Option<Hmac<Sha256>> {
    let mut mac = <Hmac<Sha256> as Mac>::new_from_slice(key).ok()?;
    parts.iter().for_each(|part| mac.update(part));
    Some(mac)
}
