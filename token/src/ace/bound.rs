//! Our own method beside RFC 9431: a challenge whose answer is bound to what it is meant for.
//!
//! The RFC's answer covers two nonces and nothing else, so an attacker between a client and a broker can
//! pass the broker's nonce on and use the answer for another token of the same key, or another client id.
//! Here the client signs the deterministic CBOR array
//!
//! `["tessera-ace-1", audience, client id, bstr SHA-256(token), bstr channel, bstr broker nonce, bstr client nonce]`
//!
//! | where | layout |
//! |---|---|
//! | CONNECT, AUTH 0x19 | `u16 length, token`, as in the RFC |
//! | AUTH 0x18 from the broker | [`BoundNonce`], 16 bytes |
//! | AUTH 0x18 from the client | `nonce (16), PoP (64 or 32)`: [`BoundResponse`] |
//!
//! `channel` is the channel binding `tls-exporter` of RFC 9266, and empty in clear. The client takes the audience that
//! its issuer told it with the token, never one from the broker.

use alloc::vec::Vec;

use super::{ExporterSecret, EXPORTER_BYTES};
use crate::cbor::Writer;
use crate::hash::sha256;
use crate::pop::{Pop, PopKey};
use crate::refusal::RefusalCode;

/// The MQTT 5 Authentication Method, and the context of what is signed.
pub const BOUND_METHOD: &str = "tessera-ace-1";
/// The label of the TLS exporter (RFC 9266); its context is present and empty.
pub const BINDING_LABEL: &str = "EXPORTER-Channel-Binding";
/// Bytes of either nonce.
pub const BOUND_NONCE_BYTES: usize = 16;

/// The broker's or the client's nonce: fresh from a good source of randomness, used once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BoundNonce([u8; BOUND_NONCE_BYTES]);

impl BoundNonce {
    /// Sixteen fresh random bytes.
    pub const fn from_bytes(bytes: [u8; BOUND_NONCE_BYTES]) -> Self {
        Self(bytes)
    }

    /// The broker's nonce as it stands in AUTH 0x18.
    ///
    /// # Errors
    /// `auth_data_malformed` when it is not 16 bytes.
    pub fn parse(data: &[u8]) -> Result<Self, RefusalCode> {
        data.try_into().map(Self).map_err(|_| RefusalCode::AuthDataMalformed)
    }

    /// The bytes.
    pub const fn as_bytes(&self) -> &[u8; BOUND_NONCE_BYTES] {
        &self.0
    }
}

/// The channel of the exchange.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Channel {
    /// Nothing that could be bound: plain TCP. An answer that was made for it is good on no TLS connection.
    Clear,
    /// TLS, by what its exporter gave for [`BINDING_LABEL`].
    Tls(ExporterSecret),
}

impl Channel {
    fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Clear => &[],
            Self::Tls(exporter) => exporter.as_bytes(),
        }
    }
}

/// The purpose of an answer.
#[derive(Clone, Copy)]
pub struct Meant<'a> {
    /// The verifier, by the `aud` of the token.
    pub audience: &'a str,
    /// The client id of the CONNECT.
    pub client_id: &'a str,
    /// The token's bytes.
    pub token: &'a [u8],
}

/// The client's answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BoundResponse {
    /// The client's nonce.
    pub nonce: BoundNonce,
    /// The proof.
    pub pop: Pop,
}

impl BoundResponse {
    /// Signs, by whatever signs.
    pub fn make_by(
        sign: impl FnOnce(&[u8]) -> Pop,
        meant: Meant<'_>,
        channel: &Channel,
        broker: BoundNonce,
        client: BoundNonce,
    ) -> Self {
        Self { nonce: client, pop: sign(&signed_bytes(meant, channel, broker, client)) }
    }

    /// Takes Authentication Data apart.
    ///
    /// # Errors
    /// `auth_data_malformed` when it is not 16 bytes and a PoP of 64 or 32.
    pub fn parse(data: &[u8]) -> Result<Self, RefusalCode> {
        let malformed = RefusalCode::AuthDataMalformed;
        let (nonce, pop) = data.split_first_chunk().ok_or(malformed)?;
        let pop = Pop::from_bytes(pop).map_err(|_| malformed)?;
        Ok(Self { nonce: BoundNonce(*nonce), pop })
    }

    /// The bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        [self.nonce.as_bytes(), self.pop.as_bytes()].concat()
    }
}

/// The parts of the proof: the broker's nonce and channel of *this* connection, and the answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BoundProof {
    /// The nonce that the broker sent.
    pub broker: BoundNonce,
    /// The channel at the broker's end of the connection.
    pub channel: Channel,
    /// The client's answer.
    pub response: BoundResponse,
}

impl BoundProof {
    /// Whether the holder of `key` answered, for exactly this.
    #[must_use]
    pub fn verifies(&self, key: &PopKey, meant: Meant<'_>) -> bool {
        let message = signed_bytes(meant, &self.channel, self.broker, self.response.nonce);
        key.verifies(&message, &self.response.pop)
    }
}

fn signed_bytes(
    meant: Meant<'_>,
    channel: &Channel,
    broker: BoundNonce,
    client: BoundNonce,
) -> Vec<u8> {
    let mut w = Writer::new();
    w.array(7)
        .text(BOUND_METHOD)
        .text(meant.audience)
        .text(meant.client_id)
        .bytes(&sha256(meant.token))
        .bytes(channel.as_bytes())
        .bytes(broker.as_bytes())
        .bytes(client.as_bytes());
    w.finish()
}

const _: () = assert!(EXPORTER_BYTES == 32, "RFC 9266 section 2");
