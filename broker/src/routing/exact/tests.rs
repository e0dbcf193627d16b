use super::ExactRoutes;
use crate::limits::EXACT_INDEX_ABOVE;
use crate::message::{Options, SubscriberId};
use crate::routing::testing::*;
use crate::routing::{Outbox, Tally};
use std::sync::Arc;

fn publish(routes: &ExactRoutes, name: &str) -> Tally {
    let mut tally = Tally::default();
    routes.publish(&Arc::new(message(name, "x")), &mut tally);
    tally
}

fn outboxes(count: u64) -> Vec<Arc<Outbox>> {
    (0..count).map(|id| Outbox::new(SubscriberId(id))).collect()
}

#[test]
fn only_the_topic_of_the_tenant_is_reached() {
    let routes = ExactRoutes::new();
    let outbox = Outbox::new(SubscriberId(1));
    assert!(routes.subscribe(&tenant("acme"), &topic("d/1/cmd"), &outbox, qos1()));
    assert!(routes.subscribe(&tenant("other"), &topic("d/2/cmd"), &outbox, qos1()));
    assert_eq!(publish(&routes, "d/1/cmd").taken, 1);
    for name in ["d/2/cmd", "d/1", "d/1/cmd/x", "D/1/cmd"] {
        assert!(publish(&routes, name).no_matching_subscribers(), "{name}");
    }
    assert_eq!(outbox.len(), 1);
}

#[test]
fn subscribing_again_changes_options_and_delivers_once() {
    let routes = ExactRoutes::new();
    let acme = tenant("acme");
    let all = outboxes(2);
    assert!(routes.subscribe(&acme, &topic("t"), &all[0], Options::default()));
    assert!(!routes.subscribe(&acme, &topic("t"), &all[0], qos1()));
    assert!(routes.subscribe(&acme, &topic("t"), &all[1], Options::default()));
    assert!(!routes.subscribe(&acme, &topic("t"), &all[1], qos1()));
    assert_eq!(publish(&routes, "t").taken, 2);
    for outbox in &all {
        let mut got = Vec::new();
        outbox.try_drain(10, &mut got);
        assert_eq!(got.len(), 1);
        assert_eq!(got[0].options, qos1());
    }
}

#[test]
fn joining_and_leaving_in_any_order_keeps_exactly_the_others() {
    let routes = ExactRoutes::new();
    let acme = tenant("acme");
    let count = EXACT_INDEX_ABOVE as u64 * 4;
    let all = outboxes(count);
    for outbox in &all {
        assert!(routes.subscribe(&acme, &topic("t"), outbox, qos1()));
    }
    for (left, step) in (0..count).rev().zip((0..count).map(|step| step * 37 % count)) {
        assert!(routes.unsubscribe(&acme, &topic("t"), SubscriberId(step)));
        assert!(!routes.unsubscribe(&acme, &topic("t"), SubscriberId(step)));
        assert_eq!(publish(&routes, "t").taken as u64, left);
    }
    assert_eq!(routes.topics(), 0);
    let got: Vec<usize> = all.iter().map(|outbox| outbox.len()).collect();
    assert_eq!(got.iter().sum::<usize>() as u64, count * (count - 1) / 2);
}

#[test]
fn no_local_and_a_full_outbox() {
    let routes = ExactRoutes::new();
    let acme = tenant("acme");
    let own = Outbox::new(SubscriberId(u64::MAX));
    routes.subscribe(&acme, &topic("t"), &own, Options { no_local: true, ..qos1() });
    assert!(publish(&routes, "t").no_matching_subscribers());
    let small = Outbox::with_limits(SubscriberId(2), 1, 1 << 20);
    routes.subscribe(&acme, &topic("t"), &small, qos1());
    assert_eq!(publish(&routes, "t"), Tally { taken: 1, ..Tally::default() });
    assert_eq!(publish(&routes, "t"), Tally { full: 1, ..Tally::default() });
    assert_eq!(small.missed(), 1);
    small.close();
    assert!(publish(&routes, "t").no_matching_subscribers());
}

#[test]
fn whoever_stays_misses_nothing_when_others_come_and_go() {
    const MESSAGES: u64 = 20_000;
    let routes = ExactRoutes::new();
    let acme = tenant("acme");
    let stays = Outbox::with_limits(SubscriberId(1), usize::MAX, usize::MAX);
    let other = Outbox::with_limits(SubscriberId(2), usize::MAX, usize::MAX);
    assert!(routes.subscribe(&acme, &topic("t"), &stays, qos1()));
    std::thread::scope(|scope| {
        let publishes = scope.spawn(|| {
            for _ in 0..MESSAGES {
                publish(&routes, "t");
            }
        });
        while !publishes.is_finished() {
            assert!(routes.subscribe(&acme, &topic("t"), &other, qos1()));
            assert!(routes.unsubscribe(&acme, &topic("t"), other.id()));
        }
    });
    assert_eq!(stays.len() as u64, MESSAGES);
}

/// A fan-out that waits for one session, and a subscribe that waits for the fan-out, stop no other topic.
#[test]
fn a_fan_out_that_waits_stops_no_other_topic() {
    let routes = ExactRoutes::new();
    let acme = tenant("acme");
    let all = [0, 1, 2].map(|id| Outbox::with_limits(SubscriberId(id), usize::MAX, usize::MAX));
    assert!(routes.subscribe(&acme, &topic("busy"), &all[0], qos1()));
    assert!(routes.subscribe(&acme, &topic("busy"), &all[1], qos1()));
    std::thread::scope(|scope| {
        let (others, waiting) = all[0].between_pushes(|| {
            let waiting = [
                scope.spawn(|| assert!(publish(&routes, "busy").taken >= 2)),
                scope.spawn(|| {
                    assert!(routes.subscribe(&acme, &topic("busy"), &all[2], qos1()));
                }),
            ];
            let others = scope.spawn(|| {
                for number in 0..2_000 {
                    let name = format!("d/{number}");
                    assert!(routes.subscribe(&acme, &topic(&name), &all[1], qos1()));
                    assert_eq!(publish(&routes, &name).taken, 1);
                    assert!(routes.unsubscribe(&acme, &topic(&name), all[1].id()));
                }
            });
            // Each thread gets its turns: where these wait for the others, they still wait after so many.
            for _ in 0..2_000_000 {
                if others.is_finished() {
                    break;
                }
                std::thread::yield_now();
            }
            (others.is_finished(), waiting.iter().filter(|one| !one.is_finished()).count())
        });
        assert!(others, "other topics wait");
        assert!(waiting >= 1, "the publisher waits for the session");
    });
    assert_eq!((all[0].len(), routes.topics()), (1, 1));
}
