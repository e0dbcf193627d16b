use std::sync::{mpsc, Arc};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tessera_runtime::store::{Batch, Store, StoreError, Table};
use tessera_token::refusal::RefusalCode;
use tokio::sync::oneshot;

use super::ranges::Ranges;
use crate::limits::{
    LEDGER_LOW_WATER_LAG, LEDGER_RESERVE_BEFORE, LEDGER_RESERVE_SECONDS, LEDGER_RESERVE_SELDOM,
    LEDGER_WAITING, LEDGER_WRITE_BACK_KEEP,
};

const TABLE: &str = "proof_seconds";
const ROW: &[u8] = b"used";
/// The lowest time that the process went by, as a second.
const LOW: &[u8] = b"low";

/// The seconds in which proofs may have been taken, durable before the first of them is: in advance, like a block of
/// serial numbers. After a stop without notice a proof of one of them is not taken.
pub(super) struct Reserve {
    store: Store,
    table: Table,
    durable: ArcSwap<Ranges>,
    state: Mutex<State>,
}

/// A caller that waits until seconds are durable. Called by the thread that writes, which it must not hold up.
pub(super) type Waiter = Box<dyn FnOnce(Result<(), RefusalCode>) + Send>;

/// Answer of [`Reserve::keep`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kept {
    /// There are others.
    Some,
    /// There are no others.
    All,
    /// A write is under way, or others are about to leave: to be asked again later.
    Busy,
}

#[derive(Default)]
struct State {
    wanted: Ranges,
    /// The part of `wanted` that stays whatever is written down: it is not known which of its proofs were used.
    closed: Ranges,
    /// The wish of before, whose proofs are being written down; until they are, it stays on the disk.
    leaving: Option<Ranges>,
    /// The row on the disk holds more than is wanted.
    is_to_shrink: bool,
    /// Proofs are written down from time to time: little is reserved in advance.
    is_written_back: bool,
    /// The lowest time, and that of the row.
    low: Option<u32>,
    low_row: Option<u32>,
    /// Reservations on their way to the disk.
    writing: Option<Ranges>,
    /// The last second that a proof of this process had reserved.
    end: Option<u32>,
    waiting: Vec<(u32, Waiter)>,
}

impl Reserve {
    /// As it was left. `None` in the place of the ranges when there is no row: nothing was ever taken.
    pub(super) fn load(store: &Store) -> Result<(Arc<Self>, Option<Ranges>), StoreError> {
        let table = store.table(TABLE)?;
        let row = table.get(ROW)?;
        let found = row.map(|row| {
            // A row that cannot be read may stand for every second.
            Ranges::from_bytes(&row).unwrap_or_else(|| {
                tracing::error!("the row of used seconds is damaged: no connect proof is taken");
                let mut all = Ranges::default();
                all.add(0, u32::MAX);
                all
            })
        });
        let known = found.clone().unwrap_or_default();
        let low = table.get(LOW)?.and_then(|row| Some(u32::from_be_bytes(row.try_into().ok()?)));
        let state = State {
            wanted: known.clone(),
            closed: known.clone(),
            low,
            low_row: low,
            ..State::default()
        };
        let state = Mutex::new(state);
        let durable = ArcSwap::from_pointee(known);
        Ok((Arc::new(Self { store: store.clone(), table, durable, state }), found))
    }

    /// Whether proofs of this second may be taken without a wait.
    pub(super) fn covers(&self, second: u32) -> bool {
        self.durable.load().covers(second)
    }

    /// Whether it soon ends: time to extend it.
    pub(super) fn ends_after(&self, second: u32) -> bool {
        !self.durable.load().covers(second.saturating_add(1))
    }

    /// Reserves a second and the next ones, in the background.
    pub(super) fn extend(self: &Arc<Self>, second: u32) {
        let mut state = self.state.lock();
        if !state.wanted.covers(second.saturating_add(1)) {
            state.want(second, LEDGER_RESERVE_SECONDS);
        }
        self.write(&mut state);
    }

