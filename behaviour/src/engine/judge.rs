//! The judgement of an hour of a device, in two steps: its values go to the group; when those of all are there, each is
//! judged against the own habit and the group's common move, and the habit learns.

use super::device::Device;
use super::group::{Group, GroupStat, LEVELS};
use super::habit::{Habit, Judged, Level};
use super::mixing::{mix, mix_deviation};
use super::num::float;
use super::shift::{Score, Shift};
use super::signal::Alarm;
use super::stat::{Rules, Stat, MIX, STATS};
use super::trips::trips;

/// The factor, as a logarithm, from which peers are not asked first.
pub(super) const LOUD: f32 = 1.386;
/// Messages of an hour from which their size and pace say something.
const FEW: u32 = 3;
/// The share of hours with messages below which silence is a habit of the device.
const SLEEPY: f32 = 0.75;
/// Hours from which that share is told.
const AWAKE_HOURS: f32 = 72.0;
/// So much beyond its busiest hour, as a logarithm, an hour of such a device is judged.
const BUSIER: f32 = 0.5;
/// Hours with values from which a level is one of the device.
const LEVEL_HOURS: u16 = 12;
/// Evidence of a count from which it is told.
pub(super) const COUNT_EVIDENCE: f32 = 13.0;

/// The hour in which a judgement falls.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hour {
    pub(super) hour: u32,
    pub(super) of_day: usize,
    /// The hour that goes on meanwhile.
    pub(super) next_of_day: usize,
}

impl Hour {
    pub(super) fn part(&self, parts: usize) -> usize {
        Stat::part(parts, self.of_day)
    }

    /// The second at which it ended.
    pub(super) fn end(&self) -> u32 {
        (self.hour + 1) * 3600
    }
}

/// Ends the hour of a device: its values wait in it, and count for the group.
pub(super) fn close(device: &mut Device, group: &mut Group, hour: Hour, ten: u32) {
    let ended = device.open.end_hour(ten);
    device.changed = true;
    device.sessions.end_hour();
    let saved = device.owed;
    let pending = &mut device.pending;
    pending.hour = hour.hour;
    pending.connects = ended.connects;
    pending.returns = ended.returns;
    pending.new_topics = ended.new_topics;
    pending.subscribes = ended.subscribes;
    pending.is_silent = ended.count == 0;
    pending.is_credited = saved > 0.0;
    pending.values = [f32::NAN; STATS];
    let [volume, burst, messages, ten, size, pace, received] = &mut pending.values;
    if ended.count > 0 {
        let bytes = float(ended.bytes);
        // A value below 1 says that all of it had been saved.
        *volume = (bytes + 1.0 - saved).max(0.5).ln();
        let each = bytes / ended.count as f32;
        let saved_count = saved / each.max(1.0);
        let (small_bytes, small_count) = group.small.unwrap_or((0.0, 0.0));
        if group.small.is_some() {
            *burst = ((ended.most_bytes as f32 - saved).max(0.0) + small_bytes / 4.0).ln();
            let most = (ended.most_count as f32 - saved_count).max(0.0);
            *messages = (most + (small_count / 4.0).max(0.5)).ln();
        }
        *ten = ((ended.most_ten as f32 - saved_count).max(0.0) + 1.0).ln();
        if ended.count >= FEW {
            *size = (each + 1.0).ln();
        }
        // Messages that a device kept while it was off come at once, unless it is off in many hours.
        let is_even = saved <= 0.0 || device.anchor.awake.get() < SLEEPY;
        if ended.count >= FEW && is_even {
            let count = ended.count.saturating_sub(ended.backlog).max(1);
            *pace = (count as f32 / f32::from(ended.active()).max(1.0)).ln();
        }
        group.add_small(bytes, ended.count as f32);
    }
    if ended.received > 0 {
        *received = (float(ended.received) + 100.0).ln();
    }
    device.anchor.day += float(ended.bytes);
    group.count_member();
    if hour.hour % 24 == 23 {
        group.add_rates(device.connects.mean(), device.returns.mean());
        for (place, level) in levels(device).into_iter().enumerate() {
            level.into_iter().for_each(|level| group.add_level(place, level));
        }
    }
    tell_group(device, group, hour);
}

