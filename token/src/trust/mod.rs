//! The trust feed: what verifiers must know, signed by the root key and in one order.
//!
//! A [`Snapshot`] is the whole at one sequence number; an [`Event`] is one change and names the
//! hash of the event before it; a [`Heartbeat`] says that nothing happened since, at a signed
//! time, and answers the [`FeedNonce`] of the reader that asked; [`Evidence`] is what a reader
//! shows a service that knows less than it. A reader of some tenants gets a [`BoundSnapshot`] of them, and with its events
//! a [`View`], which says that all others are of other tenants. Verifiers pin the root key by its thumbprint, and
//! [`RootLink`]s lead them to another one. Signed bytes are COSE_Sign1; external_aad
//! names the kind, so that one kind can never pass for another.

use alloc::vec::Vec;
use core::fmt;

use crate::cbor::{strict, CborError, Reader, Writer};
use crate::cose;
use crate::hash::sha256;
use crate::key::{Algorithm, PublicKey, SecretKey, Thumbprint};
use crate::refusal::RefusalCode;

mod bound;
mod change;
mod event;
mod evidence;
mod nonce;
mod restraint;
mod roots;
#[cfg(test)]
mod roots_tests;
mod rule;
mod snapshot;
mod tenants;
#[cfg(test)]
mod tests;
mod uplink;
mod view;
#[cfg(test)]
mod view_tests;

pub use bound::{BoundFeed, BoundSnapshot, FeedAnswer};
pub use change::{Change, DeviceEpoch, GroupEpoch, RegisteredKey, RevokedToken};
pub use event::{Event, Feed, Heartbeat};
pub use evidence::{Evidence, Shown};
pub use nonce::FeedNonce;
pub use restraint::{Restraint, Step};
pub use roots::{LinkedSnapshot, RootLink, RootRequest, RootSet, RootStep, Roots};
pub use rule::RuleEntry;
pub use snapshot::Snapshot;
pub use tenants::{TenantSet, TenantSetId};
pub use uplink::{
    Joined, UplinkAnswer, UplinkAsk, UplinkCall, UplinkPage, UplinkPoll, UplinkReport, UplinkStand,
    TRUST_TOPIC, UPLINK_EVENTS_BYTES, UPLINK_HEAD,
};
pub use view::View;

/// Header of a poll: the verifier name under which the reader admits devices.
pub const VERIFIER_HEADER: &str = "tessera-verifier";
/// Header of a poll: the reader's process, 32 hexadecimal digits that are drawn at each start.
pub const READER_HEADER: &str = "tessera-reader";
/// Header of a poll: the number of the root set that the reader trusts; absent for the pinned set. A service whose root set
/// has a higher number answers with `trust_gone`, and the links stand in front of its snapshot.
pub const ROOT_SET_HEADER: &str = "tessera-root-set";
/// Header of a poll: the kind of verifier, [`BROKER`] or [`GATEWAY`]. It is shown to operators and decides nothing.
pub const VERIFIER_KIND_HEADER: &str = "tessera-verifier-kind";
/// The kind of a verifier that serves devices itself.
pub const BROKER: &str = "broker";
/// The kind of a verifier that answers other programs of its machine.
pub const GATEWAY: &str = "gateway";
/// Header of an answer: present while another reader polls under the verifier name of the poll. It is not signed, so it
/// is a warning and decides nothing.
pub const VERIFIER_SHARED_HEADER: &str = "tessera-verifier-shared";

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
    /// It is of other tenants than the reader's.
    Tenants,
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
            Self::Tenants => "the trust message is of other tenants than those of this reader",
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
        f.write_str(&crate::encoding::base64url(&self.0))
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

/// `[root key as COSE_Key, COSE_Sign1]`: a message of this kind beside the key that signed it.
pub(crate) fn seal_beside_root(
    payload: Vec<u8>,
    kind: &str,
    root: &SecretKey,
) -> Result<Vec<u8>, RefusalCode> {
    let sealed = seal(payload, kind, root)?;
    let mut w = Writer::new();
    w.array(2).raw(&root.public().to_cose_key()).bytes(&sealed);
    Ok(w.finish())
}

/// The root key that a snapshot bears. Its signature is not verified.
///
/// # Errors
/// [`TrustError::Malformed`], [`TrustError::Root`].
pub fn root_beside(snapshot: &[u8]) -> Result<PublicKey, TrustError> {
    let mut r = Reader::new(snapshot);
    r.array_of(2)?;
    PublicKey::from_cose_key(r.item()?).map_err(|_| TrustError::Root)
}

/// Payload and key of what [`seal_beside_root`] made, when the key is the pinned one.
pub(crate) fn open_beside_root(
    bytes: &[u8],
    most: usize,
    kind: &str,
    pin: &Thumbprint,
) -> Result<(Vec<u8>, PublicKey), TrustError> {
    if bytes.len() > most {
        return Err(TrustError::TooLarge);
    }
    strict::check(bytes)?;
    let mut r = Reader::new(bytes);
    r.array_of(2)?;
    let root = PublicKey::from_cose_key(r.item()?).map_err(|_| TrustError::Root)?;
    if root.thumbprint() != *pin {
        return Err(TrustError::Root);
    }
    let sealed = r.bytes()?;
    r.end()?;
    Ok((open(sealed, kind, &root)?, root))
}
