use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tessera_runtime::clock::SharedClock;
use tessera_runtime::lived::LivedTime;
use tessera_token::limits::CLOCK_SKEW_SECONDS;
use tessera_token::time::UnixSeconds;

use super::store::StoredTime;
use crate::limits::{CLOCK_WITNESS, CLOCK_WITNESS_WAIT, PRUNE_SETTLED_SECONDS};

const SKEW_MILLIS: i64 = 1000 * 60;
const _: () = assert!(SKEW_MILLIS.unsigned_abs() == 1000 * CLOCK_SKEW_SECONDS);
const NONE: i64 = i64::MIN;

/// The time by which everything is judged: the wall clock, but never less than the signed time.
///
/// Signed time is the time of the newest heartbeat that answered a nonce of this process, and monotonic time since. Such
/// a heartbeat replaces it, also by a lower one: it proves what the clock of the service says now. Before the first one
/// it is the highest signed time that is known, which proves only that it is at least as late.
///
/// Nothing of the wall clock is remembered: a clock that was wrong and is right again leaves no trace. A wall clock that
/// jumps ahead while the service is heard is not believed as long as signed time and monotonic time agree against it.
pub struct TrustTime {
    clock: SharedClock,
    /// Monotonic time at which this process began.
    began: Duration,
    /// Signed time at monotonic time 0, in milliseconds. One number, so that readers need no lock.
    signed: AtomicI64,
    /// Monotonic milliseconds of the newest heartbeat of this process; [`NONE`] before the first.
    heard: AtomicI64,
    /// The wall clock at that moment.
    heard_by_wall: AtomicI64,
    /// The wall clock at monotonic time 0 when it last agreed with a heartbeat; [`NONE`] before.
    agreed: AtomicI64,
    told: AtomicBool,
    lived: Mutex<Option<LivedTime>>,
}

/// State of the clock, measured by a heartbeat of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockState {
    /// Seconds that the wall clock is ahead of signed time; negative when it is behind.
    pub ahead: i64,
    /// Whether that is more than clocks may differ.
    pub wrong: bool,
}

impl ClockState {
    /// Whether the wall clock is ahead by more than clocks may differ.
    pub fn is_ahead(self) -> bool {
        self.wrong && self.ahead > 0
    }
}

impl TrustTime {
    /// Time from here on; `stored` is what an earlier run has left.
    pub fn new(clock: SharedClock, stored: StoredTime) -> Self {
        let monotonic = clock.monotonic();
        let StoredTime { signed, lived } = stored;
        let lived = lived.map(|(began, lived)| LivedTime::restore(began, lived, monotonic));
        let time = Self {
            clock,
            began: monotonic,
            signed: AtomicI64::new(NONE),
            heard: AtomicI64::new(NONE),
            heard_by_wall: AtomicI64::new(NONE),
            agreed: AtomicI64::new(NONE),
            told: AtomicBool::new(false),
            lived: Mutex::new(lived),
        };
        time.known(signed);
        time
    }

    /// The moment by which everything is judged.
    pub fn now(&self) -> UnixSeconds {
        self.now_at(self.clock.monotonic())
    }

    /// As [`Self::now`], for a caller that has just asked for the monotonic time.
    pub fn now_at(&self, monotonic: Duration) -> UnixSeconds {
        let (wall, monotonic) = (millis(self.clock.unix_millis()), uptime(monotonic));
        let signed = self.signed.load(Ordering::Relaxed).saturating_add(monotonic);
        let ahead =
            wall > signed.saturating_add(SKEW_MILLIS) && self.is_outvoted(signed, monotonic);
        let now = if ahead { signed } else { wall.max(signed) };
        UnixSeconds::new(u64::try_from(now / 1000).unwrap_or(0))
    }

    /// The time that one wrong clock cannot bring forward: the median of the wall clock, signed time, and monotonic time
    /// since those two last agreed. `None` until they agreed once in this process, for [`CLOCK_WITNESS_WAIT`] at most;
    /// then [`Self::now`], because a verifier without its service must go on.
    pub fn witnessed(&self) -> Option<UnixSeconds> {
        let monotonic = self.clock.monotonic();
        let agreed = self.agreed.load(Ordering::Relaxed);
        if agreed == NONE {
            let settled = self.clock_state().is_some_and(|state| !state.wrong);
            let waited = monotonic.saturating_sub(self.began) >= CLOCK_WITNESS_WAIT;
            return (settled || waited).then(|| self.now_at(monotonic));
        }
        let (wall, monotonic) = (millis(self.clock.unix_millis()), uptime(monotonic));
        let mut told = [
            wall,
            self.signed.load(Ordering::Relaxed).saturating_add(monotonic),
            agreed.saturating_add(monotonic),
        ];
        told.sort_unstable();
        let [_, median, _] = told;
        Some(UnixSeconds::new(u64::try_from(median / 1000).unwrap_or(0)))
    }

    /// The earlier of [`Self::now`] and the wall clock: by it a snapshot is over. A heartbeat follows each snapshot in any
    /// case, and a service that was ahead must not make its snapshots be refused once its clock is right.
    pub fn earlier(&self) -> UnixSeconds {
        self.now().min(self.clock.unix())
    }

    /// Signed time: what is stored for a restart. `None` when nothing signed is known.
    pub fn signed(&self) -> Option<UnixSeconds> {
        let signed = self.signed.load(Ordering::Relaxed);
        let now = signed.saturating_add(uptime(self.clock.monotonic())) / 1000;
        (signed != NONE).then(|| UnixSeconds::new(u64::try_from(now).unwrap_or(0)))
    }

