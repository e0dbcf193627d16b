use alloc::vec::Vec;

use crate::cbor::{strict, Reader, Writer};
use crate::cose;
use crate::key::{PublicKey, SecretKey};
use crate::limits;
use crate::refusal::RefusalCode;
use crate::time::UnixSeconds;

use super::{open, seal, Change, EventHash, FeedNonce, TrustError};

const EVENT: &str = "tessera-trust-event-1";
const HEARTBEAT: &str = "tessera-trust-heartbeat-1";
const ANSWER: &str = "tessera-trust-heartbeat-2";

/// One change, in its place in the order. Payload `[seq, previous hash, time, change]`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Event {
    /// Its number; the first is 1.
    pub seq: u64,
    /// The hash of the event before it.
    pub previous: EventHash,
    /// When it happened.
    pub time: UnixSeconds,
    /// The change.
    pub change: Change,
}

impl Event {
    /// Signs the event.
    ///
    /// # Errors
    /// `internal` when encoding fails.
    pub fn sign(&self, root: &SecretKey) -> Result<Vec<u8>, RefusalCode> {
        let mut w = Writer::new();
        w.array(4).uint(self.seq).bytes(self.previous.as_bytes()).uint(self.time.get());
        self.change.write(&mut w);
        seal(w.finish(), EVENT, root)
    }

    /// Opens a signed event. Its place in the order is for the caller to check.
    ///
    /// # Errors
    /// [`TrustError`].
    pub fn open(bytes: &[u8], root: &PublicKey) -> Result<Self, TrustError> {
        if bytes.len() > limits::EVENT_BYTES {
            return Err(TrustError::TooLarge);
        }
        Self::read(&open(bytes, EVENT, root)?)
    }

    /// Reads an event without a look at its signature: for the signer itself, from its own store.
    ///
    /// # Errors
    /// [`TrustError::Malformed`].
    pub fn unverified(bytes: &[u8]) -> Result<Self, TrustError> {
        let sealed = cose::open(bytes, EVENT.as_bytes()).map_err(|_| TrustError::Malformed)?;
        Self::read(&sealed.payload)
    }

    fn read(payload: &[u8]) -> Result<Self, TrustError> {
        let mut r = Reader::strict(payload, limits::EVENT_BYTES)?;
        r.array_of(4)?;
        let event = Self {
            seq: r.uint()?,
            previous: EventHash::from_bytes(r.bytes_of()?),
            time: UnixSeconds::new(r.uint()?),
            change: Change::read(&mut r)?,
        };
        r.end()?;
        Ok(event)
    }
}

/// "This is still all": payload `[seq, head hash, time]`, and `[seq, head hash, time, nonce]` when it answers a reader.
/// Only the second kind proves that it was made after the reader asked: the first can be a recording.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Heartbeat {
    /// The number of the newest event.
    pub seq: u64,
    /// Its hash.
    pub head: EventHash,
    /// The service's signed time.
    pub time: UnixSeconds,
}

impl Heartbeat {
    /// Signs the heartbeat.
    ///
    /// # Errors
    /// `internal` when encoding fails.
    pub fn sign(&self, root: &SecretKey) -> Result<Vec<u8>, RefusalCode> {
        let mut w = Writer::new();
        w.array(3).uint(self.seq).bytes(self.head.as_bytes()).uint(self.time.get());
        seal(w.finish(), HEARTBEAT, root)
    }

    /// Opens a signed heartbeat.
    ///
    /// # Errors
    /// [`TrustError`].
    pub fn open(bytes: &[u8], root: &PublicKey) -> Result<Self, TrustError> {
        if bytes.len() > limits::EVENT_BYTES {
            return Err(TrustError::TooLarge);
        }
        let payload = open(bytes, HEARTBEAT, root)?;
        let mut r = Reader::strict(&payload, limits::EVENT_BYTES)?;
        r.array_of(3)?;
        let beat = Self {
            seq: r.uint()?,
            head: EventHash::from_bytes(r.bytes_of()?),
            time: UnixSeconds::new(r.uint()?),
        };
        r.end()?;
        Ok(beat)
    }