    /// Reserves a second; `waiter` is told once it is durable, at once when it is. It is given back when too many wait.
    pub(super) fn cover(self: &Arc<Self>, second: u32, waiter: Waiter) -> Result<(), Waiter> {
        let mut state = self.state.lock();
        if self.covers(second) {
            drop(state);
            waiter(Ok(()));
            return Ok(());
        }
        if state.waiting.len() >= LEDGER_WAITING {
            return Err(waiter);
        }
        if !state.wanted.covers(second) {
            // The reserved seconds ended without a proof in its last second: they come seldom.
            let seldom = state.end.is_some_and(|end| end < second);
            let seconds = if seldom { LEDGER_RESERVE_SELDOM } else { LEDGER_RESERVE_SECONDS };
            state.want(second, seconds);
        }
        state.waiting.push((second, waiter));
        let refused = self.write(&mut state);
        drop(state);
        tell(refused, Err(RefusalCode::NotReady));
        Ok(())
    }

    /// Reserves these seconds and waits: before rows that say more are removed.
    pub(super) async fn cover_all(&self, ranges: &Ranges) -> Result<(), StoreError> {
        if self.durable.load().holds(ranges) {
            return Ok(());
        }
        let (tell, told) = oneshot::channel();
        let next = {
            let mut state = self.state.lock();
            state.wanted.add_all(ranges);
            state.closed.add_all(ranges);
            let next = state.wanted.clone();
            let batch = self.row_of(&mut state);
            // Queued while the state is held, so that a later wish is written later.
            let queued = self.store.commit_then(batch, move |written| drop(tell.send(written)));
            queued.map_err(|(error, _)| error)?;
            next
        };
        told.await.unwrap_or(Err(StoreError::Poisoned))?;
        let state = self.state.lock();
        self.is_durable(&state, &next);
        Ok(())
    }

    /// Queues what is wanted, unless a write is under way: its end looks again. Gives back the callers it cannot serve.
    fn write(self: &Arc<Self>, state: &mut State) -> Vec<(u32, Waiter)> {
        let is_due = state.is_to_shrink || !self.durable.load().holds(&state.wanted);
        if state.writing.is_some() || !is_due {
            return Vec::new();
        }
        let next = state.wanted.clone();
        let batch = self.row_of(state);
        let reserve = Arc::clone(self);
        match self.store.commit_then(batch, move |written| reserve.written(written)) {
            Ok(()) => {
                state.writing = Some(next);
                state.is_to_shrink = false;
                Vec::new()
            }
            // The store has too much to write: the next proof tries again.
            Err(_) => std::mem::take(&mut state.waiting),
        }
    }

    /// The row of used seconds, and that of the lowest time when it lags behind.
    fn row_of(&self, state: &mut State) -> Batch {
        let mut row = state.wanted.clone();
        state.leaving.iter().for_each(|leaving| row.add_all(leaving));
        let mut batch = Batch::new();
        batch.put(&self.table, ROW, row.to_bytes());
        let lags =
            |low: u32| state.low_row.is_none_or(|row| row.abs_diff(low) > LEDGER_LOW_WATER_LAG);
        if let Some(low) = state.low.filter(|low| lags(*low)) {
            batch.put(&self.table, LOW, low.to_be_bytes());
            state.low_row = Some(low);
        }
        batch
    }

    /// The lowest time of the process before this one, as a second, until [`Reserve::note_low`].
    pub(super) fn low(&self) -> Option<u32> {
        self.state.lock().low
    }

    /// The lowest time, as a second: written with the next row.
    pub(super) fn note_low(&self, second: u32) {
        self.state.lock().low = Some(second);
    }

