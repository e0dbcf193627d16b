//! The generator: observations of a whole fleet in the order of their times, and the ground truth.
//!
//! It goes in steps of five minutes. In each step the devices that have something to do go through it one after the
//! other, then the observations of the step are sorted. So no more than one step is in memory.

use tessera_behaviour::observation::{Observation, UnixMillis};
use tessera_behaviour::truth::Truth;

use super::dice::Dice;
use super::scenario::{Scenario, ScenarioError};
use super::world::{RunMillis, World, BEGIN, NEVER, SLOT};

mod device;
mod gate;
mod hostile;
mod record;
mod schedule;
#[cfg(test)]
mod tests;

use device::Device;
use record::Sink;
use schedule::Schedule;

/// A simulated fleet.
#[derive(Debug)]
pub struct Generator {
    world: World,
    devices: Vec<Device>,
    schedule: Schedule,
    sink: Sink,
    now: RunMillis,
    observations: u64,
    is_over: bool,
}

/// The observations of one step.
#[derive(Debug)]
pub struct Slot<'a> {
    world: &'a World,
    sink: &'a Sink,
    /// When the step is over.
    pub end: UnixMillis,
}

impl Slot<'_> {
    /// Gives each observation, in the order of the times.
    pub fn each(&self, take: impl FnMut(&Observation<'_>)) {
        self.sink.each(self.world, take);
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.sink.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.sink.len() == 0
    }
}

impl Generator {
    /// A fleet from a scenario and a seed.
    ///
    /// # Errors
    /// The scenario asks for something that cannot be.
    pub fn new(scenario: &Scenario, seed: u64) -> Result<Self, ScenarioError> {
        let world = World::of(scenario, seed)?;
        let mut devices = Vec::with_capacity(world.homes.len());
        for (number, home) in world.homes.iter().enumerate() {
            if let Some(group) = world.groups.get(home.group as usize) {
                devices.push(Device::of(&world, number as u32, group));
            }
        }
        targets(&world, &mut devices);
        let schedule = Schedule::of(&world, &scenario.attacks);
        let sink = Sink::default();
        Ok(Self { world, devices, schedule, sink, now: 0, observations: 0, is_over: false })
    }

    /// When the run begins.
    pub const fn begin(&self) -> UnixMillis {
        BEGIN
    }

    /// When the run ends.
    pub const fn end(&self) -> UnixMillis {
        BEGIN + self.world.end
    }

    /// Observations so far.
    pub const fn observations(&self) -> u64 {
        self.observations
    }

