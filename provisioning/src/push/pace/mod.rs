//! When each connected device is pushed its next token: spread over the time, also after a backlog. Pure: time and a
//! seed come from the caller.
//!
//! 1. A session has a place in time, a random one at 60 to 70 % of the life of its token, mostly before
//!    its device would ask. Of some random places the one
//!    in the emptiest second is taken, so that the seconds fill evenly.
//! 2. Where these seconds hold their share already (many tokens of one age, after a mass enrolment), the place is looked
//!    for in a wider part of the life, and wider again.
//! 3. A budget bounds what leaves in any second, beside the places: a backlog leaves at a little more than
//!    the mean rate of the fleet, the oldest tokens first.
//! 4. A push without success is tried again with a growing pause. When the token is nearly over, the device is left to
//!    itself: it asks for its token (pull).

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use hashbrown::HashMap;

use crate::limits::{
    PUSH_AGAIN_MILLIS, PUSH_ANSWER_MILLIS, PUSH_FREE_PER_SECOND, PUSH_LIFE_MILLIS_LEAST,
    PUSH_MOST_PERCENT, PUSH_PLACED_PERCENT, PUSH_SESSIONS, PUSH_SHARE_PERCENT, PUSH_TRIES,
};

/// Shares of a token's life in percent, in the order in which a place is looked for in them. The last one is for tokens
/// that are past the others.
const WINDOWS: [(i64, i64); 6] =
    [(60, 70), (50, 78), (40, 78), (25, 78), (10, 78), (10, AT_ONCE_PERCENT)];
/// From this share of its life on a token is pushed at once, and
const AT_ONCE_PERCENT: i64 = 88;
/// from this one on no more: the device asks by itself.
const OVER_PERCENT: i64 = 98;
/// From this share on a push is late.
const LATE_PERCENT: i64 = 80;
/// Places that are compared.
const CHOICES: usize = 8;
/// Milliseconds in which the peak fades.
const PEAK_MILLIS: u64 = 24 * 3_600_000;
/// A push a second, as a weight.
const WEIGHT: u64 = 1_000_000_000;

/// The number of a session.
pub(crate) type Id = u64;

/// The life of the token of a session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Life {
    /// Milliseconds since it was issued.
    pub(crate) age: u64,
    /// Milliseconds from its issue to its end.
    pub(crate) whole: u64,
}

/// A push that is due.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Due {
    pub(crate) id: Id,
    /// Whether it is later than it should be.
    pub(crate) late: bool,
}

/// The sessions of one broker, and when each is due. Times are milliseconds of a clock that never goes back.
pub(crate) struct Pacer {
    known: HashMap<Id, Known>,
    /// Those that wait, by time.
    waits: BTreeSet<(u64, Id)>,
    /// Those whose time has come, by the end of their tokens.
    ready: BTreeSet<(i64, Id)>,
    /// Those that were sent, by the time at which that counts as failed.
    sent: BTreeSet<(u64, Id)>,
    /// Those that are left to themselves, by the end of their tokens.
    rests: BTreeSet<(i64, Id)>,
    /// How many wait in each second.
    load: HashMap<u64, u32>,
    /// The mean rate of all sessions, in parts of [`WEIGHT`].
    weight: u64,
    /// The highest of these, which fades within a day: a backlog is caught up at the rate of the whole fleet, also when
    /// sessions end meanwhile.
    peak: u64,
    /// Pushes a second that are never exceeded.
    most: u32,
    budget: Budget,
    draw: Draw,
}

#[derive(Clone, Copy)]
struct Known {
    born: i64,
    whole: i64,
    weight: u64,
    tries: u32,
    state: State,
}

#[derive(Clone, Copy)]
enum State {
    /// It is in none of the sets.
    New,
    Waits(u64),
    Ready,
    Sent(u64),
    /// It is left to itself until it has another token.
    Rests,
}

impl Known {
    fn new(life: Life, now: u64) -> Self {
        // A broker that tells of shorter lives gets no higher rate for it.
        let whole = life.whole.max(PUSH_LIFE_MILLIS_LEAST);
        let weight = WEIGHT * 100_000 / whole / PUSH_SHARE_PERCENT;
        Self {
            born: signed(now).saturating_sub(signed(life.age)),
            whole: signed(whole),
            weight,
            tries: 0,
            state: State::New,
        }
    }

    /// When this share of its life is over.
    fn at(&self, percent: i64) -> i64 {
        self.born.saturating_add(self.whole / 100 * percent + self.whole % 100 * percent / 100)
    }

    fn end(&self) -> i64 {
        self.born.saturating_add(self.whole)
    }

    fn is_past(&self, percent: i64, now: u64) -> bool {
        self.at(percent) <= signed(now)
    }
}

