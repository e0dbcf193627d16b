//! Which readers of the feed admit devices, and under which verifier name. A connect proof is good once for each replay
//! ledger, and every verifier process has a ledger of its own, so two processes with one name take one proof each. Both
//! are told, and so are the log and the metric.
//!
//! A process draws a number at its start and tells it with its name. A restarted verifier has a new number, and the old
//! one is not seen again. A number that is seen *after another one took its place* is a second process that runs.
//!
//! No reader is refused: a feed token alone would then be enough to shut a broker out, by polling under its name.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;
use tessera_token::ids::VerifierName;
use tessera_token::trust::TenantSetId;

use crate::limits::{READERS_OF_A_NAME, VERIFIER_KEPT, VERIFIER_NAMES, VERIFIER_NAMES_OF_SHARE};

/// The number that a reader drew at its start.
pub(crate) type ReaderNumber = u128;

/// The name and the number of a reader, as a poll tells them.
pub(crate) struct Admits {
    /// `None`: its account is of all tenants.
    pub(crate) of: Option<Customer>,
    pub(crate) name: VerifierName,
    pub(crate) reader: ReaderNumber,
}

/// An account of some tenants.
pub(crate) struct Customer {
    /// The name under which limits count ([`crate::operators::Operator::share`]).
    pub(crate) share: String,
    /// The tenants.
    pub(crate) set: TenantSetId,
}

/// The readers that were seen lately. Times are monotonic. Names of accounts of some tenants are apart from those of all
/// and from those of other tenants: no customer hears of another's names, or takes their room.
#[derive(Default)]
pub(crate) struct Readers {
    all: Mutex<Names>,
    bound: Mutex<Names>,
}

/// Those of each share; accounts of all tenants are one.
#[derive(Default)]
struct Names(HashMap<String, HashMap<Key, Named>>);

type Key = (Option<TenantSetId>, VerifierName);

struct Named {
    latest: ReaderNumber,
    seen: Duration,
    /// Those whose place another one took, and when each was last seen.
    former: Vec<(ReaderNumber, Duration)>,
    /// When a former one was last seen again.
    shared: Option<Duration>,
}

/// The effect of a poll.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Noticed {
    /// Nothing new.
    Nothing,
    /// From now on the name counts as shared.
    Shared,
    /// There is no room for one more name.
    Full,
}

impl Readers {
    /// A reader polls.
    pub(crate) fn polls(&self, by: &Admits, now: Duration) -> Noticed {
        let mut names = self.of(by).lock();
        if let Some(named) = names.0.get_mut(by.share()).and_then(|of| of.get_mut(&by.key())) {
            return named.polls(by.reader, now);
        }
        if names.are_full(by) {
            names.forget(now);
        }
        if names.are_full(by) {
            return Noticed::Full;
        }
        let first = Named { latest: by.reader, seen: now, former: Vec::new(), shared: None };
        names.0.entry(by.share().to_owned()).or_default().insert(by.key(), first);
        Noticed::Nothing
    }

    /// Whether two processes of this name were seen in turns lately.
    pub(crate) fn is_shared(&self, by: &Admits, now: Duration) -> bool {
        let names = self.of(by).lock();
        let named = names.0.get(by.share()).and_then(|of| of.get(&by.key()));
        named.is_some_and(|named| named.is_shared(now))
    }

    fn of(&self, by: &Admits) -> &Mutex<Names> {
        if by.of.is_some() {
            &self.bound
        } else {
            &self.all
        }
    }

    /// How many names are shared at present. Readers that are gone are forgotten.
    pub(crate) fn sweep(&self, now: Duration) -> usize {
        let shared = |names: &Mutex<Names>| {
            let mut names = names.lock();
            names.forget(now);
            names.0.values().flat_map(HashMap::values).filter(|named| named.is_shared(now)).count()
        };
        shared(&self.all) + shared(&self.bound)
    }
}