/// How far a device lies above its group, in volume, size and pace.
pub(super) fn levels(device: &Device) -> [Option<f32>; LEVELS] {
    let habits = &device.habits;
    [
        habits.volume.level(LEVEL_HOURS),
        habits.size.level(LEVEL_HOURS),
        habits.pace.level(LEVEL_HOURS),
    ]
}

fn tell_group(device: &mut Device, group: &mut Group, hour: Hour) {
    let habits = &device.habits;
    if device.pending.is_credited {
        // Silence was taken off: such a value is judged when it is high, and is no habit when it is not.
        let [volume, burst, messages, ten, ..] = &mut device.pending.values;
        credit(&habits.volume, volume, hour);
        credit(&habits.burst, burst, hour);
        credit(&habits.messages, messages, hour);
        credit(&habits.ten, ten, hour);
    }
    let values = device.pending.values;
    for ((kind, value), stat) in Stat::ALL.into_iter().zip(values).zip(&mut group.stats) {
        match kind {
            Stat::Volume => tell(&habits.volume, value, kind, hour, stat),
            Stat::Burst => tell(&habits.burst, value, kind, hour, stat),
            Stat::Messages => tell(&habits.messages, value, kind, hour, stat),
            Stat::Ten => tell(&habits.ten, value, kind, hour, stat),
            Stat::Size => tell(&habits.size, value, kind, hour, stat),
            Stat::Pace => tell(&habits.pace, value, kind, hour, stat),
            Stat::Received => tell(&habits.received, value, kind, hour, stat),
        }
    }
    let Some(values) = device.mix.end_hour() else { return };
    let is_known = device.mix.seen > 0;
    let is_sure = u16::from(device.mix.seen) >= MIX.need;
    for ((value, class), stat) in values.iter().zip(&device.mix.classes).zip(&mut group.mix) {
        let deviation = mix_deviation(class.scale(), device.mix.seen, stat.peers.scale);
        let residual = is_known.then_some(value - class.own());
        stat.add(*value, residual, is_sure.then_some(deviation), MIX.effect);
        if device.mix.seen > 1 {
            stat.add_scale(class.scale());
        }
    }
}

fn credit<const K: usize, L: Level>(habit: &Habit<K, L>, value: &mut f32, hour: Hour) {
    if habit.own(hour.part(K)).is_none_or(|own| *value <= own) {
        *value = f32::NAN;
    }
}

fn tell<const K: usize, L: Level>(
    habit: &Habit<K, L>,
    value: f32,
    kind: Stat,
    hour: Hour,
    stat: &mut GroupStat,
) {
    if value.is_nan() {
        return;
    }
    let part = hour.part(K);
    let residual = habit.own(part).map(|own| value - own);
    let is_sure = habit.seen() >= kind.rules().need;
    let deviation = is_sure.then(|| habit.deviation(part, stat.peers.scale));
    stat.add(value, residual, deviation, kind.rules().effect);
    if habit.is_wide() {
        stat.add_scale(habit.scale());
    }
}

/// Judges the hour of a device whose group is complete.
pub(super) fn judge(device: &mut Device, group: &mut Group, hour: Hour, alarms: &mut Vec<Alarm>) {
    let budget = group.policy.budget.ln();
    let values = device.pending.values;
    owe(device, hour);
    let [volume, burst, messages, ten, size, pace, received] = values;
    let habits = &mut device.habits;
    let [g_volume, g_burst, g_messages, g_ten, g_size, g_pace, g_received] = &mut group.stats;
    // An hour of a device that is often off is a part of an hour at times: below its busiest hours, it says nothing.
    let top = habits.volume.top().filter(|_| device.anchor.awake.get() < SLEEPY);
    let is_small = top.is_some_and(|top| volume < top + BUSIER);
    let before = alarms.len();
    one(&mut habits.volume, None, volume, Stat::Volume, hour, budget, g_volume, alarms);
    if is_small {
        alarms.truncate(before);
    }
    one(&mut habits.burst, None, burst, Stat::Burst, hour, budget, g_burst, alarms);
    one(&mut habits.messages, None, messages, Stat::Messages, hour, budget, g_messages, alarms);
    one(&mut habits.ten, None, ten, Stat::Ten, hour, budget, g_ten, alarms);
    let shift = Some(&mut habits.size_shift);
    one(&mut habits.size, shift, size, Stat::Size, hour, budget, g_size, alarms);
    let shift = Some(&mut habits.pace_shift);
    one(&mut habits.pace, shift, pace, Stat::Pace, hour, budget, g_pace, alarms);
    one(&mut habits.received, None, received, Stat::Received, hour, budget, g_received, alarms);
    mix(device, group, hour, budget, alarms);
    if hour.hour % 24 == 23 {
        let habits = &mut device.habits;
        let [.., size, pace, _] = &mut group.stats;
        size.tail.add_day(habits.size_shift.take_day());
        pace.tail.add_day(habits.pace_shift.take_day());
        for (class, stat) in device.mix.classes.iter_mut().zip(&mut group.mix) {
            stat.tail.add_day(class.shift.take_day());
        }
    }
    device.open.trips = trips(device, group, hour);
}

