use std::sync::mpsc::sync_channel;
use std::sync::Arc;

use tessera_runtime::store::{Batch, Store};
use tessera_token::chain::CounterUse;
use tessera_token::key::Thumbprint;
use tessera_token::refusal::RefusalCode;

use super::*;
use crate::testing::{at, NOW};

fn claim(key: u8, counter: u32) -> CounterUse {
    CounterUse { key: Thumbprint::from_bytes([key; 32]), counter }
}

async fn used(ledger: &Arc<Ledger>, key: u8, counter: u32) -> Result<Option<u32>, RefusalCode> {
    let advanced = ledger.advance(claim(key, counter), at(NOW)).await;
    advanced.map(|advanced| advanced.previous)
}

#[tokio::test]
async fn counters_only_go_up() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = Arc::new(Ledger::new(&Store::open(folder.path()).unwrap()).unwrap());
    assert_eq!(used(&ledger, 1, 5).await, Ok(None));
    for replayed in [0, 4, 5] {
        assert_eq!(used(&ledger, 1, replayed).await, Err(RefusalCode::ProofReplayed));
    }
    assert_eq!(used(&ledger, 1, 9).await, Ok(Some(5)));
    assert_eq!(used(&ledger, 2, 5).await, Ok(None));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_with_the_same_counter_exactly_one_wins() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = Arc::new(Ledger::new(&Store::open(folder.path()).unwrap()).unwrap());
    for counter in 1..=20 {
        let tries: Vec<_> = (0..16)
            .map(|_| {
                let ledger = Arc::clone(&ledger);
                tokio::spawn(async move { used(&ledger, 1, counter).await })
            })
            .collect();
        let mut won = 0;
        for one in tries {
            match one.await.unwrap() {
                Ok(_) => won += 1,
                Err(code) => assert_eq!(code, RefusalCode::ProofReplayed),
            }
        }
        assert_eq!(won, 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_row_holds_the_highest_after_a_race_and_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let ledger = Arc::new(Ledger::new(&store).unwrap());
    let tries: Vec<_> = (1..=200)
        .map(|counter| {
            let ledger = Arc::clone(&ledger);
            tokio::spawn(async move { (counter, used(&ledger, 1, counter).await) })
        })
        .collect();
    let mut highest = 0;
    for one in tries {
        let (counter, outcome) = one.await.unwrap();
        if outcome.is_ok() {
            highest = highest.max(counter);
        }
    }
    assert_eq!(highest, 200);
    drop(ledger);
    store.close().unwrap();
    let again = Arc::new(Ledger::new(&Store::open(folder.path()).unwrap()).unwrap());
    assert_eq!(used(&again, 1, highest).await, Err(RefusalCode::ProofReplayed));
    assert_eq!(used(&again, 1, highest + 1).await, Ok(Some(highest)));
}

#[tokio::test]
async fn more_keys_than_fit_in_memory_are_still_remembered() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = Arc::new(Ledger::new(&Store::open(folder.path()).unwrap()).unwrap());
    // All in one part.
    let key = |number: u8| {
        let mut bytes = [number; 32];
        bytes[18..20].fill(0);
        CounterUse { key: Thumbprint::from_bytes(bytes), counter: 7 }
    };
    let most = u8::try_from(limits::LEDGER_PART_KEYS).unwrap() + 40;
    for number in 0..most {
        ledger.advance(key(number), at(NOW)).await.unwrap();
    }
    for number in 0..most {
        let again = ledger.advance(key(number), at(NOW)).await;
        assert_eq!(again, Err(RefusalCode::ProofReplayed));
    }
}

#[tokio::test]
async fn a_store_that_does_not_write_lets_nobody_in() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let ledger = Arc::new(Ledger::new(&store).unwrap());
    store.close().unwrap();
    assert_eq!(used(&ledger, 1, 1).await, Err(RefusalCode::NotReady));
}

#[tokio::test]
async fn a_damaged_row_lets_nobody_in() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let mut batch = Batch::new();
    batch.put(&store.table(TABLE).unwrap(), [1; 20], *b"rubbish");
    store.commit(batch).await.unwrap();
    let ledger = Arc::new(Ledger::new(&store).unwrap());
    assert_eq!(used(&ledger, 1, 9).await, Err(RefusalCode::ProofReplayed));
}

#[tokio::test]
async fn a_key_is_known_once_it_was_let_in_and_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let ledger = Arc::new(Ledger::new(&store).unwrap());
    assert!(!ledger.knows(&claim(1, 0).key));
    used(&ledger, 1, 5).await.unwrap();
    assert!(ledger.knows(&claim(1, 0).key));
    drop(ledger);
    let again = Arc::new(Ledger::new(&store).unwrap());
    assert!(again.knows(&claim(1, 0).key));
    assert!(!again.knows(&claim(2, 0).key));
    assert_eq!(used(&again, 1, 5).await, Err(RefusalCode::ProofReplayed));
}

