use std::sync::Arc;
use std::time::Duration;

use tessera_runtime::clock::ManualClock;
use tessera_token::limits::TOKEN_LIFE_SECONDS;

use super::*;
use crate::limits::PRUNE_SETTLED_SECONDS;
use crate::testing::*;

const DAY: u64 = 24 * 3600;
/// Seconds by which a clock is ahead.
const AHEAD: [u64; 4] = [600, 7200, 40 * DAY, 365 * DAY];

fn stored(signed: u64) -> StoredTime {
    StoredTime { signed: at(signed), lived: None }
}

fn time(clock: &Arc<ManualClock>, signed: u64) -> TrustTime {
    TrustTime::new(clock.clone(), stored(signed))
}

fn pass(clock: &ManualClock, seconds: u64) {
    clock.advance(Duration::from_secs(seconds));
}

#[test]
fn a_clock_that_was_ahead_leaves_no_trace_here() {
    for ahead in AHEAD {
        for online in [false, true] {
            let clock = ManualClock::at(at(NOW + ahead));
            let time = time(&clock, NOW - 500);
            if online {
                time.beat(at(NOW));
            }
            assert_eq!(time.now(), at(NOW + ahead), "nothing else bears witness yet");
            pass(&clock, 13);
            clock.set_unix(at(NOW + 13));
            assert_eq!(time.now(), at(NOW + 13));
            assert_eq!(time.to_store().signed, at(NOW + 13 - if online { 0 } else { 500 }));
        }
    }
}

#[test]
fn a_clock_that_jumps_ahead_while_the_service_is_heard_is_not_believed() {
    for ahead in AHEAD {
        let clock = ManualClock::at(at(NOW));
        let time = time(&clock, 0);
        time.beat(at(NOW));
        pass(&clock, 10);
        clock.set_unix(at(NOW + 10 + ahead));
        for second in 1..=300 {
            pass(&clock, 1);
            if second % 10 == 0 {
                time.beat(at(NOW + 10 + second));
            }
            assert_eq!(time.now(), at(NOW + 10 + second));
            assert_eq!(time.clock_state().map(|state| state.is_ahead()), Some(true));
        }
        clock.set_unix(at(NOW + 310));
        assert_eq!(time.now(), at(NOW + 310));
        assert_eq!(time.clock_state().map(|state| state.wrong), Some(false));
    }
}

#[test]
fn a_service_that_is_not_heard_bears_no_witness() {
    let clock = ManualClock::at(at(NOW));
    let time = time(&clock, 0);
    time.beat(at(NOW));
    // A machine that slept: its monotonic time stood still, and no answer comes.
    clock.set_unix(at(NOW + DAY));
    pass(&clock, 60);
    assert_eq!(time.now(), at(NOW + 60));
    pass(&clock, 1);
    assert_eq!(time.now(), at(NOW + DAY + 61));
}

#[test]
fn a_service_whose_clock_goes_back_revives_nothing() {
    let clock = ManualClock::at(at(NOW));
    let time = time(&clock, 0);
    time.beat(at(NOW));
    pass(&clock, 10);
    time.beat(at(NOW - DAY));
    assert_eq!(time.now(), at(NOW + 10));
    assert_eq!(time.clock_state().map(|state| state.is_ahead()), Some(true));
}

#[test]
fn a_service_that_was_ahead_is_right_again_with_its_next_heartbeat() {
    for ahead in AHEAD {
        let clock = ManualClock::at(at(NOW));
        let time = time(&clock, 0);
        time.beat(at(NOW + ahead));
        assert_eq!(time.now(), at(NOW + ahead), "never below a heartbeat that answered");
        pass(&clock, 13);
        time.known(at(NOW + ahead + 13));
        assert_eq!(time.now(), at(NOW + ahead + 13));
        time.beat(at(NOW + 13));
        assert_eq!(time.now(), at(NOW + 13));
        // Times that it signed meanwhile raise nothing.
        time.known(at(NOW + ahead + 13));
        assert_eq!(time.now(), at(NOW + 13));
        assert_eq!(time.to_store().signed, at(NOW + 13));
    }
}

