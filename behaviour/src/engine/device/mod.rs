//! One device: the counters of its present hour, its habits, its sessions and what was held against it.

use std::net::IpAddr;

use super::episode::Episode;
use super::evidence::Rare;
use super::habit::Habit;
use super::hash;
use super::num::{Fixed, Residual};
use super::rare::{Kind, Rares};
use super::rate::Rate;
use super::record::{Flow, Flowed, Torn};
use super::shift::Shift;
use super::signal::Alarm;
use super::stat::STATS;

mod mix;
mod open;
mod sessions;
mod topics;

pub(super) use open::{Most, Open, Tripped, Trips};
pub(super) use sessions::{Sessions, Use, Used};
pub(super) use topics::{Targets, Topics, CLASSES};

use mix::Mix;

/// Habits of the statistics of an hour.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Habits {
    pub(super) volume: Habit<24, Residual>,
    pub(super) burst: Habit<4>,
    pub(super) messages: Habit<4>,
    pub(super) ten: Habit<1>,
    pub(super) size: Habit<1>,
    pub(super) pace: Habit<4>,
    pub(super) received: Habit<1>,
    pub(super) size_shift: Shift,
    pub(super) pace_shift: Shift,
}

/// The hour that ended, until its group's values are complete.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Pending {
    pub(super) hour: u32,
    /// Values by statistic; NaN says nothing.
    pub(super) values: [f32; STATS],
    pub(super) connects: u16,
    pub(super) returns: u16,
    pub(super) new_topics: u16,
    pub(super) subscribes: u32,
    pub(super) is_silent: bool,
    /// Whether what silence saved was taken off.
    pub(super) is_credited: bool,
}

impl Default for Pending {
    fn default() -> Self {
        Self {
            hour: 0,
            values: [f32::NAN; STATS],
            connects: 0,
            returns: 0,
            new_topics: 0,
            subscribes: 0,
            is_silent: true,
            is_credited: false,
        }
    }
}

/// A moderate alarm that waits for the group.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Held {
    pub(super) alarm: Alarm,
    /// The hour of the alarm, and all signals that alarmed since.
    pub(super) hour: u32,
    pub(super) signals: u32,
}

/// The level of weeks ago, and of the last days.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Anchor {
    pub(super) old: f32,
    pub(super) new: f32,
    pub(super) days: u16,
    /// The share of its hours in which it sends.
    pub(super) awake: Fixed<16384>,
    /// The bytes of the day.
    pub(super) day: f32,
}

impl Default for Anchor {
    fn default() -> Self {
        Self { old: 0.0, new: 0.0, days: 0, awake: Fixed::new(1.0), day: 0.0 }
    }
}

/// One device.
#[derive(Clone, Debug)]
pub(super) struct Device {
    /// The number of its group among the engine's groups.
    pub(super) group: u32,
    pub(super) is_service: bool,
    /// Whether a session of it was ever opened here, or its key proved.
    pub(super) is_known: bool,
    /// Whether the store has an older version.
    pub(super) changed: bool,
    pub(super) first_seen: u32,
    pub(super) last_seen: u32,
    pub(super) open: Open,
    pub(super) pending: Pending,
    pub(super) habits: Habits,
    /// Bytes that silence has saved.
    pub(super) owed: f32,
    /// Whether its levels were compared with those of its group.
    pub(super) is_compared: bool,
    pub(super) mix: Mix,
    pub(super) topics: Topics,
    pub(super) sessions: Sessions,
    pub(super) networks: Used<4>,
    pub(super) programs: Used<3>,
    /// Where it last connected from, for alerts. No record has it.
    pub(super) address: Option<IpAddr>,
    pub(super) connects: Rate,
    /// Moves back to a network that it left within a day.
    pub(super) returns: Rate,
    /// Whether two programs were in use from the beginning.
    pub(super) has_programs: bool,
    /// Whether its keep-alive is far longer than its group's.
    pub(super) is_patient: bool,
    pub(super) new_topics: Rate,
    pub(super) subscribes: Rate,
    pub(super) anchor: Anchor,
    pub(super) rares: Option<Box<Rares>>,
    pub(super) held: Option<Box<Held>>,
    /// Signals that were counted for the group in the last hours, as bits, and since when.
    pub(super) asked: u32,
    pub(super) asked_hour: u32,
    pub(super) targets: Option<Box<Targets>>,
    pub(super) episode: Episode,
}

/// A version of the record of a device.
const VERSION: u8 = 4;

impl Device {
    pub(super) fn new(now: u32, ten: u32) -> Self {
        Self {
            group: u32::MAX,
            is_service: false,
            is_known: false,
            changed: true,
            first_seen: now,
            last_seen: now,
            open: Open::new(ten),
            pending: Pending::default(),
            habits: Habits::default(),
            owed: 0.0,
            is_compared: false,
            mix: Mix::default(),
            topics: Topics::default(),
            sessions: Sessions::default(),
            networks: Used::default(),
            programs: Used::default(),
            address: None,
            connects: Rate::default(),
            returns: Rate::default(),
            has_programs: false,
            is_patient: false,
            new_topics: Rate::default(),
            subscribes: Rate::default(),
            anchor: Anchor::default(),
            rares: None,
            held: None,
            asked: 0,
            asked_hour: 0,
            targets: None,
            episode: Episode::default(),
        }
    }

    pub(super) fn age(&self, now: u32) -> u32 {
        now.saturating_sub(self.first_seen)
    }

