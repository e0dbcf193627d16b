//! Steps that were planned, and rare honest events.

use super::*;

impl Device {
    /// Plans a step.
    pub(in crate::detection::flow) fn later(&mut self, at: RunMillis, step: Step) {
        let place = self.steps.partition_point(|(other, _)| *other > at);
        self.steps.insert(place, (at, step));
        self.step_at = self.steps.last().map_or(NEVER, |(at, _)| *at);
    }

    pub(super) fn step(&mut self, world: &World, group: &Group, at: RunMillis, sink: &mut Sink) {
        let step = self.steps.pop();
        self.step_at = self.steps.last().map_or(NEVER, |(at, _)| *at);
        let traits = &*group.traits;
        match step.map(|(_, step)| step) {
            Some(Step::Update { messages, bytes, mix, software }) => {
                self.update = (f64::from(messages), f64::from(bytes), f64::from(mix));
                self.rate *= self.update.0;
                self.size *= self.update.1;
                self.software = software;
                if self.up {
                    self.open(world, group, at, sink);
                }
            }
            Some(Step::Factor(factor)) => {
                self.factor *= f64::from(factor);
                self.rate *= f64::from(factor);
            }
            Some(Step::Down) => {
                self.down_since = self.down_since.or(Some(at));
                if self.up {
                    self.publish_at = if traits.visits { self.publish_at } else { NEVER };
                    self.later(at + u64::from(traits.keep_alive) * 1_500, Step::Noticed);
                }
            }
            Some(Step::Back) => self.back(world, group, at, sink),
            Some(Step::Noticed) if self.up => {
                self.emit(at, What::Faulted(Fault::KeepAlive), sink);
                self.close(at, false, sink);
                self.publish_at = if traits.visits { self.publish_at } else { NEVER };
                self.session_at = at + self.dice.below(20 * SECOND);
            }
            Some(Step::Noticed) => {}
            Some(Step::Refused(code)) => sink.outside(at, self.number, code, self.address),
            Some(Step::Connect { gap }) => {
                self.gap = gap;
                if !traits.visits && !self.off && self.down_since.is_none() {
                    self.open(world, group, at, sink);
                }
            }
            Some(Step::Mistake) => {
                self.refused(world, group, at, Topic::mistake(self.number), Kind::Own, sink);
            }
            Some(Step::Former) => {
                self.refused(world, group, at, Topic::former(self.number), Kind::Owner, sink);
            }
            Some(Step::Probe { of }) => {
                self.refused(world, group, at, Topic::data(of, 0), Kind::Owner, sink);
            }
            Some(Step::Broken) => self.broken(world, group, at, Fault::Malformed, sink),
            None => {}
        }
    }

    /// The network is back: what was kept is sent.
    pub(super) fn back(&mut self, world: &World, group: &Group, at: RunMillis, sink: &mut Sink) {
        let Some(since) = self.down_since.take() else { return };
        self.steps.retain(|(_, step)| *step != Step::Noticed);
        self.step_at = self.steps.last().map_or(NEVER, |(at, _)| *at);
        if self.off {
            return;
        }
        let traits = &*group.traits;
        self.open(world, group, at, sink);
        let firings = (at - since) as f64 * self.rate.max(0.0) / traits.period_ms;
        let kept = (firings * f64::from(traits.burst)).min(f64::from(traits.backlog)) as u32;
        if !traits.service {
            self.batch(group, at + SECOND, kept, 1.0, sink);
        }
        if traits.visits {
            let clean = self.dice.chance(traits.clean);
            self.close(self.last + 300, clean, sink);
        } else {
            self.publish_at = self.last + self.until_firing(group);
        }
    }

    pub(super) fn until_rare(&mut self, group: &Group) -> u64 {
        let sum = group.traits.rare.iter().sum::<f64>() + group.link.outages_a_day;
        match sum > 0.0 {
            true => (self.dice.exponential() / sum * DAY as f64) as u64 + 1,
            false => NEVER / 2,
        }
    }

    /// Rare and honest: flat batteries, former names, mistakes, wrong clocks, expired tokens, broken packets, outages.
    pub(super) fn rare(&mut self, group: &Group, at: RunMillis, sink: &mut Sink) {
        self.rare_at = at + self.until_rare(group);
        let [battery, renamed, mistake, clock, expired, malformed] = group.traits.rare;
        let kinds =
            [battery, renamed, mistake, clock, expired, malformed, group.link.outages_a_day];
        let mut left = self.dice.unit() * kinds.iter().sum::<f64>();
        let kind = kinds.iter().position(|rate| {
            left -= rate;
            left < 0.0
        });
        let soon = self.dice.below(20 * SECOND);
        match kind {
            Some(0) => {
                self.close(at, false, sink);
                let tries = 1 + self.dice.below(2);
                for number in 0..tries {
                    let at = at + (number + 1) * 40 * SECOND + soon;
                    self.later(at, Step::Refused(RefusalCode::ProofReplayed));
                }
                self.later(at + 4 * MINUTE + soon, Step::Connect { gap: 1 });
                self.happened.push(("battery", at, at + HOUR));
            }
            Some(1) => {
                self.later(at + soon, Step::Former);
                self.happened.push(("renamed", at, at + HOUR));
            }
            Some(2) => {
                for number in 0..1 + self.dice.below(12) {
                    self.later(at + number * 7 * MINUTE + soon, Step::Mistake);
                }
            }
            Some(3) => {
                self.close(at, false, sink);
                let tries = 3 + self.dice.below(6);
                for number in 0..tries {
                    let code = RefusalCode::ProofNotFresh;
                    self.later(at + number * 25 * SECOND + soon, Step::Refused(code));
                }
                self.later(at + tries * 25 * SECOND + 30 * SECOND, Step::Connect { gap: 0 });
            }
            Some(4) => {
                self.close(at, false, sink);
                self.later(at + soon, Step::Refused(RefusalCode::TokenExpired));
                self.later(at + soon + 3 * SECOND, Step::Connect { gap: 0 });
            }
            Some(5) => self.later(at + soon, Step::Broken),
            _ => {
                let (low, high) = group.link.outage_ms;
                let long = self.dice.ratio(low, high) as u64;
                self.later(at, Step::Down);
                self.later(at + long, Step::Back);
            }
        }
        if !self.up && !group.traits.visits {
            self.publish_at = NEVER;
            self.session_at = NEVER;
        }
    }
}
