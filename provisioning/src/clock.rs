//! The time of this service: a clock whose jumps are believed only when they last, and a lived time by which things are
//! removed for good.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tessera_runtime::clock::{Clock, SharedClock};
use tessera_runtime::held::HeldClock;
use tessera_runtime::limits::{LIVED_CATCH_UP, RELEASED_SECONDS};
use tessera_runtime::lived::LivedTime;
use tessera_runtime::sql::{Batch, Database};
use tessera_runtime::store::StoreError;
use tessera_token::limits::{CLOCK_SKEW_SECONDS, TOKEN_LIFE_SECONDS};
use tessera_token::time::UnixSeconds;

use crate::audit::newest_entry;
use crate::limits::{LIVED_STEP_SECONDS, READER_CLOCKS, READER_HEARD};
use crate::records::heads::Lived as Row;
use crate::tables::Tables;

const LIVED: &str = "lived";

/// The clock of the service.
pub(crate) struct ServiceClock {
    held: Arc<HeldClock>,
    lived: Mutex<LivedTime>,
    stored: Mutex<Row>,
    /// When readers showed their clocks, monotonic, and their clocks at monotonic time 0 in milliseconds.
    readers: Mutex<VecDeque<(Duration, i64)>>,
}

/// A fault of the clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wrong {
    /// It jumped by so many seconds, and is not believed yet.
    Jumped(i64),
    /// Every reader's clock shows less by so many seconds, and lived time does not go against them.
    Ahead(i64),
    /// It shows less by so many seconds than this service has lived through.
    Behind(i64),
}

/// Whether a clock may be right at all.
pub(crate) fn is_plausible(now: UnixSeconds) -> bool {
    now.get() >= RELEASED_SECONDS
}

/// Lived time begins with the service: without it in the first batch, a restart under a clock that is ahead would begin it
/// there.
pub(crate) fn begin(batch: &mut Batch, tables: &Tables, now: UnixSeconds) {
    tables.marks.put(batch, LIVED, &Row { began: now.get(), lived: now.get(), former: 0 });
}

impl ServiceClock {
    /// The clock, and the lived time that is stored. A store from before lived time has an audit log, whose newest entry
    /// says how far it came at least.
    pub(crate) async fn open(
        held: Arc<HeldClock>,
        tables: &Tables,
    ) -> Result<Arc<Self>, StoreError> {
        let (now, monotonic) = (held.unix(), held.monotonic());
        let row = tables.marks.get::<Row>(LIVED).await?;
        let lived = match row {
            Some(Row { began, lived, former }) => {
                LivedTime::restore(UnixSeconds::new(began), UnixSeconds::new(lived), monotonic)
                    .after(UnixSeconds::new(former))
            }
            None => {
                let known = newest_entry(tables).await?;
                let known = known.map_or(now, |entry| UnixSeconds::new(entry.at));
                LivedTime::begin(known.min(now), monotonic)
            }
        };
        let stored = Mutex::new(row.unwrap_or(Row { began: 0, lived: 0, former: 0 }));
        let (lived, readers) = (Mutex::new(lived), Mutex::default());
        Ok(Arc::new(Self { held, lived, stored, readers }))
    }

    /// For whom a clock alone is asked for.
    pub(crate) fn shared(&self) -> SharedClock {
        self.held.clone()
    }

    pub(crate) fn now(&self) -> UnixSeconds {
        self.held.unix()
    }

    pub(crate) fn monotonic(&self) -> Duration {
        self.held.monotonic()
    }

    /// The moment by which rows are removed and left out of snapshots: it does not run ahead.
    pub(crate) fn removal(&self) -> UnixSeconds {
        let (now, monotonic) = (self.held.unix(), self.held.monotonic());
        let mut lived = self.lived.lock();
        lived.step(now, monotonic);
        lived.removal(now)
    }

    /// The later of the clock and of lived time: a thing that has ended by it does not come to life again when the clock is
    /// set back.
    pub(crate) fn latest(&self) -> UnixSeconds {
        let (now, monotonic) = (self.held.unix(), self.held.monotonic());
        let mut lived = self.lived.lock();
        lived.step(now, monotonic);
        lived.reached().max(now)
    }

    /// The moment that a row is stamped with which is kept for the longest life of a token. When the clock is behind, it
    /// is kept that long all the same, also while lived time catches up.
    pub(crate) fn stamp(&self) -> UnixSeconds {
        let (now, monotonic) = (self.held.unix(), self.held.monotonic());
        let mut lived = self.lived.lock();
        lived.step(now, monotonic);
        match lived.stamp(now) {
            stamp if stamp > now => stamp.plus(TOKEN_LIFE_SECONDS / LIVED_CATCH_UP),
            stamp => stamp,
        }
    }

