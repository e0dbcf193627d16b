//! API tokens: a part of the rights of an account, for a program, for a time.
//!
//! A token is hashed at rest and shown once. Its rights are asked anew at each request: those of its row that its account has
//! now, so a right that the account loses is lost to its tokens at once. It makes no tokens and no accounts (`rest/auth.rs`).
//! A token belongs to the token of the account under which it was made: with that one it ends.

use std::collections::BTreeSet;

use tessera_runtime::credential::{self, Class};
use tessera_runtime::secret::Secret;
use tessera_runtime::sql::{Batch, Key};
use tessera_token::hash::sha256;
use tessera_token::refusal::RefusalCode;

use crate::limits::{
    API_TOKENS_LOOK, API_TOKENS_PER_ACCOUNT, API_TOKEN_ROWS, API_TOKEN_SECONDS,
    API_TOKEN_SECONDS_LEAST, API_TOKEN_SECONDS_MOST, API_TOKEN_USED_EVERY,
};
use crate::once::Keep;
use crate::operators::{
    self, check_life, check_purpose, check_tenants, Operator, OperatorRole, Shown, Tenants,
};
pub(crate) use crate::records::api_tokens::ApiTokenRecord;
use crate::records::Page;
use crate::refused::Refused;
use crate::service::Service;
use crate::tables::{one, text};
use crate::write::until_committed;

/// The rights and the life that are wanted for a new token.
pub(crate) struct Wanted {
    pub(crate) purpose: String,
    pub(crate) roles: BTreeSet<OperatorRole>,
    pub(crate) tenants: Tenants,
    /// Seconds.
    pub(crate) expires_in: Option<u64>,
}

/// A new token, which is shown now and never again.
pub(crate) struct Made {
    pub(crate) id: String,
    pub(crate) record: ApiTokenRecord,
    pub(crate) token: Secret<String>,
}

/// The account behind the token of a request, with the rights that the token has now. `network` is where the request comes
/// from. A text that is no token is refused before the store is asked.
///
/// # Errors
/// `operator_unknown`.
pub(crate) async fn find(
    service: &Service,
    token: &str,
    network: &str,
) -> Result<Operator, Refused> {
    let unknown = RefusalCode::OperatorUnknown;
    match credential::read(token).map_err(|_| unknown)?.class {
        Class::Operator => operators::find(&service.tables, token).await,
        Class::Api => of_api_token(service, token, network).await,
        Class::Partner => Err(unknown.into()),
    }
}

async fn of_api_token(service: &Service, token: &str, network: &str) -> Result<Operator, Refused> {
    let unknown = RefusalCode::OperatorUnknown;
    let (id, hash) = (credential::id(token), sha256(token.as_bytes()));
    let row = service.tables.api_tokens.get(one(id.as_str())).await?;
    let row = row.filter(|row| row.token_hash == hash).ok_or(unknown)?;
    if row.end() <= service.time.latest().get() {
        return Err(Refused::because(unknown, format!("the API token {id} has expired")));
    }
    let account = service.tables.operators.get(one(row.account)).await?.ok_or(unknown)?;
    note_use(service, &id, &row, network).await;
    let shown = Shown { class: Class::Api, id, account: row.account };
    Ok(Operator {
        name: account.name,
        roles: row.roles.intersection(&account.roles).copied().collect(),
        tenants: row.tenants.in_common(&account.tenants),
        origin: shown.origin(),
        shown,
    })
}

/// Notes when and from where a token was used, at most once a minute. The request goes on when that cannot be written.
async fn note_use(service: &Service, id: &str, row: &ApiTokenRecord, network: &str) {
    let now = service.now().get();
    let lately = |at: u64| now.abs_diff(at) < API_TOKEN_USED_EVERY;
    if row.used.as_ref().is_some_and(|(at, _)| lately(*at)) {
        return;
    }
    let used = ApiTokenRecord { used: Some((now, network.to_owned())), ..row.clone() };
    let mut batch = Batch::new();
    batch.expect(&service.tables.api_tokens, one(id), row);
    batch.put(&service.tables.api_tokens, one(id), &used);
    // After a conflict another request has noted it, or the token is gone.
    if let Err(refused) = service.write_unnoted(batch).await {
        tracing::warn!(code = %refused.code, "the use of an API token was not noted");
    }
}