/// Bytes that silence saved may come at once, once, and at most a day's worth of them.
fn owe(device: &mut Device, hour: Hour) {
    let sent = if device.pending.is_silent { 0.0 } else { 1.0 };
    let awake = device.anchor.awake.get();
    device.anchor.awake.set(awake + (sent - awake) / AWAKE_HOURS);
    if !device.pending.is_silent {
        device.owed = 0.0;
        return;
    }
    let habit = &device.habits.volume;
    if let (Some(own), Some(top)) = (habit.own(hour.part(24)), habit.top()) {
        // Of a device that is off in many hours, less is missing.
        device.owed = (device.owed + device.anchor.awake.get() * own.min(80.0).exp())
            .min(24.0 * top.min(80.0).exp());
    }
}

/// Judges one value.
#[allow(
    clippy::too_many_arguments,
    reason = "the parts of a device and of its group are borrowed one by one"
)]
fn one<const K: usize, L: Level>(
    habit: &mut Habit<K, L>,
    shift: Option<&mut Shift>,
    value: f32,
    kind: Stat,
    hour: Hour,
    budget: f32,
    stat: &mut GroupStat,
    alarms: &mut Vec<Alarm>,
) {
    let rules = kind.rules();
    let mut score = if stat.peers.is_anew { Score::Anew } else { Score::Nothing };
    let mut judged = None;
    if !value.is_nan() {
        let found = habit.take(value, hour.part(K), &stat.peers, rules.need, rules.forget);
        if found.is_sure {
            score = match found.is_anew {
                true => Score::Anew,
                false => Score::Of { z: found.z, r: found.r },
            };
            if !found.is_anew {
                stat.tail.add(found.z);
            }
            judged = Some(found);
        }
    }
    if let Some(found) = judged {
        alarms.extend(beyond(&found, &rules, value, hour, budget, stat));
    }
    let Some((shift, (steps, floor))) = shift.zip(rules.shift) else { return };
    let times = judged.map_or(255.0, |found| found.times).max(1.0);
    let wide = stat.tail.persistence() * (1.0 + 6.0 / times).sqrt();
    let evidence = shift.add(score, wide);
    if evidence > steps.ln() - budget && shift.level() > floor {
        let found = judged.map_or((value, value), |found| (value, found.expected));
        alarms.push(Alarm {
            signal: rules.signal,
            evidence,
            since: hour.end().saturating_sub(3600 * u32::from(shift.hours()).max(1)),
            seen: found.0.exp(),
            usual: found.1.exp(),
            is_loud: false,
        });
        shift.told();
    }
}

fn beyond(
    found: &Judged,
    rules: &Rules,
    value: f32,
    hour: Hour,
    budget: f32,
    stat: &GroupStat,
) -> Option<Alarm> {
    let floor = if found.is_anew { rules.floor_anew } else { rules.floor };
    let threshold = stat.tail.threshold(rules.alpha * budget.exp());
    (found.z > threshold && found.r > floor).then(|| Alarm {
        signal: rules.signal,
        evidence: stat.tail.evidence(found.z),
        since: hour.end().saturating_sub(3600),
        seen: value.exp(),
        usual: found.expected.exp(),
        is_loud: found.r > LOUD,
    })
}
