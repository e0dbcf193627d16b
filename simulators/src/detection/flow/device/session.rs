//! The sessions of a device, and the addresses from which it opens them.

use super::*;

impl Device {
    /// Opens a session; one that is still open is taken over.
    pub(in crate::detection::flow) fn open(
        &mut self,
        world: &World,
        group: &Group,
        at: RunMillis,
        sink: &mut Sink,
    ) {
        let former = self.up.then_some(self.session);
        let at = self.last.max(at);
        self.address = self.address_at(world, group, at);
        self.sessions += 1;
        self.session = self.sessions;
        (self.up, self.opened, self.last) = (true, at, at);
        if std::mem::take(&mut self.gap) > 0 {
            let step = 1_000 + self.dice.below(100_000) as u32;
            self.emit(at, What::Skipped(step), sink);
        }
        let opening = Opening {
            address: self.address,
            key: self.key,
            software: self.software,
            keep_alive: group.traits.keep_alive,
            suffix: None,
        };
        sink.opened(at, self.number, self.session, opening);
        if let Some(former) = former {
            sink.push(at, self.number, former, What::Closed { clean: false });
        }
        let first = match group.traits.service {
            true => Topic::common(0),
            false => Topic::command(self.number),
        };
        for topic in
            [first, Topic::settings(self.number)].into_iter().take(group.traits.subscribes as usize)
        {
            self.emit(at + 30, What::Subscribed(topic), sink);
        }
        if !group.traits.visits {
            self.session_at = at + self.session_life(group);
            self.publish_at = at + self.until_firing(group).min(HOUR) / 2;
        }
    }

    pub(super) fn session_life(&mut self, group: &Group) -> u64 {
        let traits = &*group.traits;
        let life = traits.session_ms * (0.3 + 0.7 * self.dice.exponential());
        let life = if traits.token_ms > 0.0 { life.min(traits.token_ms) } else { life };
        (life as u64).max(SECOND)
    }

    pub(super) fn address_at(&mut self, world: &World, group: &Group, at: RunMillis) -> Address {
        let link = &group.link;
        let home = world.homes.get(self.number as usize);
        let (place, six) = home.map_or((0, false), |home| (home.place, home.ipv6));
        let hash = |purpose, number: u64| Dice::of(world.seed, purpose, number).word();
        match link.kind {
            Addresses::Site => {
                let word = hash("site", place);
                Address::Home((word >> 8) as u16, (word & 0xff) as u8)
            }
            Addresses::Home => {
                // A provider has a few prefixes, from which each lease takes one.
                let lease = at / link.lease.max(HOUR);
                let word = hash("lease", place << 20 | lease);
                let prefix = hash("provider", place << 2 | (word & 3));
                match six {
                    true => Address::Six((prefix >> 16) as u32, (word >> 32) as u32),
                    false => Address::Home(prefix as u16, (word >> 40) as u8),
                }
            }
            Addresses::Carrier => {
                if self.dice.chance(link.moves) {
                    self.exit = self.dice.below(link.exits.max(1));
                }
                let prefix = hash("exit", link.number << 8 | self.exit);
                let host = self.dice.word();
                match six {
                    true => Address::Six((prefix >> 16) as u32, host as u32),
                    false => Address::Home(prefix as u16, host as u8),
                }
            }
        }
    }

    pub(in crate::detection::flow) fn close(
        &mut self,
        at: RunMillis,
        clean: bool,
        sink: &mut Sink,
    ) {
        if self.up {
            self.emit(at, What::Closed { clean }, sink);
            self.up = false;
        }
    }

    /// The session ends, or one begins.
    pub(super) fn turn_session(
        &mut self,
        world: &World,
        group: &Group,
        at: RunMillis,
        sink: &mut Sink,
    ) {
        self.session_at = NEVER;
        if self.off || self.down_since.is_some() {
            return;
        }
        if !self.up {
            self.open(world, group, at, sink);
        } else if self.dice.chance(group.traits.clean) {
            self.close(at, true, sink);
            self.publish_at = NEVER;
            self.session_at = at + SECOND + self.dice.below(30 * SECOND);
        } else if self.dice.chance(0.6) || group.traits.keep_alive == 0 {
            // Back before the broker notices.
            let soon = self.dice.below(5 * SECOND);
            self.open(world, group, at + soon, sink);
        } else {
            self.publish_at = NEVER;
            self.later(at + u64::from(group.traits.keep_alive) * 1_500, Step::Noticed);
        }
    }

    pub(super) fn turn_trip(
        &mut self,
        world: &World,
        group: &Group,
        at: RunMillis,
        sink: &mut Sink,
    ) {
        let midnight = (at / DAY + 1) * DAY;
        if !self.off {
            self.off = true;
            let clean = self.dice.chance(group.traits.clean);
            self.close(at, clean, sink);
            (self.publish_at, self.session_at, self.trip_at) = (NEVER, NEVER, midnight);
            return;
        }
        self.enter(group, at);
        let (begin, end) = self.shape.trip;
        if end <= begin || at >= end {
            self.trip_at = midnight;
        } else if at < begin {
            self.trip_at = begin;
        } else {
            self.off = false;
            self.trip_at = end;
            if self.down_since.is_none() {
                self.open(world, group, at, sink);
            }
        }
    }

    /// Something is refused in its session; a device that visits opens one.
    pub(in crate::detection::flow) fn refused(
        &mut self,
        world: &World,
        group: &Group,
        at: RunMillis,
        topic: Topic,
        kind: Kind,
        sink: &mut Sink,
    ) {
        let was_up = self.up;
        if !was_up {
            if !group.traits.visits || self.down_since.is_some() {
                return;
            }
            self.open(world, group, at, sink);
        }
        let publish = matches!(kind, Kind::Own | Kind::Owner) || self.dice.chance(0.3);
        self.emit(at + 60, What::Refused { publish, topic, kind }, sink);
        if !was_up && !self.held {
            self.close(self.last + 200, true, sink);
        }
    }

    /// A packet that breaks the protocol ends the session; the next one comes at once.
    pub(in crate::detection::flow) fn broken(
        &mut self,
        world: &World,
        group: &Group,
        at: RunMillis,
        fault: Fault,
        sink: &mut Sink,
    ) {
        if self.off || self.down_since.is_some() {
            return;
        }
        if !self.up {
            self.open(world, group, at, sink);
        }
        self.emit(at + 50, What::Faulted(fault), sink);
        self.close(at + 60, false, sink);
        if !group.traits.visits || self.held {
            let again = at + 300 + self.dice.below(2 * SECOND);
            self.open(world, group, again, sink);
        }
    }
}
