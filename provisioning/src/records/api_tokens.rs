//! Rows of API tokens.

use std::collections::BTreeSet;

use tessera_runtime::credential::Class;
use tessera_runtime::sql::{Record, Row, Value};
use tessera_runtime::store::StoreError;

use super::operators::{OperatorRole, Tenants};
use super::words::{json, read_json};
use crate::limits::API_TOKEN_SECONDS_MOST;

/// An API token. Its rights are those of the row that the account has too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ApiTokenRecord {
    /// SHA-256 of the token.
    pub(crate) token_hash: [u8; 32],
    /// The key of the row of the account that made it.
    pub(crate) account: [u8; 32],
    /// The name of that account.
    pub(crate) maker: String,
    pub(crate) purpose: String,
    pub(crate) roles: BTreeSet<OperatorRole>,
    pub(crate) tenants: Tenants,
    pub(crate) created: u64,
    pub(crate) expires: u64,
    /// When and from which network it was used last.
    pub(crate) used: Option<(u64, String)>,
}

/// When a token of this class that was made then ends in any case; `None`: with its account. Every class has its row here.
fn latest_end(class: Class, created: u64) -> Option<u64> {
    match class {
        Class::Operator => None,
        Class::Api | Class::Partner => Some(created.saturating_add(API_TOKEN_SECONDS_MOST)),
    }
}

impl ApiTokenRecord {
    /// When it ends: its row cannot give it more than the longest life.
    pub(crate) fn end(&self) -> u64 {
        let latest = latest_end(Class::Api, self.created);
        latest.map_or(self.expires, |latest| latest.min(self.expires))
    }
}

/// The key is the public name of the token: the first 8 bytes of `token_hash`. `tenants` is NULL for all.
impl Record for ApiTokenRecord {
    const TABLE: &'static str = "api_tokens";
    const KEY: &'static [&'static str] = &["id"];
    const COLUMNS: &'static [&'static str] = &[
        "token_hash",
        "account",
        "maker",
        "purpose",
        "roles",
        "tenants",
        "created",
        "expires",
        "used",
        "used_from",
    ];
    const INDEXES: &'static [(&'static str, &'static [&'static str])] =
        &[("api_tokens_by_account", &["account", "id"])];

    fn values(&self) -> Vec<Value> {
        let (used, from) = self.used.clone().unzip();
        vec![
            self.token_hash.into(),
            self.account.into(),
            self.maker.as_str().into(),
            self.purpose.as_str().into(),
            json(&self.roles),
            self.tenants.value(),
            self.created.into(),
            self.expires.into(),
            used.into(),
            from.into(),
        ]
    }

    fn read(row: &mut Row) -> Result<Self, StoreError> {
        Ok(Self {
            token_hash: row.array()?,
            account: row.array()?,
            maker: row.text()?,
            purpose: row.text()?,
            roles: read_json(row)?,
            tenants: Tenants::read(row)?,
            created: row.number()?,
            expires: row.number()?,
            used: row.maybe_number()?.zip(row.maybe_text()?),
        })
    }
}
