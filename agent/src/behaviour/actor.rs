//! The tracker as an actor: every tick it takes what waits in the queue, and tells alerts.

use std::sync::mpsc::Receiver;
use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, ActorContext, AsyncContext, Context, Handler};
use parking_lot::Mutex;
use tessera_runtime::clock::SharedClock;
use tessera_runtime::metrics::{Counter, Gauge, Metrics, MetricsError};
use tessera_runtime::store::{Store, StoreError};

use super::alert::{Alert, SignalName};
use super::config::BehaviourConfig;
use super::observer::{Entry, Observer};
use super::steady::Steady;
use super::store::ProfileStore;
use super::tracker::{Name, Tracker, Turn};
use crate::actor_thread::Finish;
use crate::limits;

/// Parts of the actor. It outlives the actor, so that a new one goes on with the same profiles.
pub(crate) struct BehaviourParts {
    tracker: Tracker,
    store: ProfileStore,
    entries: Receiver<Entry>,
    observer: Observer,
    steady: Steady,
    counters: Counters,
    /// Profiles that are still to be written in this round.
    unsaved: Vec<Name>,
    /// Rounds of writing so far: each takes its part of the devices.
    rounds: u32,
}

struct Counters {
    alerts: Counter,
    observations: Counter,
    dropped: Counter,
    evicted: Counter,
    rows_left: Counter,
    devices: Gauge,
    store_errors: Counter,
    written: Counter,
    dropped_told: u64,
    evicted_told: u64,
    rows_left_told: u64,
}

impl Counters {
    fn new(metrics: &Metrics) -> Result<Self, MetricsError> {
        let counter = |name, help| metrics.counter(name, help, &[]);
        let alerts = metrics.counter(
            "tessera_behaviour_alerts_total",
            "Alerts, by the signals that caused them",
            &["signal"],
        )?;
        SignalName::ALL.iter().for_each(|name| alerts.present(&[name.as_str()]));
        Ok(Self {
            alerts,
            observations: counter(
                "tessera_behaviour_observations_total",
                "Observations processed",
            )?,
            dropped: counter(
                "tessera_behaviour_dropped_total",
                "Observations dropped because the queue was full",
            )?,
            evicted: counter(
                "tessera_behaviour_evicted_total",
                "Profiles removed because the table was full",
            )?,
            rows_left: counter(
                "tessera_behaviour_rows_left_total",
                "Rows of removed profiles that stay in the store until the next start",
            )?,
            devices: metrics.gauge("tessera_behaviour_devices", "Profiles in memory", &[])?,
            store_errors: counter(
                "tessera_behaviour_store_errors_total",
                "Profiles that could not be written or read",
            )?,
            written: counter(
                "tessera_behaviour_profiles_written_total",
                "Profiles written to the store",
            )?,
            dropped_told: 0,
            evicted_told: 0,
            rows_left_told: 0,
        })
    }
}

/// Why behaviour tracking could not start.
#[derive(Debug)]
pub(crate) enum StartError {
    Store(StoreError),
    Metrics(MetricsError),
}

/// An observer for sessions, and the parts of the actor that listens to it.
pub(crate) fn start(
    store: &Store,
    config: BehaviourConfig,
    clock: SharedClock,
    metrics: &Metrics,
) -> Result<(Observer, BehaviourParts), StartError> {
    let (observer, entries) = Observer::new();
    let store = ProfileStore::new(store).map_err(StartError::Store)?;
    let counters = Counters::new(metrics).map_err(StartError::Metrics)?;
    let mut tracker = Tracker::new(config);
    let mut steady = Steady::new(clock);
    tracker.begin(steady.now_ms());
    let unread = store.restore(&mut tracker).map_err(StartError::Store)?;
    if unread > 0 {
        counters.store_errors.add(&[], unread as u64);
        tracing::warn!(unread, "behaviour profiles that could not be read are learned anew");
    }
    let parts = BehaviourParts {
        tracker,
        store,
        entries,
        observer: observer.clone(),
        steady,
        counters,
        unsaved: Vec::new(),
        rounds: 0,
    };
    Ok((observer, parts))
}

