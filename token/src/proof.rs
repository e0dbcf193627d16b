//! The connect proof: shows possession of the key in `cnf` in one MQTT 3.1.1 password.
//!
//! Password = token, then a CBOR byte string of 72 bytes: time (u32 BE), counter (u32 BE), Ed25519
//! signature over `["tessera-connect-1", aud, client id, SHA-256(token), time, counter]`.

use alloc::borrow::Cow;
use alloc::vec::Vec;

use crate::cbor::Writer;
use crate::cose;
use crate::hash::sha256;
use crate::key::{PublicKey, SecretKey, SIGNATURE_BYTES};
use crate::limits;
use crate::refusal::RefusalCode;
use crate::text;
use crate::time::UnixSeconds;

const CONTEXT: &str = "tessera-connect-1";
/// Bytes of the proof itself.
pub const PROOF_BYTES: usize = 8 + SIGNATURE_BYTES;

/// A proof as it stands in the password; its signature is not checked yet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConnectProof {
    /// When the device made it, by its own clock.
    pub time: UnixSeconds,
    /// The device's counter: strictly increasing per key.
    pub counter: u32,
    signature: [u8; SIGNATURE_BYTES],
}

/// What a password holds: a token and maybe a proof.
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
        .and_then(text::from_base64url)
        .map(Cow::Owned)
        .ok_or(RefusalCode::CredentialMalformed)
}

impl ConnectProof {
    /// Makes a proof for one CONNECT. `counter` must be above every earlier one of this key.
    pub fn make(
        key: &SecretKey,
        audience: &str,
        client_id: &str,
        token: &[u8],
        time: UnixSeconds,
        counter: u32,
    ) -> Self {
        let message = signed_bytes(audience, client_id, token, time, counter);
        Self { time, counter, signature: key.sign(&message) }
    }

    /// Whether the holder of `key` made this proof for this token and client id.
    #[must_use]
    pub fn verifies(&self, key: &PublicKey, audience: &str, client_id: &str, token: &[u8]) -> bool {
        let message = signed_bytes(audience, client_id, token, self.time, self.counter);
        key.verifies(&message, &self.signature)
    }

    fn from_tail(tail: &[u8]) -> Result<Option<Self>, RefusalCode> {
        if tail.is_empty() {
            return Ok(None);
        }
        let body = tail.strip_prefix(&[0x58, PROOF_BYTES as u8]);
        let body: &[u8; PROOF_BYTES] =
            body.and_then(|b| b.try_into().ok()).ok_or(RefusalCode::ProofMalformed)?;
        let [t0, t1, t2, t3, c0, c1, c2, c3, signature @ ..] = *body;
        Ok(Some(Self {
            time: UnixSeconds::new(u64::from(u32::from_be_bytes([t0, t1, t2, t3]))),
            counter: u32::from_be_bytes([c0, c1, c2, c3]),
            signature,
        }))
    }

    fn to_tail(&self) -> Vec<u8> {
        let mut body = Vec::with_capacity(PROOF_BYTES);
        body.extend_from_slice(&short_time(self.time).to_be_bytes());
        body.extend_from_slice(&self.counter.to_be_bytes());
        body.extend_from_slice(&self.signature);
        let mut w = Writer::new();
        w.bytes(&body);
        w.finish()
    }
}

/// The wire holds 32 bits, which last until 2106.
fn short_time(time: UnixSeconds) -> u32 {
    u32::try_from(time.get()).unwrap_or(u32::MAX)
}

fn signed_bytes(
    audience: &str,
    client_id: &str,
    token: &[u8],
    time: UnixSeconds,
    counter: u32,
) -> Vec<u8> {
    let mut w = Writer::new();
    w.array(6)
        .text(CONTEXT)
        .text(audience)
        .text(client_id)
        .bytes(&sha256(token))
        .uint(u64::from(short_time(time)))
        .uint(u64::from(counter));
    w.finish()
}
