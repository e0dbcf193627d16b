use super::*;

const AHEAD: [u64; 4] = [13, 7200, 86_400, 40 * 86_400];

/// Its own clock alone was wrong: devices whose clock is right are refused before they come here.
#[tokio::test]
async fn a_clock_that_was_ahead_leaves_nothing_behind() {
    for ahead in AHEAD {
        for crash in [false, true] {
            let rig = Rig::new();
            rig.take(1, NOW, 5).await.unwrap();
            rig.clock.set_unix(at(NOW + ahead));
            rig.take(9, NOW + ahead, 1).await.unwrap();
            rig.pass(1);
            let rig = if crash { rig.crash() } else { rig };
            rig.pass(200);
            rig.clock.set_unix(at(NOW + 202));
            assert!(rig.wait(1).await <= WAIT, "{ahead} {crash}");
            assert!(rig.wait(9).await <= WAIT, "{ahead} {crash}: the one that was ahead too");
            let rig = rig.crash();
            assert!(rig.wait(1).await <= WAIT_SELDOM + 1, "{ahead} {crash}");
            assert_eq!(rig.take(1, NOW, 5).await, Err(ProofUndecided), "{ahead} {crash}");
        }
    }
}

#[tokio::test]
async fn what_was_used_is_not_good_again_when_the_clock_goes_back() {
    let rig = Rig::new();
    rig.take(1, NOW, 5).await.unwrap();
    rig.pass(3600);
    rig.take(1, NOW + 3600, 5).await.unwrap();
    rig.ledger.forget(rig.clock.unix());
    rig.clock.set_unix(at(NOW));
    assert_eq!(rig.take(1, NOW, 5).await, Err(ProofUndecided), "forgotten, but closed");
    assert_eq!(rig.ledger.decides(rig.clock.unix()), Err(ProofUndecided));
    let rig = rig.stop();
    assert_eq!(rig.take(1, NOW, 5).await, Err(ProofUndecided));
    rig.clock.set_unix(at(NOW + 3605));
    assert_eq!(rig.wait(1).await, 0);
}

#[tokio::test]
async fn a_jump_ahead_forgets_nothing_that_could_be_fresh_again() {
    let rig = Rig::new();
    rig.take(1, NOW, 5).await.unwrap();
    rig.clock.set_unix(at(NOW + 7200));
    for second in 0..100 {
        rig.take(2, NOW + 7200 + second, 1).await.unwrap();
        rig.pass(1);
    }
    rig.clock.set_unix(at(NOW + 50));
    assert_eq!(rig.take(1, NOW, 5).await, Err(ProofReplayed));
    assert_eq!(rig.take(1, NOW + 50, 5).await, Ok(Some(5)));
    // And what was taken ahead is known when its time comes.
    rig.clock.set_unix(at(NOW + 7210));
    assert_eq!(rig.take(2, NOW + 7210, 1).await, Err(ProofReplayed));
}

#[tokio::test]
async fn a_clock_that_is_set_back_by_seconds_refuses_no_device() {
    let rig = Rig::new();
    rig.take(1, NOW, 5).await.unwrap();
    rig.pass(30);
    rig.take(2, NOW + 20, 1).await.unwrap();
    rig.clock.set_unix(at(NOW + 20));
    assert_eq!(rig.take(1, NOW + 20, 1).await, Ok(Some(5)));
    assert_eq!(rig.take(2, NOW + 20, 1).await, Err(ProofReplayed));
}

#[tokio::test]
async fn a_start_in_1970_closes_nothing_of_today() {
    let rig = Rig::new();
    rig.clock.set_unix(at(5));
    rig.take(1, 5, 1).await.unwrap();
    let rig = rig.crash();
    assert_eq!(rig.take(1, 5, 1).await, Err(ProofUndecided));
    rig.clock.set_unix(at(NOW));
    // The second of the start is in doubt, as after any crash.
    assert!(rig.wait(1).await <= 1);
    let rig = rig.crash();
    assert!(rig.wait(1).await <= WAIT);
}

#[tokio::test]
async fn a_broker_whose_clock_is_slow_writes_a_row_for_each_and_takes_all() {
    let rig = Rig::new();
    for key in 0..50 {
        rig.take(key, NOW + 30, 1).await.unwrap();
    }
    let rig = rig.crash();
    for key in 0..50 {
        assert_eq!(rig.take(key, NOW + 30, 1).await, Err(ProofReplayed));
    }
    assert_eq!(rig.take(60, NOW + 30, 1).await, Ok(None));
}

