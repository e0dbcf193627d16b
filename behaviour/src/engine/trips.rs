//! The numbers of open slots beyond which habits are asked at once, and the alarms that follow.

use super::config::SERVICE_FACTOR;
use super::device::{Device, Most, Tripped, Trips};
use super::group::{Group, GroupStat};
use super::habit::Habit;
use super::judge::{Hour, COUNT_EVIDENCE, LOUD};
use super::num::{count, Fixed};
use super::signal::Alarm;
use super::stat::Stat;

/// Numbers beyond which the open slots of the next hour are looked at, at once.
pub(super) fn trips(device: &Device, group: &Group, hour: Hour) -> Trips {
    let next = Hour { of_day: hour.next_of_day, ..hour };
    let [_, burst, messages, ten, ..] = &group.stats;
    let (small_bytes, small_count) = group.small.unwrap_or((0.0, 0.0));
    let habits = &device.habits;
    let usual_bytes =
        habits.volume.own(next.part(24)).map_or(0.0, |own| own.min(80.0).exp()) / 360.0;
    let each = habits.size.own(0).map_or(f32::MAX, f32::exp).max(1.0);
    // Thirty tens of seconds are a slot. In an hour in which a device never worked, next to nothing is due.
    let pace = habits.pace.own(next.part(4)).map_or(0.0, |own| own.min(20.0).exp());
    let least = pace / 30.0 / 500.0;
    let usual_count = (usual_bytes / each).max(least);
    let usual_bytes = usual_bytes.max(least * each);
    let active = Fixed::new(if usual_count > 0.0 { pace / 30.0 / usual_count } else { 0.0 });
    let of = |limit: Limit, small: f32, least: u32, ceiling: u32| match limit {
        Limit::At(value) => count((value.min(80.0).exp() - small).max(0.0)).max(least),
        Limit::None => u32::MAX,
        Limit::NoHabit => ceiling,
    };
    let ceilings = ceilings(device, group);
    let usual = |own: Option<f32>, small: f32| {
        own.map_or(0, |own| count((own.min(80.0).exp() - small).max(0.0)))
    };
    Trips {
        bytes: of(
            limit(&habits.burst, Stat::Burst, next, burst),
            small_bytes / 4.0,
            1024,
            ceilings.bytes,
        ),
        count: of(
            limit(&habits.messages, Stat::Messages, next, messages),
            (small_count / 4.0).max(0.5),
            12,
            u32::MAX,
        ),
        ten: of(limit(&habits.ten, Stat::Ten, next, ten), 1.0, 15, ceilings.ten),
        usual_count,
        usual_bytes,
        most: Most {
            bytes: usual(habits.burst.own(next.part(4)), small_bytes / 4.0),
            count: usual(habits.messages.own(next.part(4)), (small_count / 4.0).max(0.5)),
            ten: u16::try_from(usual(habits.ten.own(0), 1.0)).unwrap_or(u16::MAX),
            active,
        },
    }
}

/// The numbers of a device that has no habits yet.
pub(super) fn ceilings(device: &Device, group: &Group) -> Trips {
    let factor = if device.is_service { SERVICE_FACTOR } else { 1 };
    Trips {
        bytes: group.policy.ceiling_bytes.saturating_mul(factor),
        ten: group.policy.ceiling_messages.saturating_mul(factor),
        ..Trips::NONE
    }
}

/// The value of a slot beyond which it is looked at within its hour.
enum Limit {
    At(f32),
    /// The device has no habits yet.
    NoHabit,
    /// The group is learned anew.
    None,
}

/// The value beyond which one slot alone is a loud alarm.
fn limit<const K: usize>(habit: &Habit<K>, kind: Stat, hour: Hour, stat: &GroupStat) -> Limit {
    let rules = kind.rules();
    if habit.seen() < rules.need {
        return Limit::NoHabit;
    }
    if stat.peers.is_anew {
        return Limit::None;
    }
    let part = hour.part(K);
    let Some(expected) = habit.expected(part, stat.peers.usual) else { return Limit::None };
    let far = stat.tail.threshold(rules.alpha) * habit.deviation(part, stat.peers.scale);
    Limit::At(expected + far.max(LOUD.max(rules.floor)))
}

/// Hours from which the habit of a statistic of slots was learned.
fn habits_of(device: &Device, stat: Stat) -> u16 {
    match stat {
        Stat::Burst => device.habits.burst.seen(),
        Stat::Messages => device.habits.messages.seen(),
        _ => device.habits.ten.seen(),
    }
}

/// A slot is beyond its trip: what silence saved is taken off, and what is still beyond is an alarm. The trips are
/// raised, so that the same slot is not asked about for each message.
pub(super) fn tripped(
    device: &mut Device,
    group: &Group,
    tripped: Tripped,
    now: u32,
    alarms: &mut Vec<Alarm>,
) {
    let trips = device.open.trips;
    let each = device.habits.size.own(0).map_or(1.0, f32::exp).max(1.0);
    let saved_bytes = device.owed + tripped.saved_bytes;
    let saved_count = device.owed / each + tripped.saved_count;
    let mut ask = |seen: Option<u32>, trip: u32, saved: f32, stat: Stat| -> u32 {
        let Some(seen) = seen else { return trip };
        let left = seen as f32 - saved;
        if left > trip as f32 {
            let rules = stat.rules();
            // A ceiling says nothing of the usual number.
            let is_usual = habits_of(device, stat) >= rules.need;
            let evidence = group
                .stats
                .get(stat as usize)
                .map_or(0.0, |stat| stat.tail.evidence((left / trip.max(1) as f32).ln() / 0.1));
            alarms.push(Alarm {
                signal: rules.signal,
                evidence: evidence.max(COUNT_EVIDENCE),
                since: now,
                seen: left,
                usual: if is_usual { trip as f32 / rules.floor.max(LOUD).exp() } else { 0.0 },
                is_loud: true,
            });
            u32::MAX
        } else {
            count(saved + trip as f32).max(seen.saturating_add(seen / 8))
        }
    };
    let trips = Trips {
        bytes: ask(tripped.bytes, trips.bytes, saved_bytes, Stat::Burst),
        count: ask(tripped.count, trips.count, saved_count, Stat::Messages),
        ten: ask(tripped.ten, trips.ten, saved_count, Stat::Ten),
        ..trips
    };
    device.open.trips = trips;
}
