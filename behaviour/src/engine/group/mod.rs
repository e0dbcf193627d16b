//! A group of devices: the usual values of an hour, the tails of its residuals, and what its devices do together.

use super::config::Policy;
use super::device::CLASSES;
use super::episode::Episode;
use super::habit::Peers;

use super::rare::{Kind, KINDS};
use super::record::{Flow, Flowed};
use super::signal::SignalName;
use super::stat::{Rules, Stat, MIX, STATS};
use super::tail::{Sample, Tail};
use updates::Updates;

pub(super) mod crowd;
#[cfg(test)]
mod tests;
mod updates;

pub(super) use crowd::Crowd;

/// Values of an hour from which a median is that of the group.
const LEAST: usize = 10;
/// The least deviation of a group.
const LEAST_SCALE: f32 = 0.02;
/// Hours for which a group that changed is learned anew.
pub(super) const ANEW_HOURS: u32 = 24;
/// Hours of a group in which its changes are not told.
const TOLD_HOURS: u32 = 24 * 5;
/// Keep-alives from which the usual one is known.
const KEEP_ALIVES: u32 = 20;

/// Hours within which a second change of a statistic is a habit of the group: from one weekend to the next.
const RECURS_HOURS: u32 = 24 * 9;
/// Hours over which the usual common move is a mean.
const SWAY_HOURS: f32 = 72.0;
/// So many times as far as chance, and as the group moves in a usual hour, a common move is a change.
const CHANCE: f32 = 5.0;
const SWAYS: f32 = 3.0;
/// Levels from which it is known how the devices of a group differ.
const ENOUGH: usize = 20;
/// Statistics whose levels are compared between devices: volume, size and pace.
pub(super) const LEVELS: usize = 3;

/// One statistic of a group.
#[derive(Clone, Debug, Default)]
pub(super) struct GroupStat {
    values: Sample,
    residuals: Sample,
    scales: Sample,
    /// Devices that were judged in this hour, and those far off what is usual for them.
    sure: u32,
    far: u32,
    /// The hour until which it is learned anew.
    anew_until: u32,
    pub(super) peers: Peers,
    /// How far the common move of an hour usually goes: hours of day differ from the part of the day to which they belong.
    sway: f32,
    /// Between devices: the median distance from the usual value.
    pub(super) spread: f32,
    pub(super) tail: Tail,
}

impl GroupStat {
    /// Takes in a device's value: the residual against its own habit when it has one, with its deviation when it is sure.
    pub(super) fn add(
        &mut self,
        value: f32,
        residual: Option<f32>,
        sure: Option<f32>,
        effect: f32,
    ) {
        self.values.add(value);
        let Some(residual) = residual else { return };
        self.residuals.add(residual);
        if let Some(deviation) = sure {
            self.sure += 1;
            // Far is what one in a hundred is not, in a group whose hours scatter by more than a normal distribution.
            let far = 4.0_f32.max(1.2 * self.tail.edge());
            let is_far = residual / deviation > far && residual > effect;
            self.far += u32::from(is_far);
        }
    }

    pub(super) fn add_scale(&mut self, scale: f32) {
        self.scales.add(scale);
    }

    /// The hour's values are complete. Tells whether the group changed.
    fn end_hour(&mut self, hour: u32, rules: &Rules) -> bool {
        let middle = self.values.take_middle(LEAST);
        if let Some((usual, spread)) = middle {
            self.peers.usual = Some(usual);
            self.spread = spread;
        } else {
            self.peers.usual = None;
        }
        self.peers.common = self.residuals.take_median(LEAST).unwrap_or(0.0);
        if let Some(scale) = self.scales.take_median(LEAST) {
            self.peers.scale = Some(scale.max(LEAST_SCALE));
        }
        let scale = self.peers.scale.unwrap_or(LEAST_SCALE);
        let is_wave = self.far >= 8 && self.far as f32 >= 0.12 * self.sure as f32;
        let common = self.peers.common.abs();
        // The median of few devices moves by chance, and that of any group with the hour of day.
        let by_chance = CHANCE * 1.25 * scale * 1.25 / (self.sure as f32).max(1.0).sqrt();
        let far =
            (rules.moves * scale * 1.25).max(rules.effect).max(by_chance).max(SWAYS * self.sway);
        let is_move = self.sure as usize >= LEAST && common > far;
        if self.sure as usize >= LEAST {
            let most = (2.0 * self.sway).max(0.02);
            self.sway += (common.min(most) - self.sway) / SWAY_HOURS;
        }

        let was_anew = hour < self.anew_until;
        (self.sure, self.far) = (0, 0);
        if is_wave || is_move {
            self.change(hour);
        }
        self.peers.is_anew = hour < self.anew_until;
        (is_wave || is_move) && !was_anew
    }

