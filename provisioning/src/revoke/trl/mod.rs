//! The token revocation list of RFC 9770: the hashes of tokens that are revoked and have not expired.
//!
//! [`follow`] reads the trust feed and lists the tokens that each event has ended: one token, those of a device, of a
//! group, of a tenant, of an issuer key. [`expire`] takes off what has expired. [`answer`] answers full queries and diff
//! queries. Every change of a tenant's list is one update with a number; numbers, rows and the place in the feed are
//! written together, so that several processes make one list and a restart loses nothing.

pub(crate) mod answer;
pub(crate) mod expire;
pub(crate) mod follow;
#[cfg(test)]
mod tests;

use tessera_runtime::sql::Batch;

use crate::records::trl::{ListState, ListUpdate, ListedToken};
use crate::refused::Refused;
use crate::service::Service;
use crate::tables::one;

/// The mark: the number of the newest update of any tenant.
const NUMBER: &str = "trl_update";

/// An update of the list of one tenant that is to be written.
struct Update {
    batch: Batch,
    /// The number before it.
    before: Option<u64>,
    number: u64,
    known: Option<ListState>,
    state: ListState,
}

impl Update {
    async fn begin(service: &Service, tenant: &str) -> Result<Self, Refused> {
        let tables = &service.tables;
        let before: Option<u64> = tables.marks.get(NUMBER).await?;
        // The first update of all has the number 0, as the RFC says.
        let number = before.map_or(0, |before| before + 1);
        let known = tables.trl_tenants.get(one(tenant)).await?;
        let state = known.clone().unwrap_or_default();
        Ok(Self { batch: Batch::new(), before, number, known, state })
    }

    fn put(&mut self, service: &Service, tenant: &str, hash: &[u8], row: &ListedToken) {
        let key = vec![tenant.into(), hash.into()];
        self.batch.put(&service.tables.trl_tokens, key, row);
    }

    /// The whole batch; `changes` says whether the list itself has changed.
    fn end(mut self, service: &Service, tenant: &str, changes: bool) -> Batch {
        let tables = &service.tables;
        if changes {
            tables.marks.expect_same(&mut self.batch, NUMBER, self.before.as_ref());
            tables.marks.put(&mut self.batch, NUMBER, &self.number);
            let key = vec![tenant.into(), self.number.into()];
            let at = service.now().get();
            self.batch.add(&tables.trl_updates, key, &ListUpdate { at });
        }
        if self.known.as_ref() != Some(&self.state) {
            let key = one(tenant);
            self.batch.expect_same(&tables.trl_tenants, key.clone(), self.known.as_ref());
            self.batch.put(&tables.trl_tenants, key, &self.state);
        }
        self.batch
    }
}
