//! Accounts of people and of brokers: opaque tokens, hashed at rest, shown once.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use tessera_runtime::credential::{self, Class};
use tessera_runtime::limits::STORE_SCAN_ROWS;
use tessera_runtime::random::{Random, RandomError};
use tessera_runtime::secret::Secret;
use tessera_runtime::sql::{Batch, Key};
use tessera_runtime::store::StoreError;
use tessera_token::hash::sha256;
use tessera_token::ids::{RoleId, TenantId};
use tessera_token::refusal::RefusalCode;

use crate::audit::{Actor, How, Origin};
use crate::limits::{API_TOKEN_ROWS, OPERATORS, OPERATOR_TENANTS, PURPOSE_CHARS};
use crate::once::Keep;
pub(crate) use crate::records::operators::{OperatorRecord, OperatorRole, Tenants};
use crate::refused::Refused;
use crate::registry::tenants;
use crate::revision::Precondition;
use crate::service::Service;
use crate::tables::{one, Tables};
use crate::warrant::Warrant;
use crate::write::until_committed;

/// The mark that changes with each new account and API token: of two that are made at once, one is tried again and counts
/// the other.
const MADE: &str = "credentials_made";

/// The roles of which an account must have one that makes and ends accounts.
pub(crate) const MAKERS: &[OperatorRole] = &[OperatorRole::Admin];

/// The account that asks, proved by a token.
#[derive(Debug, Clone)]
pub(crate) struct Operator {
    pub(crate) name: String,
    pub(crate) roles: BTreeSet<OperatorRole>,
    pub(crate) tenants: Tenants,
    pub(crate) shown: Shown,
    /// Where its request comes from.
    pub(crate) origin: Origin,
}

/// The token that a request showed.
#[derive(Debug, Clone)]
pub(crate) struct Shown {
    pub(crate) class: Class,
    /// Its public name.
    pub(crate) id: String,
    /// The key of the row of the account behind it.
    pub(crate) account: [u8; 32],
}

impl Shown {
    /// The origin of a request with this token; the door adds what it knows.
    pub(crate) fn origin(&self) -> Origin {
        Origin { how: How::Api, credential: self.id.clone(), network: String::new() }
    }
}

impl Operator {
    pub(crate) fn actor(&self) -> Actor {
        Actor { name: self.name.clone(), origin: self.origin.clone() }
    }

