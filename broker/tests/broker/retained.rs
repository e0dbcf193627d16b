//! Retained messages for new subscriptions: all of them come, at the pace of the reader, in turn with live messages.

use std::collections::BTreeSet;

use tessera_broker::codec::{
    Ack, Packet, Properties, PropertyId, Publish, QoS, ReasonCode, RetainHandling, Subscribe,
    SubscribeOptions, Subscription, Unsubscribe, Version,
};
use tessera_token::scope::Scope;

use crate::client::{plan, publish, retained, until, Client, Plan, VERSIONS};
use crate::world::{scope, world, world_with, World};

/// As in `limits.rs`.
const AHEAD: usize = 64;
const PER_LOOKUP: usize = 10_000;
const CUT: &str = r#"tessera_broker_limits_hit_total{limit="retained_lookup"}"#;

fn topic(number: usize) -> String {
    format!("d/{number}/status")
}

fn reader_scope() -> Scope {
    scope(&[("sub", "d/#"), ("sub", "live")])
}

async fn publisher(world: &World) -> Client {
    plan(world, "p", Version::V5).scope(scope(&[("pub", "#")])).open().await
}

/// As many retained messages, many in one write.
async fn retain(publisher: &mut Client, count: usize, payload: &[u8]) {
    let all: Vec<usize> = (0..count).collect();
    for some in all.chunks(200) {
        let packets: Vec<_> = some.iter().map(|n| retained(&topic(*n), payload)).collect();
        publisher.send_all(&packets).await;
        for _ in some {
            assert!(!publisher.acked().await.is_error());
        }
    }
}

/// A reader that takes `window` messages at a time.
fn reader(world: &World, window: u32, version: Version) -> Plan<'_> {
    let plan = plan(world, "r", version).scope(reader_scope());
    match version {
        Version::V311 => plan,
        Version::V5 => plan.properties(|p| p.number(PropertyId::ReceiveMaximum, window)),
    }
}

/// A reader of one at a time whose session is kept.
fn kept_reader(world: &World) -> Plan<'_> {
    plan(world, "r", Version::V5).scope(reader_scope()).kept(600).properties(|p| {
        let p = p.number(PropertyId::SessionExpiry, 600);
        p.number(PropertyId::ReceiveMaximum, 1)
    })
}

async fn acknowledge(client: &mut Client, message: &Publish) {
    let ack = Ack::new(message.packet_id.unwrap(), ReasonCode::SUCCESS);
    client.send(&Packet::PubAck(ack)).await;
}

/// Everything that comes, acknowledged, until nothing does any more.
async fn rest(client: &mut Client) -> Vec<Publish> {
    let (mut all, mut silent) = (Vec::new(), 0);
    client.send(&Packet::PingReq).await;
    // An answer may pass the messages that became free in the same step.
    while silent < 3 {
        match client.next().await {
            Some(Packet::Publish(message)) => {
                acknowledge(client, &message).await;
                all.push(message);
                silent = 0;
            }
            Some(Packet::PingResp) => {
                silent += 1;
                if silent < 3 {
                    client.send(&Packet::PingReq).await;
                }
            }
            other => panic!("{other:?}"),
        }
    }
    all
}

