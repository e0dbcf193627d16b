//! The engine: observations in, alerts out. It has no clock, no thread, no queue and no store; all of its times are
//! those of the observations.
//!
//! There is no sum of weights. Each signal has a threshold of its own that keeps its share of the budget of false alarms
//! (`docs/behaviour.md`): `evidence` adds up rare events, `shift` finds statistics that moved for longer than moods
//! last, `tail` pools the tests of a group's hours, `rate` counts. A device is judged against its own `habit` and the
//! common move of its `group`; what a whole group or tenant does is told once, of the group or the `tenant`.
//!
//! Reading order: [`config`], `stat`, `habit`, `judge`, `sweep`, `events`, `tell`.

use hashbrown::HashMap;

use crate::alert::Alert;
use crate::detector::Detector;
use crate::observation::{Event, Observation, UnixMillis};

mod clock;
pub mod config;
mod counts;
mod device;
mod episode;
mod events;
mod evidence;
mod group;
mod habit;
mod hash;
mod judge;
pub mod limits;
mod mixing;
mod num;
mod outside;
mod places;
mod rare;
mod rate;
pub mod record;
mod rows;
mod shift;
mod signal;
mod stat;
mod sweep;
mod table;
mod tail;
mod tell;
mod tenant;
#[cfg(test)]
mod tests;
mod trips;
mod words;

pub use config::{Config, Policy};
pub use record::RecordError;
pub use rows::Turn;
pub use signal::SignalName;

use clock::{Clock, Went};
use group::Group;
use places::Places;
use signal::Alarm;
use sweep::Work;
use table::Table;
use tenant::Tenant;

/// Counters of the engine, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Observations that were taken in.
    pub observations: u64,
    /// Observations that found no room for their tenant.
    pub left: u64,
    /// Profiles that were let go.
    pub evicted: u64,
    /// Times that the observer's clock was set by more than ten minutes.
    pub leaps: u64,
    /// Alarms that were not told, since their group changed or a change of it was announced.
    pub excused: u64,
}

/// All devices, groups and tenants.
pub struct Engine {
    config: Config,
    clock: Clock,
    devices: Table,
    /// Devices whose tokens others showed, and that were never seen themselves.
    outsiders: Table,
    groups: Vec<Group>,
    group_places: HashMap<(u32, u64), u32>,
    tenants: Vec<Tenant>,
    tenant_places: HashMap<Box<str>, u32>,
    /// The tenant of the last observation: most come in rows of one tenant.
    last_tenant: u32,
    /// Refused topics of devices, for their alerts.
    notes: HashMap<u32, Vec<Box<str>>>,
    /// Client ids that are not the name of their device.
    clients: HashMap<u32, Box<str>>,
    places: Places,
    /// Services with a list of their targets.
    services: usize,
    work: Work,
    /// Alarms of the present step.
    alarms: Vec<Alarm>,
    totals: Totals,
    /// Names of devices that were let go, whose rows are to be removed.
    evicted: Vec<(Box<str>, Box<str>)>,
}

impl Engine {
    /// An engine without any profile.
    pub fn new(config: Config) -> Self {
        let most = config.most_devices;
        let outsiders = limits::STRANGERS.min(most);
        // The group of all devices for whose own group there is no room.
        let rest = Group::new(u32::MAX, 0, Policy::default(), 0);
        Self {
            config,
            clock: Clock::default(),
            devices: Table::new(most),
            outsiders: Table::new(outsiders),
            groups: vec![rest],
            group_places: HashMap::new(),
            tenants: Vec::new(),
            tenant_places: HashMap::new(),
            last_tenant: 0,
            notes: HashMap::new(),
            clients: HashMap::new(),
            places: Places::default(),
            services: 0,
            work: Work::default(),
            alarms: Vec::new(),
            totals: Totals::default(),
            evicted: Vec::new(),
        }
    }

    /// Devices with a profile.
    pub fn len(&self) -> usize {
        self.devices.len()
    }

    /// Whether there is no profile.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Counters.
    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// Takes in a time, and does the work that is due until then.
    fn go(&mut self, at: UnixMillis, alerts: &mut Vec<Alert>) {
        if !self.clock.has_begun() {
            self.clock.go(at);
            self.work.begin(&self.clock);
            return;
        }
        if self.clock.go(at) == Went::Leapt {
            self.totals.leaps += 1;
        }
        while let Some((place, weight)) = self.places.due(self.clock.seconds()) {
            self.rare_of_hour(place, rare::Kind::Place, weight, alerts);
            self.raise(place, alerts);
        }
        if self.clock.now >= self.work.due {
            self.sweep(alerts);
        }
    }

    /// The number of a tenant, if there is room for it.
    fn tenant(&mut self, name: &str) -> Option<u32> {
        let last = self.tenants.get(self.last_tenant as usize);
        if last.is_some_and(|last| *last.name == *name) {
            return Some(self.last_tenant);
        }
        let place = match self.tenant_places.get(name) {
            Some(place) => *place,
            None if self.tenants.len() >= limits::TENANTS => return None,
            None => {
                let place = u32::try_from(self.tenants.len()).ok()?;
                self.tenants.push(Tenant::new(name));
                self.tenant_places.insert(name.into(), place);
                place
            }
        };
        self.last_tenant = place;
        Some(place)
    }

    /// The place of a group; 0 when there is no room for it.
    fn group(&mut self, tenant: u32, number: u64) -> u32 {
        if let Some(place) = self.group_places.get(&(tenant, number)) {
            return *place;
        }
        if self.groups.len() > limits::GROUPS {
            return 0;
        }
        let name = self.tenants.get(tenant as usize).map_or("", |tenant| &*tenant.name);
        let policy = self.config.policy(name, number);
        let place = u32::try_from(self.groups.len()).unwrap_or(0);
        self.groups.push(Group::new(tenant, number, policy, self.clock.hour()));
        self.group_places.insert((tenant, number), place);
        place
    }
}

impl Detector for Engine {
    fn observe(&mut self, observation: &Observation<'_>, alerts: &mut Vec<Alert>) {
        self.go(observation.at, alerts);
        self.totals.observations += 1;
        let Some(tenant) = self.tenant(observation.tenant) else {
            self.totals.left += 1;
            return;
        };
        match observation.event {
            Event::Stranger { code, network, name, credential } => {
                let _ = code;
                self.stranger(tenant, network, name, credential, alerts);
            }
            Event::Announced { group, until } => self.announced(tenant, group, until),
            Event::Published(messages) => {
                self.published(tenant, observation.device, observation.session, messages, alerts);
            }
            _ => self.other(tenant, observation, alerts),
        }
    }

    fn advance(&mut self, at: UnixMillis, alerts: &mut Vec<Alert>) {
        self.go(at, alerts);
    }
}