    /// Its rights, for work that asks for them again.
    pub(crate) fn warrant(
        &self,
        one_of: &'static [OperatorRole],
        tenant: Option<&TenantId>,
    ) -> Warrant {
        Warrant {
            account: self.shown.account,
            api_token: (self.shown.class == Class::Api).then(|| self.shown.id.clone()),
            one_of,
            tenant: tenant.map(|tenant| tenant.as_str().to_owned()),
        }
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
    credential::draw(Class::Operator, random)
}

pub(crate) fn put(
    tables: &Tables,
    batch: &mut Batch,
    (name, tenants): (&str, Tenants),
    token: &Secret<String>,
    roles: &[OperatorRole],
    now: u64,
) -> OperatorRecord {
    let hash = sha256(token.expose().as_bytes());
    let record = OperatorRecord {
        name: name.to_owned(),
        roles: roles.iter().copied().collect(),
        tenants,
        created: now,
        is_old_form: false,
    };
    batch.put(&tables.operators, one(hash), &record);
    record
}

/// A new account within the tenants of its maker; its token is shown once.
pub(crate) async fn create(
    service: &Service,
    by: &Operator,
    name: &RoleId,
    roles: &[OperatorRole],
    tenants: Tenants,
    keep: &Keep<'_, Secret<String>>,
) -> Result<Secret<String>, Refused> {
    if roles.is_empty() {
        return Err(Refused::malformed("an account has at least one role"));
    }
    check_tenants(service, by, &tenants).await?;
    until_committed(async || {
        let tables = &service.tables;
        let mut batch = Batch::new();
        by.warrant(MAKERS, None).demand(service, &mut batch).await?;
        in_turn(tables, &mut batch).await?;
        let known = all(tables).await?;
        if known.len() >= OPERATORS {
            return Err(RefusalCode::LimitReached.into());
        }
        if known.iter().any(|(_, account)| account.name == name.as_str()) {
            return Err(RefusalCode::AlreadyExists.into());
        }
        let token = draw(&*service.random)?;
        let detail = format!("{roles:?} of {tenants}");
        let entry = service.entry(&by.actor(), "operator.create", tenants.single(), name.as_str());
        let entry = entry.detail(detail);
        let account = (name.as_str(), tenants.clone());
        keep.with(service, &mut batch, &token).await?;
        let record = put(tables, &mut batch, account, &token, roles, service.now().get());
        let tried = service.write(batch, entry.change(None, Some(&record))).await?;
        Ok(tried.map(|()| token))
    })
    .await
}

/// Demands that no other account or API token was made since now, and says so of this one.
pub(crate) async fn in_turn(tables: &Tables, batch: &mut Batch) -> Result<(), StoreError> {
    let made = tables.marks.get::<u64>(MADE).await?;
    tables.marks.expect_same(batch, MADE, made.as_ref());
    tables.marks.put(batch, MADE, &made.unwrap_or_default().wrapping_add(1));
    Ok(())
}

/// Checks the purpose of a new token, which people read.
pub(crate) fn check_purpose(purpose: &str) -> Result<(), Refused> {
    let fits = (1..=PURPOSE_CHARS).contains(&purpose.chars().count());
    match fits && !purpose.chars().any(char::is_control) {
        true => Ok(()),
        false => Err(Refused::malformed(format!(
            "purpose is 1 to {PURPOSE_CHARS} characters without control characters"
        ))),
    }
}

/// The life of a new token, in seconds: `wanted` or the usual one, within the bounds.
pub(crate) fn check_life(
    wanted: Option<u64>,
    usual: u64,
    bounds: RangeInclusive<u64>,
) -> Result<u64, Refused> {
    let life = wanted.unwrap_or(usual);
    match bounds.contains(&life) {
        true => Ok(life),
        false => {
            let (least, most) = bounds.into_inner();
            Err(Refused::malformed(format!("expires_in is {least} to {most} seconds")))
        }
    }
}

/// A tenant of others is refused exactly like one that does not exist.
pub(crate) async fn check_tenants(
    service: &Service,
    by: &Operator,
    tenants: &Tenants,
) -> Result<(), Refused> {
    let Tenants::These(these) = tenants else {
        return match by.tenants {
            Tenants::All => Ok(()),
            Tenants::These(_) => Err(Refused::because(
                RefusalCode::OperatorNotAllowed,
                "only an account of all tenants gives rights in all tenants",
            )),
        };
    };
    if these.is_empty() {
        return Err(Refused::malformed("tenants is \"all\" or a list of at least one tenant"));
    }
    if these.len() > OPERATOR_TENANTS {
        return Err(Refused::malformed(format!("at most {OPERATOR_TENANTS} tenants")));
    }
    for tenant in these {
        if !by.tenants.cover(tenant) {
            return Err(RefusalCode::TenantUnknown.into());
        }
        let tenant = tenant.parse::<TenantId>().map_err(|_| RefusalCode::TenantUnknown)?;
        tenants::known(service, &tenant).await?;
    }
    Ok(())
}

/// Ends an account at once. An account does not end itself, so that the last administrator stays.
pub(crate) async fn delete(
    service: &Service,
    by: &Operator,
    name: &str,
    when: &Precondition,
) -> Result<(), Refused> {
    if by.name == name {
        return Err(Refused::because(
            RefusalCode::OperatorNotAllowed,
            "an account cannot delete itself",
        ));
    }
    until_committed(async || {
        let (key, account) = named(&service.tables, by, name).await?;
        when.check(Some(&account))?;
        let mut batch = Batch::new();
        by.warrant(MAKERS, None).demand(service, &mut batch).await?;
        batch.expect(&service.tables.operators, key.clone(), &account);
        end(&service.tables, &mut batch, key).await?;
        let entry = service.entry(&by.actor(), "operator.delete", account.tenants.single(), name);
        service.write(batch, entry.change(Some(&account), None)).await
    })
    .await
}

/// Takes an account away, and its API tokens with it. One that is made at the same moment opens nothing: its account is gone.
pub(crate) async fn end(tables: &Tables, batch: &mut Batch, key: Key) -> Result<(), StoreError> {
    let account = key.first().cloned().into_iter().map(|hash| ("account", hash));
    let account: Vec<_> = account.collect();
    let made = tables.api_tokens.find(&account, None, API_TOKEN_ROWS).await?;
    for (token, _) in made {
        batch.delete(&tables.api_tokens, token);
    }
    batch.delete(&tables.operators, key);
    Ok(())
}

/// An account, and the key of its row.
pub(crate) type Account = (Key, OperatorRecord);

/// The accounts that an operator sees: those within its tenants.
pub(crate) async fn of(tables: &Tables, by: &Operator) -> Result<Vec<Account>, Refused> {
    let mut accounts = all(tables).await?;
    accounts.retain(|(_, account)| by.tenants.contain(&account.tenants));
    Ok(accounts)
}

/// The account of this name, when the operator sees it.
pub(crate) async fn named(tables: &Tables, by: &Operator, name: &str) -> Result<Account, Refused> {
    let accounts = of(tables, by).await?;
    let account = accounts.into_iter().find(|(_, account)| account.name == name);
    account.ok_or_else(|| RefusalCode::NotFound.into())
}

/// All accounts, by name.
pub(crate) async fn all(tables: &Tables) -> Result<Vec<Account>, Refused> {
    let (mut accounts, mut after) = (Vec::new(), None);
    loop {
        let rows = tables.operators.scan(&[], after.as_deref(), STORE_SCAN_ROWS).await?;
        after = rows.last().filter(|_| rows.len() == STORE_SCAN_ROWS).map(|(key, _)| key.clone());
        accounts.extend(rows);
        if after.is_none() {
            break;
        }
    }
    accounts.sort_by(|(_, one), (_, two)| one.name.cmp(&two.name));
    Ok(accounts)
}

/// The account of an operator token. The row is found by the hash, which tells an attacker nothing about the token. A text
/// that is no such token is refused before the store is asked.
pub(crate) async fn find(tables: &Tables, token: &str) -> Result<Operator, Refused> {
    let unknown = RefusalCode::OperatorUnknown;
    if credential::read(token).map(|form| form.class) != Ok(Class::Operator) {
        return Err(unknown.into());
    }
    let hash = sha256(token.as_bytes());
    let record = tables.operators.get(one(hash)).await?.ok_or(unknown)?;
    let shown = Shown { class: Class::Operator, id: credential::id(token), account: hash };
    let OperatorRecord { name, roles, tenants, .. } = record;
    let origin = shown.origin();
    Ok(Operator { name, roles, tenants, shown, origin })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: &str, tenants: &[&str]) -> Operator {
        let these = tenants.iter().map(|tenant| (*tenant).to_owned()).collect::<BTreeSet<_>>();
        let tenants = if these.is_empty() { Tenants::All } else { Tenants::These(these) };
        let shown = Shown { class: Class::Operator, id: String::new(), account: [0; 32] };
        let origin = shown.origin();
        Operator { name: name.to_owned(), roles: BTreeSet::new(), tenants, shown, origin }
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
