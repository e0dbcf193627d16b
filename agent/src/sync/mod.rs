//! How trust data arrives: a snapshot first, then events by long poll. The step is synchronous and takes bytes; the
//! actor around it only fetches and waits.
//!
//! Each poll carries a nonce of its own, and only the heartbeat that answers it confirms what is known. A service that
//! knows less than this reader, or another past, was restored from an older copy: the reader shows it what the root key
//! signed since, and takes its new snapshot.

use std::sync::Arc;
use std::time::Duration;

use tessera_runtime::metrics::{Metrics, MetricsError};
use tessera_runtime::random::{self, SharedRandom};
use tessera_runtime::store::StoreError;
use tessera_token::trust::{EventHash, Feed, FeedAnswer, FeedNonce, LinkedSnapshot, TenantSet};

use crate::limits;
use crate::trust::{
    Applied, Taken, Trust, TrustEffect, TrustRefusal, TrustState, TrustStore, TrustStoreError,
    Viewed,
};

use counters::Counters;
use trouble::{Reason, Trouble};
use unstored::Unstored;

pub(crate) use actor::SyncActor;
#[cfg(feature = "testing")]
pub(crate) use fetch::path;
pub(crate) use fetch::{Answer, FetchError, Source};

mod absence;
mod actor;
mod counters;
mod fetch;
#[cfg(test)]
mod root_tests;
#[cfg(test)]
mod tests;
mod trouble;
mod unstored;
mod uplink;
#[cfg(test)]
mod view_tests;
mod viewed;

/// Request to the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    /// Everything. The service is told where this verifier stands, unless it has been shown what is known here: a snapshot
    /// of another line would hide from it that something is known that it has lost.
    Snapshot(Option<Stand>),
    /// The events after the known ones.
    Events(Poll),
    /// Nothing: it is shown what it does not know any more.
    Show,
}

/// The newest event that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stand {
    /// Its number.
    pub(crate) after: u64,
    /// Its hash.
    pub(crate) head: EventHash,
}

/// One poll.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Poll {
    pub(crate) stand: Stand,
    /// The nonce that the heartbeat must answer.
    pub(crate) nonce: FeedNonce,
    /// Seconds that the service may wait for news.
    pub(crate) wait: u64,
    /// When it was made, monotonic: the confirmed data are as old as that.
    pub(crate) made: Duration,
    /// The number of the root set that is trusted here.
    pub(crate) root_set: u64,
}

/// The next step: wait, then ask.
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
    /// Where the feed is, for the log.
    url: String,
    /// The tenants of this verifier, as it was told; `None` is all.
    tenants: Option<TenantSet>,
    failures: u32,
    /// Whether a heartbeat has answered since the last snapshot or trouble: until then the service does not wait.
    settled: bool,
    /// Trust data that are known and not in the store, when there is anything: then a whole snapshot is stored next.
    unstored: Option<Unstored>,
    /// Whether the end of the short budget was told.
    ended: bool,
    /// Events behind the stored snapshot.
    stored: usize,
    /// Views without events that are not stored yet.
    waiting: Vec<Viewed>,
    /// When a snapshot was last asked for in vain, monotonic; `None` after a good one.
    no_snapshot: Option<Duration>,
    saved_time: Duration,
    saved_beat: Option<Duration>,
    /// When it was first seen that the length of an absence is open, monotonic.
    absence_open: Option<Duration>,
    /// For how long it was open in earlier processes.
    open_before: Duration,
    pruned: Duration,
}

impl SyncCore {
    pub(crate) fn new(
        trust: Arc<Trust>,
        store: TrustStore,
        random: SharedRandom,
        metrics: &Metrics,
    ) -> Result<Self, MetricsError> {
        let stored = store.event_count().unwrap_or(0);
        if let Some(since) = store.lapsed().unwrap_or(None) {
            trust.lapsed("earlier", Duration::from_secs(trust.now().since(since)));
        }
        let core = Self {
            counters: Counters::new(metrics)?,
            saved_time: trust.monotonic(),
            saved_beat: None,
            absence_open: None,
            open_before: store.open_for().unwrap_or_default(),
            pruned: trust.monotonic(),
            trust,
            store,
            random,
            url: String::new(),
            tenants: None,
            waiting: Vec::new(),
            failures: 0,
            settled: false,
            unstored: None,
            ended: false,
            stored,
            no_snapshot: None,
        };
        core.measure();
        Ok(core)
    }

    /// The same, with the place of the feed for the log.
    pub(crate) fn of(mut self, url: &str) -> Self {
        url.clone_into(&mut self.url);
        self
    }

    /// The same as a verifier of these tenants; `None` is all.
    pub(crate) fn of_tenants(mut self, tenants: Option<TenantSet>) -> Self {
        self.tenants = tenants;
        self
    }

