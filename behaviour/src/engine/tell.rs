//! From alarms to alerts: changes of a group excuse what habits explain, peers are asked, causes are told once, and each
//! subject has one alert at a time.

use super::device::Held;
use super::episode::Due;
use super::evidence::Rare;
use super::rare::Kind;
use super::signal::{Alarm, SignalName};
use super::sweep::HELD_HOURS;
use super::tenant::{Cause, Found};
use super::{hash, words, Engine};
use crate::alert::{Alert, Severity, Signal, State, Subject};

/// The logarithm of the evidence from which a rare event is told: once in 20,000 device-days.
pub(super) const EVIDENCE: f32 = 13.1;

/// The alarm of a kind of rare events.
pub(super) fn rare_alarm(kind: Kind, rare: &Rare, evidence: f32, seen: f32, honest: f32) -> Alarm {
    Alarm {
        signal: kind.signal(),
        evidence,
        since: rare.since() * 3600,
        seen: if seen > 0.0 { seen } else { f32::from(rare.events) },
        usual: 1.0 / honest / 24.0,
        is_loud: true,
    }
}

impl Engine {
    /// Takes in a rare event of a device. Tells whether it is the first one of its kind on this day.
    pub(super) fn rare(
        &mut self,
        place: u32,
        kind: Kind,
        weight: f32,
        seen: f32,
        alerts: &mut Vec<Alert>,
    ) -> bool {
        let hour = self.clock.hour();
        let Some(entry) = self.devices.get_mut(place) else { return false };
        let device = &mut *entry.device;
        let group_place = device.group;
        let Some(group) = self.groups.get_mut(group_place as usize) else { return false };
        let honest = group.honest(kind);
        let (rare, evidence, is_first) = device.event(kind, hour, weight, honest);
        let budget = group.policy.budget.ln();
        let signal = kind.signal();
        if is_first {
            group.rare_day(kind);
            if kind.is_of_groups() {
                group.crowd.add(signal, hour);
                group.name(place);
            }
        }
        let alarm = rare_alarm(kind, &rare, evidence, seen, honest);
        let is_wave = kind.is_of_groups() && group.is_wave(signal);
        if evidence > EVIDENCE - budget {
            device.event_told(kind);
            if is_wave {
                self.group_alarm(group_place, &alarm, alerts);
            } else {
                self.alarms.push(alarm);
            }
        }
        is_first
    }

    /// Tells the alarms of a device, or holds them until peers have been asked.
    pub(super) fn raise(&mut self, place: u32, alerts: &mut Vec<Alert>) {
        if self.alarms.is_empty() {
            return;
        }
        for alarm in std::mem::take(&mut self.alarms) {
            if alarm.signal.is_evidence() || alarm.is_of_ceiling() {
                self.message(place, &alarm, alerts);
            } else {
                self.ask(place, alarm, alerts);
            }
        }
    }

    /// Counts an alarm for the group, and tells it, holds it, or finds that it is the group's.
    fn ask(&mut self, place: u32, alarm: Alarm, alerts: &mut Vec<Alert>) {
        let (now, hour) = (self.clock.seconds(), self.clock.hour());
        let Some(entry) = self.devices.get_mut(place) else { return };
        let device = &mut *entry.device;
        let group_place = device.group;
        let Some(group) = self.groups.get_mut(group_place as usize) else { return };
        if group.is_announced(now) {
            self.totals.excused += 1;
            return;
        }
        if device.asked == 0 {
            device.asked_hour = hour;
        }
        if device.asked & alarm.signal.bit() == 0 {
            device.asked |= alarm.signal.bit();
            group.crowd.add(alarm.signal, hour);
            group.name(place);
        }
        if alarm.is_loud {
            if group.is_crowd(alarm.signal, HELD_HOURS) {
                self.totals.excused += 1;
                self.group_alarm(group_place, &alarm, alerts);
            } else {
                self.message(place, &alarm, alerts);
            }
            return;
        }
        match device.held.as_mut() {
            Some(held) => {
                held.signals |= alarm.signal.bit();
                if alarm.evidence > held.alarm.evidence {
                    held.alarm = alarm;
                }
            }
            None => {
                let signals = alarm.signal.bit();
                device.held = Some(Box::new(Held { alarm, hour, signals }));
            }
        }
    }

    /// Tells an alarm of a device, as far as it is news.
    pub(super) fn message(&mut self, place: u32, alarm: &Alarm, alerts: &mut Vec<Alert>) {
        let (now, id) = (self.clock.seconds(), self.new_id(place, 0));
        let Some(entry) = self.devices.get_mut(place) else { return };
        entry.device.changed = true;
        let severity = severity(alarm);
        let Some(due) = entry.device.episode.speak(alarm.signal, severity, now, id) else { return };
        let alert = self.alert(place, due, Some(alarm));
        alerts.extend(alert);
    }

