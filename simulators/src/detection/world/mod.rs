//! The world of a simulation, drawn once from scenario and seed: tenants, groups, names, networks, and the honest causes
//! that are planned.

use std::sync::Arc;

use tessera_behaviour::observation::UnixMillis;

use super::dice::Dice;
use super::scenario::{Addresses, Scenario, ScenarioError};

mod causes;
mod names;
mod shape;
mod traits;

pub(super) use causes::{Cause, Step};
pub(super) use names::{Names, Topic};
pub(super) use shape::Shape;
pub(super) use traits::{Own, Traits};

/// Milliseconds since the begin of the run.
pub(super) type RunMillis = u64;

pub(super) const SECOND: u64 = 1_000;
pub(super) const MINUTE: u64 = 60 * SECOND;
pub(super) const HOUR: u64 = 60 * MINUTE;
pub(super) const DAY: u64 = 24 * HOUR;
/// The step of the generator.
pub(super) const SLOT: u64 = 5 * MINUTE;
/// A time that does not come.
pub(super) const NEVER: u64 = u64::MAX;

/// A Monday at midnight (UTC): 2026-01-05.
pub(super) const BEGIN: UnixMillis = 1_767_571_200_000;

/// The network of one group.
#[derive(Clone, Debug)]
pub(super) struct Link {
    pub(super) kind: Addresses,
    pub(super) number: u64,
    pub(super) exits: u64,
    pub(super) moves: f64,
    pub(super) lease: u64,
    pub(super) latency_ms: f64,
    pub(super) loss: f64,
    pub(super) outages_a_day: f64,
    pub(super) outage_ms: (f64, f64),
}

/// A group of devices.
#[derive(Clone, Debug)]
pub(super) struct Group {
    /// Its number, from 1.
    pub(super) number: u64,
    pub(super) tenant: u32,
    pub(super) first: u32,
    pub(super) devices: u32,
    pub(super) traits: Arc<Traits>,
    pub(super) link: Link,
    /// A mark of the first client software.
    pub(super) software: u32,
    /// Growth in a day, and the day from which on.
    pub(super) growth: (f64, f64),
    /// Hostile devices at a time.
    pub(super) hostile: u32,
    /// The bounds of announced changes.
    pub(super) announced: Vec<(RunMillis, RunMillis)>,
}

/// Everything that does not change during a run.
#[derive(Debug)]
pub(super) struct World {
    pub(super) seed: u64,
    pub(super) end: RunMillis,
    pub(super) tenants: Vec<Tenant>,
    pub(super) groups: Vec<Group>,
    /// One for each device.
    pub(super) homes: Vec<Home>,
    pub(super) names: Names,
    pub(super) background_per_hour: f64,
    pub(super) causes: Vec<Cause>,
}

#[derive(Debug)]
pub(super) struct Tenant {
    pub(super) name: String,
    pub(super) first: u32,
    pub(super) devices: u32,
}

/// The place of a device, and its plan.
#[derive(Clone, Debug)]
pub(super) struct Home {
    pub(super) tenant: u32,
    pub(super) group: u32,
    /// The site, the home or the number of the carrier.
    pub(super) place: u64,
    pub(super) ipv6: bool,
    pub(super) begin: RunMillis,
    /// Planned steps, the last one first.
    pub(super) steps: Vec<(RunMillis, Step)>,
    /// Whether a person changes it alone.
    pub(super) is_changed_alone: bool,
}

impl World {
    /// Draws the world.
    ///
    /// # Errors
    /// A group has too few devices for the share that may be hostile.
    pub(super) fn of(scenario: &Scenario, seed: u64) -> Result<Self, ScenarioError> {
        let mut world = Self {
            seed,
            end: scenario.days * DAY,
            tenants: Vec::new(),
            groups: Vec::new(),
            homes: Vec::new(),
            names: Names::new(),
            background_per_hour: scenario.background_per_hour,
            causes: Vec::new(),
        };
        for number in 0..scenario.tenants {
            let begin = number * scenario.devices / scenario.tenants;
            let end = (number + 1) * scenario.devices / scenario.tenants;
            world.tenant(scenario, number, end - begin);
        }
        world.places(scenario);
        causes::plan(&mut world, scenario);
        Ok(world)
    }

