//! A whole run: enrol, play, score, remove. The devices are removed whatever happened before.

use std::sync::atomic::Ordering;
use std::sync::Arc;

use tessera_behaviour::alert::Alert;
use tessera_behaviour::truth::Truth;
use tessera_runtime::boxed::Boxed;
use tessera_runtime::clock::SharedClock;
use tessera_runtime::stop::Stop;
use tokio::sync::mpsc;
use tokio::time::{interval, sleep};

use super::cast::{self, Cast};
use super::dispatcher::Dispatcher;
use super::limits;
use super::pace::Pace;
use super::plan::{Plan, PlayError};
use super::player::Player;
use super::report::Report;
use super::stage::Stage;
use super::watcher::{is_of_run, Alerts, Watcher};
use crate::detection::flow::Generator;
use crate::detection::score::Verdicts;
use crate::detection::trial::{judged_alone, Score};
use crate::fleet::until;
use crate::load::{own_roles, remove, Say, Told};
use crate::report::Tally;

/// The outcome of a run.
#[derive(Debug)]
pub struct Played {
    /// The numbers of the run.
    pub report: Report,
    /// The ground truth, by the clock on the wall.
    pub truth: Vec<Truth>,
    /// The alerts about the devices of the run.
    pub alerts: Vec<Alert>,
    /// The alerts of the broker, judged.
    pub score: Score,
}

/// Plays a scenario. The devices are removed also when the run failed, and the error comes with what is left of them.
///
/// # Errors
/// [`PlayError`], and words about devices that could not be removed.
pub fn run<'a>(
    plan: Plan,
    clock: SharedClock,
    tally: Arc<Tally>,
    stop: &'a Stop,
    say: Say<'a>,
) -> Boxed<'a, Result<Played, (PlayError, Option<String>)>> {
    Box::pin(async move {
        let mut plan = plan;
        // One tenant, of which the operator of the run is one.
        plan.scenario.tenants = 1;
        let world = Generator::new(&plan.scenario, plan.seed);
        let mut world = world.map_err(|error| (error.into(), None))?;
        let ids = cast::ids(&plan, &world.truth());
        let text = format!("seed {}, device ids begin with {}", plan.seed, plan.prefix);
        say(Told::Note(&text));
        let mut is_early = false;
        let done = work(plan.clone(), clock, tally, stop, say, &mut world, &mut is_early).await;
        if plan.keep {
            return done.map_err(|error| (error, None));
        }
        let text = format!("removing the devices of the run ({}…)", plan.prefix);
        say(Told::Note(&text));
        let roles = own_roles(&plan.prefix);
        let gone =
            || remove(&plan.operator, &plan.tenant, &plan.prefix, ids.clone(), roles.clone());
        let mut removal = gone().await;
        if is_early {
            // An enrolment that was under way may have been done behind its deletion.
            let first = removal.removed;
            removal = gone().await;
            removal.removed += first;
        }
        match done {
            Ok(mut played) => {
                played.report.removal = Some(removal);
                Ok(played)
            }
            Err(error) => Err((error, removal.rest())),
        }
    })
}

async fn work(
    plan: Plan,
    clock: SharedClock,
    tally: Arc<Tally>,
    stop: &Stop,
    say: Say<'_>,
    world: &mut Generator,
    is_early: &mut bool,
) -> Result<Played, PlayError> {
    let stage = Stage::new(plan, clock, tally)?;
    let plan = &stage.plan;
    let known = world.truth();
    let enrolled = tokio::select! {
        enrolled = cast::enrol(&stage, &known) => Some(enrolled),
        () = stop.stopping() => None,
    };
    let Some(enrolled) = enrolled else {
        *is_early = true;
        stage.tally().failure("stopped_before_the_play");
        return Ok(played(&stage, world, None, Alerts::default(), ""));
    };
    let Cast { devices, watcher, places } = enrolled?;
    let there = devices.iter().flatten().count();
    say(Told::Note(&format!("enrolled {there} of {} devices", devices.len())));
    let lives = Stop::new();
    let alerts = Alerts::default();
    let watching = watcher.identity.device.as_str().to_owned();
    let sample = watcher.token().bytes.clone();
    let tally = Arc::new(Tally::default());
    let of_watcher =
        crate::device::life::World { tally: Arc::clone(&tally), ..stage.world.clone() };
    let duty = Box::new(Watcher(alerts.clone()));
    lives.spawn("watcher", watcher.live(duty, of_watcher, lives.clone()));
    // Its subscriptions are that to the alerts and that to its token.
    if !until(limits::WATCHING, || tally.subscribed.get() > 0 || stop.is_stopping()).await {
        lives.finish(limits::DRAIN).await;
        return Err(PlayError::NoAlerts(tally.failures_by_code()));
    }
    let acting = Stop::new();
    let mut queues = Vec::with_capacity(devices.len());
    for device in devices {
        queues.push(device.map(|device| {
            let (queue, acts) = mpsc::channel(limits::ACTS_OF_ONE);
            let id = device.identity.device.as_str().to_owned();
            acting.spawn(id, Player::new(device, &stage).live(acts, acting.clone()));
            queue
        }));
    }
    let pace = Pace {
        world: world.begin(),
        process: stage.now(),
        wall: stage.clock.unix_millis(),
        speed: plan.speed,
    };
    let until = plan.lasts.map(|lasts| pace.process + lasts);
    let dispatcher = Dispatcher { stage: &stage, pace, places: &places, queues, sample };
    let reached = tokio::select! {
        reached = dispatcher.go(world, until, stop) => reached,
        () = progress(&stage, &pace, &alerts, say) => world_begin(&pace),
    };
    // Without their queues the devices do what waits, then leave.
    drop(dispatcher);
    tokio::select! {
        () = quiet(&stage) => {}
        () = stop.stopping() => {}
        () = sleep(limits::DRAIN) => {}
    }
    if !stop.is_stopping() {
        say(Told::Note("the scenario is over; alerts are waited for"));
        tokio::select! {
            () = sleep(plan.settle) => {}
            () = stop.stopping() => {}
        }
    }
    for name in acting.finish(limits::DRAIN).await {
        say(Told::Note(&format!("did not stop: {name}")));
    }
    lives.finish(limits::DRAIN).await;
    Ok(played(&stage, world, Some((pace, reached)), alerts, &watching))
}

