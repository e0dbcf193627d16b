//! Rows of operator accounts.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};
use tessera_runtime::sql::{Record, Row, Value};
use tessera_runtime::store::StoreError;
use tessera_token::ids::TenantId;
use tessera_token::refusal::RefusalCode;
use tessera_token::trust::TenantSet;

use super::words::{json, read_json, read_maybe_json};

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

impl OperatorRole {
    /// Every role.
    pub(crate) const ALL: [Self; 5] =
        [Self::Viewer, Self::Fleet, Self::Security, Self::Admin, Self::Feed];

    /// Its name.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Fleet => "fleet",
            Self::Security => "security",
            Self::Admin => "admin",
            Self::Feed => "feed",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OperatorRecord {
    pub(crate) name: String,
    pub(crate) roles: BTreeSet<OperatorRole>,
    pub(crate) tenants: Tenants,
    pub(crate) created: u64,
    /// Whether its token has the form of earlier versions, without a checksum.
    pub(crate) is_old_form: bool,
}

/// The number of the form of tokens with a checksum.
const FORM: u64 = 2;

/// The key is SHA-256 of the token. `tenants` is NULL for an account of all tenants, `token_form` for a token without a
/// checksum.
impl Record for OperatorRecord {
    const TABLE: &'static str = "operators";
    const KEY: &'static [&'static str] = &["token_hash"];
    const COLUMNS: &'static [&'static str] = &["name", "roles", "tenants", "created", "token_form"];

    fn values(&self) -> Vec<Value> {
        vec![
            self.name.as_str().into(),
            json(&self.roles),
            self.tenants.value(),
            self.created.into(),
            (!self.is_old_form).then_some(FORM).into(),
        ]
    }

    fn read(row: &mut Row) -> Result<Self, StoreError> {
        Ok(Self {
            name: row.text()?,
            roles: read_json(row)?,
            tenants: Tenants::read(row)?,
            created: row.number()?,
            is_old_form: row.maybe_number()?.is_none(),
        })
    }
}

/// The tenants of an account: it sees and changes what is theirs, and nothing else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Tenants {
    /// Every tenant, and data that belong to none.
    All,
    /// These, at least one.
    These(BTreeSet<String>),
}

impl Tenants {
    /// The value of their column: NULL is all.
    pub(super) fn value(&self) -> Value {
        match self {
            Self::All => Value::Null,
            Self::These(these) => json(these),
        }
    }

    pub(super) fn read(row: &mut Row) -> Result<Self, StoreError> {
        match read_maybe_json(row)? {
            None => Ok(Self::All),
            Some(these) => Ok(Self::These(these)),
        }
    }

    /// Those that are among both.
    pub(crate) fn in_common(&self, others: &Self) -> Self {
        match (self, others) {
            (Self::All, some) | (some, Self::All) => some.clone(),
            (Self::These(these), Self::These(others)) => {
                Self::These(these.intersection(others).cloned().collect())
            }
        }
    }

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
    pub(crate) fn single(&self) -> &str {
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
