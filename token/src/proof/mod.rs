//! Proof of possession: who may carry a token.
//!
//! [`Proof`] is one of the ways a peer proves the key of a token. The connect proof lives in an
//! MQTT password ([`Credential`]); the two of RFC 9431 come from [`crate::ace`]; the resumption
//! secret stands in for the signature of a connect proof. A symmetric key in the place of a public one follows from
//! the token itself ([`DerivationKey`]).

use alloc::borrow::Cow;
use alloc::vec::Vec;

use crate::ace::{Answer, BoundProof, ChallengeProof, ExporterProof};
use crate::cose;
use crate::encoding;
use crate::key::Thumbprint;
use crate::limits;
use crate::refusal::RefusalCode;

mod connect;
mod place;
mod resume;
#[cfg(test)]
mod tests;

pub(crate) use crate::pop::symmetric_name;
pub use crate::pop::{
    DerivationId, DerivationKey, DerivationKeys, DerivationKeysError, Derived, Pop, PopKey,
    SymmetricKey, MAC_BYTES,
};
pub use connect::{ConnectProof, PROOF_BYTES, PROOF_BYTES_MAC};
pub use place::Place;
pub use resume::{ResumptionSecret, TicketId, TicketKey};

/// How a peer shows that it holds the key of a token. Nothing in it is verified yet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Proof {
    /// Not at all: a bearer token, where the tenant allows it.
    None,
    /// A connect proof, by the key or by a resumption secret.
    Connect(ConnectProof),
    /// RFC 9431 challenge and response.
    Challenge(ChallengeProof),
    /// The challenge and response of our own method.
    Bound(BoundProof),
    /// RFC 9431 over the TLS exporter.
    Exporter(ExporterProof),
    /// The TLS handshake was made with the key of this thumbprint: a raw public key, or the key of
    /// a certificate.
    TlsKey(Thumbprint),
}

impl From<Answer> for Proof {
    fn from(answer: Answer) -> Self {
        match answer {
            Answer::Challenge(proof) => Self::Challenge(proof),
            Answer::Bound(proof) => Self::Bound(proof),
        }
    }
}

/// A token as it was presented, and what is to prove it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Presented {
    /// The token's bytes.
    pub token: Vec<u8>,
    /// The proof.
    pub proof: Proof,
}

impl From<Credential> for Presented {
    fn from(credential: Credential) -> Self {
        let proof = credential.proof.map_or(Proof::None, Proof::Connect);
        Self { token: credential.token, proof }
    }
}

/// Contents of a password: a token and maybe a proof.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Credential {
    /// The token's bytes; only their outer shape is known.
    pub token: Vec<u8>,
    /// The proof, when there is one.
    pub proof: Option<ConnectProof>,
}

impl Credential {
    /// Takes a password apart. Raw bytes and base64url text are both understood.
    ///
    /// # Errors
    /// `credential_missing`, `credential_malformed`, `token_too_large`, `token_malformed`,
    /// `token_form`, `proof_malformed`.
    pub fn from_password(password: &[u8]) -> Result<Self, RefusalCode> {
        if password.is_empty() {
            return Err(RefusalCode::CredentialMissing);
        }
        if password.len() > limits::PASSWORD_BYTES {
            return Err(RefusalCode::TokenTooLarge);
        }
        let raw = raw_bytes(password)?;
        let end = match cose::token_end(&raw) {
            Ok(end) => end,
            Err(_) if raw.len() > limits::TOKEN_BYTES => return Err(RefusalCode::TokenTooLarge),
            Err(code) => return Err(code),
        };
        if end > limits::TOKEN_BYTES {
            return Err(RefusalCode::TokenTooLarge);
        }
        let (token, rest) = raw.split_at_checked(end).ok_or(RefusalCode::TokenMalformed)?;
        Ok(Self { token: token.to_vec(), proof: ConnectProof::from_tail(rest)? })
    }

    /// The password as raw bytes.
    pub fn to_password(&self) -> Vec<u8> {
        let mut password = self.token.clone();
        if let Some(proof) = &self.proof {
            password.extend_from_slice(&proof.to_tail());
        }
        password
    }
}

fn raw_bytes(password: &[u8]) -> Result<Cow<'_, [u8]>, RefusalCode> {
    // A token starts with 0xd8, which is no base64url character: the two forms cannot be confused.
    let is_text = password.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
    if !is_text {
        return Ok(Cow::Borrowed(password));
    }
    core::str::from_utf8(password)
        .ok()
        .and_then(encoding::from_base64url)
        .map(Cow::Owned)
        .ok_or(RefusalCode::CredentialMalformed)
}
