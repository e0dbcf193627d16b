use super::*;

#[tokio::test]
async fn after_a_clean_stop_no_device_waits_and_nothing_is_good_again() {
    let rig = Rig::new();
    rig.take(1, NOW, 5).await.unwrap();
    rig.take(2, NOW + 50, 5).await.unwrap();
    let rig = rig.stop();
    assert_eq!(rig.take(1, NOW, 5).await, Err(ProofReplayed));
    assert_eq!(rig.take(2, NOW + 50, 5).await, Err(ProofReplayed));
    assert_eq!(rig.take(1, NOW, 6).await, Ok(None));
    assert_eq!(rig.take(3, NOW - 30, 1).await, Ok(None), "a slow clock does not wait either");
    assert_eq!(rig.take(4, NOW + 30, 1).await, Ok(None), "nor one that is ahead");
    assert_eq!(rig.ledger.decides(rig.clock.unix()), Ok(()));
}

#[tokio::test]
async fn after_a_crash_only_later_proofs_are_taken_and_the_wait_is_short() {
    let rig = Rig::new();
    rig.take(1, NOW, 5).await.unwrap();
    rig.take(2, NOW - 40, 5).await.unwrap();
    let rig = rig.crash();
    assert_eq!(rig.ledger.decides(rig.clock.unix()), Err(ProofUndecided));
    for (key, time) in [(1, NOW), (1, NOW + 1), (2, NOW - 40), (3, NOW - 1), (3, NOW + 2)] {
        assert_eq!(rig.take(key, time, 5).await, Err(ProofUndecided), "{time}");
    }
    // One whose clock is ahead does not wait.
    assert_eq!(rig.take(3, NOW + 10, 1).await, Ok(None));
    let waited = rig.wait(1).await;
    assert!((1..=WAIT).contains(&waited), "{waited}");
    assert_eq!(rig.ledger.decides(rig.clock.unix()), Ok(()));
}

#[tokio::test]
async fn a_proof_that_is_ahead_is_durable_before_its_answer_and_makes_no_other_device_wait() {
    let rig = Rig::new();
    rig.take(1, NOW, 1).await.unwrap();
    rig.take(2, NOW + 55, 9).await.unwrap();
    rig.take_as("d~a", 2, NOW + 55, 8).await.unwrap();
    let rig = rig.crash().crash();
    assert_eq!(rig.take(2, NOW + 55, 9).await, Err(ProofReplayed));
    assert_eq!(rig.take_as("d~a", 2, NOW + 55, 8).await, Err(ProofReplayed));
    assert!(rig.wait(1).await <= WAIT);
    assert_eq!(rig.take(2, NOW + 55, 10).await, Ok(None));
}

#[tokio::test]
async fn two_crashes_within_a_second_are_as_one() {
    let rig = Rig::new();
    rig.take(1, NOW, 5).await.unwrap();
    let rig = rig.crash().crash();
    assert_eq!(rig.take(1, NOW, 5).await, Err(ProofUndecided));
    assert!(rig.wait(1).await <= WAIT);
    let now = rig.now();
    let rig = rig.crash();
    assert_eq!(rig.take(1, now, 1).await, Err(ProofUndecided));
    assert!(rig.wait(1).await <= WAIT);
}

/// A stop that was cut off, in any step, is none.
#[tokio::test]
async fn what_was_at_rest_counts_only_whole_and_once() {
    let rig = Rig::new();
    rig.take(1, NOW, 5).await.unwrap();
    let rig = rig.stop();
    // It was read; a crash after that is a crash.
    let rig = rig.crash();
    assert_eq!(rig.take(1, NOW, 6).await, Err(ProofUndecided));
    let rig = rig.stop();
    let table = rig.store.table("proofs_at_rest").unwrap();
    rig.ledger.finish(rig.clock.unix()).unwrap();
    let rows = table.scan_prefix(b"p", None, 10).unwrap();
    assert!(rows.is_empty(), "nothing was taken");
    rig.store.close().unwrap();

    let rig = Rig::new();
    rig.take(1, NOW, 5).await.unwrap();
    rig.ledger.finish(rig.clock.unix()).unwrap();
    assert_eq!(rig.take(2, NOW, 5).await, Err(NotReady), "a ledger at rest takes nothing");
    let table = rig.store.table("proofs_at_rest").unwrap();
    let (key, _) = table.scan_prefix(b"p", None, 10).unwrap().pop().unwrap();
    let mut batch = tessera_runtime::store::Batch::new();
    batch.delete(&table, &key);
    rig.store.commit(batch).await.unwrap();
    let rig = rig.again(Opening::default(), false);
    assert_eq!(rig.take(1, NOW, 6).await, Err(ProofUndecided), "a part of it is missing");
}

#[tokio::test]
async fn a_copy_of_the_store_that_is_older_than_what_was_taken_gives_nothing_again() {
    for finish in [false, true] {
        let rig = Rig::new();
        rig.take(1, NOW, 1).await.unwrap();
        let rig = if finish { rig.stop() } else { rig };
        if finish {
            rig.ledger.finish(rig.clock.unix()).unwrap();
        }
        rig.store.close().unwrap();
        let old = tempfile::tempdir().unwrap();
        copy(rig.folder.path(), old.path());
        let rig = rig.again(Opening::default(), false);
        for _ in 0..30 {
            rig.pass(1);
            let _ = rig.take(1, rig.now(), 1).await;
        }
        let used = NOW + 20;
        assert_eq!(rig.take(1, used, 1).await, Err(ProofReplayed));
        rig.pass(1);
        let store = Store::open(old.path()).unwrap();
        let ledger = open(&store, Opening::default(), &rig.clock);
        let now = rig.clock.unix();
        assert_eq!(ledger.take(proof(1, used, 1), &id("d"), now).await, Err(ProofUndecided));
        // Known to be a copy: seconds to come may be used, too.
        drop(ledger);
        let ledger = open(&store, Opening { restored: true }, &rig.clock);
        let ahead = proof(1, now.get() + 50, 1);
        assert_eq!(ledger.take(ahead, &id("d"), now).await, Err(ProofUndecided));
        rig.pass(61);
        let now = rig.clock.unix();
        assert!(ledger.take(proof(1, now.get(), 1), &id("d"), now).await.is_ok());
    }
}

