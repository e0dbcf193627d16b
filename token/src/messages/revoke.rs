//! The request of a device that ends a token of its own: `POST /revoke` (RFC 7009).

use alloc::vec::Vec;

use super::error::{in_member, required, Bad};
use super::labels::*;
use super::{body, label, pairs, MessageError};
use crate::cbor::{Reader, Writer};
use crate::hash::TokenHash;
use crate::key::{PublicKey, SecretKey, SIGNATURE_BYTES};
use crate::time::UnixSeconds;

const CONTEXT: &str = "tessera-revoke-1";
/// The same message, by which a device asks for the revoked ones among its tokens.
const CONTEXT_LIST: &str = "tessera-trl-1";

/// A device shows its token, and proves its key. The same request once more changes nothing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RevokeRequest {
    /// The token that ends.
    pub token: Vec<u8>,
    /// The device's clock.
    pub time: UnixSeconds,
    /// The device key's signature.
    pub signature: [u8; SIGNATURE_BYTES],
}

impl RevokeRequest {
    /// Makes and signs a request.
    pub fn sign(key: &SecretKey, token: &[u8], time: UnixSeconds) -> Self {
        let mut request = Self { token: token.to_vec(), time, signature: [0; SIGNATURE_BYTES] };
        request.signature = key.sign(&request.signed_bytes(CONTEXT, &key.public()));
        request
    }

    /// The same message as a request for the list of revoked tokens (`GET /revoke/trl`): it ends nothing.
    pub fn sign_list(key: &SecretKey, token: &[u8], time: UnixSeconds) -> Self {
        let mut request = Self { token: token.to_vec(), time, signature: [0; SIGNATURE_BYTES] };
        request.signature = key.sign(&request.signed_bytes(CONTEXT_LIST, &key.public()));
        request
    }

    /// Whether the holder of `key` made this request.
    #[must_use]
    pub fn verifies(&self, key: &PublicKey) -> bool {
        key.verifies(&self.signed_bytes(CONTEXT, key), &self.signature)
    }

    /// Whether the holder of `key` asked for the list by it.
    #[must_use]
    pub fn verifies_list(&self, key: &PublicKey) -> bool {
        key.verifies(&self.signed_bytes(CONTEXT_LIST, key), &self.signature)
    }

    fn signed_bytes(&self, context: &str, key: &PublicKey) -> Vec<u8> {
        let mut w = Writer::new();
        w.array(4)
            .text(context)
            .bytes(TokenHash::of(&self.token).as_bytes())
            .bytes(key.thumbprint().as_bytes())
            .uint(self.time.get());
        w.finish()
    }

    /// As `application/ace+cbor`.
    pub fn to_cbor(&self) -> Vec<u8> {
        let mut w = Writer::new();
        w.map(3)
            .int(TOKEN)
            .bytes(&self.token)
            .int(IAT)
            .uint(self.time.get())
            .int(SIGNATURE)
            .bytes(&self.signature);
        w.finish()
    }

    /// Reads it; nothing is verified yet.
    ///
    /// # Errors
    /// [`MessageError`].
    pub fn from_cbor(bytes: &[u8]) -> Result<Self, MessageError> {
        let body = body(bytes)?;
        let mut r = Reader::new(&body);
        let (mut token, mut time, mut signature) = (None, None, None);
        for _ in 0..pairs(&mut r)? {
            let label = label(&mut r)?;
            let mut read = || -> Result<(), Bad> {
                match label {
                    Some(TOKEN) => token = Some(r.bytes()?),
                    Some(IAT) => time = Some(r.uint()?),
                    Some(SIGNATURE) => signature = Some(r.bytes_of()?),
                    _ => r.skip()?,
                }
                Ok(())
            };
            in_member(label, read())?;
        }
        Ok(Self {
            token: required(TOKEN, token)?.to_vec(),
            time: UnixSeconds::new(required(IAT, time)?),
            signature: required(SIGNATURE, signature)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_good_for_its_token_its_time_and_its_key_alone() {
        let key = SecretKey::from_seed(&[7; 32]);
        let made = RevokeRequest::sign(&key, b"token", UnixSeconds::new(9));
        let read = RevokeRequest::from_cbor(&made.to_cbor()).unwrap();
        assert_eq!(read, made);
        assert!(read.verifies(&key.public()));
        assert!(!read.verifies(&SecretKey::from_seed(&[8; 32]).public()));
        let others = [
            RevokeRequest { token: b"other".to_vec(), ..made.clone() },
            RevokeRequest { time: UnixSeconds::new(10), ..made.clone() },
        ];
        assert!(others.iter().all(|other| !other.verifies(&key.public())));
        assert!(RevokeRequest::from_cbor(&made.to_cbor()[..20]).is_err());
        // A request for the list ends no token, and the other way round.
        let listed = RevokeRequest::sign_list(&key, b"token", UnixSeconds::new(9));
        assert!(listed.verifies_list(&key.public()) && !listed.verifies(&key.public()));
        assert!(!made.verifies_list(&key.public()));
    }
}