    /// The first request.
    pub(crate) fn first(&mut self) -> Next {
        self.soon()
    }

    /// Takes an answer in.
    pub(crate) fn answer(&mut self, ask: Ask, answer: Answer) -> Next {
        let outcome = match (ask, answer) {
            (Ask::Snapshot(_), Ok(bytes)) => self.snapshot(&bytes),
            (Ask::Events(poll), Ok(bytes)) => self.events(&poll, &bytes),
            (Ask::Show, Ok(_)) => Ok(Next { wait: Duration::ZERO, ask: Ask::Snapshot(None) }),
            (_, Err(error)) => Err(error.into()),
        };
        if matches!(ask, Ask::Snapshot(_)) && outcome.is_err() {
            self.no_snapshot = Some(self.trust.monotonic());
        }
        let next = match outcome {
            Ok(next) => {
                self.failures = 0;
                next
            }
            Err(trouble) => self.trouble(ask, trouble),
        };
        self.measure();
        next
    }

    /// Evidence for a service that knows less: everything that the root key signed and that is known, stored or not.
    pub(crate) fn evidence(&self) -> Vec<u8> {
        let stored = self.store.evidence().unwrap_or_else(|error| {
            tracing::error!(%error, url = self.url, "the stored trust data cannot be shown to the service");
            Default::default()
        });
        let mut evidence = match &self.unstored {
            Some(unstored) => unstored.behind(stored),
            None => stored,
        };
        // They tell how far it stands.
        let waiting = self.waiting.iter().map(|viewed| viewed.view.clone());
        unstored::extend(&mut evidence, waiting);
        evidence.to_cbor()
    }

