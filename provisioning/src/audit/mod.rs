//! The audit log: every change, hash-chained, so that it can be verified offline.
//!
//! A change writes its entry as a pending row in its own batch: both are durable or neither is. One actor then chains
//! pending rows in order. Refreshes are not audited: each issued token has a record of its own until it expires.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tessera_runtime::sql::{Batch, Record};
use tessera_runtime::store::StoreError;
use tessera_token::cbor::Writer;
use tessera_token::hash::sha256;
use tessera_token::refusal::RefusalCode;
use tessera_token::time::UnixSeconds;

use crate::limits::{AUDIT_GROUP, AUDIT_TEXT};
use crate::tables::{one, Tables};

pub(crate) mod actor;
mod change;
mod list;
#[cfg(test)]
mod tests;

pub(crate) use self::list::{list, Found, Row, Wanted};
pub(crate) use crate::records::audit::{Chained, Entry, How, More, Origin};
pub(crate) use crate::records::heads::AuditHead as Head;

pub(crate) const HEAD: &str = "audit_head";
/// The action of alerts that verifiers hand over.
pub(crate) const ALERT: &str = "behaviour.alert";
/// The outcome of an act that was not refused.
const DONE: &str = "done";

/// The account, the device or the part of the service that a change is recorded under.
#[derive(Debug, Clone)]
pub(crate) struct Actor {
    pub(crate) name: String,
    pub(crate) origin: Origin,
}

impl Actor {
    /// The service itself.
    pub(crate) fn service() -> Self {
        Self::system("service")
    }

    /// A part of the service, or its machine.
    pub(crate) fn system(name: &str) -> Self {
        Self::without_token(name.to_owned(), How::System)
    }

    /// A device.
    pub(crate) fn device(device: &impl fmt::Display) -> Self {
        Self::without_token(format!("device {device}"), How::Device)
    }

    fn without_token(name: String, how: How) -> Self {
        let origin = Origin { how, credential: String::new(), network: String::new() };
        Self { name, origin }
    }
}

impl Entry {
    pub(crate) fn new(at: u64, actor: &Actor, action: &str, tenant: &str, subject: &str) -> Self {
        Self {
            at,
            actor: short(&actor.name),
            action: action.to_owned(),
            tenant: tenant.to_owned(),
            subject: short(subject),
            detail: String::new(),
            more: Some(More {
                origin: actor.origin.clone(),
                outcome: DONE.to_owned(),
                before: String::new(),
                after: String::new(),
            }),
        }
    }

    /// With the columns that change in a row, when a person has asked: fleets write too many rows.
    pub(crate) fn change<R: Record>(mut self, before: Option<&R>, after: Option<&R>) -> Self {
        let of_person = |more: &&mut More| matches!(more.origin.how, How::Cli | How::Api);
        if let Some(more) = self.more.as_mut().filter(of_person) {
            (more.before, more.after) = change::difference(before, after);
        }
        self
    }

    /// With a signed head of the log before it.
    pub(crate) fn signed(mut self, signed: &str) -> Self {
        if let Some(more) = &mut self.more {
            more.after = serde_json::json!({ "signed": signed }).to_string();
        }
        self
    }

    /// With an object that says more than its words.
    pub(crate) fn with(mut self, object: String) -> Self {
        if let Some(more) = &mut self.more {
            more.after = object;
        }
        self
    }

    /// An attempt that was refused.
    pub(crate) fn refused(mut self, code: RefusalCode) -> Self {
        if let Some(more) = &mut self.more {
            more.outcome = code.as_str().to_owned();
        }
        self
    }

    pub(crate) fn detail(mut self, detail: impl AsRef<str>) -> Self {
        self.detail = short(detail.as_ref());
        self
    }
}

fn short(text: &str) -> String {
    text.chars().take(AUDIT_TEXT).collect()
}

impl Head {
    pub(crate) async fn read(tables: &Tables) -> Result<Self, StoreError> {
        Ok(tables.marks.get(HEAD).await?.unwrap_or_default())
    }
}

/// SHA-256 over CBOR `["tessera-audit-2", seq, previous, at, actor, action, tenant, subject, detail, how, credential,
/// network, outcome, before, after]`. An entry of an earlier version begins with `tessera-audit-1` and ends with its detail:
/// it never hashes like one of the other form.
pub(crate) fn hash(seq: u64, previous: &[u8; 32], entry: &Entry) -> [u8; 32] {
    let mut w = Writer::new();
    match entry.more {
        None => w.array(9).text("tessera-audit-1"),
        Some(_) => w.array(15).text("tessera-audit-2"),
    };
    w.uint(seq).bytes(previous).uint(entry.at);
    w.text(&entry.actor).text(&entry.action).text(&entry.tenant);
    w.text(&entry.subject).text(&entry.detail);
    if let Some(More { origin, outcome, before, after }) = &entry.more {
        w.text(origin.how.as_str()).text(&origin.credential).text(&origin.network);
        w.text(outcome).text(before).text(after);
    }
    sha256(&w.finish())
}

/// Makes pending rows. Rows made by one process sort in the order in which they were made.
pub(crate) struct Pending(AtomicU64);

impl From<u64> for Pending {
    /// `start` is random: two processes in the same millisecond must not make the same row.
    fn from(start: u64) -> Self {
        // A column holds 63 bits, and it goes on from here.
        Self(AtomicU64::new(start >> 2))
    }
}

impl Pending {
    pub(crate) fn add(&self, tables: &Tables, batch: &mut Batch, unix_millis: u64, entry: &Entry) {
        let counter = self.0.fetch_add(1, Ordering::Relaxed);
        let key = vec![unix_millis.into(), counter.into()];
        batch.put(&tables.audit_waiting, key, entry);
    }
}

/// The newest entry that has its place.
pub(crate) async fn newest_entry(tables: &Tables) -> Result<Option<Entry>, StoreError> {
    let head = Head::read(tables).await?;
    let chained = tables.audit.get(one(head.seq)).await?;
    Ok(chained.map(|chained| chained.entry))
}

/// For how long the oldest entry has waited to be chained.
pub(crate) async fn behind(tables: &Tables, now: UnixSeconds) -> Result<Duration, StoreError> {
    let oldest = tables.audit_waiting.scan(&[], None, 1).await?;
    let since = oldest.first().map_or(now, |(_, entry)| UnixSeconds::new(entry.at));
    Ok(Duration::from_secs(now.since(since)))
}

/// The write that chains what is pending, at most [`AUDIT_GROUP`] entries; `None` when nothing is.
pub(crate) async fn chain_pending(tables: &Tables) -> Result<Option<Batch>, StoreError> {
    // The head first: when another process chains these rows between the two reads, the head is another one.
    let before: Option<Head> = tables.marks.get(HEAD).await?;
    let pending = tables.audit_waiting.scan(&[], None, AUDIT_GROUP).await?;
    if pending.is_empty() {
        return Ok(None);
    }
    let mut head = before.unwrap_or_default();
    let mut batch = Batch::new();
    tables.marks.expect_same(&mut batch, HEAD, before.as_ref());
    for (key, entry) in pending {
        let seq = head.seq + 1;
        let chained = Chained { hash: hash(seq, &head.hash, &entry), previous: head.hash, entry };
        head = Head { seq, hash: chained.hash };
        batch.add(&tables.audit, one(seq), &chained);
        batch.delete(&tables.audit_waiting, key);
    }
    tables.marks.put(&mut batch, HEAD, &head);
    Ok(Some(batch))
}
