//! Which connect proofs were used. A proof is good once: when its place (time and counter as one number) is above the
//! highest place that was taken of its key and client id.
//!
//! 1. **Memory** ([`memory`]): the highest place of each key and client id, by buckets of [`limits::LEDGER_BUCKET_SECONDS`]. A
//!    bucket is forgotten when none of its proofs can be fresh, also not by a lower time that this process went by before
//!    ([`low_water`]), and a time by the monotonic clock has passed since it was used; its seconds are then *closed*: no proof of them is taken any more, whatever the clock says later.
//! 2. **Reserved seconds** ([`reserve`]): the seconds in which proofs are taken are durable before the first of them is
//!    answered, some seconds in advance, and are extended in the background while proofs come in. So a proof waits for
//!    no disk. After a stop without notice the reserved seconds are closed: whose clock is right waits for their end.
//! 3. **Ahead**: a proof whose time lies beyond what is reserved, by a device whose clock is ahead, has a row of its own,
//!    durable before its answer, so that one such device does not make all others wait after a crash.
//! 4. **Write-back** ([`write_back`]): while the time is above one that this process went by before, the used proofs are
//!    written to rows of their own every few seconds, and their seconds are not reserved any more. So a crash closes
//!    seconds that come again for a short time alone.
//! 5. **Rest** ([`rest`]): a stop writes the memory down and the next start reads it back, so that no device waits.
//!
//! All names of a key are in one part; a part is held while a row of it is queued, so that rows of one name are written
//! in the order in which they were taken.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use parking_lot::Mutex;
use tessera_runtime::clock::SharedClock;
use tessera_runtime::store::{Store, StoreError};
use tessera_token::chain::ProofUse;
use tessera_token::ids::ClientId;
use tessera_token::proof::Place;
use tessera_token::refusal::RefusalCode;
use tessera_token::time::UnixSeconds;
use tokio::sync::oneshot;

use crate::limits;

mod ahead;
mod forget;
mod former;
mod low_water;
mod memory;
mod metrics;
mod name;
mod ranges;
mod reserve;
mod rest;
mod start;
#[cfg(test)]
mod tests;
mod write_back;

use ahead::AheadRows;
use former::Former;
use low_water::LowWater;
use memory::{Part, Replayed};
use name::{part_of, Who};
use ranges::Ranges;
use reserve::Reserve;
use rest::Rest;
use start::Doubt;

pub use metrics::LedgerMetrics;
pub use start::Opening;

/// The ledger of connect proofs.
pub struct Ledger {
    store: Store,
    clock: SharedClock,
    parts: Vec<Mutex<Part>>,
    entries: AtomicUsize,
    /// No proof of these seconds is taken: which were used is not known any more.
    closed: ArcSwap<Ranges>,
    doubt: Option<Doubt>,
    reserve: Arc<Reserve>,
    ahead: AheadRows,
    rest: Rest,
    former: ArcSwapOption<Former>,
    forgetting: Mutex<()>,
    low_water: LowWater,
    /// Used proofs are written down, because their seconds may come again.
    is_written_back: AtomicBool,
    /// The bucket of now when it was last looked at what can be forgotten.
    looked: AtomicU32,
    /// With so many entries it is looked again.
    look_at: AtomicUsize,
    metrics: LedgerMetrics,
}

/// A proof that was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// The counter of the key's proof before this one; `None` when none is known.
    pub previous: Option<u32>,
}

/// Condition that an accepted proof waits for.
enum Wait {
    Nothing,
    Reserve,
    Row(memory::Entry),
}

