//! How trust data arrives: a snapshot first, then events by long poll. The step is synchronous and takes bytes; the
//! actor around it only fetches and waits.

use std::sync::Arc;
use std::time::Duration;

use tessera_runtime::metrics::{Counter, Gauge, Metrics, MetricsError};
use tessera_runtime::random::{self, SharedRandom};
use tessera_token::chain::TrustView;
use tessera_token::trust::Feed;

use crate::limits;
use crate::trust::{Applied, Trust, TrustEffect, TrustRefusal, TrustStore};

pub(crate) use actor::TrustActor;
pub(crate) use fetch::{Answer, FetchError, Source};

mod actor;
mod fetch;
#[cfg(test)]
mod tests;

/// What to ask the service for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    /// Everything.
    Snapshot,
    /// What came after this number.
    Events(u64),
}

/// What to do next: wait, then ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Next {
    pub(crate) wait: Duration,
    pub(crate) ask: Ask,
}

/// The state of the synchronisation.
pub(crate) struct SyncCore {
    trust: Arc<Trust>,
    store: TrustStore,
    random: SharedRandom,
    counters: Counters,
    failures: u32,
    /// Events behind the stored snapshot.
    stored: usize,
    /// When a snapshot was last asked for in vain; `None` after a good one.
    no_snapshot: Option<Duration>,
    saved_time: Duration,
    saved_beat: Option<Duration>,
    pruned: Duration,
}

struct Counters {
    age: Gauge,
    ahead: Gauge,
    seq: Gauge,
    errors: Counter,
    changes: Counter,
}

impl Counters {
    fn new(metrics: &Metrics) -> Result<Self, MetricsError> {
        Ok(Self {
            age: metrics.gauge(
                "tessera_trust_age_seconds",
                "Seconds since the newest signed time; -1 without trust data",
                &[],
            )?,
            ahead: metrics.gauge(
                "tessera_clock_ahead_seconds",
                "Seconds that this clock is ahead of the signed time of the trust service; negative when behind",
                &[],
            )?,
            seq: metrics.gauge("tessera_trust_seq", "Number of the newest trust event", &[])?,
            errors: metrics.counter(
                "tessera_trust_sync_errors_total",
                "Answers of the trust feed that brought nothing, by reason",
                &["reason"],
            )?,
            changes: metrics.counter(
                "tessera_trust_changes_total",
                "Trust changes taken in, by kind",
                &["kind"],
            )?,
        })
    }
}

impl SyncCore {
    pub(crate) fn new(
        trust: Arc<Trust>,
        store: TrustStore,
        random: SharedRandom,
        metrics: &Metrics,
    ) -> Result<Self, MetricsError> {
        let stored = store.event_count().unwrap_or(0);
        let core = Self {
            counters: Counters::new(metrics)?,
            saved_time: trust.monotonic(),
            saved_beat: None,
            pruned: trust.monotonic(),
            trust,
            store,
            random,
            failures: 0,
            stored,
            no_snapshot: None,
        };
        core.measure();
        Ok(core)
    }

    /// What to ask at the start.
    pub(crate) fn first(&self) -> Next {
        self.soon()
    }

    /// Takes an answer in.
    pub(crate) fn answer(&mut self, ask: Ask, answer: Answer) -> Next {
        let outcome = match (ask, answer) {
            (Ask::Snapshot, Ok(bytes)) => self.snapshot(&bytes),
            (Ask::Events(_), Ok(bytes)) => self.events(&bytes),
            (_, Err(error)) => Err(Trouble::of(&error)),
        };
        self.measure();
        if matches!(ask, Ask::Snapshot) && outcome.is_err() {
            self.no_snapshot = Some(self.trust.monotonic());
        }
        match outcome {
            Ok(next) => {
                self.failures = 0;
                next
            }
            Err(trouble) => self.trouble(ask, trouble),
        }
    }

    /// What is due from time to time: time is stored, what says nothing any more is let go. A monotonic time that went
    /// back, as a tool that fakes it may bring about, is due at once.
    pub(crate) fn tick(&mut self) {
        let now = self.trust.monotonic();
        let due = |last: Duration, every: Duration| now.saturating_sub(last) >= every || now < last;
        let removal = self.trust.time().removal();
        if due(self.saved_time, limits::TRUST_TIME_STEP) {
            self.save_time();
        }
        if due(self.pruned, limits::TRUST_PRUNE) {
            self.pruned = now;
            if let Some(at) = removal {
                let mut state = self.trust.load().as_ref().clone();
                state.prune(at);
                self.trust.publish(state, None);
            }
        }
        self.trust.time().tell();
        self.measure();
    }

    /// Stores how far time has come, at the end.
    pub(crate) fn finish(&mut self) {
        self.save_time();
    }

    fn snapshot(&mut self, bytes: &[u8]) -> Result<Next, Trouble> {
        let old = self.trust.load().as_ref().clone();
        let state = old.with_snapshot(bytes, self.store.pin(), self.trust.now())?;
        let saved = self.store.save_snapshot(bytes, state.floor());
        self.stored = 0;
        self.no_snapshot = None;
        self.saved_beat = None;
        let same = !old.is_empty() && state.seq() == old.seq();
        let seq = state.seq();
        let effect = (!same).then_some(TrustEffect::Reloaded);
        self.publish(state, effect);
        tracing::info!(seq, "trust snapshot taken");
        self.saved(saved)?;
        Ok(self.soon())
    }

