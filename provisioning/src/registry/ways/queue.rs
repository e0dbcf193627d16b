//! The bounds of the approval queue: counts for each tenant, changed with every row.

use std::net::Ipv6Addr;

use tessera_runtime::sql::Batch;

use crate::limits::{APPROVALS, APPROVALS_OF_NETWORK, APPROVALS_OF_SOURCE};
use crate::records::approvals::ApprovalCount;
use crate::refused::Refused;
use crate::service::Service;
use crate::tables::pair;

/// The names under which a request is counted, each with its bound: all of the tenant, its source, and the wider network of
/// an IPv6 source, since one owner has 65,536 of those.
fn counts(source: &str) -> Vec<(String, u64)> {
    let mut names = vec![(String::new(), APPROVALS), (source.to_owned(), APPROVALS_OF_SOURCE)];
    let address = source.strip_suffix("/64").and_then(|text| text.parse::<Ipv6Addr>().ok());
    if let Some([a, b, c, ..]) = address.map(|address| address.segments()) {
        let wide = Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0);
        names.push((format!("{wide}/48"), APPROVALS_OF_NETWORK));
    }
    names
}

/// Whether there is room for one more request of this source. The batch counts it.
pub(super) async fn enter(
    service: &Service,
    tenant: &str,
    source: &str,
    batch: &mut Batch,
) -> Result<bool, Refused> {
    for (name, most) in counts(source) {
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
    for (name, _) in counts(source) {
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
            format!("{}/64", Ipv6Addr::from(whole))
        }
        Source::Relay(account) | Source::Checks(account) => format!("relay {account}"),
    }
}
