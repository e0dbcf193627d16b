//! The present trouble of a device, a group or a campaign: one alert that opens, goes on, and closes by itself.

use super::limits;
use super::record::{Flow, Flowed};
use super::signal::SignalName;
use crate::alert::{Severity, State};

/// Seconds without news after which an alert closes.
pub(super) const QUIET: u32 = 24 * 3600;

/// An alert, as far as it was told.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Episode {
    /// The id; 0 while there is none.
    pub(super) id: u64,
    /// Signals that were told, as bits.
    told: u32,
    severity: u8,
    /// The last news, and the day of the count of messages.
    last: u32,
    day: u16,
    today: u8,
    /// Messages that were withheld.
    withheld: u16,
}

/// A message that is due.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Due {
    pub(super) id: u64,
    pub(super) state: State,
    pub(super) severity: Severity,
    pub(super) withheld: u16,
}

impl Due {
    /// A message that opens nothing: what happened is explained.
    pub(super) fn note(id: u64) -> Self {
        Self { id, state: State::Closed, severity: Severity::Low, withheld: 0 }
    }
}

fn rank(severity: Severity) -> u8 {
    match severity {
        Severity::Low => 1,
        Severity::Moderate => 2,
        Severity::High => 3,
    }
}

fn severity(rank: u8) -> Severity {
    match rank {
        0 | 1 => Severity::Low,
        2 => Severity::Moderate,
        _ => Severity::High,
    }
}

impl Episode {
    pub(super) fn is_open(&self) -> bool {
        self.id != 0
    }

    /// A signal speaks. Tells the message that is due, if any: the first one, a further signal, or a worse severity.
    /// `id` is the id of a new alert.
    pub(super) fn speak(
        &mut self,
        signal: SignalName,
        worst: Severity,
        now: u32,
        id: u64,
    ) -> Option<Due> {
        let state = if self.is_open() { State::More } else { State::Open };
        if state == State::Open {
            (self.id, self.told, self.severity) = (id, 0, 0);
        }
        self.last = now;
        let is_news = self.told & signal.bit() == 0 || rank(worst) > self.severity;
        self.told |= signal.bit();
        self.severity = self.severity.max(rank(worst));
        if !is_news {
            return None;
        }
        self.due(state, now)
    }

    /// Time goes on. Tells the last message, when it is due.
    pub(super) fn rest(&mut self, now: u32) -> Option<Due> {
        let is_over = self.is_open() && now.saturating_sub(self.last) >= QUIET;
        if is_over {
            self.close(now)
        } else {
            None
        }
    }

    /// It ends now.
    pub(super) fn close(&mut self, now: u32) -> Option<Due> {
        if !self.is_open() {
            return None;
        }
        // The end of an alert that was told is always told.
        let due = Due {
            id: self.id,
            state: State::Closed,
            severity: severity(self.severity),
            withheld: self.withheld,
        };
        let (day, today) = (self.day, self.today);
        *self = Self { day, today, ..Self::default() };
        self.count(now);
        Some(due)
    }

    fn due(&mut self, state: State, now: u32) -> Option<Due> {
        // The last message of a day is kept for the end.
        if !self.count(now) {
            self.withheld = self.withheld.saturating_add(1);
            return None;
        }
        let withheld = std::mem::take(&mut self.withheld);
        Some(Due { id: self.id, state, severity: severity(self.severity), withheld })
    }

    fn count(&mut self, now: u32) -> bool {
        let day = (now / 86_400) as u16;
        if self.day != day {
            (self.day, self.today) = (day, 0);
        }
        let has_room = self.today < limits::MESSAGES_A_DAY - 1;
        self.today = self.today.saturating_add(1);
        has_room
    }

    pub(super) fn flow(&mut self, flow: &mut Flow<'_>) -> Flowed {
        flow.u64(&mut self.id)?;
        flow.u32(&mut self.told)?;
        flow.u8(&mut self.severity)?;
        flow.seconds(&mut self.last)?;
        flow.u16(&mut self.day)?;
        flow.u8(&mut self.today)?;
        flow.u16(&mut self.withheld)
    }
}
