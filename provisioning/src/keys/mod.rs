//! Signing keys. The root key signs the trust feed; each tenant's issuer keys sign its tokens.
//!
//! Life of an issuer key: next → active → retiring → retired, or compromised at any time. The next key is always
//! published before it signs, so that no verifier meets a kid that it has not heard of.
//! Seeds are files of mode 0600 in the service's folder; only public halves and states are in the store.

use serde::{Deserialize, Serialize};
use tessera_runtime::store::{Batch, StoreError};
use tessera_token::chain::{IssuerKey, KeyState};
use tessera_token::ids::TenantId;
use tessera_token::key::{KeyId, PublicKey};
use tessera_token::refusal::RefusalCode;
use tessera_token::time::UnixSeconds;
use tessera_token::trust::Change;

use crate::limits::KEY_SECONDS;
use crate::records::octets;
use crate::tables::{pair, Tables};
use tessera_token::limits::TRUST_KEYS;

pub(crate) mod files;
pub(crate) mod rotate;
mod succession;
#[cfg(test)]
mod tests;

/// A key's state at rest; the words are those of the REST answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    Next,
    Active,
    Retiring,
    Retired,
    Compromised,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KeyRecord {
    #[serde(with = "octets")]
    pub(crate) public: [u8; 32],
    pub(crate) state: State,
    pub(crate) created: u64,
    pub(crate) not_before: u64,
    pub(crate) not_after: u64,
    /// When it came into its present state.
    pub(crate) since: u64,
}

impl KeyRecord {
    /// A next key. Valid from a minute ago, so that a verifier whose clock lags accepts its first token.
    pub(crate) fn next(public: [u8; 32], now: u64) -> Self {
        Self {
            public,
            state: State::Next,
            created: now,
            not_before: now.saturating_sub(tessera_token::limits::CLOCK_SKEW_SECONDS),
            not_after: now.saturating_add(KEY_SECONDS),
            since: now,
        }
    }

    pub(crate) fn public(&self) -> Result<PublicKey, RefusalCode> {
        PublicKey::from_bytes(&self.public).map_err(|_| RefusalCode::Internal)
    }

    pub(crate) fn in_state(&self, state: State, now: u64) -> Self {
        Self { state, since: now, ..self.clone() }
    }

    /// What verifiers must know about it.
    pub(crate) fn change(&self, tenant: &TenantId) -> Result<Change, RefusalCode> {
        Ok(Change::Key(IssuerKey {
            tenant: tenant.clone(),
            key: self.public()?,
            not_before: UnixSeconds::new(self.not_before),
            not_after: UnixSeconds::new(self.not_after),
            state: match self.state {
                State::Next => KeyState::Next,
                State::Active => KeyState::Active,
                State::Retiring => KeyState::Retiring,
                State::Retired => KeyState::Retired,
                State::Compromised => KeyState::Compromised,
            },
        }))
    }
}

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