    /// Tells an alarm of a device that was never seen itself.
    pub(super) fn outsider_message(&mut self, place: u32, alarm: &Alarm, alerts: &mut Vec<Alert>) {
        let (now, id) = (self.clock.seconds(), self.new_id(place, 1));
        let Some(entry) = self.outsiders.get_mut(place) else { return };
        let (tenant, device) = (entry.tenant, String::from(&*entry.name));
        if let Some(due) = entry.device.episode.speak(alarm.signal, severity(alarm), now, id) {
            let advice = words::device_advice(alarm.signal, self.tenant_name(tenant), &device);
            alerts.push(Alert {
                subject: Subject::Device(device),
                advice,
                ..self.bare(tenant, 0, due, Some(alarm))
            });
        }
    }

    /// An alert of a device closes by itself after some time without news.
    pub(super) fn rests(&mut self, place: u32, alerts: &mut Vec<Alert>) {
        let now = self.clock.seconds();
        let Some(entry) = self.devices.get_mut(place) else { return };
        if let Some(due) = entry.device.episode.rest(now) {
            alerts.extend(self.alert(place, due, None));
            self.notes.remove(&place);
        }
    }

    /// The alert of a device that is let go closes.
    pub(super) fn ends(&mut self, place: u32, alerts: &mut Vec<Alert>) {
        let now = self.clock.seconds();
        let Some(entry) = self.devices.get_mut(place) else { return };
        if let Some(due) = entry.device.episode.close(now) {
            alerts.extend(self.alert(place, due, None));
        }
    }

    fn alert(&self, place: u32, due: Due, alarm: Option<&Alarm>) -> Option<Alert> {
        let entry = self.devices.get(place)?;
        let device = &entry.device;
        let topics = self.notes.get(&place).filter(|_| due.state != State::Closed);
        let topics =
            topics.map_or_else(Vec::new, |notes| notes.iter().map(|n| n.to_string()).collect());
        let tenant = self.tenant_name(entry.tenant);
        Some(Alert {
            subject: Subject::Device(entry.name.to_string()),
            address: device.address.map(|address| address.to_string()),
            client: self.clients.get(&place).map(|client| client.to_string()),
            topics,
            advice: alarm.map_or_else(String::new, |alarm| {
                words::device_advice(alarm.signal, tenant, &entry.name)
            }),
            ..self.bare(entry.tenant, device.group, due, alarm)
        })
    }

    /// The parts that the alerts of all subjects have.
    fn bare(&self, tenant: u32, group: u32, due: Due, alarm: Option<&Alarm>) -> Alert {
        let policy = self.groups.get(group as usize).map_or_else(Default::default, |g| g.policy);
        Alert {
            t: self.clock.wall_at(self.clock.now),
            alert: due.id,
            tenant: self.tenant_name(tenant).to_owned(),
            state: due.state,
            severity: due.severity,
            signals: alarm.map(|alarm| self.signal(alarm)).into_iter().collect(),
            shadow: policy.shadow,
            withheld: due.withheld,
            ..Alert::default()
        }
    }

    fn signal(&self, alarm: &Alarm) -> Signal {
        Signal {
            name: alarm.signal.as_str().to_owned(),
            words: words::words(alarm),
            evidence: alarm.evidence,
            since: self.clock.wall_at(u64::from(alarm.since) * 1000),
        }
    }

    fn tenant_name(&self, tenant: u32) -> &str {
        self.tenants.get(tenant as usize).map_or("", |tenant| &*tenant.name)
    }

    fn new_id(&self, subject: u32, kind: u64) -> u64 {
        let now = self.clock.wall_at(self.clock.now);
        let mark = hash::mark_number(now, u64::from(subject));
        // 53 bits: a reader of JSON may hold numbers as floating point.
        (hash::mark_number(self.config.seed ^ kind, mark) >> 11).max(1)
    }

    /// A group changed: one message of low severity, unless it was announced.
    pub(super) fn group_changed(
        &mut self,
        place: u32,
        signals: &[SignalName],
        alerts: &mut Vec<Alert>,
    ) {
        let since = self.clock.seconds() - 3600;
        let hour = self.clock.hour();
        for signal in signals {
            let alarm = Alarm {
                signal: *signal,
                evidence: EVIDENCE,
                since,
                seen: 0.0,
                usual: 0.0,
                is_loud: false,
            };
            let group = self.groups.get_mut(place as usize);
            let recurs = group.is_some_and(|group| group.recurs(*signal, hour));
            let why = recurs.then_some("as they did within nine days before");
            self.group_speaks(place, &alarm, Severity::Low, why, alerts);
        }
    }

    /// An alarm that many devices of a group have.
    pub(super) fn group_alarm(&mut self, place: u32, alarm: &Alarm, alerts: &mut Vec<Alert>) {
        let severity = alarm.signal.severity().min(Severity::Moderate);
        self.group_speaks(place, alarm, severity, None, alerts);
    }

