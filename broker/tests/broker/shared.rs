//! Shared subscriptions when a member leaves or refuses (MQTT 5 section 4.8.2).

use tessera_broker::codec::{Ack, Packet, QoS, ReasonCode, Version};

use crate::client::{plan, publish, Client, Plan};
use crate::world::{scope, world, World};

const JOBS: &str = "$share/g/jobs/#";

fn member<'w>(world: &'w World, name: &str) -> Plan<'w> {
    plan(world, name, Version::V5).scope(scope(&[("sub", "jobs/#")])).kept(600)
}

async fn hub(world: &World) -> Client {
    plan(world, "hub", Version::V5).scope(scope(&[("pub", "#")])).open().await
}

async fn publish_exactly(hub: &mut Client, payload: &[u8]) {
    hub.send(&publish("jobs/1", QoS::ExactlyOnce, payload)).await;
    assert_eq!(hub.next_bytes().await, [0x50, 2, 0, 9]);
    hub.answered("62 02 0009", "70 02 0009").await;
}

/// A member that holds one message that it has not answered, and another member that came later.
async fn begun(world: &World, qos: QoS) -> (Client, Client, Client) {
    let mut hub = hub(world).await;
    let mut first = member(world, "w-1").open().await;
    first.subscribe(JOBS, qos).await;
    publish_exactly(&mut hub, b"begun").await;
    assert_eq!(&first.unacked_message().await.payload[..], b"begun");
    let mut second = member(world, "w-2").open().await;
    second.subscribe(JOBS, qos).await;
    (hub, first, second)
}

/// [MQTT-4.8.2-4]
#[tokio::test(flavor = "multi_thread")]
async fn a_qos_2_message_waits_for_the_member_with_which_it_began() {
    let world = world().await;
    let (_hub, first, mut second) = begun(&world, QoS::ExactlyOnce).await;
    drop(first);
    let mut first = member(&world, "w-1").open().await;
    let again = first.unacked_message().await;
    assert_eq!((again.dup, &again.payload[..]), (true, &b"begun"[..]));
    first.send(&Packet::PubRec(Ack::new(again.packet_id.unwrap(), ReasonCode::SUCCESS))).await;
    assert!(matches!(first.next().await, Some(Packet::PubRel(_))));
    second.quiet().await;
}

/// [MQTT-4.8.2-5], and that the text asks the opposite of QoS 1.
#[tokio::test(flavor = "multi_thread")]
async fn a_qos_2_message_that_began_goes_to_nobody_else_when_its_session_ends() {
    for (qos, goes_on) in [(QoS::ExactlyOnce, false), (QoS::AtLeastOnce, true)] {
        let world = world().await;
        let (mut hub, first, mut second) = begun(&world, qos).await;
        drop(first);
        let mut clean = member(&world, "w-1");
        clean.connect.clean_start = true;
        clean.open().await;
        if goes_on {
            assert_eq!(&second.message().await.payload[..], b"begun");
        }
        // The group goes on, and what comes next is what was published next.
        publish_exactly(&mut hub, b"next").await;
        let next = second.unacked_message().await;
        assert_eq!((&next.payload[..], next.qos), (&b"next"[..], qos));
        second.quiet().await;
    }
}

/// [MQTT-4.8.2-6]
#[tokio::test(flavor = "multi_thread")]
async fn what_a_member_refuses_goes_to_nobody_else() {
    for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let world = world().await;
        let mut hub = hub(&world).await;
        let mut members = Vec::new();
        for name in ["w-1", "w-2"] {
            let mut one = member(&world, name).open().await;
            one.subscribe(JOBS, qos).await;
            members.push(one);
        }
        for n in 0..4u8 {
            publish_exactly(&mut hub, &[n]).await;
        }
        let mut seen = Vec::new();
        for one in &mut members {
            for _ in 0..2 {
                let message = one.unacked_message().await;
                seen.push(message.payload[0]);
                let no = Ack::new(message.packet_id.unwrap(), ReasonCode::UNSPECIFIED);
                let no =
                    if qos == QoS::ExactlyOnce { Packet::PubRec(no) } else { Packet::PubAck(no) };
                one.send(&no).await;
            }
        }
        for one in &mut members {
            one.quiet().await;
        }
        seen.sort_unstable();
        assert_eq!(seen, [0, 1, 2, 3]);
        // Nothing of it is kept either: both come back to an empty session.
        drop(members);
        for name in ["w-1", "w-2"] {
            member(&world, name).open().await.quiet().await;
        }
    }
}
