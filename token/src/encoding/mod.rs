//! Bytes as text: base64url without padding (RFC 4648 section 5), base64 (section 4), and hexadecimal digits ([`hex`]). Both are decoded in
//! constant time, because keys travel in them.

use alloc::string::String;
use alloc::vec::Vec;

use base64ct::{Base64, Base64UrlUnpadded, Encoding};

pub mod hex;

/// The text of `bytes`.
pub fn base64url(bytes: &[u8]) -> String {
    Base64UrlUnpadded::encode_string(bytes)
}

/// The bytes behind a base64url text without padding; `None` when it is none.
pub fn from_base64url(text: &str) -> Option<Vec<u8>> {
    Base64UrlUnpadded::decode_vec(text).ok()
}

/// The text of `bytes` in base64 with padding (RFC 4648 section 4).
pub fn base64(bytes: &[u8]) -> String {
    Base64::encode_string(bytes)
}
