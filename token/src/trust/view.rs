use alloc::vec::Vec;

use crate::cbor::{strict, Reader, Writer};
use crate::key::{PublicKey, SecretKey};
use crate::limits;
use crate::refusal::RefusalCode;
use crate::time::UnixSeconds;

use super::{open, seal, Event, EventHash, TenantSet, TenantSetId, TrustError};

const VIEW: &str = "tessera-trust-view-1";

/// A part of the feed as the reader of some tenants sees it: which of the events between two places concern its tenants.
/// The root key vouches for what is left out, so that no sender can hide an event by saying that it is another tenant's.
/// Payload `[set of tenants, after, its hash, seq, its hash, time, [hash, …]]`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct View {
    /// For whom it is.
    pub tenants: TenantSetId,
    /// The number of the event behind which it begins.
    pub after: u64,
    /// The hash of that event.
    pub after_head: EventHash,
    /// The number of the last event that it speaks of, of whichever tenant.
    pub seq: u64,
    /// The hash of that event.
    pub head: EventHash,
    /// When it was made.
    pub time: UnixSeconds,
    /// Every event in it that concerns the tenants, in order.
    pub included: Vec<EventHash>,
}

impl View {
    /// Signs the view.
    ///
    /// # Errors
    /// `internal` when encoding fails.
    pub fn sign(&self, root: &SecretKey) -> Result<Vec<u8>, RefusalCode> {
        let mut w = Writer::new();
        w.array(7).bytes(self.tenants.as_bytes());
        w.uint(self.after).bytes(self.after_head.as_bytes());
        w.uint(self.seq).bytes(self.head.as_bytes());
        w.uint(self.time.get()).array(self.included.len());
        for hash in &self.included {
            w.bytes(hash.as_bytes());
        }
        seal(w.finish(), VIEW, root)
    }

    /// Opens a signed view. Its tenants and its place in the order are for the caller to check.
    ///
    /// # Errors
    /// [`TrustError`]; `Order` when it leads nowhere or names more events than there are places.
    pub fn open(bytes: &[u8], root: &PublicKey) -> Result<Self, TrustError> {
        if bytes.len() > limits::VIEW_BYTES {
            return Err(TrustError::TooLarge);
        }
        let payload = open(bytes, VIEW, root)?;
        strict::check_large(&payload, limits::EVENTS_PER_ANSWER + 16)?;
        let mut r = Reader::new(&payload);
        r.array_of(7)?;
        let tenants = TenantSetId::from_bytes(r.bytes_of()?);
        let (after, after_head) = (r.uint()?, EventHash::from_bytes(r.bytes_of()?));
        let (seq, head) = (r.uint()?, EventHash::from_bytes(r.bytes_of()?));
        let time = UnixSeconds::new(r.uint()?);
        let n = r.array()?;
        if n > limits::EVENTS_PER_ANSWER {
            return Err(TrustError::TooLarge);
        }
        let places = seq.checked_sub(after).filter(|places| *places > 0);
        if places.is_none_or(|places| u64::try_from(n).unwrap_or(u64::MAX) > places) {
            return Err(TrustError::Order);
        }
        let mut included = Vec::with_capacity(n);
        for _ in 0..n {
            included.push(EventHash::from_bytes(r.bytes_of()?));
        }
        r.end()?;
        Ok(Self { tenants, after, after_head, seq, head, time, included })
    }

    /// The included event at `place`, behind the number `after`: signed, the one that the view names there, of one of the
    /// tenants, and within the view.
    ///
    /// # Errors
    /// [`TrustError`].
    pub fn included(
        &self,
        place: usize,
        after: u64,
        bytes: &[u8],
        tenants: &TenantSet,
        root: &PublicKey,
    ) -> Result<Event, TrustError> {
        let hash = EventHash::of(bytes);
        if self.included.get(place) != Some(&hash) {
            return Err(TrustError::Order);
        }
        let event = Event::open(bytes, root)?;
        let within = event.seq > after && event.seq <= self.seq;
        if !within || (event.seq == self.seq && hash != self.head) {
            return Err(TrustError::Order);
        }
        match tenants.contains(event.change.tenant()) {
            true => Ok(event),
            false => Err(TrustError::Tenants),
        }
    }
}
