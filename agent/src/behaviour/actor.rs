//! The engine as an actor: every tick it is given what waits in the queue, and its alerts are told.

use std::sync::Arc;
use std::time::Duration;

use crate::location::Locator;
use actix::{Actor, ActorContext, AsyncContext, Context, Handler};
use parking_lot::Mutex;
use tessera_behaviour::alert::{Alert, Severity, State, Subject};
use tessera_behaviour::detector::Detector;
use tessera_behaviour::engine::{Config, Engine, Turn};
use tessera_behaviour::observation::{Event, Observation, UnixMillis};
use tessera_runtime::clock::SharedClock;
use tessera_runtime::metrics::{Metrics, MetricsError};
use tessera_runtime::random::{self, RandomError, SharedRandom};
use tessera_runtime::store::{Store, StoreError};

use super::announcements::{Announcements, Told as Announced};
use super::counters::Counters;
use super::kept::KeptAlerts;
use super::observer::{Ends, Observer};
use super::reading::Reading;
use super::recording::Recording;
use super::step::Step;
use super::store::{ProfileStore, SeedError};
use crate::actor_thread::Finish;
use crate::inventory::Book;
use crate::limits;

/// Parts of the actor. It outlives the actor, so that a new one goes on with the same profiles.
pub(crate) struct BehaviourParts {
    engine: Engine,
    store: ProfileStore,
    ends: Ends,
    observer: Observer,
    reading: Reading,
    announced: Announced,
    inventory: Arc<Mutex<Book>>,
    record: Option<Recording>,
    locator: Option<Locator>,
    clock: SharedClock,
    counters: Counters,
    kept: Arc<KeptAlerts>,
    /// Alerts of the present step.
    alerts: Vec<Alert>,
    /// Profiles that are still to be written in this round.
    unsaved: Vec<(String, String)>,
    /// Rounds of writing so far: each takes its part of the devices.
    rounds: u32,
}

/// Why behaviour tracking could not start.
#[derive(Debug)]
pub(crate) enum StartError {
    Store(StoreError),
    Metrics(MetricsError),
    Random(RandomError),
}

/// An observer for sessions, and the parts of the actor that listens to it.
pub(crate) fn start(
    store: &Store,
    mut config: Config,
    clock: SharedClock,
    random: &SharedRandom,
    announcements: Announcements,
    record: Option<Recording>,
    metrics: &Metrics,
) -> Result<(Observer, BehaviourParts), StartError> {
    let kept = KeptAlerts::open(store, random.as_ref())?;
    let key = random::bytes(random.as_ref()).map_err(StartError::Random)?;
    let (observer, ends) = Observer::new(key);
    let mut store = ProfileStore::new(store).map_err(StartError::Store)?;
    let counters = Counters::new(metrics).map_err(StartError::Metrics)?;
    let seed = store.seed(random.as_ref()).map_err(|error| match error {
        SeedError::Store(error) => StartError::Store(error),
        SeedError::Random(error) => StartError::Random(error),
    })?;
    config.seed = seed;
    let mut engine = Engine::new(config);
    let mut reading = Reading::new(Arc::clone(&clock));
    engine.begin(reading.now());
    let unread = store.restore(&mut engine).map_err(StartError::Store)?;
    if unread > 0 {
        counters.store_errors.add(&[], unread as u64);
        tracing::warn!(unread, "behaviour profiles that could not be read are learned anew");
    }
    let parts = BehaviourParts {
        engine,
        store,
        ends,
        observer: observer.clone(),
        reading,
        announced: Announced::new(announcements),
        inventory: Arc::default(),
        record,
        locator: None,
        clock,
        counters,
        kept,
        alerts: Vec::new(),
        unsaved: Vec::new(),
        rounds: 0,
    };
    Ok((observer, parts))
}