async fn reserved(rig: &Rig) -> Option<Vec<u8>> {
    rig.store.barrier().await.unwrap();
    rig.store.table("proof_seconds").unwrap().get(b"used").unwrap()
}

/// At the pace of a gateway with 1,000 devices, each of which connects once an hour at a time of its own.
#[tokio::test]
async fn proofs_that_come_seldom_cost_less_than_a_write_for_two() {
    let (rig, mut draw) = (Rig::new(), history::Draw(1));
    let (mut writes, mut last, mut taken) = (0, None, 0);
    for second in 0..7200 {
        if draw.below(36) < 10 {
            rig.take((second % 200) as u8, rig.now(), second).await.unwrap();
            taken += 1;
        }
        let now = reserved(&rig).await;
        writes += u32::from(now != last);
        last = now;
        rig.pass(1);
    }
    println!("{writes} writes for {taken} proofs");
    assert!(taken > 1800 && writes * 2 < taken);
}

#[tokio::test]
async fn after_a_crash_a_verifier_of_seldom_proofs_waits_for_what_it_reserved_and_takes_none_again()
{
    for pause in [1, 3, 4, 7, 100] {
        let mut rig = Rig::new();
        for round in 0..4 {
            rig.take(1, rig.now(), round).await.unwrap();
            rig.pass(pause);
        }
        let used = rig.now();
        rig.take(1, used, 9).await.unwrap();
        rig = rig.crash();
        assert_eq!(rig.take(1, used, 9).await, Err(ProofUndecided), "{pause}");
        let waited = rig.wait(1).await;
        assert!((1..=WAIT_SELDOM).contains(&waited), "{pause}: {waited}");
        assert!(rig.take(1, used, 9).await.is_err(), "{pause}");
    }
}

/// A fleet behind a pause waits no longer than any other, but for its first seconds.
#[tokio::test]
async fn proofs_that_come_one_after_the_other_keep_the_wait_short() {
    let rig = Rig::new();
    rig.take(1, rig.now(), 1).await.unwrap();
    rig.pass(100);
    for _ in 0..3 * limits::LEDGER_RESERVE_SELDOM {
        rig.take(1, rig.now(), 1).await.unwrap();
        rig.pass(1);
    }
    rig.take(1, rig.now(), 1).await.unwrap();
    rig.store.barrier().await.unwrap();
    let rig = rig.crash();
    let waited = rig.wait(1).await;
    assert!((1..=WAIT).contains(&waited), "{waited}");
}

#[tokio::test]
async fn a_store_that_does_not_write_lets_no_device_in() {
    let rig = Rig::new();
    rig.store.close().unwrap();
    assert_eq!(rig.take(1, NOW, 1).await, Err(NotReady));
    assert_eq!(rig.take(1, NOW + 50, 1).await, Err(NotReady));
    let rig = Rig::new();
    rig.take(1, NOW, 1).await.unwrap();
    rig.store.close().unwrap();
    // The reserved seconds are durable; not a second more.
    let mut taken = 0;
    for second in 0..10 {
        taken += u64::from(rig.take(2, NOW + second, 1).await.is_ok());
        rig.pass(1);
    }
    assert!(taken <= WAIT, "{taken}");
    assert!(rig.ledger.finish(rig.clock.unix()).is_err());
}

#[tokio::test]
async fn a_damaged_row_of_used_seconds_lets_no_device_in() {
    let rig = Rig::new();
    let mut batch = tessera_runtime::store::Batch::new();
    batch.put(&rig.store.table("proof_seconds").unwrap(), b"used", *b"rubbish");
    rig.store.commit(batch).await.unwrap();
    let rig = rig.crash();
    assert_eq!(rig.wait(1).await, 200);
}

/// The thread that writes stands still until it is let go.
#[tokio::test]
async fn a_proof_of_a_reserved_second_waits_for_no_disk_and_the_next_is_reserved_meanwhile() {
    let rig = Rig::new();
    rig.take(1, NOW, 1).await.unwrap();
    let (hold, held) = std::sync::mpsc::sync_channel::<()>(1);
    let stand = rig.store.commit_then(tessera_runtime::store::Batch::new(), move |_| {
        assert!(held.recv().is_err());
    });
    assert!(stand.is_ok());
    for key in 2..100 {
        let now = rig.clock.unix();
        let (tell, told) = std::sync::mpsc::sync_channel(1);
        let taken = move |taken: Result<Taken, RefusalCode>| tell.send(taken).unwrap();
        rig.ledger.take_then(proof(key, NOW + 2, 1), &id("d"), now, taken);
        assert!(told.try_recv().unwrap().is_ok());
    }
    // Beyond it all wait for one write.
    rig.pass(3);
    let (tell, told) = std::sync::mpsc::sync_channel(100);
    for key in 0..100 {
        let tell = tell.clone();
        let taken = move |taken: Result<Taken, RefusalCode>| tell.send(taken).unwrap();
        rig.ledger.take_then(proof(key, NOW + 3, 1), &id("d"), rig.clock.unix(), taken);
    }
    assert!(told.try_recv().is_err());
    drop((hold, tell));
    assert_eq!(told.iter().filter(|taken| taken.is_ok()).count(), 100);
}
