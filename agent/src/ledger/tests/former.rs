use tessera_runtime::store::Batch;

use super::*;

fn row(counter: u32, used: u64) -> Vec<u8> {
    [counter.to_be_bytes().as_slice(), &used.to_be_bytes()].concat()
}

async fn left(rig: &Rig, rows: &[(u8, Vec<u8>)]) {
    let mut batch = Batch::new();
    let (newer, older) =
        (rig.store.table("k").unwrap(), rig.store.table("proof_counters").unwrap());
    for (key, row) in rows {
        match key % 2 {
            0 => batch.put(&newer, [*key; 20], row.clone()),
            _ => batch.put(&older, [*key; 32], row.clone()),
        }
    }
    rig.store.commit(batch).await.unwrap();
}

fn rows(rig: &Rig) -> usize {
    ["k", "proof_counters"].map(|table| rig.store.table(table).unwrap().len().unwrap()).iter().sum()
}

#[tokio::test]
async fn counters_of_a_former_version_hold_as_long_as_their_proofs_can_be_fresh() {
    let rig = Rig::new();
    let long_ago = NOW - 86_400;
    left(&rig, &[(1, row(40, NOW)), (2, row(50, NOW - 5)), (4, row(7, long_ago))]).await;
    left(&rig, &[(6, b"rubbish".to_vec())]).await;
    let rig = rig.crash();
    for (key, counter) in [(1, 40), (1, 1), (2, 50), (6, u32::MAX)] {
        assert_eq!(rig.take(key, NOW + 2, counter).await, Err(ProofReplayed), "{key}");
    }
    // The device that goes on counting does not wait, nor does one that lost its counter long ago.
    assert_eq!(rig.take(1, NOW, 41).await, Ok(None));
    assert_eq!(rig.take(4, NOW, 1).await, Ok(None));
    assert_eq!(rig.ledger.clean_former(rig.clock.unix()).await, Ok(false));
    assert_eq!(rows(&rig), 4);
    // One that starts anew waits a minute.
    rig.pass(61);
    assert_eq!(rig.take(2, NOW + 61, 1).await, Ok(None));
    rig.pass(180);
    assert_eq!(rig.ledger.clean_former(rig.clock.unix()).await, Ok(true));
    while rig.ledger.clean_former(rig.clock.unix()).await.unwrap() {}
    assert_eq!(rows(&rig), 0);
    // They are gone, but a clock that goes back finds their seconds closed; after a crash too.
    rig.clock.set_unix(at(long_ago));
    assert_eq!(rig.take(4, long_ago, 7).await, Err(ProofUndecided));
    let rig = rig.crash();
    assert_eq!(rig.take(4, long_ago, 7).await, Err(ProofUndecided));
    rig.clock.set_unix(at(NOW + 300));
    assert!(rig.wait(4).await <= 3);
}

#[tokio::test]
async fn their_rows_are_removed_in_bounded_steps_also_after_a_crash() {
    let rig = Rig::new();
    let table = rig.store.table("k").unwrap();
    let many = 2 * limits::LEDGER_STEP_ROWS + 7;
    let mut batch = Batch::new();
    for number in 0..many {
        let mut key = [7; 20];
        key[..8].copy_from_slice(&(number as u64).to_be_bytes());
        batch.put(&table, key, row(5, NOW - 1000));
    }
    rig.store.commit(batch).await.unwrap();
    let rig = rig.crash();
    rig.pass(200);
    assert_eq!(rig.ledger.clean_former(rig.clock.unix()).await, Ok(true));
    assert_eq!(rows(&rig), limits::LEDGER_STEP_ROWS + 7);
    let rig = rig.crash();
    rig.pass(200);
    let mut steps = 0;
    while rig.ledger.clean_former(rig.clock.unix()).await.unwrap() {
        steps += 1;
    }
    assert_eq!((steps, rows(&rig)), (2, 0));
}
