//! One device on the virtual clock: its timers, its sessions, its messages.
//!
//! A step of the generator lets each device go through its timers up to the end of the step. Times of one device never
//! go back, so its observations are in order within their session.

use tessera_behaviour::observation::Fault;
use tessera_token::refusal::RefusalCode;

use super::super::dice::Dice;
use super::super::scenario::Addresses;
use super::super::world::{
    Group, Own, RunMillis, Shape, Step, Topic, World, DAY, HOUR, MINUTE, NEVER, SECOND, SLOT,
};
mod messages;
mod session;
mod steps;

use super::hostile::Attack;
use super::record::{Address, Kind, Opening, Sink, What};

/// Messages that a device sends in ten seconds when it has been without network.
const BACKLOG_IN_TEN_SECONDS: u32 = 200;
/// Commands that wait for a device without a session.
const INBOX: usize = 16;

/// A device.
#[derive(Debug)]
pub(super) struct Device {
    pub(super) number: u32,
    pub(super) group: u32,
    pub(super) own: Own,
    shape: Shape,
    pub(super) dice: Dice,
    /// The level of the hour, with what software and people changed.
    rate: f64,
    size: f64,
    gust: f64,
    /// Ends of the shares of its topics, of 65,536.
    topics: [u32; 4],
    update: (f64, f64, f64),
    pub(super) factor: f64,
    // Timers.
    publish_at: RunMillis,
    session_at: RunMillis,
    rare_at: RunMillis,
    trip_at: RunMillis,
    step_at: RunMillis,
    pub(super) act_at: RunMillis,
    pub(super) wake: RunMillis,
    /// The time of its last observation.
    pub(super) last: RunMillis,
    // Session.
    pub(super) sessions: u32,
    pub(super) session: u32,
    pub(super) up: bool,
    /// The session of a device that only visits stays open for an attack.
    pub(super) held: bool,
    opened: RunMillis,
    off: bool,
    down_since: Option<RunMillis>,
    gap: u32,
    pub(super) software: u32,
    pub(super) key: u32,
    pub(super) address: Address,
    exit: u64,
    steps: Vec<(RunMillis, Step)>,
    pub(super) inbox: Vec<RunMillis>,
    pub(super) targets: Vec<u32>,
    // The measures of an attack.
    slot_bytes: u64,
    pub(super) top: [u64; 3],
    pub(super) published: RunMillis,
    pub(super) attack: Option<Box<Attack>>,
    pub(super) was_attacked: bool,
    /// Causes that were not planned: name, begin, end.
    pub(super) happened: Vec<(&'static str, RunMillis, RunMillis)>,
}

impl Device {
    pub(super) fn of(world: &World, number: u32, group: &Group) -> Self {
        let traits = &*group.traits;
        let own = Own::of(traits, world.seed, number);
        let mut dice = Dice::of(world.seed, "flow", u64::from(number));
        let home = world.homes.get(number as usize);
        let begin = home.map_or(0, |home| home.begin);
        let mut device = Self {
            number,
            group: home.map_or(0, |home| home.group),
            own,
            shape: Shape::of(world.seed, number),
            rate: 1.0,
            size: 1.0,
            gust: 1.0,
            topics: [65_536; 4],
            update: (1.0, 1.0, 0.0),
            factor: 1.0,
            publish_at: NEVER,
            session_at: NEVER,
            rare_at: NEVER,
            trip_at: NEVER,
            step_at: NEVER,
            act_at: NEVER,
            wake: 0,
            last: 0,
            sessions: 0,
            session: 0,
            up: false,
            held: false,
            opened: 0,
            off: false,
            down_since: None,
            gap: 0,
            software: group.software,
            key: (dice.word() >> 32) as u32 | 1,
            address: Address::Home(0, 0),
            exit: dice.below(group.link.exits.max(1)),
            steps: home.map(|home| home.steps.clone()).unwrap_or_default(),
            inbox: Vec::new(),
            targets: Vec::new(),
            slot_bytes: 0,
            top: [0; 3],
            published: 0,
            attack: None,
            was_attacked: false,
            happened: Vec::new(),
            dice,
        };
        if traits.trip_days > 0.0 {
            device.off = true;
            device.trip_at = begin.div_ceil(DAY) * DAY;
        } else if traits.visits {
            device.publish_at = begin + (device.dice.unit() * traits.period_ms) as u64;
        } else {
            device.session_at = begin + device.dice.below(HOUR);
        }
        device.rare_at = begin + device.until_rare(group);
        device.step_at = device.steps.last().map_or(NEVER, |(at, _)| *at);
        device.plan_wake(traits.visits);
        device
    }

    fn plan_wake(&mut self, visits: bool) {
        // Acts of a device that only visits are done at its visits.
        let act_at =
            if visits && !self.held && self.acts_at_visits() { NEVER } else { self.act_at };
        self.wake = self
            .publish_at
            .min(self.session_at)
            .min(self.rare_at)
            .min(self.trip_at)
            .min(self.step_at)
            .min(act_at);
    }

