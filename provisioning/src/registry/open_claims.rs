//! The bound of the open claims of a tenant: claims that have room for a device and have not expired.
//!
//! A row of the tenant has no fewer than there are. A change that makes claims adds them to it, one that deletes an open claim
//! takes it off. A use and an expiry leave it, so that devices that enrol at one time do not wait for one row. When the bound
//! seems to be reached, the open claims are counted anew by their index, and then not again for a second for each
//! [`OPEN_CLAIMS_COUNTED`] of them.

use tessera_runtime::sql::Batch;
use tessera_token::ids::TenantId;
use tessera_token::refusal::RefusalCode;

use crate::limits::OPEN_CLAIMS_COUNTED;
use crate::records::claim_counts::{ClaimCount, OPEN};
use crate::records::ClaimRecord;
use crate::refused::Refused;
use crate::service::Service;
use crate::tables::one;
use crate::write::{until_committed, Attempt};

/// The places of a tenant for further claims, as they were read.
pub(crate) struct Places {
    read: ClaimCount,
    /// Claims that are to be made.
    taken: u64,
}

/// The places of a tenant. They are counted anew when there seem to be fewer than are wanted, and at the first time.
pub(crate) async fn places(
    service: &Service,
    tenant: &TenantId,
    wanted: u64,
) -> Result<Places, Refused> {
    let (table, key) = (&service.tables.claim_counts, one(tenant.as_str()));
    let most = service.config.open_claims;
    until_committed(async || {
        let old = table.get(key.clone()).await?;
        if let Some(read) = &old {
            let fits = read.open.saturating_add(wanted) <= most;
            if fits || !is_count_due(read, service.now().get()) {
                return Ok(Attempt::Committed(Places { read: read.clone(), taken: 0 }));
            }
        }
        // Claims that are made meanwhile change the row, and this is tried again.
        let open = count(service, tenant).await?;
        let read = ClaimCount { open, counted: service.now().get() };
        let mut batch = Batch::new();
        batch.expect_same(table, key.clone(), old.as_ref());
        batch.put(table, key.clone(), &read);
        let tried = service.write_unnoted(batch).await?;
        Ok(tried.map(|()| Places { read: read.clone(), taken: 0 }))
    })
    .await
}

/// A clock that was set back does not stop the counting.
fn is_count_due(read: &ClaimCount, now: u64) -> bool {
    read.counted.abs_diff(now) >= read.open / OPEN_CLAIMS_COUNTED
}

async fn count(service: &Service, tenant: &TenantId) -> Result<u64, Refused> {
    let ended = service.time.removal().get();
    let of = [("tenant", tenant.as_str().into())];
    Ok(service.tables.claims.count_above(OPEN, &of, ("expires", ended)).await?)
}

impl Places {
    /// Takes places for so many claims.
    ///
    /// # Errors
    /// `limit_reached` when there are not as many.
    pub(crate) fn take(&mut self, service: &Service, claims: u64) -> Result<(), Refused> {
        let (open, most) = (self.read.open.saturating_add(self.taken), service.config.open_claims);
        if open.saturating_add(claims) > most {
            service.metrics.limits_hit.inc(&["open_claims"]);
            let why = format!(
                "the tenant has {open} open claims and may have {most} (limits.open_claims): delete some, or wait until they are used or expire"
            );
            return Err(Refused::because(RefusalCode::LimitReached, why));
        }
        self.taken = self.taken.saturating_add(claims);
        Ok(())
    }

    /// Writes that they are taken, when the count is still as it was read.
    pub(crate) fn write(&self, service: &Service, batch: &mut Batch, tenant: &TenantId) {
        let (table, key) = (&service.tables.claim_counts, one(tenant.as_str()));
        let open = self.read.open.saturating_add(self.taken);
        batch.expect(table, key.clone(), &self.read);
        batch.put(table, key, &ClaimCount { open, ..self.read.clone() });
    }
}

/// Takes a claim off the count that a batch closes.
pub(crate) async fn closed(
    service: &Service,
    batch: &mut Batch,
    tenant: &TenantId,
    claim: &ClaimRecord,
) -> Result<(), Refused> {
    // By the time of the count: a claim that is over by it was not counted.
    if !claim.is_open(service.time.removal().get()) {
        return Ok(());
    }
    let (table, key) = (&service.tables.claim_counts, one(tenant.as_str()));
    // Nothing was counted yet.
    let Some(read) = table.get(key.clone()).await? else { return Ok(()) };
    batch.expect(table, key.clone(), &read);
    batch.put(table, key, &ClaimCount { open: read.open.saturating_sub(1), ..read.clone() });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_rests_longer_the_more_it_reads() {
        let of = |open| ClaimCount { open, counted: 1_000 };
        assert!(is_count_due(&of(19_999), 1_000));
        assert!(!is_count_due(&of(1_000_000), 1_049));
        assert!(is_count_due(&of(1_000_000), 1_050));
        assert!(is_count_due(&of(1_000_000), 900), "the clock was set back");
    }
}
