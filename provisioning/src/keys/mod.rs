//! Signing keys. The root key signs the trust feed; each tenant's issuer keys sign its tokens.
//!
//! Life of an issuer key: next → active → retiring → retired, or compromised at any time. The next key is always
//! published before it signs, so that no verifier meets a kid that it has not heard of.
//! An issuer key is a seed, or an object in a security module ([`issuers`]).
//! Seeds are files of mode 0600 in the service's folder, and the store has public halves and states alone; or, where several
//! processes share a database, rows that are sealed to a key which is not in the database ([`seeds`]).

use tessera_runtime::sql::{Batch, Value};
use tessera_runtime::store::StoreError;
use tessera_token::ids::TenantId;
use tessera_token::key::KeyId;
use tessera_token::refusal::RefusalCode;

use crate::records::keys::{KeyRecord, State};
use crate::refused::Refused;
use crate::tables::{bytes, one, pair, text, Tables};
use tessera_token::limits::TRUST_KEYS;

pub(crate) mod files;
pub(crate) mod fresh;
pub(crate) mod issuers;
pub(crate) mod sealed;
pub(crate) mod sealed_rows;
pub(crate) mod seeds;
#[cfg(test)]
mod tests;

/// All keys of a tenant, in the order of their ids, as of one moment.
pub(crate) async fn of_tenant(
    tables: &Tables,
    tenant: &TenantId,
) -> Result<Vec<(KeyId, KeyRecord)>, StoreError> {
    let rows = tables.keys.scan_whole(&one(tenant.as_str()), None, TRUST_KEYS).await?;
    rows.into_iter().map(|(key, record)| Ok((id_of(&key)?, record))).collect()
}

/// The key of that state, of which a tenant has one active and one next.
pub(crate) async fn in_state(
    tables: &Tables,
    tenant: &TenantId,
    state: State,
) -> Result<Option<(KeyId, KeyRecord)>, StoreError> {
    let wanted = [("tenant", tenant.as_str().into()), ("state", state.as_str().into())];
    let found = tables.keys.find(&wanted, None, 1).await?.into_iter().next();
    found.map(|(key, record)| Ok((id_of(&key)?, record))).transpose()
}

/// The key that signs for a tenant now.
pub(crate) async fn signing(
    tables: &Tables,
    tenant: &TenantId,
) -> Result<(KeyId, KeyRecord), Refused> {
    let found = in_state(tables, tenant, State::Active).await?;
    found.ok_or_else(|| RefusalCode::IssuerKeyMissing.into())
}

/// The key id at the end of a store key.
pub(crate) fn id_of(key: &[Value]) -> Result<KeyId, StoreError> {
    bytes(key, 1).map(KeyId::from_bytes)
}

/// The tenant at the head of a store key.
pub(crate) fn tenant_of(key: &[Value]) -> Result<TenantId, StoreError> {
    let of = |_| StoreError::Damaged { table: "", why: "the id of a tenant".to_owned() };
    TenantId::parse(text(key, 0)?).map_err(of)
}

pub(crate) fn put(
    tables: &Tables,
    batch: &mut Batch,
    tenant: &TenantId,
    id: KeyId,
    record: &KeyRecord,
) {
    batch.put(&tables.keys, pair(tenant, id.as_bytes()), record);
}
