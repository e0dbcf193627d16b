use crate::lanes::testing::*;
use crate::lanes::Lanes;
use std::sync::Arc;

async fn kill_router(lanes: &Arc<Lanes>) {
    let links = lanes.fleet.links.clone();
    let killed =
        tokio::task::spawn_blocking(move || links.open_writer(None).unwrap().kill_router());
    killed.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_the_router_dies_every_subscription_is_made_again() {
    let lanes = lanes();
    let plain = subscriber(&lanes, 1, &["a/#"]).await;
    let narrow = subscriber(&lanes, 2, &["a/b/c/#"]).await;
    let shared = subscriber(&lanes, 3, &["$share/g/a/#"]).await;
    lanes.deliver(&numbered("a/b/c/d", 1)).await;
    for session in [&plain, &narrow, &shared] {
        assert_eq!(number(&next(session).await), 1);
    }
    for round in 1..=3u64 {
        kill_router(&lanes).await;
        while lanes.fleet_stats().restarts < round {
            lanes.deliver(&numbered("a/b/c/d", 2)).await;
            tokio::task::yield_now().await;
        }
        for session in [&plain, &narrow, &shared] {
            session.outbox().try_drain(usize::MAX, &mut Vec::new());
            while session.outbox().is_empty() {
                lanes.deliver(&numbered("a/b/c/d", 3)).await;
                tokio::task::yield_now().await;
            }
        }
        assert_eq!(lanes.fleet_stats().restarts, round, "all links moved into the same new router");
    }
    for session in [&plain, &narrow, &shared] {
        assert!(session.outbox().try_drain(usize::MAX, &mut Vec::new()) > 0);
    }
    drop(plain);
    let late = subscriber(&lanes, 4, &["late/#"]).await;
    lanes.deliver(&numbered("late/x", 5)).await;
    assert_eq!(number(&next(&late).await), 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_router_is_found_by_the_next_subscriber_too() {
    let lanes = lanes();
    kill_router(&lanes).await;
    let session = subscriber(&lanes, 1, &["a/#"]).await;
    while session.outbox().is_empty() {
        lanes.deliver(&numbered("a/x", 7)).await;
        tokio::task::yield_now().await;
    }
    assert_eq!(number(&next(&session).await), 7);
    assert_eq!(lanes.fleet_stats().restarts, 1);
}
