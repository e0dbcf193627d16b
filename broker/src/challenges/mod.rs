//! How many challenges (AUTH 0x18) peers may have before they are let in: open at once and in a second, of one address
//! prefix and all together; and how often one session re-authenticates. A challenge costs the broker randomness, a
//! packet and a half-open place, and may be relayed to a device that does not know for whom it answers.

mod limits;
#[cfg(test)]
mod tests;

pub use limits::{AceChallenge, ChallengeLimits};

use std::time::Duration;

use hashbrown::HashMap;
use parking_lot::Mutex;
use tessera_token::refusal::RefusalCode;

use crate::admission::Prefix;
use crate::limits::{
    CHALLENGES_OPEN, CHALLENGES_OPEN_PER_PREFIX, CHALLENGE_SOURCES, REAUTHENTICATIONS_AT_ONCE,
    REAUTHENTICATION_EVERY,
};

/// The books of all challenges that are not answered yet.
pub(crate) struct Challenges {
    offer: AceChallenge,
    limits: ChallengeLimits,
    book: Mutex<Book>,
}

#[derive(Default)]
struct Book {
    open: usize,
    rate: Rate,
    known: HashMap<Prefix, Source>,
}

#[derive(Default)]
struct Source {
    open: usize,
    rate: Rate,
}

/// When the takes so far would have been due, had they come one by one.
#[derive(Clone, Copy, Default)]
struct Rate(Duration);

impl Rate {
    /// Takes one: `burst` at once, then one in each `every`.
    fn take(&mut self, now: Duration, every: Duration, burst: u32) -> bool {
        let due = self.0.max(now) + every;
        let taken = due <= now + every * burst;
        if taken {
            self.0 = due;
        }
        taken
    }

    /// As many in a second as `most`, also at once.
    fn take_of_second(&mut self, now: Duration, most: u32) -> bool {
        self.take(now, Duration::from_secs(1) / most.max(1), most)
    }
}

impl Challenges {
    /// No challenge yet.
    pub(crate) fn new(offer: AceChallenge, limits: ChallengeLimits) -> Self {
        Self { offer, limits, book: Mutex::default() }
    }

    /// Whether the challenge of RFC 9431 lets in on a connection that is encrypted, or not.
    ///
    /// # Errors
    /// `challenge_not_allowed`.
    pub(crate) fn may_let_in(&self, encrypted: bool) -> Result<(), RefusalCode> {
        let offered = match self.offer {
            AceChallenge::Never => false,
            AceChallenge::ClearOnly => !encrypted,
            AceChallenge::Always => true,
        };
        offered.then_some(()).ok_or(RefusalCode::ChallengeNotAllowed)
    }

    /// Whether it renews a session that began with the method `ace`. Over TLS that has proved its key over the exporter
    /// unless the challenge may let in there too, so a relay of a challenge has no session to renew.
    ///
    /// # Errors
    /// `challenge_not_allowed`.
    pub(crate) fn may_renew(&self) -> Result<(), RefusalCode> {
        match self.offer {
            AceChallenge::Never => Err(RefusalCode::ChallengeNotAllowed),
            AceChallenge::ClearOnly | AceChallenge::Always => Ok(()),
        }
    }

    /// A place for one challenge of either method. `now` is monotonic.
    ///
    /// # Errors
    /// `rate_limited` when the prefix has too many, `limit_reached` when all together have.
    pub(crate) fn open(&self, from: Prefix, now: Duration) -> Result<Open<'_>, RefusalCode> {
        let mut book = self.book.lock();
        let Book { open, rate, known } = &mut *book;
        if known.len() >= CHALLENGE_SOURCES && !known.contains_key(&from) {
            known.retain(|_, source| source.open > 0 || source.rate.0 > now);
            if known.len() >= CHALLENGE_SOURCES {
                return Err(RefusalCode::LimitReached);
            }
        }
        if *open >= CHALLENGES_OPEN {
            return Err(RefusalCode::LimitReached);
        }
        // A challenge that the rate of all refuses costs its prefix nothing.
        let mut taken = *rate;
        if !taken.take_of_second(now, self.limits.per_second) {
            return Err(RefusalCode::LimitReached);
        }
        let source = known.entry(from).or_default();
        if source.open >= CHALLENGES_OPEN_PER_PREFIX
            || !source.rate.take_of_second(now, self.limits.per_second_of_prefix)
        {
            return Err(RefusalCode::RateLimited);
        }
        *rate = taken;
        source.open += 1;
        *open += 1;
        Ok(Open { challenges: self, from })
    }
}

/// The place of a challenge that is not answered yet; given back when dropped.
pub(crate) struct Open<'a> {
    challenges: &'a Challenges,
    from: Prefix,
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        let mut book = self.challenges.book.lock();
        book.open = book.open.saturating_sub(1);
        if let Some(source) = book.known.get_mut(&self.from) {
            source.open = source.open.saturating_sub(1);
        }
    }
}

/// How often one connection re-authenticates.
#[derive(Default)]
pub(crate) struct Again(Rate);

impl Again {
    /// Counts one. `now` is monotonic.
    ///
    /// # Errors
    /// `rate_limited`.
    pub(crate) fn take(&mut self, now: Duration) -> Result<(), RefusalCode> {
        let taken = self.0.take(now, REAUTHENTICATION_EVERY, REAUTHENTICATIONS_AT_ONCE);
        taken.then_some(()).ok_or(RefusalCode::RateLimited)
    }
}
