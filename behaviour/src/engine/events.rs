//! Observations of devices: each is counted, and what is evidence by itself is judged at once.

use super::clock::TEN_MS;
use super::device::{kept_text, session_mark, Device, Use};
use super::places::Arrival;
use super::rare::{counts as is_counted, Kind};
use super::{counts, hash, limits, trips, Engine};
use crate::alert::Alert;
use crate::observation::{
    Connected, Denial, Event, Fault, Messages, Network, Observation, SubjectKind,
};

const DAY: u32 = 86_400;
/// A program that comes back within so long is a second holder, not a roll-back.
const PROGRAM_SECONDS: u32 = 7 * DAY;
/// A session that was taken over by a network or program which had been taken over itself so shortly before.
const FIGHT_SECONDS: u32 = 900;
/// Age from which two programs are no habit of the beginning.
const GROWN: u32 = 2 * DAY;

impl Engine {
    /// The place of a device that may have to be made.
    fn place(&mut self, tenant: u32, name: &str, alerts: &mut Vec<Alert>) -> u32 {
        let found = self.devices.find(tenant, name);
        let place = found.unwrap_or_else(|| self.admit(tenant, name, alerts));
        let hour = self.clock.hour();
        if self.devices.get(place).is_some_and(|entry| entry.device.open.hour() != hour) {
            self.begin_hour(place);
        }
        place
    }

    #[cold]
    fn admit(&mut self, tenant: u32, name: &str, alerts: &mut Vec<Alert>) -> u32 {
        self.make_room(alerts);
        let known =
            self.outsiders.find(tenant, name).and_then(|place| self.outsiders.remove(place));
        let (now, ten) = (self.clock.seconds(), self.ten());
        let mut device =
            known.map_or_else(|| Box::new(Device::new(now, ten)), |entry| entry.device);
        device.open = super::device::Open::new(ten);
        device.group = self.group(tenant, 0);
        self.devices.insert(tenant, name, device)
    }

    fn make_room(&mut self, alerts: &mut Vec<Alert>) {
        if !self.devices.is_full() {
            return;
        }
        for place in self.devices.idlest() {
            self.ends(place, alerts);
            self.notes.remove(&place);
            self.clients.remove(&place);
            self.places.forget(place);
            let Some(entry) = self.devices.remove(place) else { continue };
            self.totals.evicted += 1;
            self.services -= usize::from(entry.device.targets.is_some()).min(self.services);
            let tenant = self.tenants.get(entry.tenant as usize).map(|tenant| tenant.name.clone());
            if let Some(tenant) = tenant.filter(|_| self.evicted.len() < limits::DEVICES) {
                self.evicted.push((tenant, entry.name));
            }
        }
    }

    fn ten(&self) -> u32 {
        (self.clock.now / TEN_MS) as u32
    }

    /// Authorised publishes: the one thing that happens all the time.
    pub(super) fn published(
        &mut self,
        tenant: u32,
        name: &str,
        session: u64,
        messages: Messages<'_>,
        alerts: &mut Vec<Alert>,
    ) {
        let place = self.place(tenant, name, alerts);
        let (now, ten, seed) = (self.clock.seconds(), self.ten(), self.config.seed);
        let Some(entry) = self.devices.get_mut(place) else { return };
        let device = &mut *entry.device;
        device.last_seen = now;
        let mark = hash::mark(seed, messages.topic);
        let class = device.topics.recent(hash::short(mark));
        let is_new = class.is_none() && {
            let Some(group) = self.groups.get_mut(device.group as usize) else { return };
            let pattern = hash::short(hash::pattern(seed, messages.topic, name));
            let class = group.class(pattern);
            let is_new = device.topics.add(mark, class);
            device.mix.add(class, messages.count);
            match device.targets.as_mut() {
                Some(targets) => targets.add(mark),
                None => is_new,
            }
        };
        if let Some(class) = class {
            device.mix.add(class, messages.count);
        }
        let tripped = device.open.add(ten, messages.count, messages.bytes);
        let id = session_mark(session);
        let works = session != 0 && !device.sessions.goes_on(id, now);
        if is_new {
            self.new_topic(place, messages.topic, alerts);
        }
        if works {
            self.works(place, session, alerts);
        }
        if let Some(tripped) = tripped {
            let Some(entry) = self.devices.get_mut(place) else { return };
            if let Some(group) = self.groups.get(entry.device.group as usize) {
                trips::tripped(&mut entry.device, group, tripped, now, &mut self.alarms);
            }
            self.raise(place, alerts);
        }
    }

