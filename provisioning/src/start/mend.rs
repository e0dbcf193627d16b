//! Marks of a database of which a part was lost and accepted: the rows that are left say how far it had come.

use tessera_runtime::random::Random;
use tessera_runtime::sql::{Batch, Database};
use tessera_token::trust::EventHash;

use super::first_run::{name_of, FOUNDED};
use super::roots;
use crate::keys::seeds::Seeds;
use crate::records::heads::{AuditHead, TrustHead};
use crate::records::SignedEvent;
use crate::start_error::StartError;
use crate::tables::{number, Tables};
use crate::{audit, issue, trust};

/// Puts the marks that are gone, or behind their rows. Without them the service would begin anew over rows that are still
/// there, or take numbers that they have.
pub(super) async fn marks(
    database: &Database,
    tables: &Tables,
    seeds: &Seeds,
    random: &dyn Random,
) -> Result<(), StartError> {
    let (mut batch, marks) = (Batch::new(), &tables.marks);
    let has_rows = tables.tenants.last().await?.is_some()
        || tables.operators.last().await?.is_some()
        || tables.audit.last().await?.is_some();
    if marks.get::<String>(FOUNDED).await?.is_none() && has_rows {
        marks.put(&mut batch, FOUNDED, &name_of(&seeds.root(random, false).await?));
    }
    if let Some((key, last)) = tables.audit.last().await? {
        let (head, seq) = (marks.get::<AuditHead>(audit::HEAD).await?, number(&key, 0)?);
        if head.is_none_or(|head| head.seq < seq) {
            marks.put(&mut batch, audit::HEAD, &AuditHead { seq, hash: last.hash });
        }
    }
    let root = roots::number(tables).await?;
    if let Some((key, SignedEvent(signed))) = tables.trust_events.last().await? {
        let head = marks.get::<TrustHead>(trust::ledger::HEAD).await?;
        let (seq, hash) = (number(&key, 0)?, *EventHash::of(&signed).as_bytes());
        if head.is_none_or(|head| head.seq < seq) {
            let head = TrustHead { seq, hash, ..head.unwrap_or_default() };
            marks.put(
                &mut batch,
                trust::ledger::HEAD,
                &TrustHead { root: root.max(head.root), ..head },
            );
        } else if let Some(head) = head.filter(|head| head.root < root) {
            marks.put(&mut batch, trust::ledger::HEAD, &TrustHead { root, ..head });
        }
    } else if root > 0 {
        let head = marks.get::<TrustHead>(trust::ledger::HEAD).await?.unwrap_or_default();
        let head = TrustHead { root: root.max(head.root), ..head };
        marks.put(&mut batch, trust::ledger::HEAD, &head);
    }
    if marks.get::<u64>(issue::SERIALS).await?.is_none() {
        if let Some((key, _)) = tables.issued.last().await? {
            marks.put(&mut batch, issue::SERIALS, &number(&key, 0)?.saturating_add(1));
        }
    }
    if !batch.is_empty() {
        database.commit(batch).await?;
    }
    Ok(())
}