    /// The next step, until the run is over.
    pub fn next_slot(&mut self) -> Option<Slot<'_>> {
        let begin = self.now;
        if begin >= self.world.end {
            if !std::mem::replace(&mut self.is_over, true) {
                self.schedule.finish(&self.world, &mut self.devices);
            }
            return None;
        }
        let end = begin + SLOT;
        self.sink.start(begin, end);
        self.announce(begin, end);
        self.schedule.turn(&self.world, &mut self.devices, begin, &mut self.sink);
        for place in 0..self.devices.len() {
            let Some(device) = self.devices.get_mut(place) else { continue };
            if device.wake >= end && device.inbox.is_empty() {
                continue;
            }
            let Some(group) = self.world.groups.get(device.group as usize) else { continue };
            device.run(&self.world, group, begin, &mut self.sink);
            while let Some((target, at)) = self.sink.commands.pop() {
                if let Some(target) = self.devices.get_mut(target as usize) {
                    target.told(at);
                }
            }
        }
        self.sink.sort(&self.world);
        self.now = end;
        self.observations += self.sink.len() as u64;
        Some(Slot { world: &self.world, sink: &self.sink, end: BEGIN + end })
    }

    /// Ends the run where it is: attacks that are under way become part of the ground truth.
    pub fn stop(&mut self) {
        if !std::mem::replace(&mut self.is_over, true) {
            self.schedule.finish(&self.world, &mut self.devices);
        }
        self.now = self.world.end;
    }

    /// Goes through the whole run.
    pub fn run(&mut self, mut take: impl FnMut(&Observation<'_>)) {
        while let Some(slot) = self.next_slot() {
            slot.each(&mut take);
        }
    }

    fn announce(&mut self, begin: RunMillis, end: RunMillis) {
        for group in &self.world.groups {
            for (from, until) in &group.announced {
                if *from != NEVER && (begin..end).contains(from) {
                    self.sink.announced(*from, group.first, group.number, *until);
                }
            }
        }
    }

    /// The ground truth: complete once the run is over.
    pub fn truth(&self) -> Vec<Truth> {
        let (world, at) = (&self.world, |at: RunMillis| BEGIN + at);
        let tenant = |number: u32| {
            world.tenants.get(number as usize).map_or(String::new(), |tenant| tenant.name.clone())
        };
        let name = |device: u32| world.names.device(device).to_owned();
        let mut lines = Vec::new();
        for (number, home) in world.homes.iter().enumerate() {
            let Some(group) = world.groups.get(home.group as usize) else { continue };
            lines.push(Truth::Device {
                tenant: tenant(home.tenant),
                device: name(number as u32),
                persona: group.traits.persona.clone(),
                group: group.number,
                begin: at(home.begin),
                end: at(world.end),
            });
        }
        for cause in &world.causes {
            lines.push(Truth::Cause {
                tenant: tenant(cause.tenant),
                cause: cause.name.to_owned(),
                devices: cause.devices.iter().map(|device| name(*device)).collect(),
                announced: cause.announced,
                begin: at(cause.begin),
                end: at(cause.end.min(world.end)),
            });
        }
        for device in &self.devices {
            let home = world.homes.get(device.number as usize).map_or(0, |home| home.tenant);
            for (cause, begin, end) in &device.happened {
                lines.push(Truth::Cause {
                    tenant: tenant(home),
                    cause: (*cause).to_owned(),
                    devices: vec![name(device.number)],
                    announced: false,
                    begin: at(*begin),
                    end: at(*end),
                });
            }
        }
        for done in &self.schedule.done {
            let Some(spec) = self.schedule.spec(done.cell) else { continue };
            lines.push(Truth::Attack {
                tenant: tenant(done.tenant),
                device: done.device.map(name).unwrap_or_default(),
                class: spec.class.as_str().to_owned(),
                grade: spec.grade.clone(),
                begin: at(done.begin),
                end: at(done.end),
                instance: done.instance,
            });
        }
        lines
    }

    /// Attacks for which there was no room: class, grade, how many.
    pub fn left_out(&self) -> Vec<(&'static str, String, u64)> {
        let mut found: Vec<(&'static str, String, u64)> = Vec::new();
        for (cell, count) in &self.schedule.left_out {
            let Some(spec) = self.schedule.spec(*cell) else { continue };
            let same = |entry: &&mut (&str, String, u64)| {
                entry.0 == spec.class.as_str() && entry.1 == spec.grade
            };
            match found.iter_mut().find(same) {
                Some(entry) => entry.2 += count,
                None => found.push((spec.class.as_str(), spec.grade.clone(), *count)),
            }
        }
        found
    }
}

/// Gives each service the devices that it commands: those that take commands often, more often.
fn targets(world: &World, devices: &mut [Device]) {
    for device in devices.iter_mut() {
        let Some(group) = world.groups.get(device.group as usize) else { continue };
        let Some(tenant) = world.tenants.get(group.tenant as usize) else { continue };
        if !group.traits.service {
            continue;
        }
        let mut dice = Dice::of(world.seed, "targets", u64::from(device.number));
        let wanted = group.traits.reach.min(u64::from(tenant.devices) / 3).max(1) as usize;
        for _ in 0..wanted * 40 {
            let target = tenant.first + dice.below(u64::from(tenant.devices)) as u32;
            let of = world.homes.get(target as usize);
            let of = of.and_then(|home| world.groups.get(home.group as usize));
            let weight = of.map_or(0.0, |group| match group.traits.service {
                true => 0.0,
                false => group.traits.commanded,
            });
            if dice.chance(weight) && !device.targets.contains(&target) {
                device.targets.push(target);
            }
            if device.targets.len() >= wanted {
                break;
            }
        }
    }
}
