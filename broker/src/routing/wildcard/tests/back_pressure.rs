use crate::message::SubscriberId;
use crate::routing::testing::*;
use crate::routing::Outbox;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_session_gets_everything_in_order_from_the_log() {
    const COUNT: u32 = 20_000;
    let routing = routing();
    let slow =
        subscriber_with(&routing, Outbox::with_limits(SubscriberId(1), 8, 1 << 20), &["#"]).await;
    let quick =
        subscriber_with(&routing, Outbox::with_limits(SubscriberId(2), 100_000, 1 << 30), &["#"])
            .await;
    for number in 0..COUNT {
        routing.deliver(&numbered("a/b", number)).await;
    }
    routing.deliver(&numbered("a/b", u32::MAX)).await;
    let all: Vec<u32> = (0..COUNT).collect();
    assert!(numbers_until_end(&quick).await == all, "the quick one does not wait for the slow one");
    assert!(slow.outbox().len() <= 8);
    assert!(numbers_until_end(&slow).await == all);
    assert_eq!((slow.outbox().missed(), routing.wildcard_stats().gaps), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_log_could_not_hold_is_counted_and_told() {
    const COUNT: u32 = 20_000;
    let routing = routing();
    // Below two fixed levels: a small log.
    let slow =
        subscriber_with(&routing, Outbox::with_limits(SubscriberId(1), 8, 1 << 20), &["d/one/x/#"])
            .await;
    for number in 0..COUNT {
        routing.deliver(&numbered("d/one/x/y", number)).await;
    }
    routing.deliver(&numbered("d/one/x/y", u32::MAX)).await;
    let numbers = numbers_until_end(&slow).await;
    assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]), "in order, none twice");
    let missed = slow.outbox().missed();
    assert!(missed > 0, "the log was meant to turn over");
    assert_eq!(numbers.len() as u64 + missed, u64::from(COUNT));
    assert_eq!(routing.wildcard_stats().gaps, missed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_closes_while_its_reader_waits_lets_go() {
    let routing = routing();
    let stuck =
        subscriber_with(&routing, Outbox::with_limits(SubscriberId(1), 1, 1 << 20), &["a/#"]).await;
    for number in 0..100 {
        routing.deliver(&numbered("a/b", number)).await;
    }
    stuck.outbox().close();
    while !routing.deliver(&numbered("a/b", 0)).await.no_matching_subscribers() {
        tokio::task::yield_now().await;
    }
}
