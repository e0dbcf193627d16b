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
    /// Where the device last connected from, or the network of a campaign.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// The client id, when it is not the name of the device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// Topics that were asked for and refused, or never used before: a few of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub topics: Vec<String>,
    /// The state.
    pub state: State,
    /// The severity.
    pub severity: Severity,
    /// The reasons, strongest first.
    pub signals: Vec<Signal>,
    /// A command that helps.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub advice: String,
    /// Whether it is only for the record.
    #[serde(default, skip_serializing_if = "is_false")]
    pub shadow: bool,
    /// Messages about this subject that were withheld since the last one, since it had enough of them today.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub withheld: u16,
}

/// An alert about nothing, in which a detector names what it knows.
impl Default for Alert {
    fn default() -> Self {
        Self {
            t: 0,
            alert: 0,
            tenant: String::new(),
            subject: Subject::Device(String::new()),
            devices: Vec::new(),
            address: None,
            client: None,
            topics: Vec::new(),
            state: State::Open,
            severity: Severity::Low,
            signals: Vec::new(),
            advice: String::new(),
            shadow: false,
            withheld: 0,
        }
    }
}

fn is_false(value: &bool) -> bool {
    !*value
}

fn is_zero(value: &u16) -> bool {
    *value == 0
}
