//! An attack on one device, or by one: how it bends the device's own messages, and its acts.

use tessera_behaviour::observation::Fault;

use super::super::dice::Dice;
use super::super::scenario::{Class, ComesFrom, Spec};
use super::super::world::{Group, RunMillis, Shape, World, DAY, HOUR, MINUTE, NEVER, SLOT};
use super::device::Device;
use super::record::{Address, Sink, What};

mod acts;

/// Acts of a device that only visits, in one visit.
const ACTS_IN_A_VISIT: usize = 2_000;

/// An attack that is under way.
#[derive(Debug)]
pub(super) struct Attack {
    /// Its place in the list of cells.
    pub(super) cell: usize,
    pub(super) class: Class,
    pub(super) instance: u64,
    pub(super) begin: RunMillis,
    pub(super) end: RunMillis,
    pub(super) first: Option<RunMillis>,
    pub(super) last: RunMillis,
    pub(super) is_over: bool,
    /// A factor, a share or a number, as the device makes it.
    pub(super) amount: f64,
    from: ComesFrom,
    is_silent: bool,
    gap_ms: f64,
    next: RunMillis,
    acts: u64,
    carry: f64,
    dice: Dice,
    address: Address,
    software: u32,
    keep_alive: u16,
    /// Sessions of others by the device's name: when they end, and their numbers.
    open: Vec<(RunMillis, u32)>,
}

impl Attack {
    pub(super) fn of(
        world: &World,
        group: &Group,
        device: &Device,
        spec: &Spec,
        cell: usize,
        instance: u64,
        now: RunMillis,
    ) -> Self {
        let mut dice = Dice::of(world.seed, "attack", instance);
        let begin = if spec.class == Class::Taught { now } else { now + dice.below(SLOT) };
        let traits = &*group.traits;
        let per_hour = match spec.class {
            Class::Clone => spec.amount.max(connects_in_an_hour(group)),
            Class::ExfilFast => 360.0,
            Class::Flood => 3_600.0,
            Class::Slowite => 3_600.0 * (spec.amount / 300.0).max(0.2),
            _ => spec.amount,
        };
        let amount = match spec.class {
            Class::ExfilSlow if spec.sigmas > 0.0 => {
                let days = world.end / DAY;
                let sigma = Shape::deviation(world.seed, device.number, group, days);
                spec.amount.max((spec.sigmas * sigma).exp()).min(50.0)
            }
            Class::ExfilFast => spec.amount * device.top[2] as f64 / 30.0,
            Class::Flood => spec.amount * usual_in_ten_seconds(group) / 10.0,
            _ => spec.amount,
        };
        let home = matches!(spec.from, ComesFrom::Home);
        let (prefix, host) = (dice.word() as u16, dice.word() as u8);
        let software = (dice.word() >> 32) as u32 | 1;
        Self {
            cell,
            class: spec.class,
            instance,
            begin,
            end: (begin + (spec.hours * HOUR as f64) as u64).min(world.end),
            first: None,
            last: begin,
            is_over: false,
            amount,
            from: spec.from,
            is_silent: home,
            gap_ms: HOUR as f64 / per_hour.max(1e-6),
            next: if spec.class.bends() { NEVER } else { begin },
            acts: 0,
            carry: 0.0,
            address: match spec.class == Class::Clone && home {
                true => device.address.neighbour(),
                false => Address::Foreign(prefix, host),
            },
            software: if spec.same_software { device.software } else { software },
            keep_alive: match spec.amount > 10.0 {
                true => u16::MAX,
                false => traits.keep_alive.max(60).saturating_mul(10),
            },
            open: Vec::new(),
            dice,
        }
    }

    fn touch(&mut self, at: RunMillis) {
        self.first.get_or_insert(at);
        self.last = self.last.max(at);
        self.acts += 1;
    }

    fn holds(&self, at: RunMillis) -> bool {
        (self.begin..self.end).contains(&at)
    }

    /// The share of the messages that goes to another topic.
    pub(super) fn mix(&self, at: RunMillis) -> f64 {
        match self.class == Class::Mix && self.holds(at) {
            true => self.amount,
            false => 0.0,
        }
    }

    /// Messages and factor on their size, for a firing of the device itself. Every second device sends more messages,
    /// the others larger ones.
    pub(super) fn bend(&mut self, at: RunMillis, count: u32, device: u32) -> (u32, f64) {
        if !self.class.bends() || !self.holds(at) {
            return (count, 1.0);
        }
        self.touch(at);
        match self.class {
            Class::ExfilSlow | Class::Taught if device % 2 == 1 => {
                let more = self.dice.poisson((self.amount - 1.0) * f64::from(count));
                (count + more as u32, 1.0)
            }
            Class::ExfilSlow | Class::Taught => (count, self.amount),
            Class::Ramp => {
                let days = (at - self.begin) as f64 / DAY as f64;
                (count, (1.0 + self.amount).powf(days))
            }
            _ => (count, 1.0),
        }
    }

    /// Whether its acts are done while a device that visits is there.
    pub(super) const fn is_at_visits(&self) -> bool {
        matches!(self.class, Class::Probe)
    }

