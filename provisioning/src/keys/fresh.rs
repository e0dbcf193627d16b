//! New keys: seeds first, then the rows that name them.

use tessera_runtime::random::Random;
use tessera_runtime::sql::Batch;
use tessera_token::ids::TenantId;
use tessera_token::key::KeyId;
use tessera_token::trust::Change;

use super::files::draw;
use super::put;
use super::seeds::Seeds;
use crate::records::keys::{KeyRecord, State};
use crate::refused::Refused;
use crate::tables::Tables;

/// A new next key. Its seed is kept before, or with, the batch that names it.
pub(crate) fn fresh_next(
    seeds: &Seeds,
    random: &dyn Random,
    batch: &mut Batch,
    now: u64,
) -> Result<(KeyId, KeyRecord), Refused> {
    let key = draw(random)?;
    let id = seeds.keep(batch, random, &key)?;
    Ok((id, KeyRecord::next(key.public_bytes(), now)))
}

/// The active and next key of a new tenant.
pub(crate) fn first_pair(
    tables: &Tables,
    seeds: &Seeds,
    random: &dyn Random,
    tenant: &TenantId,
    batch: &mut Batch,
    now: u64,
) -> Result<Vec<Change>, Refused> {
    let (active_id, active) = fresh_next(seeds, random, batch, now)?;
    let (next_id, next) = fresh_next(seeds, random, batch, now)?;
    let active = active.in_state(State::Active, now);
    put(tables, batch, tenant, active_id, &active);
    put(tables, batch, tenant, next_id, &next);
    Ok(vec![active.change(tenant)?, next.change(tenant)?])
}

/// Forgets the seeds of keys that were made for a change that was not written.
pub(crate) async fn forget_seeds(seeds: &Seeds, changes: &[Change]) {
    for change in changes {
        if let Change::Key(key) = change {
            seeds.forget(key.key.key_id()).await;
        }
    }
}
