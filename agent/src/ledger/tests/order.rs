use super::*;

#[tokio::test]
async fn a_proof_is_good_once_and_none_before_it() {
    let rig = Rig::new();
    assert_eq!(rig.take(1, NOW, 5).await, Ok(None));
    for counter in [0, 4, 5] {
        assert_eq!(rig.take(1, NOW, counter).await, Err(ProofReplayed));
    }
    assert_eq!(rig.take(1, NOW - 1, 9).await, Err(ProofReplayed));
    assert_eq!(rig.take(1, NOW, 9).await, Ok(Some(5)));
    assert_eq!(rig.take(2, NOW, 5).await, Ok(None));
    // Over the border of two buckets, and of three.
    for (later, earlier) in [(NOW + 60, NOW + 1), (NOW + 58, NOW - 55)] {
        let rig = Rig::new();
        rig.take(1, later, 1).await.unwrap();
        assert_eq!(rig.take(1, earlier, 7).await, Err(ProofReplayed));
    }
}

/// A stolen resumption secret, a symmetric key and a forged one under a ticket key all come here.
#[tokio::test]
async fn the_highest_counter_burns_no_device_and_a_lost_one_heals_in_a_second() {
    let rig = Rig::new();
    rig.take(1, NOW, u32::MAX).await.unwrap();
    assert_eq!(rig.take(1, NOW, 7).await, Err(ProofReplayed));
    rig.pass(1);
    assert_eq!(rig.take(1, NOW + 1, 1).await, Ok(Some(u32::MAX)));
    // One from as far ahead as is fresh is over in two minutes.
    rig.take(1, NOW + 61, u32::MAX).await.unwrap();
    assert_eq!(rig.take(1, NOW + 2, 2).await, Err(ProofReplayed));
    rig.pass(61);
    assert!(rig.take(1, NOW + 62, 0).await.is_ok());
}

#[tokio::test]
async fn client_ids_of_one_key_are_told_apart() {
    let rig = Rig::new();
    rig.take_as("d~a", 1, NOW, 5).await.unwrap();
    rig.take_as("d~b", 1, NOW, 4).await.unwrap();
    rig.take_as("d", 1, NOW, 3).await.unwrap();
    for (client, counter) in [("d~a", 5), ("d~b", 4), ("d", 3)] {
        assert_eq!(rig.take_as(client, 1, NOW, counter).await, Err(ProofReplayed), "{client}");
    }
    // The same names of another key are its own.
    rig.take_as("d~a", 2, NOW, 1).await.unwrap();
    let rig = rig.stop();
    for (client, counter) in [("d~a", 5), ("d~b", 4), ("d", 3)] {
        assert_eq!(rig.take_as(client, 1, NOW, counter).await, Err(ProofReplayed), "{client}");
        rig.take_as(client, 1, NOW, counter + 1).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_with_the_same_proof_exactly_one_wins() {
    let rig = Arc::new(Rig::new());
    for counter in 1..=20 {
        // A second that is reserved or not yet, and one that is ahead.
        for (key, time) in [(1, rig.now()), (2, rig.now()), (3, rig.now() + 30)] {
            let tries: Vec<_> = (0..16)
                .map(|_| {
                    let rig = Arc::clone(&rig);
                    tokio::spawn(async move { rig.take(key, time, counter).await })
                })
                .collect();
            let mut won = 0;
            for one in tries {
                match one.await.unwrap() {
                    Ok(_) => won += 1,
                    Err(code) => assert_eq!(code, ProofReplayed),
                }
            }
            assert_eq!(won, 1);
        }
        rig.pass(1);
    }
}

#[tokio::test]
async fn the_counter_before_is_that_of_the_key_also_after_it_was_forgotten() {
    let rig = Rig::new();
    rig.take_as("d~a", 1, NOW, 5).await.unwrap();
    rig.pass(3600);
    assert_eq!(rig.take_as("d~b", 1, NOW + 3600, 900).await, Ok(Some(5)));
    assert_eq!(rig.take_as("d", 1, NOW + 3600, 901).await, Ok(Some(900)));
}
