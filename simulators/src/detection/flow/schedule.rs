//! When and where attacks are made: at most a share of a group is hostile at a time, and no device is attacked twice.

use super::super::dice::Dice;
use super::super::scenario::{Attacks, Class, Spec};
use super::super::world::{RunMillis, World, DAY, HOUR, MINUTE, NEVER, SLOT};
use super::device::Device;
use super::gate::{background, guess, probe, Gate, Outer};
use super::hostile::Attack;
use super::record::Sink;

/// Hours at the end of a run in which no attack ends.
const TAIL: f64 = 6.0;
/// Hours between two attacks on one tenant, so that an alert belongs to one of them.
const BETWEEN: f64 = 26.0;
/// Days after its begin before a device is attacked.
const SETTLED: u64 = 4 * DAY;
/// Devices that are looked at in one step, to find one that is active.
const TRIES: usize = 8;

/// An attack that was made.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Done {
    pub(super) cell: usize,
    pub(super) tenant: u32,
    pub(super) device: Option<u32>,
    pub(super) begin: RunMillis,
    pub(super) end: RunMillis,
    pub(super) instance: u64,
}

/// One place for an attack in a group.
#[derive(Debug)]
struct Lane {
    group: usize,
    queue: Vec<usize>,
    hours: f64,
    next_at: RunMillis,
    device: Option<u32>,
}

/// The attacks of a run.
#[derive(Debug)]
pub(super) struct Schedule {
    specs: Vec<Spec>,
    lanes: Vec<Lane>,
    gates: Vec<Gate>,
    dice: Dice,
    instances: u64,
    pub(super) done: Vec<Done>,
    /// Cells, and how many of each could not be placed.
    pub(super) left_out: Vec<(usize, u64)>,
}

impl Schedule {
    pub(super) fn of(world: &World, attacks: &Attacks) -> Self {
        let mut schedule = Self {
            specs: attacks.specs.clone(),
            lanes: Vec::new(),
            gates: Vec::new(),
            dice: Dice::of(world.seed, "schedule", 0),
            instances: 0,
            done: Vec::new(),
            left_out: Vec::new(),
        };
        let from = (attacks.from_day * DAY as f64) as u64;
        let hours = world.end.saturating_sub(from) as f64 / HOUR as f64 - TAIL;
        for (place, group) in world.groups.iter().enumerate() {
            for _ in 0..group.hostile {
                schedule.lanes.push(Lane {
                    group: place,
                    queue: Vec::new(),
                    hours,
                    next_at: from,
                    device: None,
                });
            }
        }
        for tenant in 0..world.tenants.len() as u32 {
            schedule.gates.push(Gate {
                tenant,
                queue: Vec::new(),
                hours,
                next_at: from,
                attack: None,
                dice: Dice::of(world.seed, "gate", u64::from(tenant)),
                background_at: 0,
            });
        }
        schedule.fill(world, from);
        schedule
    }

    /// Puts each attack into a lane with room, the longest first.
    fn fill(&mut self, world: &World, from: RunMillis) {
        let mut order: Vec<usize> = (0..self.specs.len()).collect();
        let hours = |cell: &usize| self.specs.get(*cell).map_or(0.0, |spec| spec.hours);
        order.sort_by(|a, b| hours(b).total_cmp(&hours(a)));
        self.dice.shuffle(&mut self.lanes);
        self.dice.shuffle(&mut self.gates);
        self.fill_gates(&order);
        for cell in order {
            let Some(spec) = self.specs.get(cell) else { continue };
            if spec.class.is_of_tenant() {
                continue;
            }
            // An attack that begins with the device uses the lane's room only behind the first days.
            let early = if spec.class == Class::Taught { from as f64 / HOUR as f64 } else { 0.0 };
            let needs = (spec.hours - early).max(0.0) + 2.0;
            let fits = |group: usize| {
                let traits = world.groups.get(group).map(|group| &group.traits);
                traits.is_some_and(|traits| match spec.class {
                    Class::Command => traits.service,
                    Class::Mix => !traits.service && traits.topics > 1,
                    _ => !traits.service,
                })
            };
            let mut left = 0;
            for _ in 0..spec.count {
                let lanes = self.lanes.iter_mut().filter(|lane| {
                    let is_free = spec.class != Class::Taught || lane.queue.is_empty();
                    lane.hours >= needs && is_free && fits(lane.group)
                });
                match lanes.max_by(|a, b| a.hours.total_cmp(&b.hours)) {
                    Some(lane) => {
                        lane.queue.push(cell);
                        lane.hours -= needs;
                    }
                    None => left += 1,
                }
            }
            if left > 0 {
                self.left_out.push((cell, left));
            }
        }
        let (specs, dice) = (&self.specs, &mut self.dice);
        for lane in &mut self.lanes {
            dice.shuffle(&mut lane.queue);
            // The last one is made first: an attack that begins with the device goes to the end.
            let is_taught =
                |cell: &usize| specs.get(*cell).is_some_and(|spec| spec.class == Class::Taught);
            lane.queue.sort_by_key(is_taught);
            match lane.queue.last().is_some_and(is_taught) {
                true => lane.next_at = 0,
                false => lane.next_at += pause(dice, lane.hours, lane.queue.len()),
            }
        }
        for gate in &mut self.gates {
            dice.shuffle(&mut gate.queue);
            gate.next_at += pause(dice, gate.hours, gate.queue.len());
        }
    }