fn queue_full(world: &World) -> u64 {
    world.metric(r#"tessera_broker_dropped_total{qos="1",why="queue_full"}"#)
}

#[tokio::test(flavor = "multi_thread")]
async fn all_that_match_reach_the_subscriber_however_slow() {
    const COUNT: usize = 5_000;
    let world = world().await;
    retain(&mut publisher(&world).await, COUNT, b"up").await;
    for version in VERSIONS {
        for qos in [QoS::AtMostOnce, QoS::AtLeastOnce] {
            let mut slow = reader(&world, 3, version).open().await;
            slow.subscribe("d/+/status", qos).await;
            let mut seen = BTreeSet::new();
            for _ in 0..COUNT {
                let message = slow.message().await;
                assert!(message.retain && message.qos == qos && &message.payload[..] == b"up");
                assert!(seen.insert(message.topic.to_string()), "{} came twice", message.topic);
            }
            slow.quiet().await;
            slow.goodbye().await;
        }
    }
    let mut kept = plan(&world, "r", Version::V5).scope(reader_scope()).kept(600).open().await;
    kept.subscribe("d/+/status", QoS::AtLeastOnce).await;
    assert_eq!(rest(&mut kept).await.len(), COUNT);
    assert_eq!((queue_full(&world), world.metric(CUT)), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lookup_has_its_limit_and_says_so() {
    let world = world().await;
    retain(&mut publisher(&world).await, PER_LOOKUP + 1, b"up").await;
    let mut reader = plan(&world, "r", Version::V5).scope(reader_scope()).open().await;
    reader.subscribe("d/+/status", QoS::AtMostOnce).await;
    for _ in 0..PER_LOOKUP {
        reader.message().await;
    }
    reader.quiet().await;
    reader.quiet().await;
    assert_eq!(world.metric(CUT), 1);
}

/// Several filters in one go, one of them again while it is its turn: each is sent what it found.
#[tokio::test(flavor = "multi_thread")]
async fn filters_take_turns_and_who_asks_again_gets_all_again() {
    let world = world().await;
    retain(&mut publisher(&world).await, 300, b"up").await;
    let mut slow = reader(&world, 1, Version::V5).open().await;
    slow.subscribe("d/+/status", QoS::AtLeastOnce).await;
    let first = slow.unacked_message().await;
    // Again, once more but not if there already, and another one.
    slow.subscribe("d/+/status", QoS::AtLeastOnce).await;
    let options = SubscribeOptions {
        qos: QoS::AtLeastOnce,
        retain_handling: RetainHandling::SendIfNew,
        ..SubscribeOptions::default()
    };
    slow.subscribe_with("d/+/status", options, Properties::new()).await;
    slow.subscribe("d/#", QoS::AtLeastOnce).await;
    acknowledge(&mut slow, &first).await;
    let all = rest(&mut slow).await;
    let ahead = all.len() - 600;
    assert!(ahead <= AHEAD, "{ahead} of what was asked for first");
    for filter in [&all[ahead..ahead + 300], &all[ahead + 300..]] {
        assert_eq!(filter.iter().map(|one| &one.topic).collect::<BTreeSet<_>>().len(), 300);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn live_messages_wait_behind_few_retained_ones() {
    let world = world().await;
    let mut publisher = publisher(&world).await;
    retain(&mut publisher, 2_000, b"up").await;
    let mut slow = reader(&world, 1, Version::V5).open().await;
    slow.subscribe("live", QoS::AtLeastOnce).await;
    slow.subscribe("d/+/status", QoS::AtLeastOnce).await;
    assert_eq!(publisher.publish_acked("live", b"x").await, ReasonCode::SUCCESS);
    let mut before = 0;
    while &*slow.message().await.topic != "live" {
        before += 1;
    }
    assert!(before <= AHEAD + 1, "{before} in front");
    assert_eq!(rest(&mut slow).await.len(), 2_000 - before);
}

/// More live messages than the reader takes, and a full queue: both kinds go on.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_starves_neither_kind() {
    let world = world_with(|raw| raw.limits.queue_messages = 20).await;
    let mut publisher = publisher(&world).await;
    retain(&mut publisher, 500, b"up").await;
    let mut slow = reader(&world, 1, Version::V5).open().await;
    slow.subscribe("live", QoS::AtLeastOnce).await;
    slow.subscribe("d/+/status", QoS::AtLeastOnce).await;
    let (mut live, mut old) = (0, 0);
    for _ in 0..400 {
        let packet = publish("live", QoS::AtLeastOnce, b"x");
        loop {
            publisher.send(&packet).await;
            if publisher.acked().await == ReasonCode::QUOTA_EXCEEDED {
                break;
            }
        }
        match slow.message().await.retain {
            true => old += 1,
            false => live += 1,
        }
    }
    assert!(live >= 150 && old >= 150, "{live} live and {old} retained ones");
    let all = rest(&mut slow).await;
    assert_eq!(all.iter().filter(|message| message.retain).count() + old, 500);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_replaced_or_deleted_meanwhile_is_not_sent() {
    let world = world().await;
    let mut publisher = publisher(&world).await;
    retain(&mut publisher, 400, b"old").await;
    // Another reader holds them, unacknowledged.
    let mut other = plan(&world, "o", Version::V5).scope(reader_scope()).open().await;
    other.subscribe("d/+/status", QoS::AtLeastOnce).await;
    for _ in 0..200 {
        other.unacked_message().await;
    }
    let mut slow = reader(&world, 1, Version::V5).open().await;
    slow.subscribe("d/+/status", QoS::AtLeastOnce).await;
    let first = slow.unacked_message().await;
    // All are deleted, and half of them are there again.
    retain(&mut publisher, 400, b"").await;
    retain(&mut publisher, 200, b"new").await;
    acknowledge(&mut slow, &first).await;
    let all = rest(&mut slow).await;
    let stale: Vec<_> = all.iter().filter(|one| &one.payload[..] == b"old").collect();
    assert!(stale.len() <= AHEAD, "{} of the old ones", stale.len());
    assert!(all[..stale.len()].iter().all(|one| one.retain), "an old one behind a new one");
    assert_eq!(all.len() - stale.len(), 600, "the live ones");
}

#[tokio::test(flavor = "multi_thread")]
async fn unsubscribing_lets_go_of_the_rest() {
    let world = world().await;
    retain(&mut publisher(&world).await, 500, b"up").await;
    let mut slow = reader(&world, 1, Version::V5).open().await;
    slow.subscribe("d/+/status", QoS::AtLeastOnce).await;
    let first = slow.unacked_message().await;
    // There again in the same write, and it asks for nothing of what is retained.
    let filter = "d/+/status";
    let retain_handling = RetainHandling::Never;
    let options = SubscribeOptions { retain_handling, ..SubscribeOptions::default() };
    let entries = vec![Subscription { filter: filter.into(), options }];
    let properties = Properties::new;
    let filters = vec![filter.into()];
    slow.send_all(&[
        Packet::Unsubscribe(Unsubscribe { packet_id: 1, properties: properties(), filters }),
        Packet::Subscribe(Subscribe { packet_id: 2, properties: properties(), entries }),
    ])
    .await;
    assert!(matches!(slow.next().await, Some(Packet::UnsubAck(_))));
    assert!(matches!(slow.next().await, Some(Packet::SubAck(_))));
    acknowledge(&mut slow, &first).await;
    assert!(rest(&mut slow).await.len() <= AHEAD);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_of_a_withdrawn_publisher_is_not_sent() {
    let world = world().await;
    retain(&mut publisher(&world).await, 500, b"up").await;
    let mut slow = reader(&world, 1, Version::V5).open().await;
    slow.subscribe("d/+/status", QoS::AtLeastOnce).await;
    let first = slow.unacked_message().await;
    world.revoke_device("p");
    acknowledge(&mut slow, &first).await;
    assert!(rest(&mut slow).await.is_empty());
}

/// A connection that breaks: the session gets what its queue has room for, and the rest is counted. When it is taken
/// over, live messages of the next connection need room too: half of the queue is left to them.
#[tokio::test(flavor = "multi_thread")]
async fn a_kept_session_gets_the_rest_as_far_as_there_is_room() {
    for (count, comes, is_taken_over) in
        [(700, 700, false), (700, 501, true), (3_000, 1_001, false)]
    {
        let world = world().await;
        retain(&mut publisher(&world).await, count, b"up").await;
        let mut first = kept_reader(&world).open().await;
        first.subscribe("d/+/status", QoS::AtLeastOnce).await;
        let one = first.unacked_message().await;
        let first = is_taken_over.then_some(first);
        until(|| world.broker.sockets() == usize::from(is_taken_over)).await;
        let mut again = kept_reader(&world).open().await;
        drop(first);
        until(|| world.broker.sockets() == 1).await;
        let all = rest(&mut again).await;
        assert!(all[0].dup && all[0].topic == one.topic);
        assert_eq!(all.iter().map(|one| &one.topic).collect::<BTreeSet<_>>().len(), comes);
        assert_eq!((all.len(), queue_full(&world)), (comes, (count - comes) as u64));
    }
}

/// A session that ends with its connection holds nothing of it, and nothing of it is counted as lost in a queue.
#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_session_lets_go_of_the_rest() {
    let world = world().await;
    retain(&mut publisher(&world).await, 500, b"up").await;
    let mut slow = reader(&world, 1, Version::V5).open().await;
    slow.subscribe("d/+/status", QoS::AtLeastOnce).await;
    slow.unacked_message().await;
    drop(slow);
    until(|| world.broker.sockets() == 0).await;
    assert_eq!((world.broker.sessions(), queue_full(&world)), (0, 0));
}
