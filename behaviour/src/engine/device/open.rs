//! Counters of the hour that goes on, of its slots of five minutes and of ten seconds: integers only, since each
//! publish passes here.

use super::super::clock::{TENS_AN_HOUR, TENS_A_SLOT};
use super::super::num::Fixed;
use super::super::record::{Flow, Flowed};

/// The present hour of a device.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in super::super) struct Open {
    /// The present ten seconds, counted from 1970.
    ten: u32,
    ten_count: u32,
    slot_bytes: u32,
    slot_count: u32,
    /// The ten seconds of the last message.
    last: u32,
    /// Tens of seconds without a message before the present slot: what they saved may come at once.
    quiet: u16,
    /// The last bits of the slot in which that was.
    quiet_slot: u16,
    /// Those of the last slot with messages, and how many such slots came one after the other until then.
    run_slot: u8,
    run: u8,
    /// Messages of the hour that silence had saved.
    pub(in super::super) backlog: u32,
    active: u8,
    pub(in super::super) connects: u16,
    pub(in super::super) returns: u16,
    pub(in super::super) subscribes: u32,
    pub(in super::super) refused: u32,
    pub(in super::super) new_topics: u16,
    pub(in super::super) bytes: u64,
    pub(in super::super) count: u32,
    pub(in super::super) received: u64,
    pub(in super::super) most_bytes: u32,
    pub(in super::super) most_count: u32,
    pub(in super::super) most_ten: u32,
    /// Numbers beyond which the present slot is looked at, at once.
    pub(in super::super) trips: Trips,
}

/// Numbers of the open slots beyond which habits are asked.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in super::super) struct Trips {
    pub(in super::super) bytes: u32,
    pub(in super::super) count: u32,
    pub(in super::super) ten: u32,
    /// Messages and bytes that are expected in ten seconds of this hour.
    pub(in super::super) usual_count: f32,
    pub(in super::super) usual_bytes: f32,
    /// The usual largest numbers of an hour: what silence saved is taken off what is beyond them only.
    pub(in super::super) most: Most,
}

/// The largest numbers of an hour.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(in super::super) struct Most {
    pub(in super::super) bytes: u32,
    pub(in super::super) count: u32,
    pub(in super::super) ten: u16,
    /// How many times as much as in a usual slot is sent in a slot with messages.
    pub(in super::super) active: Fixed<64>,
}

impl Trips {
    pub(in super::super) const NONE: Self = Self {
        bytes: u32::MAX,
        count: u32::MAX,
        ten: u32::MAX,
        usual_count: 0.0,
        usual_bytes: 0.0,
        most: Most { bytes: 0, count: 0, ten: 0, active: Fixed(0) },
    };
}

/// Tens of seconds without a message that save something, when messages were due.
const QUIET: u32 = 3;
/// Messages that must have been due.
const QUIET_MESSAGES: f32 = 1.5;
/// Slots with messages, one after the other, from which a device is taken to go on.
const RUN: u8 = 2;
/// Tens of seconds that are counted at most: two hours. Whole silent hours are counted by the habit.
const QUIET_MOST: u32 = 720;
/// So many usual gaps save nothing.
const GAP: f32 = 1.5;
/// So much more than what was due may come.
const MARGIN: f32 = 2.0;

/// The numbers of the open slots, when one of them is beyond its trip.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in super::super) struct Tripped {
    pub(in super::super) bytes: Option<u32>,
    pub(in super::super) count: Option<u32>,
    pub(in super::super) ten: Option<u32>,
    /// Messages and bytes that silence saved.
    pub(in super::super) saved_count: f32,
    pub(in super::super) saved_bytes: f32,
}

impl Open {
    pub(in super::super) fn new(ten: u32) -> Self {
        Self {
            ten,
            ten_count: 0,
            slot_bytes: 0,
            slot_count: 0,
            last: ten,
            quiet: 0,
            quiet_slot: 0,
            run_slot: 0,
            run: 0,
            backlog: 0,
            active: 0,
            connects: 0,
            returns: 0,
            subscribes: 0,
            refused: 0,
            new_topics: 0,
            bytes: 0,
            count: 0,
            received: 0,
            most_bytes: 0,
            most_count: 0,
            most_ten: 0,
            trips: Trips::NONE,
        }
    }

