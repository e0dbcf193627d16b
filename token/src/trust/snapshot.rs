use alloc::vec::Vec;

use crate::cbor::{strict, Reader, Writer};
use crate::key::{PublicKey, SecretKey, Thumbprint};
use crate::limits;
use crate::refusal::RefusalCode;
use crate::time::UnixSeconds;

use super::{open_beside_root, seal_beside_root, Change, EventHash, TrustError};

const SNAPSHOT: &str = "tessera-trust-snapshot-1";
/// CBOR items of a snapshot: each change is at most 9.
pub(super) const SNAPSHOT_ITEMS: usize = 16 * 1024 * 1024;

/// Everything a verifier must know, at one sequence number.
/// Payload `[seq, head hash, time, valid until, [change, …]]`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Snapshot {
    /// The version: the number of the newest event that is in it.
    pub seq: u64,
    /// That event's hash.
    pub head: EventHash,
    /// When it was made.
    pub time: UnixSeconds,
    /// When it must not be taken any more.
    pub valid_until: UnixSeconds,
    /// The state, as the changes that make it.
    pub state: Vec<Change>,
}

impl Snapshot {
    /// Signs it and puts the root key in front: CBOR `[root COSE_Key, COSE_Sign1]`.
    ///
    /// # Errors
    /// `internal` when encoding fails.
    pub fn sign(&self, root: &SecretKey) -> Result<Vec<u8>, RefusalCode> {
        let mut w = Writer::new();
        w.array(5);
        self.write(&mut w);
        seal_beside_root(w.finish(), SNAPSHOT, root)
    }

    /// Appends its five members.
    pub(super) fn write(&self, w: &mut Writer) {
        w.uint(self.seq).bytes(self.head.as_bytes());
        w.uint(self.time.get()).uint(self.valid_until.get());
        w.array(self.state.len());
        for change in &self.state {
            change.write(w);
        }
    }

    /// Opens a snapshot of the root key with this thumbprint, and tells the key.
    ///
    /// # Errors
    /// [`TrustError`].
    pub fn open(bytes: &[u8], pin: &Thumbprint) -> Result<(Self, PublicKey), TrustError> {
        let (payload, root) = open_beside_root(bytes, limits::SNAPSHOT_BYTES, SNAPSHOT, pin)?;
        Ok((Self::read(&payload)?, root))
    }

    fn read(payload: &[u8]) -> Result<Self, TrustError> {
        strict::check_large(payload, SNAPSHOT_ITEMS)?;
        let mut r = Reader::new(payload);
        r.array_of(5)?;
        let snapshot = Self::read_members(&mut r, payload.len())?;
        r.end()?;
        Ok(snapshot)
    }

    /// Reads what [`Self::write`] wrote, from a payload of so many bytes.
    pub(super) fn read_members(r: &mut Reader<'_>, bytes: usize) -> Result<Self, TrustError> {
        let (seq, head) = (r.uint()?, EventHash::from_bytes(r.bytes_of()?));
        let (time, valid_until) = (UnixSeconds::new(r.uint()?), UnixSeconds::new(r.uint()?));
        let n = r.array()?;
        let mut state = Vec::with_capacity(n.min(bytes / 8));
        for _ in 0..n {
            state.push(Change::read(r)?);
        }
        Ok(Self { seq, head, time, valid_until, state })
    }
}