impl Pacer {
    /// Without sessions. At most so many pushes leave in a second.
    pub(crate) fn new(most: u32, seed: u64) -> Self {
        Self {
            known: HashMap::new(),
            waits: BTreeSet::new(),
            ready: BTreeSet::new(),
            sent: BTreeSet::new(),
            rests: BTreeSet::new(),
            load: HashMap::new(),
            weight: 0,
            peak: 0,
            most,
            budget: Budget::default(),
            draw: Draw(seed),
        }
    }

    /// A session has this token now. False when there are too many sessions: it is not pushed anything.
    pub(crate) fn session(&mut self, id: Id, life: Life, now: u64) -> bool {
        self.gone(id);
        if self.known.len() >= PUSH_SESSIONS {
            return false;
        }
        let known = Known::new(life, now);
        self.weight = self.weight.saturating_add(known.weight);
        self.known.insert(id, known);
        self.place(id, now);
        true
    }

    /// A session has ended, or takes no push any more.
    pub(crate) fn gone(&mut self, id: Id) {
        self.leave_place(id);
        if let Some(known) = self.known.remove(&id) {
            self.weight = self.weight.saturating_sub(known.weight);
        }
    }

    /// Sessions that wait for their time.
    pub(crate) fn waiting(&self) -> usize {
        self.waits.len() + self.ready.len()
    }

    /// The pushes that are due, at most `room`. Each is on its way until [`Pacer::session`], [`Pacer::gone`],
    /// [`Pacer::failed`] or [`Pacer::rest`] tells how it ended.
    pub(crate) fn take(&mut self, now: u64, room: usize) -> Vec<Due> {
        let passed = now.saturating_sub(self.budget.at).min(1000);
        self.peak = self.peak.saturating_sub(self.peak.saturating_mul(passed) / PEAK_MILLIS);
        self.peak = self.peak.max(self.weight);
        self.budget.refill(now, passed, self.ceiling());
        while let Some((at, id)) = self.waits.first().copied().filter(|(at, _)| *at <= now) {
            self.waits.remove(&(at, id));
            unload(&mut self.load, at);
            if let Some(known) = self.known.get_mut(&id) {
                known.state = State::Ready;
                self.ready.insert((known.end(), id));
            }
        }
        let mut due = Vec::new();
        while due.len() < room {
            let Some((end, id)) = self.ready.first().copied() else { break };
            let Some(known) = self.known.get_mut(&id) else { break };
            let is_over = known.is_past(OVER_PERCENT, now);
            if !is_over && !self.budget.take() {
                break;
            }
            self.ready.remove(&(end, id));
            if is_over {
                known.state = State::Rests;
                self.rests.insert((end, id));
                continue;
            }
            let until = now.saturating_add(PUSH_ANSWER_MILLIS);
            known.state = State::Sent(until);
            self.sent.insert((until, id));
            due.push(Due { id, late: known.is_past(LATE_PERCENT, now) });
        }
        due
    }

    /// Pushes that had no outcome in time; each is tried again.
    pub(crate) fn unanswered(&mut self, now: u64) -> Vec<Id> {
        let mut these = Vec::new();
        while let Some((_, id)) = self.sent.first().copied().filter(|(until, _)| *until <= now) {
            self.failed(id, now);
            these.push(id);
        }
        these
    }

    /// Whether a push of this session is on its way.
    pub(crate) fn is_sent(&self, id: Id) -> bool {
        self.known.get(&id).is_some_and(|known| matches!(known.state, State::Sent(_)))
    }

    /// A push has failed, and may succeed later.
    pub(crate) fn failed(&mut self, id: Id, now: u64) {
        self.leave_place(id);
        let jitter = self.draw.within(PUSH_AGAIN_MILLIS);
        let Some(known) = self.known.get_mut(&id) else { return };
        known.tries += 1;
        if known.tries > PUSH_TRIES || known.is_past(OVER_PERCENT, now) {
            return self.rest(id);
        }
        let pause = PUSH_AGAIN_MILLIS.saturating_mul(1 << known.tries.min(16));
        let at = now.saturating_add(pause / 2).saturating_add(jitter);
        self.wait(id, at);
    }

    /// The session is left to itself until it has another token.
    pub(crate) fn rest(&mut self, id: Id) {
        self.leave_place(id);
        if let Some(known) = self.known.get_mut(&id) {
            known.state = State::Rests;
            self.rests.insert((known.end(), id));
        }
    }