    pub(in super::super) fn hour(&self) -> u32 {
        self.ten / TENS_AN_HOUR
    }

    /// Slots with a message.
    pub(in super::super) fn active(&self) -> u8 {
        self.active
    }

    /// Takes in messages at these ten seconds, which lie in the present hour.
    pub(in super::super) fn add(&mut self, ten: u32, count: u32, bytes: u64) -> Option<Tripped> {
        if ten != self.last {
            self.arrive(ten);
        }
        let bytes_here = u32::try_from(bytes).unwrap_or(u32::MAX);
        if self.slot_count == 0 {
            self.active = self.active.saturating_add(1);
        }
        self.ten_count = self.ten_count.saturating_add(count);
        self.slot_count = self.slot_count.saturating_add(count);
        self.slot_bytes = self.slot_bytes.saturating_add(bytes_here);
        self.bytes = self.bytes.saturating_add(bytes);
        self.count = self.count.saturating_add(count);
        let trips = self.trips;
        let is_quiet = self.slot_bytes <= trips.bytes
            && self.slot_count <= trips.count
            && self.ten_count <= trips.ten;
        if is_quiet {
            return None;
        }
        Some(Tripped {
            bytes: (self.slot_bytes > trips.bytes).then_some(self.slot_bytes),
            count: (self.slot_count > trips.count).then_some(self.slot_count),
            ten: (self.ten_count > trips.ten).then_some(self.ten_count),
            saved_count: self.saved(self.due_count()),
            saved_bytes: self.saved(self.due_bytes()),
        })
    }

    /// The first message of other ten seconds.
    fn arrive(&mut self, ten: u32) {
        self.turn(ten);
        let quiet = ten.saturating_sub(self.last);
        self.last = ten;
        let quiet = quiet.saturating_sub(self.gap());
        if quiet >= QUIET && quiet as f32 * self.due_count() >= QUIET_MESSAGES {
            self.quiet = u16::try_from(quiet.min(QUIET_MOST)).unwrap_or(u16::MAX).max(self.quiet);
            self.quiet_slot = (ten / TENS_A_SLOT) as u16;
        }
    }

    /// Whether it was active for some time when the last silence began: then it was active in the silence too.
    fn is_running(&self) -> bool {
        self.run >= RUN
    }

    /// Tens of seconds between two messages that are usual for a device that sends in few slots of an hour: such a
    /// silence saves nothing.
    fn gap(&self) -> u32 {
        if self.is_running() {
            return 0;
        }
        let slots = (self.trips.most.active.get() - 1.0).max(0.0);
        (GAP * slots * TENS_A_SLOT as f32) as u32
    }

    /// A usual number of the hour, as it is due in ten seconds.
    fn due(&self, usual: f32) -> f32 {
        match self.is_running() {
            true => usual * self.trips.most.active.get().max(1.0),
            false => usual,
        }
    }

    fn due_count(&self) -> f32 {
        self.due(self.trips.usual_count)
    }

    fn due_bytes(&self) -> f32 {
        self.due(self.trips.usual_bytes)
    }

    /// The number that the last silence saved, at a rate for ten seconds.
    fn saved(&self, usual: f32) -> f32 {
        f32::from(self.quiet) * usual * MARGIN + 3.0 * usual
    }

    /// Other ten seconds begin, and perhaps another slot.
    fn turn(&mut self, ten: u32) {
        let saved = if self.quiet > 0 { self.saved(self.due_count()) as u32 } else { 0 };
        let ten_count = left(self.ten_count, saved, self.trips.most.ten.into());
        self.most_ten = self.most_ten.max(ten_count);
        self.ten_count = 0;
        if ten / TENS_A_SLOT > self.ten / TENS_A_SLOT {
            self.end_slot(ten / TENS_A_SLOT);
        }
        self.ten = self.ten.max(ten);
    }

