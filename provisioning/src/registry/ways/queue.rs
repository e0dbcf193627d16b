//! The bounds of the approval queue: a count for each tenant and for each source in it, changed with every row.

use tessera_runtime::sql::Batch;

use crate::limits::{APPROVALS, APPROVALS_OF_SOURCE};
use crate::records::approvals::ApprovalCount;
use crate::refused::Refused;
use crate::service::Service;
use crate::tables::pair;

/// Whether there is room for one more request of this source. The batch counts it.
pub(super) async fn enter(
    service: &Service,
    tenant: &str,
    source: &str,
    batch: &mut Batch,
) -> Result<bool, Refused> {
    for (name, most) in [("", APPROVALS), (source, APPROVALS_OF_SOURCE)] {
        let (table, key) = (&service.tables.approval_counts, pair(tenant, name));
        let old = table.get(key.clone()).await?;
        let requests = old.as_ref().map_or(0, |count| count.requests) + 1;
        if requests > most {
            return Ok(false);
        }
        batch.expect_same(table, key.clone(), old.as_ref());
        batch.put(table, key, &ApprovalCount { requests });
    }
    Ok(true)
}

/// Counts that a request of this source has gone. A source without requests has no row.
pub(super) async fn leave(
    service: &Service,
    tenant: &str,
    source: &str,
    batch: &mut Batch,
) -> Result<(), Refused> {
    for name in ["", source] {
        let (table, key) = (&service.tables.approval_counts, pair(tenant, name));
        let Some(old) = table.get(key.clone()).await? else { continue };
        batch.expect(table, key.clone(), &old);
        match old.requests.saturating_sub(1) {
            0 => batch.delete(table, key),
            requests => batch.put(table, key, &ApprovalCount { requests }),
        }
    }
    Ok(())
}

/// A source as a row names it.
pub(super) fn name_of(source: &crate::admission::Source) -> String {
    use crate::admission::{Peer, Source};
    match source {
        Source::Peer(Peer::V4(octets)) => std::net::Ipv4Addr::from(*octets).to_string(),
        Source::Peer(Peer::V6([a, b, c, d, e, f, g, h])) => {
            let whole = [*a, *b, *c, *d, *e, *f, *g, *h, 0, 0, 0, 0, 0, 0, 0, 0];
            format!("{}/64", std::net::Ipv6Addr::from(whole))
        }
        Source::Relay(account) => format!("relay {account}"),
    }
}