    /// Stores lived time when it went on by enough, or at the end.
    pub(crate) async fn store(
        &self,
        database: &Database,
        tables: &Tables,
        end: bool,
    ) -> Result<(), StoreError> {
        let row = {
            let lived = self.lived.lock();
            let (began, former) = (lived.began().get(), lived.former().get());
            Row { began, lived: lived.reached().get(), former }
        };
        let before = *self.stored.lock();
        let step = if end { 1 } else { LIVED_STEP_SECONDS };
        let same_life = (row.began, row.former) == (before.began, before.former);
        if same_life && row.lived < before.lived.saturating_add(step) {
            return Ok(());
        }
        // Another process may have lived longer.
        let known = tables.marks.get::<Row>(LIVED).await?;
        let further = known.filter(|known| known.began == row.began && known.lived >= row.lived);
        if let Some(further) = further.filter(|_| database.is_shared()) {
            *self.stored.lock() = further;
            return Ok(());
        }
        let mut batch = Batch::new();
        tables.marks.put(&mut batch, LIVED, &row);
        database.commit(batch).await?;
        *self.stored.lock() = row;
        Ok(())
    }

    /// Seconds that the clock is ahead of the time that is believed; negative when it is behind what was lived through.
    pub(crate) fn ahead(&self) -> i64 {
        match self.wrong() {
            None => 0,
            Some(Wrong::Jumped(ahead) | Wrong::Ahead(ahead)) => ahead,
            Some(Wrong::Behind(behind)) => behind.saturating_neg(),
        }
    }

    /// Takes in what the clock of a reader shows.
    pub(crate) fn reader_shows(&self, clock: UnixSeconds) {
        let monotonic = self.held.monotonic();
        let clock = millis(clock.get().saturating_mul(1000));
        let mut readers = self.readers.lock();
        readers.push_back((monotonic, clock.saturating_sub(uptime(monotonic))));
        while readers.len() > READER_CLOCKS {
            readers.pop_front();
        }
    }

    /// Seconds that this clock is ahead of every reader's that was heard in the last minute.
    fn ahead_of_readers(&self, now: UnixSeconds) -> Option<i64> {
        let monotonic = self.held.monotonic();
        let now = millis(now.get().saturating_mul(1000)).saturating_sub(uptime(monotonic));
        let readers = self.readers.lock();
        let heard = |(at, _): &&(Duration, i64)| monotonic.saturating_sub(*at) <= READER_HEARD;
        let ahead = readers.iter().filter(heard).map(|(_, clock)| now.saturating_sub(*clock)).min();
        ahead.map(|ahead| ahead / 1000)
    }

    /// The fault of the clock, when anything is.
    pub(crate) fn wrong(&self) -> Option<Wrong> {
        let ahead = self.held.ahead_seconds();
        if ahead != 0 {
            return Some(Wrong::Jumped(ahead));
        }
        self.removal();
        let (now, lived) = (self.held.unix(), self.lived.lock().reached());
        let unsure = now.since(lived) > CLOCK_SKEW_SECONDS;
        let ahead =
            self.ahead_of_readers(now).filter(|ahead| ahead.unsigned_abs() > CLOCK_SKEW_SECONDS);
        if let Some(ahead) = ahead.filter(|ahead| unsure && *ahead > 0) {
            return Some(Wrong::Ahead(ahead));
        }
        let behind = lived.since(now);
        (behind > CLOCK_SKEW_SECONDS)
            .then(|| Wrong::Behind(i64::try_from(behind).unwrap_or(i64::MAX)))
    }
}

impl std::fmt::Display for Wrong {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Jumped(ahead) => write!(
                f,
                "the clock jumped by {ahead} s, and the new time is not accepted yet; set the clock, or wait until the new time has lasted"
            ),
            Self::Ahead(ahead) => write!(
                f,
                "the clock is {ahead} s ahead of the clocks of all brokers and agents that were heard; set it"
            ),
            Self::Behind(behind) => write!(
                f,
                "the clock is {behind} s behind the time that this service has lived through; set it"
            ),
        }
    }
}

fn millis(wall: u64) -> i64 {
    i64::try_from(wall).unwrap_or(i64::MAX)
}

fn uptime(monotonic: Duration) -> i64 {
    i64::try_from(monotonic.as_millis()).unwrap_or(i64::MAX)
}