impl Ledger {
    /// Takes a proof that was verified, once and for all: of many callers with the same proof exactly one is let through.
    /// `now` is the time by which it was found fresh. `then` is told how it went: mostly at once; by the thread that writes
    /// when it had to wait for the disk. It must not wait.
    ///
    /// A proof may be used up although no device was let in. Refused are: `proof_replayed` when it, or a later one of
    /// its key and client id, was taken; `proof_undecided` when that is not known of its second; `limit_reached` when
    /// there is no room for one more client id, or for one more proof that waits; `not_ready` when the store does not write, or after [`Ledger::finish`].
    pub fn take_then<F>(
        self: &Arc<Self>,
        proof: ProofUse,
        client_id: &ClientId,
        now: UnixSeconds,
        then: F,
    ) where
        F: FnOnce(Result<Taken, RefusalCode>) + Send + 'static,
    {
        self.look(now);
        let who = Who::of(&proof.key, client_id);
        let Some(part) = self.parts.get(part_of(&who.key)) else {
            return then(Err(RefusalCode::Internal));
        };
        let mut part = part.lock();
        let entry = match self.claim(&mut part, &proof, &who, now) {
            Ok(entry) => entry,
            Err(code) => {
                drop(part);
                return then(Err(code));
            }
        };
        let taken = Taken { previous: entry.previous };
        match self.wait_for(proof.place, now, entry) {
            Wait::Nothing => {
                drop(part);
                then(Ok(taken));
            }
            Wait::Reserve => {
                drop(part);
                let waiter = move |covered: Result<(), RefusalCode>| then(covered.map(|()| taken));
                if let Err(waiter) = self.reserve.cover(proof.place.second(), Box::new(waiter)) {
                    self.metrics.limit("waiting");
                    waiter(Err(RefusalCode::LimitReached));
                }
            }
            Wait::Row(entry) => {
                let written = move |written: Result<(), StoreError>| {
                    then(written.map(|()| taken).map_err(|_| RefusalCode::NotReady));
                };
                let queued = self.ahead.put(&entry.name, proof.place, written);
                drop(part);
                if let Err((error, then)) = queued {
                    then(Err(error));
                }
            }
        }
    }

    /// As [`Ledger::take_then`], for code that waits.
    ///
    /// # Errors
    /// As there.
    pub async fn take(
        self: &Arc<Self>,
        proof: ProofUse,
        client_id: &ClientId,
        now: UnixSeconds,
    ) -> Result<Taken, RefusalCode> {
        let (tell, told) = oneshot::channel();
        self.take_then(proof, client_id, now, |taken| {
            // The caller may have gone meanwhile.
            let _ = tell.send(taken);
        });
        told.await.unwrap_or(Err(RefusalCode::NotReady))
    }

    /// Whether proofs that are made now can be taken.
    ///
    /// # Errors
    /// `proof_undecided` until the seconds that were reserved before a stop without notice are over.
    pub fn decides(&self, now: UnixSeconds) -> Result<(), RefusalCode> {
        match self.is_closed(second_of(now), now) {
            true => Err(RefusalCode::ProofUndecided),
            false => Ok(()),
        }
    }

    /// Enters the proof in memory, or says why it is not taken.
    fn claim(
        &self,
        part: &mut Part,
        proof: &ProofUse,
        who: &Who,
        now: UnixSeconds,
    ) -> Result<memory::Entry, RefusalCode> {
        let second = proof.place.second();
        if part.finished {
            return Err(RefusalCode::NotReady);
        }
        part.check(who, proof.place).map_err(|Replayed| RefusalCode::ProofReplayed)?;
        if self.former.load().as_ref().is_some_and(|former| former.has_used(proof)) {
            return Err(RefusalCode::ProofReplayed);
        }
        if self.is_closed(second, now) {
            self.metrics.undecided();
            return Err(RefusalCode::ProofUndecided);
        }
        let most = limits::LEDGER_ENTRIES + limits::LEDGER_ENTRIES / 8;
        if self.entries.load(Ordering::Relaxed) >= most && part.is_new(who, proof.place) {
            self.metrics.limit("entries");
            return Err(RefusalCode::LimitReached);
        }
        let entry = part.put(who, proof.place, self.clock.monotonic().as_secs());
        if entry.new {
            self.entries.fetch_add(1, Ordering::Relaxed);
        }
        if entry.shares {
            self.metrics.limit("client_ids");
        }
        Ok(entry)
    }

    /// Write that must be durable before the proof is answered. Near the end of what is reserved, more is asked for.
    fn wait_for(&self, place: Place, now: UnixSeconds, entry: memory::Entry) -> Wait {
        let second = place.second();
        let is_ahead = second > second_of(now).saturating_add(limits::LEDGER_AHEAD_SECONDS);
        if !self.reserve.covers(second) {
            return if is_ahead { Wait::Row(entry) } else { Wait::Reserve };
        }
        if !is_ahead && self.reserve.ends_after(second) {
            self.reserve.extend(second);
        }
        Wait::Nothing
    }

    fn is_closed(&self, second: u32, now: UnixSeconds) -> bool {
        let doubted = |doubt: &Doubt| doubt.covers(second, now, self.monotonic());
        // In this order: seconds in doubt are closed before the doubt ends.
        self.doubt.as_ref().is_some_and(doubted) || self.closed.load().covers(second)
    }

    fn monotonic(&self) -> Duration {
        self.clock.monotonic()
    }
}

/// A time as proofs hold it.
fn second_of(time: UnixSeconds) -> u32 {
    Place::new(time, 0).second()
}
