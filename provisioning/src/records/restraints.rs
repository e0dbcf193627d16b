//! Rows of devices that are held back, and of the policies by which alerts are answered.

use serde::{Deserialize, Serialize};
use tessera_runtime::sql::{Record, Row, Value};
use tessera_runtime::store::StoreError;
use tessera_token::ids::{DeviceId, TenantId};
use tessera_token::time::UnixSeconds;
use tessera_token::trust::{Change, Restraint, Step};

use super::words::{read_word, word};

/// A device that is held back, or was released.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RestraintRecord {
    pub(crate) step: Step,
    pub(crate) begins: u64,
    pub(crate) ends: u64,
    /// The account, or the service itself for an answer to an alert.
    pub(crate) made_by: String,
    pub(crate) reason: String,
    /// The alert that it answers: its number and its severity.
    pub(crate) alert: Option<String>,
}

impl RestraintRecord {
    pub(crate) fn change(&self, tenant: &TenantId, device: &DeviceId) -> Change {
        Change::Restraint(Restraint {
            tenant: tenant.clone(),
            device: device.clone(),
            step: self.step,
            at: UnixSeconds::new(self.begins),
            until: UnixSeconds::new(self.ends),
        })
    }
}

impl Record for RestraintRecord {
    const TABLE: &'static str = "restraints";
    const KEY: &'static [&'static str] = &["tenant", "device"];
    const COLUMNS: &'static [&'static str] =
        &["step", "begins", "ends", "made_by", "reason", "alert"];

    fn values(&self) -> Vec<Value> {
        vec![
            self.step.as_str().into(),
            self.begins.into(),
            self.ends.into(),
            self.made_by.as_str().into(),
            self.reason.as_str().into(),
            self.alert.as_deref().into(),
        ]
    }

    fn read(row: &mut Row) -> Result<Self, StoreError> {
        let step = row.text()?;
        Ok(Self {
            step: Step::parse(&step).ok_or_else(|| row.damaged("a step"))?,
            begins: row.number()?,
            ends: row.number()?,
            made_by: row.text()?,
            reason: row.text()?,
            alert: row.maybe_text()?,
        })
    }
}

/// The answer to an alert, from the mildest on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Answer {
    /// It is noted alone.
    Note,
    /// The rate of the device is held down.
    Clamp,
    /// The device has to prove its key anew.
    StepUp,
    /// The device reaches its token and its status alone.
    Quarantine,
    /// All tokens of the device end; it may ask for new ones.
    End,
}

/// The answers to alerts about the devices of a group; an empty group is all groups without a policy of their own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AnswerPolicy {
    pub(crate) low: Answer,
    pub(crate) moderate: Answer,
    pub(crate) high: Answer,
    /// Seconds for which a device is held back.
    pub(crate) seconds: u64,
    /// Devices that are answered in an hour.
    pub(crate) devices_an_hour: u64,
    /// Whether answers are written down alone.
    pub(crate) shadow: bool,
    /// The hour in which answers were counted last, and their number.
    pub(crate) counted: (u64, u64),
    pub(crate) changed: u64,
    pub(crate) made_by: String,
}

impl Record for AnswerPolicy {
    const TABLE: &'static str = "answer_policies";
    const KEY: &'static [&'static str] = &["tenant", "device_group"];
    const COLUMNS: &'static [&'static str] = &[
        "low",
        "moderate",
        "high",
        "seconds",
        "devices_an_hour",
        "shadow",
        "counted_hour",
        "counted",
        "changed",
        "made_by",
    ];

    fn values(&self) -> Vec<Value> {
        vec![
            word(&self.low),
            word(&self.moderate),
            word(&self.high),
            self.seconds.into(),
            self.devices_an_hour.into(),
            u64::from(self.shadow).into(),
            self.counted.0.into(),
            self.counted.1.into(),
            self.changed.into(),
            self.made_by.as_str().into(),
        ]
    }

    fn read(row: &mut Row) -> Result<Self, StoreError> {
        Ok(Self {
            low: read_word(row)?,
            moderate: read_word(row)?,
            high: read_word(row)?,
            seconds: row.number()?,
            devices_an_hour: row.number()?,
            shadow: row.number()? != 0,
            counted: (row.number()?, row.number()?),
            changed: row.number()?,
            made_by: row.text()?,
        })
    }
}