    fn tenant(&mut self, scenario: &Scenario, number: u64, devices: u64) {
        let tenant = self.tenants.len() as u32;
        let first = self.homes.len() as u32;
        self.tenants.push(Tenant {
            name: format!("t{}", number + 1),
            first,
            devices: devices as u32,
        });
        // Services first: their commands reach devices of the same step.
        let is_service = |name: &str| scenario.personas.get(name).is_some_and(|p| p.service);
        let mut plans: Vec<_> = scenario.groups.iter().collect();
        plans.sort_by_key(|plan| !is_service(&plan.persona));
        let parts: Vec<_> = plans
            .iter()
            .flat_map(|plan| (0..plan.count).map(move |_| (*plan, plan.share / plan.count as f64)))
            .collect();
        let (mut share, mut given) = (0.0, 0);
        for (place, (plan, part)) in parts.iter().enumerate() {
            share += part;
            let last = place + 1 == parts.len();
            let until = if last { devices } else { (share * devices as f64).round() as u64 };
            let size = until.saturating_sub(given).max(1).min(devices.saturating_sub(given));
            given += size;
            self.group(scenario, tenant, plan, size as u32);
        }
    }

    fn group(
        &mut self,
        scenario: &Scenario,
        tenant: u32,
        plan: &super::scenario::GroupPlan,
        devices: u32,
    ) {
        // Both are there: the scenario was checked.
        let (Some(persona), Some(network)) =
            (scenario.personas.get(&plan.persona), scenario.networks.get(&plan.network))
        else {
            return;
        };
        let index = self.groups.len() as u32;
        let mut dice = Dice::of(self.seed, "group", u64::from(index));
        let first = self.homes.len() as u32;
        let link = Link {
            kind: network.kind,
            number: u64::from(index),
            exits: traits::draw(&mut dice, network.exits).round() as u64,
            moves: traits::draw(&mut dice, network.moves),
            lease: (traits::draw(&mut dice, network.lease_days) * DAY as f64) as u64,
            latency_ms: traits::draw(&mut dice, network.latency_ms),
            loss: network.loss,
            outages_a_day: network.outages_per_month / 30.0,
            outage_ms: (
                network.outage_min.low * MINUTE as f64,
                network.outage_min.high * MINUTE as f64,
            ),
        };
        let traits = Arc::new(Traits::of(persona, &mut dice));
        self.groups.push(Group {
            number: u64::from(index) + 1,
            tenant,
            first,
            devices,
            traits,
            link,
            software: (dice.word() >> 32) as u32 | 1,
            growth: (0.0, 0.0),
            hostile: (f64::from(devices) * scenario.attacks.share) as u32,
            announced: Vec::new(),
        });
        for _ in 0..devices {
            self.names.add(self.homes.len() as u32);
            self.homes.push(Home {
                tenant,
                group: index,
                place: 0,
                ipv6: dice.chance(network.ipv6),
                begin: 0,
                steps: Vec::new(),
                is_changed_alone: false,
            });
        }
    }

    /// Divides the devices of each tenant among sites; a home is one device, a carrier is its group's.
    fn places(&mut self, scenario: &Scenario) {
        let mut site = 0;
        for (number, tenant) in self.tenants.iter().enumerate() {
            let mut dice = Dice::of(self.seed, "sites", number as u64);
            let on_site = |home: &Home| {
                let group = self.groups.get(home.group as usize);
                group.is_some_and(|group| group.link.kind == Addresses::Site)
            };
            let mut those: Vec<u32> = (tenant.first..tenant.first + tenant.devices).collect();
            those.retain(|device| self.homes.get(*device as usize).is_some_and(on_site));
            dice.shuffle(&mut those);
            let mut those = those.into_iter().peekable();
            while those.peek().is_some() {
                site += 1;
                let size = scenario.networks.values().find(|n| n.kind == Addresses::Site);
                let size =
                    size.map_or(30.0, |network| traits::draw(&mut dice, network.devices_per_site));
                for device in those.by_ref().take(size.max(1.0) as usize) {
                    if let Some(home) = self.homes.get_mut(device as usize) {
                        home.place = site;
                    }
                }
            }
        }
        for (device, home) in self.homes.iter_mut().enumerate() {
            let kind = self.groups.get(home.group as usize).map(|group| group.link.kind);
            match kind {
                Some(Addresses::Home) => home.place = device as u64,
                Some(Addresses::Carrier) => home.place = u64::from(home.group),
                Some(Addresses::Site) | None => {}
            }
        }
    }
}
