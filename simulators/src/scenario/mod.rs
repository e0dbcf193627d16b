//! A whole run against a running system, over the wire alone: a fleet, a backend, four who misbehave, and what must
//! come of it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tessera_runtime::boxed::Boxed;
use tessera_runtime::clock::SharedClock;
use tessera_runtime::http::{HttpError, Server};
use tessera_runtime::random::SeededRandom;
use tessera_runtime::stop::Stop;
use tessera_token::ids::{DeviceId, TenantId, VerifierName};
use tessera_token::messages::TokenKind;
use tokio::sync::{mpsc, Semaphore};

use crate::device::api::DeviceApi;
use crate::device::life::{Habits, World};
use crate::fleet::{start_sensors, until, FleetError, Kind, Yard};
use crate::limits;
use crate::mqtt::Broker;
use crate::operator::OperatorClient;
use crate::personas::backend::Heard;
use crate::report::{render, Report, Tally};

pub mod expectations;
mod guests;
mod hostile;
mod truth;

pub use expectations::{Expectation, Found};
pub use guests::{Guest, Presence};
pub use truth::Truth;

/// Where the system is and what to run against it.
#[derive(Clone)]
pub struct Plan {
    /// `http://host:port` of provisioning.
    pub http: Server,
    /// The broker.
    pub broker: Broker,
    /// An operator who may create claims and revoke.
    pub operator: OperatorClient,
    /// The tenant.
    pub tenant: TenantId,
    /// The role of the sensors.
    pub sensor_role: String,
    /// The role of the backend.
    pub backend_role: String,
    /// Honest devices.
    pub devices: usize,
    /// In front of every device id of this run.
    pub prefix: String,
    /// The seed.
    pub seed: u64,
    /// Between two publishes of a device.
    pub publish_every: Duration,
    /// How long it runs from the first connection; `None` until told to stop.
    pub lasts: Option<Duration>,
    /// Kind of token that the honest devices ask for.
    pub token: TokenKind,
    /// The verifier behind the broker's address, when it has a name of its own.
    pub verifier: Option<VerifierName>,
    /// Whether thief, prober, flooder and a revocation take part.
    pub hostile: bool,
    /// Whether every device must have refreshed by the end.
    pub expect_refresh: bool,
    /// Says which clients are connected, when devices that are not of the run are to be told of.
    pub presence: Option<Presence>,
}

/// Result of a run.
#[derive(Debug, Serialize)]
pub struct Outcome {
    /// The numbers.
    pub report: Report,
    /// Expectations, and whether they held.
    pub expectations: Vec<Expectation>,
    /// Role of each device.
    pub truth: Truth,
    /// Devices that are not of the run.
    pub guests: Vec<Guest>,
}

impl Outcome {
    /// Whether every expectation held.
    pub fn is_good(&self) -> bool {
        self.expectations.iter().all(|expectation| expectation.held)
    }
}

/// Why a run could not take place.
#[derive(Debug)]
pub enum ScenarioError {
    /// No usable address.
    Http(HttpError),
    /// No fleet.
    Fleet(FleetError),
    /// The backend has no subscriptions, so no subscriber would see the messages of the fleet. Its failures by code.
    NoBackend(BTreeMap<String, u64>),
}

impl fmt::Display for ScenarioError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http(error) => error.fmt(f),
            Self::Fleet(error) => error.fmt(f),
            Self::NoBackend(met) => {
                write!(f, "the backend could not subscribe: it met {}", render::inline(met))
            }
        }
    }
}

impl std::error::Error for ScenarioError {}

impl From<FleetError> for ScenarioError {
    fn from(error: FleetError) -> Self {
        Self::Fleet(error)
    }
}

/// Bytes of a sensor's payload.
const PAYLOAD_BYTES: usize = 48;
/// How long the sensors, and then the others, may take to leave.
const DRAIN: Duration = Duration::from_secs(15);
/// How long the last messages may take to arrive.
const SETTLE: Duration = Duration::from_secs(10);

/// A run under way.
pub(crate) struct Run {
    pub(crate) plan: Plan,
    pub(crate) yard: Yard,
    pub(crate) fleet: World,
    /// The backend's and the hostile ones' own counters, so that the fleet's stay clean.
    pub(crate) others: World,
    pub(crate) clock: SharedClock,
    /// Stops every persona but the sensors.
    pub(crate) stop: Stop,
    /// Stops the sensors, who stop first: what they sent must still arrive.
    pub(crate) sensors: Stop,
    pub(crate) started: Duration,
}