const fn world_begin(pace: &Pace) -> u64 {
    pace.world
}

/// Returns once no act waits.
async fn quiet(stage: &Stage) {
    let mut looks = interval(limits::SECOND / 10);
    while stage.room.available_permits() < limits::ACTS {
        looks.tick().await;
    }
}

/// A line a second; it never ends.
async fn progress(stage: &Stage, pace: &Pace, alerts: &Alerts, say: Say<'_>) {
    let mut seconds = interval(limits::SECOND);
    let tally = stage.tally();
    loop {
        seconds.tick().await;
        let after = stage.now().saturating_sub(pace.process).as_secs_f64();
        let hours = after * pace.speed / 3_600.0;
        let waiting = limits::ACTS - stage.room.available_permits().min(limits::ACTS);
        say(Told::Progress(&format!(
            "{after:>4.0}s  hour {hours:.1}  connected {}  connects {}  sent {}  waiting {waiting}  failures {}  alerts {}",
            tally.online.get(),
            tally.connections.get(),
            tally.published.get(),
            tally.failures(),
            alerts.len(),
        )));
    }
}

fn played(
    stage: &Stage,
    world: &mut Generator,
    reached: Option<(Pace, u64)>,
    alerts: Alerts,
    watcher: &str,
) -> Played {
    let plan = &stage.plan;
    let truth = reached.map_or_else(Vec::new, |(pace, until)| {
        world.stop();
        world.truth().into_iter().filter_map(|line| on_the_wall(line, plan, &pace, until)).collect()
    });
    let (alerts, dropped) = alerts.take();
    let (alerts, others): (Vec<_>, Vec<_>) =
        alerts.into_iter().partition(|alert| is_of_run(alert, &plan.prefix, watcher));
    let mut verdicts = Verdicts::of("broker");
    for alert in &alerts {
        verdicts.take(alert);
    }
    let score = judged_alone(&verdicts, &truth);
    let mut report = Report::of(stage, reached);
    report.alerts = alerts.len() as u64;
    report.alerts_of_others = others.len() as u64;
    report.alerts_dropped = dropped;
    report.attacks =
        truth.iter().filter(|line| matches!(line, Truth::Attack { .. })).count() as u64;
    report.reopened = stage.reopened.load(Ordering::Relaxed);
    report.left_out = stage.left_out.load(Ordering::Relaxed);
    Played { report, truth, alerts, score }
}

/// A line of ground truth by the names and the clock of the run; none for what it did not reach.
fn on_the_wall(line: Truth, plan: &Plan, pace: &Pace, until: u64) -> Option<Truth> {
    let tenant = plan.tenant.as_str().to_owned();
    let at = |at: u64| pace.on_the_wall(at.min(until));
    Some(match line {
        Truth::Device { device, persona, group, begin, end, .. } if begin <= until => {
            let device = plan.named(&device);
            Truth::Device { tenant, device, persona, group, begin: at(begin), end: at(end) }
        }
        Truth::Attack { device, class, grade, begin, end, instance, .. } if begin <= until => {
            let device = plan.named(&device);
            Truth::Attack { tenant, device, class, grade, begin: at(begin), end: at(end), instance }
        }
        Truth::Cause { cause, devices, announced, begin, end, .. } if begin <= until => {
            let devices = devices.iter().map(|device| plan.named(device)).collect();
            Truth::Cause { tenant, cause, devices, announced, begin: at(begin), end: at(end) }
        }
        _ => return None,
    })
}
