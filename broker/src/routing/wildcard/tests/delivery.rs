use crate::codec::{Properties, PropertyId, QoS};
use crate::message::{Options, SubscriberId};
use crate::routing::testing::*;
use std::num::NonZeroU32;
use std::sync::Arc;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_comes_out_as_it_went_in() {
    let routing = routing();
    let session = subscriber(&routing, 1, &["d/+/telemetry"]).await;
    let mut sent = message("d/one/telemetry", &b"\0payload\xff"[..]);
    sent.retain = true;
    sent.set_expires(Some(NOW.plus(60)));
    let properties = Properties::build()
        .user("b", "1")
        .text(PropertyId::ContentType, "text/plain")
        .user("a", "2")
        .binary(PropertyId::CorrelationData, &[1, 2])
        .finish()
        .unwrap();
    sent.set_properties(properties);
    let sent = Arc::new(sent);
    assert_eq!(routing.deliver(&sent).await.filters, 1);
    let got = next(&session).await;
    assert_eq!(got.message.topic, sent.topic);
    assert_eq!(got.message.payload, sent.payload);
    let who = |one: &crate::message::Message| {
        let by = &one.publisher;
        (by.author.device().clone(), by.author.token().copied(), by.session, by.token_expires)
    };
    assert_eq!(who(&got.message), who(&sent));
    assert_eq!(got.message.expires(), sent.expires());
    assert_eq!(
        (got.message.qos, got.message.retain, got.retain()),
        (QoS::AtLeastOnce, true, false)
    );
    assert!(got.message.properties() == sent.properties());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tenants_do_not_meet() {
    let routing = routing();
    let session = subscriber(&routing, 1, &["#", "$share/g/#"]).await;
    let mut foreign = message("a/b", "foreign");
    foreign.tenant = tenant("other");
    let tally = routing.deliver(&Arc::new(foreign)).await;
    assert!(tally.no_matching_subscribers());
    routing.deliver(&Arc::new(message("a/b", "own"))).await;
    for _ in 0..2 {
        assert_eq!(next(&session).await.message.payload, "own");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wildcards_of_the_first_level_do_not_see_dollar_topics() {
    let routing = routing();
    let session = subscriber(&routing, 1, &["#", "+/alerts", "$tessera/#"]).await;
    assert_eq!(routing.deliver(&Arc::new(message("$tessera/alerts", "x"))).await.filters, 1);
    assert_eq!(routing.deliver(&Arc::new(message("other/alerts", "y"))).await.filters, 2);
    let mut got = Vec::new();
    for _ in 0..3 {
        got.push(next(&session).await.message.payload.clone());
    }
    got.sort();
    assert_eq!(got, ["x", "y", "y"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_of_overlapping_filters_delivers_with_its_own_options() {
    let routing = routing();
    let mut session = subscriber(&routing, 1, &[]).await;
    for (id, text) in [(1, "a/#"), (2, "a/+"), (3, "a/b")] {
        let options = Options { id: NonZeroU32::new(id), ..qos1() };
        session.subscribe(&filter(text), options).await.unwrap();
    }
    let tally = routing.deliver(&Arc::new(message("a/b", "x"))).await;
    assert_eq!((tally.taken, tally.filters), (1, 2));
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(next(&session).await.options.id.map(NonZeroU32::get));
    }
    ids.sort_unstable();
    assert_eq!(ids, [Some(1), Some(2), Some(3)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn options_change_without_a_second_subscription() {
    let routing = routing();
    let mut session = subscriber(&routing, 1, &["a/#"]).await;
    let changed = Options { id: NonZeroU32::new(9), ..Options::default() };
    assert!(!session.subscribe(&filter("a/#"), changed).await.unwrap());
    assert_eq!(routing.deliver(&Arc::new(message("a/b", "x"))).await.filters, 1);
    let got = next(&session).await;
    assert_eq!((got.options, got.qos()), (changed, QoS::AtMostOnce));
    assert!(session.outbox().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_local_leaves_out_what_the_session_published() {
    let routing = routing();
    let mut session = subscriber(&routing, 7, &[]).await;
    let options = Options { no_local: true, ..qos1() };
    session.subscribe(&filter("a/#"), options).await.unwrap();
    let mut own = message("a/b", "own");
    Arc::make_mut(&mut own.publisher).session = SubscriberId(7);
    routing.deliver(&Arc::new(own)).await;
    routing.deliver(&Arc::new(message("a/b", "other"))).await;
    assert_eq!(next(&session).await.message.payload, "other");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_unsubscribe_nothing_is_routed() {
    let routing = routing();
    let mut session = subscriber(&routing, 1, &["a/#", "b/#"]).await;
    assert!(session.unsubscribe(&filter("a/#")));
    assert!(!session.unsubscribe(&filter("a/#")));
    let publish_b = || async { routing.deliver(&Arc::new(message("b/x", "b"))).await };
    publish_b().await;
    assert_eq!(next(&session).await.message.payload, "b");
    // The claim on the log goes with the reader's task.
    while !routing.deliver(&Arc::new(message("a/x", "a"))).await.no_matching_subscribers() {
        tokio::task::yield_now().await;
    }
    drop(session);
    while !publish_b().await.no_matching_subscribers() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_filters_one_after_the_other_leave_no_trace_and_see_no_strays() {
    let routing = routing();
    for round in 0..1_000u32 {
        let session =
            subscriber(&routing, u64::from(round), &[&format!("gather/{round}/+/x")]).await;
        let name = format!("gather/{round}/dev/x");
        routing.deliver(&numbered(&name, round)).await;
        assert_eq!(number(&next(&session).await), round);
        // Left in the log for the next filter that gets it.
        routing.deliver(&numbered(&name, u32::MAX)).await;
        drop(session);
    }
    let stats = routing.wildcard_stats();
    assert_eq!((stats.gaps, stats.restarts, stats.refused), (0, 0, 0));
}
