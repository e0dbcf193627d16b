//! RFC 9431, the `mqtt_tls` profile of ACE: what travels in MQTT 5 Authentication Data and in the
//! MQTT 3.1.1 user name, parsed and built byte for byte.
//!
//! | | where | layout |
//! |---|---|---|
//! | a | CONNECT | `u16 length, token, PoP` over the TLS exporter: [`AuthData::Proved`] |
//! | b | CONNECT, AUTH 0x19 | `u16 length, token`: [`AuthData::Token`] |
//! | c | AUTH 0x18 from the broker | [`Nonce`], 8 bytes |
//! | d | AUTH 0x18 from the client | `nonce, PoP` over both nonces: [`Response`] |
//! | 3.1.1 | user name, password | `"ace"` and base64url of the token; raw PoP over the exporter |
//!
//! A PoP is raw: 64 bytes of signature or 32 of HMAC-SHA-256, with no length in front.
//!
//! Beside it our own method [`BOUND_METHOD`], whose answer is bound to audience, client id, token and channel.

use alloc::string::String;
use alloc::vec::Vec;

use crate::encoding;
use crate::limits;
use crate::pop::{Pop, PopKey};
use crate::refusal::RefusalCode;

mod bound;
mod challenge;
#[cfg(test)]
mod tests;

pub use bound::{
    BoundNonce, BoundProof, BoundResponse, Channel, Meant, BINDING_LABEL, BOUND_METHOD,
    BOUND_NONCE_BYTES,
};
pub use challenge::{ChallengeProof, ExporterProof, ExporterSecret, Nonce, Response, NONCE_BYTES};

/// The MQTT 5 Authentication Method, and what a 3.1.1 user name starts with.
pub const METHOD: &str = "ace";
/// `ace_profile` of `mqtt_tls` in CBOR.
pub const PROFILE: u64 = 3;
/// The label of the TLS exporter; its context is present and empty.
pub const EXPORTER_LABEL: &str = "EXPORTER-ACE-MQTT-Sign-Challenge";
/// Bytes to take from the exporter.
pub const EXPORTER_BYTES: usize = 32;
/// The User Property of a CONNACK that tells where tokens come from.
pub const AS_HINT: &str = "ace_as_hint";
/// The topic to which a token may be published before the handshake that uses its key.
pub const AUTHZ_INFO: &str = "authz-info";

/// The answer to a challenge of either method.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    /// RFC 9431.
    Challenge(ChallengeProof),
    /// [`BOUND_METHOD`].
    Bound(BoundProof),
}

impl Answer {
    /// Whether the holder of `key` answered; the RFC's answer says nothing about what it is meant for.
    #[must_use]
    pub fn verifies(&self, key: &PopKey, meant: Meant<'_>) -> bool {
        match self {
            Self::Challenge(proof) => proof.verifies(key),
            Self::Bound(proof) => proof.verifies(key, meant),
        }
    }
}

/// Authentication data of a client in CONNECT or AUTH 0x19. Only its layout is known.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AuthData {
    /// No data, or a token length of 0: the broker may know a token from before, or hint at the AS.
    NoToken,
    /// A token: the broker answers with a challenge.
    Token(Vec<u8>),
    /// A token and the proof over the TLS exporter.
    Proved {
        /// The token.
        token: Vec<u8>,
        /// The proof.
        pop: Pop,
    },
}

impl AuthData {
    /// Takes Authentication Data apart (RFC 9431 section 2.2.4).
    ///
    /// # Errors
    /// `auth_data_malformed` for another layout, `token_too_large` above 4 KiB, `proof_malformed` for
    /// a PoP that is neither 64 nor 32 bytes.
    pub fn parse(data: &[u8]) -> Result<Self, RefusalCode> {
        let malformed = RefusalCode::AuthDataMalformed;
        let Some((length, rest)) = data.split_first_chunk() else {
            return if data.is_empty() { Ok(Self::NoToken) } else { Err(malformed) };
        };
        let length = usize::from(u16::from_be_bytes(*length));
        if length > limits::TOKEN_BYTES {
            return Err(RefusalCode::TokenTooLarge);
        }
        let (token, pop) = rest.split_at_checked(length).ok_or(malformed)?;
        match (token.is_empty(), pop.is_empty()) {
            (true, true) => Ok(Self::NoToken),
            (true, false) => Err(malformed),
            (false, true) => Ok(Self::Token(token.to_vec())),
            (false, false) => {
                Ok(Self::Proved { token: token.to_vec(), pop: Pop::from_bytes(pop)? })
            }
        }
    }

    /// The bytes of layout (a) or (b); none for [`AuthData::NoToken`].
    ///
    /// # Errors
    /// `token_too_large` above 4 KiB.
    pub fn to_bytes(&self) -> Result<Vec<u8>, RefusalCode> {
        let (token, pop): (&[u8], &[u8]) = match self {
            Self::NoToken => return Ok(Vec::new()),
            Self::Token(token) => (token, &[]),
            Self::Proved { token, pop } => (token, pop.as_bytes()),
        };
        if token.len() > limits::TOKEN_BYTES {
            return Err(RefusalCode::TokenTooLarge);
        }
        let length = u16::try_from(token.len()).map_err(|_| RefusalCode::TokenTooLarge)?;
        Ok([&length.to_be_bytes(), token, pop].concat())
    }
}

/// The MQTT 3.1.1 user name that carries a token (RFC 9431 section 6.1).
pub fn to_username(token: &[u8]) -> String {
    [METHOD, &encoding::base64url(token)].concat()
}

/// The token in a 3.1.1 user name; `None` when the user name does not start with `ace`.
///
/// # Errors
/// `credential_malformed` when what follows is not base64url, `token_too_large` above 4 KiB,
/// `credential_missing` when nothing follows.
pub fn from_username(username: &str) -> Result<Option<Vec<u8>>, RefusalCode> {
    let Some(text) = username.strip_prefix(METHOD) else {
        return Ok(None);
    };
    if text.is_empty() {
        return Err(RefusalCode::CredentialMissing);
    }
    if text.len() > limits::TOKEN_BYTES.div_ceil(3) * 4 {
        return Err(RefusalCode::TokenTooLarge);
    }
    encoding::from_base64url(text).map(Some).ok_or(RefusalCode::CredentialMalformed)
}
