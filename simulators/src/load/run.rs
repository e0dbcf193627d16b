//! A whole load: enrol, work, report, remove. The devices are removed whatever happened before.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tessera_runtime::boxed::Boxed;
use tessera_runtime::clock::SharedClock;
use tessera_runtime::http::HttpError;
use tessera_runtime::stop::Stop;

use super::duties::{Publisher, Shared, Stay, Subscriber};
use super::limits;
use super::plan::{Headers, Plan, Publishing, Subscribing, Work};
use super::removal::remove;
use super::report::{stages, Report};
use super::series::{Point, Series};
use super::stage::Stage;
use super::storms;
use crate::bench::{BenchError, Flood, Flooding};
use crate::device::life::Device;
use crate::device::Duty;
use crate::fleet::FleetError;
use crate::mqtt::Qos;
use crate::operator::OperatorError;
use crate::report::{render, Tally};

/// The failure of a run that was stopped while its devices enrolled.
const STOPPED_EARLY: &str = "stopped_before_the_work";

/// Why a load could not begin.
#[derive(Debug)]
pub enum LoadError {
    /// No usable address of provisioning.
    Http(HttpError),
    /// The role of the run could not be made.
    Role(String, OperatorError),
    /// No device could try to enrol.
    Fleet(FleetError),
    /// Each device failed to enrol. The failures by code.
    NoDevices(BTreeMap<String, u64>),
    /// The flood could not begin or failed.
    Flood(BenchError),
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http(error) => error.fmt(f),
            Self::Role(role, error) => write!(f, "the role {role} could not be made: {error}"),
            Self::Fleet(error) => error.fmt(f),
            Self::NoDevices(met) => write!(f, "no device enrolled: {}", render::inline(met)),
            Self::Flood(error) => write!(f, "the flood failed: {error}"),
        }
    }
}

impl std::error::Error for LoadError {}

/// One line for a person who watches.
#[derive(Clone, Copy, Debug)]
pub enum Told<'a> {
    /// Something happened.
    Note(&'a str),
    /// How it stands, once a second.
    Progress(&'a str),
}

/// The watcher.
pub type Say<'a> = &'a (dyn Fn(Told<'_>) + Send + Sync);

/// Runs the plan. `tally` has the numbers while it runs. The devices are removed also when the run failed, and the error
/// comes with what is left of them.
///
/// # Errors
/// [`LoadError`], and words about devices that could not be removed.
pub fn run<'a>(
    plan: Plan,
    clock: SharedClock,
    tally: Arc<Tally>,
    stop: &'a Stop,
    say: Say<'a>,
) -> Boxed<'a, Result<Report, (LoadError, Option<String>)>> {
    Box::pin(async move {
        let mut report = Report {
            kind: plan.work.kind().to_owned(),
            seed: plan.seed,
            prefix: plan.prefix.clone(),
            devices: plan.count,
            ..Report::default()
        };
        let text = format!("seed {}, device ids begin with {}", plan.seed, plan.prefix);
        say(Told::Note(&text));
        let done = work(plan.clone(), clock, tally, stop, say, &mut report).await;
        if plan.keep {
            return done.map(|()| report).map_err(|error| (error, None));
        }
        let roles: Vec<String> = plan.role.is_none().then(|| plan.own_role()).into_iter().collect();
        let text = format!("removing the devices of the run ({}…)", plan.prefix);
        say(Told::Note(&text));
        let gone = || remove(&plan.operator, &plan.tenant, &plan.prefix, plan.ids(), roles.clone());
        let mut removal = gone().await;
        if report.failures.contains_key(STOPPED_EARLY) {
            // An enrolment that was under way may have been done behind its deletion.
            let first = removal.removed;
            removal = gone().await;
            removal.removed += first;
        }
        let rest = removal.rest();
        report.removal = Some(removal);
        done.map(|()| report).map_err(|error| (error, rest))
    })
}

async fn work(
    plan: Plan,
    clock: SharedClock,
    tally: Arc<Tally>,
    stop: &Stop,
    say: Say<'_>,
    report: &mut Report,
) -> Result<(), LoadError> {
    let mut stage = Stage::new(plan, clock, tally)?;
    let enrolled = tokio::select! {
        enrolled = stage.enrol(say) => enrolled?,
        () = stop.stopping() => {
            report.count(&stage.world.tally);
            report.failures.insert(STOPPED_EARLY.to_owned(), 1);
            return Ok(());
        }
    };
    match stage.plan.work {
        Work::Reconnect => storms::reconnect(&stage, enrolled, stop, say, report).await,
        Work::Refresh => storms::refresh(&stage, enrolled, stop, say, report).await,
        Work::Revocation => storms::revocation(&stage, enrolled, stop, say, report).await,
        _ => return Load::new(&stage, &enrolled)?.go(enrolled, stop, say, report).await,
    }
    Ok(())
}

/// Devices that live until the work is done.
struct Load<'a> {
    stage: &'a Stage,
    tally: &'a Arc<Tally>,
    shared: Arc<Shared>,
    lives: Stop,
    flood: Option<Flood>,
    series: Series,
    all_connected: Option<Duration>,
    second: Point,
}

