//! The table of open sockets: a synchronous structure, which takes the peer's prefix and the time as arguments.

use std::sync::Arc;
use std::time::Duration;

use hashbrown::HashMap;
use tokio::sync::Notify;

use super::fair_share::Shares;
use super::guesses::{Counted, Guess, Guesses, Step, UsualHour};
use super::half_open::{HalfOpen, Kind};
use super::usage::Usage;
use super::AdmissionLimits;
use super::{Prefix, Rejected};
use crate::limits::{
    CALLED_SOCKETS, DOOR_WAITING, DOOR_WAITING_PER_PREFIX, FEW_HALF_OPEN, PREFIXES,
    SILENT_AT_LEAST, SUSPECT_AT_LEAST, SUSPECT_PART, UNRESERVED_QUARTERS,
};

/// All open sockets, counted in total and per prefix.
#[derive(Default)]
pub(super) struct SocketTable {
    pub(super) half_open: usize,
    pub(super) sockets: usize,
    suspects: usize,
    called: usize,
    now: Duration,
    prefixes: HashMap<Prefix, Usage>,
    silent: HalfOpen,
    shares: Shares,
    usual: UsualHour,
    waiting: usize,
}

/// How far an entered socket has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stage {
    /// In the list of sockets that may be closed for others.
    Waiting(u64),
    /// Not in it any more; still half open.
    Heard,
    /// Told to close for others: no longer counted as half open.
    Called,
    /// Connected, or closed.
    Done,
}

impl Stage {
    pub(super) fn is_waiting(self) -> bool {
        matches!(self, Self::Waiting(_))
    }
}

/// The state of one socket, held by its permit.
pub(super) struct Entry {
    pub(super) prefix: Prefix,
    pub(super) kind: Kind,
    pub(super) stage: Stage,
}

impl SocketTable {
    pub(super) fn enter(
        &mut self,
        prefix: Prefix,
        limits: &AdmissionLimits,
        now: Duration,
        call: &Arc<Notify>,
    ) -> Result<Entry, Rejected> {
        self.now = now;
        self.room_for_prefix(&prefix)?;
        let usage = self
            .prefixes
            .entry(prefix)
            .or_insert_with(|| Usage::new(limits.connects_per_second, now));
        usage.may_enter(limits, now)?;
        let held = usage.half_open;
        let kind = if usage.reputation.is_suspect(now) { Kind::Suspect } else { Kind::Unsuspected };
        if kind == Kind::Suspect {
            let taken = self.shares.take(&mut usage.taken, limits.suspects_per_second, now);
            if !taken {
                usage.reputation.reset_decay(now);
                return Err(Rejected::SuspectRate);
            }
        }
        self.room_in_prefix(prefix, kind, held, limits)?;
        self.room_for(kind, held, limits)?;
        if let Some(usage) = self.prefixes.get_mut(&prefix) {
            usage.entered();
        }
        self.half_open += 1;
        self.sockets += 1;
        self.suspects += usize::from(kind == Kind::Suspect);
        let number = self.silent.enter(prefix, kind, now, Arc::clone(call));
        Ok(Entry { prefix, kind, stage: Stage::Waiting(number) })
    }

    fn room_for_prefix(&mut self, prefix: &Prefix) -> Result<(), Rejected> {
        if self.prefixes.len() >= PREFIXES && !self.prefixes.contains_key(prefix) {
            self.prefixes.retain(|_, usage| usage.in_use());
            if self.prefixes.len() >= PREFIXES {
                return Err(Rejected::Prefixes);
            }
        }
        Ok(())
    }

    fn room_in_prefix(
        &mut self,
        prefix: Prefix,
        kind: Kind,
        held: usize,
        limits: &AdmissionLimits,
    ) -> Result<(), Rejected> {
        if held < limits.half_open_per_prefix {
            return Ok(());
        }
        let before = self.before(kind).ok_or(Rejected::PrefixHalfOpen)?;
        let kind = self.silent.call_oldest_of(prefix, before).ok_or(Rejected::PrefixHalfOpen)?;
        self.was_called(prefix, kind);
        Ok(())
    }

    fn room_for(
        &mut self,
        kind: Kind,
        held: usize,
        limits: &AdmissionLimits,
    ) -> Result<(), Rejected> {
        let most = limits.half_open;
        let enough = match kind {
            Kind::Suspect => {
                self.suspects < (most / SUSPECT_PART).max(1) && self.half_open < unreserved(most)
            }
            Kind::Unsuspected if held < FEW_HALF_OPEN => self.half_open < most,
            Kind::Unsuspected => self.half_open < unreserved(most),
        };
        if enough || self.call_oldest(Kind::Suspect) {
            return Ok(());
        }
        if kind == Kind::Unsuspected && self.call_oldest(Kind::Unsuspected) {
            return Ok(());
        }
        Err(Rejected::HalfOpen)
    }

