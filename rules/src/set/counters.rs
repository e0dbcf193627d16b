//! Counts of a set, rule by rule. They stand apart from the set, so that each thread may have its own.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use tessera_token::time::UnixSeconds;

use super::{place, RuleSet, Verdicts};
use crate::limits;
use crate::rule::Rule;

/// The counts of the rules of one set.
#[derive(Debug)]
pub struct Counters {
    lanes: [Box<[Counter]>; 3],
}

#[derive(Debug, Default)]
struct Counter {
    evaluated: AtomicU64,
    held: AtomicU64,
    broke: AtomicU64,
    /// The second in which the present run of errors began.
    errors_since: AtomicU64,
    /// Errors since then, without a match.
    errors: AtomicU32,
}

/// The counts of one rule.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Counts<'s> {
    /// The rule. The events that held are what a rule in shadow would have done.
    pub rule: &'s Rule,
    /// Events that it was asked about.
    pub evaluated: u64,
    /// Events for which it held.
    pub held: u64,
    /// Events at which its evaluation broke.
    pub broke: u64,
    /// Whether it was suspended.
    pub suspended: bool,
}

impl Counters {
    /// Counters for a set, all 0.
    pub fn new(set: &RuleSet) -> Self {
        let lane = |at: usize| {
            let rules = set.lanes.get(at).map_or(0, |lane| lane.rules.len());
            (0..rules).map(|_| Counter::default()).collect()
        };
        Self { lanes: [lane(0), lane(1), lane(2)] }
    }

    /// Counters for a set that takes the place of another one: a rule that is the same in both goes on with its counts.
    pub fn after(set: &RuleSet, before: &RuleSet, counters: &Self) -> Self {
        let new = Self::new(set);
        for (counts, counter) in before.each_counter(counters) {
            for (rule, own) in set.each_counter(&new) {
                if rule == counts {
                    own.go_on(counter);
                }
            }
        }
        new
    }

    /// Counts the verdicts about one event, which a set of the same rules made. After
    /// [`limits::ERRORS`] errors within a minute without a match a rule is suspended: `suspended` is told of it once, and
    /// the set does not ask it again.
    pub fn add<'s>(
        &self,
        verdicts: &Verdicts<'s>,
        now: UnixSeconds,
        mut suspended: impl FnMut(&'s Rule),
    ) {
        let Some(lane) = self.lanes.get(place(verdicts.on)) else { return };
        let mut rest = verdicts.evaluated;
        while rest != 0 {
            let at = rest.trailing_zeros();
            let bit = 1_u64 << at;
            rest ^= bit;
            let Some(counter) = lane.get(at as usize) else { continue };
            counter.evaluated.fetch_add(1, Ordering::Relaxed);
            match (verdicts.broke, verdicts.held & bit != 0) {
                (true, _) => {
                    counter.broke.fetch_add(1, Ordering::Relaxed);
                    let before = &verdicts.lane.suspended;
                    if counter.is_hopeless(now)
                        && before.fetch_or(bit, Ordering::Relaxed) & bit == 0
                    {
                        verdicts.lane.rules.get(at as usize).map(&mut suspended);
                    }
                }
                (false, true) => {
                    counter.held.fetch_add(1, Ordering::Relaxed);
                    counter.errors.store(0, Ordering::Relaxed);
                }
                (false, false) => {}
            }
        }
    }

    /// The counts of each rule of the set that they were made for.
    pub fn read<'s>(&'s self, set: &'s RuleSet) -> impl Iterator<Item = Counts<'s>> {
        set.lanes.iter().zip(&self.lanes).flat_map(|(lane, counters)| {
            let suspended = lane.suspended.load(Ordering::Relaxed);
            lane.rules.iter().zip(counters).enumerate().map(move |(at, (rule, counter))| Counts {
                rule,
                evaluated: counter.evaluated.load(Ordering::Relaxed),
                held: counter.held.load(Ordering::Relaxed),
                broke: counter.broke.load(Ordering::Relaxed),
                suspended: suspended >> at & 1 == 1,
            })
        })
    }
}

impl RuleSet {
    /// Each rule with its counter.
    fn each_counter<'s>(
        &'s self,
        counters: &'s Counters,
    ) -> impl Iterator<Item = (&'s Rule, &'s Counter)> {
        let lanes = self.lanes.iter().zip(&counters.lanes);
        lanes.flat_map(|(lane, counters)| lane.rules.iter().zip(counters))
    }
}

impl Counter {
    fn go_on(&self, from: &Self) {
        let pairs = [
            (&self.evaluated, &from.evaluated),
            (&self.held, &from.held),
            (&self.broke, &from.broke),
        ];
        for (own, from) in pairs {
            own.store(from.load(Ordering::Relaxed), Ordering::Relaxed);
        }
    }

    /// Counts an error, and tells whether there were too many.
    fn is_hopeless(&self, now: UnixSeconds) -> bool {
        let since = self.errors_since.load(Ordering::Relaxed);
        if now.get().saturating_sub(since) >= 60 {
            self.errors_since.store(now.get(), Ordering::Relaxed);
            self.errors.store(0, Ordering::Relaxed);
        }
        self.errors.fetch_add(1, Ordering::Relaxed) + 1 >= limits::ERRORS
    }
}
