//! The plan of a played scenario, and the reasons why it cannot begin.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use tessera_runtime::http::{HttpError, Server};
use tessera_token::ids::{TenantId, VerifierName};

use crate::detection::scenario::{Scenario, ScenarioError};
use crate::fleet::FleetError;
use crate::mqtt::Broker;
use crate::operator::{OperatorClient, OperatorError};
use crate::report::render;

/// Everything that a run needs.
#[derive(Clone)]
pub struct Plan {
    /// Provisioning for devices.
    pub http: Server,
    /// Provisioning for the operator.
    pub operator: OperatorClient,
    /// The tenant in which the whole fleet lives.
    pub tenant: TenantId,
    /// The broker.
    pub broker: Broker,
    /// The verifier behind it, when it has a name of its own.
    pub verifier: Option<VerifierName>,
    /// The scenario. Its devices are those of one tenant.
    pub scenario: Scenario,
    /// The seed of world and keys.
    pub seed: u64,
    /// In front of every device id.
    pub prefix: String,
    /// Seconds of the scenario in one second.
    pub speed: f64,
    /// The run ends after this time; without it, with the scenario.
    pub lasts: Option<Duration>,
    /// How long alerts are waited for after the last act.
    pub settle: Duration,
    /// Whether the devices stay.
    pub keep: bool,
}

/// Why a run could not begin.
#[derive(Debug)]
pub enum PlayError {
    /// The scenario asks for something that cannot be.
    Scenario(ScenarioError),
    /// No usable address of provisioning.
    Http(HttpError),
    /// A role or a group could not be made.
    Operator(String, OperatorError),
    /// No device could try to enrol.
    Fleet(FleetError),
    /// Each device failed to enrol. The failures by code.
    NoDevices(BTreeMap<String, u64>),
    /// The alerts cannot be read. The failures by code.
    NoAlerts(BTreeMap<String, u64>),
}

impl fmt::Display for PlayError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scenario(error) => error.fmt(f),
            Self::Http(error) => error.fmt(f),
            Self::Operator(what, error) => write!(f, "{what} could not be made: {error}"),
            Self::Fleet(error) => error.fmt(f),
            Self::NoDevices(met) => write!(f, "no device enrolled: {}", render::inline(met)),
            Self::NoAlerts(met) => write!(
                f,
                "the alerts of the broker cannot be read: {}; is --mqtt right?",
                match met.is_empty() {
                    true => "no answer in time".to_owned(),
                    false => render::inline(met),
                }
            ),
        }
    }
}

impl std::error::Error for PlayError {}

impl From<ScenarioError> for PlayError {
    fn from(error: ScenarioError) -> Self {
        Self::Scenario(error)
    }
}

impl Plan {
    /// A name of the world as the devices of the run have it.
    pub(super) fn named(&self, text: &str) -> String {
        named(&self.prefix, text)
    }

    /// The group that stands for a group of the scenario. It outlives the run: provisioning forgets no group.
    pub(super) fn group(number: u64) -> String {
        format!("sim-{number}")
    }
}

/// A name of the world with the prefix of the run: ids, and ids inside of topics.
pub(super) fn named(prefix: &str, text: &str) -> String {
    let mut found = text.to_owned();
    for kind in ["dev-", "old-"] {
        if found.contains(kind) {
            found = found.replace(kind, &format!("{prefix}{kind}"));
        }
    }
    found
}
