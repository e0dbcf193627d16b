//! The messages of a device.

use super::*;

impl Device {
    /// Milliseconds until the next firing.
    pub(super) fn until_firing(&mut self, group: &Group) -> u64 {
        let traits = &*group.traits;
        let rate = self.rate * self.gust;
        if rate < 0.01 {
            return HOUR;
        }
        let mean = traits.period_ms / rate;
        let turn = match traits.jitter > 0.0 {
            true => 1.0 - traits.jitter + traits.jitter * self.dice.exponential(),
            false => 1.0,
        };
        ((mean * turn) as u64).max(1)
    }

    /// Publishes of a session that is open, up to a time.
    pub(super) fn messages(&mut self, group: &Group, until: RunMillis, sink: &mut Sink) {
        while self.publish_at <= until {
            let at = self.publish_at;
            if self.rate * self.gust >= 0.01 || group.traits.day <= 1.0 {
                self.fire(group, at, sink);
            }
            self.publish_at = at + self.until_firing(group);
        }
    }

    pub(super) fn fire(&mut self, group: &Group, at: RunMillis, sink: &mut Sink) {
        let traits = &*group.traits;
        let word = self.dice.word();
        let lost = (word & 0xffff) as f64;
        if lost < (traits.lost + group.link.loss) * 65_536.0 {
            return;
        }
        let late = group.link.latency_ms * (0.5 + ((word >> 16) & 0xffff) as f64 / 65_536.0);
        let at = at + late as u64;
        let (mut count, mut factor) = (traits.burst, 1.0);
        if let Some(attack) = &mut self.attack {
            (count, factor) = attack.bend(at, count, self.number);
        }
        if traits.service {
            let target = self.dice.pick(&self.targets).copied();
            if let Some(target) = target {
                self.command(group, target, at, sink);
            }
        } else if count == 1 {
            let bytes = self.bytes_of(group, factor);
            let topic = self.topic(((word >> 32) & 0xffff) as u32);
            self.published(at, topic, 1, bytes, sink);
        } else {
            self.batch(group, at, count, factor, sink);
        }
    }

    /// A command of a service to a device.
    pub(in crate::detection::flow) fn command(
        &mut self,
        group: &Group,
        target: u32,
        at: RunMillis,
        sink: &mut Sink,
    ) {
        let bytes = self.bytes_of(group, 1.0);
        self.published(at, Topic::command(target), 1, bytes, sink);
        sink.commands.push((target, at + 20));
    }

    pub(super) fn topic(&self, word: u32) -> Topic {
        let place = self.topics.iter().position(|end| word < *end);
        Topic::data(self.number, place.unwrap_or(0) as u32)
    }

    /// Bytes of one message.
    pub(super) fn bytes_of(&mut self, group: &Group, factor: f64) -> u64 {
        let traits = &*group.traits;
        let mut bytes = traits.bytes * self.size * factor;
        if traits.size_sd > 0.0 {
            let sd = traits.size_sd as f32;
            bytes *= f64::from((sd * self.dice.normal() as f32 - sd * sd / 2.0).exp());
        }
        (bytes as u64).max(1)
    }

    pub(in crate::detection::flow) fn published(
        &mut self,
        at: RunMillis,
        topic: Topic,
        count: u32,
        bytes: u64,
        sink: &mut Sink,
    ) {
        self.slot_bytes += bytes;
        self.published = at;
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        self.emit(at, What::Published { topic, count, bytes }, sink);
    }

    /// Messages that come together: one observation a topic and ten seconds.
    pub(super) fn batch(
        &mut self,
        group: &Group,
        mut at: RunMillis,
        count: u32,
        factor: f64,
        sink: &mut Sink,
    ) {
        let mut left = count;
        while left > 0 {
            let now = left.min(BACKLOG_IN_TEN_SECONDS);
            left -= now;
            let mut counts = [0_u32; 4];
            for _ in 0..now {
                let word = (self.dice.word() & 0xffff) as u32;
                let place = self.topics.iter().position(|end| word < *end).unwrap_or(0);
                if let Some(count) = counts.get_mut(place) {
                    *count += 1;
                }
            }
            for (place, count) in counts.into_iter().enumerate().filter(|(_, count)| *count > 0) {
                let bytes = match count {
                    1..=16 => (0..count).map(|_| self.bytes_of(group, factor)).sum(),
                    _ => {
                        let noise = group.traits.size_cv / f64::from(count).sqrt();
                        let mean = group.traits.bytes * self.size * factor * f64::from(count);
                        (mean * (1.0 + noise * self.dice.normal()).max(0.1)) as u64
                    }
                };
                let topic = Topic::data(self.number, place as u32);
                self.published(at + place as u64 * 100, topic, count, bytes, sink);
            }
            at += 10 * SECOND;
        }
    }

    /// A session for one firing.
    pub(super) fn visit(&mut self, world: &World, group: &Group, at: RunMillis, sink: &mut Sink) {
        self.publish_at = at + self.until_firing(group);
        if self.down_since.is_some() || self.rate * self.gust < 0.01 {
            return;
        }
        let was_up = self.up;
        if !was_up {
            self.open(world, group, at, sink);
        }
        let at = self.last.max(at) + 100;
        self.fire(group, at, sink);
        self.take_inbox(sink);
        if self.acts_at_visits() {
            self.acts_until(world, group, at, sink);
        }
        if !was_up && !self.held {
            let clean = self.dice.chance(group.traits.clean);
            self.close(self.last + 200, clean, sink);
        }
    }

    pub(super) fn take_inbox(&mut self, sink: &mut Sink) {
        for at in std::mem::take(&mut self.inbox) {
            let at = at.max(self.opened + 200);
            let bytes = 40 + self.dice.below(100) as u32;
            let topic = Topic::command(self.number);
            self.last = self.last.max(at);
            sink.push(at, self.number, self.session, What::Received { topic, bytes });
        }
    }
}
