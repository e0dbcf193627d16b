//! Figures for people, printed. Times are no assertions: these tests claim only that everything arrives.

use super::exact::ExactRoutes;
use super::testing::*;
use super::{Outbox, Tally};
use crate::message::{Options, SubscriberId};
use std::sync::Arc;
use std::time::Duration;
use tessera_runtime::clock::{Clock, SystemClock};

fn per(name: &str, count: u64, took: Duration) {
    let nanos = took.as_nanos() as f64 / count as f64;
    println!("{name:60} {nanos:9.0} ns each, {:11.0} /s", 1e9 / nanos);
}

fn command_topics(sessions: u64) {
    let clock = SystemClock::new();
    let routes = ExactRoutes::new();
    let acme = tenant("acme");
    let all: Vec<_> = (0..sessions)
        .map(|id| (topic(&format!("d/device-{id}/cmd")), Outbox::new(SubscriberId(id))))
        .collect();
    let start = clock.monotonic();
    for (name, outbox) in &all {
        routes.subscribe(&acme, name, outbox, Options::default());
    }
    per(
        &format!("exact route: subscribe, {sessions} sessions"),
        sessions,
        clock.monotonic() - start,
    );
    let messages: Vec<_> =
        all.iter().map(|(name, _)| Arc::new(message(name.as_str(), "x"))).collect();
    let mut tally = Tally::default();
    let start = clock.monotonic();
    for message in &messages {
        routes.publish(message, &mut tally);
    }
    per(&format!("exact route: publish to one of {sessions}"), sessions, clock.monotonic() - start);
    assert_eq!(tally.taken as u64, sessions);
    let start = clock.monotonic();
    for (name, outbox) in &all {
        routes.unsubscribe(&acme, name, outbox.id());
    }
    per(
        &format!("exact route: unsubscribe, {sessions} sessions"),
        sessions,
        clock.monotonic() - start,
    );
}

#[test]
fn device_lane_one_topic_each() {
    command_topics(1_000);
    command_topics(15_000);
}

#[test]
fn device_lane_fan_out() {
    let clock = SystemClock::new();
    let routes = ExactRoutes::new();
    let all: Vec<_> =
        (0..1_000).map(|id| Outbox::with_limits(SubscriberId(id), 1 << 20, 1 << 30)).collect();
    for outbox in &all {
        routes.subscribe(&tenant("acme"), &topic("t"), outbox, Options::default());
    }
    let message = Arc::new(message("t", vec![0; 64]));
    let mut tally = Tally::default();
    let start = clock.monotonic();
    for _ in 0..200 {
        routes.publish(&message, &mut tally);
    }
    per("exact route: fan-out 1 to 1,000, each delivery", 200_000, clock.monotonic() - start);
    assert_eq!(tally.taken, 200_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fleet_lane_fan_in() {
    const COUNT: u32 = 100_000;
    let clock = SystemClock::new();
    let routing = routing();
    let session = subscriber(&routing, 1, &["d/+/telemetry"]).await;
    let names: Vec<String> = (0..1_000).map(|device| format!("d/{device}/telemetry")).collect();
    let start = clock.monotonic();
    let sender = {
        let routing = Arc::clone(&routing);
        tokio::spawn(async move {
            for number in 0..COUNT {
                routing.deliver(&numbered(&names[number as usize % names.len()], number)).await;
            }
        })
    };
    drain(&session, u64::from(COUNT)).await;
    per(
        "wildcard route: 1,000 topics to one wildcard",
        u64::from(COUNT),
        clock.monotonic() - start,
    );
    sender.await.unwrap();
    println!("{:?}", routing.wildcard_stats());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fleet_lane_fan_out() {
    const SESSIONS: u64 = 1_000;
    const COUNT: u64 = 200;
    let clock = SystemClock::new();
    let routing = routing();
    let mut sessions = Vec::new();
    let start = clock.monotonic();
    for id in 0..SESSIONS {
        sessions.push(subscriber(&routing, id, &["all/#"]).await);
    }
    per("wildcard route: subscribe", SESSIONS, clock.monotonic() - start);
    let start = clock.monotonic();
    for number in 0..COUNT as u32 {
        routing.deliver(&numbered("all/x", number)).await;
    }
    for session in &sessions {
        drain(session, COUNT).await;
    }
    per(
        "wildcard route: fan-out 1 to 1,000, each delivery",
        SESSIONS * COUNT,
        clock.monotonic() - start,
    );
}

async fn drain(session: &super::SessionRoutes, count: u64) {
    let mut got = Vec::new();
    let mut sum = 0;
    while sum < count {
        session.outbox().reader().drain(256, &mut got).await;
        sum += got.len() as u64;
        got.clear();
    }
    assert_eq!((sum, session.outbox().missed()), (count, 0));
}
