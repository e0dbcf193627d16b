//! Connections that become no session. They stay half open for their whole life and need not make room, so their number is
//! bounded in total and for each address prefix; so is how often a prefix may try what costs the broker work.

use std::time::Duration;

use hashbrown::HashMap;
use parking_lot::Mutex;
use tessera_token::refusal::RefusalCode;

use crate::admission::Prefix;
use crate::limits::{VISIT_BURST, VISIT_INTERVAL, VISIT_PART, VISIT_PREFIX_PART, VISIT_SOURCES};

/// The open connections of one kind, and the tries of their prefixes.
pub(crate) struct Visits {
    most: usize,
    sources: Mutex<Sources>,
}

#[derive(Default)]
struct Sources {
    known: HashMap<Prefix, Source>,
    open: usize,
}

#[derive(Default)]
struct Source {
    open: usize,
    /// When the tries so far would have been due, had they come one by one.
    due: Duration,
}

impl Visits {
    /// None yet; `half_open` is how many sockets may be half open.
    pub(crate) fn new(half_open: usize) -> Self {
        Self { most: (half_open / VISIT_PART).max(1), sources: Mutex::default() }
    }

    /// A place for a connection; `None` when its prefix, or all together, have as many as they may. `now` is monotonic, here
    /// and below.
    pub(crate) fn enter(&self, from: Prefix, now: Duration) -> Option<Visit<'_>> {
        let of_prefix = (self.most / VISIT_PREFIX_PART).max(1);
        let mut sources = self.sources.lock();
        if sources.open >= self.most {
            return None;
        }
        let source = sources.known(from, now).filter(|source| source.open < of_prefix)?;
        source.open += 1;
        sources.open += 1;
        Some(Visit { visits: self, from })
    }

    /// Counts a try: a burst, then one in an interval.
    ///
    /// # Errors
    /// `rate_limited`.
    pub(crate) fn may_try(&self, from: Prefix, now: Duration) -> Result<(), RefusalCode> {
        let mut sources = self.sources.lock();
        let source = sources.known(from, now).ok_or(RefusalCode::RateLimited)?;
        let due = source.due.max(now) + VISIT_INTERVAL;
        if due > now + VISIT_INTERVAL * VISIT_BURST {
            return Err(RefusalCode::RateLimited);
        }
        source.due = due;
        Ok(())
    }

    /// Takes a try back that was right, or that came to nothing by the fault of others.
    pub(crate) fn forgive(&self, from: Prefix) {
        if let Some(source) = self.sources.lock().known.get_mut(&from) {
            source.due = source.due.saturating_sub(VISIT_INTERVAL);
        }
    }
}

impl Sources {
    /// `None` when as many are remembered as may be.
    fn known(&mut self, from: Prefix, now: Duration) -> Option<&mut Source> {
        if self.known.len() >= VISIT_SOURCES && !self.known.contains_key(&from) {
            self.known.retain(|_, source| source.open > 0 || source.due > now);
            if self.known.len() >= VISIT_SOURCES {
                return None;
            }
        }
        Some(self.known.entry(from).or_default())
    }
}

/// The place of a connection; given back when dropped.
pub(crate) struct Visit<'a> {
    visits: &'a Visits,
    from: Prefix,
}

impl Drop for Visit<'_> {
    fn drop(&mut self) {
        let mut sources = self.visits.sources.lock();
        sources.open = sources.open.saturating_sub(1);
        if let Some(source) = sources.known.get_mut(&self.from) {
            source.open = source.open.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;
    use crate::limits::HALF_OPEN;

    fn from(number: u32) -> Prefix {
        Prefix::of(IpAddr::V4(Ipv4Addr::from_bits(number << 8)))
    }

    #[test]
    fn tries_come_in_a_burst_and_then_one_by_one() {
        let visits = Visits::new(HALF_OPEN);
        let mut now = Duration::from_secs(1);
        for _ in 0..VISIT_BURST {
            assert_eq!(visits.may_try(from(1), now), Ok(()));
        }
        assert_eq!(visits.may_try(from(1), now), Err(RefusalCode::RateLimited));
        assert_eq!(visits.may_try(from(2), now), Ok(()));
        now += VISIT_INTERVAL;
        assert_eq!(visits.may_try(from(1), now), Ok(()));
        assert_eq!(visits.may_try(from(1), now), Err(RefusalCode::RateLimited));
        assert_eq!(visits.may_try(from(2), now), Ok(()));
        // As many prefixes as are remembered; who has not tried for a while is forgotten.
        for number in 3..=VISIT_SOURCES as u32 {
            assert_eq!(visits.may_try(from(number), now), Ok(()));
        }
        assert_eq!(visits.may_try(from(999_999), now), Err(RefusalCode::RateLimited));
        now += VISIT_INTERVAL;
        assert_eq!(visits.may_try(from(999_999), now), Ok(()));
    }

    #[test]
    fn connections_have_few_places_and_one_prefix_a_part_of_them() {
        let visits = Visits::new(HALF_OPEN);
        let now = Duration::from_secs(1);
        let most = HALF_OPEN / VISIT_PART;
        let of_prefix = most / VISIT_PREFIX_PART;
        let mut held: Vec<_> =
            (0..of_prefix).map(|_| visits.enter(from(0), now).expect("a place")).collect();
        assert!(visits.enter(from(0), now).is_none());
        for number in of_prefix..most {
            let source = from((number / of_prefix) as u32);
            held.push(visits.enter(source, now).expect("a place"));
        }
        assert!(visits.enter(from(999), now).is_none());
        drop(held.pop());
        let last = visits.enter(from(999), now).expect("what is given back");
        assert!(visits.enter(from(998), now).is_none());
        drop((held, last));
        // The least there can be is one.
        let visits = Visits::new(1);
        let one = visits.enter(from(0), now).expect("a place");
        assert!(visits.enter(from(1), now).is_none());
        drop(one);
        assert!(visits.enter(from(1), now).is_some());
    }

    #[test]
    fn a_prefix_with_an_open_connection_is_not_forgotten() {
        let visits = Visits::new(HALF_OPEN);
        let mut now = Duration::from_secs(1);
        let of_prefix = HALF_OPEN / VISIT_PART / VISIT_PREFIX_PART;
        let held: Vec<_> = (0..of_prefix).map(|_| visits.enter(from(0), now).unwrap()).collect();
        for round in 1..3 {
            for number in 1..VISIT_SOURCES as u32 {
                assert_eq!(visits.may_try(from(round * 10_000 + number), now), Ok(()));
            }
            now += VISIT_INTERVAL;
        }
        assert!(visits.enter(from(0), now).is_none());
        drop(held);
        assert!(visits.enter(from(0), now).is_some());
    }

    #[test]
    fn a_right_try_costs_its_prefix_nothing() {
        let visits = Visits::new(HALF_OPEN);
        let now = Duration::from_secs(1);
        for _ in 0..10 * VISIT_BURST {
            assert_eq!(visits.may_try(from(1), now), Ok(()));
            visits.forgive(from(1));
        }
        for _ in 0..VISIT_BURST {
            assert_eq!(visits.may_try(from(1), now), Ok(()));
        }
        assert_eq!(visits.may_try(from(1), now), Err(RefusalCode::RateLimited));
        // A prefix that is not known has nothing to take back.
        visits.forgive(from(2));
    }
}
