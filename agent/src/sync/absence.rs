//! The length of an absence that a snapshot shows by the clock of its service alone: it is open until a second witness.

use std::time::Duration;

use tessera_token::limits::{CLOCK_SKEW_SECONDS, TOKEN_LIFE_SECONDS};
use tessera_token::time::UnixSeconds;

use super::SyncCore;
use crate::limits;
use crate::trust::{TrustEffect, TrustState};

impl SyncCore {
    /// Two witnesses are asked: one clock alone may be behind, and then revocations that were forgotten would not count.
    pub(super) fn mend_forgotten(&mut self, signed: UnixSeconds) {
        let agree = self.trust.time().clock_state().is_some_and(|state| !state.wrong);
        // A wall clock that was never set is none of the two: the service's own word that it was ahead counts.
        let wall = self.trust.time().wall();
        let takes_back = self.trust.load().absent_since().is_some_and(|since| {
            since.since(wall) > CLOCK_SKEW_SECONDS && signed.since(since) <= TOKEN_LIFE_SECONDS
        });
        if agree || takes_back {
            self.settle_absence(signed);
        }
    }

    /// The absence before the last snapshot was long or short, by this time.
    fn settle_absence(&mut self, now: UnixSeconds) {
        let mended = self.trust.load().forgotten_by(now);
        if let Some(mended) = mended {
            self.absence_is_known(mended);
        }
    }

    fn absence_is_known(&mut self, mended: TrustState) {
        let was_open = self.trust.absence_is_open();
        (self.absence_open, self.open_before) = (None, Duration::ZERO);
        // Without it a restart begins with the wrong moment, until a heartbeat mends it again.
        if let Err(error) = self.store.save_forgotten(&mended) {
            tracing::error!(%error, "a mended moment of trust data is not stored");
        }
        if was_open {
            let forgotten = mended.forgotten().map(UnixSeconds::get);
            tracing::info!(
                forgotten,
                "it is known how long this verifier was away: devices are let in again"
            );
        }
        // Sessions that were left alone meanwhile are looked at.
        self.trust.publish(mended, was_open.then_some(TrustEffect::Reloaded));
    }

    /// A verifier whose wall clock is never set cannot wait for it for ever.
    pub(super) fn end_open_absence(&mut self, monotonic: Duration) {
        if !self.trust.absence_is_open() {
            return;
        }
        self.absence_open.get_or_insert(monotonic);
        if self.open_for(monotonic).is_some_and(|open| open >= limits::ABSENCE_OPEN) {
            let mended = self.trust.load().long_absence(self.trust.now());
            self.absence_is_known(mended);
        }
    }

    /// For how long the length of an absence is open, in earlier processes too.
    pub(super) fn open_for(&self, monotonic: Duration) -> Option<Duration> {
        let since = self.absence_open?;
        Some(self.open_before + monotonic.saturating_sub(since))
    }
}