    fn call_oldest(&mut self, kind: Kind) -> bool {
        let called = self.before(kind).and_then(|before| self.silent.call_oldest(kind, before));
        if let Some(prefix) = called {
            self.was_called(prefix, kind);
        }
        called.is_some()
    }

    /// A socket of this kind may be called only if it has waited since this moment or longer. `None` while
    /// [`CALLED_SOCKETS`] sockets were called and have not closed yet.
    fn before(&self, kind: Kind) -> Option<Duration> {
        let least = match kind {
            Kind::Suspect => SUSPECT_AT_LEAST,
            Kind::Unsuspected => SILENT_AT_LEAST,
        };
        self.now.checked_sub(least).filter(|_| self.called < CALLED_SOCKETS)
    }

    fn was_called(&mut self, prefix: Prefix, kind: Kind) {
        self.called += 1;
        self.no_longer_half_open(prefix, kind);
    }

    fn no_longer_half_open(&mut self, prefix: Prefix, kind: Kind) {
        self.half_open = self.half_open.saturating_sub(1);
        if kind == Kind::Suspect {
            self.suspects = self.suspects.saturating_sub(1);
        }
        if let Some(usage) = self.prefixes.get_mut(&prefix) {
            usage.no_longer_half_open();
        }
    }

    /// It need not close for others any more; false when it was told to already.
    pub(super) fn heard(&mut self, entry: &mut Entry) -> bool {
        if let Stage::Waiting(number) = entry.stage {
            let there = self.silent.leave(entry.prefix, entry.kind, number);
            entry.stage = if there { Stage::Heard } else { Stage::Called };
        }
        entry.stage != Stage::Called
    }

    pub(super) fn connected(&mut self, entry: &mut Entry, token: u64) {
        if self.done(entry) {
            if let Some(usage) = self.prefixes.get_mut(&entry.prefix) {
                usage.reputation.connected();
                if let Some(guesses) = &mut usage.guesses {
                    guesses.let_in(usage.known.has(token));
                }
                usage.known.add(token);
            }
        }
    }

    /// Counts a wrong credential. The prefix has an open socket, so it is in the table.
    pub(super) fn guessed(&mut self, prefix: Prefix, guess: Guess, now: Duration) -> Counted {
        let open = Counted { is_new: true, step: Step::Open, began: None };
        let Some(usage) = self.prefixes.get_mut(&prefix) else { return open };
        let guesses = usage.guesses.get_or_insert_with(|| Box::new(Guesses::new(now)));
        guesses.count(guess, &mut self.usual, now)
    }

    /// Takes a place among the answers that wait; false when there is none left.
    pub(super) fn may_wait(&mut self, prefix: Prefix) -> bool {
        let guesses = self.prefixes.get_mut(&prefix).and_then(|usage| usage.guesses.as_mut());
        let Some(guesses) = guesses.filter(|guesses| guesses.waiting < DOOR_WAITING_PER_PREFIX)
        else {
            return false;
        };
        if self.waiting >= DOOR_WAITING {
            return false;
        }
        guesses.waiting += 1;
        self.waiting += 1;
        true
    }

    /// Gives it back. The prefix may have been forgotten only if it has no open socket.
    pub(super) fn waited(&mut self, prefix: Prefix) {
        self.waiting = self.waiting.saturating_sub(1);
        let guesses = self.prefixes.get_mut(&prefix).and_then(|usage| usage.guesses.as_mut());
        if let Some(guesses) = guesses {
            guesses.waiting = guesses.waiting.saturating_sub(1);
        }
    }

    /// Whether the signature of this token may be checked now.
    pub(super) fn may_check(&mut self, prefix: Prefix, token: u64, now: Duration) -> bool {
        let Some(usage) = self.prefixes.get_mut(&prefix) else { return true };
        let is_known = usage.known.has(token);
        usage.guesses.as_mut().is_none_or(|guesses| guesses.may_check(is_known, now))
    }

    pub(super) fn closed(&mut self, entry: &mut Entry, blameless: bool) {
        let unproved = self.done(entry);
        self.sockets = self.sockets.saturating_sub(1);
        let Some(usage) = self.prefixes.get_mut(&entry.prefix) else { return };
        if unproved && !blameless {
            usage.reputation.add_strike(self.now);
        }
        usage.closed();
    }

    /// False when that was said before.
    fn done(&mut self, entry: &mut Entry) -> bool {
        self.heard(entry);
        match std::mem::replace(&mut entry.stage, Stage::Done) {
            Stage::Called => self.called = self.called.saturating_sub(1),
            Stage::Done => return false,
            Stage::Heard | Stage::Waiting(_) => self.no_longer_half_open(entry.prefix, entry.kind),
        }
        true
    }
}

/// Half-open places that every prefix may use. The rest are reserved for prefixes that hold few.
fn unreserved(most: usize) -> usize {
    most - most / 4 * (4 - UNRESERVED_QUARTERS)
}
