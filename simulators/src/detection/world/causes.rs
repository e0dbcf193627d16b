//! Honest causes of unusual behaviour that are planned before a run: roll-outs, seasons, outages of sites, newcomers and
//! changes of single devices.

use tessera_token::refusal::RefusalCode;

use super::super::dice::Dice;
use super::super::scenario::{Phase, PhaseKind, Scenario};
use super::{traits, Addresses, RunMillis, World, DAY, HOUR, MINUTE};

/// Something that happens to a device at a time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Step {
    /// Other software: factors on messages and bytes, share of messages on other topics, mark of the software.
    Update { messages: f32, bytes: f32, mix: f32, software: u32 },
    /// A person sets another rate.
    Factor(f32),
    /// No network.
    Down,
    /// The network is back.
    Back,
    /// The broker notices that a session is silent.
    Noticed,
    /// A CONNECT with its token is refused.
    Refused(RefusalCode),
    /// A CONNECT, after a counter that went up by so much.
    Connect { gap: u32 },
    /// A publish to an own topic that is not allowed.
    Mistake,
    /// A publish to the topic of its former name.
    Former,
    /// A packet that does not decode.
    Broken,
    /// A part of a probe that is spread over a tenant.
    Probe { of: u32 },
}

/// A cause, for the ground truth.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Cause {
    pub(crate) tenant: u32,
    pub(crate) name: &'static str,
    pub(crate) devices: Vec<u32>,
    pub(crate) announced: bool,
    pub(crate) begin: RunMillis,
    pub(crate) end: RunMillis,
}

pub(super) fn plan(world: &mut World, scenario: &Scenario) {
    for (number, phase) in scenario.phases.iter().enumerate() {
        let mut dice = Dice::of(world.seed, "phase", number as u64);
        match phase.kind {
            PhaseKind::Rollout => rollouts(world, phase, &mut dice),
            PhaseKind::Season => seasons(world, phase, &mut dice),
            PhaseKind::Outage => outages(world, phase, &mut dice),
            PhaseKind::Newcomers => newcomers(world, phase, &mut dice),
            PhaseKind::Reconfigurations => changes(world, phase, &mut dice),
        }
    }
    for home in &mut world.homes {
        home.steps.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
    }
}

/// Some of the groups, at least one when the share is not 0; services are left out.
fn some_groups(world: &World, part: f64, dice: &mut Dice) -> Vec<usize> {
    let mut all: Vec<usize> = (0..world.groups.len()).collect();
    all.retain(|group| world.groups.get(*group).is_some_and(|group| !group.traits.service));
    // A group has one phase of this kind: a second one takes groups that are still as they were.
    all.retain(|group| {
        let group = world.groups.get(*group);
        group.is_some_and(|g| g.announced.is_empty() && g.growth == (0.0, 0.0))
    });
    dice.shuffle(&mut all);
    let wanted = part * world.groups.len() as f64;
    all.truncate(if part > 0.0 { wanted.round().max(1.0) as usize } else { 0 });
    all
}

fn time_of(phase: &Phase, dice: &mut Dice) -> RunMillis {
    (dice.between(phase.day.low, phase.day.high + 1e-9) * DAY as f64) as u64
}

fn rollouts(world: &mut World, phase: &Phase, dice: &mut Dice) {
    for index in some_groups(world, phase.part, dice) {
        let begin = time_of(phase, dice);
        let hours = traits::draw(dice, phase.hours);
        let end = begin + (hours * HOUR as f64) as u64;
        let messages = traits::draw(dice, phase.messages) as f32;
        let bytes = traits::draw(dice, phase.bytes) as f32;
        let software = (dice.word() >> 32) as u32 | 1;
        let Some(group) = world.groups.get_mut(index) else { continue };
        // A mark that the group had its roll-out, announced or not.
        group.announced.push(if phase.announced { (begin, end) } else { (super::NEVER, 0) });
        let devices: Vec<u32> = (group.first..group.first + group.devices).collect();
        let tenant = group.tenant;
        for device in &devices {
            let at = begin + dice.below((end - begin).max(1));
            if let Some(home) = world.homes.get_mut(*device as usize) {
                let mix = phase.mix as f32;
                home.steps.push((at, Step::Update { messages, bytes, mix, software }));
            }
        }
        // The day after the last wave is learned anew.
        let end = end + DAY;
        let announced = phase.announced;
        world.causes.push(Cause { tenant, name: "rollout", devices, announced, begin, end });
    }
}