    /// Work that is due from time to time: time is stored, what says nothing any more is let go. A monotonic time that went
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
        self.end_open_absence(now);
        self.tell_the_end();
        self.trust.time().tell();
        self.measure();
    }

    /// Stores how far time has come, at the end.
    pub(crate) fn finish(&mut self) {
        self.save_time();
    }

    fn snapshot(&mut self, bytes: &[u8]) -> Result<Next, Trouble> {
        let (links, bytes) = LinkedSnapshot::read(bytes).map_err(TrustRefusal::from)?;
        self.follow_links(&links)?;
        let pin = self.store.pin();
        let old = self.trust.load().as_ref().clone();
        let (tenants, time) = (self.tenants.as_ref(), self.trust.time());
        let taken = Taken { now: time.earlier(), wall: time.wall(), heard: time.heard() };
        let state = old.with_snapshot_of(tenants, bytes, &pin, taken)?;
        let saved = self.store.save_snapshot(bytes, &state);
        self.stored = 0;
        self.waiting.clear();
        self.no_snapshot = None;
        self.saved_beat = None;
        self.settled = false;
        self.unstored = saved.is_err().then(|| Unstored::of_snapshot(bytes));
        let others = state.tenants() != old.tenants();
        if others && !old.is_empty() {
            let (before, tenants) = (whose(old.tenants()), whose(state.tenants()));
            tracing::warn!(before, tenants, "this verifier follows other tenants from now on");
        }
        let same = old.is_of_root(&pin) && state.seq() == old.seq() && !others;
        let (seq, left_out) = (state.seq(), state.left_out());
        let tenants = whose(state.tenants());
        let effect = (!same).then_some(TrustEffect::Reloaded);
        self.publish(state, effect);
        tracing::info!(seq, left_out, tenants, url = self.url, "trust snapshot taken");
        saved?;
        Ok(self.soon())
    }

    /// The roots to which the links lead are durable before anything that they sign is taken.
    fn follow_links(&self, links: &[Vec<u8>]) -> Result<(), Trouble> {
        match self.store.follow_links(links) {
            Ok(false) => Ok(()),
            Ok(true) => {
                let set = self.store.roots();
                let (number, root) = (set.number(), format!("{:?}", set.roots().online));
                tracing::warn!(
                    number,
                    root,
                    url = self.url,
                    "the root key was changed by a signed link"
                );
                Ok(())
            }
            Err(TrustStoreError::Refused(refusal)) => Err(refusal.into()),
            Err(TrustStoreError::Store(error)) => Err(error.into()),
        }
    }

    fn events(&mut self, poll: &Poll, bytes: &[u8]) -> Result<Next, Trouble> {
        let answer = FeedAnswer::from_cbor(bytes).map_err(TrustRefusal::from)?;
        let old = self.trust.load().as_ref().clone();
        let first = old.seq().saturating_add(1);
        let applied = old.with_answer(&answer, &poll.nonce);
        let saved = self.store_answer(first, &answer, &applied);
        let confirmed = applied.state.confirmed_at().filter(|_| applied.beat);
        let Applied { state, effects, taken, moved, more, refused, .. } = applied;
        let left_out = state.left_out() > 0;
        self.publish(state, effects);
        if let Some(signed) = confirmed {
            let first = !self.trust.is_established();
            self.trust.beat(signed, poll.made);
            self.mend_forgotten(signed);
            self.settled = true;
            if first {
                // From here on anything is decided at all.
                self.trust.announce(TrustEffect::Reloaded);
            }
        }
        match refused {
            // Everything else was taken and goes on; a snapshot would hold no less.
            Some(TrustRefusal::TooLarge) if left_out => {
                self.lapse(Reason::Trust(TrustRefusal::TooLarge))
            }
            Some(refusal) => return Err(refusal.into()),
            None => {}
        }
        saved?;
        if more && !moved {
            // The service knows more and does not tell it.
            return Err(TrustRefusal::Order.into());
        }
        if confirmed.is_some() && !left_out && self.unstored.is_none() {
            self.following();
        }
        let wait = if taken > 0 || more { Duration::ZERO } else { limits::SYNC_PAUSE };
        Ok(Next { wait, ..self.soon() })
    }

    /// Whether a heartbeat without news is worth a write.
    fn beat_due(&self) -> bool {
        let now = self.trust.monotonic();
        self.saved_beat.is_none_or(|saved| {
            now.saturating_sub(saved) >= limits::TRUST_HEARTBEAT_STEP || now < saved
        })
    }

    fn store_feed(&mut self, first: u64, feed: &Feed, applied: &Applied) -> Result<(), StoreError> {
        let events = feed.events.iter().take(applied.taken);
        // Behind a gap no event may be stored: the next snapshot holds it.
        if let Some(unstored) = &mut self.unstored {
            unstored.add(events);
            return Ok(());
        }
        if applied.taken == 0 && !(applied.beat && self.beat_due()) {
            return Ok(());
        }
        let beat = applied.state.confirmed_at().filter(|_| applied.beat);
        let beat = beat.map(|signed| (feed.heartbeat.as_slice(), signed));
        if let Err(error) = self.store.save_events(first, events.clone(), beat) {
            self.unstored.get_or_insert_default().add(events);
            return Err(error);
        }
        self.stored += applied.taken;
        self.saved_beat = applied.beat.then(|| self.trust.monotonic());
        Ok(())
    }

    fn publish(&self, state: TrustState, effects: impl IntoIterator<Item = TrustEffect>) {
        let effects: Vec<TrustEffect> = effects.into_iter().collect();
        for effect in &effects {
            self.counters.changes.inc(&[effect.kind()]);
        }
        self.trust.publish(state, effects);
    }

    fn soon(&mut self) -> Next {
        let state = self.trust.load();
        // Nothing more is taken by a former root.
        let others =
            state.tenants() != self.tenants.as_ref() || !state.is_of_root(&self.store.pin());
        let long = self.stored > limits::TRUST_EVENTS_STORED && self.may_shorten();
        let nonce = random::bytes(self.random.as_ref()).map(FeedNonce::from_bytes);
        let ask = match nonce {
            Ok(nonce) if !(state.is_empty() || long || others || self.unstored.is_some()) => {
                Ask::Events(Poll {
                    stand: Stand { after: state.seq(), head: state.head() },
                    nonce,
                    wait: if self.settled { limits::SYNC_WAIT_SECONDS } else { 0 },
                    made: self.trust.monotonic(),
                    root_set: self.store.roots().number(),
                })
            }
            // Without randomness nothing could be confirmed: a snapshot confirms nothing.
            _ => self.whole(),
        };
        Next { wait: Duration::ZERO, ask }
    }

    /// The snapshot, behind what is known.
    fn whole(&self) -> Ask {
        let state = self.trust.load();
        let stand = Stand { after: state.seq(), head: state.head() };
        Ask::Snapshot((!state.is_empty()).then_some(stand))
    }

    /// A snapshot that only shortens the start is not worth that revocations wait for it: while it cannot be had, events
    /// go on.
    fn may_shorten(&self) -> bool {
        let now = self.trust.monotonic();
        self.no_snapshot.is_none_or(|tried| {
            now < tried || now.saturating_sub(tried) >= limits::TRUST_SNAPSHOT_PAUSE
        })
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
        let open_for = self.open_for(self.saved_time);
        if let Err(error) = self.store.save_time(&self.trust.time().to_store(), open_for) {
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
        self.counters.root_set.set(&[], whole(self.store.roots().number()));
        self.counters.following.set(&[], i64::from(self.trust.lapse().is_none()));
    }
}

/// Owners of the data, for the log.
fn whose(tenants: Option<&TenantSet>) -> String {
    tenants.map_or_else(|| "all".to_owned(), TenantSet::to_string)
}
