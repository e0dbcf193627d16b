//! The turn at a broker: of several processes on one database one pushes to it, and another goes on when that one stops.
//!
//! Clocks of processes are not compared. The process that has the turn moves its row every [`PUSH_BEAT`]; another takes the
//! turn when it has seen the row stand still for [`PUSH_TURN_SILENCE`] of its own time. A process that could not move its
//! row in that time has lost the turn. For the moment that both may think they have it the broker has one connection of
//! provisioning.

use std::time::Duration;

use tessera_runtime::random;
use tessera_runtime::sql::Batch;
use tessera_token::refusal::RefusalCode;

use crate::limits::{PUSH_BEAT, PUSH_TURN_SILENCE};
use crate::records::push::PushTurn;
use crate::refused::Refused;
use crate::service::Service;
use crate::tables::one;
use crate::write::Attempt;

/// The turn of this process at one broker.
pub(super) struct Turn {
    broker: String,
    process: [u8; 16],
    /// The row as this process wrote it, and when.
    held: Option<(PushTurn, Duration)>,
    /// The row of another process as it was seen, and since when.
    seen: Option<(PushTurn, Duration)>,
}

impl Turn {
    pub(super) fn new(service: &Service, broker: String) -> Result<Self, Refused> {
        let process = random::bytes(&*service.random).map_err(|_| RefusalCode::NotReady)?;
        Ok(Self { broker, process, held: None, seen: None })
    }

    /// Whether this process still has the turn, as far as it can know.
    pub(super) fn is_held(&self, now: Duration) -> bool {
        let fresh =
            |(_, at): &(PushTurn, Duration)| now.saturating_sub(*at) < PUSH_TURN_SILENCE / 2;
        self.held.as_ref().is_some_and(fresh)
    }

    /// Takes the turn when no other process has it, or keeps it. Whether this process has it now.
    ///
    /// # Errors
    /// Of the database; what was known stays.
    pub(super) async fn beat(&mut self, service: &Service) -> Result<bool, Refused> {
        let now = service.clock.monotonic();
        if self.held.as_ref().is_some_and(|(_, at)| now.saturating_sub(*at) < PUSH_BEAT) {
            return Ok(true);
        }
        let row = service.tables.push_turns.get(one(self.broker.as_str())).await?;
        if !self.may_take(row.as_ref(), service.database.is_shared(), now) {
            self.held = None;
            return Ok(false);
        }
        let beat = row.as_ref().map_or(0, |row| row.beat).saturating_add(1);
        let next = PushTurn { process: self.process, beat };
        let mut batch = Batch::new();
        batch.expect_same(&service.tables.push_turns, one(self.broker.as_str()), row.as_ref());
        batch.put(&service.tables.push_turns, one(self.broker.as_str()), &next);
        let taken = service.write_unnoted(batch).await? == Attempt::Committed(());
        self.held = taken.then_some((next, now));
        self.seen = None;
        Ok(taken)
    }

    fn may_take(&mut self, row: Option<&PushTurn>, shared: bool, now: Duration) -> bool {
        let Some(row) = row.filter(|row| row.process != self.process && shared) else {
            return true;
        };
        match &self.seen {
            Some((seen, since)) if seen == row => now.saturating_sub(*since) >= PUSH_TURN_SILENCE,
            _ => {
                self.seen = Some((row.clone(), now));
                false
            }
        }
    }

    /// Gives the turn back, so that another process need not wait.
    pub(super) async fn give_back(&mut self, service: &Service) {
        let Some((row, _)) = self.held.take() else { return };
        let mut batch = Batch::new();
        batch.expect(&service.tables.push_turns, one(self.broker.as_str()), &row);
        batch.delete(&service.tables.push_turns, one(self.broker.as_str()));
        // Another process takes it after the silence otherwise.
        let _ = service.write_unnoted(batch).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turn(process: u8) -> Turn {
        Turn { broker: "b".to_owned(), process: [process; 16], held: None, seen: None }
    }

    #[test]
    fn a_row_that_stands_still_is_taken_over_by_the_time_of_the_one_that_looks() {
        let mut own = turn(1);
        let row = |beat| PushTurn { process: [2; 16], beat };
        let at = Duration::from_secs;
        let silence = PUSH_TURN_SILENCE.as_secs();
        assert!(own.may_take(None, true, at(0)), "there is none");
        assert!(!own.may_take(Some(&row(5)), true, at(100)));
        assert!(!own.may_take(Some(&row(5)), true, at(99 + silence)));
        assert!(!own.may_take(Some(&row(6)), true, at(100 + silence)), "it moved");
        assert!(own.may_take(Some(&row(6)), true, at(100 + 2 * silence)));
        assert!(own.may_take(Some(&row(9)), false, at(0)), "no other process has this database");
        let mine = PushTurn { process: [1; 16], beat: 3 };
        assert!(own.may_take(Some(&mine), true, at(0)));
    }

    #[test]
    fn a_turn_that_was_not_confirmed_in_time_is_lost_before_another_takes_it() {
        let mut own = turn(1);
        let mine = PushTurn { process: [1; 16], beat: 3 };
        own.held = Some((mine, Duration::from_secs(100)));
        assert!(own.is_held(Duration::from_secs(100) + PUSH_BEAT));
        assert!(!own.is_held(Duration::from_secs(100) + PUSH_TURN_SILENCE / 2));
        assert!(PUSH_BEAT * 3 < PUSH_TURN_SILENCE);
    }
}
