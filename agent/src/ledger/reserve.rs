use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tessera_runtime::store::{Batch, Store, StoreError, Table};
use tessera_token::refusal::RefusalCode;
use tokio::sync::oneshot;

use super::ranges::Ranges;
use crate::limits::{
    LEDGER_RESERVE_BEFORE, LEDGER_RESERVE_SECONDS, LEDGER_RESERVE_SELDOM, LEDGER_WAITING,
};

const TABLE: &str = "proof_seconds";
const ROW: &[u8] = b"used";

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

#[derive(Default)]
struct State {
    wanted: Ranges,
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
        let state = Mutex::new(State { wanted: known.clone(), ..State::default() });
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
            let next = state.wanted.clone();
            let mut batch = Batch::new();
            batch.put(&self.table, ROW, next.to_bytes());
            // Queued while the state is held, so that a later wish is written later.
            let queued = self.store.commit_then(batch, move |written| drop(tell.send(written)));
            queued.map_err(|(error, _)| error)?;
            next
        };
        told.await.unwrap_or(Err(StoreError::Poisoned))?;
        let _state = self.state.lock();
        self.is_durable(next);
        Ok(())
    }

    /// Queues what is wanted, unless a write is under way: its end looks again. Gives back the callers it cannot serve.
    fn write(self: &Arc<Self>, state: &mut State) -> Vec<(u32, Waiter)> {
        if state.writing.is_some() || self.durable.load().holds(&state.wanted) {
            return Vec::new();
        }
        let next = state.wanted.clone();
        let mut batch = Batch::new();
        batch.put(&self.table, ROW, next.to_bytes());
        let reserve = Arc::clone(self);
        match self.store.commit_then(batch, move |written| reserve.written(written)) {
            Ok(()) => {
                state.writing = Some(next);
                Vec::new()
            }
            // The store has too much to write: the next proof tries again.
            Err(_) => std::mem::take(&mut state.waiting),
        }
    }

    fn is_durable(&self, mut ranges: Ranges) {
        ranges.add_all(&self.durable.load());
        self.durable.store(Arc::new(ranges));
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
        self.is_durable(written);
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
        let (first, last) =
            (second.saturating_sub(LEDGER_RESERVE_BEFORE), second.saturating_add(seconds));
        self.wanted.add(first, last);
        self.end = Some(last);
    }
}

fn tell(waiting: Vec<(u32, Waiter)>, outcome: Result<(), RefusalCode>) {
    waiting.into_iter().for_each(|(_, waiter)| waiter(outcome));
}
