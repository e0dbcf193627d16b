//! Accounts of people and of brokers: opaque tokens, hashed at rest, shown once.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;
use tessera_runtime::random::{self, Random, RandomError};
use tessera_runtime::secret::Secret;
use tessera_runtime::store::Batch;
use tessera_token::hash::sha256;
use tessera_token::ids::RoleId;
use tessera_token::refusal::RefusalCode;
use tessera_token::text::base64url;

use crate::limits::OPERATORS;
use crate::refused::Refused;
use crate::registry::records::octets;
use crate::registry::Actor;
use crate::service::{Service, Tried};
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
    /// Makes tenants, roles and operator accounts.
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

/// A new account; its token is shown once.
pub(crate) async fn create(
    service: &Service,
    by: &Actor,
    name: &RoleId,
    roles: &[OperatorRole],
) -> Result<Secret<String>, Refused> {
    if roles.is_empty() {
        return Err(Refused::malformed("an account has at least one role"));
    }
    let known = all(&service.tables)?;
    if known.len() >= OPERATORS {
        return Err(RefusalCode::LimitReached.into());
    }
    let token = draw(&*service.random)?;
    let mut batch = Batch::new();
    // The name is a row of its own, so that of two accounts made at once only one gets it.
    batch.expect_absent(&service.tables.meta, name_key(name.as_str()));
    batch.put(&service.tables.meta, name_key(name.as_str()), Vec::new());
    put(&service.tables, &mut batch, name.as_str(), &token, roles, service.now().get());
    let entry =
        service.entry(by, "operator.create", "", name.as_str()).detail(format!("{roles:?}"));
    match known.iter().any(|account| account.name == name.as_str()) {
        true => Err(RefusalCode::AlreadyExists.into()),
        false => match service.write(batch, entry).await? {
            Tried::Done(()) => Ok(token),
            Tried::Again => Err(RefusalCode::AlreadyExists.into()),
        },
    }
}

/// Ends an account at once. Nobody ends their own, so that the last administrator cannot lock everybody out.
pub(crate) async fn delete(service: &Service, by: &Actor, name: &str) -> Result<(), Refused> {
    if by.0 == name {
        return Err(Refused::because(
            RefusalCode::OperatorNotAllowed,
            "nobody ends their own account",
        ));
    }
    let account = all(&service.tables)?.into_iter().find(|account| account.name == name);
    let account = account.ok_or(RefusalCode::NotFound)?;
    let mut batch = Batch::new();
    batch.delete(&service.tables.operators, account.hash);
    batch.delete(&service.tables.meta, name_key(name));
    let entry = service.entry(by, "operator.delete", "", name);
    match service.write(batch, entry).await? {
        Tried::Done(()) => Ok(()),
        Tried::Again => Err(RefusalCode::LimitReached.into()),
    }
}

/// All accounts, by name.
pub(crate) fn all(tables: &Tables) -> Result<Vec<OperatorRecord>, Refused> {
    let rows = tables.operators.scan_records::<OperatorRecord>(&[], None, OPERATORS + 8)?;
    let mut accounts: Vec<_> = rows.into_iter().map(|(_, account)| account).collect();
    accounts.sort_by(|one, two| one.name.cmp(&two.name));
    Ok(accounts)
}

fn name_key(name: &str) -> Vec<u8> {
    [b"operator ", name.as_bytes()].concat()
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
