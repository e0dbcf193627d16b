//! Rows of webhooks, their messages and their attempts.

use serde::{Deserialize, Serialize};
use tessera_runtime::sql::{Record, Row, Value};
use tessera_runtime::store::StoreError;

use super::words::{json, read_json, read_word, word};

/// Whether messages go out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum WebhookState {
    Active,
    /// By an operator.
    Paused,
    /// By the service: its receiver has failed for long, or has said that it is gone.
    Disabled,
}

/// A receiver of events of one tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WebhookRecord {
    pub(crate) url: String,
    /// Actions of the audit log, `device.*`, or `*`.
    pub(crate) actions: Vec<String>,
    pub(crate) purpose: String,
    pub(crate) state: WebhookState,
    /// The reason for which the service disabled it.
    pub(crate) reason: Option<String>,
    /// The sealed key from which its signing keys follow.
    pub(crate) sealed: Vec<u8>,
    /// The former one, and the second until which it signs too.
    pub(crate) former: Option<(Vec<u8>, u64)>,
    /// The newest entry of the audit log when it was made: later ones are its events.
    pub(crate) begins: u64,
    pub(crate) created: u64,
    pub(crate) by: String,
}

impl Record for WebhookRecord {
    const TABLE: &'static str = "webhooks";
    const KEY: &'static [&'static str] = &["tenant", "webhook"];
    const COLUMNS: &'static [&'static str] = &[
        "url",
        "actions",
        "purpose",
        "state",
        "state_reason",
        "sealed",
        "sealed_former",
        "former_until",
        "begins",
        "created",
        "made_by",
    ];

    fn values(&self) -> Vec<Value> {
        let (former, until) = self.former.clone().unzip();
        vec![
            self.url.as_str().into(),
            json(&self.actions),
            self.purpose.as_str().into(),
            word(&self.state),
            self.reason.as_deref().into(),
            self.sealed.as_slice().into(),
            former.as_deref().into(),
            until.into(),
            self.begins.into(),
            self.created.into(),
            self.by.as_str().into(),
        ]
    }

    fn read(row: &mut Row) -> Result<Self, StoreError> {
        Ok(Self {
            url: row.text()?,
            actions: read_json(row)?,
            purpose: row.text()?,
            state: read_word(row)?,
            reason: row.maybe_text()?,
            sealed: row.blob()?,
            former: row.maybe_blob()?.zip(row.maybe_number()?),
            begins: row.number()?,
            created: row.number()?,
            by: row.text()?,
        })
    }
}

/// How the messages of a webhook fare.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct WebhookProgress {
    /// The first failure since the last success.
    pub(crate) failing_since: Option<u64>,
    /// The last failure.
    pub(crate) failed_last: Option<u64>,
    /// Attempts ever.
    pub(crate) attempts: u64,
    /// Events for which there was no room.
    pub(crate) left_out: u64,
}

impl Record for WebhookProgress {
    const TABLE: &'static str = "webhook_states";
    const KEY: &'static [&'static str] = &["tenant", "webhook"];
    const COLUMNS: &'static [&'static str] =
        &["failing_since", "failed_last", "attempts", "left_out"];

    fn values(&self) -> Vec<Value> {
        vec![
            self.failing_since.into(),
            self.failed_last.into(),
            self.attempts.into(),
            self.left_out.into(),
        ]
    }

    fn read(row: &mut Row) -> Result<Self, StoreError> {
        Ok(Self {
            failing_since: row.maybe_number()?,
            failed_last: row.maybe_number()?,
            attempts: row.number()?,
            left_out: row.number()?,
        })
    }
}

/// A message that waits: the number in its key is that of its entry of the audit log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WebhookMessage {
    /// When it is sent next, in seconds.
    pub(crate) due: u64,
    /// Attempts whose outcomes are on record.
    pub(crate) attempts: u64,
}

impl Record for WebhookMessage {
    const TABLE: &'static str = "webhook_messages";
    const KEY: &'static [&'static str] = &["tenant", "webhook", "number"];
    const COLUMNS: &'static [&'static str] = &["due", "attempts"];
    const INDEXES: &'static [(&'static str, &'static [&'static str])] =
        &[("webhook_messages_by_due", &["tenant", "webhook", "due"])];

    fn values(&self) -> Vec<Value> {
        vec![self.due.into(), self.attempts.into()]
    }

    fn read(row: &mut Row) -> Result<Self, StoreError> {
        Ok(Self { due: row.number()?, attempts: row.number()? })
    }
}

/// The outcome of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum AttemptOutcome {
    Delivered,
    /// It is sent again.
    Failed,
    /// It was the last one.
    GivenUp,
}

impl AttemptOutcome {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Failed => "failed",
            Self::GivenUp => "given_up",
        }
    }
}

/// An attempt to deliver a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WebhookAttempt {
    pub(crate) at: u64,
    /// That of the entry.
    pub(crate) number: u64,
    /// Which attempt of this message it was, from 1.
    pub(crate) nth: u64,
    pub(crate) outcome: AttemptOutcome,
    /// Of the answer, when there was one.
    pub(crate) status: Option<u64>,
    /// Why it failed.
    pub(crate) reason: Option<String>,
    pub(crate) millis: u64,
}

impl Record for WebhookAttempt {
    const TABLE: &'static str = "webhook_attempts";
    const KEY: &'static [&'static str] = &["tenant", "webhook", "attempt"];
    const COLUMNS: &'static [&'static str] =
        &["at", "number", "nth", "outcome", "status", "reason", "millis"];

    fn values(&self) -> Vec<Value> {
        vec![
            self.at.into(),
            self.number.into(),
            self.nth.into(),
            word(&self.outcome),
            self.status.into(),
            self.reason.as_deref().into(),
            self.millis.into(),
        ]
    }

    fn read(row: &mut Row) -> Result<Self, StoreError> {
        Ok(Self {
            at: row.number()?,
            number: row.number()?,
            nth: row.number()?,
            outcome: read_word(row)?,
            status: row.maybe_number()?,
            reason: row.maybe_text()?,
            millis: row.number()?,
        })
    }
}