    #[cold]
    fn new_topic(&mut self, place: u32, topic: &str, alerts: &mut Vec<Alert>) {
        let now = self.clock.seconds();
        let hour_of_day = self.clock.hour_of_day(self.clock.hour());
        let Some(entry) = self.devices.get_mut(place) else { return };
        let device = &mut *entry.device;
        device.open.new_topics = device.open.new_topics.saturating_add(1);
        let is_odd = device.targets.as_ref().is_some_and(|targets| targets.is_odd(hour_of_day));
        self.alarms.extend(counts::topic(device, now));
        if device.age(now) > DAY {
            self.note(place, topic);
        }
        if is_odd {
            self.rare(place, Kind::OddTargets, 1.0, 0.0, alerts);
        }
        self.raise(place, alerts);
    }

    /// A session works: two that do so in turns are two holders.
    fn works(&mut self, place: u32, session: u64, alerts: &mut Vec<Alert>) {
        let now = self.clock.seconds();
        let Some(entry) = self.devices.get_mut(place) else { return };
        let sessions = &mut entry.device.sessions;
        let Some(overlap) = sessions.work(session_mark(session), now) else { return };
        let is_other = overlap.other_network || overlap.other_program;
        // A device that has always had two sessions of one program at one place goes on with it.
        if !is_other && sessions.usual_open >= 2 {
            return;
        }
        let weight = if is_other { 2.0 } else { 1.0 };
        self.rare(place, Kind::Shared, weight, 0.0, alerts);
        self.raise(place, alerts);
    }

    /// Every event but publishes, strangers and announcements.
    pub(super) fn other(
        &mut self,
        tenant: u32,
        observation: &Observation<'_>,
        alerts: &mut Vec<Alert>,
    ) {
        let name = observation.device;
        if let Event::Outside { code, network } = observation.event {
            self.outside(tenant, name, code, network, alerts);
            return;
        }
        let place = self.place(tenant, name, alerts);
        let now = self.clock.seconds();
        if let Some(entry) = self.devices.get_mut(place) {
            entry.device.last_seen = now;
        }
        match observation.event {
            Event::Connected(connected) => {
                self.connected(tenant, place, observation.session, connected, alerts);
            }
            Event::Disconnected { .. } => {
                if let Some(entry) = self.devices.get_mut(place) {
                    entry.device.sessions.close(session_mark(observation.session));
                }
            }
            Event::Received(messages) => {
                if let Some(entry) = self.devices.get_mut(place) {
                    let open = &mut entry.device.open;
                    open.received = open.received.saturating_add(messages.bytes);
                }
            }
            Event::Subscribed { .. } => self.subscribed(place, observation.session, alerts),
            Event::Pinged { .. } => self.works(place, observation.session, alerts),
            Event::Refused { denial, topic, .. } => {
                self.refused(tenant, place, denial, topic, alerts);
            }
            Event::Faulted(fault) if fault != Fault::KeepAlive => {
                self.rare_of_hour(place, Kind::Faults, 1.0, alerts);
                self.raise(place, alerts);
            }
            _ => {}
        }
    }

    fn connected(
        &mut self,
        tenant: u32,
        place: u32,
        session: u64,
        connected: Connected<'_>,
        alerts: &mut Vec<Alert>,
    ) {
        let (now, seed) = (self.clock.seconds(), self.config.seed);
        let group_place = self.group(tenant, connected.group);
        let network = hash::network(seed, connected.network.prefix());
        let Some(entry) = self.devices.get_mut(place) else { return };
        let Some(group) = self.groups.get_mut(group_place as usize) else { return };
        let device = &mut *entry.device;
        let has_trips = device.open.trips != super::device::Trips::NONE;
        let has_moved = device.group != group_place && device.is_known;
        device.group = group_place;
        device.is_known = true;
        device.is_service = connected.kind == SubjectKind::Service;
        if has_moved || !has_trips {
            // Another group has other habits, and its own count of changes. Until the end of the hour ceilings count.
            device.open.trips = trips::ceilings(device, group);
        }
        let is_first = device.is_service && device.targets.is_none();
        if is_first && self.services < limits::SERVICES {
            device.targets = Some(Box::default());
            self.services += 1;
        }
        if let Network::Address(address) = connected.network {
            device.address = Some(address);
        }
        if connected.client == &*entry.name {
            self.clients.remove(&place);
        } else if self.clients.len() < limits::NOTES || self.clients.contains_key(&place) {
            self.clients.insert(place, kept_text(connected.client));
        }
        let keep_alive = if connected.keep_alive == 0 { u16::MAX } else { connected.keep_alive };
        let usual = group.keep_alive(connected.keep_alive);
        device.is_patient = usual.is_some_and(|usual| u32::from(keep_alive) > 4 * usual);

        let mark_of_name = hash::mark(seed, &entry.name);
        let was_live = device.sessions.any();
        let moved = device.networks.add(network, now);
        let back = match moved {
            Use::Back { after } if after < DAY => Some(after),
            _ => None,
        };
        if back.is_some() {
            device.open.returns = device.open.returns.saturating_add(1);
        }
        // A new network is a move, not a connect too many.
        if moved != Use::New {
            device.open.connects = device.open.connects.saturating_add(1);
        }
        self.alarms.extend(counts::connect(device, group, now));
        let program = match connected.fingerprint {
            0 => Use::Same,
            mark => device.programs.add(mark, now),
        };
        let program_back = match program {
            Use::Back { after } if after < PROGRAM_SECONDS => Some(after),
            _ => None,
        };
        if program == Use::New && device.age(now) > GROWN {
            group.updates.add(connected.fingerprint, now / 3600);
        }
        device.sessions.open(session_mark(session), network, connected.fingerprint, now);
        let is_young = device.age(now) < GROWN;
        if program_back.is_some() && is_young {
            device.has_programs = true;
        }
        let holders = program_back.filter(|_| !device.has_programs);
        let fights = was_live && back.is_some_and(|after| after < FIGHT_SECONDS);
        if let Some(after) = holders {
            let weight = if after <= 3600 { 2.0 } else { 1.0 };
            self.rare_of_hour(place, Kind::Holders, weight, alerts);
        }
        if let Some(seen) = connected.place {
            let overlaps = was_live && moved != Use::Same;
            let device = (place, mark_of_name);
            let arrival = Arrival {
                tenant,
                group: group_place,
                device,
                network,
                place: seen,
                at: now,
                overlaps,
            };
            self.places.arrive(&arrival);
        }
        if fights || (was_live && holders.is_some_and(|after| after < FIGHT_SECONDS)) {
            let weight = if holders.is_some() { 2.0 } else { 1.0 };
            self.rare(place, Kind::Shared, weight, 0.0, alerts);
        }
        self.raise(place, alerts);
    }