    fn acts_at_visits(&self) -> bool {
        self.attack.as_ref().is_some_and(|attack| attack.is_at_visits())
    }

    /// Goes through the step that begins at `begin`.
    pub(super) fn run(&mut self, world: &World, group: &Group, begin: RunMillis, sink: &mut Sink) {
        let traits = &*group.traits;
        let end = begin + SLOT;
        self.enter(group, begin);
        if traits.gust > 0.0 {
            self.gust = (traits.gust * self.dice.normal() - traits.gust * traits.gust / 2.0).exp();
        }
        loop {
            self.plan_wake(traits.visits);
            let at = self.wake;
            if at >= end {
                break;
            }
            if at == self.publish_at {
                if traits.visits {
                    self.visit(world, group, at, sink);
                } else {
                    let mut until = self.session_at.min(self.rare_at).min(self.trip_at);
                    until = until.min(self.step_at).min(self.act_at).min(end - 1);
                    self.messages(group, until, sink);
                }
            } else if at == self.step_at {
                self.step(world, group, at, sink);
            } else if at == self.act_at {
                self.act(world, group, at, sink);
            } else if at == self.session_at {
                self.turn_session(world, group, at, sink);
            } else if at == self.trip_at {
                self.turn_trip(world, group, at, sink);
            } else {
                self.rare(group, at, sink);
            }
        }
        self.close_slot(group, begin, sink);
    }

    /// The levels of the hour in which `at` lies.
    fn enter(&mut self, group: &Group, at: RunMillis) {
        if self.shape.next > at / HOUR {
            return;
        }
        let mut level = self.shape.step(group, &self.own);
        while self.shape.next <= at / HOUR {
            level = self.shape.step(group, &self.own);
        }
        self.rate = level.rate * self.update.0 * self.factor;
        self.size = level.size * self.update.1;
        let traits = &*group.traits;
        let mut shares = self.own.topics;
        let (mut sum, mix) = (0.0, self.update.2);
        for share in shares.iter_mut().take(traits.topics) {
            if traits.topic_sway > 0.0 {
                *share *= (traits.topic_sway * self.dice.normal()).exp();
            }
            sum += *share;
        }
        let bent = self.attack.as_ref().map_or(0.0, |attack| attack.mix(at));
        let (mut total, last) = (0.0, traits.topics.saturating_sub(1));
        for (place, (end, share)) in self.topics.iter_mut().zip(shares).enumerate() {
            let even = if place <= last { 1.0 / traits.topics as f64 } else { 0.0 };
            let honest = share / sum * (1.0 - mix) + even * mix;
            total += honest * (1.0 - bent) + if place == last { bent } else { 0.0 };
            *end = if place >= last { 65_536 } else { (total * 65_536.0) as u32 };
        }
    }

    fn emit(&mut self, at: RunMillis, what: What, sink: &mut Sink) {
        self.last = self.last.max(at);
        sink.push(self.last, self.number, self.session, what);
    }

    pub(super) fn told(&mut self, at: RunMillis) {
        if self.inbox.len() < INBOX {
            self.inbox.push(at);
        }
    }

    fn close_slot(&mut self, group: &Group, begin: RunMillis, sink: &mut Sink) {
        if self.up && !self.inbox.is_empty() {
            self.take_inbox(sink);
        }
        let keep_alive = u64::from(group.traits.keep_alive) * SECOND;
        let busy = group.traits.period_ms / (self.rate * self.gust).max(0.01);
        if self.up && keep_alive > 0 && busy > keep_alive as f64 && self.opened < begin {
            let count = (SLOT / keep_alive).max(1) as u32;
            let at = begin + SLOT - 1 - self.dice.below(10 * SECOND);
            self.emit(at, What::Pinged(count), sink);
        }
        let bytes = std::mem::take(&mut self.slot_bytes);
        let [first, second, third] = self.top;
        if bytes > third {
            self.top = match () {
                () if bytes > first => [bytes, first, second],
                () if bytes > second => [first, bytes, second],
                () => [first, second, bytes],
            };
        }
    }

    /// Whether it has been up and publishing of late, so that an attack finds something.
    pub(super) fn is_active(&self, now: RunMillis) -> bool {
        !self.off
            && self.down_since.is_none()
            && self.published + HOUR > now
            && self.published > 0
            && self.rate > 0.5 * self.own.rate * self.update.0 * self.factor
    }

    pub(super) const fn can_send(&self) -> bool {
        !self.off && self.down_since.is_none()
    }

    /// Whether it never works at this hour.
    pub(super) fn is_idle_hour(&self) -> bool {
        self.rate < 0.01
    }

    /// The next session is opened then.
    pub(super) const fn comes_back_at(&mut self, at: RunMillis) {
        self.publish_at = NEVER;
        self.session_at = at;
    }
}