impl BehaviourParts {
    /// Takes in what waits, at most [`limits::OBSERVATIONS_PER_STEP`]. Returns whether there may be more.
    pub(crate) fn tick(&mut self) -> bool {
        let now_ms = self.steady.now_ms();
        let mut taken = 0;
        while taken < limits::OBSERVATIONS_PER_STEP {
            let Ok(entry) = self.entries.try_recv() else {
                break;
            };
            taken += 1;
            if let Some(mut alert) = self.tracker.step(&entry, now_ms) {
                alert.at = self.steady.wall();
                self.tell(alert);
            }
        }
        self.count(taken);
        taken == limits::OBSERVATIONS_PER_STEP
    }

    /// Begins a round of writing, which is one part of the devices; [`BehaviourParts::save_some`] does it piece by
    /// piece. Profiles that a failed round left are written again in their turn.
    pub(crate) fn begin_save(&mut self) {
        let turn = Turn::Part(self.rounds);
        self.rounds = self.rounds.wrapping_add(1) % limits::PROFILE_PARTS;
        self.begin(turn);
    }

    fn begin(&mut self, turn: Turn) {
        // A profile that both name is written once: then it is no longer changed.
        let rest = std::mem::take(&mut self.unsaved);
        self.unsaved = self.tracker.changed(turn);
        self.unsaved.extend(rest);
        self.stored(|parts| parts.store.save_groups(&mut parts.tracker, turn));
    }

    /// Writes one piece of what is to be written; whether there is more.
    pub(crate) fn save_some(&mut self) -> bool {
        let rest = self.unsaved.len().saturating_sub(limits::PROFILES_PER_BATCH);
        let names = self.unsaved.split_off(rest);
        self.stored(|parts| {
            let written = parts.store.save_some(&mut parts.tracker, &names)?;
            parts.counters.written.add(&[], written as u64);
            Ok(())
        });
        !self.unsaved.is_empty()
    }

    /// Takes everything in and writes everything: at the end.
    pub(crate) fn finish(&mut self) {
        while self.tick() {}
        self.begin(Turn::All);
        while self.save_some() {}
    }

    #[cfg(test)]
    pub(super) fn onto(&mut self, store: &Store) {
        self.store = ProfileStore::new(store).unwrap();
    }

    fn stored(&mut self, write: impl FnOnce(&mut Self) -> Result<(), StoreError>) {
        if let Err(error) = write(self) {
            self.counters.store_errors.inc(&[]);
            tracing::warn!(%error, "behaviour profiles not written");
        }
    }

    fn tell(&self, alert: Alert) {
        for signal in &alert.signals {
            self.counters.alerts.inc(&[signal.name.as_str()]);
        }
        tracing::warn!(
            tenant = %alert.tenant,
            device = %alert.device,
            score = alert.score,
            signals = %alert.words(),
            "device behaves unlike itself"
        );
        self.observer.tell(Arc::new(alert));
    }

    fn count(&mut self, taken: usize) {
        if taken > 0 {
            self.counters.observations.add(&[], taken as u64);
        }
        let dropped = self.observer.dropped();
        if dropped > self.counters.dropped_told {
            self.counters.dropped.add(&[], dropped - self.counters.dropped_told);
            self.counters.dropped_told = dropped;
        }
        let evicted = self.tracker.evicted_total();
        if evicted > self.counters.evicted_told {
            self.counters.evicted.add(&[], evicted - self.counters.evicted_told);
            self.counters.evicted_told = evicted;
        }
        let left = self.tracker.rows_left_total();
        if left > self.counters.rows_left_told {
            self.counters.rows_left.add(&[], left - self.counters.rows_left_told);
            self.counters.rows_left_told = left;
        }
        self.counters.devices.set(&[], i64::try_from(self.tracker.len()).unwrap_or(i64::MAX));
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
