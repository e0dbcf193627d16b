//! HMAC-SHA-256 (RFC 2104) by keys of this service. The only file here that names the library.

use hmac::{Hmac, Mac};
use sha2::Sha256;
use tessera_runtime::secret::Secret;

/// The MAC of the parts, one behind the other.
pub(crate) fn of(key: &[u8], parts: &[&[u8]]) -> Secret<[u8; 32]> {
    let mut tag = [0; 32];
    // A key of any length is taken: the error cannot happen, and a tag of zeros would match none.
    if let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) {
        parts.iter().for_each(|part| mac.update(part));
        tag = mac.finalize().into_bytes().into();
    }
    Secret::new(tag)
}