impl Admits {
    fn key(&self) -> Key {
        (self.of.as_ref().map(|customer| customer.set), self.name.clone())
    }

    fn share(&self) -> &str {
        self.of.as_ref().map_or("", |customer| &customer.share)
    }
}

impl Names {
    /// Whether there is no room for one more name of this reader's share.
    fn are_full(&self, by: &Admits) -> bool {
        let most = if by.of.is_some() { VERIFIER_NAMES_OF_SHARE } else { VERIFIER_NAMES };
        self.0.get(by.share()).is_some_and(|of| of.len() >= most) || self.len() >= VERIFIER_NAMES
    }

    fn len(&self) -> usize {
        self.0.values().map(HashMap::len).sum()
    }

    /// Forgets the readers that are gone.
    fn forget(&mut self, now: Duration) {
        self.0.retain(|_, of| {
            of.retain(|_, named| is_recent(named.seen, now));
            !of.is_empty()
        });
    }
}

impl Named {
    fn polls(&mut self, reader: ReaderNumber, now: Duration) -> Noticed {
        if reader == self.latest {
            self.seen = now;
            return Noticed::Nothing;
        }
        self.former.retain(|(_, seen)| is_recent(*seen, now));
        let before = self.former.iter().position(|(known, _)| *known == reader);
        let again = match before {
            Some(at) => {
                self.former.swap_remove(at);
                true
            }
            // More than restarts explain.
            None => self.former.len() >= READERS_OF_A_NAME,
        };
        if self.former.len() < READERS_OF_A_NAME {
            self.former.push((self.latest, self.seen));
        }
        (self.latest, self.seen) = (reader, now);
        let known = self.is_shared(now);
        if again {
            self.shared = Some(now);
        }
        match again && !known {
            true => Noticed::Shared,
            false => Noticed::Nothing,
        }
    }

    fn is_shared(&self, now: Duration) -> bool {
        self.shared.is_some_and(|at| is_recent(at, now))
    }
}

fn is_recent(at: Duration, now: Duration) -> bool {
    now.saturating_sub(at) <= VERIFIER_KEPT
}

#[cfg(test)]
mod tests {
    use tessera_token::ids::TenantId;
    use tessera_token::trust::TenantSet;

    use super::*;

    fn by(name: &str, reader: ReaderNumber) -> Admits {
        Admits { of: None, name: VerifierName::parse(name).unwrap(), reader }
    }

    fn of(tenant: &str, by: Admits) -> Admits {
        of_set(&[tenant], by)
    }

    fn of_set(tenants: &[&str], by: Admits) -> Admits {
        let ids = tenants.iter().map(|tenant| TenantId::parse(tenant).unwrap());
        let set = TenantSet::new(ids).unwrap().id();
        Admits { of: Some(Customer { share: format!("of {}", tenants[0]), set }), ..by }
    }

    #[test]
    fn names_of_other_tenants_are_other_names() {
        let readers = Readers::default();
        for second in 0..8 {
            let reader = u128::from(second % 3);
            let one = match second % 3 {
                0 => by("mqtt", reader),
                1 => of("a", by("mqtt", reader)),
                _ => of("b", by("mqtt", reader)),
            };
            assert_eq!(readers.polls(&one, at(second)), Noticed::Nothing);
            assert!(!readers.is_shared(&one, at(second)));
        }
        for (second, reader) in [(10, 7), (11, 1)] {
            readers.polls(&of("a", by("mqtt", reader)), at(second));
        }
        assert!(readers.is_shared(&of("a", by("mqtt", 1)), at(12)));
        assert!(!readers.is_shared(&of("b", by("mqtt", 1)), at(12)));
        assert!(!readers.is_shared(&by("mqtt", 1), at(12)));
    }