fn seasons(world: &mut World, phase: &Phase, dice: &mut Dice) {
    for index in some_groups(world, phase.part, dice) {
        let begin = time_of(phase, dice);
        let growth = dice.between(phase.growth.low, phase.growth.high);
        let end = world.end;
        let Some(group) = world.groups.get_mut(index) else { continue };
        group.growth = (growth, begin as f64 / DAY as f64);
        let devices = (group.first..group.first + group.devices).collect();
        let tenant = group.tenant;
        world.causes.push(Cause { tenant, name: "season", devices, announced: false, begin, end });
    }
}

fn outages(world: &mut World, phase: &Phase, dice: &mut Dice) {
    let is_on_site = |group: u32| {
        world.groups.get(group as usize).is_some_and(|group| group.link.kind == Addresses::Site)
    };
    let on_site = world.homes.iter().filter(|home| is_on_site(home.group));
    let mut sites: Vec<u64> = on_site.map(|home| home.place).collect();
    sites.sort_unstable();
    sites.dedup();
    dice.shuffle(&mut sites);
    let wanted = phase.part * sites.len() as f64;
    sites.truncate(if phase.part > 0.0 { wanted.round().max(1.0) as usize } else { 0 });
    for site in sites {
        let begin = time_of(phase, dice);
        let back = begin + (traits::draw(dice, phase.hours) * HOUR as f64) as u64;
        let mut devices = Vec::new();
        for (device, home) in world.homes.iter_mut().enumerate() {
            let group = world.groups.get(home.group as usize);
            let is_there = group.is_some_and(|group| group.link.kind == Addresses::Site);
            if home.place == site && is_there {
                devices.push(device as u32);
                home.steps.push((begin, Step::Down));
                home.steps.push((back + dice.below(10 * MINUTE), Step::Back));
            }
        }
        let Some(tenant) = devices.first().and_then(|d| world.homes.get(*d as usize)) else {
            continue;
        };
        let tenant = tenant.tenant;
        let end = back + 2 * HOUR;
        world.causes.push(Cause { tenant, name: "outage", devices, announced: false, begin, end });
    }
}

fn newcomers(world: &mut World, phase: &Phase, dice: &mut Dice) {
    for device in 0..world.homes.len() {
        let begin = time_of(phase, dice);
        let Some(home) = world.homes.get_mut(device) else { continue };
        if !dice.chance(phase.part) || begin >= world.end {
            continue;
        }
        home.begin = begin;
        home.steps.retain(|(at, step)| *at > begin || matches!(step, Step::Update { .. }));
        let (tenant, devices, end) = (home.tenant, vec![device as u32], begin + 4 * DAY);
        world.causes.push(Cause {
            tenant,
            name: "newcomer",
            devices,
            announced: false,
            begin,
            end,
        });
    }
}

fn changes(world: &mut World, phase: &Phase, dice: &mut Dice) {
    let days = world.end as f64 / DAY as f64;
    for device in 0..world.homes.len() {
        let at = (dice.unit() * world.end as f64) as u64;
        let upwards = dice.chance(0.5);
        let Some(home) = world.homes.get_mut(device) else { continue };
        if !dice.chance(days / phase.every_days) || at < home.begin + 2 * DAY {
            continue;
        }
        let factor = if upwards { phase.messages.high } else { phase.messages.low };
        home.steps.push((at, Step::Factor(factor as f32)));
        home.is_changed_alone = true;
        let (tenant, devices, begin) = (home.tenant, vec![device as u32], at);
        world.causes.push(Cause {
            tenant,
            name: "reconfiguration",
            devices,
            announced: false,
            begin,
            end: at + 7 * DAY,
        });
    }
}
