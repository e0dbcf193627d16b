//! The signed head of the service, and its entries in the audit log.
//!
//! While the log grows, each hour an entry holds the signed head of the log before it. A reader of the log, of its stream or
//! of the service's own lines so keeps heads without a plan of its own: a log that lacks entries of before one of them, or
//! has others, is seen by any holder of that one.

use serde::{Deserialize, Serialize};
use tessera_runtime::sql::Batch;
use tessera_token::encoding::base64url;
use tessera_token::head::ServiceHead;

use crate::audit::actor::ChainPending;
use crate::audit::{self, Actor};
use crate::issue::highest_serial;
use crate::limits::AUDIT_HEAD_SECONDS;
use crate::refused::Refused;
use crate::service::Service;
use crate::trust::ledger;
use crate::write::Attempt;

/// The action of an entry that holds a head.
const ACTION: &str = "audit.head";
/// The mark of the last of them.
const MARK: &str = "audit_head_kept";

/// The last entry with a head.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Kept {
    /// Entries of the log without it.
    entries: u64,
    at: u64,
}

/// How far the service has come, with all entries that wait to be chained.
pub(crate) async fn of(service: &Service) -> Result<ServiceHead, Refused> {
    service.audit.send(ChainPending).await.map_err(Refused::from)??;
    let audit = audit::Head::read(&service.tables).await?;
    let trust = ledger::Head::read(&service.tables).await?;
    Ok(ServiceHead {
        audit: audit.seq,
        audit_hash: audit.hash,
        trust: trust.seq,
        trust_hash: trust.hash,
        serial: highest_serial(&service.tables).await?,
        time: service.now(),
    })
}

/// Writes an entry with the head when the last one is an hour old and there are others behind it. Of several processes one
/// writes it.
pub(crate) async fn keep(service: &Service) -> Result<(), Refused> {
    let (tables, now) = (&service.tables, service.now().get());
    let last = tables.marks.get::<Kept>(MARK).await?;
    let is_due = |last: &Kept| now.abs_diff(last.at) >= AUDIT_HEAD_SECONDS;
    if !last.as_ref().is_none_or(is_due) {
        return Ok(());
    }
    let head = of(service).await?;
    // The entry of the last one is not news.
    if last.as_ref().is_some_and(|last| head.audit <= last.entries + 1) || head.audit == 0 {
        return Ok(());
    }
    let signed = base64url(&head.sign(&service.root)?);
    let mut batch = Batch::new();
    tables.marks.expect_same(&mut batch, MARK, last.as_ref());
    tables.marks.put(&mut batch, MARK, &Kept { entries: head.audit, at: now });
    let entry = service.entry(&Actor::service(), ACTION, "", "audit log");
    let entry = entry.detail(format!("{} entries", head.audit)).signed(&signed);
    if service.write(batch, entry).await? == Attempt::Committed(()) {
        tracing::info!(entries = head.audit, signed, "the head of the audit log");
    }
    Ok(())
}
