use crate::limits::{SHARE_FREE, SHARE_STEP};
use crate::message::SubscriberId;
use crate::routing::testing::*;
use crate::routing::{Outbox, Routing, SessionRoutes};
use crate::shares::tests::account_with;
use crate::shares::Kind;
use std::sync::Arc;
use std::time::Duration;

fn through_the_router(routing: &Routing) -> u64 {
    routing.wildcard_stats().published
}

/// Steps that are the same in each run and look like chance (xorshift).
struct Steps(u64);

impl Steps {
    fn next(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % below
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_keeps_up_is_reached_past_the_router() {
    let routing = routing();
    let session = subscriber(&routing, 1, &["a/+"]).await;
    // The feed may not have begun when the first is published.
    routing.deliver(&numbered("a/b", 0)).await;
    assert_eq!(number(&next(&session).await), 0);
    settled(&routing, &session).await;
    let before = through_the_router(&routing);
    for round in 1..500 {
        let tally = routing.deliver(&numbered("a/b", round)).await;
        assert_eq!(tally.filters, 1);
        assert_eq!(number(&next(&session).await), round);
    }
    assert_eq!(through_the_router(&routing), before);
}

/// Until a message takes the short way.
async fn settled(routing: &Arc<Routing>, session: &SessionRoutes) {
    loop {
        let before = through_the_router(routing);
        routing.deliver(&numbered("a/b", 0)).await;
        next(session).await;
        if through_the_router(routing) == before {
            return;
        }
        tokio::task::yield_now().await;
    }
}

/// A reader without a share misses the message on both ways. It is counted there, and the publisher is told where that
/// is known when it is answered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_loss_for_want_of_a_share_is_counted_on_both_ways() {
    let routing = routing();
    let account = account_with(4 * SHARE_STEP);
    let outbox = Outbox::of_account(Arc::clone(&account), SubscriberId(1), None, (1_000, 1 << 20));
    let poor = subscriber_with(&routing, outbox, &["a/+"]).await;
    settled(&routing, &poor).await;
    let _others = account.part(Kind::QueuedBytes, 4 * SHARE_STEP).unwrap();
    let large = Arc::new(message("a/b", vec![0; 2 * SHARE_FREE]));
    let tally = routing.deliver(&large).await;
    assert_eq!((tally.filters, tally.lost, tally.missed()), (1, 1, 1));
    assert!(!tally.has_reached() && !tally.no_matching_subscribers());
    assert_eq!((poor.outbox().missed(), routing.take_lost()), (1, [0; 3]));
    // With a second reader the messages of the filter go through its log.
    let other = subscriber(&routing, 2, &["a/+"]).await;
    let tally = routing.deliver(&large).await;
    assert_eq!((tally.filters, tally.lost, tally.has_reached()), (1, 0, true));
    next(&other).await;
    let counted = async {
        loop {
            let lost = routing.take_lost();
            if lost != [0; 3] {
                return lost;
            }
            tokio::task::yield_now().await;
        }
    };
    let lost = tokio::time::timeout(Duration::from_secs(10), counted).await.expect("not counted");
    assert_eq!((lost, routing.take_lost(), poor.outbox().missed()), ([0, 1, 0], [0; 3], 2));
}

/// However often the reader falls behind and catches up, on both ways together nothing is lost or out of order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn order_holds_while_the_way_changes() {
    for seed in [3u64, 77, 4_211] {
        println!("seed {seed}");
        let routing = routing();
        let outbox = Outbox::with_limits(SubscriberId(1), 8, 1 << 20);
        let session = subscriber_with(&routing, outbox, &["a/+"]).await;
        let publisher = {
            let routing = Arc::clone(&routing);
            tokio::spawn(async move {
                let mut steps = Steps(seed);
                for round in 0..4_000 {
                    routing.deliver(&numbered("a/b", round)).await;
                    if steps.next(16) == 0 {
                        for _ in 0..steps.next(64) {
                            tokio::task::yield_now().await;
                        }
                    }
                }
                routing.deliver(&numbered("a/b", u32::MAX)).await;
            })
        };
        let mut steps = Steps(seed + 1);
        let (mut got, mut batch) = (Vec::new(), Vec::new());
        while got.last() != Some(&u32::MAX) {
            session.outbox().reader().drain(1 + steps.next(8) as usize, &mut batch).await;
            got.extend(batch.drain(..).map(|delivery| number(&delivery)));
            for _ in 0..steps.next(6) {
                tokio::task::yield_now().await;
            }
        }
        publisher.await.unwrap();
        got.pop();
        assert_eq!(session.outbox().missed(), 0);
        assert_eq!(got, (0..4_000).collect::<Vec<_>>());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_falls_behind_reads_the_log_and_comes_back() {
    let routing = routing();
    let outbox = Outbox::with_limits(SubscriberId(1), 8, 1 << 20);
    let session = subscriber_with(&routing, outbox, &["a/+"]).await;
    let mut round = 0;
    for _ in 0..20 {
        settled(&routing, &session).await;
        let (first, before) = (round, through_the_router(&routing));
        for _ in 0..40 {
            routing.deliver(&numbered("a/b", round)).await;
            round += 1;
        }
        assert_eq!(
            through_the_router(&routing) - before,
            32,
            "all that the outbox had no room for"
        );
        for expected in first..round {
            assert_eq!(number(&next(&session).await), expected);
        }
    }
    assert_eq!(session.outbox().missed(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_reader_takes_both_to_the_log_and_nothing_comes_twice() {
    let routing = routing();
    let first = subscriber(&routing, 1, &["a/+"]).await;
    routing.deliver(&numbered("a/b", 0)).await;
    assert_eq!(number(&next(&first).await), 0);
    settled(&routing, &first).await;
    for round in 1..100 {
        routing.deliver(&numbered("a/b", round)).await;
    }
    let second = subscriber(&routing, 2, &["a/+"]).await;
    for round in 100..200 {
        routing.deliver(&numbered("a/b", round)).await;
    }
    routing.deliver(&numbered("a/b", u32::MAX)).await;
    assert_eq!(numbers_until_end(&first).await, (1..200).collect::<Vec<_>>());
    assert_eq!(numbers_until_end(&second).await, (100..200).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_unsubscribed_gets_nothing_and_who_comes_back_is_near_again() {
    let routing = routing();
    let mut session = subscriber(&routing, 1, &["a/+"]).await;
    routing.deliver(&numbered("a/b", 0)).await;
    next(&session).await;
    settled(&routing, &session).await;
    assert!(session.unsubscribe(&filter("a/+")));
    assert!(routing.deliver(&numbered("a/b", 1)).await.no_matching_subscribers());
    assert!(session.outbox().is_empty());
    assert!(session.subscribe(&filter("a/+"), qos1()).await.unwrap());
    routing.deliver(&numbered("a/b", 2)).await;
    assert_eq!(number(&next(&session).await), 2);
    settled(&routing, &session).await;
}
