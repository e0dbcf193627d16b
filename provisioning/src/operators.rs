//! Accounts of people and of brokers: opaque tokens, hashed at rest, shown once.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;
use tessera_runtime::random::{self, Random, RandomError};
use tessera_runtime::secret::Secret;
use tessera_runtime::store::Batch;
use tessera_token::encoding::base64url;
use tessera_token::hash::sha256;
use tessera_token::ids::{RoleId, TenantId};
use tessera_token::refusal::RefusalCode;
use tessera_token::trust::TenantSet;

use crate::audit::Actor;
use crate::limits::{OPERATORS, OPERATOR_TENANTS};
use crate::records::octets;
use crate::refused::Refused;
use crate::registry::tenants;
use crate::service::Service;
use crate::tables::Tables;
use crate::write::Attempt;

/// So that a leaked token is recognised by scanners.
const PREFIX: &str = "tsr_op_";
/// Prefix and 32 bytes as base64url.
const TOKEN_CHARS: usize = PREFIX.len() + 43;

/// Rights of an account. No role includes another.
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
    #[serde(default)]
    pub(crate) tenants: Tenants,
    pub(crate) created: u64,
    /// SHA-256 of the token, which is also the row's key.
    #[serde(with = "octets")]
    pub(crate) hash: [u8; 32],
}

/// The account that asks, proved by a token.
#[derive(Debug, Clone)]
pub(crate) struct Operator {
    pub(crate) name: String,
    pub(crate) roles: BTreeSet<OperatorRole>,
    pub(crate) tenants: Tenants,
}

/// The tenants of an account: it sees and changes what is theirs, and nothing else.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) enum Tenants {
    /// Every tenant, and data that belong to none. Accounts of former versions, without tenants, are of this kind.
    #[default]
    All,
    /// These, at least one.
    These(BTreeSet<String>),
}

impl Tenants {
    /// Whether the tenant is one of them.
    pub(crate) fn cover(&self, tenant: &str) -> bool {
        match self {
            Self::All => true,
            Self::These(these) => these.contains(tenant),
        }
    }

    /// Whether all of the others are among them.
    pub(crate) fn contain(&self, others: &Self) -> bool {
        match (self, others) {
            (Self::All, _) => true,
            (Self::These(_), Self::All) => false,
            (Self::These(these), Self::These(others)) => others.is_subset(these),
        }
    }

    /// The tenants of a reader of the trust feed; `None` is all.
    ///
    /// # Errors
    /// `internal` when the record of the account is none of ours.
    pub(crate) fn set(&self) -> Result<Option<TenantSet>, RefusalCode> {
        let Self::These(these) = self else { return Ok(None) };
        let ids = these.iter().map(|tenant| TenantId::parse(tenant));
        let ids = ids.collect::<Result<Vec<_>, _>>().map_err(|_| RefusalCode::Internal)?;
        TenantSet::new(ids).map(Some).map_err(|_| RefusalCode::Internal)
    }

    /// The tenant, where there is one alone; empty otherwise, as in the audit log.
    fn single(&self) -> &str {
        match self {
            Self::These(these) if these.len() == 1 => these.first().map_or("", String::as_str),
            _ => "",
        }
    }
}

impl fmt::Display for Tenants {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all tenants"),
            Self::These(these) => {
                f.write_str(&these.iter().map(String::as_str).collect::<Vec<_>>().join(" "))
            }
        }
    }
}

impl Operator {
    pub(crate) fn actor(&self) -> Actor {
        Actor(self.name.clone())
    }