#[test]
fn a_clock_that_is_behind_is_carried_and_revives_nothing() {
    for wall in [0, NOW - 365 * DAY, NOW - DAY] {
        let clock = ManualClock::at(at(NOW));
        let online = time(&clock, 0);
        let offline = time(&clock, NOW);
        online.beat(at(NOW));
        pass(&clock, 100);
        clock.set_unix(at(wall));
        pass(&clock, 10);
        for time in [&online, &offline] {
            assert_eq!(time.now(), at(NOW + 110));
            let again = TrustTime::new(clock.clone(), time.to_store());
            assert_eq!(again.now(), at(NOW + 110));
        }
        assert_eq!(
            online.clock_state().map(|state| (state.wrong, state.is_ahead())),
            Some((true, false))
        );
    }
}

#[test]
fn a_monotonic_time_that_is_faked_heals_by_itself() {
    let clock = ManualClock::at(at(NOW));
    let time = time(&clock, NOW);
    time.beat(at(NOW));
    pass(&clock, 7200);
    assert_eq!(time.now(), at(NOW + 7200));
    clock.set_unix(at(NOW + 13));
    clock.set_monotonic(Duration::from_secs(13));
    assert_eq!(time.now(), at(NOW + 13));
}

/// A service that is ahead makes nothing be forgotten that holds once it is right.
#[test]
fn what_is_let_go_goes_by_time_that_was_lived_through() {
    let ahead = 40 * DAY;
    let clock = ManualClock::at(at(NOW));
    let time = time(&clock, 0);
    assert_eq!(time.removal(), None);
    // Set up while the service was ahead.
    time.beat(at(NOW + ahead));
    assert_eq!(time.removal(), None);
    pass(&clock, 3600);
    time.beat(at(NOW + 3600));
    assert_eq!(time.removal(), None);
    pass(&clock, PRUNE_SETTLED_SECONDS);
    time.beat(at(NOW + 3600 + DAY));
    assert_eq!(time.removal(), Some(at(NOW + 3600 + DAY)));
    // Ahead for an hour after a long life.
    let again = TrustTime::new(clock.clone(), time.to_store());
    again.beat(at(NOW + ahead));
    pass(&clock, 3600);
    let removal = again.removal();
    assert!(removal < Some(at(NOW + DAY + 3 * 3600)), "{removal:?}");
    again.beat(at(NOW + DAY + 7200));
    assert_eq!(again.removal(), Some(at(NOW + DAY + 7200)));
    assert!(ahead > TOKEN_LIFE_SECONDS);
}

#[test]
fn nothing_is_let_go_by_a_service_that_is_ahead_for_as_long_as_it_is_ahead() {
    let clock = ManualClock::at(at(NOW));
    let stored = StoredTime { signed: at(NOW), lived: Some((at(NOW - 30 * DAY), at(NOW))) };
    let time = TrustTime::new(clock.clone(), stored);
    for hour in 1..=24 {
        pass(&clock, 3600);
        time.beat(at(NOW + DAY + hour * 3600));
        let removal = time.removal();
        assert!(removal.is_some() && removal <= Some(at(NOW + hour * 3600)), "{hour}: {removal:?}");
    }
    time.beat(at(NOW + DAY));
    assert_eq!(time.removal(), Some(at(NOW + DAY)));
}

/// Kept messages and sessions expire by this time alone, so that no single wrong clock deletes them.
#[test]
fn no_single_clock_moves_the_witnessed_time() {
    for wrong in AHEAD {
        let clock = ManualClock::at(at(NOW + wrong));
        let time = time(&clock, NOW - 500);
        assert_eq!(time.witnessed(), None, "one clock alone");
        time.beat(at(NOW));
        assert_eq!(time.witnessed(), None, "two clocks that differ");
        clock.set_unix(at(NOW));
        assert_eq!(time.witnessed(), Some(at(NOW)));
        time.beat(at(NOW));
        for here in [NOW + 10 + wrong, NOW + 10 - wrong, 0] {
            clock.set_unix(at(NOW));
            clock.set_monotonic(Duration::ZERO);
            time.beat(at(NOW));
            pass(&clock, 10);
            clock.set_unix(at(here));
            assert_eq!(time.witnessed(), Some(at(NOW + 10)), "the wall clock at {here}");
            clock.set_unix(at(NOW + 10));
            time.beat(at(here));
            assert_eq!(time.witnessed(), Some(at(NOW + 10)), "the service at {here}");
        }
    }
}

#[test]
fn a_verifier_without_its_service_waits_five_minutes_for_a_second_witness() {
    let clock = ManualClock::at(at(NOW));
    let time = time(&clock, NOW - 500);
    pass(&clock, 299);
    assert_eq!(time.witnessed(), None);
    pass(&clock, 1);
    assert_eq!(time.witnessed(), Some(at(NOW + 300)));
}