    fn events(&mut self, bytes: &[u8]) -> Result<Next, Trouble> {
        let feed = Feed::from_cbor(bytes).map_err(TrustRefusal::from)?;
        let old = self.trust.load().as_ref().clone();
        let first = old.seq().saturating_add(1);
        let applied = old.with_feed(&feed);
        let saved = self.store_feed(first, &feed, &applied);
        let Applied { state, effects, taken, more, refused, .. } = applied;
        if let Some(signed) = state.trusted_at().filter(|_| applied.beat) {
            self.trust.beat(signed);
        }
        self.publish(state, effects);
        if let Some(refusal) = refused {
            return Err(refusal.into());
        }
        self.saved(saved)?;
        if more && taken == 0 {
            // The service knows more and does not tell it.
            return Err(TrustRefusal::Order.into());
        }
        let wait = if taken == 0 { limits::SYNC_PAUSE } else { Duration::ZERO };
        Ok(Next { wait, ..self.soon() })
    }

    fn store_feed(
        &mut self,
        first: u64,
        feed: &Feed,
        applied: &Applied,
    ) -> Result<(), tessera_runtime::store::StoreError> {
        let now = self.trust.monotonic();
        let due = self.saved_beat.is_none_or(|saved| {
            now.saturating_sub(saved) >= limits::TRUST_HEARTBEAT_STEP || now < saved
        });
        if applied.taken == 0 && !(applied.beat && due) {
            return Ok(());
        }
        let beat = applied.beat.then_some(feed.heartbeat.as_slice());
        let events = feed.events.iter().take(applied.taken);
        self.store.save_events(first, events, beat)?;
        self.stored += applied.taken;
        self.saved_beat = applied.beat.then_some(now);
        Ok(())
    }

    fn publish(
        &self,
        state: crate::trust::TrustState,
        effects: impl IntoIterator<Item = TrustEffect>,
    ) {
        let effects: Vec<TrustEffect> = effects.into_iter().collect();
        for effect in &effects {
            self.counters.changes.inc(&[effect.kind()]);
        }
        self.trust.publish(state, effects);
    }

    /// A revocation that could not be stored holds all the same, as long as the process lives.
    fn saved(&self, result: Result<(), tessera_runtime::store::StoreError>) -> Result<(), Trouble> {
        result.map_err(|error| {
            tracing::error!(%error, "trust data not stored");
            Trouble { reason: "store", snapshot: false }
        })
    }

    fn soon(&self) -> Next {
        let state = self.trust.load();
        let long = self.stored > limits::TRUST_EVENTS_STORED && self.may_shorten();
        let ask = match state.is_empty() || long {
            true => Ask::Snapshot,
            false => Ask::Events(state.seq()),
        };
        let wait = Duration::ZERO;
        Next { wait, ask }
    }

    /// A snapshot that only shortens the start is not worth that revocations wait for it: while it cannot be had, events
    /// go on.
    fn may_shorten(&self) -> bool {
        let now = self.trust.monotonic();
        self.no_snapshot.is_none_or(|tried| {
            now < tried || now.saturating_sub(tried) >= limits::TRUST_SNAPSHOT_PAUSE
        })
    }

    fn trouble(&mut self, ask: Ask, trouble: Trouble) -> Next {
        self.counters.errors.inc(&[trouble.reason]);
        self.failures = self.failures.saturating_add(1);
        if self.failures == 1 || self.failures.is_power_of_two() {
            let failures = self.failures;
            tracing::warn!(reason = trouble.reason, failures, "trust feed brought nothing");
        }
        let next = self.soon();
        let snapshot = trouble.snapshot && !matches!(ask, Ask::Snapshot);
        Next { wait: self.backoff(), ask: if snapshot { Ask::Snapshot } else { next.ask } }
    }

    /// Doubles with every failure, and is drawn from the upper half, so that a fleet of agents does not come back at once.
    fn backoff(&self) -> Duration {
        let doublings = self.failures.saturating_sub(1).min(10);
        let most = limits::SYNC_BACKOFF_FIRST
            .saturating_mul(1 << doublings)
            .min(limits::SYNC_BACKOFF_LAST);
        let half = most / 2;
        let span = u64::try_from(half.as_millis()).unwrap_or(0).max(1);
        let drawn = random::number(self.random.as_ref()).unwrap_or(0) % span;
        half + Duration::from_millis(drawn)
    }

    fn save_time(&mut self) {
        self.saved_time = self.trust.monotonic();
        if let Err(error) = self.store.save_time(&self.trust.time().to_store()) {
            tracing::error!(%error, "how far time has come is not stored");
        }
    }

    fn measure(&self) {
        let whole = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        let age = self.trust.age().map_or(-1, whole);
        self.counters.age.set(&[], age);
        let ahead = self.trust.time().clock_state().map_or(0, |state| state.ahead);
        self.counters.ahead.set(&[], ahead);
        self.counters.seq.set(&[], whole(self.trust.load().seq()));
    }
}

/// Why an answer brought nothing, and whether a snapshot may help.
struct Trouble {
    reason: &'static str,
    snapshot: bool,
}

impl Trouble {
    fn of(error: &FetchError) -> Self {
        Self { reason: error.reason(), snapshot: matches!(error, FetchError::Gone) }
    }
}

impl From<TrustRefusal> for Trouble {
    fn from(refusal: TrustRefusal) -> Self {
        Self { reason: refusal.as_str(), snapshot: true }
    }
}