    /// Signs the heartbeat for the reader that sent `nonce`.
    ///
    /// # Errors
    /// `internal` when encoding fails.
    pub fn answer(&self, nonce: &FeedNonce, root: &SecretKey) -> Result<Vec<u8>, RefusalCode> {
        let mut w = Writer::new();
        w.array(4).uint(self.seq).bytes(self.head.as_bytes()).uint(self.time.get());
        w.bytes(nonce.as_bytes());
        seal(w.finish(), ANSWER, root)
    }

    /// Opens a heartbeat that answers a reader, and tells the nonce that it answers.
    ///
    /// # Errors
    /// [`TrustError`].
    pub fn open_answer(bytes: &[u8], root: &PublicKey) -> Result<(Self, FeedNonce), TrustError> {
        if bytes.len() > limits::EVENT_BYTES {
            return Err(TrustError::TooLarge);
        }
        let payload = open(bytes, ANSWER, root)?;
        let mut r = Reader::strict(&payload, limits::EVENT_BYTES)?;
        r.array_of(4)?;
        let beat = Self {
            seq: r.uint()?,
            head: EventHash::from_bytes(r.bytes_of()?),
            time: UnixSeconds::new(r.uint()?),
        };
        let nonce = FeedNonce::from_bytes(r.bytes_of()?);
        r.end()?;
        Ok((beat, nonce))
    }

    /// Opens a heartbeat that answers exactly this nonce.
    ///
    /// # Errors
    /// [`TrustError::Nonce`] when it answers another, else as [`Heartbeat::open_answer`].
    pub fn open_for(bytes: &[u8], nonce: &FeedNonce, root: &PublicKey) -> Result<Self, TrustError> {
        match Self::open_answer(bytes, root) {
            Ok((beat, answered)) if answered == *nonce => Ok(beat),
            Ok(_) => Err(TrustError::Nonce),
            // A heartbeat of the first kind is good and answers no nonce.
            Err(TrustError::Signature) if Self::open(bytes, root).is_ok() => Err(TrustError::Nonce),
            Err(error) => Err(error),
        }
    }
}

/// The answer of the feed: signed events and a signed heartbeat, `[[event, …], heartbeat]`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Feed {
    /// Signed events in order, at most 1,000.
    pub events: Vec<Vec<u8>>,
    /// The signed heartbeat of the service's head, which may be past the last event here.
    pub heartbeat: Vec<u8>,
}

impl Feed {
    /// As CBOR: an array of byte strings, and a byte string.
    pub fn to_cbor(&self) -> Vec<u8> {
        let mut w = Writer::new();
        w.array(2);
        self.write(&mut w);
        w.finish()
    }

    /// Appends its two members.
    pub(super) fn write(&self, w: &mut Writer) {
        w.array(self.events.len());
        for event in &self.events {
            w.bytes(event);
        }
        w.bytes(&self.heartbeat);
    }

    /// Reads it; nothing is verified yet.
    ///
    /// # Errors
    /// [`TrustError::Malformed`], [`TrustError::TooLarge`].
    pub fn from_cbor(bytes: &[u8]) -> Result<Self, TrustError> {
        Self::check(bytes)?;
        let mut r = Reader::new(bytes);
        r.array_of(2)?;
        let feed = Self::read(&mut r)?;
        r.end()?;
        Ok(feed)
    }

    /// Whether an answer is strict CBOR within the limits.
    pub(super) fn check(bytes: &[u8]) -> Result<(), TrustError> {
        if bytes.len() > limits::EVENTS_PER_ANSWER * limits::EVENT_BYTES {
            return Err(TrustError::TooLarge);
        }
        Ok(strict::check_large(bytes, limits::EVENTS_PER_ANSWER + 8)?)
    }

    /// Reads what [`Self::write`] wrote.
    pub(super) fn read(r: &mut Reader<'_>) -> Result<Self, TrustError> {
        let n = r.array()?;
        if n > limits::EVENTS_PER_ANSWER {
            return Err(TrustError::TooLarge);
        }
        let mut events = Vec::with_capacity(n);
        for _ in 0..n {
            events.push(r.bytes()?.to_vec());
        }
        let heartbeat = r.bytes()?.to_vec();
        Ok(Self { events, heartbeat })
    }
}