impl BehaviourParts {
    /// Takes in what waits, at most [`limits::OBSERVATIONS_PER_STEP`]. Returns whether there may be more.
    pub(crate) fn tick(&mut self) -> bool {
        let now = self.reading.now();
        let (engine, alerts) = (&mut self.engine, &mut self.alerts);
        self.announced.follow(now, |announced| engine.observe(announced, alerts));
        let lived = self.clock.monotonic();
        let inventory = Arc::clone(&self.inventory);
        let mut book = inventory.lock();
        let mut step = Step {
            engine: &mut self.engine,
            alerts: &mut self.alerts,
            book: &mut book,
            record: self.record.as_mut(),
            locator: self.locator.as_ref(),
            at: now,
            lived,
        };
        let mut taken = 0;
        while taken < limits::OBSERVATIONS_PER_STEP {
            let Ok(entry) = self.ends.entries.try_recv() else {
                break;
            };
            taken += 1;
            step.take_in(&entry);
        }
        let noted = (book.len(), book.left_out());
        drop(book);
        if let Some(record) = &mut self.record {
            record.tick(lived);
            self.counters.recorded(record.totals);
        }
        let strangers = self.take_strangers(now);
        // Hours end also while nothing is seen.
        self.engine.advance(now, &mut self.alerts);
        let alerts = std::mem::take(&mut self.alerts);
        if !alerts.is_empty() {
            self.keep(&alerts);
        }
        for alert in alerts {
            self.tell(alert);
        }
        let (dropped, left) = (self.observer.dropped(), self.store.rows_left);
        self.counters.follow(taken + strangers, dropped, left, self.engine.totals());
        self.counters.strangers(self.observer.strangers_dropped());
        self.counters.kept(self.kept.number(), self.kept.let_go());
        self.counters.devices(self.engine.len());
        self.counters.inventory(noted);
        taken == limits::OBSERVATIONS_PER_STEP
    }

    /// Alerts that wait for provisioning.
    pub(crate) fn kept(&self) -> &Arc<KeptAlerts> {
        &self.kept
    }

    /// Tells from now on where devices connect from.
    pub(crate) fn locate_by(&mut self, locator: Locator) {
        self.locator = Some(locator).filter(|locator| locator.files().any());
    }

    /// The topics that devices use.
    pub(crate) fn inventory(&self) -> &Arc<Mutex<Book>> {
        &self.inventory
    }

    /// An alert that cannot be written down is told all the same.
    fn keep(&self, alerts: &[Alert]) {
        if let Err(error) = self.kept.keep(alerts) {
            self.counters.store_errors.inc(&[]);
            tracing::warn!(%error, alerts = alerts.len(), "alerts not kept for provisioning");
        }
    }

    /// Takes in refused peers that waited, as many as their queue holds. They are about no device.
    fn take_strangers(&mut self, at: UnixMillis) -> usize {
        let mut taken = 0;
        while taken < limits::STRANGERS_WAITING {
            let Ok(waiting) = self.ends.strangers.try_recv() else { break };
            taken += 1;
            let event = Event::Stranger {
                code: waiting.code,
                network: waiting.network,
                name: waiting.name.as_deref(),
                credential: waiting.credential,
            };
            let seen = Observation { at, tenant: &waiting.tenant, device: "", session: 0, event };
            if let Some(record) = &mut self.record {
                record.write(&seen, self.clock.monotonic());
            }
            self.engine.observe(&seen, &mut self.alerts);
        }
        taken
    }

    /// Begins a round of writing, which is one part of the devices; [`BehaviourParts::save_some`] does it piece by
    /// piece. Profiles that a failed round left are written again in their turn.
    pub(crate) fn begin_save(&mut self) {
        let turn = Turn::Part(self.rounds, limits::PROFILE_PARTS);
        self.rounds = self.rounds.wrapping_add(1) % limits::PROFILE_PARTS;
        self.begin(turn);
        self.stored(|parts| parts.store.forget_former());
    }

    fn begin(&mut self, turn: Turn) {
        // A profile that both name is written once: then it is no longer changed.
        let rest = std::mem::take(&mut self.unsaved);
        self.unsaved = self.engine.changed(turn);
        self.unsaved.extend(rest);
        self.stored(|parts| parts.store.save_groups(&mut parts.engine, turn));
    }

