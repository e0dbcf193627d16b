use alloc::vec::Vec;
use core::fmt;

use zeroize::Zeroizing;

use super::EXPORTER_BYTES;
use crate::key::SecretKey;
use crate::pop::{Pop, PopKey};
use crate::refusal::RefusalCode;

/// Bytes of either nonce.
pub const NONCE_BYTES: usize = 8;

/// The broker's or the client's nonce: fresh from a good source of randomness, used once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Nonce([u8; NONCE_BYTES]);

impl Nonce {
    /// Eight fresh random bytes.
    pub const fn from_bytes(bytes: [u8; NONCE_BYTES]) -> Self {
        Self(bytes)
    }

    /// The broker's nonce as it stands in AUTH 0x18, layout (c).
    ///
    /// # Errors
    /// `auth_data_malformed` when it is not 8 bytes.
    pub fn parse(data: &[u8]) -> Result<Self, RefusalCode> {
        data.try_into().map(Self).map_err(|_| RefusalCode::AuthDataMalformed)
    }

    /// The bytes.
    pub const fn as_bytes(&self) -> &[u8; NONCE_BYTES] {
        &self.0
    }
}

/// The client's answer to a challenge, layout (d).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Response {
    /// The client's nonce.
    pub nonce: Nonce,
    /// The proof over both nonces.
    pub pop: Pop,
}

impl Response {
    /// Signs both nonces.
    pub fn make(key: &SecretKey, broker: Nonce, client: Nonce) -> Self {
        Self::make_by(|message| Pop::Signature(key.sign(message)), broker, client)
    }

    /// As [`Response::make`], by whatever signs.
    pub fn make_by(sign: impl FnOnce(&[u8]) -> Pop, broker: Nonce, client: Nonce) -> Self {
        Self { nonce: client, pop: sign(&signed_bytes(broker, client)) }
    }

    /// Takes Authentication Data apart.
    ///
    /// # Errors
    /// `auth_data_malformed` when it is not 8 bytes and a PoP of 64 or 32.
    pub fn parse(data: &[u8]) -> Result<Self, RefusalCode> {
        let malformed = RefusalCode::AuthDataMalformed;
        let (nonce, pop) = data.split_first_chunk().ok_or(malformed)?;
        let pop = Pop::from_bytes(pop).map_err(|_| malformed)?;
        Ok(Self { nonce: Nonce(*nonce), pop })
    }

    /// The bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        [self.nonce.as_bytes(), self.pop.as_bytes()].concat()
    }
}

/// Bytes that are proved by challenge and response: the broker's nonce of *this* connection and the answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ChallengeProof {
    /// The nonce that the broker sent.
    pub broker: Nonce,
    /// The client's answer.
    pub response: Response,
}

impl ChallengeProof {
    /// Whether the holder of `key` answered.
    #[must_use]
    pub fn verifies(&self, key: &PopKey) -> bool {
        let message = signed_bytes(self.broker, self.response.nonce);
        key.verifies(&message, &self.response.pop)
    }
}

/// RS nonce, then client nonce; no hash, no context.
fn signed_bytes(broker: Nonce, client: Nonce) -> [u8; 2 * NONCE_BYTES] {
    let mut message = [0; 2 * NONCE_BYTES];
    for (to, from) in message.iter_mut().zip(broker.0.into_iter().chain(client.0)) {
        *to = from;
    }
    message
}

/// The 32 bytes that both ends of a TLS connection take from its exporter. Not printed.
#[derive(Clone, PartialEq, Eq)]
pub struct ExporterSecret(Zeroizing<[u8; EXPORTER_BYTES]>);

impl ExporterSecret {
    /// The output of the exporter for [`super::EXPORTER_LABEL`] and an empty context, never of a resumed
    /// TLS session, and once per connection; or for [`super::BINDING_LABEL`].
    pub fn from_bytes(bytes: &[u8; EXPORTER_BYTES]) -> Self {
        Self(Zeroizing::new(*bytes))
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &*self.0
    }

    /// Makes the proof of layout (a) and of the 3.1.1 password, by whatever signs.
    pub fn prove_by(&self, sign: impl FnOnce(&[u8]) -> Pop) -> Pop {
        sign(&*self.0)
    }
}

impl fmt::Debug for ExporterSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ExporterSecret")
    }
}

/// Proof over the TLS exporter.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ExporterProof {
    /// The exporter value of the broker's end of the connection.
    pub exporter: ExporterSecret,
    /// The proof.
    pub pop: Pop,
}

impl ExporterProof {
    /// Whether the holder of `key` proved it on this connection.
    #[must_use]
    pub fn verifies(&self, key: &PopKey) -> bool {
        key.verifies(&*self.exporter.0, &self.pop)
    }
}