    /// Until the next act: around the mean, never at the same distance.
    fn gap(&mut self) -> u64 {
        let turn = if self.gap_ms < 5_000.0 { 1.0 } else { self.dice.between(0.5, 1.5) };
        ((self.gap_ms * turn) as u64).max(1)
    }

    fn next_at(&self) -> RunMillis {
        let closes = self.open.iter().map(|(at, _)| *at).min().unwrap_or(NEVER);
        self.next.min(closes).min(self.end)
    }
}

/// CONNECTs of the victim itself.
fn connects_in_an_hour(group: &Group) -> f64 {
    let traits = &*group.traits;
    let between = if traits.visits { traits.period_ms } else { traits.session_ms };
    HOUR as f64 / between.max(60_000.0)
}

/// About the 99th percentile of the messages in ten seconds in which there are any.
fn usual_in_ten_seconds(group: &Group) -> f64 {
    let traits = &*group.traits;
    let busy = (1.0 + traits.day) * (2.0 * traits.gust + 2.0 * traits.mood).exp();
    let mean = if traits.visits { 1.0 } else { 10_000.0 / traits.period_ms * busy };
    let firings = (mean + 2.33 * (mean * traits.jitter).sqrt()).ceil().max(1.0);
    firings * f64::from(traits.burst)
}

impl Device {
    /// An attack begins.
    pub(super) fn is_attacked_by(&mut self, attack: Attack) {
        self.act_at = attack.next_at();
        self.wake = self.wake.min(self.act_at);
        self.was_attacked = true;
        self.attack = Some(Box::new(attack));
    }

    /// The timer of the attack.
    pub(super) fn act(&mut self, world: &World, group: &Group, at: RunMillis, sink: &mut Sink) {
        let Some(mut attack) = self.attack.take() else {
            self.act_at = NEVER;
            return;
        };
        self.close_of_others(&mut attack, at, sink);
        if at >= attack.end {
            attack.is_over = true;
            self.act_at = NEVER;
            self.close_of_others(&mut attack, NEVER, sink);
            if std::mem::take(&mut self.held) {
                self.close(at, true, sink);
            }
        } else if at >= attack.next {
            let waits = attack.class.needs_session() && !self.can_send();
            let hour_is_used =
                attack.class == Class::Command && attack.amount <= 1.0 && !self.is_idle_hour();
            if waits {
                attack.next = at + SLOT;
                if attack.acts == 0 || attack.end - attack.begin <= HOUR {
                    attack.end = (attack.end + SLOT).min(world.end);
                }
            } else if hour_is_used {
                attack.next = (at / HOUR + 1) * HOUR + attack.dice.below(20 * MINUTE);
            } else {
                attack.next = at + attack.gap();
                self.one(world, group, &mut attack, at, sink);
            }
        }
        if !attack.is_over {
            self.act_at = attack.next_at().max(at + 1);
        }
        self.attack = Some(attack);
    }

    /// Acts that are due while a device that visits is there.
    pub(super) fn acts_until(
        &mut self,
        world: &World,
        group: &Group,
        at: RunMillis,
        sink: &mut Sink,
    ) {
        let Some(mut attack) = self.attack.take() else { return };
        for _ in 0..ACTS_IN_A_VISIT {
            if attack.next > at || attack.next >= attack.end {
                break;
            }
            attack.next += attack.gap();
            self.one(world, group, &mut attack, self.last, sink);
        }
        attack.is_over |= at >= attack.end;
        self.act_at = if attack.is_over { NEVER } else { attack.next_at() };
        self.attack = Some(attack);
    }

    /// Ends the sessions of others that are due.
    fn close_of_others(&mut self, attack: &mut Attack, at: RunMillis, sink: &mut Sink) {
        attack.open.retain(|(end, session)| {
            let is_due = *end <= at;
            if is_due {
                let at = if at == NEVER { attack.end } else { at };
                sink.push(at, self.number, *session, What::Closed { clean: false });
            }
            !is_due
        });
    }

    /// One act.
    fn one(
        &mut self,
        world: &World,
        group: &Group,
        attack: &mut Attack,
        at: RunMillis,
        sink: &mut Sink,
    ) {
        match attack.class {
            Class::Theft | Class::Replay => self.shown_outside(attack, at, sink),
            Class::Clone => self.second_holder(group, attack, at, sink),
            Class::Slowite => self.silent_session(attack, at, sink),
            Class::Probe => self.foreign_topic(world, group, attack, at, sink),
            Class::Malformed => {
                let fault = match attack.dice.below(4) {
                    0 => Fault::Protocol,
                    1 => Fault::TopicInvalid,
                    _ => Fault::Malformed,
                };
                self.broken(world, group, at, fault, sink);
            }
            Class::Flap => self.flap(world, group, attack, at, sink),
            Class::Command => self.foreign_target(world, group, attack, at, sink),
            Class::Flood | Class::ExfilFast => self.burst(world, group, attack, at, sink),
            Class::Stuffing
            | Class::ProbeSpread
            | Class::ExfilSlow
            | Class::Ramp
            | Class::Mix
            | Class::Taught => {}
        }
        attack.touch(self.last.max(at));
    }
}