    #[test]
    fn names_that_a_customer_makes_up_take_the_room_of_no_others() {
        let readers = Readers::default();
        for number in 0..VERIFIER_NAMES {
            let made_up = by(&format!("n{number}"), 1);
            let tenants: &[&str] = if number % 2 == 0 { &["a"] } else { &["a", "aa"] };
            let noticed = readers.polls(&of_set(tenants, made_up), at(12));
            assert_eq!(noticed == Noticed::Full, number >= VERIFIER_NAMES_OF_SHARE, "{number}");
        }
        assert_eq!(readers.polls(&by("new", 1), at(12)), Noticed::Nothing);
        // And those of another are watched.
        for (second, reader) in [(13, 1), (14, 2), (15, 1)] {
            readers.polls(&of("b", by("new", reader)), at(second));
        }
        assert!(readers.is_shared(&of("b", by("new", 1)), at(16)));
        // All customers together have a bound too.
        for tenant in 0..VERIFIER_NAMES / VERIFIER_NAMES_OF_SHARE {
            for number in 0..VERIFIER_NAMES_OF_SHARE {
                readers.polls(&of(&format!("t{tenant}"), by(&format!("n{number}"), 1)), at(16));
            }
        }
        assert_eq!(readers.bound.lock().len(), VERIFIER_NAMES);
        assert_eq!(readers.polls(&of("last", by("new", 1)), at(16)), Noticed::Full);
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn two_processes_in_turns_share_a_name_and_restarts_do_not() {
        let readers = Readers::default();
        // One process, restarted twice.
        for (second, reader) in [(0, 1), (10, 1), (12, 2), (20, 2), (21, 3), (30, 3)] {
            assert_eq!(readers.polls(&by("mqtt", reader), at(second)), Noticed::Nothing);
        }
        assert!(!readers.is_shared(&by("mqtt", 3), at(30)));
        // A second one comes, and the first goes on.
        assert_eq!(readers.polls(&by("mqtt", 9), at(31)), Noticed::Nothing);
        assert_eq!(readers.polls(&by("mqtt", 3), at(40)), Noticed::Shared);
        assert_eq!(readers.polls(&by("mqtt", 9), at(41)), Noticed::Nothing, "told once");
        assert!(readers.is_shared(&by("mqtt", 3), at(41)));
        assert!(!readers.is_shared(&by("edge", 3), at(41)));
        assert_eq!(readers.sweep(at(41)), 1);
        // One of them ends.
        let over = at(42) + VERIFIER_KEPT;
        assert_eq!(readers.polls(&by("mqtt", 9), over), Noticed::Nothing);
        assert!(!readers.is_shared(&by("mqtt", 9), over));
        assert_eq!(readers.sweep(over), 0);
    }

    #[test]
    fn names_of_their_own_are_never_shared() {
        let readers = Readers::default();
        for second in 0..60 {
            let name = format!("gw-{}", second % 3);
            let reader = u128::from(second % 3);
            assert_eq!(readers.polls(&by(&name, reader), at(second)), Noticed::Nothing);
        }
        assert_eq!(readers.sweep(at(60)), 0);
    }

    #[test]
    fn everything_is_bounded_and_readers_that_are_gone_are_forgotten() {
        let readers = Readers::default();
        for number in 0..VERIFIER_NAMES {
            readers.polls(&by(&format!("n{number}"), 1), at(0));
        }
        assert_eq!(readers.polls(&by("one-more", 1), at(1)), Noticed::Full);
        let over = at(1) + VERIFIER_KEPT;
        assert_eq!(readers.polls(&by("one-more", 1), over), Noticed::Nothing);
        assert_eq!(readers.all.lock().len(), 1);
        // A crowd of one name larger than the memory of readers is noticed too.
        let crowd = u128::try_from(READERS_OF_A_NAME).unwrap() + 2;
        let noticed = (0..crowd).map(|reader| readers.polls(&by("crowd", reader), over));
        assert_eq!(noticed.filter(|noticed| *noticed == Noticed::Shared).count(), 1);
        let names = readers.all.lock();
        let mut kept = names.0.values().flat_map(HashMap::values);
        assert!(kept.all(|named| named.former.len() <= READERS_OF_A_NAME));
    }
}