    /// The name under which limits count its requests: the account, or one for accounts of some tenants, the first of
    /// their tenants. A customer makes accounts as it likes, so it has as many shares as tenants, and no more by accounts
    /// of other parts of them.
    pub(crate) fn share(&self) -> String {
        match &self.tenants {
            Tenants::All => self.name.clone(),
            // No account has such a name.
            Tenants::These(these) => format!("of {}", these.first().map_or("", String::as_str)),
        }
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
    (name, tenants): (&str, Tenants),
    token: &Secret<String>,
    roles: &[OperatorRole],
    now: u64,
) {
    let hash = sha256(token.expose().as_bytes());
    let record = OperatorRecord {
        name: name.to_owned(),
        roles: roles.iter().copied().collect(),
        tenants,
        created: now,
        hash,
    };
    batch.put_record(&tables.operators, hash, &record);
}

/// A new account within the tenants of its maker; its token is shown once.
pub(crate) async fn create(
    service: &Service,
    by: &Operator,
    name: &RoleId,
    roles: &[OperatorRole],
    tenants: Tenants,
) -> Result<Secret<String>, Refused> {
    if roles.is_empty() {
        return Err(Refused::malformed("an account has at least one role"));
    }
    check_tenants(service, by, &tenants)?;
    let known = all(&service.tables)?;
    if known.len() >= OPERATORS {
        return Err(RefusalCode::LimitReached.into());
    }
    let token = draw(&*service.random)?;
    let mut batch = Batch::new();
    // The name is a row of its own, so that of two accounts made at once only one gets it.
    batch.expect_absent(&service.tables.meta, name_key(name.as_str()));
    batch.put(&service.tables.meta, name_key(name.as_str()), Vec::new());
    let detail = format!("{roles:?} of {tenants}");
    let entry = service.entry(&by.actor(), "operator.create", tenants.single(), name.as_str());
    let entry = entry.detail(detail);
    let account = (name.as_str(), tenants);
    put(&service.tables, &mut batch, account, &token, roles, service.now().get());
    match known.iter().any(|account| account.name == name.as_str()) {
        true => Err(RefusalCode::AlreadyExists.into()),
        false => match service.write(batch, entry).await? {
            Attempt::Committed(()) => Ok(token),
            Attempt::Conflict => Err(RefusalCode::AlreadyExists.into()),
        },
    }
}

/// A tenant of others is refused exactly like one that does not exist.
fn check_tenants(service: &Service, by: &Operator, tenants: &Tenants) -> Result<(), Refused> {
    let Tenants::These(these) = tenants else {
        return match by.tenants {
            Tenants::All => Ok(()),
            Tenants::These(_) => Err(Refused::because(
                RefusalCode::OperatorNotAllowed,
                "only an account of all tenants makes another one of all tenants",
            )),
        };
    };
    if these.is_empty() {
        return Err(Refused::malformed("tenants is \"all\" or a list of at least one tenant"));
    }
    if these.len() > OPERATOR_TENANTS {
        return Err(Refused::malformed(format!(
            "an account has at most {OPERATOR_TENANTS} tenants"
        )));
    }
    for tenant in these {
        if !by.tenants.cover(tenant) {
            return Err(RefusalCode::TenantUnknown.into());
        }
        let tenant = tenant.parse::<TenantId>().map_err(|_| RefusalCode::TenantUnknown)?;
        tenants::known(service, &tenant)?;
    }
    Ok(())
}

/// Ends an account at once. An account does not end itself, so that the last administrator stays.
pub(crate) async fn delete(service: &Service, by: &Operator, name: &str) -> Result<(), Refused> {
    if by.name == name {
        return Err(Refused::because(
            RefusalCode::OperatorNotAllowed,
            "an account cannot delete itself",
        ));
    }
    let account = of(&service.tables, by)?.into_iter().find(|account| account.name == name);
    let account = account.ok_or(RefusalCode::NotFound)?;
    let mut batch = Batch::new();
    batch.delete(&service.tables.operators, account.hash);
    batch.delete(&service.tables.meta, name_key(name));
    let entry = service.entry(&by.actor(), "operator.delete", account.tenants.single(), name);
    match service.write(batch, entry).await? {
        Attempt::Committed(()) => Ok(()),
        Attempt::Conflict => Err(RefusalCode::LimitReached.into()),
    }
}

/// The accounts that an operator sees: those within its tenants.
pub(crate) fn of(tables: &Tables, by: &Operator) -> Result<Vec<OperatorRecord>, Refused> {
    let mut accounts = all(tables)?;
    accounts.retain(|account| by.tenants.contain(&account.tenants));
    Ok(accounts)
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
        true => {
            let OperatorRecord { name, roles, tenants, .. } = record;
            Ok(Operator { name, roles, tenants })
        }
        false => Err(unknown.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: &str, tenants: &[&str]) -> Operator {
        let these = tenants.iter().map(|tenant| (*tenant).to_owned()).collect::<BTreeSet<_>>();
        let tenants = if these.is_empty() { Tenants::All } else { Tenants::These(these) };
        Operator { name: name.to_owned(), roles: BTreeSet::new(), tenants }
    }

    #[test]
    fn share_of_accounts_of_some_tenants_is_that_of_their_first_tenant() {
        let own = ["a1", "a2", "a3"];
        let mut shares = BTreeSet::new();
        for part in 1..8_usize {
            let chosen = own.iter().enumerate().filter(|(n, _)| part & (1 << n) != 0);
            let chosen: Vec<_> = chosen.map(|(_, tenant)| *tenant).collect();
            for name in ["one", "two"] {
                shares.insert(of(name, &chosen).share());
            }
        }
        assert_eq!(shares.len(), own.len(), "{shares:?}");
        assert!(!shares.contains(&of("b", &["b"]).share()));
        assert_ne!(of("a1", &[]).share(), of("x", &["a1"]).share());
        assert_ne!(of("one", &[]).share(), of("two", &[]).share());
    }
}