    /// Divides the attacks on tenants: one of each cell in turn, so that no cell takes the room of the others.
    fn fill_gates(&mut self, order: &[usize]) {
        let mut open: Vec<(usize, u64)> = Vec::new();
        for cell in order {
            let spec = self.specs.get(*cell).filter(|spec| spec.class.is_of_tenant());
            open.extend(spec.map(|spec| (*cell, spec.count)));
        }
        while !open.is_empty() {
            for (cell, left) in &mut open {
                let needs = self.specs.get(*cell).map_or(0.0, |spec| spec.hours) + BETWEEN;
                let gates = self.gates.iter_mut().filter(|gate| gate.hours >= needs);
                match gates.max_by(|a, b| a.hours.total_cmp(&b.hours)) {
                    Some(gate) => {
                        gate.queue.push(*cell);
                        gate.hours -= needs;
                        *left -= 1;
                    }
                    None => {
                        self.left_out.push((*cell, *left));
                        *left = 0;
                    }
                }
            }
            open.retain(|(_, left)| *left > 0);
        }
    }

    /// Begins and ends attacks; called before each step.
    pub(super) fn turn(
        &mut self,
        world: &World,
        devices: &mut [Device],
        now: RunMillis,
        sink: &mut Sink,
    ) {
        for place in 0..self.lanes.len() {
            self.turn_lane(world, devices, now, place);
        }
        let mut gates = std::mem::take(&mut self.gates);
        for gate in &mut gates {
            background(world, gate, now, sink);
            self.turn_gate(world, devices, gate, now, sink);
        }
        self.gates = gates;
    }

    fn turn_lane(&mut self, world: &World, devices: &mut [Device], now: RunMillis, place: usize) {
        let Some(lane) = self.lanes.get_mut(place) else { return };
        let Some(group) = world.groups.get(lane.group) else { return };
        if let Some(device) = lane.device.and_then(|device| devices.get_mut(device as usize)) {
            let is_over = device.attack.as_ref().is_some_and(|attack| {
                attack.is_over || (attack.class.bends() && attack.end <= now)
            });
            if !is_over {
                return;
            }
            let done = device.attack.take().and_then(|attack| done(&attack, group.tenant, device));
            device.act_at = NEVER;
            self.done.extend(done);
            lane.device = None;
            lane.next_at =
                now.max(lane.next_at) + pause(&mut self.dice, lane.hours, lane.queue.len());
        }
        if now < lane.next_at {
            return;
        }
        let Some(cell) = lane.queue.last().copied() else { return };
        let Some(spec) = self.specs.get(cell) else { return };
        let tail = (TAIL * HOUR as f64) as u64;
        if now + (spec.hours * HOUR as f64) as u64 + tail / 2 > world.end {
            // Too late for this one: a shorter one may still fit.
            lane.queue.pop();
            self.left_out.push((cell, 1));
            return;
        }
        for _ in 0..TRIES {
            let number = group.first + self.dice.below(u64::from(group.devices)) as u32;
            let Some(device) = devices.get_mut(number as usize) else { continue };
            let Some(home) = world.homes.get(number as usize) else { continue };
            let is_settled = match spec.class {
                Class::Taught => home.begin == 0 && now == 0,
                _ => device.is_active(now) && (home.begin == 0 || home.begin + SETTLED <= now),
            };
            let is_fit = spec.class != Class::ExfilFast || device.top[2] > 0;
            if is_settled && is_fit && !device.was_attacked && !home.is_changed_alone {
                self.instances += 1;
                let attack = Attack::of(world, group, device, spec, cell, self.instances, now);
                device.is_attacked_by(attack);
                lane.device = Some(number);
                lane.queue.pop();
                // The wait for an active device is taken from the pauses.
                let waited = (now - lane.next_at) as f64 / HOUR as f64;
                lane.hours = (lane.hours - waited).max(0.0);
                return;
            }
        }
        if spec.class == Class::Taught && now > 0 {
            lane.queue.pop();
            self.left_out.push((cell, 1));
        }
    }

