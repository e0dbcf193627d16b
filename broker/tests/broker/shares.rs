//! The shares of one device, used up by one device: it is refused, and its neighbour is served.

use tessera_broker::codec::{Packet, PropertyId, QoS, ReasonCode, Version};
use tessera_broker::RawBrokerConfig;

use crate::client::{plan, publish, retained, until, Client, VERSIONS};
use crate::world::{restarted_with, scope, world_in, world_with, World, NOW};

const QUOTA: ReasonCode = ReasonCode::QUOTA_EXCEEDED;
const KIB: usize = 1024;

fn hit(world: &World, limit: &str) -> u64 {
    world.metric(&format!(r#"tessera_broker_limits_hit_total{{limit="{limit}"}}"#))
}

fn refused(world: &World, what: &str) -> u64 {
    world.metric(&format!(r#"tessera_broker_refusals_total{{code="share_used_up",what="{what}"}}"#))
}

/// Messages that found no room in a queue, or no share.
fn lost(world: &World) -> u64 {
    world.metric(r#"tessera_broker_dropped_total{qos="1",why="queue_full"}"#)
}

/// A session of a device with every right on `t/…`.
async fn free(world: &World, device: &str, client_id: &str) -> Client {
    let all = scope(&[("both", "t/#")]);
    plan(world, device, Version::V5).client_id(client_id).scope(all).open().await
}

/// A persistent session with this subscription.
async fn keep(world: &World, device: &str, client_id: &str, filter: &str) -> Client {
    let mut client = resume(world, device, client_id).await;
    assert!(!client.subscribe(filter, QoS::AtLeastOnce).await.is_error());
    client
}

async fn resume(world: &World, device: &str, client_id: &str) -> Client {
    let all = scope(&[("both", "t/#")]);
    let plan = plan(world, device, Version::V5).client_id(client_id).scope(all).kept(600);
    let plan = plan.properties(|p| {
        p.number(PropertyId::SessionExpiry, 600).number(PropertyId::ReceiveMaximum, 65_535)
    });
    plan.open().await
}

#[tokio::test(flavor = "multi_thread")]
async fn wildcards_of_one_device_over_all_its_sessions() {
    let world = world_with(|raw| raw.limits.wildcards_per_device = 4).await;
    let mut sessions = Vec::new();
    for n in 0..3 {
        sessions.push(free(&world, "d-1", &format!("d-1~{n}")).await);
    }
    for (n, told) in [(0, ReasonCode::SUCCESS), (1, ReasonCode::SUCCESS), (2, QUOTA)] {
        for m in 0..2 {
            let filter = format!("t/{n}/{m}/#");
            assert_eq!(sessions[n].subscribe(&filter, QoS::AtMostOnce).await, told, "{filter}");
        }
    }
    // Groups read logs too.
    assert_eq!(sessions[2].subscribe("$share/g/t/+/x", QoS::AtMostOnce).await, QUOTA);
    assert_eq!((hit(&world, "logs_per_device"), refused(&world, "subscribe")), (3, 3));
    // One that is in use needs no further log, and others have theirs.
    assert_eq!(sessions[2].subscribe("t/0/0/#", QoS::AtMostOnce).await, ReasonCode::SUCCESS);
    let mut other = free(&world, "d-2", "d-2").await;
    assert_eq!(other.subscribe("t/2/0/#", QoS::AtMostOnce).await, ReasonCode::SUCCESS);
    sessions[1].unsubscribe("t/1/0/#").await;
    let mut retry = ReasonCode::SUCCESS;
    for _ in 0..100 {
        retry = sessions[2].subscribe("t/2/1/#", QoS::AtMostOnce).await;
        if retry == ReasonCode::SUCCESS {
            break;
        }
    }
    assert_eq!(retry, ReasonCode::SUCCESS);
}

#[tokio::test(flavor = "multi_thread")]
async fn subscriptions_of_one_device_over_all_its_sessions() {
    let world = world_with(|raw| raw.limits.subscriptions_per_device = 3).await;
    let mut one = free(&world, "d-1", "d-1~1").await;
    let mut two = keep(&world, "d-1", "d-1~2", "t/+").await;
    for filter in ["t/1", "t/2", "t/1"] {
        assert_eq!(one.subscribe(filter, QoS::AtMostOnce).await, ReasonCode::SUCCESS);
    }
    assert_eq!(two.subscribe("t/3", QoS::AtMostOnce).await, QUOTA);
    assert_eq!(two.subscribe("t/3/#", QoS::AtMostOnce).await, QUOTA);
    assert_eq!(hit(&world, "subscriptions_per_device"), 2);
    let mut other = free(&world, "d-2", "d-2").await;
    assert_eq!(other.subscribe("t/3", QoS::AtMostOnce).await, ReasonCode::SUCCESS);
    one.unsubscribe("t/1").await;
    assert_eq!(two.subscribe("t/3", QoS::AtMostOnce).await, ReasonCode::SUCCESS);
}

#[tokio::test(flavor = "multi_thread")]
async fn subscriptions_of_many_devices_of_one_tenant() {
    let world = world_with(|raw| raw.limits.subscriptions_per_tenant = 3).await;
    let mut one = free(&world, "d-1", "d-1").await;
    let mut two = keep(&world, "d-2", "d-2", "t/+").await;
    for filter in ["t/1", "$share/g/t/1"] {
        assert_eq!(one.subscribe(filter, QoS::AtMostOnce).await, ReasonCode::SUCCESS);
    }
    for (n, filter) in (1..).zip(["t/2", "t/2/#", "$share/g/t/1"]) {
        assert_eq!(two.subscribe(filter, QoS::AtMostOnce).await, QUOTA, "{filter}");
        assert_eq!(hit(&world, "subscriptions_per_tenant"), n);
        assert_eq!(refused(&world, "subscribe"), n);
    }
    // One that is there may be changed, and one that has ended makes room for others.
    assert_eq!(two.subscribe("t/+", QoS::AtMostOnce).await, ReasonCode::SUCCESS);
    one.unsubscribe("t/1").await;
    assert_eq!(two.subscribe("t/2", QoS::AtMostOnce).await, ReasonCode::SUCCESS);
}

#[tokio::test(flavor = "multi_thread")]
async fn retained_messages_and_bytes_of_one_publisher() {
    let few = world_with(|raw| raw.limits.retained_per_device = 2).await;
    let small = world_with(|raw| raw.limits.retained_bytes_per_device = 1024).await;
    for (world, payload) in [(&few, vec![0; 1]), (&small, vec![0; 400])] {
        let mut sessions = [free(world, "d-1", "d-1").await, free(world, "d-1", "d-1~2").await];
        let topics = [("t/1", 0), ("t/2", 1), ("t/3", 1), ("t/1", 1)];
        let mut told = Vec::new();
        for (topic, session) in topics {
            sessions[session].send(&retained(topic, &payload)).await;
            told.push(sessions[session].acked().await);
        }
        let good = ReasonCode::SUCCESS;
        assert_eq!(told, [good, good, QUOTA, good]);
        assert_eq!(hit(world, "retained_per_device"), 1);
        let mut other = free(world, "d-2", "d-2").await;
        other.send(&retained("t/3", &payload)).await;
        assert_eq!(other.acked().await, good);
        // Another publisher takes over a topic with its own share, which frees that of the first.
        other.send(&retained("t/1", &payload)).await;
        assert_eq!(other.acked().await, good);
        sessions[0].send(&retained("t/4", &payload)).await;
        assert_eq!(sessions[0].acked().await, good);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn retained_messages_of_many_devices_of_one_tenant() {
    let world = world_with(|raw| raw.limits.retained_per_tenant = 2).await;
    for (n, told) in [ReasonCode::SUCCESS, ReasonCode::SUCCESS, QUOTA].into_iter().enumerate() {
        let mut client = free(&world, &format!("d-{n}"), &format!("d-{n}")).await;
        client.send(&retained(&format!("t/{n}"), b"x")).await;
        assert_eq!(client.acked().await, told);
    }
    assert_eq!(hit(&world, "retained_per_tenant"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn kept_sessions_of_one_device_and_sessions_of_one_tenant() {
    let world = world_with(|raw| {
        raw.limits.kept_sessions_per_device = 2;
        raw.limits.sessions_per_tenant = 4;
    })
    .await;
    let open = |id: &'static str| plan(&world, "d-1", Version::V5).client_id(id);
    drop(open("d-1~a").kept(600).open().await);
    drop(open("d-1~b").kept(600).open().await);
    assert_eq!(open("d-1~c").kept(600).refused().await, QUOTA);
    let old = plan(&world, "d-1", Version::V311).client_id("d-1~c").kept(600);
    assert_eq!(old.refused().await, ReasonCode::SERVER_UNAVAILABLE);
    assert_eq!((hit(&world, "kept_sessions_per_device"), refused(&world, "connect")), (2, 2));
    // One that ends with its connection takes none, and those that are there may be taken up and replaced.
    let mut short = open("d-1~c").open().await;
    open("d-1~a").kept(600).open().await.quiet().await;
    let mut fresh = open("d-1~a").kept(600);
    fresh.connect.clean_start = true;
    fresh.open().await;
    plan(&world, "d-2", Version::V5).kept(600).open().await.quiet().await;
    assert_eq!(plan(&world, "d-3", Version::V5).refused().await, QUOTA);
    assert_eq!(hit(&world, "sessions_per_tenant"), 1);
    short.quiet().await;
}

/// Publishes until the broker says that there is no room; gives how many went in.
async fn fill(hub: &mut Client, topic: &str, payload: usize) -> usize {
    for n in 0..1_000 {
        match hub.publish_acked(topic, &vec![7; payload]).await {
            ReasonCode::SUCCESS => {}
            QUOTA => return n,
            other => panic!("{other:?}"),
        }
    }
    panic!("{topic} never ends");
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_wait_for_all_sessions_of_one_device() {
    let world = world_with(|raw| raw.limits.queued_bytes_per_device = 128 * KIB).await;
    let mut hub = free(&world, "hub", "hub").await;
    let mut filled = Vec::new();
    for n in 0..4 {
        let id = format!("d-1~{n}");
        // The first is live and acknowledges nothing, the others are away.
        let client = keep(&world, "d-1", &id, &format!("t/{n}")).await;
        if n > 0 {
            drop(client);
            until(|| world.broker.sockets() == 2).await;
            filled.push(fill(&mut hub, &format!("t/{n}"), 10 * KIB).await);
        } else {
            let mut live = client;
            let mut sent = 0;
            while hub.publish_acked("t/0", &[7; 10 * KIB]).await == ReasonCode::SUCCESS && sent < 4
            {
                sent += 1;
            }
            assert_eq!(sent, 4);
            live.unacked_message().await;
            filled.push(sent);
            tokio::spawn(async move {
                while live.next_within(std::time::Duration::from_secs(60)).await.is_some() {}
            });
        }
    }
    let total: usize = filled.iter().sum();
    assert!(total * 10 * KIB <= 136 * KIB, "{filled:?}");
    assert!(total >= 8 && filled[3] == 0, "{filled:?}");
    assert!(hit(&world, "queued_bytes_per_device") >= 3);
    assert!(lost(&world) >= 3, "{}", lost(&world));
    // A neighbour has its own share.
    drop(keep(&world, "d-2", "d-2", "t/9").await);
    assert!(fill(&mut hub, "t/9", 10 * KIB).await >= 8);
    // Messages that are taken out make room for the rest.
    let mut back = resume(&world, "d-1", "d-1~1").await;
    for _ in 0..filled[1] {
        back.message().await;
    }
    back.quiet().await;
    assert_eq!(hub.publish_acked("t/3", &[7; 10 * KIB]).await, ReasonCode::SUCCESS);
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_of_a_tenant_and_of_all_over_many_devices() {
    for limit in ["queued_bytes_per_tenant", "queued_bytes_in_all"] {
        let world = world_with(|raw| match limit {
            "queued_bytes_per_tenant" => raw.limits.queued_bytes_per_tenant = 64 * KIB,
            _ => raw.limits.queued_bytes_in_all = 64 * KIB,
        })
        .await;
        let mut hub = free(&world, "hub", "hub").await;
        for n in 0..4 {
            let name = format!("d-{n}");
            drop(keep(&world, &name, &name, &format!("t/{n}")).await);
        }
        let mut filled = 0;
        for n in 0..4 {
            filled += fill(&mut hub, &format!("t/{n}"), 10 * KIB).await;
        }
        assert!((3..=6).contains(&filled), "{limit}: {filled}");
        assert!(hit(&world, limit) >= 4);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn wildcard_subscribers_without_a_share_lose_and_do_not_stop_others() {
    let world = world_with(|raw| raw.limits.queued_bytes_per_device = 32 * KIB).await;
    let mut hub = free(&world, "hub", "hub").await;
    let full = keep(&world, "d-1", "d-1~full", "t/full").await;
    fill(&mut hub, "t/full", 10 * KIB).await;
    let mut live = free(&world, "d-1", "d-1").await;
    live.subscribe("t/live/+", QoS::AtLeastOnce).await;
    live.subscribe("$share/g/t/shared", QoS::AtLeastOnce).await;
    let mut other = free(&world, "d-2", "d-2").await;
    other.subscribe("t/live/#", QoS::AtLeastOnce).await;
    let before = lost(&world);
    for topic in ["t/live/1", "t/shared"] {
        hub.publish_acked(topic, &[7; 10 * KIB]).await;
    }
    assert_eq!(&*other.message().await.topic, "t/live/1");
    live.quiet().await;
    // Small ones come through, in any case.
    for topic in ["t/live/2", "t/shared"] {
        hub.publish_acked(topic, b"small").await;
    }
    assert_eq!(live.message().await.payload, b"small"[..]);
    assert_eq!(live.message().await.payload, b"small"[..]);
    // Each loss is counted, also one that is found after the publisher was answered.
    until(|| lost(&world) == before + 2).await;
    // The publisher is told when it was the only subscriber: as soon as its way past the log is open.
    live.subscribe("t/alone/+", QoS::AtLeastOnce).await;
    let mut told = Vec::new();
    while told.last() != Some(&QUOTA) && told.len() < 1_000 {
        told.push(hub.publish_acked("t/alone/1", &[7; 10 * KIB]).await);
    }
    assert_eq!(told.last(), Some(&QUOTA));
    // A reader that is slow may find that the log has turned over: that is counted as a gap.
    let gaps = || world.metric(r#"tessera_broker_fleet_lane{what="gaps"}"#);
    until(|| lost(&world) + gaps() == before + 2 + told.len() as u64).await;
    // So is a retained one that a new subscription would be sent.
    hub.send(&retained("t/kept", &[7; 10 * KIB])).await;
    assert_eq!(hub.acked().await, ReasonCode::SUCCESS);
    live.subscribe("t/kept", QoS::AtLeastOnce).await;
    live.quiet().await;
    assert_eq!(lost(&world) + gaps(), before + 3 + told.len() as u64);
    drop(full);
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_that_are_received_and_not_released() {
    for version in VERSIONS {
        let world = world_with(|raw| raw.limits.queued_bytes_per_device = 64 * KIB).await;
        let all = || scope(&[("both", "t/#")]);
        let mut clients = Vec::new();
        for id in ["d-1", "d-1~2"] {
            clients.push(plan(&world, "d-1", version).client_id(id).scope(all()).open().await);
        }
        let mut held = 0;
        let told = 'all: loop {
            for client in &mut clients {
                let mut packet = publish("t/1", QoS::ExactlyOnce, &[7; 10 * KIB]);
                if let Packet::Publish(publish) = &mut packet {
                    publish.packet_id = Some(held + 1);
                }
                client.send(&packet).await;
                match client.next().await {
                    // A client of 3.1.1 cannot be told: a message without a share is passed on and only its id is kept.
                    Some(Packet::PubRec(_)) if version == Version::V311 && held == 20 => {
                        break 'all None;
                    }
                    Some(Packet::PubRec(ack)) if ack.reason == ReasonCode::SUCCESS => held += 1,
                    Some(Packet::PubRec(ack)) => break 'all Some(ack.reason),
                    _ => break 'all None,
                }
            }
        };
        let is_told = version == Version::V5;
        assert!(if is_told { (3..=6).contains(&held) } else { held == 20 }, "{held}");
        assert_eq!(told, is_told.then_some(QUOTA));
        assert!(hit(&world, "queued_bytes_per_device") >= 1);
        assert_eq!(refused(&world, "publish"), u64::from(is_told));
        let mut other = plan(&world, "d-2", version).scope(all()).open().await;
        other.publish("t/1", QoS::ExactlyOnce, &[7; 10 * KIB]).await;
        assert!(
            matches!(other.next().await, Some(Packet::PubRec(ack)) if ack.reason == ReasonCode::SUCCESS)
        );
    }
}

/// State that came back at a start counts as it did before it.
#[tokio::test(flavor = "multi_thread")]
async fn shares_are_the_same_after_a_restart() {
    let [left, copy] = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let small = |raw: &mut RawBrokerConfig| raw.limits.queued_bytes_per_device = 64 * KIB;
    let world = world_in(left.path(), NOW, small).await;
    let mut hub = free(&world, "hub", "hub").await;
    drop(keep(&world, "d-1", "d-1~1", "t/1").await);
    drop(keep(&world, "d-1", "d-1~2", "t/2").await);
    let filled = fill(&mut hub, "t/1", 10 * KIB).await;

    let world = restarted_with(world, left.path(), copy.path(), 1, small).await;
    let mut hub = free(&world, "hub", "hub").await;
    assert_eq!(fill(&mut hub, "t/1", 10 * KIB).await, 0);
    assert_eq!(fill(&mut hub, "t/2", 10 * KIB).await, 0);
    let mut back = resume(&world, "d-1", "d-1~1").await;
    for _ in 0..filled {
        back.message().await;
    }
    back.quiet().await;
    assert_eq!(hub.publish_acked("t/2", &[7; 10 * KIB]).await, ReasonCode::SUCCESS);
}

type Lower = fn(&mut RawBrokerConfig);

/// Whatever limit is lower at a start than what is there: what was acknowledged comes back, and what is new is refused.
#[tokio::test(flavor = "multi_thread")]
async fn kept_sessions_come_back_past_lowered_limits() {
    let cases: [(&str, Lower); 6] = [
        ("kept_sessions_per_device", |raw| raw.limits.kept_sessions_per_device = 1),
        ("sessions_per_device", |raw| raw.limits.sessions_per_device = 1),
        ("sessions_per_tenant", |raw| raw.limits.sessions_per_tenant = 1),
        ("sessions", |raw| raw.limits.sessions = 1),
        ("subscriptions_per_device", |raw| raw.limits.subscriptions_per_device = 1),
        ("subscriptions_per_tenant", |raw| raw.limits.subscriptions_per_tenant = 1),
    ];
    for (limit, lower) in cases {
        let [left, copy] = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let world = world_in(left.path(), NOW, |_| {}).await;
        let mut hub = free(&world, "hub", "hub").await;
        for n in 0..3 {
            let id = format!("d-1~{n}");
            let mut client = keep(&world, "d-1", &id, &format!("t/{n}")).await;
            for filter in [format!("t/w/{n}/+"), format!("$share/g{n}/t/s/{n}")] {
                assert!(!client.subscribe(&filter, QoS::AtLeastOnce).await.is_error());
            }
        }
        until(|| world.broker.sockets() == 1).await;
        for n in 0..3 {
            for topic in [format!("t/{n}"), format!("t/w/{n}/x"), format!("t/s/{n}")] {
                assert_eq!(hub.publish_acked(&topic, b"x").await, ReasonCode::SUCCESS);
            }
        }

        let world = restarted_with(world, left.path(), copy.path(), 1, lower).await;
        assert_eq!(world.broker.sessions(), 3, "{limit}");
        let shares =
            |what| world.metric(&format!(r#"tessera_broker_shares_held{{what="{what}"}}"#));
        assert_eq!(shares("subscriptions"), 9, "{limit}");
        let mut clients = Vec::new();
        for n in 0..3 {
            let mut back = resume(&world, "d-1", &format!("d-1~{n}")).await;
            for topic in [format!("t/{n}"), format!("t/w/{n}/x"), format!("t/s/{n}")] {
                assert_eq!(&*back.message().await.topic, topic, "{limit}");
            }
            back.quiet().await;
            clients.push(back);
        }
        assert_eq!(hit(&world, limit), 0);
        let more = plan(&world, "d-1", Version::V5).client_id("d-1~9");
        let more = more.scope(scope(&[("both", "t/#")])).kept(600).try_open().await;
        let (mut more, ack) = (more.0, more.1.unwrap());
        if !ack.reason.is_error() {
            assert_eq!(more.subscribe("t/9", QoS::AtMostOnce).await, QUOTA, "{limit}");
        }
        assert_eq!(hit(&world, limit), 1, "{limit}");
        // Existing sessions and subscriptions may be resumed, replaced and changed.
        assert!(!clients[0].subscribe("t/0", QoS::AtMostOnce).await.is_error());
        let mut fresh = plan(&world, "d-1", Version::V5).client_id("d-1~1").kept(600);
        fresh.connect.clean_start = true;
        fresh.open().await.quiet().await;
        assert_eq!(hit(&world, limit), 1, "{limit}");
    }
}

/// A shared filter whose log another device had paid for, which does not come back.
#[tokio::test(flavor = "multi_thread")]
async fn kept_members_of_groups_that_others_had_paid_for_come_back() {
    let [left, copy] = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let small = |raw: &mut RawBrokerConfig| raw.limits.wildcards_per_device = 1;
    let world = world_in(left.path(), NOW, small).await;
    let mut hub = free(&world, "hub", "hub").await;
    let mut payers = Vec::new();
    for n in 0..3 {
        let mut payer = free(&world, &format!("p-{n}"), &format!("p-{n}")).await;
        let filter = format!("$share/g/t/{n}/+");
        assert!(!payer.subscribe(&filter, QoS::AtLeastOnce).await.is_error());
        drop(keep(&world, "d-1", &format!("d-1~{n}"), &filter).await);
        payer.unsubscribe(&filter).await;
        payers.push(payer);
    }
    until(|| world.broker.sockets() == 4).await;
    for n in 0..3 {
        assert_eq!(hub.publish_acked(&format!("t/{n}/x"), b"x").await, ReasonCode::SUCCESS);
    }
    let world = restarted_with(world, left.path(), copy.path(), 1, small).await;
    assert_eq!(world.broker.sessions(), 3);
    let mut hub = free(&world, "hub", "hub").await;
    for n in 0..3 {
        let topic = format!("t/{n}/x");
        assert_eq!(hub.publish_acked(&topic, b"y").await, ReasonCode::SUCCESS);
        let mut back = resume(&world, "d-1", &format!("d-1~{n}")).await;
        for payload in [b"x", b"y"] {
            assert_eq!(back.message().await.payload, payload[..]);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn retained_messages_come_back_past_lowered_limits() {
    let cases: [(&str, Lower); 6] = [
        ("retained_per_device", |raw| raw.limits.retained_per_device = 1),
        ("retained_per_tenant", |raw| raw.limits.retained_per_tenant = 1),
        ("retained", |raw| raw.limits.retained_messages = 1),
        ("retained_per_device", |raw| raw.limits.retained_bytes_per_device = 1024),
        ("retained_per_tenant", |raw| raw.limits.retained_bytes_per_tenant = 1024),
        ("retained", |raw| raw.limits.retained_bytes = 1024),
    ];
    for (limit, lower) in cases {
        let [left, copy] = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let world = world_in(left.path(), NOW, |_| {}).await;
        let mut client = free(&world, "d-1", "d-1").await;
        let topics = ["t/1", "t/2", "t/3"];
        for topic in topics {
            client.send(&retained(topic, &[7; 600])).await;
            assert_eq!(client.acked().await, ReasonCode::SUCCESS);
        }
        // Two starts: nothing goes at the first of them either.
        let world = restarted_with(world, left.path(), copy.path(), 1, lower).await;
        let (left, copy) = (copy, tempfile::tempdir().unwrap());
        let world = restarted_with(world, left.path(), copy.path(), 1, lower).await;
        let mut client = free(&world, "d-1", "d-1").await;
        client.subscribe("t/#", QoS::AtLeastOnce).await;
        let mut found = Vec::new();
        for _ in topics {
            found.push(client.message().await.topic.to_string());
        }
        found.sort();
        assert_eq!(found, topics, "{limit}");
        client.unsubscribe("t/#").await;
        let good = ReasonCode::SUCCESS;
        // One that is no larger than the one that it replaces takes nothing more.
        for (topic, payload, told) in [("t/4", 600, QUOTA), ("t/1", 600, good), ("t/2", 0, good)] {
            client.send(&retained(topic, &vec![8; payload])).await;
            assert_eq!(client.acked().await, told, "{limit}: {payload} bytes on {topic}");
        }
        assert!(hit(&world, limit) >= 1);
        for (topic, payload) in [("t/1", 0), ("t/3", 0), ("t/4", 600)] {
            client.send(&retained(topic, &vec![8; payload])).await;
            assert_eq!(client.acked().await, good, "{limit}: {topic}");
        }
    }
}

/// The default share, on the disk and after a start: one device with as many persistent sessions as it may have.
#[tokio::test(flavor = "multi_thread")]
async fn what_one_device_keeps_on_the_disk_is_bounded() {
    const MIB: u64 = 1024 * 1024;
    let [left, copy] = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let world = world_in(left.path(), NOW, |_| {}).await;
    let mut hub = free(&world, "hub", "hub").await;
    let mut filled = 0;
    for n in 0..64 {
        drop(keep(&world, "d-1", &format!("d-1~{n}"), &format!("t/{n}")).await);
        filled += fill(&mut hub, &format!("t/{n}"), 200 * KIB).await;
    }
    let more = plan(&world, "d-1", Version::V5).client_id("d-1~64").kept(600);
    assert_eq!(more.refused().await, QUOTA);
    assert!((70..=82).contains(&filled), "{filled} of 200 KiB");
    let world = restarted_with(world, left.path(), copy.path(), 1, |_| {}).await;
    let on_disk = bytes_below(&copy.path().join("sessions"));
    assert!(on_disk <= 3 * 16 * MIB, "{on_disk}");
    let mut hub = free(&world, "hub", "hub").await;
    assert_eq!(fill(&mut hub, "t/0", 200 * KIB).await, 0);
}

fn bytes_below(folder: &std::path::Path) -> u64 {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let bytes = |entry: std::fs::DirEntry| match entry.file_type().unwrap().is_dir() {
        true => bytes_below(&entry.path()),
        false => entry.metadata().unwrap().len(),
    };
    entries.map(bytes).sum()
}