    fn change(&mut self, hour: u32) {
        self.anew_until = hour + ANEW_HOURS;
        self.peers.epoch = self.peers.epoch.wrapping_add(1);
        self.peers.is_anew = true;
    }

    fn flow(&mut self, flow: &mut Flow<'_>) -> Flowed {
        flow.hour(&mut self.anew_until)?;
        flow.u8(&mut self.peers.epoch)?;
        let mut scale = self.peers.scale.unwrap_or(0.0);
        flow.f32(&mut scale)?;
        self.peers.scale = (scale > 0.0).then_some(scale);
        flow.f32(&mut self.sway)?;
        self.tail.flow(flow)
    }
}

/// One group.
#[derive(Clone, Debug)]
pub(super) struct Group {
    pub(super) tenant: u32,
    pub(super) number: u64,
    pub(super) policy: Policy,
    /// The hour of its first device.
    born: u32,
    pub(super) stats: [GroupStat; STATS],
    pub(super) mix: [GroupStat; CLASSES],
    /// Patterns of its topics, by class.
    patterns: [u32; CLASSES - 1],
    /// Devices that were seen within two days, and the count that goes on.
    pub(super) members: u32,
    counting: u32,
    /// The bytes and messages against which small bursts are measured.
    pub(super) small: Option<(f32, f32)>,
    small_bytes: Sample,
    small_counts: Sample,
    /// The usual connects of an hour of a device.
    pub(super) connects: f32,
    connect_rates: Sample,
    /// The usual moves back to another network.
    pub(super) returns: f32,
    return_rates: Sample,
    keep_alives: [u32; 17],
    /// How far its devices moved from their level of weeks ago.
    pub(super) drift: f32,
    drifts: Sample,
    /// How devices lie around the usual values: median and median distance, by statistic.
    between: [Option<(f32, f32)>; LEVELS],
    levels: [Sample; LEVELS],
    /// The hours of the last changes of size, pace and mix.
    last_changes: [u32; 3],
    /// Client programs that devices of the group changed to of late.
    pub(super) updates: Updates,
    /// Devices that alarmed lately, for the alert of the group.
    pub(super) named: Vec<u32>,
    /// Days with an event of each kind, and device-days.
    rare_days: [f32; KINDS],
    device_days: f32,
    pub(super) crowd: Crowd,
    /// The second until which a change is announced.
    announced_until: u32,
    pub(super) episode: Episode,
    /// Whether the store has an older version.
    pub(super) changed: bool,
}

impl Group {
    pub(super) fn new(tenant: u32, number: u64, policy: Policy, hour: u32) -> Self {
        Self {
            tenant,
            number,
            policy,
            born: hour,
            stats: Default::default(),
            mix: Default::default(),
            patterns: [0; CLASSES - 1],
            members: 0,
            counting: 0,
            small: None,
            small_bytes: Sample::default(),
            small_counts: Sample::default(),
            connects: 0.0,
            connect_rates: Sample::default(),
            returns: 0.0,
            return_rates: Sample::default(),
            keep_alives: [0; 17],
            drift: 0.0,
            drifts: Sample::default(),
            between: [None; LEVELS],
            levels: Default::default(),
            last_changes: [0; 3],
            updates: Updates::default(),
            named: Vec::new(),
            rare_days: [0.0; KINDS],
            device_days: 0.0,
            crowd: Crowd::default(),
            announced_until: 0,
            episode: Episode::default(),
            changed: true,
        }
    }

