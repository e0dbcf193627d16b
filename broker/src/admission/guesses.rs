//! Wrong credentials of one prefix: how many different pairs of name and credential, and the step that follows.
//!
//! 1. The same pair again is one old setting of one device, and counts once.
//! 2. Many pairs within an hour make the prefix slow: its wrong answers wait.
//! 3. Many more make it closed: signatures are checked at a bounded rate. Tokens that got in from the prefix before have a
//!    rate of their own, and each CONNECT that is accepted gives its place back, so that honest neighbours are served.
//!
//! A step ends by itself. Nothing here refuses a good credential for good.

use std::time::Duration;

use super::bucket::Bucket;
use crate::limits::{
    DOOR_CHECKS_PER_SECOND, DOOR_KNOWN, DOOR_STEP, GUESSED_CREDENTIALS, GUESSES_AGAIN,
    GUESSES_CLOSED, GUESSES_HOUR, GUESSES_SLOW, GUESSES_SLOW_MOST, GUESSES_USUAL_HOURS,
};

/// Words of the set of pairs.
const PAIRS: usize = 16;

/// How the door treats a prefix.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub(crate) enum Step {
    /// As any other.
    #[default]
    Open,
    /// Answers to wrong credentials wait.
    Slow,
    /// The same, and signatures are checked at a bounded rate.
    Closed,
}

impl Step {
    /// The label in metrics and logs.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Slow => "slow",
            Self::Closed => "closed",
        }
    }
}

/// A wrong credential, by marks that nothing leads back from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Guess {
    /// Of the credential; 0 when none was shown.
    pub(crate) credential: u64,
    /// Of the credential with the name.
    pub(crate) pair: u64,
}

/// The count of a wrong credential.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Counted {
    /// Whether the pair is new.
    pub(crate) is_new: bool,
    pub(crate) step: Step,
    /// Different pairs that led to the step, when it has just begun.
    pub(crate) began: Option<u32>,
}

/// The wrong credentials of a prefix.
#[derive(Default)]
pub(super) struct Guesses {
    pairs: [u64; PAIRS],
    count: u32,
    credentials: u64,
    /// When the count began.
    since: Duration,
    step: Step,
    until: Duration,
    known: Bucket,
    others: Bucket,
    pub(super) waiting: usize,
}

impl Guesses {
    pub(super) fn new(now: Duration) -> Self {
        Self { since: now, ..Self::default() }
    }

    /// The step at this time.
    pub(super) fn step(&mut self, now: Duration) -> Step {
        if self.step != Step::Open && now >= self.until {
            self.step = Step::Open;
            self.count_anew(now);
        } else if self.step == Step::Open && now.saturating_sub(self.since) >= GUESSES_HOUR {
            self.count_anew(now);
        }
        self.step
    }

    /// Counts a wrong credential; `usual` is the broker's usual hour.
    pub(super) fn count(&mut self, guess: Guess, usual: &mut UsualHour, now: Duration) -> Counted {
        let step = self.step(now);
        if !self.is_new(guess.pair) {
            return Counted { is_new: false, step, began: None };
        }
        self.count = self.count.saturating_add(1);
        self.credentials |= 1 << (guess.credential >> 7 & 63);
        if step == Step::Open {
            usual.count(now);
        }
        let most = match step {
            Step::Open => usual.bound(now),
            Step::Slow => GUESSES_CLOSED,
            Step::Closed => GUESSES_AGAIN,
        };
        // One credential with many names is one setting, up to a number that no site has.
        let is_varied = self.credentials.count_ones() >= GUESSED_CREDENTIALS;
        let most = if is_varied { most } else { most.saturating_mul(4) };
        if step == Step::Slow && self.count.is_multiple_of(GUESSES_AGAIN) {
            self.until = now + DOOR_STEP;
        }
        if self.count < most {
            return Counted { is_new: true, step, began: None };
        }
        let count = self.count;
        self.step = if step == Step::Open { Step::Slow } else { Step::Closed };
        self.until = now + DOOR_STEP;
        self.count_anew(now);
        if self.step == Step::Closed && step != Step::Closed {
            let full = Bucket::full(DOOR_CHECKS_PER_SECOND, now);
            (self.known, self.others) = (full, full);
        }
        let began = (self.step != step).then_some(count);
        Counted { is_new: true, step: self.step, began }
    }

