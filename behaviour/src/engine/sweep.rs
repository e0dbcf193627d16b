//! The work of an hour that ended, spread over the first minutes of the next one: every device ends its hour, then the
//! groups take their medians, then every device is judged. Each call does the part that is due by then.

use super::clock::{Clock, HOUR_MS, TEN_MS};
use super::judge::Hour;
use super::signal::{Alarm, SignalName};
use super::{counts, judge, Engine};
use crate::alert::Alert;

/// The steps over all devices take two minutes each.
const STEP_MS: u64 = 120_000;
/// Devices of one call, at least.
const CHUNK: u64 = 8;
/// Hours after a leap that are judged one by one.
const MOST_HOURS: u32 = super::limits::HOURS_JUDGED;
/// Hours for which a moderate alarm waits for the group.
pub(super) const HELD_HOURS: u32 = 8;
/// Seconds after which a session that never worked is idle.
const IDLE_SECONDS: u32 = 600;
/// Open sessions that no device needs unless it has had as many before.
const SESSIONS: u16 = 4;

/// How far the work has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Work {
    /// The hour that is worked at, or the next one.
    hour: u32,
    stage: Stage,
    place: u32,
    /// When there is something to do again.
    pub(super) due: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Close,
    Judge,
}

impl Work {
    pub(super) fn begin(&mut self, clock: &Clock) {
        self.hour = clock.hour();
        self.due = u64::from(self.hour + 1) * HOUR_MS;
    }
}

impl Engine {
    fn hour(&self, hour: u32) -> Hour {
        Hour {
            hour,
            of_day: self.clock.hour_of_day(hour),
            next_of_day: self.clock.hour_of_day(hour + 1),
        }
    }

    /// Does what is due by now.
    #[cold]
    pub(super) fn sweep(&mut self, alerts: &mut Vec<Alert>) {
        let current = self.clock.hour();
        if current - self.work.hour.min(current) > MOST_HOURS {
            // A leap: the open hour is ended, and only the last hours of silence are counted.
            self.finish_hour(alerts);
            self.work.hour = self.work.hour.max(current.saturating_sub(MOST_HOURS));
        }
        while self.work.hour + 1 < current {
            self.finish_hour(alerts);
        }
        if self.work.hour < current {
            self.part_of_hour(alerts);
        } else {
            self.work.due = u64::from(self.work.hour + 1) * HOUR_MS;
        }
    }

    fn finish_hour(&mut self, alerts: &mut Vec<Alert>) {
        if self.work.stage == Stage::Close {
            self.close_until(u64::MAX);
            self.groups_end(alerts);
        }
        self.judge_until(u64::MAX, alerts);
        self.next_hour();
    }

    fn next_hour(&mut self) {
        self.work = Work { hour: self.work.hour + 1, ..Work::default() };
        self.work.due = u64::from(self.work.hour + 1) * HOUR_MS;
    }

    /// The part that is due at this time of the hour after.
    fn part_of_hour(&mut self, alerts: &mut Vec<Alert>) {
        let places = self.devices.places() as u64;
        let elapsed = self.clock.now.saturating_sub(u64::from(self.work.hour + 1) * HOUR_MS);
        let chunk_ms = (STEP_MS * CHUNK / places.max(1)).clamp(1, 1000);
        self.work.due = self.clock.now + chunk_ms;
        let part = |elapsed: u64| match elapsed >= STEP_MS {
            true => u64::MAX,
            false => places * elapsed / STEP_MS,
        };
        if self.work.stage == Stage::Close {
            self.close_until(part(elapsed));
            if elapsed < STEP_MS {
                return;
            }
            self.groups_end(alerts);
        }
        let elapsed = elapsed - STEP_MS.min(elapsed);
        self.judge_until(part(elapsed), alerts);
        if elapsed >= STEP_MS {
            self.next_hour();
        }
    }

    fn close_until(&mut self, end: u64) {
        let end = end.min(self.devices.places() as u64);
        while u64::from(self.work.place) < end {
            self.close(self.work.place);
            self.work.place += 1;
        }
    }

    /// Ends the hour of a device, unless its next one has begun.
    fn close(&mut self, place: u32) {
        let hour = self.hour(self.work.hour);
        let ten = (self.clock.now / TEN_MS) as u32;
        let Some(entry) = self.devices.get_mut(place) else { return };
        let device = &mut *entry.device;
        let Some(group) = self.groups.get_mut(device.group as usize) else { return };
        if device.open.hour() <= hour.hour {
            judge::close(device, group, hour, ten);
        }
    }

