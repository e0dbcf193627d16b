//! The verdicts of a set about one event: bits, from which the rules are read.

use super::{Lane, On};
use crate::rule::Rule;

/// The rules that hold for one event.
#[derive(Clone, Copy, Debug)]
pub struct Verdicts<'s> {
    pub(super) lane: &'s Lane,
    pub(super) on: On,
    /// Rules that were asked.
    pub(super) evaluated: u64,
    /// Rules that hold.
    pub(super) held: u64,
    /// Whether the evaluation broke, and the rules were taken to hold.
    pub(super) broke: bool,
}

impl<'s> Verdicts<'s> {
    #[inline]
    pub(super) fn none(lane: &'s Lane, on: On, broke: bool) -> Self {
        Self { lane, on, evaluated: 0, held: 0, broke }
    }

    /// Whether there is nothing to do or to count.
    pub fn is_empty(&self) -> bool {
        self.evaluated == 0
    }

    /// How many rules were asked.
    pub fn evaluated(&self) -> u32 {
        self.evaluated.count_ones()
    }

    /// The rule whose action is to be done: the strongest that holds and is enforced, of several the first by name.
    #[inline]
    pub fn strongest(&self) -> Option<&'s Rule> {
        self.enforced().next()
    }

    /// The rules that hold and are enforced, the strongest action first.
    pub fn enforced(&self) -> impl Iterator<Item = &'s Rule> {
        rules(self.lane, self.held & self.lane.enforced)
    }

    /// The rules in shadow that hold: what they would have done.
    pub fn would(&self) -> impl Iterator<Item = &'s Rule> {
        rules(self.lane, self.held & !self.lane.enforced)
    }
}

fn rules(lane: &Lane, bits: u64) -> impl Iterator<Item = &Rule> {
    let mut rest = bits;
    std::iter::from_fn(move || {
        let at = (rest != 0).then(|| rest.trailing_zeros() as usize)?;
        rest &= rest - 1;
        lane.rules.get(at)
    })
}
