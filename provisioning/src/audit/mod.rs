//! The audit log: every change, hash-chained, so that it can be verified offline.
//!
//! A change writes its entry as a pending row in its own batch: both are durable or neither is. One actor then chains
//! pending rows in order. Refreshes are not audited: each issued token has a record of its own until it expires.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tessera_runtime::store::{Batch, StoreError};
use tessera_token::cbor::Writer;
use tessera_token::hash::sha256;
use tessera_token::time::UnixSeconds;

use crate::limits::{AUDIT_GROUP, AUDIT_TEXT};
use crate::records::octets;
use crate::tables::{numbered, Tables};

pub(crate) mod actor;
#[cfg(test)]
mod tests;

const HEAD: &str = "audit_head";

/// The account, or the part of the service, that a change is recorded under.
#[derive(Debug, Clone)]
pub(crate) struct Actor(pub(crate) String);

/// An entry of the audit log, before it has a place in the chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// Seconds.
    pub(crate) at: u64,
    pub(crate) actor: String,
    /// `noun.verb`
    pub(crate) action: String,
    pub(crate) tenant: String,
    pub(crate) subject: String,
    pub(crate) detail: String,
}

impl Entry {
    pub(crate) fn new(at: u64, actor: &Actor, action: &str, tenant: &str, subject: &str) -> Self {
        Self {
            at,
            actor: short(&actor.0),
            action: action.to_owned(),
            tenant: tenant.to_owned(),
            subject: short(subject),
            detail: String::new(),
        }
    }

    pub(crate) fn detail(mut self, detail: impl AsRef<str>) -> Self {
        self.detail = short(detail.as_ref());
        self
    }
}

fn short(text: &str) -> String {
    text.chars().take(AUDIT_TEXT).collect()
}

/// An entry in its place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Chained {
    pub(crate) entry: Entry,
    #[serde(with = "octets")]
    pub(crate) previous: [u8; 32],
    #[serde(with = "octets")]
    pub(crate) hash: [u8; 32],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Head {
    pub(crate) seq: u64,
    #[serde(with = "octets")]
    pub(crate) hash: [u8; 32],
}

impl Head {
    pub(crate) fn read(tables: &Tables) -> Result<Self, StoreError> {
        Ok(tables.meta.get_record(HEAD)?.unwrap_or_default())
    }
}

/// SHA-256 over CBOR `["tessera-audit-1", seq, previous, at, actor, action, tenant, subject, detail]`.
pub(crate) fn hash(seq: u64, previous: &[u8; 32], entry: &Entry) -> [u8; 32] {
    let mut w = Writer::new();
    w.array(9).text("tessera-audit-1").uint(seq).bytes(previous).uint(entry.at);
    w.text(&entry.actor).text(&entry.action).text(&entry.tenant);
    w.text(&entry.subject).text(&entry.detail);
    sha256(&w.finish())
}

/// Makes pending rows. Rows made by one process sort in the order in which they were made.
#[derive(Default)]
pub(crate) struct Pending(AtomicU64);

impl From<u64> for Pending {
    /// `start` is random: two processes in the same millisecond must not make the same row.
    fn from(start: u64) -> Self {
        Self(AtomicU64::new(start >> 1))
    }
}

impl Pending {
    pub(crate) fn add(&self, tables: &Tables, batch: &mut Batch, unix_millis: u64, entry: &Entry) {
        let counter = self.0.fetch_add(1, Ordering::Relaxed);
        let key = numbered(unix_millis, counter.to_be_bytes());
        batch.put_record(&tables.audit_pending, key, entry);
    }
}

/// The newest entry that has its place.
pub(crate) fn newest_entry(tables: &Tables) -> Result<Option<Entry>, StoreError> {
    let head: Head = tables.meta.get_record(HEAD)?.unwrap_or_default();
    let chained: Option<Chained> = tables.audit.get_record(head.seq.to_be_bytes())?;
    Ok(chained.map(|chained| chained.entry))
}

/// For how long the oldest entry has waited to be chained.
pub(crate) fn behind(tables: &Tables, now: UnixSeconds) -> Result<Duration, StoreError> {
    let oldest = tables.audit_pending.scan_records::<Entry>(&[], None, 1)?;
    let since = oldest.first().map_or(now, |(_, entry)| UnixSeconds::new(entry.at));
    Ok(Duration::from_secs(now.since(since)))
}

/// The write that chains what is pending, at most [`AUDIT_GROUP`] entries; `None` when nothing is.
pub(crate) fn chain_pending(tables: &Tables) -> Result<Option<Batch>, StoreError> {
    let pending = tables.audit_pending.scan_records::<Entry>(&[], None, AUDIT_GROUP)?;
    if pending.is_empty() {
        return Ok(None);
    }
    let before = tables.meta.get(HEAD)?;
    let mut head = Head::read(tables)?;
    let mut batch = Batch::new();
    batch.expect(&tables.meta, HEAD, before);
    for (key, entry) in pending {
        let seq = head.seq + 1;
        let chained = Chained { hash: hash(seq, &head.hash, &entry), previous: head.hash, entry };
        head = Head { seq, hash: chained.hash };
        batch.put_record(&tables.audit, seq.to_be_bytes(), &chained);
        batch.delete(&tables.audit_pending, key);
    }
    batch.put_record(&tables.meta, HEAD, &head);
    Ok(Some(batch))
}
