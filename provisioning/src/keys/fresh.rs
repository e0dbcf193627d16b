//! The keys of a new tenant, and those that were made for nothing.

use tessera_runtime::random::Random;
use tessera_runtime::sql::Batch;
use tessera_token::ids::TenantId;
use tessera_token::key::KeyId;

use super::issuers::IssuerKeys;
use super::put;
use super::seeds::SeedError;
use crate::records::keys::{KeyRecord, State};
use crate::tables::Tables;

/// The active and next key of a new tenant. When only one can be made, none stays.
pub(crate) async fn first_pair(
    tables: &Tables,
    keys: &IssuerKeys,
    random: &dyn Random,
    tenant: &TenantId,
    batch: &mut Batch,
    now: u64,
) -> Result<[(KeyId, KeyRecord); 2], SeedError> {
    let (id, active) = keys.make(batch, random, now).await?;
    let active = (id, active.in_state(State::Active, now));
    let next = match keys.make(batch, random, now).await {
        Ok(next) => next,
        Err(error) => {
            forget(keys, [&active]).await;
            return Err(error);
        }
    };
    for (id, record) in [&active, &next] {
        put(tables, batch, tenant, *id, record);
    }
    Ok([active, next])
}

/// Forgets keys that have ended, or that were made for a change that was not written.
pub(crate) async fn forget(
    keys: &IssuerKeys,
    ended: impl IntoIterator<Item = &(KeyId, KeyRecord)>,
) {
    for (id, record) in ended {
        keys.forget(*id, record).await;
    }
}
