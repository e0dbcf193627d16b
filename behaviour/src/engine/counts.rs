//! Judgements of counted things: connects, new topics, subscriptions, refusals, open sessions; and of the slow drift of
//! a device against its own level of weeks ago.

use super::device::Device;
use super::group::Group;
use super::judge::{levels, Hour, COUNT_EVIDENCE, LOUD};
use super::rate::{Counted, Rate};
use super::signal::{Alarm, SignalName};

/// Evidence from which a count is told within its hour.
const AT_ONCE: f32 = 20.0;
/// Least counts, at the end of an hour and within it.
const CONNECTS: f32 = 3.0;
const CONNECTS_AT_ONCE: u16 = 30;
const TOPICS: f32 = 8.0;
const TARGETS: f32 = 1.0;
const TOPICS_AT_ONCE: u16 = 24;
const SUBSCRIBES: f32 = 50.0;
const SUBSCRIBES_AT_ONCE: u32 = 1_000;
/// Seconds in which the topics of a device are learned.
const LEARNING: u32 = 2 * 86_400;
/// Seconds in which a device is compared with the levels of its group.
const YOUNG: u32 = 14 * 86_400;
/// Deviations between the devices of a group beyond which one is unlike them.
const FAR: f32 = 4.5;
/// The least factor above the group, as a logarithm, that is told.
const LEVEL_LEAST: f32 = 1.1;
/// Refusals of an hour that no wrong setting explains.
const REFUSALS: u32 = 1_000;

fn alarm(signal: SignalName, counted: Counted, count: f32, since: u32, is_loud: bool) -> Alarm {
    let evidence = counted.evidence;
    Alarm { signal, evidence, since, seen: count, usual: counted.usual, is_loud }
}

/// The counts of an hour that ended.
pub(super) fn judge(device: &mut Device, group: &Group, hour: Hour, alarms: &mut Vec<Alarm>) {
    let budget = group.policy.budget.ln();
    let since = hour.hour * 3600;
    let pending = device.pending;
    let topics = topics_signal(device);
    let least = if device.is_service { TARGETS } else { TOPICS };
    // Hours in which the device is off say nothing about its rates.
    let is_off = pending.is_silent && pending.connects == 0;
    let age = device.age(hour.hour * 3600);
    let mut one = |rate: &mut Rate, signal, count: f32, prior: f32, least: f32| {
        if is_off {
            return;
        }
        let counted = rate.end_hour(count, prior);
        if counted.is_sure && counted.evidence > COUNT_EVIDENCE - budget && count >= least {
            rate.told();
            alarms.push(alarm(signal, counted, count, since, false));
        }
    };
    let connects = f32::from(pending.connects);
    one(&mut device.connects, SignalName::Connects, connects, group.connects, CONNECTS);
    let returns = f32::from(pending.returns);
    one(&mut device.returns, SignalName::Alternation, returns, group.returns, 1.0);
    // The first days of a device are all new to it.
    if age > LEARNING {
        one(&mut device.new_topics, topics, f32::from(pending.new_topics), 0.02, least);
    }
    let subscribes = pending.subscribes as f32;
    one(
        &mut device.subscribes,
        SignalName::Subscriptions,
        subscribes,
        2.0 * group.connects,
        SUBSCRIBES,
    );
    if let Some(targets) = device.targets.as_mut().filter(|_| !pending.is_silent) {
        targets.learn_hour(hour.of_day, hour.hour / 24);
    }
}

fn topics_signal(device: &Device) -> SignalName {
    if device.is_service {
        SignalName::NewTargets
    } else {
        SignalName::NewTopics
    }
}

fn is_due(count: u32, least: u32) -> bool {
    // Asked again whenever it has doubled.
    count >= least && count.is_multiple_of(least) && (count / least).is_power_of_two()
}

/// A connect within the hour.
pub(super) fn connect(device: &Device, group: &Group, now: u32) -> Option<Alarm> {
    let count = device.open.connects;
    if !is_due(count.into(), CONNECTS_AT_ONCE.into()) {
        return None;
    }
    at_once(&device.connects, SignalName::Connects, f32::from(count), group.connects, now)
}

/// A new topic within the hour.
pub(super) fn topic(device: &Device, now: u32) -> Option<Alarm> {
    let count = device.open.new_topics;
    if !is_due(count.into(), TOPICS_AT_ONCE.into()) {
        return None;
    }
    at_once(&device.new_topics, topics_signal(device), f32::from(count), 0.02, now)
}

/// A subscription within the hour.
pub(super) fn subscribe(device: &Device, group: &Group, now: u32) -> Option<Alarm> {
    let count = device.open.subscribes;
    if !is_due(count, SUBSCRIBES_AT_ONCE) {
        return None;
    }
    let prior = 2.0 * group.connects;
    at_once(&device.subscribes, SignalName::Subscriptions, count as f32, prior, now)
}

