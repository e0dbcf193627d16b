//! Rows of the token revocation list (RFC 9770).

use serde::{Deserialize, Serialize};
use tessera_runtime::sql::{Record, Row, Value};
use tessera_runtime::store::StoreError;

/// A token that is on the list, or was removed from it not long ago.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ListedToken {
    pub(crate) device: String,
    /// `None` where the token was not found among those that live.
    pub(crate) serial: Option<u64>,
    /// `None` once it was removed.
    pub(crate) expires: Option<u64>,
    /// The update that added it.
    pub(crate) added: u64,
    /// The update that removed it.
    pub(crate) removed: Option<u64>,
}

impl Record for ListedToken {
    const TABLE: &'static str = "trl_tokens";
    const KEY: &'static [&'static str] = &["tenant", "token_hash"];
    const COLUMNS: &'static [&'static str] = &["device", "serial", "expires", "added", "removed"];
    const INDEXES: &'static [(&'static str, &'static [&'static str])] = &[
        ("trl_tokens_by_device", &["tenant", "device", "token_hash"]),
        ("trl_tokens_by_added", &["tenant", "added", "token_hash"]),
        ("trl_tokens_by_removed", &["tenant", "removed", "token_hash"]),
    ];

    fn values(&self) -> Vec<Value> {
        vec![
            self.device.as_str().into(),
            self.serial.into(),
            self.expires.into(),
            self.added.into(),
            self.removed.into(),
        ]
    }

    fn read(row: &mut Row) -> Result<Self, StoreError> {
        Ok(Self {
            device: row.text()?,
            serial: row.maybe_number()?,
            expires: row.maybe_number()?,
            added: row.number()?,
            removed: row.maybe_number()?,
        })
    }
}

/// One update of a tenant's list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ListUpdate {
    /// Seconds.
    pub(crate) at: u64,
}

impl Record for ListUpdate {
    const TABLE: &'static str = "trl_updates";
    const KEY: &'static [&'static str] = &["tenant", "number"];
    const COLUMNS: &'static [&'static str] = &["made_at"];

    fn values(&self) -> Vec<Value> {
        vec![self.at.into()]
    }

    fn read(row: &mut Row) -> Result<Self, StoreError> {
        Ok(Self { at: row.number()? })
    }
}

/// The list of a tenant as a whole.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ListState {
    /// Tokens on it.
    pub(crate) listed: u64,
    /// The newest update that was removed from the history.
    pub(crate) lost: u64,
    /// The tenant's epoch up to which its tokens were looked at.
    pub(crate) epoch: u64,
    /// Up to this time, in seconds, tokens may be revoked that are not on it: there were too many.
    pub(crate) incomplete_until: u64,
}

impl Record for ListState {
    const TABLE: &'static str = "trl_tenants";
    const KEY: &'static [&'static str] = &["tenant"];
    const COLUMNS: &'static [&'static str] = &["listed", "lost", "epoch", "incomplete_until"];

    fn values(&self) -> Vec<Value> {
        vec![self.listed.into(), self.lost.into(), self.epoch.into(), self.incomplete_until.into()]
    }

    fn read(row: &mut Row) -> Result<Self, StoreError> {
        Ok(Self {
            listed: row.number()?,
            lost: row.number()?,
            epoch: row.number()?,
            incomplete_until: row.number()?,
        })
    }
}

/// How far the list has followed the trust feed: a mark.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Followed {
    /// All events up to this one are done.
    pub(crate) event: u64,
    /// Of the next event the devices up to this one. And
    pub(crate) device: Option<String>,
    /// of this device the tokens up to this serial only, where there is one. A former version wrote none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) token: Option<u64>,
}

impl Followed {
    /// This event is done.
    pub(crate) fn all_of(event: u64) -> Self {
        Self { event, device: None, token: None }
    }
}
