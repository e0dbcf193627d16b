//! Rows of the audit log.

use serde::{Deserialize, Serialize};
use tessera_runtime::sql::{Record, Row, Value};
use tessera_runtime::store::StoreError;
use tessera_token::encoding::hex;

use super::words::{maybe_word, word};

/// An entry of the audit log, before it has a place in the chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Seconds.
    pub(crate) at: u64,
    pub(crate) actor: String,
    /// `noun.verb`
    pub(crate) action: String,
    pub(crate) tenant: String,
    pub(crate) subject: String,
    pub(crate) detail: String,
    /// `None` in an entry of an earlier version.
    pub(crate) more: Option<More>,
}

/// How an act was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum How {
    /// By the command line, as its requests say.
    Cli,
    /// By the REST interface.
    Api,
    /// By the service itself, or on its machine.
    System,
    /// By a device.
    Device,
}

impl How {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Cli => "cli",
            Self::Api => "api",
            Self::System => "system",
            Self::Device => "device",
        }
    }
}

/// Where an act came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Origin {
    pub(crate) how: How,
    /// The public name of the token that was shown; empty without one.
    pub(crate) credential: String,
    /// The address of the request of an operator; empty for others.
    pub(crate) network: String,
}

/// The part of an entry that earlier versions did not have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct More {
    pub(crate) origin: Origin,
    /// `done`, or the code of the refusal.
    pub(crate) outcome: String,
    /// The columns that the change touched, as a JSON object; empty without one.
    pub(crate) before: String,
    pub(crate) after: String,
}

impl Record for Entry {
    const TABLE: &'static str = "audit_waiting";
    const KEY: &'static [&'static str] = &["millis", "counter"];
    const COLUMNS: &'static [&'static str] = &[
        "at",
        "actor",
        "action",
        "tenant",
        "subject",
        "detail",
        "how",
        "credential",
        "network",
        "outcome",
        "value_before",
        "value_after",
    ];

    fn values(&self) -> Vec<Value> {
        let Self { at, actor, action, tenant, subject, detail, more } = self;
        let texts = [actor, action, tenant, subject, detail].map(Value::from);
        let more = match more {
            None => std::array::from_fn(|_| Value::Null),
            Some(More { origin, outcome, before, after }) => [
                word(&origin.how),
                Value::from(&origin.credential),
                Value::from(&origin.network),
                Value::from(outcome),
                Value::from(before),
                Value::from(after),
            ],
        };
        std::iter::once((*at).into()).chain(texts).chain(more).collect()
    }

    fn read(row: &mut Row) -> Result<Self, StoreError> {
        Ok(Self {
            at: row.number()?,
            actor: row.text()?,
            action: row.text()?,
            tenant: row.text()?,
            subject: row.text()?,
            detail: row.text()?,
            more: More::read(row)?,
        })
    }
}

impl More {
    fn read(row: &mut Row) -> Result<Option<Self>, StoreError> {
        let how = maybe_word(row)?;
        let mut texts: [Option<String>; 5] = Default::default();
        for text in &mut texts {
            *text = row.maybe_text()?;
        }
        match (how, texts) {
            (None, [None, None, None, None, None]) => Ok(None),
            (
                Some(how),
                [Some(credential), Some(network), Some(outcome), Some(before), Some(after)],
            ) => {
                let origin = Origin { how, credential, network };
                Ok(Some(Self { origin, outcome, before, after }))
            }
            _ => Err(row.damaged("a part of an entry is missing")),
        }
    }
}

/// An entry in its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Chained {
    pub(crate) entry: Entry,
    pub(crate) previous: [u8; 32],
    pub(crate) hash: [u8; 32],
}

impl Chained {
    /// The beginning of its hash: after a restore it tells this entry from one that had its number before.
    pub(crate) fn mark(&self) -> String {
        hex::encode(self.hash.get(..4).unwrap_or_default())
    }
}

impl Record for Chained {
    const TABLE: &'static str = "audit_entries";
    const KEY: &'static [&'static str] = &["number"];
    const COLUMNS: &'static [&'static str] = &[
        "at",
        "actor",
        "action",
        "tenant",
        "subject",
        "detail",
        "how",
        "credential",
        "network",
        "outcome",
        "value_before",
        "value_after",
        "previous",
        "hash",
    ];
    const INDEXES: &'static [(&'static str, &'static [&'static str])] = &[
        ("audit_entries_by_tenant", &["tenant", "number"]),
        ("audit_entries_by_subject", &["tenant", "subject", "number"]),
        ("audit_entries_by_subject_alone", &["subject", "number"]),
        ("audit_entries_by_actor", &["actor", "number"]),
        ("audit_entries_by_action", &["action", "number"]),
    ];

    fn values(&self) -> Vec<Value> {
        let mut values = self.entry.values();
        values.extend([self.previous.into(), self.hash.into()]);
        values
    }

    fn read(row: &mut Row) -> Result<Self, StoreError> {
        Ok(Self { entry: Entry::read(row)?, previous: row.array()?, hash: row.array()? })
    }
}