impl<'a> Load<'a> {
    fn new(stage: &'a Stage, devices: &[Device]) -> Result<Self, LoadError> {
        let work = &stage.plan.work;
        let (waits, limit) = match work {
            Work::Publish(work) => (work.wait, work.limit),
            Work::FanOut(work) => (true, work.limit),
            _ => (false, None),
        };
        let flood = match work {
            Work::Rejected(_) => {
                let flood = Flood::prepare(&stage.plan.broker, devices, &stage.clock);
                Some(flood.map_err(LoadError::Flood)?)
            }
            _ => None,
        };
        Ok(Self {
            stage,
            tally: &stage.world.tally,
            shared: Shared::new(Arc::clone(&stage.clock), !waits, limit),
            lives: Stop::new(),
            flood,
            series: Series::new(),
            all_connected: None,
            second: Point::default(),
        })
    }

    async fn go(
        mut self,
        devices: Vec<Device>,
        stop: &Stop,
        say: Say<'_>,
        report: &mut Report,
    ) -> Result<(), LoadError> {
        let wanted = devices.len() as u64;
        let mut waiting = devices.into_iter().enumerate();
        let mut steps = tokio::time::interval(limits::STEP);
        let (mut started, mut next, mut spent) = (0u64, limits::SECOND, None);
        let mut offered: Option<Result<Flooding, BenchError>> = None;
        loop {
            tokio::select! {
                _ = steps.tick() => {}
                () = stop.stopping() => break,
            }
            let now = self.stage.elapsed();
            while started < wanted && self.is_due(started, now) {
                let Some((at, device)) = waiting.next() else { break };
                self.start(at, device);
                started += 1;
            }
            if self.all_connected.is_none() && self.is_ready(wanted) {
                self.all_connected = Some(now);
                self.shared.set_open(true);
                say(Told::Note(&format!("all {wanted} devices are ready")));
                if let Some(flood) = self.flood.take() {
                    say(Told::Note("bad connects begin"));
                    offered = Some(flood.start());
                }
            }
            if now >= next {
                next += limits::SECOND;
                self.progress(now, say);
            }
            let is_over = |flood: &Result<_, _>| flood.as_ref().map_or(true, Flooding::is_over);
            if offered.as_ref().is_some_and(is_over) {
                break;
            }
            if self.shared.is_spent() {
                let since = *spent.get_or_insert(now);
                if self.is_settled(wanted) || now.saturating_sub(since) > limits::SETTLE {
                    break;
                }
            }
            if self.stage.plan.lasts.is_some_and(|lasts| now >= lasts) {
                break;
            }
        }
        self.shared.set_open(false);
        self.settle(wanted).await;
        let took = self.stage.elapsed();
        self.series.push(Point::of(self.tally, took.as_secs_f64()));
        for name in self.lives.finish(limits::DRAIN).await {
            say(Told::Note(&format!("did not stop: {name}")));
        }
        if let Some(flood) = offered {
            let flood = flood.map_err(LoadError::Flood)?;
            report.values.extend(flood.finish().await.map_err(LoadError::Flood)?);
        }
        self.tell(took, report);
        Ok(())
    }

    fn is_due(&self, started: u64, now: Duration) -> bool {
        let due = self.stage.plan.pace.as_secs_f64() * started as f64;
        now.as_secs_f64() >= due
    }

