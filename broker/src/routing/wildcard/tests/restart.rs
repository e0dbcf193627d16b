use crate::message::SubscriberId;
use crate::routing::testing::*;
use crate::routing::wildcard::atomic_options::AtomicOptions;
use crate::routing::wildcard::feed::{Feed, Reader};
use crate::routing::{Outbox, Routing, SessionRoutes};
use std::sync::Arc;
use std::time::Duration;

async fn kill_router(routing: &Arc<Routing>) {
    let links = routing.wildcard.links.clone();
    let killed = tokio::task::spawn_blocking(move || {
        links.open_writer(None).ok().unwrap().link.kill_router()
    });
    killed.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_the_router_dies_every_subscription_is_made_again() {
    let routing = routing();
    let plain = subscriber(&routing, 1, &["a/#"]).await;
    let narrow = subscriber(&routing, 2, &["a/b/c/#"]).await;
    let shared = subscriber(&routing, 3, &["$share/g/a/#"]).await;
    routing.deliver(&numbered("a/b/c/d", 1)).await;
    for session in [&plain, &narrow, &shared] {
        assert_eq!(number(&next(session).await), 1);
    }
    for round in 1..=3u64 {
        kill_router(&routing).await;
        while routing.wildcard_stats().restarts < round {
            routing.deliver(&numbered("a/b/c/d", 2)).await;
            tokio::task::yield_now().await;
        }
        for session in [&plain, &narrow, &shared] {
            session.outbox().try_drain(usize::MAX, &mut Vec::new());
            while session.outbox().is_empty() {
                routing.deliver(&numbered("a/b/c/d", 3)).await;
                tokio::task::yield_now().await;
            }
        }
        assert_eq!(
            routing.wildcard_stats().restarts,
            round,
            "all links moved into the same new router"
        );
    }
    for session in [&plain, &narrow, &shared] {
        assert!(session.outbox().try_drain(usize::MAX, &mut Vec::new()) > 0);
    }
    drop(plain);
    let late = subscriber(&routing, 4, &["late/#"]).await;
    routing.deliver(&numbered("late/x", 5)).await;
    assert_eq!(number(&next(&late).await), 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_router_is_found_by_the_next_subscriber_too() {
    let routing = routing();
    kill_router(&routing).await;
    let session = subscriber(&routing, 1, &["a/#"]).await;
    while session.outbox().is_empty() {
        routing.deliver(&numbered("a/x", 7)).await;
        tokio::task::yield_now().await;
    }
    assert_eq!(number(&next(&session).await), 7);
    assert_eq!(routing.wildcard_stats().restarts, 1);
}

/// Stops the present router's thread until what comes back is dropped.
async fn hang_router(routing: &Arc<Routing>) -> std::sync::mpsc::SyncSender<()> {
    let links = routing.wildcard.links.clone();
    let hung = tokio::task::spawn_blocking(move || {
        links.open_writer(None).ok().unwrap().link.hang_router()
    });
    hung.await.unwrap()
}

/// Until `done`; a test that waits without end fails after thirty seconds.
async fn until(what: &str, done: impl Fn() -> bool) {
    let waiting = async {
        while !done() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), waiting).await.expect(what);
}

/// Two readers of one filter: both read the log.
async fn two_readers(routing: &Arc<Routing>) -> [SessionRoutes; 2] {
    [subscriber(routing, 1, &["a/#"]).await, subscriber(routing, 2, &["a/#"]).await]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hung_router_is_replaced_without_a_new_subscriber_and_readers_are_told() {
    let routing = routing();
    let sessions = two_readers(&routing).await;
    routing.deliver(&numbered("a/b", 1)).await;
    for session in &sessions {
        assert_eq!(number(&next(session).await), 1);
    }
    assert!(routing.is_healthy());
    let release = hang_router(&routing).await;
    // The router takes some of these into its queue and hands them to no reader; the others wait for the next one.
    for number in 2..12 {
        routing.deliver(&numbered("a/b", number)).await;
    }
    until("health tells", || !routing.is_healthy()).await;
    until("it is replaced", || routing.wildcard_stats().restarts == 1).await;
    until("health is good again", || routing.is_healthy()).await;
    routing.deliver(&numbered("a/b", u32::MAX)).await;
    for session in &sessions {
        let got = numbers_until_end(session).await;
        let missed = session.outbox().missed();
        assert!(missed > 0 && got.iter().eq(&(2 + missed as u32..12).collect::<Vec<_>>()));
    }
    // A new reader and the old ones read the same router.
    let late = subscriber(&routing, 3, &["a/+"]).await;
    // The one that hung goes on: it has no writer and no reader.
    drop(release);
    for number_sent in 13..200 {
        routing.deliver(&numbered("a/b", number_sent)).await;
        for session in sessions.iter().chain([&late]) {
            assert_eq!(number(&next(session).await), number_sent);
        }
    }
    assert_eq!((routing.wildcard_stats().restarts, late.outbox().missed()), (1, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_read_when_the_router_dies_is_no_loss_and_the_rest_is_told_exactly() {
    let routing = routing();
    let slow = Outbox::with_limits(SubscriberId(1), 8, 1 << 20);
    let slow = subscriber_with(&routing, slow, &["a/#"]).await;
    let quick = Outbox::with_limits(SubscriberId(2), 100_000, 1 << 30);
    let quick = subscriber_with(&routing, quick, &["a/#"]).await;
    for number in 0..1_000 {
        routing.deliver(&numbered("a/b", number)).await;
    }
    until("the quick one has all", || quick.outbox().len() == 1_000).await;
    kill_router(&routing).await;
    until("it is replaced", || routing.wildcard_stats().restarts == 1).await;
    routing.deliver(&numbered("a/b", u32::MAX)).await;
    let numbers = numbers_until_end(&quick).await;
    assert_eq!((numbers.len(), quick.outbox().missed()), (1_000, 0));
    let numbers = numbers_until_end(&slow).await;
    assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]), "in order, none twice");
    let missed = slow.outbox().missed();
    assert!(missed > 0, "the router had more for it than was on its way");
    assert_eq!(numbers.len() as u64 + missed, 1_000);
}

/// A change of routers that no client sees: while publishers publish and slow readers read, and again and again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_renewed_router_loses_nothing_and_repeats_nothing() {
    const COUNT: u32 = 20_000;
    let routing = routing();
    let slow = Outbox::with_limits(SubscriberId(1), 8, 1 << 20);
    let slow = subscriber_with(&routing, slow, &["a/#"]).await;
    let shared = subscriber(&routing, 2, &["$share/g/a/#"]).await;
    let direct = subscriber(&routing, 3, &["a/+"]).await;
    let publisher = {
        let routing = Arc::clone(&routing);
        tokio::spawn(async move {
            for number in 0..COUNT {
                if number % 4_000 == 2_000 {
                    routing.wildcard.links.renew().await;
                }
                routing.deliver(&numbered("a/b", number)).await;
            }
            routing.deliver(&numbered("a/b", u32::MAX)).await;
        })
    };
    let all: Vec<u32> = (0..COUNT).collect();
    let got = tokio::join!(
        numbers_until_end(&slow),
        numbers_until_end(&shared),
        numbers_until_end(&direct)
    );
    publisher.await.unwrap();
    assert!(got.0 == all && got.1 == all && got.2 == all);
    let stats = routing.wildcard_stats();
    assert_eq!((stats.renewals, stats.restarts, stats.gaps, stats.lost), (5, 0, 0, 0));
    until("old routers end", || routing.wildcard_stats().old_routers == 0).await;
}

/// The writer goes on without a reader that takes longer than all the others: it is told what it missed when it comes,
/// although no further message follows, and no message twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_comes_late_into_a_new_router_is_told_at_once_what_it_missed() {
    let routing = routing();
    let fleet = &routing.wildcard;
    let claim = fleet.filters.claim(&tenant("acme"), &filter("a/#").filter, None, None).unwrap();
    let log = claim.log().clone();
    let link = fleet.links.open(log.text()).await.ok().unwrap();
    let outbox = Outbox::new(SubscriberId(1));
    let (direct, stop) = Default::default();
    let feed = Feed {
        claim,
        reader: Reader::Session {
            outbox: Arc::clone(&outbox),
            options: Arc::new(AtomicOptions::new(qos1())),
        },
        direct,
        links: fleet.links.clone(),
        counters: Arc::clone(&fleet.counters),
        stop,
    };
    fleet.links.renew().await;
    for number in 0..10 {
        routing.deliver(&numbered("a/b", number)).await;
    }
    until("the writer goes on without it", || log.next_place() == 10).await;
    tokio::spawn(feed.run(link, 0));
    until("it is told", || outbox.missed() > 0).await;
    for number in 10..20 {
        routing.deliver(&numbered("a/b", number)).await;
    }
    until("it reads on", || outbox.len() == 10).await;
    assert_eq!((outbox.missed(), routing.wildcard_stats().gaps), (10, 10));
    outbox.close();
}
