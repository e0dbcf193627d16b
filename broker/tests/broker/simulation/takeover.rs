//! One session and many clients that want it, at any moment: its own subject gets it, and other subjects change
//! nothing.

use std::collections::VecDeque;

use tessera_broker::codec::{Packet, Password, Properties, Publish, QoS, ReasonCode, Version};

use super::peer::Heard;
use super::stage::{Stage, DEVICE, UP};
use super::{seeds, Chance};
use crate::client::{plan, publish, Client, Plan, VERSIONS};
use crate::world::{device_scope, world, World};

const STEPS: usize = 300;

/// The packet id of what is published on a connection that has lost the session.
const GHOST: u16 = 999;

#[tokio::test(flavor = "multi_thread")]
async fn the_subject_takes_over_at_any_moment_and_strangers_change_nothing() {
    for seed in seeds(&[1, 2, 3, 4, 5, 6]) {
        let version = VERSIONS[usize::try_from(seed % 2).unwrap()];
        println!("simulation::takeover seed {seed} {version:?}");
        run(seed, version).await;
    }
}

async fn run(seed: u64, version: Version) {
    let world = world().await;
    let mut chance = Chance::new(seed);
    let mut stage = Stage::set(&world, version, &mut chance).await;
    let (mut strangers, mut taken) = (VecDeque::new(), 0);
    for _ in 0..STEPS {
        match chance.below(12) {
            0 => {
                take_over(&world, &mut stage, &mut chance).await;
                taken += 1;
            }
            1 if strangers.len() < 12 => strangers.push_back(stranger(&world, &mut chance).await),
            2 if !strangers.is_empty() => refused(strangers.pop_front().unwrap()).await,
            _ => assert_eq!(stage.traffic(&mut chance).await, None, "the holder noticed something"),
        }
    }
    for client in strangers {
        refused(client).await;
    }
    assert_eq!(world.broker.sessions(), 2);
    stage.settle().await;
    assert_eq!(stage.device.sync().await, Heard::Pong);
    println!("  {taken} takeovers, {}", stage.told());
}

/// Sends the CONNECT and does not wait for what becomes of it.
async fn begin(world: &World, mut plan: Plan<'_>, key: &str, token: Vec<u8>) -> Client {
    let password = world.password(key, &plan.connect.client_id, token);
    plan.connect.password = Some(Password::new(password.into()));
    let mut client = Client::raw(world, plan.connect.version).await;
    client.send(&Packet::Connect(Box::new(plan.connect))).await;
    client
}

/// A client that may not have this session, with everything that would hurt its holder.
async fn stranger(world: &World, chance: &mut Chance) -> Client {
    let version = VERSIONS[chance.below(2)];
    let (kind, clean) = (chance.below(4), chance.below(2) == 0);
    let (subject, key, id) = match kind {
        0 => ("thief", "thief", DEVICE),
        1 => ("thief", "thief", "d-1~x"),
        2 => (DEVICE, "thief", DEVICE),
        _ => (DEVICE, DEVICE, DEVICE),
    };
    let mut attempt = plan(world, DEVICE, version).kept(3600).client_id(id);
    attempt.connect.clean_start = clean;
    if kind == 3 {
        // Its own subject, with a will that it may not have: changes nothing either.
        attempt = attempt.will("d/d-2/status", Properties::new());
    }
    begin(world, attempt, key, world.token(subject, device_scope(subject))).await
}

async fn refused(mut client: Client) {
    match client.next().await {
        Some(Packet::ConnAck(ack)) => assert_eq!(ack.reason, ReasonCode::NOT_AUTHORIZED),
        other => panic!("expected CONNACK, got {other:?}"),
    }
    client.closed().await;
}

/// One to three connections want the session at once, while the holder goes on.
async fn take_over(world: &World, stage: &mut Stage, chance: &mut Chance) {
    let mut rivals = Vec::new();
    for _ in 0..chance.between(1, 3) {
        let token = world.token(DEVICE, stage.device.scope.clone());
        rivals.push(begin(world, stage.device.plan(world), DEVICE, token).await);
    }
    let mut ended = None;
    for _ in 0..chance.below(6) {
        if ended.is_none() {
            ended = stage.traffic(chance).await;
        }
    }
    let mut rivals = let_in(rivals).await;
    // All have been let in, so who has the session is settled. A connection that lost it is served nothing more.
    let old = stage.device.lose().unwrap();
    match ended {
        Some(heard) => assert_eq!(heard, Heard::Ended(told(stage.device.version))),
        None => {
            let mut old = old;
            old.send(&ghost(chance)).await;
            rivals.push(old);
        }
    }
    let mut winner = None;
    for mut rival in rivals {
        let (came, end) = until_pong_or_end(&mut rival).await;
        match end {
            Heard::Pong => {
                assert!(winner.is_none(), "two connections of one session are served");
                winner = Some((rival, came));
            }
            Heard::Ended(reason) => {
                assert_eq!(reason, told(rival.version), "the loser is told");
                assert!(!came.iter().any(answers_ghost), "a connection without session was served");
                rival.closed().await;
            }
        }
    }
    let (line, came) = winner.expect("nobody has the session");
    stage.device.adopt(line, came).await;
}

/// Those that were let in. A proof whose number is below one that was judged before it is refused as a replay, so only
/// the newest can be sure.
async fn let_in(rivals: Vec<Client>) -> Vec<Client> {
    let (newest, mut accepted) = (rivals.len() - 1, Vec::new());
    for (place, mut rival) in rivals.into_iter().enumerate() {
        match rival.next().await {
            Some(Packet::ConnAck(ack)) if ack.reason == ReasonCode::SUCCESS => {
                assert!(ack.session_present);
                accepted.push(rival);
            }
            Some(Packet::ConnAck(ack)) => {
                assert_eq!((ack.reason, place < newest), (ReasonCode::NOT_AUTHORIZED, true));
                rival.closed().await;
            }
            other => panic!("expected CONNACK, got {other:?}"),
        }
    }
    accepted
}

fn told(version: Version) -> Option<ReasonCode> {
    (version == Version::V5).then_some(ReasonCode::SESSION_TAKEN_OVER)
}

/// Published on a connection that has lost the session: it may reach no client, and it is not answered.
fn ghost(chance: &mut Chance) -> Packet {
    let (topic, qos) = match chance.below(2) {
        0 => (UP[0], QoS::AtLeastOnce),
        _ => (UP[1], QoS::ExactlyOnce),
    };
    match publish(topic, qos, &u32::MAX.to_be_bytes()) {
        Packet::Publish(one) => Packet::Publish(Publish { packet_id: Some(GHOST), ..one }),
        other => other,
    }
}

fn answers_ghost(packet: &Packet) -> bool {
    matches!(packet, Packet::PubAck(ack) | Packet::PubRec(ack) if ack.packet_id == GHOST)
}

async fn until_pong_or_end(client: &mut Client) -> (Vec<Packet>, Heard) {
    client.send(&Packet::PingReq).await;
    let mut came = Vec::new();
    loop {
        match client.next().await {
            Some(Packet::PingResp) => return (came, Heard::Pong),
            Some(Packet::Disconnect(bye)) => return (came, Heard::Ended(Some(bye.reason))),
            None => return (came, Heard::Ended(None)),
            Some(packet) => came.push(packet),
        }
    }
}
