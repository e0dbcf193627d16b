use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
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
use super::low_water::LowWater;
use super::memory::{seconds_of, Part};
use super::metrics::LedgerMetrics;
use super::name::{part_of, Name};
use super::ranges::Ranges;
use super::reserve::Reserve;
use super::rest::{AtRest, Rest};
use super::{second_of, Ledger};
use crate::limits;

const WINDOW: u32 = PROOF_WINDOW_SECONDS as u32;
/// Seconds by which the start may be dated otherwise without a clock having jumped.
const EVEN: u32 = 2;

/// Seconds before the start that are in doubt for some time: the store may be a copy that is older than the last proofs
/// that its server took. They are counted from the start as the present clock dates it: after a start under a clock
/// that was ahead, no second that is still to come stays in doubt. In the end they are closed: it ends by lived time, and a
/// clock that goes back behind it brings none of them again.
pub(super) struct Doubt {
    /// The start, by the clock of then.
    second: u32,
    /// The start, monotonic.
    began: Duration,
    /// The first second that can be in doubt: proofs taken before a clean stop are known.
    from: u32,
    /// How the doubt ends against the start.
    end: End,
    /// The seconds that the process before this one was in doubt about.
    carried: Option<(u32, u32)>,
    /// Whether that process was on a copy, and `carried` reaches beyond its end.
    is_of_copy: bool,
    until: Duration,
    /// Its seconds are closed.
    ended: AtomicBool,
}

/// The last second that is in doubt.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// The one before the start.
    Before,
    /// That of the start.
    With,
    /// The last of a proof that could be fresh at the start.
    Behind,
}

/// State of the store at the start.
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
        let end = if opening.restored { End::Behind } else { End::With };
        let since = |from: u32, end: End, carried: Option<(u32, u32)>| {
            let (second, began) = (second_of(now), clock.monotonic());
            let until = began + Duration::from_secs(limits::LEDGER_REMEMBER_SECONDS);
            let is_of_copy = carried.is_some_and(|(_, last)| last >= from);
            let ended = AtomicBool::new(false);
            Some(Doubt { second, began, from, end, carried, is_of_copy, until, ended })
        };
        let (closed, doubt) = match &at_rest {
            Some(rest) => {
                // Another process may have taken proofs after the clean stop.
                let from = rest.stopped.saturating_add(1);
                (rest.closed.clone(), since(from, End::Before, rest.doubt))
            }
            None if is_new && !opening.restored => (Ranges::default(), None),
            None => (used.unwrap_or_default(), since(0, end, rest.doubt()?)),
        };
        if at_rest.is_some() {
            reserve.start_closed(&closed);
        }
        let began = clock.monotonic();
        let stored = reserve.low().map(|second| UnixSeconds::new(second.into()));
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
            low_water: LowWater::new(now, began.as_secs(), stored),
            is_written_back: AtomicBool::new(false),
            looked: AtomicU32::new(0),
            look_at: AtomicUsize::new(limits::LEDGER_ENTRIES),
            metrics,
        };
        ledger.close_former();
        ledger.bring_back(at_rest.as_ref())?;
        // From here on a stop is one without notice.
        let of_copy = ledger.doubt.as_ref().filter(|doubt| doubt.is_of_copy);
        ledger.rest.wake(of_copy.and_then(|doubt| doubt.carried))?;
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
        let doubted = self.doubt.as_ref().map_or(second, |doubt| doubt.range(now, doubt.began).1);
        let wait = closed.max(doubted).saturating_sub(second);
        tracing::warn!(
            seconds = wait.saturating_add(1),
            "the ledger was not closed by the last process, or came back from a copy: connect proofs that may have been \
             used are refused, and devices whose clock is right wait for so long"
        );
    }
}

impl Doubt {
    pub(super) fn covers(&self, second: u32, now: UnixSeconds, monotonic: Duration) -> bool {
        if !self.is_open() {
            return false;
        }
        let (first, last) = self.range(now, monotonic);
        let carried = self.carried_by(now, monotonic);
        let was_before = |(first, last): (u32, u32)| (first..=last).contains(&second);
        (first..=last).contains(&second) || carried.is_some_and(was_before)
    }

    /// The carried seconds. A process whose clock was ahead carries seconds that are still to come: they are left out,
    /// but for those in which a device may have been ahead of a copy.
    fn carried_by(&self, now: UnixSeconds, monotonic: Duration) -> Option<(u32, u32)> {
        let latest = match self.is_of_copy {
            true => self.start(now, monotonic).saturating_add(WINDOW),
            false => self.range(now, monotonic).1,
        };
        let carried = self.carried.map(|(first, last)| (first, last.min(latest)));
        carried.filter(|(first, last)| first <= last)
    }

    /// The second of the start by the clock of now.
    fn start(&self, now: UnixSeconds, monotonic: Duration) -> u32 {
        let dated = second_of(now.minus(monotonic.saturating_sub(self.began).as_secs()));
        // Two clocks that go on evenly differ by a second for their parts of seconds alone.
        if dated.abs_diff(self.second) <= EVEN {
            self.second
        } else {
            dated
        }
    }

    /// First and last second that are in doubt beside the carried ones, by the clock of now.
    pub(super) fn range(&self, now: UnixSeconds, monotonic: Duration) -> (u32, u32) {
        self.around(self.start(now, monotonic))
    }

    /// First and last second that are in doubt for a start at this one.
    fn around(&self, start: u32) -> (u32, u32) {
        let last = match self.end {
            End::Before => start.saturating_sub(1),
            End::With => start,
            End::Behind => start.saturating_add(WINDOW),
        };
        (start.saturating_sub(WINDOW).max(self.from), last)
    }

    /// The range to close once it has lasted long enough: its seconds as the clock of now dates them, and as that of the start
    /// did when they are over. `None` while it lasts, and when it is closed.
    pub(super) fn due(&self, now: UnixSeconds, monotonic: Duration) -> Option<Ranges> {
        if !self.is_open() || monotonic < self.until {
            return None;
        }
        let own = [Some(self.range(now, monotonic)), Some(self.around(self.second))];
        let carried = [self.carried_by(now, monotonic), self.carried];
        let is_over = |(first, last): &(u32, u32)| first <= last && *last <= second_of(now);
        let mut due = Ranges::default();
        own.into_iter()
            .chain(carried)
            .flatten()
            .filter(is_over)
            .for_each(|(first, last)| due.add(first, last));
        Some(due)
    }

    pub(super) fn end(&self) {
        self.ended.store(true, Ordering::Release);
    }

    /// All of it as one range, for the process after this one.
    pub(super) fn whole(&self, now: UnixSeconds, monotonic: Duration) -> Option<(u32, u32)> {
        let (first, last) = self.range(now, monotonic);
        let own = (first <= last).then_some((first, last));
        match (own, self.carried_by(now, monotonic)) {
            (Some(own), Some(carried)) => Some((own.0.min(carried.0), own.1.max(carried.1))),
            (own, carried) => own.or(carried),
        }
    }

    pub(super) fn is_open(&self) -> bool {
        !self.ended.load(Ordering::Acquire)
    }
}