    /// Whether a signature may be checked; `is_known` when the token got in from here before.
    pub(super) fn may_check(&mut self, is_known: bool, now: Duration) -> bool {
        let per_second = DOOR_CHECKS_PER_SECOND;
        self.step(now) != Step::Closed
            || (is_known && self.known.take(per_second, now))
            || self.others.take(per_second, now)
    }

    /// A CONNECT was accepted: its check cost nothing.
    pub(super) fn let_in(&mut self, is_known: bool) {
        let bucket = if is_known { &mut self.known } else { &mut self.others };
        bucket.give_back(DOOR_CHECKS_PER_SECOND);
    }

    fn count_anew(&mut self, now: Duration) {
        (self.pairs, self.count, self.credentials, self.since) = ([0; PAIRS], 0, 0, now);
    }

    fn is_new(&mut self, mark: u64) -> bool {
        let word = self.pairs.get_mut((mark >> 6) as usize % PAIRS);
        word.is_some_and(|word| {
            let bit = 1 << (mark & 63);
            let is_new = *word & bit == 0;
            *word |= bit;
            is_new
        })
    }
}

/// The hour of all prefixes together that have no step, as it usually is.
#[derive(Default)]
pub(super) struct UsualHour {
    since: Duration,
    pairs: u32,
    /// The mean of an hour, times [`GUESSES_USUAL_HOURS`].
    sum: u32,
}

impl UsualHour {
    fn count(&mut self, now: Duration) {
        self.turn(now);
        self.pairs = self.pairs.saturating_add(1);
    }

    /// Pairs of a prefix from which on it is slow.
    fn bound(&mut self, now: Duration) -> u32 {
        self.turn(now);
        let usual = self.sum / GUESSES_USUAL_HOURS;
        GUESSES_SLOW.saturating_add(usual.saturating_mul(2)).min(GUESSES_SLOW_MOST)
    }

    fn turn(&mut self, now: Duration) {
        // After a long silence the rest is forgotten all the same.
        for _ in 0..2 * GUESSES_USUAL_HOURS {
            if now.saturating_sub(self.since) < GUESSES_HOUR {
                return;
            }
            // An hour teaches no more than it may bear.
            let pairs = std::mem::take(&mut self.pairs).min(GUESSES_SLOW_MOST);
            self.sum = self.sum - self.sum / GUESSES_USUAL_HOURS + pairs;
            self.since += GUESSES_HOUR;
        }
        (self.since, self.sum) = (now, 0);
    }
}

/// Marks of the tokens that got in from a prefix, the newest last.
#[derive(Default)]
pub(super) struct Known(Vec<u64>);

impl Known {
    pub(super) fn has(&self, mark: u64) -> bool {
        self.0.contains(&mark)
    }