/// A new token of the account that asks.
pub(crate) async fn create(
    service: &Service,
    by: &Operator,
    wanted: &Wanted,
    keep: &Keep<'_, Made>,
) -> Result<Made, Refused> {
    let life = check(wanted)?;
    check_tenants(service, by, &wanted.tenants).await?;
    until_committed(async || {
        let tables = &service.tables;
        let account = tables.operators.get(one(by.shown.account)).await?;
        let account = account.ok_or(RefusalCode::OperatorUnknown)?;
        if let Some(role) = wanted.roles.iter().find(|role| !account.roles.contains(role)) {
            let why = format!("the account {} has no role {role:?} to give", account.name);
            return Err(Refused::because(RefusalCode::OperatorNotAllowed, why.to_lowercase()));
        }
        let mut batch = Batch::new();
        operators::in_turn(tables, &mut batch).await?;
        let now = service.time.latest().get();
        let of_account = [("account", by.shown.account.into())];
        let present = tables.api_tokens.find(&of_account, None, API_TOKEN_ROWS).await?;
        let alive = present.iter().filter(|(_, token)| token.end() > now).count();
        if alive >= API_TOKENS_PER_ACCOUNT {
            let why =
                format!("an account has at most {API_TOKENS_PER_ACCOUNT} API tokens: delete some");
            return Err(Refused::because(RefusalCode::LimitReached, why));
        }
        if present.len() >= API_TOKEN_ROWS {
            let why = "too many API tokens of the account have expired lately: delete some";
            return Err(Refused::because(RefusalCode::LimitReached, why));
        }
        let token = credential::draw(Class::Api, &*service.random)?;
        let (id, now) = (credential::id(token.expose()), service.now().get());
        let record = ApiTokenRecord {
            token_hash: sha256(token.expose().as_bytes()),
            account: by.shown.account,
            maker: account.name.clone(),
            purpose: wanted.purpose.clone(),
            roles: wanted.roles.clone(),
            tenants: wanted.tenants.clone(),
            created: now,
            expires: now.saturating_add(life),
            used: None,
        };
        batch.expect(&tables.operators, one(by.shown.account), &account);
        batch.insert(&tables.api_tokens, one(id.as_str()), &record);
        let entry = service.entry(&by.actor(), "api-token.create", wanted.tenants.single(), &id);
        let detail = format!("{:?} of {}, until {}", wanted.roles, wanted.tenants, record.expires);
        let entry = entry.detail(detail).change(None, Some(&record));
        let made = Made { id, record, token };
        keep.with(service, &mut batch, &made).await?;
        let tried = service.write(batch, entry).await?;
        Ok(tried.map(|()| made))
    })
    .await
}

/// Checks what is wanted; gives the life in seconds.
fn check(wanted: &Wanted) -> Result<u64, Refused> {
    let Wanted { purpose, roles, expires_in, .. } = wanted;
    check_purpose(purpose)?;
    if roles.is_empty() {
        return Err(Refused::malformed("a token has at least one role"));
    }
    if roles.contains(&OperatorRole::Feed) {
        return Err(Refused::malformed(
            "an API token has no role feed: make an account for a broker",
        ));
    }
    check_life(*expires_in, API_TOKEN_SECONDS, API_TOKEN_SECONDS_LEAST..=API_TOKEN_SECONDS_MOST)
}

/// Whether the account sees this token: its own; with the role `admin` or `security` those within its tenants.
fn sees(by: &Operator, record: &ApiTokenRecord) -> bool {
    let watches = [OperatorRole::Admin, OperatorRole::Security];
    let watches = watches.iter().any(|role| by.roles.contains(role));
    record.account == by.shown.account || watches && by.tenants.contain(&record.tenants)
}

/// The tokens that the account sees. A page looks at so many rows that it stays short; it may hold none, and name the next.
pub(crate) async fn list(
    service: &Service,
    by: &Operator,
    after: Option<&str>,
    limit: usize,
) -> Result<Page<(String, ApiTokenRecord)>, Refused> {
    let mut after: Option<Key> = after.map(one);
    let (mut items, mut seen) = (Vec::new(), 0);
    loop {
        let rows = service.tables.api_tokens.scan(&[], after.as_deref(), limit + 1).await?;
        let is_last = rows.len() <= limit;
        for (key, record) in rows {
            let id = text(&key, 0)?.to_owned();
            if sees(by, &record) {
                items.push((id, record));
            }
            (after, seen) = (Some(key), seen + 1);
            if items.len() > limit {
                return Ok(Page::of(items, limit, |(id, _)| id.clone()));
            }
        }
        if is_last || seen >= API_TOKENS_LOOK {
            let next = after.filter(|_| !is_last).map(|key| text(&key, 0).map(str::to_owned));
            return Ok(Page { items, next: next.transpose()? });
        }
    }
}

/// Ends a token at once. An API token ends itself alone.
pub(crate) async fn delete(service: &Service, by: &Operator, id: &str) -> Result<(), Refused> {
    if by.shown.class == Class::Api && by.shown.id != id {
        let why = "an API token ends itself alone: use the token of the account";
        return Err(Refused::because(RefusalCode::OperatorNotAllowed, why));
    }
    until_committed(async || {
        let row = service.tables.api_tokens.get(one(id)).await?;
        let row = row.filter(|row| sees(by, row)).ok_or(RefusalCode::NotFound)?;
        let mut batch = Batch::new();
        // Not as it was read: a note of its use in between changes nothing about this.
        batch.delete(&service.tables.api_tokens, one(id));
        let entry = service.entry(&by.actor(), "api-token.delete", row.tenants.single(), id);
        let entry = entry.detail(format!("of {}: {}", row.maker, row.purpose));
        let entry = entry.change(Some(&row), None);
        service.write(batch, entry).await
    })
    .await
}