#[tokio::test]
async fn rows_go_when_no_token_of_the_key_can_live() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = Arc::new(Ledger::new(&Store::open(folder.path()).unwrap()).unwrap());
    used(&ledger, 1, 5).await.unwrap();
    let late = at(NOW + limits::LEDGER_KEEP_SECONDS);
    let next = ledger.prune(None, late).await.unwrap();
    assert_eq!(ledger.prune(next, late).await.unwrap(), None);
    assert_eq!(ledger.rows.len().unwrap(), 1);
    ledger.prune(None, at(late.get() + 1)).await.unwrap();
    assert_eq!(ledger.rows.len().unwrap(), 0);
}

#[tokio::test]
async fn rows_of_the_former_layout_are_moved_once_and_hold() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let former = store.table("proof_counters").unwrap();
    let many = u32::try_from(limits::LEDGER_PRUNE_ROWS).unwrap() * 2 + 7;
    let key = |number: u32| {
        let mut key = [7; 32];
        key[..4].copy_from_slice(&number.to_be_bytes());
        Thumbprint::from_bytes(key)
    };
    let mut batch = Batch::new();
    for number in 0..many {
        batch.put(&former, key(number).as_bytes(), row(5 + number, at(NOW)));
    }
    batch.put(&former, [9; 32], *b"rubbish");
    // Two were moved by a start that did not end; one of them was used since.
    let rows = store.table(TABLE).unwrap();
    batch.put(&rows, name_of(&key(1)), row(900, at(NOW)));
    batch.put(&rows, name_of(&key(2)), row(7, at(NOW)));
    store.commit(batch).await.unwrap();

    for _ in 0..2 {
        let ledger = Arc::new(Ledger::new(&store).unwrap());
        assert!(former.is_empty().unwrap());
        assert_eq!(ledger.rows.len().unwrap(), many as usize + 1);
        for (number, highest) in [(0, 5), (1, 900), (2, 7), (many - 1, many + 4)] {
            assert!(ledger.knows(&key(number)));
            let claim = CounterUse { key: key(number), counter: highest };
            let again = ledger.advance(claim, at(NOW)).await;
            assert_eq!(again, Err(RefusalCode::ProofReplayed), "{number}");
        }
        assert_eq!(used(&ledger, 9, u32::MAX).await, Err(RefusalCode::ProofReplayed));
    }
    let ledger = Arc::new(Ledger::new(&store).unwrap());
    let next = CounterUse { key: key(1), counter: 901 };
    assert_eq!(ledger.advance(next, at(NOW)).await, Ok(Advanced { previous: Some(900) }));
    // What the cleaner looks at is there.
    assert!(ledger.prune(None, at(NOW)).await.unwrap().is_some());
}

/// A row that is on its way is not read from the store yet.
#[tokio::test]
async fn what_is_queued_is_remembered_when_others_are_forgotten() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let ledger = Arc::new(Ledger::new(&store).unwrap());
    let key = |number: u8| {
        let mut bytes = [number; 32];
        bytes[18..20].fill(0);
        CounterUse { key: Thumbprint::from_bytes(bytes), counter: 7 }
    };
    // The thread that writes stands still until it is let go.
    let (hold, held) = sync_channel::<()>(1);
    let stand = store.commit_then(Batch::new(), move |_| assert!(held.recv().is_err()));
    assert!(stand.is_ok());
    let most = u8::try_from(limits::LEDGER_PART_KEYS).unwrap() + 40;
    let (tell, told) = sync_channel(2 * usize::from(most));
    for number in 0..most {
        for _ in 0..2 {
            let tell = tell.clone();
            ledger.advance_then(key(number), at(NOW), move |advanced| tell.send(advanced).unwrap());
        }
    }
    let replayed: Vec<_> = told.try_iter().collect();
    assert_eq!(replayed.len(), usize::from(most));
    assert!(replayed.iter().all(|one| *one == Err(RefusalCode::ProofReplayed)));
    drop(hold);
    drop(tell);
    let taken: Vec<_> = told.iter().collect();
    assert_eq!(taken.len(), usize::from(most));
    assert!(taken.iter().all(|one| *one == Ok(Advanced { previous: None })));
    // Nothing of it is held in memory for longer than that.
    let part = ledger.part(&name_of(&key(0).key)).unwrap();
    assert!(part.lock().queued.is_empty());
    ledger.advance(key(most), at(NOW)).await.unwrap();
    assert!(part.lock().highest.len() <= limits::LEDGER_PART_KEYS);
}