    pub(super) fn add(&mut self, mark: u64) {
        if self.has(mark) {
            return;
        }
        if self.0.len() >= DOOR_KNOWN {
            self.0.remove(0);
        }
        self.0.push(mark);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Duration = Duration::from_secs(90_000);

    fn guess(number: u64) -> Guess {
        let spread = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Guess { credential: spread, pair: spread.rotate_left(29) }
    }

    struct Prefix {
        guesses: Guesses,
        usual: UsualHour,
        next: u64,
    }

    impl Prefix {
        fn new() -> Self {
            Self { guesses: Guesses::new(START), usual: UsualHour::default(), next: 1 }
        }

        /// Further pairs until a step begins: how many were new.
        fn until(&mut self, step: Step, now: Duration) -> u32 {
            let mut new = 0;
            loop {
                self.next += 1;
                assert!(self.next < 5_000, "no step {step:?}");
                let counted = self.guesses.count(guess(self.next), &mut self.usual, now);
                new += u32::from(counted.is_new);
                if counted.step == step {
                    return new;
                }
            }
        }
    }

    #[test]
    fn steps_follow_one_another_and_end_by_themselves() {
        let mut prefix = Prefix::new();
        assert_eq!(prefix.until(Step::Slow, START), GUESSES_SLOW);
        assert_eq!(prefix.until(Step::Closed, START), GUESSES_CLOSED);
        let last = START + DOOR_STEP - Duration::from_secs(1);
        assert_eq!(prefix.guesses.step(last), Step::Closed);
        assert_eq!(prefix.guesses.step(START + DOOR_STEP), Step::Open);
        // It is counted from the beginning.
        assert_eq!(prefix.until(Step::Slow, START + DOOR_STEP), GUESSES_SLOW);
    }

    #[test]
    fn a_step_goes_on_while_further_pairs_come_and_no_longer() {
        let mut prefix = Prefix::new();
        prefix.until(Step::Slow, START);
        prefix.until(Step::Closed, START);
        let later = START + DOOR_STEP / 2;
        let mut new = 0;
        while new < GUESSES_AGAIN {
            prefix.next += 1;
            let counted = prefix.guesses.count(guess(prefix.next), &mut prefix.usual, later);
            assert_eq!((counted.step, counted.began), (Step::Closed, None));
            new += u32::from(counted.is_new);
        }
        assert_eq!(prefix.guesses.step(START + DOOR_STEP), Step::Closed);
        assert_eq!(prefix.guesses.step(later + DOOR_STEP), Step::Open);
    }

    #[test]
    fn the_same_pair_is_one_and_one_credential_of_many_names_is_one_setting() {
        let mut prefix = Prefix::new();
        for number in 0..10_000 {
            let counted = prefix.guesses.count(guess(7), &mut prefix.usual, START);
            assert_eq!((counted.is_new, counted.step), (number == 0, Step::Open));
        }
        let same = |pair| Guess { credential: 5, pair: guess(pair).pair };
        let mut new = 1;
        for number in 100.. {
            let counted = prefix.guesses.count(same(number), &mut prefix.usual, START);
            new += u32::from(counted.is_new);
            if counted.step == Step::Slow {
                break;
            }
            assert!(new < 1_000);
        }
        assert_eq!(new, 4 * GUESSES_SLOW);
    }

    #[test]
    fn old_pairs_are_forgotten_after_an_hour() {
        let mut prefix = Prefix::new();
        for hour in 0..10 {
            for number in 0..GUESSES_SLOW - 5 {
                let now = START + GUESSES_HOUR * hour;
                let guess = guess(number.into());
                assert_eq!(
                    prefix.guesses.count(guess, &mut UsualHour::default(), now).step,
                    Step::Open
                );
            }
        }
    }

    #[test]
    fn the_usual_hour_raises_the_bound_up_to_a_most() {
        let mut usual = UsualHour::default();
        assert_eq!(usual.bound(START), GUESSES_SLOW);
        let mut now = START;
        for _ in 0..10 * GUESSES_USUAL_HOURS {
            (0..12).for_each(|_| usual.count(now));
            now += GUESSES_HOUR;
        }
        let bound = usual.bound(now);
        assert!((GUESSES_SLOW + 22..=GUESSES_SLOW + 24).contains(&bound), "{bound}");
        for _ in 0..10 * GUESSES_USUAL_HOURS {
            (0..100_000).for_each(|_| usual.count(now));
            now += GUESSES_HOUR;
        }
        assert_eq!(usual.bound(now), GUESSES_SLOW_MOST);
        assert_eq!(usual.bound(now + GUESSES_HOUR * 1_000), GUESSES_SLOW);
    }

    #[test]
    fn a_closed_prefix_has_a_rate_of_checks_and_known_tokens_one_of_their_own() {
        let mut prefix = Prefix::new();
        assert!((0..10_000).all(|_| prefix.guesses.may_check(false, START)));
        prefix.until(Step::Slow, START);
        prefix.until(Step::Closed, START);
        let guesses = &mut prefix.guesses;
        let taken = (0..10_000).filter(|_| guesses.may_check(false, START)).count();
        assert_eq!(taken, DOOR_CHECKS_PER_SECOND as usize);
        assert!(guesses.may_check(true, START));
        assert!(!guesses.may_check(false, START));
        // An accepted CONNECT gives its place back.
        guesses.let_in(false);
        assert!(guesses.may_check(false, START));
        assert!(!guesses.may_check(false, START));
        let known = (1..10_000).filter(|_| guesses.may_check(true, START)).count();
        assert_eq!(known + 1, DOOR_CHECKS_PER_SECOND as usize);
        let moment = Duration::from_millis(1_000 / u64::from(DOOR_CHECKS_PER_SECOND));
        assert!(guesses.may_check(false, START + moment));
        assert!(!guesses.may_check(false, START + moment));
    }

    #[test]
    fn known_tokens_are_the_newest() {
        let mut known = Known::default();
        (0..=DOOR_KNOWN as u64).for_each(|mark| known.add(mark));
        known.add(DOOR_KNOWN as u64);
        assert!(!known.has(0) && known.has(1) && known.has(DOOR_KNOWN as u64));
    }
}