    /// Writes the lowest time when the row lags behind: before the store is closed. It must not be called by a thread of an
    /// async runtime that other tasks need.
    pub(super) fn write_low(&self) -> Result<(), StoreError> {
        let (tell, told) = mpsc::sync_channel(1);
        {
            let mut state = self.state.lock();
            if state.low == state.low_row {
                return Ok(());
            }
            let batch = self.row_of(&mut state);
            // Queued while the state is held, as in [`Reserve::cover_all`].
            let queued = self.store.commit_then(batch, move |written| drop(tell.send(written)));
            queued.map_err(|(error, _)| error)?;
        }
        told.recv().unwrap_or(Err(StoreError::Poisoned))
    }

    /// The seconds that are closed at the start: all that were reserved before, unless a clean stop left the proofs.
    pub(super) fn start_closed(&self, closed: &Ranges) {
        self.state.lock().closed = closed.clone();
    }

    /// Proofs come whose time is believed: much is reserved in advance again.
    pub(super) fn end_write_back(&self) {
        self.state.lock().is_written_back = false;
    }

    /// Proofs taken from here on rely on the seconds from `first` to `last`, on closed ones, and on what is reserved anew. The
    /// others stay on the disk until [`Reserve::leave`].
    pub(super) fn keep(&self, first: u32, last: u32) -> Kept {
        let mut state = self.state.lock();
        let mut kept = state.closed.clone();
        kept.add_all(&state.wanted.common(&Ranges::of(first, last)));
        // Callers wait for a write under way, and rely on what it wrote.
        if state.leaving.is_some() || state.writing.is_some() {
            return Kept::Busy;
        }
        state.is_written_back = true;
        if kept.holds(&state.wanted) {
            return Kept::All;
        }
        self.durable.store(Arc::new(self.durable.load().common(&kept)));
        state.leaving = Some(std::mem::replace(&mut state.wanted, kept));
        Kept::Some
    }

    /// The proofs of the seconds that were not kept are written down, but for those that are closed meanwhile. On an error
    /// the seconds stay.
    pub(super) fn leave(self: &Arc<Self>, closed: Result<&Ranges, &StoreError>) {
        let mut state = self.state.lock();
        let left = state.leaving.take().unwrap_or_default();
        match closed {
            Ok(closed) => {
                state.closed.add_all(closed);
                state.wanted.add_all(closed);
                state.is_to_shrink = true;
            }
            Err(_) => state.wanted.add_all(&left),
        }
        let refused = self.write(&mut state);
        drop(state);
        tell(refused, Err(RefusalCode::NotReady));
    }

    /// Proofs may rely on what was written, but for seconds that are not kept since.
    fn is_durable(&self, state: &State, written: &Ranges) {
        let written = written.common(&state.wanted);
        self.durable.store(Arc::new(self.durable.load().exactly_with(&written)));
    }

    fn written(self: &Arc<Self>, outcome: Result<(), StoreError>) {
        let mut state = self.state.lock();
        let written = state.writing.take().unwrap_or_default();
        if let Err(error) = outcome {
            tracing::error!(%error, "seconds for connect proofs not reserved: none is taken");
            let waiting = std::mem::take(&mut state.waiting);
            drop(state);
            return tell(waiting, Err(RefusalCode::NotReady));
        }
        self.is_durable(&state, &written);
        let waiting = std::mem::take(&mut state.waiting);
        let (served, rest) = waiting.into_iter().partition(|(second, _)| self.covers(*second));
        state.waiting = rest;
        let refused = self.write(&mut state);
        drop(state);
        tell(served, Ok(()));
        tell(refused, Err(RefusalCode::NotReady));
    }
}

impl State {
    fn want(&mut self, second: u32, seconds: u32) {
        let before = match self.is_written_back {
            true => LEDGER_WRITE_BACK_KEEP,
            false => LEDGER_RESERVE_BEFORE,
        };
        let (first, last) = (second.saturating_sub(before), second.saturating_add(seconds));
        self.wanted.add(first, last);
        self.end = Some(last);
    }
}

fn tell(waiting: Vec<(u32, Waiter)>, outcome: Result<(), RefusalCode>) {
    waiting.into_iter().for_each(|(_, waiter)| waiter(outcome));
}
