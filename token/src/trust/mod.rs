//! The trust feed: what verifiers must know, signed by the root key and in one order.
//!
//! A [`Snapshot`] is the whole at one sequence number; an [`Event`] is one change and names the
//! hash of the event before it; a [`Heartbeat`] says that nothing happened since, at a signed
//! time, and answers the [`FeedNonce`] of the reader that asked; [`Evidence`] is what a reader
//! shows a service that knows less than it. Verifiers pin the root key by its thumbprint. Signed bytes are COSE_Sign1; external_aad
//! names the kind, so that one kind can never pass for another.

use alloc::vec::Vec;
use core::fmt;

use crate::cbor::CborError;
use crate::cose;
use crate::hash::sha256;
use crate::key::{Algorithm, PublicKey, SecretKey};
use crate::refusal::RefusalCode;

mod change;
mod event;
mod evidence;
mod nonce;
mod snapshot;
#[cfg(test)]
mod tests;

pub use change::{Change, DeviceEpoch, GroupEpoch, RegisteredKey, RevokedToken};
pub use event::{Event, Feed, Heartbeat};
pub use evidence::{Evidence, Shown};
pub use nonce::FeedNonce;
pub use snapshot::Snapshot;

/// Why a message of the feed is refused. The verifier keeps what it had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrustError {
    /// Not the CBOR of this message.
    Malformed,
    /// Not signed by the pinned root key.
    Signature,
    /// The root key is not the pinned one.
    Root,
    /// The sequence number or the hash of the predecessor does not fit.
    Order,
    /// Larger than the limit.
    TooLarge,
    /// The heartbeat does not answer the reader's nonce: it was made for another, or recorded.
    Nonce,
}

impl fmt::Display for TrustError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "the trust message is malformed",
            Self::Signature => "the trust message is not signed by the root key",
            Self::Root => "the root key is not the pinned one",
            Self::Order => "the trust message does not follow the one before",
            Self::TooLarge => "the trust message is too large",
            Self::Nonce => "the heartbeat does not answer the nonce of this reader",
        })
    }
}

impl core::error::Error for TrustError {}

impl From<CborError> for TrustError {
    fn from(_: CborError) -> Self {
        Self::Malformed
    }
}

/// The name of an event's bytes in the chain: SHA-256. All zero before the first event.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct EventHash([u8; 32]);

impl EventHash {
    /// The hash of an event as signed.
    pub fn of(event: &[u8]) -> Self {
        Self(sha256(event))
    }

    /// A hash from a record.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for EventHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&crate::text::base64url(&self.0))
    }
}

fn seal(payload: Vec<u8>, kind: &str, root: &SecretKey) -> Result<Vec<u8>, RefusalCode> {
    cose::seal(payload, kind.as_bytes(), Algorithm::Ed25519, root)
}

/// The payload of a message of this kind, when the root key signed it.
fn open(bytes: &[u8], kind: &str, root: &PublicKey) -> Result<Vec<u8>, TrustError> {
    let sealed = cose::open(bytes, kind.as_bytes()).map_err(|_| TrustError::Malformed)?;
    if sealed.key_id != root.key_id() || !root.verifies(sealed.signed_bytes(), &sealed.signature) {
        return Err(TrustError::Signature);
    }
    Ok(sealed.payload)
}