    /// Tells what a group does: as an alert, or as a note when an update or the group's own habit explains it.
    fn group_speaks(
        &mut self,
        place: u32,
        alarm: &Alarm,
        severity: Severity,
        why: Option<&str>,
        alerts: &mut Vec<Alert>,
    ) {
        let (now, id) = (self.clock.seconds(), self.new_id(place, 2));
        let Some(group) = self.groups.get_mut(place as usize) else { return };
        if group.is_announced(now) && !alarm.signal.is_evidence() {
            return;
        }
        let (tenant, number, members) = (group.tenant, group.number, group.members);
        let is_update = !alarm.signal.is_evidence() && group.updates.is_update(members, now / 3600);
        let why = is_update.then_some("after an update of their client program").or(why);
        let why = why.filter(|_| !group.episode.is_open());
        let due = match why {
            Some(_) => group.updates.tell(now / 3600).then(|| Due::note(id)),
            None => group.episode.speak(alarm.signal, severity, now, id),
        };
        let Some(due) = due else {
            self.totals.excused += u64::from(why.is_some());
            return;
        };
        let named = group.named.iter().filter_map(|place| self.devices.get(*place));
        let devices = named.map(|entry| entry.name.to_string()).collect();
        let mut alert = self.bare(tenant, place, due, Some(alarm));
        let words = format!(
            "many of its {members} devices changed together; the last one: {}",
            words::words(alarm)
        );
        alert.signals.iter_mut().for_each(|signal| {
            signal.words = if let Some(why) = why {
                format!("its {members} devices changed together, {why}")
            } else if alarm.seen > 0.0 {
                words.clone()
            } else {
                format!("its {members} devices changed together")
            };
        });
        let advice = words::tenant_advice(self.tenant_name(tenant));
        alerts.push(Alert { subject: Subject::Group(number), devices, advice, ..alert });
    }

    pub(super) fn group_rests(&mut self, place: u32, alerts: &mut Vec<Alert>) {
        let now = self.clock.seconds();
        let Some(group) = self.groups.get_mut(place as usize) else { return };
        let (tenant, number) = (group.tenant, group.number);
        if let Some(due) = group.episode.rest(now) {
            let alert = self.bare(tenant, place, due, None);
            alerts.push(Alert { subject: Subject::Group(number), ..alert });
        }
    }

    /// One cause that shows at many names.
    pub(super) fn campaign(&mut self, tenant: u32, found: Found, alerts: &mut Vec<Alert>) {
        let (now, id) = (self.clock.seconds(), self.new_id(tenant, 3 + found.cause as u64));
        let signal = match found.cause {
            Cause::StolenTokens => SignalName::StolenToken,
            Cause::Stuffing => SignalName::Refusals,
            Cause::SpreadProbing => SignalName::ForeignTopics,
        };
        let Some(of) = self.tenants.get_mut(tenant as usize) else { return };
        let Some(episode) = of.episodes.get_mut(found.cause as usize) else { return };
        let Some(due) = episode.speak(signal, Severity::High, now, id) else { return };
        let named = of.named.get(found.cause as usize);
        let named = named.filter(|_| found.cause != Cause::Stuffing);
        let devices =
            named.map_or_else(Vec::new, |names| names.iter().map(|n| n.to_string()).collect());
        let alarm = Alarm {
            signal,
            evidence: found.evidence,
            since: found.since,
            seen: found.seen,
            usual: found.usual,
            is_loud: true,
        };
        let mut alert = self.bare(tenant, 0, due, Some(&alarm));
        let from = found.address.map_or_else(String::new, |address| format!(" from {address}"));
        let words = match found.cause {
            Cause::StolenTokens => {
                format!("tokens of {:.0} devices were shown without their keys{from}", found.seen)
            }
            Cause::Stuffing => format!(
                "{:.0} further names and credentials were tried in an hour{from}; usual is {:.1}",
                found.seen, found.usual
            ),
            Cause::SpreadProbing => format!(
                "{:.0} devices asked for topics of others in an hour; usual is {:.1}",
                found.seen, found.usual
            ),
        };
        alert.signals.iter_mut().for_each(|signal| words.clone_into(&mut signal.words));
        alerts.push(Alert {
            subject: Subject::Campaign(found.cause.as_str().to_owned()),
            devices,
            address: found.address.map(|address| address.to_string()),
            advice: words::tenant_advice(self.tenant_name(tenant)),
            ..alert
        });
    }

    pub(super) fn campaigns_rest(&mut self, tenant: u32, alerts: &mut Vec<Alert>) {
        let now = self.clock.seconds();
        for cause in [Cause::StolenTokens, Cause::Stuffing, Cause::SpreadProbing] {
            let Some(of) = self.tenants.get_mut(tenant as usize) else { return };
            let due = of.episodes.get_mut(cause as usize).and_then(|episode| episode.rest(now));
            if let Some(due) = due {
                let alert = self.bare(tenant, 0, due, None);
                alerts
                    .push(Alert { subject: Subject::Campaign(cause.as_str().to_owned()), ..alert });
            }
        }
    }
}

fn severity(alarm: &Alarm) -> Severity {
    match alarm.is_loud {
        true => alarm.signal.severity().max(Severity::Moderate),
        false => alarm.signal.severity().min(Severity::Moderate),
    }
}