    /// The class of a topic with this pattern. The first patterns of the group have classes of their own.
    pub(super) fn class(&mut self, pattern: u32) -> u8 {
        let known = self.patterns.iter().position(|known| *known == pattern || *known == 0);
        let place = known.unwrap_or(CLASSES - 1);
        if let Some(free) = self.patterns.get_mut(place) {
            *free = pattern;
        }
        u8::try_from(place).unwrap_or(0)
    }

    pub(super) fn count_member(&mut self) {
        self.counting += 1;
    }

    pub(super) fn add_rates(&mut self, connects: Option<f32>, returns: Option<f32>) {
        connects.into_iter().for_each(|rate| self.connect_rates.add(rate));
        returns.into_iter().for_each(|rate| self.return_rates.add(rate));
    }

    pub(super) fn add_drift(&mut self, moved: f32) {
        self.drifts.add(moved);
    }

    /// Takes in how far a device lies above what is usual in its group, at the end of a day.
    pub(super) fn add_level(&mut self, place: usize, level: f32) {
        if let Some(levels) = self.levels.get_mut(place) {
            levels.add(level);
        }
    }

    /// How the devices of the group lie: the median of the levels, and the median distance from it.
    pub(super) fn between(&self, place: usize) -> Option<(f32, f32)> {
        self.between.get(place).copied().flatten()
    }

    pub(super) fn add_small(&mut self, bytes: f32, count: f32) {
        if self.small.is_none() {
            self.small_bytes.add(bytes);
            self.small_counts.add(count);
        }
    }

    /// Takes in until when a change is announced; a time that has passed ends the announcement.
    pub(super) fn announce(&mut self, until: u32) {
        self.announced_until = until;
    }

    /// Whether a change was announced that is not over, with the hours in which it is learned.
    pub(super) fn is_announced(&self, now: u32) -> bool {
        self.announced_until > 0 && now < self.announced_until.saturating_add(3600 * ANEW_HOURS)
    }

    /// The hour is complete: medians, moves, and the day's tails. Tells which statistics changed for the group.
    pub(super) fn end_hour(&mut self, hour: u32) -> Vec<SignalName> {
        self.changed = true;
        (self.members, self.counting) = (self.counting, 0);
        let mut changed = Vec::new();
        for (stat, kind) in self.stats.iter_mut().zip(Stat::ALL) {
            let rules = kind.rules();
            let is_told = matches!(kind, Stat::Size | Stat::Pace);
            if stat.end_hour(hour, &rules) && is_told {
                changed.push(rules.signal);
            }
        }
        let mut mix_changed = false;
        for class in &mut self.mix {
            mix_changed |= class.end_hour(hour, &MIX);
        }
        if mix_changed {
            changed.push(SignalName::Mix);
        }
        self.crowd.end_hour(hour);
        if hour % 24 == 23 {
            self.end_day(hour);
        }
        // While the group itself is new, each hour changes it.
        if hour.saturating_sub(self.born) < TOLD_HOURS {
            changed.clear();
        }
        changed
    }

    /// A statistic of the group changed. Tells whether it did so of late: then such changes are its habit.
    pub(super) fn recurs(&mut self, signal: SignalName, hour: u32) -> bool {
        let place = match signal {
            SignalName::Size => 0,
            SignalName::Pace => 1,
            _ => 2,
        };
        let last = super::num::at(&self.last_changes, place);
        super::num::put(&mut self.last_changes, place, hour);
        last > 0 && hour.saturating_sub(last) < RECURS_HOURS
    }