/// Service is back once the clock is right. Seconds before the start in which another process may have taken proofs
/// stay in doubt.
#[tokio::test]
async fn a_start_under_a_clock_that_was_ahead_keeps_no_second_in_doubt_that_is_to_come() {
    for ahead in [30, 61, 90, 150, 7200] {
        for (opening, most) in [(Opening::default(), WAIT), (Opening { restored: true }, 61)] {
            let rig = Rig::new();
            rig.take(1, NOW, 1).await.unwrap();
            rig.clock.set_unix(at(NOW + ahead));
            let rig = rig.again(opening, false);
            rig.pass(1);
            rig.clock.set_unix(at(NOW + 1));
            for before in [1, 30, 59] {
                let other = rig.take(2, NOW - before, 1).await;
                assert_eq!(other, Err(ProofUndecided), "{ahead} {opening:?} {before}");
            }
            let mut waited = 0;
            for _ in 0..200 {
                waited += u64::from(rig.ledger.decides(rig.clock.unix()).is_err());
                rig.pass(1);
            }
            assert!(waited <= most, "{ahead} {opening:?}: {waited} s");
        }
    }
}

/// The doubt of a start under a clock that was ahead goes through a clean stop, and is no longer by it.
#[tokio::test]
async fn a_doubt_that_is_carried_over_a_stop_keeps_no_second_that_is_to_come() {
    let rig = Rig::new();
    rig.take(1, NOW, 1).await.unwrap();
    rig.clock.set_unix(at(NOW + 90));
    let rig = rig.crash();
    let rig = rig.stop();
    rig.pass(1);
    rig.clock.set_unix(at(NOW + 5));
    assert_eq!(rig.wait(1).await, 0);
    rig.pass(40);
    assert_eq!(rig.wait(1).await, 0);
}

/// The store may be a copy. Its proofs of the minute before the start are in doubt; that does not end with a clock that goes
/// back behind it.
#[tokio::test]
async fn what_was_in_doubt_is_not_good_when_the_clock_goes_back_later() {
    for (restored, crash, ahead) in
        [(false, false, 0), (false, true, 0), (true, false, 0), (true, true, 0), (false, true, 90)]
    {
        let context = format!("{restored} {crash} {ahead}");
        let rig = Rig::new();
        rig.take(1, NOW, 1).await.unwrap();
        rig.pass(100);
        let start = NOW + 100;
        // A clock that is ahead at the start comes right within a minute.
        rig.clock.set_unix(at(start + ahead));
        let mut rig = rig.again(Opening { restored }, false);
        rig.pass(30);
        rig.clock.set_unix(at(start + 30));
        assert_eq!(rig.take(2, start - 10, 1).await, Err(ProofUndecided), "{context}");
        rig.pass(149);
        rig.clean().await;
        rig.pass(1);
        assert_eq!(rig.take(2, start - 10, 1).await, Err(ProofUndecided), "{context}: not closed");
        rig.clean().await;
        assert!(rig.take(3, rig.now(), 1).await.is_ok(), "{context}: service goes on");
        if crash {
            rig = rig.crash();
            rig.pass(200);
            rig.clean().await;
        } else {
            rig = rig.stop();
        }
        rig.clock.set_unix(at(start + 5));
        for before in [1, 10, 59] {
            let other = rig.take(2, start - before, 1).await;
            assert_eq!(other, Err(ProofUndecided), "{context} {before}");
        }
        rig.clock.set_unix(at(start + 600));
        assert_eq!(rig.wait(4).await, 0, "{context}");
    }
}

/// The service, or the only clock of a machine, is ahead for longer than proofs are remembered: when it is right again its
/// seconds come once more, and no device waits for their end. A proof that was used in them is not good again.
#[tokio::test]
async fn seconds_of_a_clock_that_was_ahead_for_long_come_again() {
    for ahead in [45, 600, 7200] {
        for lasts in [120, 600, 3600] {
            let rig = Rig::new();
            rig.take(1, NOW, 5).await.unwrap();
            rig.pass(300);
            rig.clock.set_unix(at(NOW + 300 + ahead));
            for second in 0..lasts {
                rig.take(2, rig.now(), 1).await.unwrap();
                rig.pass(1);
                if second % 30 == 0 {
                    rig.clean().await;
                }
            }
            let used = rig.now() - 1;
            rig.clock.set_unix(at(NOW + 300 + lasts));
            for second in 0..=ahead + 60 {
                let now = rig.now();
                assert_eq!(rig.ledger.decides(at(now)), Ok(()), "{ahead} {lasts} {second}");
                let own = rig.take(3, now, 1).await;
                assert!(own.is_ok(), "{ahead} {lasts} {second}: {own:?}");
                if now == used {
                    assert_eq!(rig.take(2, used, 1).await, Err(ProofReplayed), "{ahead} {lasts}");
                }
                rig.pass(1);
                if second % 30 == 0 {
                    rig.clean().await;
                }
            }
            // In the end they are forgotten like all others.
            rig.pass(600);
            rig.clean().await;
            assert_eq!(rig.ledger.entries.load(Ordering::Relaxed), 0, "{ahead} {lasts}");
        }
    }
}