    fn subscribed(&mut self, place: u32, session: u64, alerts: &mut Vec<Alert>) {
        let now = self.clock.seconds();
        let Some(entry) = self.devices.get_mut(place) else { return };
        let device = &mut *entry.device;
        device.open.subscribes = device.open.subscribes.saturating_add(1);
        if let Some(group) = self.groups.get(device.group as usize) {
            self.alarms.extend(counts::subscribe(device, group, now));
        }
        if session != 0 {
            self.works(place, session, alerts);
        }
        self.raise(place, alerts);
    }

    fn refused(
        &mut self,
        tenant: u32,
        place: u32,
        denial: Option<Denial<'_>>,
        topic: Option<&str>,
        alerts: &mut Vec<Alert>,
    ) {
        let (now, hour, seed) = (self.clock.seconds(), self.clock.hour(), self.config.seed);
        let Some(entry) = self.devices.get_mut(place) else { return };
        let device = &mut *entry.device;
        device.open.refused = device.open.refused.saturating_add(1);
        self.alarms.extend(counts::refusal(device, now));
        let mark = match denial {
            None | Some(Denial::Own) => None,
            Some(Denial::Owner(owner)) => Some(hash::mark(seed, owner)),
            Some(Denial::Wide | Denial::System) => Some(hash::mark(seed ^ 1, topic.unwrap_or("#"))),
        };
        let is_new =
            mark.is_some_and(|mark| device.rares.get_or_insert_default().owner(mark, hour));
        if is_new {
            self.note(place, topic.unwrap_or("#"));
            let owners = self.devices.get(place).and_then(|entry| entry.device.rares.as_ref());
            let owners = owners.map_or(0, |rares| rares.owners());
            let is_first = self.rare(place, Kind::Foreign, 1.0, owners as f32, alerts);
            if let (true, Some(entry)) = (is_first, self.devices.get(place)) {
                let name = entry.name.clone();
                if let Some(tenant) = self.tenants.get_mut(tenant as usize) {
                    tenant.prober(&name);
                }
            }
        }
        self.raise(place, alerts);
    }

    /// An event that counts by its order of magnitude within an hour.
    pub(super) fn rare_of_hour(
        &mut self,
        place: u32,
        kind: Kind,
        weight: f32,
        alerts: &mut Vec<Alert>,
    ) {
        let hour = self.clock.hour();
        let Some(entry) = self.devices.get_mut(place) else { return };
        let repeated = entry.device.repeats(kind, hour);
        if repeated.is_none_or(is_counted) {
            self.rare(place, kind, weight, 0.0, alerts);
        }
    }

    /// Notes a topic for the alert of a device.
    fn note(&mut self, place: u32, topic: &str) {
        if self.notes.len() >= limits::NOTES && !self.notes.contains_key(&place) {
            return;
        }
        let notes = self.notes.entry(place).or_default();
        if notes.len() >= limits::TOPICS_NOTED {
            notes.remove(0);
        }
        notes.push(kept_text(topic));
    }
}