    fn end_slot(&mut self, next: u32) {
        let (mut count, mut bytes) = (self.slot_count, self.slot_bytes);
        let slot = (self.ten / TENS_A_SLOT) as u8;
        if self.quiet > 0 {
            let saved = self.saved(self.due_count()) as u32;
            let rest = left(count, saved, self.trips.most.count);
            self.backlog += count - rest;
            count = rest;
            bytes = left(bytes, self.saved(self.due_bytes()) as u32, self.trips.most.bytes);
            // The rest of it may come in the next slot.
            if (next as u16).wrapping_sub(self.quiet_slot) > 1 {
                self.quiet = 0;
            }
        }
        if self.slot_count > 0 {
            self.run =
                if slot == self.run_slot.wrapping_add(1) { self.run.saturating_add(1) } else { 1 };
            self.run_slot = slot;
        }
        self.most_bytes = self.most_bytes.max(bytes);
        self.most_count = self.most_count.max(count);
        (self.slot_bytes, self.slot_count) = (0, 0);
    }

    /// The hour ends, and the one of these ten seconds begins. Returns the counters of the hour.
    pub(in super::super) fn end_hour(&mut self, ten: u32) -> Self {
        let last = (self.hour() + 1) * TENS_AN_HOUR;
        self.turn(last);
        let ended = *self;
        *self = Self {
            last: self.last,
            quiet: self.quiet,
            quiet_slot: self.quiet_slot,
            run_slot: self.run_slot,
            run: self.run,
            trips: self.trips,
            ..Self::new(ten.max(last) / TENS_AN_HOUR * TENS_AN_HOUR)
        };
        ended
    }

    pub(in super::super) fn flow(&mut self, flow: &mut Flow<'_>) -> Flowed {
        let mut seconds = self.ten.saturating_mul(10);
        flow.seconds(&mut seconds)?;
        self.ten = seconds / 10;
        for value in [
            &mut self.slot_bytes,
            &mut self.slot_count,
            &mut self.subscribes,
            &mut self.refused,
            &mut self.count,
            &mut self.most_bytes,
            &mut self.most_count,
            &mut self.most_ten,
        ] {
            flow.u32(value)?;
        }
        let mut last = self.last.saturating_mul(10);
        flow.seconds(&mut last)?;
        self.last = last / 10;
        flow.u8(&mut self.active)?;
        flow.u16(&mut self.connects)?;
        flow.u16(&mut self.returns)?;
        flow.u16(&mut self.new_topics)?;
        flow.u64(&mut self.bytes)?;
        flow.u64(&mut self.received)
    }
}

/// The rest of a number, when that which silence saved is taken off its part beyond the usual.
fn left(seen: u32, saved: u32, usual: u32) -> u32 {
    match usual {
        // It is not known yet.
        0 => seen,
        usual => seen.min(usual.max(seen.saturating_sub(saved))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(usual_count: f32, active_count: f32) -> Open {
        let active = Fixed::new(active_count / usual_count);
        let trips =
            Trips { usual_count, ten: 10, most: Most { active, ..Most::default() }, ..Trips::NONE };
        Open { trips, ..Open::new(0) }
    }

    /// A device that wakes up each half hour owes nothing when it wakes up; one that missed three times does.
    #[test]
    fn open_silence_that_is_usual_saves_nothing() {
        let mut sleeper = open(13.0 / 180.0, 13.0 / 30.0);
        sleeper.add(0, 13, 0);
        let woken = sleeper.add(180, 26, 0).unwrap();
        assert!(woken.saved_count < 1.0, "{woken:?}");
        sleeper.add(190, 1, 0);
        let late = sleeper.add(190 + 700, 26, 0).unwrap();
        assert!(late.saved_count > 13.0, "{late:?}");
    }

    /// A device that was at work in an hour in which it hardly ever works kept messages at its usual pace.
    #[test]
    fn open_silence_within_work_saves_at_the_pace_of_work() {
        let mut tracker = open(0.01, 0.8);
        (0..120).for_each(|ten| assert_eq!(tracker.add(ten, 1, 0), None));
        let back = tracker.add(120 + 30, 24, 0).unwrap();
        assert!(back.saved_count > 24.0, "{back:?}");
        // The same after a single message says nothing of a pace.
        let mut lone = open(0.01, 0.8);
        lone.add(0, 1, 0);
        assert!(lone.add(30, 24, 0).unwrap().saved_count < 1.0);
    }
}