    /// Sessions whose tokens have ended, and the sessions with them: they are forgotten, also when the broker does not say
    /// that they have gone.
    pub(crate) fn ended(&mut self, now: u64) -> Vec<Id> {
        let mut these = Vec::new();
        while let Some((_, id)) = self.rests.first().copied().filter(|(end, _)| *end <= signed(now))
        {
            self.gone(id);
            these.push(id);
        }
        these
    }

    /// The mean rate of these sessions, in thousandths of a push a second.
    fn rate_millis(&self) -> u64 {
        self.weight / (WEIGHT / 1000)
    }

    /// The pushes that a second should hold at most.
    fn share(&self) -> u32 {
        let share = self.rate_millis().saturating_mul(PUSH_PLACED_PERCENT) / 100_000;
        u32::try_from(share).unwrap_or(u32::MAX).max(PUSH_FREE_PER_SECOND)
    }

    /// The pushes that may leave in a second, in thousandths.
    fn ceiling(&self) -> u64 {
        let peak = self.peak / (WEIGHT / 1000);
        let most = peak.saturating_mul(PUSH_MOST_PERCENT) / 100;
        most.max(u64::from(PUSH_FREE_PER_SECOND) * 1000).min(u64::from(self.most) * 1000)
    }

    fn place(&mut self, id: Id, now: u64) {
        let share = self.share();
        let Some(known) = self.known.get(&id).copied() else { return };
        if known.is_past(OVER_PERCENT, now) {
            return self.rest(id);
        }
        let mut best: Option<(u32, u64)> = None;
        for (from, to) in WINDOWS {
            let is_last = to == AT_ONCE_PERCENT;
            if known.is_past(to, now) || is_last && best.is_some() {
                continue;
            }
            let (from, to) = (unsigned(known.at(from)).max(now), unsigned(known.at(to)));
            let (load, at) = self.emptiest(from, to);
            if best.is_none_or(|(least, _)| load < least) {
                best = Some((load, at));
            }
            if load < share {
                break;
            }
        }
        self.wait(id, best.map_or(now, |(_, at)| at));
    }

    /// Of some random places the one in the emptiest second, with its load.
    fn emptiest(&mut self, from: u64, to: u64) -> (u32, u64) {
        let mut best = (u32::MAX, from);
        for _ in 0..CHOICES {
            let at = from.saturating_add(self.draw.within(to.saturating_sub(from).max(1)));
            let load = self.load.get(&(at / 1000)).copied().unwrap_or(0);
            if load < best.0 {
                best = (load, at);
            }
        }
        best
    }

    fn wait(&mut self, id: Id, at: u64) {
        let Some(known) = self.known.get_mut(&id) else { return };
        known.state = State::Waits(at);
        self.waits.insert((at, id));
        *self.load.entry(at / 1000).or_insert(0) += 1;
    }

    fn leave_place(&mut self, id: Id) {
        let Some(known) = self.known.get_mut(&id) else { return };
        match std::mem::replace(&mut known.state, State::New) {
            State::Waits(at) => {
                self.waits.remove(&(at, id));
                unload(&mut self.load, at);
            }
            State::Ready => drop(self.ready.remove(&(known.end(), id))),
            State::Sent(until) => drop(self.sent.remove(&(until, id))),
            State::Rests => drop(self.rests.remove(&(known.end(), id))),
            State::New => {}
        }
    }
}

fn unload(loads: &mut HashMap<u64, u32>, at: u64) {
    let second = at / 1000;
    if let Some(load) = loads.get_mut(&second) {
        *load = load.saturating_sub(1);
        if *load == 0 {
            loads.remove(&second);
        }
    }
}

/// A bucket of a tenth of a second, in millionths of a push.
#[derive(Default)]
struct Budget {
    left: u64,
    at: u64,
}

impl Budget {
    const ONE: u64 = 1_000_000;

    /// `per_second` in thousandths.
    fn refill(&mut self, now: u64, passed: u64, per_second: u64) {
        self.at = now;
        // Thousandths a second are millionths a millisecond.
        let most = per_second.saturating_mul(100).saturating_add(Self::ONE);
        self.left = self.left.saturating_add(passed.saturating_mul(per_second)).min(most);
    }

    fn take(&mut self) -> bool {
        match self.left.checked_sub(Self::ONE) {
            Some(left) => {
                self.left = left;
                true
            }
            None => false,
        }
    }
}

/// Jitter from a seed (splitmix64): no secret comes from it.
struct Draw(u64);

impl Draw {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 0 up to `most`, which is no part of it.
    fn within(&mut self, most: u64) -> u64 {
        self.next() % most.max(1)
    }
}

fn signed(time: u64) -> i64 {
    i64::try_from(time).unwrap_or(i64::MAX)
}

fn unsigned(time: i64) -> u64 {
    u64::try_from(time).unwrap_or(0)
}