    fn turn_gate(
        &mut self,
        world: &World,
        devices: &mut [Device],
        gate: &mut Gate,
        now: RunMillis,
        sink: &mut Sink,
    ) {
        if gate.attack.is_none() && now >= gate.next_at {
            let Some(cell) = gate.queue.pop() else { return };
            let Some(spec) = self.specs.get(cell) else { return };
            self.instances += 1;
            let begin = now + gate.dice.below(SLOT);
            gate.attack = Some(Outer {
                cell,
                instance: self.instances,
                begin,
                end: begin + (spec.hours * HOUR as f64) as u64,
                next: begin,
                acts: 0,
                first_network: gate.dice.word() as u16,
            });
        }
        let Some(mut attack) = gate.attack.take() else { return };
        let Some(spec) = self.specs.get(attack.cell) else { return };
        let until = (now + SLOT).min(attack.end);
        let mut last = attack.begin;
        while attack.next < until {
            last = attack.next;
            match spec.class {
                Class::Stuffing => guess(world, gate, &attack, spec, sink),
                _ => {
                    let probed = probe(world, gate, devices, attack.next);
                    self.done.extend(probed.map(|device| Done {
                        cell: attack.cell,
                        tenant: gate.tenant,
                        device: Some(device),
                        begin: attack.next,
                        end: attack.next + MINUTE,
                        instance: attack.instance,
                    }));
                }
            }
            attack.acts += 1;
            let gap = HOUR as f64 / spec.amount.max(1e-6);
            let turn = if gap < 5_000.0 { 1.0 } else { gate.dice.between(0.5, 1.5) };
            attack.next += ((gap * turn) as u64).max(1);
        }
        if attack.end > now + SLOT && attack.end < world.end {
            gate.attack = Some(attack);
            return;
        }
        self.done.push(Done {
            cell: attack.cell,
            tenant: gate.tenant,
            device: None,
            begin: attack.begin,
            end: attack.end.min(world.end).max(last),
            instance: attack.instance,
        });
        let between = (BETWEEN * HOUR as f64) as u64;
        gate.next_at = now + between + pause(&mut gate.dice, gate.hours, gate.queue.len());
    }

    /// Attacks that are still under way when the run ends.
    pub(super) fn finish(&mut self, world: &World, devices: &mut [Device]) {
        for lane in &mut self.lanes {
            let device = lane.device.take().and_then(|device| devices.get_mut(device as usize));
            let Some(device) = device else { continue };
            let tenant = world.groups.get(lane.group).map_or(0, |group| group.tenant);
            self.done.extend(device.attack.take().and_then(|attack| done(&attack, tenant, device)));
        }
        for gate in &mut self.gates {
            self.done.extend(gate.attack.take().map(|attack| Done {
                cell: attack.cell,
                tenant: gate.tenant,
                device: None,
                begin: attack.begin,
                end: attack.end.min(world.end),
                instance: attack.instance,
            }));
        }
    }

    pub(super) fn spec(&self, cell: usize) -> Option<&Spec> {
        self.specs.get(cell)
    }
}

/// A random part of the hours that are left between attacks.
fn pause(dice: &mut Dice, hours: f64, attacks: usize) -> u64 {
    let mean = hours.max(0.0) / (attacks as f64 + 1.0);
    ((mean * dice.exponential()).min(hours.max(0.0) / 2.0) * HOUR as f64) as u64
}

fn done(attack: &Attack, tenant: u32, device: &Device) -> Option<Done> {
    // Without one act there was no attack.
    let begin = attack.first?;
    Some(Done {
        cell: attack.cell,
        tenant,
        device: Some(device.number),
        begin,
        end: if attack.class == Class::Slowite { attack.end } else { attack.last },
        instance: attack.instance,
    })
}