    /// Takes in an event of a rare kind. Tells the evidence, and whether it is the first one of the day.
    pub(super) fn event(
        &mut self,
        kind: Kind,
        hour: u32,
        weight: f32,
        honest: f32,
    ) -> (Rare, f32, bool) {
        let rares = self.rares.get_or_insert_default();
        let mut rare = rares.of(kind);
        let is_first = rare.events == 0 || rare.last_hour() / 24 != hour / 24;
        let evidence = rare.add(hour, weight, honest);
        rares.keep(kind, rare);
        (rare, evidence, is_first)
    }

    /// Takes in that one more event of a kind came in an hour that counts it already.
    pub(super) fn repeats(&mut self, kind: Kind, hour: u32) -> Option<u16> {
        let rares = self.rares.as_mut()?;
        let mut rare = rares.of(kind);
        if rare.events == 0 || rare.last_hour() != hour {
            return None;
        }
        rare.in_hour = rare.in_hour.saturating_add(1);
        rares.keep(kind, rare);
        Some(rare.in_hour)
    }

    pub(super) fn event_told(&mut self, kind: Kind) {
        if let Some(rares) = self.rares.as_mut() {
            let mut rare = rares.of(kind);
            rare.told();
            rares.keep(kind, rare);
        }
    }

    /// Bytes that it owns beside the value itself. The list of targets of a service has a bound of its own.
    pub(super) fn heap(&self) -> usize {
        let rares = self.rares.as_ref().map_or(0, |rares| rares.heap());
        let held = self.held.as_ref().map_or(0, |_| size_of::<Held>());
        rares + held
    }

    /// The record, with the engine's time and the observer's at which it is written.
    pub(super) fn to_record(&self, group: u64, now: u32, wall: u32) -> Vec<u8> {
        let mut out = vec![VERSION];
        out.extend(now.to_le_bytes());
        out.extend(wall.to_le_bytes());
        out.extend(group.to_le_bytes());
        // The fields of a value that exists can all be written.
        let _ = self.clone().flow(&mut Flow::Out(&mut out));
        out
    }

    /// Reads a record. Times in it move to where the engine's time stands now.
    pub(super) fn from_record(
        record: &[u8],
        now: u32,
        wall: u32,
    ) -> Result<(u64, Self), super::record::RecordError> {
        let (group, mut device) = (0, Self::new(now, now / 10));
        let group = read_head(record, VERSION, now, wall, |flow| {
            let mut number = group;
            flow.u64(&mut number)?;
            device.flow(flow)?;
            Ok(number)
        })?;
        device.changed = false;
        device.last_seen = device.last_seen.min(now);
        device.first_seen = device.first_seen.min(device.last_seen);
        if device.open.hour() != now / 3600 {
            device.open.end_hour(now / 10);
        }
        Ok((group, device))
    }

    fn flow(&mut self, flow: &mut Flow<'_>) -> Flowed {
        flow.flag(&mut self.is_service)?;
        flow.flag(&mut self.is_known)?;
        flow.seconds(&mut self.first_seen)?;
        flow.seconds(&mut self.last_seen)?;
        self.open.flow(flow)?;
        let habits = &mut self.habits;
        habits.volume.flow(flow)?;
        habits.burst.flow(flow)?;
        habits.messages.flow(flow)?;
        habits.ten.flow(flow)?;
        habits.size.flow(flow)?;
        habits.pace.flow(flow)?;
        habits.received.flow(flow)?;
        habits.size_shift.flow(flow)?;
        habits.pace_shift.flow(flow)?;
        flow.f32(&mut self.owed)?;
        flow.i16(&mut self.anchor.awake.0)?;
        flow.flag(&mut self.is_compared)?;
        self.mix.flow(flow)?;
        self.topics.flow(flow)?;
        self.sessions.flow(flow)?;
        self.networks.flow(flow)?;
        self.programs.flow(flow)?;
        self.connects.flow(flow)?;
        self.returns.flow(flow)?;
        flow.flag(&mut self.has_programs)?;
        flow.flag(&mut self.is_patient)?;
        self.new_topics.flow(flow)?;
        self.subscribes.flow(flow)?;
        flow.f32(&mut self.anchor.old)?;
        flow.f32(&mut self.anchor.new)?;
        flow.u16(&mut self.anchor.days)?;
        flow.f32(&mut self.anchor.day)?;
        flow.optional(&mut self.rares, |rares, flow| rares.flow(flow))?;
        flow.optional(&mut self.targets, |targets, flow| targets.flow(flow))?;
        self.episode.flow(flow)
    }
}

/// Reads the version and the times of a record, then its fields, then its end.
pub(super) fn read_head<T>(
    record: &[u8],
    version: u8,
    now: u32,
    wall: u32,
    fields: impl FnOnce(&mut Flow<'_>) -> Result<T, Torn>,
) -> Result<T, super::record::RecordError> {
    use super::record::RecordError;
    let (found, rest) = record.split_first().ok_or(RecordError::Torn)?;
    if *found != version {
        return Err(RecordError::Version(*found));
    }
    let mut flow = Flow::In { rest, move_by: 0 };
    let (mut then, mut wall_then) = (0, 0);
    flow.u32(&mut then)?;
    flow.u32(&mut wall_then)?;
    // A clock that stands before the record's lets no time pass.
    let passed = wall.saturating_sub(wall_then);
    if let Flow::In { move_by, .. } = &mut flow {
        *move_by = i64::from(now) - i64::from(passed) - i64::from(then);
    }
    let value = fields(&mut flow)?;
    flow.end()?;
    Ok(value)
}

/// A client id as it is kept.
pub(super) fn kept_text(text: &str) -> Box<str> {
    let mut end = text.len().min(super::limits::TEXT_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or("").into()
}

/// A mark of a session's number, never 0.
pub(super) fn session_mark(session: u64) -> u32 {
    hash::short(hash::mark_number(0, session))
}
