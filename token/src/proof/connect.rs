//! The connect proof: shows possession of the key in `cnf` in one MQTT 3.1.1 password.
//!
//! Password = token, then a CBOR byte string of 72 bytes: time (u32 BE), counter (u32 BE), signature
//! over `["tessera-connect-1", verifier, client id, SHA-256(token), time, counter]`. A symmetric key or a
//! resumption secret puts an HMAC-SHA-256 in the place of the signature, 40 bytes in all.
//!
//! `verifier` is the name of the one verifier that the proof is for: its audience, unless it is given a
//! name of its own ([`crate::ids::VerifierName`]). A proof says nothing at a verifier of another name.

use alloc::vec::Vec;

use super::place::{short_time, Place};
use super::{Pop, PopKey, ResumptionSecret, MAC_BYTES};
use crate::cbor::Writer;
use crate::hash::sha256;
use crate::key::{PublicKey, SecretKey, SIGNATURE_BYTES};
use crate::refusal::RefusalCode;
use crate::time::UnixSeconds;

const CONTEXT: &str = "tessera-connect-1";
const FIXED: usize = 8;
/// Bytes of a proof with a signature.
pub const PROOF_BYTES: usize = FIXED + SIGNATURE_BYTES;
/// Bytes of a proof with a MAC.
pub const PROOF_BYTES_MAC: usize = FIXED + MAC_BYTES;

/// A proof as it stands in the password; its signature or MAC is not checked yet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConnectProof {
    /// When the device made it, by its own clock.
    pub time: UnixSeconds,
    /// The device's counter: rises with each proof of one second.
    pub counter: u32,
    pop: Pop,
}

impl ConnectProof {
    /// Makes a proof for one CONNECT at the verifier of this name. Its [`Place`] must be above every earlier one of this key and client id.
    ///
    /// ```
    /// use tessera_token::key::SecretKey;
    /// use tessera_token::proof::{ConnectProof, Credential};
    /// use tessera_token::time::UnixSeconds;
    ///
    /// let key = SecretKey::from_seed(&[3; 32]); // the device's own key, drawn once
    /// let token = vec![0xd8; 221]; // as provisioning sent it; a real one is a CWT
    /// let now = UnixSeconds::new(1_790_000_000);
    /// let proof = ConnectProof::make(&key, "mqtt", "d-17", &token, now, 1);
    /// assert!(proof.verifies(&key.public(), "mqtt", "d-17", &token));
    /// assert!(!proof.verifies(&key.public(), "mqtt", "d-18", &token), "another client id");
    ///
    /// // The password of CONNECT: the token, then a CBOR byte string of 72 bytes.
    /// let password = Credential { token, proof: Some(proof) }.to_password();
    /// assert_eq!(password.len(), 221 + 2 + 72);
    /// ```
    pub fn make(
        key: &SecretKey,
        verifier: &str,
        client_id: &str,
        token: &[u8],
        time: UnixSeconds,
        counter: u32,
    ) -> Self {
        let sign = |message: &[u8]| Pop::Signature(key.sign(message));
        Self::make_by(sign, verifier, client_id, token, time, counter)
    }

    /// As [`ConnectProof::make`], by the secret of an earlier connection with this very token.
    pub fn resume(
        secret: &ResumptionSecret,
        verifier: &str,
        client_id: &str,
        token: &[u8],
        time: UnixSeconds,
        counter: u32,
    ) -> Self {
        let sign = |message: &[u8]| Pop::Mac(secret.mac(message));
        Self::make_by(sign, verifier, client_id, token, time, counter)
    }

    /// As [`ConnectProof::make`], by whatever signs: a secure element, or [`super::SymmetricKey::prove`].
    pub fn make_by(
        sign: impl FnOnce(&[u8]) -> Pop,
        verifier: &str,
        client_id: &str,
        token: &[u8],
        time: UnixSeconds,
        counter: u32,
    ) -> Self {
        let message = signed_bytes(verifier, client_id, token, time, counter);
        Self { time, counter, pop: sign(&message) }
    }

    /// Whether the holder of `key` made this proof for this token and client id.
    #[must_use]
    pub fn verifies(&self, key: &PublicKey, verifier: &str, client_id: &str, token: &[u8]) -> bool {
        let message = signed_bytes(verifier, client_id, token, self.time, self.counter);
        self.pop.is_by(key, &message)
    }

    /// As [`ConnectProof::verifies`], for a key of either kind.
    #[must_use]
    pub fn verifies_by(&self, key: &PopKey, verifier: &str, client_id: &str, token: &[u8]) -> bool {
        let message = signed_bytes(verifier, client_id, token, self.time, self.counter);
        key.verifies(&message, &self.pop)
    }

    /// Whether the holder of this secret made this proof for this token and client id.
    #[must_use]
    pub fn resumes(
        &self,
        secret: &ResumptionSecret,
        verifier: &str,
        client_id: &str,
        token: &[u8],
    ) -> bool {
        let Pop::Mac(mac) = &self.pop else {
            return false;
        };
        let message = signed_bytes(verifier, client_id, token, self.time, self.counter);
        secret.verifies(&message, mac)
    }

    /// Its place among the proofs of its key and client id.
    pub fn place(&self) -> Place {
        Place::new(self.time, self.counter)
    }

    /// Whether it carries a MAC and not a signature.
    pub fn has_mac(&self) -> bool {
        matches!(self.pop, Pop::Mac(_))
    }

    pub(super) fn from_tail(tail: &[u8]) -> Result<Option<Self>, RefusalCode> {
        const SIGNED: u8 = PROOF_BYTES as u8;
        const MACED: u8 = PROOF_BYTES_MAC as u8;
        let body = match tail {
            [] => return Ok(None),
            [0x58, SIGNED, body @ ..] if body.len() == PROOF_BYTES => body,
            [0x58, MACED, body @ ..] if body.len() == PROOF_BYTES_MAC => body,
            _ => return Err(RefusalCode::ProofMalformed),
        };
        let [t0, t1, t2, t3, c0, c1, c2, c3, pop @ ..] = body else {
            return Err(RefusalCode::ProofMalformed);
        };
        Ok(Some(Self {
            time: UnixSeconds::new(u64::from(u32::from_be_bytes([*t0, *t1, *t2, *t3]))),
            counter: u32::from_be_bytes([*c0, *c1, *c2, *c3]),
            pop: Pop::from_bytes(pop)?,
        }))
    }

    pub(super) fn to_tail(&self) -> Vec<u8> {
        let mut body = Vec::with_capacity(PROOF_BYTES);
        body.extend_from_slice(&short_time(self.time).to_be_bytes());
        body.extend_from_slice(&self.counter.to_be_bytes());
        body.extend_from_slice(self.pop.as_bytes());
        let mut w = Writer::new();
        w.bytes(&body);
        w.finish()
    }
}

fn signed_bytes(
    verifier: &str,
    client_id: &str,
    token: &[u8],
    time: UnixSeconds,
    counter: u32,
) -> Vec<u8> {
    let mut w = Writer::new();
    w.array(6)
        .text(CONTEXT)
        .text(verifier)
        .text(client_id)
        .bytes(&sha256(token))
        .uint(u64::from(short_time(time)))
        .uint(u64::from(counter));
    w.finish()
}