    /// Writes one piece of what is to be written; whether there is more.
    pub(crate) fn save_some(&mut self) -> bool {
        let rest = self.unsaved.len().saturating_sub(limits::PROFILES_PER_BATCH);
        let names = self.unsaved.split_off(rest);
        let is_written = self.stored(|parts| {
            let written = parts.store.save_some(&mut parts.engine, &names)?;
            parts.counters.written.add(&[], written as u64);
            Ok(())
        });
        !self.unsaved.is_empty() || (is_written && self.store.has_removed())
    }

    /// Takes everything in and writes everything: at the end.
    pub(crate) fn finish(&mut self) {
        while self.tick() {}
        self.begin(Turn::All);
        while self.save_some() {}
        if let Some(record) = &mut self.record {
            record.tick(Duration::MAX);
        }
    }

    #[cfg(test)]
    pub(super) fn record_in(&mut self, record: Recording) {
        self.record = Some(record);
    }

    #[cfg(test)]
    pub(super) fn onto(&mut self, store: &Store) {
        self.store = ProfileStore::new(store).unwrap();
    }

    fn stored(&mut self, write: impl FnOnce(&mut Self) -> Result<(), StoreError>) -> bool {
        let written = write(self);
        if let Err(error) = &written {
            self.counters.store_errors.inc(&[]);
            tracing::warn!(%error, "behaviour profiles not written");
        }
        written.is_ok()
    }

    fn tell(&self, alert: Alert) {
        self.counters.alert(&alert);
        let told = Told::of(&alert);
        match alert.severity {
            _ if alert.state == State::Closed => tracing::info!(
                tenant = %alert.tenant, subject = %told.subject, alert = alert.alert, "alert closed"
            ),
            Severity::Low => tracing::info!(
                tenant = %alert.tenant, subject = %told.subject, alert = alert.alert, state = told.state,
                signals = %told.words, "odd behaviour of low severity"
            ),
            Severity::Moderate | Severity::High => tracing::warn!(
                tenant = %alert.tenant, subject = %told.subject, alert = alert.alert, state = told.state,
                severity = told.severity, signals = %told.words, advice = %alert.advice,
                "device behaves unlike itself"
            ),
        }
        self.observer.tell(Arc::new(alert));
    }
}

/// The fields of an alert as a line of the log has them.
struct Told {
    subject: String,
    state: &'static str,
    severity: &'static str,
    words: String,
}

impl Told {
    fn of(alert: &Alert) -> Self {
        let words: Vec<&str> = alert.signals.iter().map(|signal| &*signal.words).collect();
        Self {
            subject: match &alert.subject {
                Subject::Device(device) => device.clone(),
                Subject::Group(number) => format!("group {number}"),
                Subject::Campaign(cause) => format!("campaign {cause}"),
            },
            state: match alert.state {
                State::Open => "open",
                State::More => "more",
                State::Closed => "closed",
            },
            severity: match alert.severity {
                Severity::Low => "low",
                Severity::Moderate => "moderate",
                Severity::High => "high",
            },
            words: words.join("; "),
        }
    }
}

/// The thin shell.
pub(crate) struct BehaviourActor(pub(crate) Arc<Mutex<BehaviourParts>>);

impl Actor for BehaviourActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.run_interval(limits::TRACKER_TICK, |actor, ctx| actor.tick(ctx));
        ctx.run_interval(limits::PROFILE_ROUND, |actor, _| actor.0.lock().begin_save());
    }
}

impl BehaviourActor {
    fn tick(&mut self, ctx: &mut Context<Self>) {
        let mut parts = self.0.lock();
        if parts.tick() {
            ctx.run_later(Duration::ZERO, |actor, ctx| actor.tick(ctx));
        } else {
            parts.save_some();
        }
    }
}

impl Handler<Finish> for BehaviourActor {
    type Result = ();

    fn handle(&mut self, _: Finish, ctx: &mut Self::Context) {
        self.0.lock().finish();
        ctx.stop();
    }
}