/// One line for a person who watches.
#[derive(Clone, Copy, Debug)]
pub enum News<'a> {
    /// Something happened.
    Note(&'a str),
    /// A device was noticed.
    Alert(&'a str),
    /// A device that is not of the run did something.
    Guest(&'a str),
    /// How it stands; the next one takes its place.
    Progress(&'a Report),
    /// All devices that are not of the run; the next one takes its place.
    Guests(&'a [Guest]),
}

/// The watcher.
pub type Say<'a> = &'a (dyn Fn(News<'_>) + Send + Sync);

/// Runs the plan and tells `say` about it.
///
/// # Errors
/// [`ScenarioError`] when the run could not begin; what goes wrong later stands in the outcome.
pub fn run(
    plan: Plan,
    clock: SharedClock,
    stop: Stop,
    say: Say<'_>,
) -> Boxed<'_, Result<Outcome, ScenarioError>> {
    Box::pin(go(plan, clock, stop, say))
}

async fn go(
    plan: Plan,
    clock: SharedClock,
    stop: Stop,
    say: Say<'_>,
) -> Result<Outcome, ScenarioError> {
    let run = Run::new(plan, clock)?;
    say(News::Note(&format!("seed {}", run.plan.seed)));
    let audited = match run.plan.presence {
        Some(_) => guests::end_of_audit(&run.plan.operator).await,
        None => 0,
    };
    let devices = run.yard.enrol(&run.kind(), &run.fleet.tally).await?;
    say(News::Note(&format!(
        "enrolled {} of {} devices, each with a key of its own",
        devices.len(),
        run.plan.devices
    )));
    let ids: Vec<_> = devices.iter().map(|device| device.identity.device.clone()).collect();
    let (others, heard) = mpsc::channel(limits::HEARD);
    run.start_backend(ids.clone(), others).await?;
    start_sensors(devices, PAYLOAD_BYTES, &run.fleet, &run.sensors);
    let (found, guests) = run.watch(&ids, (audited, heard), &stop, say).await;
    let mut left = run.sensors.finish(DRAIN).await;
    run.settle().await;
    let report = run.report();
    let expectations = expectations::judge(&run.plan, &report, &found);
    left.extend(run.stop.finish(DRAIN).await);
    for name in left {
        say(News::Note(&format!("did not stop: {name}")));
    }
    let truth = Truth::of(&run.plan, &ids, &found);
    Ok(Outcome { report, expectations, truth, guests })
}

impl Run {
    fn new(plan: Plan, clock: SharedClock) -> Result<Self, ScenarioError> {
        let api = DeviceApi::new(&plan.http).map_err(ScenarioError::Http)?;
        let yard = Yard {
            api: api.clone(),
            operator: plan.operator.clone(),
            clock: Arc::clone(&clock),
            random: Arc::new(SeededRandom::predictable(plan.seed)),
        };
        let gangway = Arc::new(Semaphore::new(limits::CONNECT_AT_ONCE));
        let world = |tally| World {
            broker: plan.broker.clone(),
            api: api.clone(),
            tally: Arc::new(tally),
            gangway: Arc::clone(&gangway),
        };
        let (fleet, others) = (world(Tally::default()), world(Tally::default()));
        let started = clock.monotonic();
        let (stop, sensors) = (Stop::new(), Stop::new());
        Ok(Self { yard, fleet, others, clock, stop, sensors, started, plan })
    }

    /// Lets what is under way arrive.
    async fn settle(&self) {
        let tally = &self.fleet.tally;
        until(SETTLE, || tally.delivered.get() >= tally.published.get()).await;
    }

    fn kind(&self) -> Kind {
        Kind {
            tenant: self.plan.tenant.clone(),
            role: self.plan.sensor_role.clone(),
            prefix: format!("{}sensor-", self.plan.prefix),
            count: self.plan.devices,
            skewed: true,
            both_versions: true,
            group: None,
            habits: Habits {
                tick: self.plan.publish_every,
                token: self.plan.token,
                verifier: self.plan.verifier.clone(),
                ..Habits::default()
            },
        }
    }

    pub(crate) fn report(&self) -> Report {
        let took = self.clock.monotonic().saturating_sub(self.started);
        let mut report = self.fleet.tally.report(self.plan.seed, self.plan.devices, took);
        let others = self.others.tally.report(self.plan.seed, 0, took);
        for (kind, count) in others.refusals {
            *report.refusals.entry(kind).or_default() += count;
        }
        report.failures += others.failures;
        for (kind, count) in others.failures_by_code {
            *report.failures_by_code.entry(format!("backend:{kind}")).or_default() += count;
        }
        report
    }

    /// Everything between the first connection and the end.
    async fn watch(
        &self,
        ids: &[DeviceId],
        (audited, heard): (u64, mpsc::Receiver<Heard>),
        stop: &Stop,
        say: Say<'_>,
    ) -> (Found, Vec<Guest>) {
        let tally = &self.fleet.tally;
        let wanted = ids.len() as u64;
        let all = until(Duration::from_secs(60), || {
            tally.connected.get() >= wanted || stop.is_stopping()
        });
        all.await;
        say(News::Note(&format!(
            "connected {} of {wanted} devices with proof",
            tally.connected.get()
        )));
        let misdeeds = async {
            if self.plan.hostile {
                self.misbehave(ids, say).await
            } else {
                Found::default()
            }
        };
        let over = Stop::new();
        let progress = async {
            self.progress(stop, say).await;
            over.trigger();
        };
        let guests = self.watch_guests(ids, audited, heard, &over, say);
        let (found, (), guests) = tokio::join!(misdeeds, progress, guests);
        (found, guests)
    }

    /// Tells how it goes until the time is over.
    async fn progress(&self, stop: &Stop, say: Say<'_>) {
        let ends = self.plan.lasts.map(|lasts| self.clock.monotonic() + lasts);
        let mut ticks = tokio::time::interval(Duration::from_secs(1));
        let mut told = 0;
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = stop.stopping() => return,
            }
            say(News::Progress(&self.report()));
            told = self.tell_alerts(told, say);
            if ends.is_some_and(|ends| self.clock.monotonic() >= ends) {
                return;
            }
        }
    }

    fn tell_alerts(&self, told: usize, say: Say<'_>) -> usize {
        let alerts = self.fleet.tally.alerts();
        for alert in alerts.iter().skip(told) {
            say(News::Alert(&format!("{} {}: {}", alert.device, alert.signal, alert.words)));
        }
        alerts.len()
    }
}
