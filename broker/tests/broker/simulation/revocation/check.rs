//! The state that must hold once the right has ended.

use tessera_broker::codec::{Packet, QoS, ReasonCode, Version};

use super::states::{ack, begin, exactly, rights, State, Subject, HELD};
use super::{archive, hub, Kind, ARCHIVES};
use crate::client::{plan, publish, until, Client};
use crate::world::World;

/// Its connection ends, and nothing is delivered on it until then.
pub async fn is_cut(one: &mut Subject, kind: Kind) {
    let Some(mut line) = one.line.take() else { return };
    line.bytes(&one.last_words).await;
    let mut reason = None;
    while let Some(packet) = line.next().await {
        match packet {
            Packet::Disconnect(bye) => reason = Some(bye.reason),
            Packet::ConnAck(_) if one.state == State::Connecting => {}
            Packet::Auth(_) if one.state == State::Challenged => {}
            other => panic!("{:?}, {kind:?}: {other:?}", one.state),
        }
    }
    let by_operator = (one.version == Version::V5).then_some(ReasonCode::ADMINISTRATIVE_ACTION);
    match one.state {
        // Refused, or let in and cut.
        State::Connecting | State::Challenged => {}
        _ if kind == Kind::Expiry => assert_ne!(reason, Some(ReasonCode::ADMINISTRATIVE_ACTION)),
        state => assert_eq!(reason, by_operator, "{state:?}, {kind:?}"),
    }
    // Packets that it still sends reach no client.
    for packet in last_acts(&one.name) {
        line.send(&packet).await;
    }
}

fn last_acts(name: &str) -> [Packet; 3] {
    let topic = format!("d/{name}/telemetry");
    let release = Packet::PubRel(ack(HELD));
    [release, publish(&topic, QoS::AtLeastOnce, b"late"), exactly(&topic, 8)]
}

/// All at once: a refusal takes its time.
pub async fn old_tokens_are_refused(world: &World, subjects: &[Subject]) {
    let mut attempts = Vec::new();
    for one in subjects {
        let mut client = begin(world, one).await;
        for packet in last_acts(&one.name) {
            client.send(&packet).await;
        }
        attempts.push(client);
    }
    for (mut client, one) in attempts.into_iter().zip(subjects) {
        match client.next().await {
            Some(Packet::ConnAck(ack)) => {
                assert_eq!(ack.reason, ReasonCode::NOT_AUTHORIZED, "{:?}", one.state);
            }
            other => panic!("{:?}: {other:?}", one.state),
        }
        client.closed().await;
    }
}

/// Messages that they published and that others have not received yet: a revocation drops them, the end of a token does
/// not.
pub async fn what_others_had_waiting(world: &World, subjects: &[Subject], kind: Kind) {
    let heard = subjects.iter().filter(|one| one.state.is_heard()).count() as u64;
    assert_eq!(heard, 4);
    // With trust data as old as the end of a token, no client is let in.
    world.forbid_bearer();
    let mut archive = archive(world, ARCHIVES[0]).await;
    if kind == Kind::Expiry {
        for _ in 0..heard {
            assert_eq!(&archive.message().await.payload[..], b"up");
        }
    }
    archive.quiet().await;
    archive.goodbye().await;
    if kind != Kind::Expiry {
        // That of the other archive is let go of, too, so that a restart does not bring it back.
        let dropped = r#"tessera_broker_dropped_total{qos="1",why="publisher_withdrawn"}"#;
        until(|| world.metric(dropped) == heard * ARCHIVES.len() as u64).await;
    }
}

pub async fn nothing_comes_or_goes(world: &World, hub: &mut Client, subjects: &[Subject]) {
    for one in subjects {
        hub.publish_acked(&format!("d/{}/cmd", one.name), b"late").await;
    }
    hub.quiet().await;
    // All wills that could be due are due, and one comes: that of the client that lost no right.
    world.advance(5001);
    // With trust data of that age, no client is let in.
    world.forbid_bearer();
    assert_eq!(&*hub.message().await.topic, "d/witness/status");
    hub.quiet().await;
    nothing_is_retained(hub).await;
}

async fn nothing_is_retained(hub: &mut Client) {
    hub.subscribe("d/#", QoS::AtMostOnce).await;
    hub.quiet().await;
    hub.unsubscribe("d/#").await;
}

/// A token that was issued afterwards begins with nothing.
pub async fn fresh_tokens_find_nothing(world: &World, subjects: &[Subject], kind: Kind) {
    if matches!(kind, Kind::Suspended | Kind::Key) {
        return;
    }
    let mut hub = hub(world, kind).await;
    hub.quiet().await;
    nothing_is_retained(&mut hub).await;
    for one in subjects {
        finds_nothing(world, one, kind).await;
    }
    hub.quiet().await;
    hub.goodbye().await;
}

pub async fn a_restart_finds_nothing(world: &World, subjects: &[Subject]) {
    let mut hub = hub(world, Kind::Token).await;
    hub.quiet().await;
    nothing_is_retained(&mut hub).await;
    for one in subjects {
        finds_nothing(world, one, Kind::Token).await;
    }
    hub.quiet().await;
}

async fn finds_nothing(world: &World, one: &Subject, kind: Kind) {
    let token = world.token_with(&one.name, rights(&one.name), |claims| kind.afterwards(claims));
    let mut resuming = plan(world, &one.name, Version::V5).token(token);
    resuming.connect.clean_start = false;
    let (mut client, answer) = resuming.try_open().await;
    let answer = answer.expect("closed");
    assert_eq!(
        (answer.reason, answer.session_present),
        (ReasonCode::SUCCESS, false),
        "{:?}",
        one.state
    );
    client.quiet().await;
    client.send(&Packet::PubRel(ack(HELD))).await;
    match client.next().await {
        Some(Packet::PubComp(done)) => assert_eq!(done.reason, ReasonCode::PACKET_ID_NOT_FOUND),
        other => panic!("{:?}: {other:?}", one.state),
    }
    client.goodbye().await;
}
