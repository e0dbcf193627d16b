//! Signing keys. The root key signs the trust feed; each tenant's issuer keys sign its tokens.
//!
//! Life of an issuer key: next → active → retiring → retired, or compromised at any time. The next key is always
//! published before it signs, so that no verifier meets a kid that it has not heard of.
//! Seeds are files of mode 0600 in the service's folder; only public halves and states are in the store.

use tessera_runtime::store::{Batch, StoreError};
use tessera_token::ids::TenantId;
use tessera_token::key::KeyId;
use tessera_token::refusal::RefusalCode;

use crate::records::keys::{KeyRecord, State};
use crate::refused::Refused;
use crate::tables::{pair, Tables};
use tessera_token::limits::TRUST_KEYS;

pub(crate) mod files;
pub(crate) mod fresh;
#[cfg(test)]
mod tests;

/// All keys of a tenant, in the order of their ids, as of one moment.
pub(crate) fn of_tenant(
    tables: &Tables,
    tenant: &TenantId,
) -> Result<Vec<(Vec<u8>, KeyRecord)>, StoreError> {
    tables.keys.scan_whole(&pair(tenant, []), TRUST_KEYS)
}

/// The key of that state, of which a tenant has one active and one next.
pub(crate) fn in_state(
    tables: &Tables,
    tenant: &TenantId,
    state: State,
) -> Result<Option<(KeyId, KeyRecord)>, StoreError> {
    let keys = of_tenant(tables, tenant)?;
    let found = keys.into_iter().find(|(_, record)| record.state == state);
    Ok(found.and_then(|(key, record)| Some((id_of(&key)?, record))))
}

/// The key that signs for a tenant now.
pub(crate) fn signing(tables: &Tables, tenant: &TenantId) -> Result<KeyId, Refused> {
    let found = in_state(tables, tenant, State::Active)?;
    found.map(|(id, _)| id).ok_or_else(|| RefusalCode::IssuerKeyMissing.into())
}

/// The key id at the end of a store key.
pub(crate) fn id_of(key: &[u8]) -> Option<KeyId> {
    key.last_chunk::<8>().map(|bytes| KeyId::from_bytes(*bytes))
}

/// The tenant at the head of a store key.
pub(crate) fn tenant_of(key: &[u8]) -> Option<TenantId> {
    let name = key.split(|byte| *byte == 0).next()?;
    TenantId::parse(std::str::from_utf8(name).ok()?).ok()
}

pub(crate) fn put(
    tables: &Tables,
    batch: &mut Batch,
    tenant: &TenantId,
    id: KeyId,
    record: &KeyRecord,
) {
    batch.put_record(&tables.keys, pair(tenant, id.as_bytes()), record);
}
