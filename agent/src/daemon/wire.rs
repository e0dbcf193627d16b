//! Messages of the HTTP API, apart from their meaning. An unknown member is refused.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use tessera_token::chain::{Admission, Refusal, Subject};
use tessera_token::ids::VerifierName;
use tessera_token::refusal::RefusalCode;

/// `POST /v1/validate`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Question {
    pub(super) client_id: String,
    /// The MQTT password, as base64url without padding.
    pub(super) password: String,
    /// The peer's address, when the asker knows it: for behaviour alone.
    #[serde(default)]
    pub(super) address: Option<IpAddr>,
}

/// `POST /v1/connect`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Connect {
    pub(super) client_id: String,
    pub(super) password: String,
    #[serde(default)]
    pub(super) address: Option<IpAddr>,
    /// Seconds.
    #[serde(default)]
    pub(super) keep_alive: u16,
    /// The caller reports what passes: a decision alone is then no observation, unless it is a refusal.
    #[serde(default)]
    pub(super) reports: bool,
}

/// `POST /v1/publish`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Publish {
    #[serde(default)]
    pub(super) session: Option<String>,
    #[serde(default)]
    pub(super) client_id: Option<String>,
    #[serde(default)]
    pub(super) password: Option<String>,
    #[serde(default)]
    pub(super) address: Option<IpAddr>,
    pub(super) topic: String,
    pub(super) bytes: u64,
    #[serde(default)]
    pub(super) qos: u8,
    #[serde(default)]
    pub(super) retain: bool,
}

/// `POST /v1/subscribe`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Subscribe {
    #[serde(default)]
    pub(super) session: Option<String>,
    #[serde(default)]
    pub(super) client_id: Option<String>,
    #[serde(default)]
    pub(super) password: Option<String>,
    #[serde(default)]
    pub(super) address: Option<IpAddr>,
    pub(super) filter: String,
    #[serde(default)]
    pub(super) qos: u8,
}

/// `POST /v1/batch`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Batch {
    pub(super) questions: Vec<Item>,
}

/// One question of a batch.
#[derive(Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case")]
pub(super) enum Item {
    Connect(Connect),
    Publish(Publish),
    Subscribe(Subscribe),
}

/// `POST /v1/report`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Reports {
    pub(super) reports: Vec<Report>,
}

/// One report.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Report {
    pub(super) session: String,
    pub(super) seen: Seen,
}

/// The thing that was seen.
#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Seen {
    /// The connection was opened.
    Connected {
        #[serde(default)]
        address: Option<IpAddr>,
        #[serde(default)]
        keep_alive: u16,
        #[serde(default)]
        fingerprint: u32,
    },
    /// Publishes to one topic.
    Published { topic: String, count: u32, bytes: u64 },
    /// Messages that were written to the device.
    Received { count: u32, bytes: u64 },
    /// A subscription.
    Subscribed { filter: String },
    /// A publish or subscription that the caller itself refused.
    Refused { action: Action, topic: String },
    /// The connection broke the protocol.
    Fault { fault: String },
    /// The connection is open, and nothing passed: the answer says whether it may go on.
    Alive {},
    /// The connection ended.
    Disconnected { clean: bool },
}

impl Seen {
    /// The kind, for the metric.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Connected { .. } => "connected",
            Self::Published { .. } => "published",
            Self::Received { .. } => "received",
            Self::Subscribed { .. } => "subscribed",
            Self::Refused { .. } => "refused",
            Self::Fault { .. } => "fault",
            Self::Alive {} => "alive",
            Self::Disconnected { .. } => "disconnected",
        }
    }
}

/// The action that was refused.
#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Action {
    Publish,
    Subscribe,
}

/// The answer to a connect, with status 200 for a refusal too.
#[derive(Serialize)]
pub(super) struct Answer {
    pub(super) allow: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) code: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) words: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) tenant: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) device: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) scope: Option<Vec<Right>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) expires: Option<u64>,
    /// The session that was opened.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) session: Option<String>,
    /// The verifier name that proofs must be made for here.
    pub(super) verifier: String,
    /// How old the trust data is on which this rests; `null` when there is none.
    pub(super) trust_age_seconds: Option<u64>,
}

#[derive(Serialize)]
pub(super) struct Right {
    filter: String,
    rights: &'static [&'static str],
}

impl Answer {
    pub(super) fn allow(
        admission: &Admission,
        verifier: &VerifierName,
        trust_age_seconds: Option<u64>,
    ) -> Self {
        let grant = &admission.grant;
        let scope = grant.scope().entries().iter().map(|entry| Right {
            filter: entry.filter.as_str().to_owned(),
            rights: entry.permission.words(),
        });
        Self {
            allow: true,
            code: None,
            words: None,
            tenant: Some(grant.tenant().to_string()),
            device: Some(grant.device().to_string()),
            scope: Some(scope.collect()),
            expires: Some(grant.expires().get()),
            session: None,
            verifier: verifier.to_string(),
            trust_age_seconds,
        }
    }

    pub(super) fn refuse(
        refusal: &Refusal,
        verifier: &VerifierName,
        trust_age_seconds: Option<u64>,
    ) -> Self {
        let subject = refusal.subject.as_ref();
        Self {
            allow: false,
            code: Some(refusal.code.as_str()),
            words: Some(refusal.code.words()),
            tenant: subject.map(|subject| subject.tenant.to_string()),
            device: subject.map(|subject| subject.device.to_string()),
            scope: None,
            expires: None,
            session: None,
            verifier: verifier.to_string(),
            trust_age_seconds,
        }
    }
}

/// The answer to a publish or a subscription.
#[derive(Serialize)]
pub(super) struct Verdict {
    pub(super) allow: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) code: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) words: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) tenant: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) device: Option<String>,
    pub(super) trust_age_seconds: Option<u64>,
}

impl Verdict {
    pub(super) fn of(
        outcome: Result<(), RefusalCode>,
        subject: Option<&Subject>,
        trust_age_seconds: Option<u64>,
    ) -> Self {
        let code = outcome.err();
        Self {
            allow: code.is_none(),
            code: code.map(RefusalCode::as_str),
            words: code.map(RefusalCode::words),
            tenant: subject.map(|subject| subject.tenant.to_string()),
            device: subject.map(|subject| subject.device.to_string()),
            trust_age_seconds,
        }
    }
}

/// One answer of a batch.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum Decided {
    Connect(Answer),
    Other(Verdict),
}

/// Answers to a batch, in the order of its questions.
#[derive(Serialize)]
pub(super) struct Answers<T> {
    pub(super) answers: Vec<T>,
}

/// The answer to one report.
#[derive(Serialize)]
pub(super) struct Noted {
    /// Whether the report was taken.
    pub(super) taken: bool,
    /// Whether the session may go on. Otherwise the caller ends the connection.
    pub(super) holds: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) code: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) words: Option<&'static str>,
}
