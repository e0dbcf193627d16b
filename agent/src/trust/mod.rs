//! Trust data of this verifier: signed by the pinned root key, stored, and read without a lock.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use tessera_token::chain::TrustView;
use tessera_token::limits::CLOCK_SKEW_SECONDS;
use tessera_token::refusal::RefusalCode;
use tessera_token::time::UnixSeconds;
use tokio::sync::broadcast;

pub use apply::{Applied, Taken};
pub use effect::TrustEffect;
pub use freshness::Lapse;
pub use refusal::TrustRefusal;
pub use restrictions::Restrained;
pub use rollback_floor::RollbackFloor;
pub use state::TrustState;
pub(crate) use store::Viewed;
pub use store::{StoredTime, TrustStore, TrustStoreError};
pub use time::{ClockState, TrustTime};

use crate::limits;
use freshness::Freshness;

mod apply;
mod effect;
mod freshness;
mod names;
mod refusal;
mod restrictions;
mod rollback_floor;
mod root_line;
mod root_store;
mod shards;
mod state;
mod store;
#[cfg(test)]
mod tests;
mod time;
#[cfg(test)]
mod time_tests;

/// The current version of trust, for many readers and one writer.
pub struct Trust {
    state: ArcSwap<TrustState>,
    /// How often the state said something else. Written behind it, so that an answer by an older state is never taken for one by a
    /// newer.
    version: AtomicU64,
    absence_is_open: AtomicBool,
    time: TrustTime,
    freshness: Freshness,
    effects: broadcast::Sender<TrustEffect>,
}

impl Trust {
    /// Starts with what is known.
    pub fn new(state: TrustState, time: TrustTime) -> Arc<Self> {
        if let Some(signed) = state.trusted_at() {
            time.known(signed);
        }
        // Stored times alone: a clock that stands in the past makes nothing younger than it was when this was stored.
        let confirmed = state.confirmed_at().filter(|_| !state.is_held());
        let age = confirmed.map(|at| time.now().since(at));
        Arc::new(Self {
            version: AtomicU64::new(0),
            absence_is_open: AtomicBool::new(state.absent_since().is_some()),
            state: ArcSwap::from_pointee(state),
            freshness: Freshness::new(age, time.monotonic()),
            time,
            effects: broadcast::Sender::new(limits::TRUST_EFFECTS),
        })
    }

    /// The current version. Lock-free; do not hold it across an await.
    pub fn load(&self) -> Guard<Arc<TrustState>> {
        self.state.load()
    }

    /// A number that moves up whenever the state says something else: what was found by an earlier one is to be asked again.
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// As [`TrustState::absent_since`]: whether it is open.
    pub fn absence_is_open(&self) -> bool {
        self.absence_is_open.load(Ordering::Acquire)
    }

    /// The moment by which everything is judged.
    pub fn now(&self) -> UnixSeconds {
        self.time.now()
    }

    /// As [`Self::now`], for a caller that has just asked for the monotonic time.
    pub fn now_at(&self, monotonic: Duration) -> UnixSeconds {
        self.time.now_at(monotonic)
    }

    /// How time goes here.
    pub fn time(&self) -> &TrustTime {
        &self.time
    }

    /// Seconds since a heartbeat last answered this verifier, by monotonic time; an answer to an earlier run counts
    /// with the stored times. `None` when none ever did.
    ///
    /// Monotonic time stands still while a machine sleeps. So an age of more than [`limits::CLOCK_WITNESS`] is at
    /// least the age by trust time, less the permitted difference of clocks.
    pub fn age(&self) -> Option<u64> {
        let age = self.freshness.age(self.time.monotonic())?;
        if age <= limits::CLOCK_WITNESS.as_secs() {
            return Some(age);
        }
        let by_now = self.load().confirmed_at().map_or(0, |at| self.now().since(at));
        Some(age.max(by_now.saturating_sub(CLOCK_SKEW_SECONDS)))
    }

    /// The age by which is decided: without an end while it is open if revocations are missing
    /// ([`TrustState::absent_since`]).
    pub fn age_to_decide(&self) -> Option<u64> {
        match self.absence_is_open() {
            true => Some(u64::MAX),
            false => self.age(),
        }
    }

    /// Monotonic time, by which ages are counted.
    pub fn monotonic(&self) -> Duration {
        self.time.monotonic()
    }

    /// A heartbeat of this signed time answered the nonce that was sent at `asked`, which is monotonic.
    pub fn beat(&self, signed: UnixSeconds, asked: Duration) {
        self.time.beat(signed);
        self.freshness.beat(asked);
    }

    /// Whether a heartbeat ever answered a nonce of this verifier, in this run or in an earlier one.
    pub fn is_established(&self) -> bool {
        self.freshness.is_established()
    }

    /// Whether anything may be decided by what is known.
    ///
    /// # Errors
    /// `trust_missing` before a heartbeat answered, `trust_not_followed` when the short budget of a verifier that cannot
    /// follow is used up.
    pub fn may_decide(&self) -> Result<(), RefusalCode> {
        self.freshness.may_decide(self.time.monotonic())
    }

    /// That the feed cannot be followed, while that is so.
    pub fn lapse(&self) -> Option<Lapse> {
        self.freshness.lapse(self.time.monotonic())
    }

    /// Seconds for which a verifier that cannot follow decides all the same.
    pub fn set_lapse_budget(&self, seconds: u64) {
        self.freshness.set_budget(seconds);
    }

    /// The feed cannot be followed, and that for `lasts` already; true when the reason is new.
    pub(crate) fn lapsed(&self, reason: &'static str, lasts: Duration) -> bool {
        self.freshness.lapsed(reason, self.time.monotonic(), lasts)
    }

    /// The feed is followed; true when it was not before.
    pub(crate) fn follows(&self) -> bool {
        self.freshness.follows()
    }

    /// Changes from now on. A receiver that lagged must check everything again.
    pub fn effects(&self) -> broadcast::Receiver<TrustEffect> {
        self.effects.subscribe()
    }

    /// Makes a version current, then tells what changed.
    pub fn publish(&self, state: TrustState, effects: impl IntoIterator<Item = TrustEffect>) {
        if let Some(signed) = state.trusted_at() {
            self.time.known(signed);
        }
        let is_open = state.absent_since().is_some();
        let is_other = state.revokes_otherwise(&self.state.load());
        // In this order, each way: no verdict of before is good for longer, and none is asked for too early.
        if is_open {
            self.absence_is_open.store(true, Ordering::Release);
        }
        self.state.store(Arc::new(state));
        if is_other {
            self.version.fetch_add(1, Ordering::Release);
        }
        if !is_open {
            self.absence_is_open.store(false, Ordering::Release);
        }
        effects.into_iter().for_each(|effect| self.announce(effect));
    }

    /// Tells what may have ended, when that rests on something beside the trust data.
    pub(crate) fn announce(&self, effect: TrustEffect) {
        // Without a subscriber there are no sessions that could be touched.
        let _ = self.effects.send(effect);
    }
}