    /// The wall clock.
    pub fn wall(&self) -> UnixSeconds {
        self.clock.unix()
    }

    /// Seconds since the newest heartbeat of this process, by the later of the two clocks of this machine; `None` before
    /// the first. Monotonic time stands still while a virtual machine is paused, and the wall clock may be wrong.
    pub fn heard(&self) -> Option<u64> {
        let heard = self.heard.load(Ordering::Relaxed);
        let monotonic = uptime(self.clock.monotonic()).saturating_sub(heard);
        let wall = millis(self.clock.unix_millis())
            .saturating_sub(self.heard_by_wall.load(Ordering::Relaxed));
        let since = monotonic.max(wall).max(0) / 1000;
        (heard != NONE).then(|| u64::try_from(since).unwrap_or(0))
    }

    /// How the wall clock stands against a heartbeat of this process; `None` before the first.
    pub fn clock_state(&self) -> Option<ClockState> {
        let monotonic = self.clock.monotonic();
        if self.heard.load(Ordering::Relaxed) == NONE {
            return None;
        }
        let signed = self.signed.load(Ordering::Relaxed).saturating_add(uptime(monotonic));
        let ahead = millis(self.clock.unix_millis()).saturating_sub(signed);
        Some(ClockState { ahead: ahead / 1000, wrong: ahead.abs() > SKEW_MILLIS })
    }

    /// Says once in the log when the clock goes wrong, and once when it is right again.
    pub(crate) fn tell(&self) {
        let Some(state) = self.clock_state() else { return };
        if self.told.swap(state.wrong, Ordering::Relaxed) == state.wrong {
            return;
        }
        match state.wrong {
            true => tracing::error!(
                ahead_seconds = state.ahead,
                "this clock and that of the trust service differ: set the wrong one (not ready while this one is ahead)"
            ),
            false => tracing::info!("this clock agrees with that of the trust service again"),
        }
    }

    /// Takes in a signed time that answers no nonce of this process: it may be old, so it can only raise, and only
    /// before the first heartbeat that does.
    pub(super) fn known(&self, time: UnixSeconds) {
        if time.get() > 0 && self.heard.load(Ordering::Relaxed) == NONE {
            self.signed.fetch_max(self.at_start(time), Ordering::Relaxed);
        }
    }

    /// Takes in the time of a heartbeat that answers a nonce of this process: it replaces what was known.
    pub(super) fn beat(&self, time: UnixSeconds) {
        let (wall, monotonic) = (millis(self.clock.unix_millis()), uptime(self.clock.monotonic()));
        if wall.saturating_sub(seconds(time)).abs() <= SKEW_MILLIS {
            self.agreed.store(wall.saturating_sub(monotonic), Ordering::Relaxed);
        }
        self.signed.store(self.at_start(time), Ordering::Relaxed);
        self.heard_by_wall.store(wall, Ordering::Relaxed);
        self.heard.store(monotonic, Ordering::Relaxed);
        self.tell();
    }

    /// The moment by which entries that say nothing any more may be let go of: signed time, as far as it was lived
    /// through, and never beyond this wall clock: a service that is ahead for a day cannot bring it ahead by a day alone.
    /// `None` before enough of it was lived through.
    pub(crate) fn removal(&self) -> Option<UnixSeconds> {
        let (signed, monotonic) = (self.signed()?, self.clock.monotonic());
        let mut lived = self.lived.lock();
        let lived = match &mut *lived {
            Some(lived) => lived,
            None if self.heard.load(Ordering::Relaxed) == NONE => return None,
            none => none.insert(LivedTime::begin(signed, monotonic)),
        };
        lived.step(signed, monotonic);
        (lived.span() >= PRUNE_SETTLED_SECONDS)
            .then(|| lived.removal(signed.min(self.clock.unix())))
    }

    /// Monotonic time of this process.
    pub(super) fn monotonic(&self) -> Duration {
        self.clock.monotonic()
    }

    /// Data for a restart.
    pub(crate) fn to_store(&self) -> StoredTime {
        let lived = self.lived.lock().as_ref().map(|lived| (lived.began(), lived.reached()));
        StoredTime { signed: self.signed().unwrap_or_default(), lived }
    }

    /// Whether two witnesses say that the wall clock is ahead: signed time, heard a short while ago, and monotonic time
    /// since the wall clock last agreed with it. Either alone may be wrong itself.
    fn is_outvoted(&self, signed: i64, monotonic: i64) -> bool {
        let (heard, agreed) =
            (self.heard.load(Ordering::Relaxed), self.agreed.load(Ordering::Relaxed));
        if heard == NONE || agreed == NONE {
            return false;
        }
        let fresh = monotonic.saturating_sub(heard).abs() <= uptime(CLOCK_WITNESS);
        fresh && agreed.saturating_add(monotonic).abs_diff(signed) <= SKEW_MILLIS.unsigned_abs()
    }

    fn at_start(&self, time: UnixSeconds) -> i64 {
        seconds(time).saturating_sub(uptime(self.clock.monotonic()))
    }
}

fn seconds(time: UnixSeconds) -> i64 {
    millis(time.get().saturating_mul(1000))
}

fn millis(wall: u64) -> i64 {
    i64::try_from(wall).unwrap_or(i64::MAX)
}

fn uptime(monotonic: Duration) -> i64 {
    i64::try_from(monotonic.as_millis()).unwrap_or(i64::MAX)
}
