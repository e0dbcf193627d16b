//! Accounts of people and of brokers: opaque tokens, hashed at rest, shown once.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;
use tessera_runtime::random::{self, Random, RandomError};
use tessera_runtime::secret::Secret;
use tessera_runtime::store::Batch;
use tessera_token::hash::sha256;
use tessera_token::refusal::RefusalCode;
use tessera_token::text::base64url;

use crate::refused::Refused;
use crate::registry::records::octets;
use crate::registry::Actor;
use crate::tables::Tables;

/// So that a leaked token is recognised by scanners.
const PREFIX: &str = "tsr_op_";
/// Prefix and 32 bytes as base64url.
const TOKEN_CHARS: usize = PREFIX.len() + 43;

/// What an account may do. No role includes another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum OperatorRole {
    /// Reads the registry.
    Viewer,
    /// Makes groups and claims, revokes devices.
    Fleet,
    /// Revokes and reinstates everything, rotates keys, reads the audit log.
    Security,
    /// Makes tenants and roles.
    Admin,
    /// Reads the trust feed.
    Feed,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct OperatorRecord {
    pub(crate) name: String,
    pub(crate) roles: BTreeSet<OperatorRole>,
    pub(crate) created: u64,
    /// SHA-256 of the token, which is also the row's key.
    #[serde(with = "octets")]
    pub(crate) hash: [u8; 32],
}

/// Who asks, proved by a token.
#[derive(Debug, Clone)]
pub(crate) struct Operator {
    pub(crate) name: String,
    pub(crate) roles: BTreeSet<OperatorRole>,
}

impl Operator {
    pub(crate) fn actor(&self) -> Actor {
        Actor(self.name.clone())
    }
}

/// A new token.
pub(crate) fn draw(random: &dyn Random) -> Result<Secret<String>, RandomError> {
    let bytes = Secret::new(random::bytes::<32>(random)?);
    Ok(Secret::new(format!("{PREFIX}{}", base64url(bytes.expose()))))
}

pub(crate) fn put(
    tables: &Tables,
    batch: &mut Batch,
    name: &str,
    token: &Secret<String>,
    roles: &[OperatorRole],
    now: u64,
) {
    let hash = sha256(token.expose().as_bytes());
    let record = OperatorRecord {
        name: name.to_owned(),
        roles: roles.iter().copied().collect(),
        created: now,
        hash,
    };
    batch.put_record(&tables.operators, hash, &record);
}

/// The account of a token. The row is found by the hash, which tells an attacker nothing about the token; the hash is
/// compared again in constant time.
pub(crate) fn find(tables: &Tables, token: &str) -> Result<Operator, Refused> {
    let unknown = RefusalCode::OperatorUnknown;
    if token.len() != TOKEN_CHARS || !token.starts_with(PREFIX) {
        return Err(unknown.into());
    }
    let hash = sha256(token.as_bytes());
    let record: OperatorRecord = tables.operators.get_record(hash)?.ok_or(unknown)?;
    match bool::from(record.hash.ct_eq(&hash)) {
        true => Ok(Operator { name: record.name, roles: record.roles }),
        false => Err(unknown.into()),
    }
}
