//! Data that the reader of some tenants gets in the place of a snapshot and of an answer of the feed.

use alloc::vec::Vec;

use crate::cbor::{strict, Reader, Writer};
use crate::key::{PublicKey, SecretKey, Thumbprint};
use crate::limits;
use crate::refusal::RefusalCode;

use super::snapshot::SNAPSHOT_ITEMS;
use super::{open_beside_root, seal_beside_root, Feed, Snapshot, TenantSet, TrustError};

const SNAPSHOT: &str = "tessera-trust-tenants-snapshot-1";

/// A [`Snapshot`] of some tenants. It is a kind of its own: a reader of all tenants takes none.
/// Payload `[[tenant, …], seq, head hash, time, valid until, [change, …]]`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BoundSnapshot {
    /// For whom it is.
    pub tenants: TenantSet,
    /// The trust data that they must know.
    pub snapshot: Snapshot,
}

impl BoundSnapshot {
    /// Signs it and puts the root key in front: CBOR `[root COSE_Key, COSE_Sign1]`.
    ///
    /// # Errors
    /// `internal` when encoding fails.
    pub fn sign(&self, root: &SecretKey) -> Result<Vec<u8>, RefusalCode> {
        let mut w = Writer::new();
        w.array(6);
        self.tenants.write(&mut w);
        self.snapshot.write(&mut w);
        seal_beside_root(w.finish(), SNAPSHOT, root)
    }

    /// Opens a snapshot of the root key with this thumbprint, and tells the key.
    ///
    /// # Errors
    /// [`TrustError`]; `Tenants` when it speaks of a tenant for whom it is not.
    pub fn open(bytes: &[u8], pin: &Thumbprint) -> Result<(Self, PublicKey), TrustError> {
        let (payload, root) = open_beside_root(bytes, limits::SNAPSHOT_BYTES, SNAPSHOT, pin)?;
        strict::check_large(&payload, SNAPSHOT_ITEMS)?;
        let mut r = Reader::new(&payload);
        r.array_of(6)?;
        let tenants = TenantSet::read(&mut r)?;
        let snapshot = Snapshot::read_members(&mut r, payload.len())?;
        r.end()?;
        match snapshot.state.iter().all(|change| tenants.contains(change.tenant())) {
            true => Ok((Self { tenants, snapshot }, root)),
            false => Err(TrustError::Tenants),
        }
    }
}

/// The answer of the feed to the reader of some tenants: `[view, [event, …], heartbeat]`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BoundFeed {
    /// The signed view; empty when nothing happened since the place that was asked for.
    pub view: Vec<u8>,
    /// The signed events that the view includes, in order, and the signed heartbeat of the service's head.
    pub feed: Feed,
}

impl BoundFeed {
    /// As CBOR.
    pub fn to_cbor(&self) -> Vec<u8> {
        let mut w = Writer::new();
        w.array(3).bytes(&self.view);
        self.feed.write(&mut w);
        w.finish()
    }
}

/// An answer of the feed, of either kind. Nothing is verified yet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FeedAnswer {
    /// For a reader of all tenants.
    All(Feed),
    /// For a reader of some.
    Bound(BoundFeed),
}

impl FeedAnswer {
    /// Reads it.
    ///
    /// # Errors
    /// [`TrustError::Malformed`], [`TrustError::TooLarge`].
    pub fn from_cbor(bytes: &[u8]) -> Result<Self, TrustError> {
        // The first byte of an array of three, of which the strict form has one.
        if bytes.first() != Some(&0x83) {
            return Feed::from_cbor(bytes).map(Self::All);
        }
        Feed::check(bytes)?;
        let mut r = Reader::new(bytes);
        r.array_of(3)?;
        let view = r.bytes()?.to_vec();
        let feed = Feed::read(&mut r)?;
        r.end()?;
        Ok(Self::Bound(BoundFeed { view, feed }))
    }
}
