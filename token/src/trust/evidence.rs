use alloc::vec::Vec;

use crate::cbor::{loose, Reader, Writer};
use crate::cose;
use crate::key::{PublicKey, Thumbprint};
use crate::limits;

use super::{
    root_beside, BoundSnapshot, Change, Event, EventHash, Heartbeat, Snapshot, TrustError, View,
};

/// Data that a reader shows a service that knows less than it, or another past: a service that was restored from an older
/// copy. Everything in it is signed by the root key, so a reader can show what was said and make nothing up.
/// CBOR `[snapshot, [event, …], heartbeat]`, and behind them `[view, …]` of a reader of some tenants; an empty byte string
/// stands for what the reader does not have.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Evidence {
    /// The snapshot that the reader began with, as [`Snapshot::sign`] or [`BoundSnapshot::sign`] made it.
    pub snapshot: Vec<u8>,
    /// The signed events behind it.
    pub events: Vec<Vec<u8>>,
    /// The newest heartbeat that answered the reader.
    pub heartbeat: Vec<u8>,
    /// The signed views in which a reader of some tenants got its events.
    pub views: Vec<Vec<u8>>,
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
    /// The root keys that signed parts of it.
    pub signers: Vec<Thumbprint>,
}

impl Evidence {
    /// As CBOR.
    pub fn to_cbor(&self) -> Vec<u8> {
        let mut w = Writer::new();
        let members = if self.views.is_empty() { 3 } else { 4 };
        w.array(members).bytes(&self.snapshot);
        write_all(&mut w, &self.events);
        w.bytes(&self.heartbeat);
        if !self.views.is_empty() {
            write_all(&mut w, &self.views);
        }
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
        let bytes = loose::deterministic_large(bytes, 2 * limits::EVIDENCE_EVENTS + 8);
        let bytes = bytes.map_err(|_| TrustError::Malformed)?;
        let mut r = Reader::new(&bytes);
        let members = r.array()?;
        let snapshot = r.bytes()?.to_vec();
        let events = read_all(&mut r)?;
        let heartbeat = r.bytes()?.to_vec();
        let views = match members {
            3 => Vec::new(),
            4 => read_all(&mut r)?,
            _ => return Err(TrustError::Malformed),
        };
        if members == 4 && views.is_empty() {
            return Err(TrustError::Malformed);
        }
        r.end()?;
        Ok(Self { snapshot, events, heartbeat, views })
    }

    /// Its contents, when the root key signed every part.
    ///
    /// # Errors
    /// [`TrustError`] of the first part that is not good; [`TrustError::Malformed`] when there is none.
    pub fn verify(&self, root: &PublicKey) -> Result<Shown, TrustError> {
        self.verify_by(core::slice::from_ref(root))
    }

    /// Its contents, when one of these root keys signed each part: a reader may hold data of a root that was changed since.
    ///
    /// # Errors
    /// As [`Evidence::verify`].
    pub fn verify_by(&self, roots: &[PublicKey]) -> Result<Shown, TrustError> {
        let mut shown = Shown {
            seq: 0,
            head: EventHash::default(),
            marks: Vec::new(),
            changes: Vec::new(),
            signers: Vec::new(),
        };
        if !self.snapshot.is_empty() {
            let root = beside(&self.snapshot, roots)?;
            let snapshot = open_snapshot(&self.snapshot, root)?;
            shown.signed_by(root);
            shown.see(snapshot.seq, snapshot.head);
            shown.changes = snapshot.state;
        }
        for bytes in &self.events {
            let root = signer(bytes, roots)?;
            let event = Event::open(bytes, root)?;
            shown.signed_by(root);
            shown.see(event.seq, EventHash::of(bytes));
            shown.changes.push(event.change);
        }
        for bytes in &self.views {
            let root = signer(bytes, roots)?;
            let view = View::open(bytes, root)?;
            shown.signed_by(root);
            shown.see(view.after, view.after_head);
            shown.see(view.seq, view.head);
        }
        if !self.heartbeat.is_empty() {
            let root = signer(&self.heartbeat, roots)?;
            let (beat, _) = Heartbeat::open_answer(&self.heartbeat, root)?;
            shown.signed_by(root);
            shown.see(beat.seq, beat.head);
        }
        match shown.marks.is_empty() {
            true => Err(TrustError::Malformed),
            false => Ok(shown),
        }
    }
}

/// The root whose name stands beside this snapshot. Its signature is verified by the caller.
fn beside<'a>(snapshot: &[u8], roots: &'a [PublicKey]) -> Result<&'a PublicKey, TrustError> {
    let key = root_beside(snapshot)?;
    roots.iter().find(|root| **root == key).ok_or(TrustError::Root)
}

/// The root whose key id this message bears. Its signature is verified by the caller.
fn signer<'a>(message: &[u8], roots: &'a [PublicKey]) -> Result<&'a PublicKey, TrustError> {
    let sealed = cose::open(message, &[]).map_err(|_| TrustError::Malformed)?;
    roots.iter().find(|root| root.key_id() == sealed.key_id).ok_or(TrustError::Signature)
}

/// Of either kind: both are signed, and what is shown can only refuse more.
fn open_snapshot(bytes: &[u8], root: &PublicKey) -> Result<Snapshot, TrustError> {
    let pin = root.thumbprint();
    match Snapshot::open(bytes, &pin) {
        Err(TrustError::Signature) => {
            BoundSnapshot::open(bytes, &pin).map(|(bound, _)| bound.snapshot)
        }
        opened => opened.map(|(snapshot, _)| snapshot),
    }
}

fn write_all(w: &mut Writer, parts: &[Vec<u8>]) {
    w.array(parts.len());
    for part in parts {
        w.bytes(part);
    }
}

fn read_all(r: &mut Reader<'_>) -> Result<Vec<Vec<u8>>, TrustError> {
    let n = r.array()?;
    if n > limits::EVIDENCE_EVENTS {
        return Err(TrustError::TooLarge);
    }
    (0..n).map(|_| Ok(r.bytes()?.to_vec())).collect()
}

impl Shown {
    fn signed_by(&mut self, root: &PublicKey) {
        let name = root.thumbprint();
        if !self.signers.contains(&name) {
            self.signers.push(name);
        }
    }

    fn see(&mut self, seq: u64, head: EventHash) {
        if seq >= self.seq {
            (self.seq, self.head) = (seq, head);
        }
        self.marks.push((seq, head));
    }
}
