//! The book alone, on a clock that moves when told.

use std::task::Waker;

use tessera_token::time::UnixSeconds;

use super::super::place::Phase;
use super::*;
use crate::clock::ManualClock;
use crate::limits::{SERVER_LOOK, SERVER_RANKED, SERVER_RANKING};
use crate::metrics::Metrics;

const MANY: usize = 4 * SERVER_RANKED;
const CROWD: Peer = Peer::V4([10, 0, 0, 1]);

struct Full {
    clock: Arc<ManualClock>,
    book: Arc<Book>,
    held: Vec<Held>,
}

/// A book whose places are all taken, the first by [`CROWD`] up to its bound; each turned to `phase` a millisecond after
/// the one before.
fn full(phase: Phase) -> Full {
    let clock = ManualClock::at(UnixSeconds::new(1_800_000_000));
    let limits = ServerLimits {
        workers: 1,
        connections: MANY,
        per_peer: MANY / 2,
        head: Duration::from_secs(5),
        idle: Duration::from_secs(30),
        request: Duration::from_secs(180),
        drain: Duration::from_secs(5),
    };
    let metrics = ServerMetrics::register(&Metrics::new(), "test").unwrap();
    let book = Book::new("tcp", &limits, clock.clone(), metrics);
    let mut full = Full { clock, book, held: Vec::new() };
    for n in 0..MANY {
        let peer = if n < MANY / 2 { CROWD } else { other(n) };
        let place = full.newcomer(peer).unwrap();
        place.0.turn(phase);
        full.held.push(place);
        full.clock.advance(Duration::from_millis(1));
    }
    full
}

fn other(n: usize) -> Peer {
    Peer::V4(u32::try_from(n).unwrap().to_be_bytes())
}

impl Full {
    fn newcomer(&self, peer: Peer) -> Option<Held> {
        match self.book.take(peer) {
            Taken::Place(place) => Some(place),
            Taken::Later(_) => None,
        }
    }

    /// Those of the first that were ended.
    fn ended(&self) -> Vec<usize> {
        let cx = Context::from_waker(Waker::noop());
        let all = self.held.iter().enumerate();
        all.filter(|(_, held)| held.0.is_lost(&cx)).map(|(n, _)| n).collect()
    }

    fn looked(&self) -> Option<u64> {
        self.book.places.lock().ranking.looked
    }
}

#[test]
fn of_many_the_oldest_idle_ones_go_first_one_for_each_newcomer() {
    let full = full(Phase::Idle);
    full.clock.advance(Duration::from_secs(2));
    let newcomers: Vec<_> = (0..100).map(|n| full.newcomer(other(MANY + n)).unwrap()).collect();
    assert_eq!(full.ended(), (0..100).collect::<Vec<_>>());
    assert_eq!(newcomers.len(), 100);
    // One look served them all.
    let looked = full.looked().unwrap();
    full.clock.advance(SERVER_RANKING - Duration::from_millis(1));
    let _more = full.newcomer(other(2 * MANY)).unwrap();
    assert_eq!(full.looked(), Some(looked));
    full.clock.advance(Duration::from_millis(1));
    let _more = full.newcomer(other(2 * MANY + 1)).unwrap();
    assert!(full.looked() > Some(looked));
}

/// A connection that was found idle and is active since is not ended by that finding.
#[test]
fn a_place_that_does_something_after_the_look_is_kept() {
    let full = full(Phase::Idle);
    full.clock.advance(Duration::from_secs(2));
    let _first = full.newcomer(other(MANY)).unwrap();
    full.held[1].0.turn(Phase::Working);
    full.held[2].0.progress();
    full.held[3].0.turn(Phase::Closing);
    let _second = full.newcomer(other(MANY + 1)).unwrap();
    assert_eq!(full.ended(), [0, 3]);
    let _third = full.newcomer(other(MANY + 2)).unwrap();
    assert_eq!(full.ended(), [0, 3, 4]);
}

/// Each newcomer does not look through all that are being answered.
#[test]
fn where_nothing_may_end_newcomers_wait_and_looks_are_few() {
    let full = full(Phase::Working);
    assert!(full.newcomer(other(MANY)).is_none());
    let looked = full.looked().unwrap();
    full.clock.advance(SERVER_LOOK - Duration::from_millis(1));
    full.held[7].0.turn(Phase::Closing);
    assert!(full.newcomer(other(MANY)).is_none());
    assert_eq!(full.looked(), Some(looked));
    full.clock.advance(Duration::from_millis(1));
    assert!(full.newcomer(other(MANY)).is_some());
    assert_eq!(full.ended(), [7]);
}

#[test]
fn a_peer_at_its_bound_takes_places_of_its_own_alone() {
    let full = full(Phase::Idle);
    full.clock.advance(Duration::from_secs(2));
    let gone = full.held[MANY - 1].0.peer;
    full.held[MANY - 1].0.turn(Phase::Closing);
    let _theirs = full.newcomer(CROWD).unwrap();
    assert_eq!(full.ended(), [0]);
    assert_ne!(gone, CROWD);
    let _others = full.newcomer(other(MANY)).unwrap();
    assert_eq!(full.ended(), [0, MANY - 1]);
}

/// A flood of silent connections gives up several at once, and the next newcomers find room.
#[test]
fn several_that_keep_the_server_waiting_go_at_once() {
    let full = full(Phase::Silent);
    full.clock.advance(Duration::from_secs(2));
    let _first = full.newcomer(other(MANY)).unwrap();
    assert_eq!(full.ended().len(), crate::limits::SERVER_EVICTED);
    assert_eq!(full.book.places.lock().count, MANY - crate::limits::SERVER_EVICTED + 1);
}

/// Rankings hold no place of a book that is gone.
#[test]
fn a_book_ends_with_its_places() {
    let full = full(Phase::Idle);
    full.clock.advance(Duration::from_secs(2));
    drop(full.newcomer(other(MANY)));
    drop(full.newcomer(CROWD));
    let book = Arc::downgrade(&full.book);
    drop(full);
    assert!(book.upgrade().is_none());
}
