use super::*;

fn held(rig: &Rig) -> usize {
    rig.ledger.entries.load(Ordering::Relaxed)
}

#[tokio::test]
async fn what_cannot_be_fresh_is_forgotten_and_its_rows_go() {
    let rig = Rig::new();
    for key in 0..100 {
        rig.take(key, NOW, 1).await.unwrap();
        rig.take(key, NOW + 50, 1).await.unwrap();
    }
    assert_eq!(rig.ledger.ahead.page(None).unwrap().len(), 100);
    rig.pass(179);
    rig.ledger.forget(rig.clock.unix());
    assert!(held(&rig) >= 100, "it is remembered by the monotonic clock");
    rig.pass(180);
    rig.ledger.forget(rig.clock.unix());
    assert_eq!(held(&rig), 0);
    let mut after = None;
    loop {
        after = rig.ledger.clean(after, rig.clock.unix()).await.unwrap();
        if after.is_none() {
            break;
        }
    }
    assert_eq!(rig.ledger.ahead.page(None).unwrap().len(), 0);
    // After a crash they are used all the same.
    rig.clock.set_unix(at(NOW));
    let rig = rig.crash();
    assert_eq!(rig.take(1, NOW + 50, 1).await, Err(ProofUndecided));
}

#[tokio::test]
async fn a_key_with_too_many_client_ids_shares_a_place_and_troubles_no_other_key() {
    let rig = Rig::new();
    let most = u32::from(limits::LEDGER_SUFFIXES);
    for number in 0..most + 100 {
        rig.take_as(&format!("d~{number}"), 1, NOW, 10 + number).await.unwrap();
    }
    assert_eq!(held(&rig), usize::from(limits::LEDGER_SUFFIXES) + 1);
    for number in 0..most + 100 {
        let again = rig.take_as(&format!("d~{number}"), 1, NOW, 10 + number).await;
        assert_eq!(again, Err(ProofReplayed), "{number}");
    }
    // Those with a place of their own go on, the others in order only; the key without a suffix, and others, are free.
    rig.take_as("d~3", 1, NOW, 14).await.unwrap();
    let last = 10 + most + 99;
    assert_eq!(rig.take_as("d~new", 1, NOW, last).await, Err(ProofReplayed));
    rig.take_as("d~new", 1, NOW, last + 1).await.unwrap();
    rig.take_as("d", 1, NOW, 1).await.unwrap();
    rig.take_as("d~3", 2, NOW, 1).await.unwrap();
    let rig = rig.stop();
    assert_eq!(rig.take_as("d~new", 1, NOW, last + 1).await, Err(ProofReplayed));
    assert_eq!(rig.take_as("d~newer", 1, NOW, last + 1).await, Err(ProofReplayed));
    rig.take_as("d~newer", 1, NOW, last + 2).await.unwrap();
}

#[tokio::test]
async fn client_ids_that_share_a_place_ahead_of_the_clock_are_used_also_after_a_crash() {
    let rig = Rig::new();
    let most = u32::from(limits::LEDGER_SUFFIXES);
    for number in 0..=most {
        rig.take_as(&format!("d~{number}"), 1, NOW + 30, 10 + number).await.unwrap();
    }
    let rig = rig.crash();
    for number in 0..=most {
        let again = rig.take_as(&format!("d~{number}"), 1, NOW + 30, 10 + number).await;
        assert_eq!(again, Err(ProofReplayed), "{number}");
    }
    rig.take_as("d~new", 1, NOW + 30, 11 + most).await.unwrap();
    rig.take_as("d~3", 1, NOW + 30, 14).await.unwrap();
}

#[test]
fn proofs_that_wait_for_the_disk_are_bounded_and_counted() {
    use std::sync::mpsc;

    let folder = tempfile::tempdir().unwrap();
    let clock = ManualClock::at(at(NOW));
    let store = Store::open(folder.path()).unwrap();
    let metrics = Metrics::new();
    let counted = LedgerMetrics::new(&metrics).unwrap();
    let now = clock.unix();
    let ledger = Ledger::open(&store, Opening::default(), clock, now, counted).unwrap();
    let ledger = Arc::new(ledger);
    // The thread that writes is held up until the end.
    let (release, held) = mpsc::sync_channel::<()>(1);
    let hold = move |_| assert!(held.recv().is_err());
    assert!(store.commit_then(tessera_runtime::store::Batch::new(), hold).is_ok());
    let (tell, told) = mpsc::sync_channel(limits::LEDGER_WAITING + 1);
    for number in 0..=limits::LEDGER_WAITING {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&(number as u64).to_be_bytes());
        key[0] = key[7];
        let proof = ProofUse { key: Thumbprint::from_bytes(key), place: Place::new(at(NOW), 1) };
        let tell = tell.clone();
        ledger.take_then(proof, &id("d"), now, move |taken| tell.send((number, taken)).unwrap());
    }
    let refused = told.try_recv().unwrap();
    assert_eq!(refused, (limits::LEDGER_WAITING, Err(RefusalCode::LimitReached)));
    let shown = metrics.render();
    assert!(shown.contains(r#"tessera_ledger_limits_hit_total{limit="waiting"} 1"#), "{shown}");
    drop(release);
    for _ in 0..limits::LEDGER_WAITING {
        assert!(told.recv().unwrap().1.is_ok());
    }
}

/// So many keys of one second that memory is full.
#[test]
fn a_full_memory_closes_what_is_oldest_and_refuses_more_than_it_can_hold() {
    let rig = Rig::new();
    let many = limits::LEDGER_ENTRIES / 2;
    let take = |number: usize, time: u64| {
        let mut key = [0; 32];
        key[..8]
            .copy_from_slice(&(number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
        let proof = ProofUse { key: Thumbprint::from_bytes(key), place: Place::new(at(time), 1) };
        let (tell, told) = std::sync::mpsc::sync_channel(1);
        let taken = move |taken: Result<Taken, RefusalCode>| tell.send(taken).unwrap();
        rig.ledger.take_then(proof, &id("d"), rig.clock.unix(), taken);
        told.recv().unwrap()
    };
    for number in 0..many {
        take(number, NOW).unwrap();
    }
    rig.pass(64);
    for number in many..2 * many + 3 {
        take(number, NOW + 64).unwrap();
    }
    // The seconds of a minute ago are closed: that refuses the slowest clocks alone.
    assert!(held(&rig) <= limits::LEDGER_ENTRIES);
    assert_eq!(take(0, NOW), Err(ProofUndecided));
    for number in 2 * many + 3..3 * many + limits::LEDGER_ENTRIES / 8 {
        take(number, NOW + 64).unwrap();
    }
    assert_eq!(take(usize::MAX, NOW + 64), Err(RefusalCode::LimitReached));
    assert_eq!(take(2 * many, NOW + 64), Err(ProofReplayed), "what is known stays known");
    rig.pass(1000);
    assert!(take(usize::MAX, NOW + 1064).is_ok());
    assert_eq!(held(&rig), 1);
}

#[tokio::test]
async fn ranges_stay_few_over_a_year_of_seldom_connects() {
    let rig = Rig::new();
    for _ in 0..2000 {
        rig.pass(4 * 3600);
        rig.take(1, rig.now(), 1).await.unwrap();
    }
    let row = rig.store.table("proof_seconds").unwrap().get(b"used").unwrap().unwrap();
    assert!(row.len() <= 8 * limits::LEDGER_RANGES, "{}", row.len());
    let rig = rig.crash();
    assert!(rig.wait(1).await <= WAIT_SELDOM);
}
