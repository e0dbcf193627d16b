use alloc::vec::Vec;

use crate::cbor::{loose, Reader, Writer};
use crate::key::PublicKey;
use crate::limits;

use super::{Change, Event, EventHash, Heartbeat, Snapshot, TrustError};

/// Data that a reader shows a service that knows less than it, or another past: a service that was restored from an older
/// copy. Everything in it is signed by the root key, so a reader can show what was said and make nothing up.
/// CBOR `[snapshot, [event, …], heartbeat]`; an empty byte string stands for what the reader does not have.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Evidence {
    /// The snapshot that the reader began with, as [`Snapshot::sign`] made it.
    pub snapshot: Vec<u8>,
    /// The signed events behind it.
    pub events: Vec<Vec<u8>>,
    /// The newest heartbeat that answered the reader.
    pub heartbeat: Vec<u8>,
}

/// Contents of evidence, verified.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Shown {
    /// The largest number that the root key signed.
    pub seq: u64,
    /// The hash of the event of that number.
    pub head: EventHash,
    /// Every number that was signed, with the hash of its event: they tell where two lines part.
    pub marks: Vec<(u64, EventHash)>,
    /// The events, in order.
    pub changes: Vec<Change>,
}

impl Evidence {
    /// As CBOR.
    pub fn to_cbor(&self) -> Vec<u8> {
        let mut w = Writer::new();
        w.array(3).bytes(&self.snapshot).array(self.events.len());
        for event in &self.events {
            w.bytes(event);
        }
        w.bytes(&self.heartbeat);
        w.finish()
    }

    /// Reads it; nothing is verified yet.
    ///
    /// # Errors
    /// [`TrustError::Malformed`], [`TrustError::TooLarge`].
    pub fn from_cbor(bytes: &[u8]) -> Result<Self, TrustError> {
        if bytes.len() > limits::EVIDENCE_BYTES {
            return Err(TrustError::TooLarge);
        }
        // The parts are signed, the envelope is not.
        let bytes = loose::deterministic_large(bytes, limits::EVIDENCE_EVENTS + 8);
        let bytes = bytes.map_err(|_| TrustError::Malformed)?;
        let mut r = Reader::new(&bytes);
        r.array_of(3)?;
        let snapshot = r.bytes()?.to_vec();
        let n = r.array()?;
        if n > limits::EVIDENCE_EVENTS {
            return Err(TrustError::TooLarge);
        }
        let events = (0..n).map(|_| Ok(r.bytes()?.to_vec())).collect::<Result<_, TrustError>>()?;
        let heartbeat = r.bytes()?.to_vec();
        r.end()?;
        Ok(Self { snapshot, events, heartbeat })
    }

    /// Its contents, when the root key signed every part.
    ///
    /// # Errors
    /// [`TrustError`] of the first part that is not good; [`TrustError::Malformed`] when there is none.
    pub fn verify(&self, root: &PublicKey) -> Result<Shown, TrustError> {
        let mut shown =
            Shown { seq: 0, head: EventHash::default(), marks: Vec::new(), changes: Vec::new() };
        if !self.snapshot.is_empty() {
            let (snapshot, _) = Snapshot::open(&self.snapshot, &root.thumbprint())?;
            shown.see(snapshot.seq, snapshot.head);
            shown.changes = snapshot.state;
        }
        for bytes in &self.events {
            let event = Event::open(bytes, root)?;
            shown.see(event.seq, EventHash::of(bytes));
            shown.changes.push(event.change);
        }
        if !self.heartbeat.is_empty() {
            let (beat, _) = Heartbeat::open_answer(&self.heartbeat, root)?;
            shown.see(beat.seq, beat.head);
        }
        match self.snapshot.is_empty() && self.events.is_empty() && self.heartbeat.is_empty() {
            true => Err(TrustError::Malformed),
            false => Ok(shown),
        }
    }
}

impl Shown {
    fn see(&mut self, seq: u64, head: EventHash) {
        if seq >= self.seq {
            (self.seq, self.head) = (seq, head);
        }
        self.marks.push((seq, head));
    }
}