    fn start(&self, at: usize, device: Device) {
        let id = device.identity.device.as_str().to_owned();
        let duty = self.duty(at, &id);
        let world = self.stage.world_of(at, self.tally);
        let life = device.live(duty, world, self.lives.clone());
        self.lives.spawn(id, life);
    }

    fn duty(&self, at: usize, id: &str) -> Box<dyn Duty> {
        let number = self.stage.plan.start_number + at + 1;
        let shared = &self.shared;
        let publisher = |work: &Publishing, by_process| -> Box<dyn Duty> {
            let topics = work.topics.iter().map(|topic| topic.of(id, number)).collect();
            Box::new(Publisher::new(topics, work, by_process, shared))
        };
        let subscriber = |work: &Subscribing, by_process| -> Box<dyn Duty> {
            let filters = work.topics.iter().map(|topic| topic.of(id, number)).collect();
            Box::new(Subscriber::new(filters, work, by_process, shared))
        };
        match &self.stage.plan.work {
            Work::Publish(work) | Work::Rejected(work) => publisher(work, false),
            Work::FanOut(work) if at == 0 => publisher(work, true),
            Work::FanOut(work) => {
                let Publishing { topics, qos, headers, .. } = work.clone();
                subscriber(&Subscribing { topics, qos, headers }, true)
            }
            Work::Subscribe(work) => subscriber(work, false),
            Work::Connect | Work::Reconnect | Work::Refresh | Work::Revocation => Box::new(Stay),
        }
    }

    /// Subscriptions that all devices make together.
    fn subscriptions(&self, devices: u64) -> u64 {
        match &self.stage.plan.work {
            Work::Subscribe(work) => devices * work.topics.len() as u64,
            Work::FanOut(_) => devices.saturating_sub(1),
            _ => 0,
        }
    }

    fn is_ready(&self, devices: u64) -> bool {
        self.tally.connected.get() >= devices
            && self.tally.subscribed.get() >= self.subscriptions(devices)
    }

    /// Whether every message has its acknowledgement or its refusal, and every subscriber of this process its copy.
    fn is_settled(&self, devices: u64) -> bool {
        let published = self.tally.published.get();
        let acknowledged = match &self.stage.plan.work {
            Work::Publish(work) | Work::FanOut(work) | Work::Rejected(work) => {
                let answered = self.tally.acknowledged.get() + self.tally.failures();
                work.qos == Qos::Zero || answered >= published
            }
            _ => true,
        };
        let copies = match &self.stage.plan.work {
            Work::FanOut(_) => published * devices.saturating_sub(1),
            _ => 0,
        };
        acknowledged && self.tally.delivered.get() >= copies
    }

    async fn settle(&self, devices: u64) {
        crate::fleet::until(limits::SETTLE, || self.is_settled(devices)).await;
    }

    fn progress(&mut self, now: Duration, say: Say<'_>) {
        let point = Point::of(self.tally, now.as_secs_f64());
        let before = std::mem::replace(&mut self.second, point);
        self.series.push(point);
        let text = format!(
            "{:>4.0}s  connected {}  connects/s {}  sent/s {}  received/s {}  failures {}",
            point.second,
            point.connected,
            point.connections - before.connections,
            point.published - before.published,
            point.received - before.received,
            point.failures,
        );
        say(Told::Progress(&text));
    }

    fn tell(self, took: Duration, report: &mut Report) {
        report.count(self.tally);
        report.seconds = took.as_secs_f64();
        report.all_connected_after = self.all_connected.map(|after| after.as_secs_f64());
        report.connects_a_second =
            report.all_connected_after.map(|after| report.connected as f64 / after.max(0.001));
        report.published_a_second = self.shared.published.rate(report.published);
        report.received_a_second = self.shared.received.rate(report.received);
        report.stages = stages(self.tally);
        report.series = self.series.points();
        if let Work::FanOut(_) = self.stage.plan.work {
            let wanted = report.published * report.enrolled.saturating_sub(1);
            report.values.insert("copies that are missing".to_owned(), {
                wanted.saturating_sub(report.received) as f64
            });
        }
    }
}

impl Headers {
    /// The headers of messages whose readers are in this process.
    pub const TIMED: Self = Self { counter: false, time: true };
}
