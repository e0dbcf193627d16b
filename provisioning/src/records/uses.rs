//! Rows of the inventory: the topics that a device uses, and those that the devices of a role use.

use serde::{Deserialize, Serialize};
use tessera_runtime::sql::{Record, Row, Value};
use tessera_runtime::store::StoreError;

use super::words::{json, read_json};

/// An act with a topic, or its refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Usage {
    Publish,
    Subscribe,
    PublishRefused,
    SubscribeRefused,
}

impl Usage {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Publish => "publish",
            Self::Subscribe => "subscribe",
            Self::PublishRefused => "publish_refused",
            Self::SubscribeRefused => "subscribe_refused",
        }
    }

    pub(crate) fn parse(word: &str) -> Option<Self> {
        let all = [Self::Publish, Self::Subscribe, Self::PublishRefused, Self::SubscribeRefused];
        all.into_iter().find(|one| one.as_str() == word)
    }

    pub(crate) const fn is_refused(self) -> bool {
        matches!(self, Self::PublishRefused | Self::SubscribeRefused)
    }
}

/// A topic that a device used, as its role would name it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DeviceLine {
    pub(crate) usage: Usage,
    pub(crate) topic: String,
    pub(crate) count: u64,
    pub(crate) first: u64,
    pub(crate) last: u64,
}

/// The topics that a device used since it has its role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DeviceUses {
    pub(crate) role: String,
    pub(crate) lines: Vec<DeviceLine>,
    pub(crate) touched: u64,
}

impl Record for DeviceUses {
    const TABLE: &'static str = "device_uses";
    const KEY: &'static [&'static str] = &["tenant", "device"];
    const COLUMNS: &'static [&'static str] = &["role", "lines", "touched"];

    fn values(&self) -> Vec<Value> {
        vec![self.role.as_str().into(), json(&self.lines), self.touched.into()]
    }

    fn read(row: &mut Row) -> Result<Self, StoreError> {
        Ok(Self { role: row.text()?, lines: read_json(row)?, touched: row.number()? })
    }
}

/// A topic that devices of a role used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RoleUse {
    /// Different ones.
    pub(crate) devices: u64,
    /// Messages, SUBSCRIBEs or refusals.
    pub(crate) count: u64,
    pub(crate) first: u64,
    pub(crate) last: u64,
}

impl Record for RoleUse {
    const TABLE: &'static str = "role_uses";
    const KEY: &'static [&'static str] = &["tenant", "role", "usage", "topic"];
    const COLUMNS: &'static [&'static str] = &["devices", "count", "first", "last"];

    fn values(&self) -> Vec<Value> {
        vec![self.devices.into(), self.count.into(), self.first.into(), self.last.into()]
    }

    fn read(row: &mut Row) -> Result<Self, StoreError> {
        Ok(Self {
            devices: row.number()?,
            count: row.number()?,
            first: row.number()?,
            last: row.number()?,
        })
    }
}

/// Since when the devices of a role are watched, and how many told something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RoleWatch {
    pub(crate) since: u64,
    pub(crate) devices: u64,
    pub(crate) touched: u64,
}

impl Record for RoleWatch {
    const TABLE: &'static str = "role_watches";
    const KEY: &'static [&'static str] = &["tenant", "role"];
    const COLUMNS: &'static [&'static str] = &["since", "devices", "touched"];

    fn values(&self) -> Vec<Value> {
        vec![self.since.into(), self.devices.into(), self.touched.into()]
    }

    fn read(row: &mut Row) -> Result<Self, StoreError> {
        Ok(Self { since: row.number()?, devices: row.number()?, touched: row.number()? })
    }
}
