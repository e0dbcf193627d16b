//! New keys: seeds first, then the rows that name them.

use tessera_runtime::random::Random;
use tessera_runtime::sql::Batch;
use tessera_token::ids::TenantId;
use tessera_token::key::KeyId;
use tessera_token::refusal::RefusalCode;
use tessera_token::trust::Change;

use super::files::{draw, KeyFolder};
use super::put;
use crate::records::keys::{KeyRecord, State};
use crate::refused::Refused;
use crate::tables::Tables;

/// A new next key; its seed is on disk before any record names it.
pub(crate) fn fresh_next(
    folder: &KeyFolder,
    random: &dyn Random,
    now: u64,
) -> Result<(KeyId, KeyRecord), Refused> {
    let key = draw(random)?;
    let id = folder.store(&key).map_err(|error| {
        tracing::error!(%error, "issuer key not stored");
        Refused::from(if error.is_full() { RefusalCode::NotReady } else { RefusalCode::Internal })
    })?;
    Ok((id, KeyRecord::next(key.public_bytes(), now)))
}

/// The active and next key of a new tenant.
pub(crate) fn first_pair(
    tables: &Tables,
    folder: &KeyFolder,
    random: &dyn Random,
    tenant: &TenantId,
    batch: &mut Batch,
    now: u64,
) -> Result<Vec<Change>, Refused> {
    let (active_id, active) = fresh_next(folder, random, now)?;
    let (next_id, next) = fresh_next(folder, random, now)?;
    let active = active.in_state(State::Active, now);
    put(tables, batch, tenant, active_id, &active);
    put(tables, batch, tenant, next_id, &next);
    Ok(vec![active.change(tenant)?, next.change(tenant)?])
}

/// Forgets the seeds of keys that were made for a change that was not written.
pub(crate) fn forget_seeds(folder: &KeyFolder, changes: &[Change]) {
    for change in changes {
        if let Change::Key(key) = change {
            folder.forget(key.key.key_id());
        }
    }
}
