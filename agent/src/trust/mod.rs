//! What this verifier knows: signed by the pinned root key, stored, and read without a lock.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use tessera_token::chain::TrustView;
use tessera_token::time::UnixSeconds;
use tokio::sync::broadcast;

pub use apply::Applied;
pub use effect::TrustEffect;
pub use floor::Floor;
pub use refusal::TrustRefusal;
pub use state::TrustState;
pub use store::{StoredTime, TrustStore, TrustStoreError};
pub use time::{ClockState, TrustTime};

use crate::limits;

mod apply;
mod effect;
mod floor;
mod names;
mod refusal;
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
    time: TrustTime,
    effects: broadcast::Sender<TrustEffect>,
}

impl Trust {
    /// Starts with what is known.
    pub fn new(state: TrustState, time: TrustTime) -> Arc<Self> {
        if let Some(signed) = state.trusted_at() {
            time.known(signed);
        }
        Arc::new(Self {
            state: ArcSwap::from_pointee(state),
            time,
            effects: broadcast::Sender::new(limits::TRUST_EFFECTS),
        })
    }

    /// The current version. Lock-free; do not hold it across an await.
    pub fn load(&self) -> Guard<Arc<TrustState>> {
        self.state.load()
    }

    /// The moment by which everything is judged.
    pub fn now(&self) -> UnixSeconds {
        self.time.now()
    }

    /// As [`Self::now`], for who has just asked for the monotonic time.
    pub fn now_at(&self, monotonic: Duration) -> UnixSeconds {
        self.time.now_at(monotonic)
    }

    /// Monotonic time of this process.
    pub fn monotonic(&self) -> Duration {
        self.time.monotonic()
    }

    /// How time goes here.
    pub fn time(&self) -> &TrustTime {
        &self.time
    }

    /// Takes in the time of a heartbeat that answers this process.
    pub(crate) fn beat(&self, time: UnixSeconds) {
        self.time.beat(time);
    }

    /// Seconds since the newest signed time; `None` when there is no trust data.
    pub fn age(&self) -> Option<u64> {
        let at = self.load().trusted_at()?;
        Some(self.now().since(at))
    }

    /// What changes from now on. A receiver that lagged must check everything again.
    pub fn effects(&self) -> broadcast::Receiver<TrustEffect> {
        self.effects.subscribe()
    }

    /// Makes a version current, then tells what changed.
    pub fn publish(&self, state: TrustState, effects: impl IntoIterator<Item = TrustEffect>) {
        if let Some(signed) = state.trusted_at() {
            self.time.known(signed);
        }
        self.state.store(Arc::new(state));
        effects.into_iter().for_each(|effect| self.announce(effect));
    }

    /// Tells what may have ended, when that rests on something beside the trust data.
    pub(crate) fn announce(&self, effect: TrustEffect) {
        // Without a subscriber there is nobody whose sessions could be touched.
        let _ = self.effects.send(effect);
    }
}
