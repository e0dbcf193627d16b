//! Seconds of a clock that was ahead, over crashes and stops.

use super::*;
use crate::ledger::reserve::Kept;

/// Seconds at most in which devices whose clock is right are refused for each crash under a clock that was ahead: the
/// minute before the start is in doubt, and what was reserved after the last step is closed.
const CLOSED: usize = 60 + STEP as usize + limits::LEDGER_RESERVE_SELDOM as usize + 5;
/// The time between two steps, in seconds.
const STEP: u64 = 10;

/// Takes a proof a second, as the upkeep goes on. The used ones are added.
async fn serve(rig: &Rig, seconds: u64, used: &mut Vec<u64>) {
    for second in 0..seconds {
        if rig.take(2, rig.now(), 1).await.is_ok() {
            used.push(rig.now());
        }
        rig.pass(1);
        if second % STEP == 0 {
            rig.write_back().await;
        }
        if second % 30 == 0 {
            rig.clean().await;
        }
    }
}

/// A rig whose clock was right for so many seconds, and is ahead by so many while it serves for so many; the seconds of the
/// used proofs.
async fn ahead(right: u64, wrong: u64, serves: u64) -> (Rig, Vec<u64>) {
    let rig = Rig::new();
    let mut used = Vec::new();
    serve(&rig, right, &mut used).await;
    rig.clock.set_unix(at(NOW + right + wrong));
    serve(&rig, serves, &mut used).await;
    (rig, used)
}

/// Real time passes through all seconds of the wrong clock: how many were closed. No proof is good again.
async fn pass_through(rig: &Rig, seconds: u64, used: &[u64]) -> usize {
    let mut closed = 0;
    for second in 0..seconds {
        let now = rig.now();
        closed += usize::from(rig.ledger.decides(at(now)).is_err());
        for old in [now, now - 7, now - 59] {
            if used.contains(&old) {
                assert!(rig.take(2, old, 1).await.is_err(), "{old} was used");
            }
        }
        rig.pass(1);
        if second % STEP == 0 {
            rig.write_back().await;
        }
        if second % 30 == 0 {
            rig.clean().await;
        }
    }
    closed
}

#[tokio::test]
async fn after_a_crash_under_a_clock_that_was_ahead_its_seconds_come_again() {
    for wrong in [200, 600, 7200] {
        for again in [0, 400] {
            let (rig, mut used) = ahead(300, wrong, 500).await;
            let mut crashes = 1;
            let mut rig = rig.crash();
            if again > 0 {
                // It starts under the wrong clock, serves, and crashes once more.
                serve(&rig, again, &mut used).await;
                rig = rig.crash();
                crashes += 1;
            }
            rig.clock.set_unix(at(NOW + 800 + again));
            let closed = pass_through(&rig, wrong + 60, &used).await;
            assert!(closed <= crashes * CLOSED, "{wrong} {again}: {closed} s closed");
            // In the end nothing of it is left.
            rig.pass(600);
            rig.clean().await;
            assert_eq!(rig.ledger.entries.load(Ordering::Relaxed), 0, "{wrong} {again}");
            assert_eq!(rig.store.table("proofs_ahead").unwrap().len().unwrap(), 0);
        }
    }
}

#[tokio::test]
async fn after_a_clean_stop_and_a_crash_under_a_clock_that_was_ahead_its_seconds_come_again() {
    let (rig, mut used) = ahead(300, 3600, 300).await;
    let rig = rig.stop();
    serve(&rig, 400, &mut used).await;
    let rig = rig.crash();
    rig.clock.set_unix(at(NOW + 1000));
    let closed = pass_through(&rig, 3660, &used).await;
    assert!(closed <= CLOSED, "{closed} s closed");
}

/// The clock comes right before the crash.
#[tokio::test]
async fn a_crash_after_the_clock_is_right_again_closes_nothing_that_is_to_come() {
    let (rig, mut used) = ahead(300, 1800, 300).await;
    rig.clock.set_unix(at(NOW + 600));
    serve(&rig, 61, &mut used).await;
    let rig = rig.crash();
    let closed = pass_through(&rig, 2000, &used).await;
    assert!(closed <= limits::LEDGER_RESERVE_SECONDS as usize + 2, "{closed} s closed");
}

/// A clock that is right writes nothing down, also after a short stop.
#[tokio::test]
async fn a_clock_that_is_right_costs_no_row() {
    let rig = Rig::new();
    let mut used = Vec::new();
    serve(&rig, 200, &mut used).await;
    let rig = rig.crash();
    rig.pass(60);
    serve(&rig, 400, &mut used).await;
    assert_eq!(rig.store.table("proofs_ahead").unwrap().len().unwrap(), 0);
    assert!(used.len() > 580, "{}", used.len());
}

/// Rows that cannot be written leave the seconds reserved: no proof is good again, and service goes on.
#[tokio::test]
async fn rows_that_are_not_written_leave_the_seconds_closed() {
    let (rig, used) = ahead(200, 900, 95).await;
    let reserve = &rig.ledger.reserve;
    while reserve.keep(second_of(rig.clock.unix()), u32::MAX) != Kept::Some {
        tokio::task::yield_now().await;
    }
    // The rows are on their way, and the process ends.
    let rig = rig.crash();
    rig.clock.set_unix(at(NOW + 295));
    pass_through(&rig, 1000, &used).await;
}

/// A slow clock's proof, in a second that left the reserve: it reserves the second anew before its answer.
#[tokio::test]
async fn a_late_proof_of_a_second_that_left_is_not_good_again_after_a_crash() {
    let (rig, _) = ahead(200, 900, 100).await;
    rig.write_back().await;
    let late = rig.now() - 30;
    assert!(!rig.ledger.reserve.covers(second_of(at(late))), "it left");
    rig.take(3, late, 1).await.unwrap();
    let rig = rig.crash();
    rig.clock.set_unix(at(late));
    assert!(rig.take(3, late, 1).await.is_err());
}

/// A slow clock's proof waits for the disk while a step begins: it is answered all the same, and not good again.
#[tokio::test]
async fn a_proof_that_waits_while_a_step_begins_is_answered() {
    use std::sync::mpsc;

    let (rig, _) = ahead(200, 900, 100).await;
    rig.write_back().await;
    let (late, now) = (rig.now() - 30, rig.clock.unix());
    // The thread that writes is held up until the step has looked.
    let (release, held) = mpsc::sync_channel::<()>(1);
    let hold = move |_| {
        let _ = held.recv();
    };
    assert!(rig.store.commit_then(tessera_runtime::store::Batch::new(), hold).is_ok());
    let (tell, told) = tokio::sync::oneshot::channel();
    rig.ledger.take_then(proof(3, late, 1), &id("d"), now, |taken| {
        let _ = tell.send(taken);
    });
    let ledger = Arc::clone(&rig.ledger);
    let step = tokio::spawn(async move { ledger.write_back(now).await });
    tokio::task::yield_now().await;
    drop(release);
    let told = tokio::time::timeout(Duration::from_secs(10), told).await;
    assert!(told.expect("it waits for ever").unwrap().is_ok());
    assert!(!step.await.unwrap().unwrap(), "the step gives way");
    rig.write_back().await;
    assert!(!rig.ledger.reserve.covers(second_of(at(late))), "the step came after it");
    let rig = rig.crash();
    rig.clock.set_unix(at(late));
    assert!(rig.take(3, late, 1).await.is_err());
}