fn at_once(rate: &Rate, signal: SignalName, count: f32, prior: f32, now: u32) -> Option<Alarm> {
    let counted = rate.at_once(count, prior);
    // Before anything is learned, the prior stands in, and the count has to be ten times as large.
    let is_enough = counted.is_sure || count >= 10.0 * counted.usual.max(20.0);
    let is_beyond = is_enough && counted.evidence > AT_ONCE && count > 4.0 * counted.usual;
    is_beyond.then(|| alarm(signal, counted, count, now - now % 3600, true))
}

/// A refusal within the hour.
pub(super) fn refusal(device: &Device, now: u32) -> Option<Alarm> {
    let count = device.open.refused;
    let own = device.open.count.max(100);
    let is_storm = is_due(count, REFUSALS) && count > own;
    is_storm.then(|| Alarm {
        signal: SignalName::Refusals,
        evidence: COUNT_EVIDENCE,
        since: now - now % 3600,
        seen: count as f32,
        usual: 0.0,
        is_loud: true,
    })
}

/// A day of a device ends: its level of the last days against that of weeks ago, and the group's.
pub(super) fn drift(device: &mut Device, group: &mut Group, hour: Hour) -> Option<Alarm> {
    if hour.hour % 24 != 23 {
        return None;
    }
    let day = std::mem::take(&mut device.anchor.day);
    if day <= 0.0 {
        return None;
    }
    let anchor = &mut device.anchor;
    let value = (day + 100.0).ln();
    anchor.days = anchor.days.saturating_add(1);
    // The first day is a part of one.
    let days = f32::from(anchor.days) - 1.0;
    if days < 1.0 {
        return None;
    }
    if days < 2.0 {
        (anchor.old, anchor.new) = (value, value);
    }
    anchor.new += (value - anchor.new) / days.min(3.0);
    anchor.old += (value - anchor.old).clamp(-0.7, 0.7) / days.min(60.0);
    group.add_drift(anchor.new - anchor.old);
    let moved = anchor.new - anchor.old - group.drift;
    // Twice as much as weeks ago, and far beyond what days differ.
    let scale = device.habits.volume.scale().max(0.1) * 1.25;
    let is_beyond = anchor.days >= 10 && moved > 0.693 + 3.5 * scale;
    is_beyond.then(|| Alarm {
        signal: SignalName::Drift,
        evidence: COUNT_EVIDENCE,
        since: hour.hour * 3600,
        seen: anchor.new.exp(),
        usual: (anchor.old + group.drift).exp(),
        is_loud: moved > LOUD + 3.5 * scale,
    })
}

/// A young device, against the levels of its group: at the end of a day, once.
pub(super) fn taught(device: &mut Device, group: &Group, hour: Hour) -> Option<Alarm> {
    let is_due = hour.hour % 24 == 23 && !device.is_compared;
    if !is_due || device.age(hour.end()) > YOUNG {
        return None;
    }
    let found = levels(device).into_iter().enumerate().filter_map(|(place, level)| {
        let (median, distance) = group.between(place)?;
        let above = level? - median;
        // The median distance of a normal distribution is two thirds of its deviation.
        let deviation = 1.4826 * distance.max(0.1);
        (above > (FAR * deviation).max(LEVEL_LEAST)).then_some((above / deviation, above))
    });
    let (z, above) = found.max_by(|a, b| a.0.total_cmp(&b.0))?;
    device.is_compared = true;
    Some(Alarm {
        signal: SignalName::Unlike,
        evidence: (0.5 * z * z).max(COUNT_EVIDENCE),
        since: device.first_seen,
        seen: above.exp(),
        usual: 1.0,
        is_loud: false,
    })
}

/// A device without habits, against its group or the ceiling of its role.
pub(super) fn newcomer(device: &Device, group: &Group, hour: Hour) -> Option<Alarm> {
    let [volume, ..] = device.pending.values;
    let habit = &device.habits.volume;
    let [stat, ..] = &group.stats;
    let usual = stat.peers.usual?;
    let is_new = habit.seen() < 72 && !volume.is_nan() && group.members >= 20;
    let above = volume - usual;
    // Four times the distance that is usual between devices, and twenty times the usual bytes.
    let is_beyond =
        is_new && above > 3.0 && above > 6.0 * stat.spread.max(0.1) && !stat.peers.is_anew;
    is_beyond.then(|| Alarm {
        signal: SignalName::Stranger,
        evidence: COUNT_EVIDENCE,
        since: hour.hour * 3600,
        seen: volume.exp(),
        usual: usual.exp(),
        is_loud: above > 4.0,
    })
}
