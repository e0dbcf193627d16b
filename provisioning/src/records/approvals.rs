//! Records of the approval queue, and how each stands in its table.

use serde::{Deserialize, Serialize};
use tessera_runtime::sql::{Record, Row, Value};
use tessera_runtime::store::StoreError;

use super::words::{read_word, word};

/// The decision about a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ApprovalState {
    Waiting,
    Approved,
    Refused,
}

/// A device that asked to be enrolled by the decision of an operator. There is one row for each device id and key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ApprovalRecord {
    pub(crate) device: String,
    pub(crate) thumbprint: [u8; 32],
    pub(crate) state: ApprovalState,
    /// Role and group, once it is approved.
    pub(crate) rights: Option<(String, String)>,
    pub(crate) asked: u64,
    pub(crate) expires: u64,
    /// The address or the relay that it came from.
    pub(crate) source: String,
    pub(crate) decided: Option<(String, u64)>,
}

impl Record for ApprovalRecord {
    const TABLE: &'static str = "approvals";
    const KEY: &'static [&'static str] = &["tenant", "approval"];
    const COLUMNS: &'static [&'static str] = &[
        "device",
        "thumbprint",
        "state",
        "role",
        "device_group",
        "asked",
        "expires",
        "source",
        "decided_by",
        "decided_at",
    ];

    fn values(&self) -> Vec<Value> {
        let (role, group) = self.rights.as_ref().map(|(role, group)| (role, group)).unzip();
        let (by, at) = self.decided.as_ref().map(|(by, at)| (by, *at)).unzip();
        vec![
            self.device.as_str().into(),
            self.thumbprint.into(),
            word(&self.state),
            role.into(),
            group.into(),
            self.asked.into(),
            self.expires.into(),
            self.source.as_str().into(),
            by.into(),
            at.into(),
        ]
    }

    fn read(row: &mut Row) -> Result<Self, StoreError> {
        let (device, thumbprint, state) = (row.text()?, row.array()?, read_word(row)?);
        let rights = row.maybe_text()?.zip(row.maybe_text()?);
        let (asked, expires, source) = (row.number()?, row.number()?, row.text()?);
        let decided = row.maybe_text()?.zip(row.maybe_number()?);
        Ok(Self { device, thumbprint, state, rights, asked, expires, source, decided })
    }
}

/// How many requests of a source there are; the empty source counts all of the tenant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ApprovalCount {
    pub(crate) requests: u64,
}

impl Record for ApprovalCount {
    const TABLE: &'static str = "approval_counts";
    const KEY: &'static [&'static str] = &["tenant", "source"];
    const COLUMNS: &'static [&'static str] = &["requests"];

    fn values(&self) -> Vec<Value> {
        vec![self.requests.into()]
    }

    fn read(row: &mut Row) -> Result<Self, StoreError> {
        Ok(Self { requests: row.number()? })
    }
}
