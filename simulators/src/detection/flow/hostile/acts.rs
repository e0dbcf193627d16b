//! The acts of an attack, one by one.

use tessera_token::refusal::RefusalCode;

use super::super::super::scenario::{Class, ComesFrom};
use super::super::super::world::{Group, RunMillis, Topic, World, MINUTE, NEVER, SECOND};
use super::super::device::Device;
use super::super::record::{Kind, Opening, Sink, What};
use super::Attack;

/// Bytes of one message by which a device is emptied at once.
const LARGE: f64 = 60_000.0;

impl Device {
    pub(super) fn shown_outside(&mut self, attack: &mut Attack, at: RunMillis, sink: &mut Sink) {
        let code = match (attack.class, attack.dice.chance(0.5)) {
            (Class::Replay, _) => RefusalCode::ProofReplayed,
            (_, true) => RefusalCode::ProofMissing,
            (_, false) => RefusalCode::ProofInvalid,
        };
        let address = match attack.from {
            ComesFrom::Home => self.address.neighbour(),
            ComesFrom::Foreign => attack.address,
        };
        sink.outside(at, self.number, code, address);
    }

    /// A session of the second holder. It takes over the session of the first, or has a client id of its own.
    pub(super) fn second_holder(
        &mut self,
        group: &Group,
        attack: &mut Attack,
        at: RunMillis,
        sink: &mut Sink,
    ) {
        let takes_over = !attack.is_silent && attack.dice.chance(0.5);
        self.sessions += 1;
        let session = self.sessions;
        let opening = Opening {
            address: attack.address,
            key: self.key,
            software: attack.software,
            keep_alive: group.traits.keep_alive,
            suffix: (!takes_over).then_some(1),
        };
        sink.opened(at, self.number, session, opening);
        let mut end = at + 2 * MINUTE + attack.dice.below(15 * MINUTE);
        if takes_over && self.up {
            sink.push(at, self.number, self.session, What::Closed { clean: false });
            (self.up, self.held) = (false, false);
            if !group.traits.visits {
                end = at + 2 * SECOND + attack.dice.below(MINUTE);
                self.comes_back_at(end);
            }
        }
        if !attack.is_silent {
            let topic = Topic::command(self.number);
            sink.push(at + 40, self.number, session, What::Subscribed(topic));
            for number in 0..1 + attack.dice.below(3) {
                let topic = Topic::data(self.number, 0);
                let bytes = group.traits.bytes as u32 + 1;
                let what = What::Published { topic, count: 1, bytes };
                sink.push(at + 100 + number * 300, self.number, session, what);
            }
        }
        attack.open.push((end, session));
        // Two counters of one key: one of the two is behind.
        if attack.dice.chance(0.5) {
            let address = if attack.dice.chance(0.5) { self.address } else { attack.address };
            sink.outside(at + 500, self.number, RefusalCode::ProofReplayed, address);
        }
    }

    pub(super) fn silent_session(&mut self, attack: &mut Attack, at: RunMillis, sink: &mut Sink) {
        self.sessions += 1;
        let opening = Opening {
            address: self.address,
            key: self.key,
            software: self.software,
            keep_alive: attack.keep_alive,
            suffix: Some(self.sessions),
        };
        sink.opened(at, self.number, self.sessions, opening);
        attack.open.push((NEVER - 1, self.sessions));
        if attack.acts + 1 >= attack.amount as u64 {
            attack.next = NEVER;
        }
    }

    pub(super) fn foreign_topic(
        &mut self,
        world: &World,
        group: &Group,
        attack: &mut Attack,
        at: RunMillis,
        sink: &mut Sink,
    ) {
        let tenant = world.tenants.get(group.tenant as usize);
        let Some(tenant) = tenant else { return };
        let other = tenant.first + attack.dice.below(u64::from(tenant.devices)) as u32;
        let (topic, kind) = match attack.dice.below(10) {
            0 => (Topic::common(1 + attack.dice.below(3) as u32), Kind::Wide),
            1 => (Topic::common(4 + attack.dice.below(2) as u32), Kind::System),
            number if other != self.number => match number % 2 {
                0 => (Topic::command(other), Kind::Owner),
                _ => (Topic::data(other, 0), Kind::Owner),
            },
            _ => (Topic::common(2), Kind::Wide),
        };
        self.refused(world, group, at, topic, kind, sink);
    }

    pub(super) fn flap(
        &mut self,
        world: &World,
        group: &Group,
        attack: &mut Attack,
        at: RunMillis,
        sink: &mut Sink,
    ) {
        let was_up = self.up;
        if was_up {
            let clean = attack.dice.chance(0.3);
            self.close(at, clean, sink);
        }
        self.open(world, group, at + 100 + attack.dice.below(300), sink);
        if group.traits.visits && !self.held {
            self.close(self.last + 300, true, sink);
        }
    }

    /// A command to a device that the service never commanded.
    pub(super) fn foreign_target(
        &mut self,
        world: &World,
        group: &Group,
        attack: &mut Attack,
        at: RunMillis,
        sink: &mut Sink,
    ) {
        let Some(tenant) = world.tenants.get(group.tenant as usize) else { return };
        if !self.up {
            self.open(world, group, at, sink);
        }
        let from = attack.instance.wrapping_mul(31);
        for turn in 0..64 {
            let place = (from + (attack.acts + turn) * 7_919) % u64::from(tenant.devices);
            let target = tenant.first + place as u32;
            if target != self.number && !self.targets.contains(&target) {
                self.command(group, target, at, sink);
                return;
            }
        }
    }

    pub(super) fn burst(
        &mut self,
        world: &World,
        group: &Group,
        attack: &mut Attack,
        at: RunMillis,
        sink: &mut Sink,
    ) {
        if !self.up {
            self.open(world, group, at, sink);
            self.held = group.traits.visits;
        }
        let topic = if group.traits.service {
            Topic::command(self.targets.first().copied().unwrap_or(self.number))
        } else {
            Topic::data(self.number, 0)
        };
        let at = self.last.max(at);
        if attack.class == Class::ExfilFast {
            let count = (attack.amount / LARGE).ceil().max(1.0);
            self.published(at, topic, count as u32, attack.amount.max(1.0) as u64, sink);
            return;
        }
        attack.carry += attack.amount;
        let count = attack.carry.floor();
        attack.carry -= count;
        if count >= 1.0 {
            let bytes = group.traits.bytes * self.own.size * count;
            self.published(at, topic, count as u32, bytes.max(1.0) as u64, sink);
        }
    }
}