    fn end_day(&mut self, hour: u32) {
        let is_old = hour.saturating_sub(self.born) >= 72;
        for stat in self.stats.iter_mut().chain(&mut self.mix).filter(|_| is_old) {
            stat.tail.end_day();
        }
        if let Some(rate) = self.connect_rates.take_median(1) {
            self.connects = rate;
        }
        if let Some(rate) = self.return_rates.take_median(1) {
            self.returns = rate;
        }
        self.drift = self.drifts.take_median(LEAST).unwrap_or(0.0);
        for (between, levels) in self.between.iter_mut().zip(&mut self.levels) {
            *between = levels.take_middle(ENOUGH);
        }
        if self.small.is_none() && hour.saturating_sub(self.born) >= 22 {
            let (bytes, count) =
                (self.small_bytes.take_median(1), self.small_counts.take_median(1));
            self.small =
                bytes.zip(count).map(|(bytes, count)| (0.1 * bytes + 1e-3, 0.1 * count + 1e-3));
            (self.small_bytes, self.small_counts) = Default::default();
        }
        self.device_days = self.device_days * (59.0 / 60.0) + self.members as f32;
        self.rare_days.iter_mut().for_each(|days| *days *= 59.0 / 60.0);
    }

    /// A device has its first event of a kind on a day.
    pub(super) fn rare_day(&mut self, kind: Kind) {
        if let Some(days) = self.rare_days.get_mut(kind as usize) {
            *days += 1.0;
        }
    }

    /// Events an hour that are honest for this kind: never below the engine's own number.
    pub(super) fn honest(&self, kind: Kind) -> f32 {
        let base = kind.honest();
        let days = self.rare_days.get(kind as usize).copied().unwrap_or(0.0);
        let learned = (days - 2.0).max(0.0) / (self.device_days + 100.0) / 24.0;
        base.max(learned.min(kind.most_honest()))
    }

    /// Takes in a keep-alive, and tells the usual one when it is known.
    pub(super) fn keep_alive(&mut self, seconds: u16) -> Option<u32> {
        let seconds = if seconds == 0 { u16::MAX } else { seconds };
        let place = usize::try_from(seconds.ilog2()).unwrap_or(0);
        let total: u32 = self.keep_alives.iter().sum();
        let mut left = total - total / 10;
        let usual = self.keep_alives.iter().position(|count| {
            left = left.saturating_sub(*count);
            left == 0
        });
        if let Some(count) = self.keep_alives.get_mut(place) {
            *count += 1;
        }
        if total > 100_000 {
            self.keep_alives.iter_mut().for_each(|count| *count /= 2);
        }
        usual.filter(|_| total >= KEEP_ALIVES).map(|place| 2_u32 << place)
    }

    pub(super) fn flow(&mut self, flow: &mut Flow<'_>) -> Flowed {
        flow.hour(&mut self.born)?;
        for stat in self.stats.iter_mut().chain(&mut self.mix) {
            stat.flow(flow)?;
        }
        for pattern in &mut self.patterns {
            flow.u32(pattern)?;
        }
        let (mut bytes, mut count) = self.small.unwrap_or((0.0, 0.0));
        flow.f32(&mut bytes)?;
        flow.f32(&mut count)?;
        self.small = (bytes > 0.0).then_some((bytes, count));
        flow.f32(&mut self.connects)?;
        flow.f32(&mut self.returns)?;
        flow.f32(&mut self.drift)?;
        for count in &mut self.keep_alives {
            flow.u32(count)?;
        }
        for days in &mut self.rare_days {
            flow.f32(days)?;
        }
        flow.f32(&mut self.device_days)?;
        flow.seconds(&mut self.announced_until)?;
        for hour in &mut self.last_changes {
            flow.hour(hour)?;
        }
        self.updates.flow(flow)?;
        self.crowd.flow(flow)?;
        self.episode.flow(flow)
    }
}

impl Group {
    /// A device alarms: it is named by the alert of the group, when there is one.
    pub(super) fn name(&mut self, place: u32) {
        if !self.named.contains(&place) {
            if self.named.len() >= super::limits::DEVICES_NAMED {
                self.named.remove(0);
            }
            self.named.push(place);
        }
    }

    /// Whether so many devices have the alarm that it is the group's.
    pub(super) fn is_crowd(&self, signal: SignalName, hours: u32) -> bool {
        self.crowd.number(signal, hours) >= Crowd::least(self.members)
    }

    /// Whether so many devices had a rare event within a day that it is the group's.
    pub(super) fn is_wave(&self, signal: SignalName) -> bool {
        self.crowd.number(signal, 23) >= (self.members * 12 / 100).max(8)
    }
}
