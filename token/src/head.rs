//! The signed head of a service: how far its audit log, its trust feed and its serials were at one moment. A party that
//! keeps it can say later whether a log is a part of it, the same, or one that goes on behind it.
//!
//! `[root key as COSE_Key, COSE_Sign1]`; external_aad `tessera-head-1`; payload
//! `[audit length, audit hash, trust seq, trust hash, serial, time]`.

use alloc::vec::Vec;

use crate::cbor::{Reader, Writer};
use crate::key::{SecretKey, Thumbprint};
use crate::limits::MESSAGE_BYTES;
use crate::refusal::RefusalCode;
use crate::time::UnixSeconds;
use crate::trust::{open_beside_root, seal_beside_root, TrustError};

const KIND: &str = "tessera-head-1";

/// How far a service had come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServiceHead {
    /// Entries of the audit log.
    pub audit: u64,
    /// The hash of the last of them; zero when there is none.
    pub audit_hash: [u8; 32],
    /// The number of the newest trust event.
    pub trust: u64,
    /// Its hash.
    pub trust_hash: [u8; 32],
    /// No serial that was given out is above it.
    pub serial: u64,
    /// When it was signed.
    pub time: UnixSeconds,
}

impl ServiceHead {
    /// Signs it.
    ///
    /// # Errors
    /// `internal` when encoding fails.
    pub fn sign(&self, root: &SecretKey) -> Result<Vec<u8>, RefusalCode> {
        let mut w = Writer::new();
        w.array(6).uint(self.audit).bytes(&self.audit_hash).uint(self.trust);
        w.bytes(&self.trust_hash).uint(self.serial).uint(self.time.get());
        seal_beside_root(w.finish(), KIND, root)
    }

    /// Opens a head that the root key with this thumbprint signed.
    ///
    /// # Errors
    /// [`TrustError`].
    pub fn open(bytes: &[u8], pin: &Thumbprint) -> Result<Self, TrustError> {
        let (payload, _) = open_beside_root(bytes, MESSAGE_BYTES, KIND, pin)?;
        Self::read(&payload)
    }

    fn read(payload: &[u8]) -> Result<Self, TrustError> {
        let mut r = Reader::strict(payload, MESSAGE_BYTES)?;
        r.array_of(6)?;
        let head = Self {
            audit: r.uint()?,
            audit_hash: r.bytes_of()?,
            trust: r.uint()?,
            trust_hash: r.bytes_of()?,
            serial: r.uint()?,
            time: UnixSeconds::new(r.uint()?),
        };
        r.end()?;
        Ok(head)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cose;
    use crate::key::Algorithm;

    fn head() -> ServiceHead {
        ServiceHead {
            audit: 512,
            audit_hash: [1; 32],
            trust: 70,
            trust_hash: [2; 32],
            serial: 2048,
            time: UnixSeconds::new(1_800_000_000),
        }
    }

    #[test]
    fn a_head_comes_back_from_its_own_root_alone() {
        let root = SecretKey::from_seed(&[1; 32]);
        let pin = root.public().thumbprint();
        let bytes = head().sign(&root).unwrap();
        assert_eq!(ServiceHead::open(&bytes, &pin), Ok(head()));
        let other = SecretKey::from_seed(&[2; 32]).public().thumbprint();
        assert_eq!(ServiceHead::open(&bytes, &other), Err(TrustError::Root));
        for place in 0..bytes.len() {
            let mut bent = bytes.clone();
            bent[place] ^= 1;
            assert!(ServiceHead::open(&bent, &pin).is_err(), "byte {place}");
        }
        assert!(ServiceHead::open(&bytes[..bytes.len() - 1], &pin).is_err());
    }

    /// Bytes that the same key signed for another purpose are no head.
    #[test]
    fn another_kind_of_signature_is_no_head() {
        let root = SecretKey::from_seed(&[1; 32]);
        let mut w = Writer::new();
        w.array(6).uint(1).bytes(&[0; 32]).uint(1).bytes(&[0; 32]).uint(1).uint(1);
        let aad = b"tessera-trust-event-1";
        let sealed = cose::seal(w.finish(), aad, Algorithm::Ed25519, &root).unwrap();
        let mut w = Writer::new();
        w.array(2).raw(&root.public().to_cose_key()).bytes(&sealed);
        let opened = ServiceHead::open(&w.finish(), &root.public().thumbprint());
        assert_eq!(opened, Err(TrustError::Signature));
    }
}
