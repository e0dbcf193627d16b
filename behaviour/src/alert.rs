//! An alert: a device, a group or a tenant that does not behave as itself, with the evidence.

use serde::{Deserialize, Serialize};

use crate::observation::UnixMillis;

/// State of an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It begins.
    Open,
    /// It goes on with news: another signal, or a worse severity.
    More,
    /// It ended by itself.
    Closed,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Worth a look.
    Low,
    /// To be looked at today.
    Moderate,
    /// To be looked at now.
    High,
}

/// The subject of an alert.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    /// One device.
    Device(String),
    /// A group, by its number: many of its devices changed together.
    Group(u64),
    /// A campaign: one cause that shows at many devices, with a name for the cause.
    Campaign(String),
}

/// One reason of an alert.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Signal {
    /// The stable name.
    pub name: String,
    /// The numbers, for people.
    pub words: String,
    /// The natural logarithm of the evidence against honest behaviour.
    pub evidence: f32,
    /// Since when.
    pub since: UnixMillis,
}

/// One message about an alert.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Alert {
    /// When this message was made.
    pub t: UnixMillis,
    /// The id of the alert: the same in all its messages.
    pub alert: u64,
    /// The tenant.
    pub tenant: String,
    /// The subject.
    pub subject: Subject,
    /// The devices that a group's alert or a campaign stands for, at most 20 of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<String>,
    /// The state.
    pub state: State,
    /// The severity.
    pub severity: Severity,
    /// The reasons, strongest first.
    pub signals: Vec<Signal>,
}