    /// The first thing that a device does in an hour ends the one before.
    #[cold]
    pub(super) fn begin_hour(&mut self, place: u32) {
        let now = self.clock.hour();
        let Some(entry) = self.devices.get(place) else { return };
        let ended = entry.device.open.hour().min(now.saturating_sub(1));
        let hour = self.hour(ended);
        let ten = (self.clock.now / TEN_MS) as u32;
        let Some(entry) = self.devices.get_mut(place) else { return };
        if let Some(group) = self.groups.get_mut(entry.device.group as usize) {
            judge::close(&mut entry.device, group, hour, ten);
        }
    }

    fn groups_end(&mut self, alerts: &mut Vec<Alert>) {
        let hour = self.work.hour;
        (self.work.stage, self.work.place) = (Stage::Judge, 0);
        for place in 0..self.groups.len() {
            let Some(group) = self.groups.get_mut(place) else { continue };
            let changed = group.end_hour(hour);
            let place = u32::try_from(place).unwrap_or(0);
            if !changed.is_empty() {
                self.group_changed(place, &changed, alerts);
            }
            self.group_rests(place, alerts);
        }
        for tenant in 0..self.tenants.len() {
            let found =
                self.tenants.get_mut(tenant).map(|tenant| tenant.end_hour(hour, self.clock.now));
            let tenant = u32::try_from(tenant).unwrap_or(0);
            for found in found.unwrap_or_default() {
                self.campaign(tenant, found, alerts);
            }
            self.campaigns_rest(tenant, alerts);
        }
    }

    fn judge_until(&mut self, end: u64, alerts: &mut Vec<Alert>) {
        let end = end.min(self.devices.places() as u64);
        while u64::from(self.work.place) < end {
            self.judge(self.work.place, alerts);
            self.work.place += 1;
        }
    }

    /// Judges the hour of one device.
    fn judge(&mut self, place: u32, alerts: &mut Vec<Alert>) {
        let hour = self.hour(self.work.hour);
        let now = self.clock.seconds();
        let Some(entry) = self.devices.get_mut(place) else { return };
        let device = &mut *entry.device;
        let Some(group) = self.groups.get_mut(device.group as usize) else { return };
        if device.pending.hour != hour.hour {
            return;
        }
        let found = &mut self.alarms;
        found.extend(counts::newcomer(device, group, hour));
        judge::judge(device, group, hour, found);
        counts::judge(device, group, hour, found);
        found.extend(counts::drift(device, group, hour));
        found.extend(counts::taught(device, group, hour));
        if hour.hour.saturating_sub(device.asked_hour) > HELD_HOURS {
            device.asked = 0;
        }
        let open = device.sessions.number();
        let usual = u16::from(device.sessions.usual_open);
        let idle = device.sessions.idle(now, IDLE_SECONDS);
        let is_idle = (device.is_patient && idle > 0)
            || (open > SESSIONS && open > usual.saturating_mul(2) && idle > 0);
        if is_idle {
            self.rare(place, super::rare::Kind::Idle, 1.0, f32::from(open), alerts);
        }
        self.raise(place, alerts);
        self.release(place, hour.hour, alerts);
        self.rests(place, alerts);
    }

    /// Decides about a moderate alarm that has waited for the group.
    fn release(&mut self, place: u32, hour: u32, alerts: &mut Vec<Alert>) {
        let Some(entry) = self.devices.get_mut(place) else { return };
        let device = &mut *entry.device;
        let is_due = device.held.as_ref().is_some_and(|held| hour >= held.hour + HELD_HOURS);
        if !is_due {
            return;
        }
        let Some(held) = device.held.take() else { return };
        let Some(group) = self.groups.get(device.group as usize) else { return };
        let group_place = device.group;
        let mut told = false;
        let mut of_group = None;
        for signal in SignalName::ALL.iter().filter(|signal| held.signals & signal.bit() != 0) {
            if group.is_crowd(*signal, 2 * HELD_HOURS) {
                of_group = Some(*signal);
            } else {
                told = true;
            }
        }
        if let Some(signal) = of_group {
            self.totals.excused += 1;
            self.group_alarm(group_place, &Alarm { signal, ..held.alarm }, alerts);
        }
        if told {
            self.message(place, &held.alarm, alerts);
        }
    }
}
