//! The lowest time that this process went by, carried on by monotonic time. Seconds above it may come again: the clock may
//! have been ahead since.

use parking_lot::Mutex;
use tessera_token::limits::CLOCK_SKEW_SECONDS;
use tessera_token::time::UnixSeconds;

use crate::limits::LEDGER_SETTLED_SECONDS;

pub(super) struct LowWater(Mutex<State>);

/// Times are seconds of the clock at monotonic time 0.
struct State {
    lowest: i64,
    /// The time by which the process goes now, and since when, monotonic.
    present: i64,
    since: u64,
}

impl LowWater {
    /// `stored` is the lowest time of the process before this one. How much time has passed since is not known: it is as if
    /// none had, for [`LEDGER_SETTLED_SECONDS`] at most, so that stops in a row do not add up.
    pub(super) fn new(now: UnixSeconds, monotonic: u64, stored: Option<UnixSeconds>) -> Self {
        let present = start(now, monotonic);
        let settled = whole(LEDGER_SETTLED_SECONDS);
        let lowest = stored.map_or(present, |stored| {
            start(stored, monotonic).clamp(present.saturating_sub(settled), present)
        });
        Self(Mutex::new(State { lowest, present, since: monotonic }))
    }

    /// The lowest time. A time that has stood for [`LEDGER_SETTLED_SECONDS`] is believed alone.
    pub(super) fn at(&self, now: UnixSeconds, monotonic: u64) -> UnixSeconds {
        let mut state = self.0.lock();
        let present = start(now, monotonic);
        if present.abs_diff(state.present) > CLOCK_SKEW_SECONDS {
            (state.present, state.since) = (present, monotonic);
        }
        if monotonic.saturating_sub(state.since) >= LEDGER_SETTLED_SECONDS {
            state.lowest = present;
        }
        state.lowest = state.lowest.min(present);
        let lowest = state.lowest.saturating_add(whole(monotonic));
        UnixSeconds::new(u64::try_from(lowest).unwrap_or(0))
    }
}

fn start(now: UnixSeconds, monotonic: u64) -> i64 {
    whole(now.get()).saturating_sub(whole(monotonic))
}

fn whole(seconds: u64) -> i64 {
    i64::try_from(seconds).unwrap_or(i64::MAX)
}
