use std::sync::atomic::{AtomicU32, AtomicUsize};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use parking_lot::Mutex;
use tessera_runtime::clock::SharedClock;
use tessera_runtime::store::{Row, Store, StoreError};
use tessera_token::limits::PROOF_WINDOW_SECONDS;
use tessera_token::proof::Place;
use tessera_token::time::UnixSeconds;

use super::ahead::{self, AheadRows};
use super::former::Former;
use super::memory::{seconds_of, Part};
use super::metrics::LedgerMetrics;
use super::name::{part_of, Name};
use super::ranges::Ranges;
use super::reserve::Reserve;
use super::rest::{AtRest, Rest};
use super::{second_of, Ledger};
use crate::limits;

const WINDOW: u32 = PROOF_WINDOW_SECONDS as u32;

/// Seconds of which it is not known for some time after the start what was used in them, since the store may be a copy
/// that is older than what its server took. They pass: they depend on the clock of the start, which may be wrong.
pub(super) struct Doubt {
    pub(super) first: u32,
    pub(super) last: u32,
    until: Duration,
}

/// What is known of the store at the start.
#[derive(Clone, Copy, Debug, Default)]
pub struct Opening {
    /// The store is known to be older than what was taken: a restored copy, or one that has lost something.
    pub restored: bool,
}

impl Ledger {
    /// The ledger in `store`. Reads back what a clean stop left; after any other stop the seconds are closed in which
    /// proofs may have been taken.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn open(
        store: &Store,
        opening: Opening,
        clock: SharedClock,
        now: UnixSeconds,
        metrics: LedgerMetrics,
    ) -> Result<Self, StoreError> {
        let (reserve, used) = Reserve::load(store)?;
        let rest = Rest::new(store)?;
        let former = Former::load(store, now, clock.monotonic())?;
        let is_new = used.is_none();
        let at_rest = if opening.restored { None } else { rest.read()? };
        let (closed, doubt) = match &at_rest {
            Some(rest) => (rest.closed.clone(), since_the_stop(rest, now)),
            None if is_new && !opening.restored => (Ranges::default(), None),
            None => {
                let second = second_of(now);
                (used.unwrap_or_default(), Some((second.saturating_sub(WINDOW), second)))
            }
        };
        let doubt = doubt.map(|(first, last)| {
            let last = if opening.restored { last.saturating_add(WINDOW) } else { last };
            let until = clock.monotonic() + Duration::from_secs(limits::LEDGER_REMEMBER_SECONDS);
            Doubt { first, last, until }
        });
        let mut ledger = Self {
            store: store.clone(),
            clock,
            parts: (0..limits::LEDGER_PARTS).map(|_| Mutex::new(Part::default())).collect(),
            entries: AtomicUsize::new(0),
            closed: ArcSwap::from_pointee(closed),
            doubt,
            reserve,
            ahead: AheadRows::new(store)?,
            rest,
            former: ArcSwapOption::from(former.map(Arc::new)),
            forgetting: Mutex::new(()),
            looked: AtomicU32::new(0),
            look_at: AtomicUsize::new(limits::LEDGER_ENTRIES),
            metrics,
        };
        ledger.close_former();
        ledger.bring_back(at_rest.as_ref())?;
        // From here on a stop is one without notice.
        ledger.rest.wake()?;
        ledger.tell(at_rest.is_some(), is_new, now);
        Ok(ledger)
    }
}

impl Ledger {
    /// With more keys of a former version than are held, all of their seconds are closed.
    fn close_former(&self) {
        let Some(former) = self.former.load_full().filter(|former| former.too_many) else { return };
        self.metrics.limit("former_keys");
        tracing::warn!("too many proof counters of a former version: devices wait for a minute");
        let mut closed = (*self.closed.load_full()).clone();
        closed.add_all(former.seconds());
        self.closed.store(Arc::new(closed));
    }

    /// Fills the memory from what was at rest and from the rows of proofs that were ahead.
    fn bring_back(&mut self, at_rest: Option<&AtRest>) -> Result<(), StoreError> {
        let used = self.clock.monotonic().as_secs();
        if let Some(rest) = at_rest {
            for (name, place) in &rest.places {
                self.put_back(name, *place, used);
            }
            for (bucket, key, count) in &rest.suffixed {
                if let Some(part) = self.parts.get_mut(part_of(key)) {
                    part.get_mut().put_back_suffixed(*bucket, *key, *count, used);
                }
            }
        }
        let mut after = None;
        loop {
            let page = self.ahead.page(after.as_deref())?;
            for row in &page {
                self.bring_back_row(row, used);
            }
            match page.into_iter().next_back() {
                Some((last, _)) => after = Some(last),
                None => return Ok(()),
            }
        }
    }

    fn bring_back_row(&mut self, row: &Row, used: u64) {
        let Some(bucket) = ahead::bucket(row) else {
            return tracing::error!("a row of the ledger is damaged and left out");
        };
        let (first, last) = seconds_of(bucket);
        let closed = self.closed.load_full();
        if closed.covers_all(first, last) {
            return;
        }
        let room = *self.entries.get_mut() < limits::LEDGER_ENTRIES;
        match ahead::read(row) {
            Some((name, place)) if room => self.put_back(&name, place, used),
            _ => {
                tracing::warn!(
                    bucket,
                    "rows of the ledger are damaged or too many: their seconds are closed"
                );
                let mut closed = (*closed).clone();
                closed.add(first, last);
                self.closed.store(Arc::new(closed));
            }
        }
    }

    fn put_back(&mut self, name: &Name, place: Place, used: u64) {
        let Some(part) = self.parts.get_mut(part_of(name)) else { return };
        if part.get_mut().put_back(*name, place, used) {
            *self.entries.get_mut() += 1;
        }
    }

    /// Says in the log what a device sees.
    fn tell(&self, is_clean: bool, is_new: bool, now: UnixSeconds) {
        if is_clean || (is_new && self.doubt.is_none()) {
            return;
        }
        let second = second_of(now);
        let closed = self.closed.load().end_of(second).unwrap_or(second);
        let doubted = self.doubt.as_ref().map_or(second, |doubt| doubt.last);
        let wait = closed.max(doubted).saturating_sub(second);
        tracing::warn!(
            seconds = wait.saturating_add(1),
            "the ledger was not closed by the last process, or came back from a copy: connect proofs that may have been \
             used are refused, and devices whose clock is right wait for so long"
        );
    }
}

impl Doubt {
    pub(super) fn covers(&self, second: u32, monotonic: Duration) -> bool {
        (self.first..=self.last).contains(&second) && self.is_open(monotonic)
    }

    pub(super) fn is_open(&self, monotonic: Duration) -> bool {
        monotonic < self.until
    }
}

/// Another process may have taken proofs after the clean stop: between both, and no longer ago than fresh.
fn since_the_stop(rest: &AtRest, now: UnixSeconds) -> Option<(u32, u32)> {
    let first = rest.stopped.saturating_add(1).max(second_of(now).saturating_sub(WINDOW));
    let last = second_of(now).saturating_sub(1);
    let since = (first <= last).then_some((first, last));
    match (since, rest.doubt) {
        (Some(since), Some(doubt)) => Some((since.0.min(doubt.0), since.1.max(doubt.1))),
        (since, doubt) => since.or(doubt),
    }
}
