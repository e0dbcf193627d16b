//! `kill -9` of a broker that is a process of its own: what was acknowledged is there, QoS 2 comes once.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tessera_broker::codec::{
    Ack, Packet, Properties, PropertyId, Publish, QoS, ReasonCode, Version,
};
use tessera_runtime::store::{Batch, Store};
use tessera_token::encoding::hex;
use tessera_token::scope::Scope;

use crate::client::{plan, publish, retained, until, Client};
use crate::world::{backend_scope, device_scope, scope, world, world_in, World, NOW};

const FOLDER: &str = "TESSERA_TEST_BROKER_FOLDER";
const LATER: &str = "TESSERA_TEST_BROKER_LATER";
const QUEUE: &str = "TESSERA_TEST_BROKER_QUEUE";
const REVOKED: &str = "TESSERA_TEST_BROKER_REVOKED";
const LET_GO: &str = "TESSERA_TEST_BROKER_LET_GO";

/// The broker itself, when this binary was started as one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn as_a_process() {
    let Ok(folder) = std::env::var(FOLDER) else { return };
    let later: u64 = std::env::var(LATER).unwrap().parse().unwrap();
    let queue = std::env::var(QUEUE).ok().map(|queue| queue.parse().unwrap());
    let world = world_in(Path::new(&folder), NOW + later, |raw| {
        raw.limits.queue_messages = queue.unwrap_or(raw.limits.queue_messages);
    })
    .await;
    if let Ok(name) = std::env::var(REVOKED) {
        world.revoke_device(&name);
    }
    if let Ok(count) = std::env::var(LET_GO) {
        let (count, dropped) = (count.parse().unwrap(), || {
            let why = r#"why="publisher_withdrawn""#;
            world.metric(&format!(r#"tessera_broker_dropped_total{{qos="1",{why}}}"#))
        });
        until(|| dropped() >= count).await;
    }
    // A timer that is due already fires once the clock has moved.
    world.advance(1);
    println!("\nmqtt {} {}", world.mqtt(), world.agent.validator().now());
    // It stops in good order when its standard input ends.
    tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new()))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(world.stop.finish(STOPS_WITHIN).await, Vec::<String>::new());
    world.agent.close().unwrap();
}

const STOPS_WITHIN: Duration = Duration::from_secs(20);

pub struct Process(Child, BufReader<ChildStdout>);

impl Process {
    pub fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    /// As SIGTERM does.
    pub fn stop(mut self) {
        drop(self.0.stdin.take());
        self.1.read_to_end(&mut Vec::new()).unwrap();
        assert!(self.0.wait().unwrap().success());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Tokens are made here; the broker that checks them is the process.
pub struct Bed {
    pub world: World,
    pub folder: TempDir,
    later: u64,
}

impl Bed {
    pub async fn new() -> Self {
        Self { world: world().await, folder: tempfile::tempdir().unwrap(), later: 0 }
    }

    pub fn later(&mut self, seconds: u64) {
        self.later += seconds;
        self.world.advance(seconds);
    }

    pub fn start(&self) -> Process {
        self.start_with(&[])
    }

    /// With queues of so many messages.
    pub fn start_with_queue(&self, messages: usize) -> Process {
        self.start_with(&[(QUEUE, &messages.to_string())])
    }

    pub fn start_with(&self, more: &[(&str, &str)]) -> Process {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "restart::as_a_process", "--nocapture"]);
        command.env(FOLDER, self.folder.path()).env(LATER, self.later.to_string());
        command.envs(more.iter().copied());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let mut told = BufReader::new(child.stdout.take().unwrap());
        let address = told.by_ref().lines().map_while(Result::ok).find_map(|line| {
            let (address, now) = line.strip_prefix("mqtt ")?.split_once(' ')?;
            Some((address.parse().unwrap(), now.parse().unwrap()))
        });
        let (address, now): (_, u64) = address.expect("the broker did not start");
        *self.world.elsewhere.lock().unwrap() = Some(address);
        // After a kill its devices have waited for some seconds, as `world_from` does.
        self.world.advance(now.saturating_sub(self.world.agent.validator().now().get()));
        Process(child, told)
    }
}

pub async fn open(bed: &Bed, device: &str, scope: Scope) -> (Client, bool) {
    let (client, ack) =
        plan(&bed.world, device, Version::V5).scope(scope).kept(3600).try_open().await;
    let ack = ack.expect("closed");
    assert_eq!(ack.reason, ReasonCode::SUCCESS);
    (client, ack.session_present)
}

fn exactly(topic: &str, id: u16, payload: &[u8], dup: bool) -> Packet {
    match publish(topic, QoS::ExactlyOnce, payload) {
        Packet::Publish(one) => Packet::Publish(Publish { packet_id: Some(id), dup, ..one }),
        other => other,
    }
}

fn ack(id: u16) -> Ack {
    Ack::new(id, ReasonCode::SUCCESS)
}

async fn expect(client: &mut Client, wanted: &str, id: u16) {
    let packet = client.next().await;
    let (name, found) = match &packet {
        Some(Packet::PubRec(ack)) => ("PUBREC", ack.packet_id),
        Some(Packet::PubRel(ack)) => ("PUBREL", ack.packet_id),
        Some(Packet::PubComp(ack)) => ("PUBCOMP", ack.packet_id),
        other => panic!("expected {wanted}, got {other:?}"),
    };
    assert_eq!((name, found), (wanted, id));
}

fn device() -> Scope {
    scope(&[("pub", "d/d-1/telemetry"), ("pub", "d/d-1/status"), ("sub", "d/d-1/cmd")])
}

#[tokio::test(flavor = "multi_thread")]
async fn subscriptions_and_what_waits_come_back() {
    let bed = Bed::new().await;
    let process = bed.start();
    let (mut back, _) = open(&bed, "hub", backend_scope()).await;
    back.subscribe("d/+/telemetry", QoS::AtLeastOnce).await;
    let (mut one, present) = open(&bed, "d-1", device()).await;
    assert!(!present);
    one.subscribe("d/d-1/cmd", QoS::AtLeastOnce).await;
    drop(one);
    back.publish_acked("d/d-1/cmd", b"waits").await;
    process.kill();

    let process = bed.start();
    let (mut one, present) = open(&bed, "d-1", device()).await;
    assert!(present);
    assert_eq!(&one.message().await.payload[..], b"waits");
    assert_eq!(one.publish_acked("d/d-1/telemetry", b"up").await, ReasonCode::SUCCESS);
    let (mut back, present) = open(&bed, "hub", backend_scope()).await;
    assert!(present);
    assert_eq!(&back.message().await.payload[..], b"up");
    assert!(back.unsubscribe("d/+/telemetry").await == [ReasonCode::SUCCESS]);
    process.kill();

    let _process = bed.start();
    let (mut one, _) = open(&bed, "d-1", device()).await;
    let reason = one.publish_acked("d/d-1/telemetry", b"up").await;
    assert_eq!(reason, ReasonCode::NO_MATCHING_SUBSCRIBERS);
}

#[tokio::test(flavor = "multi_thread")]
async fn half_a_qos_2_exchange_comes_back_both_ways() {
    let bed = Bed::new().await;
    let process = bed.start();
    let (mut back, _) = open(&bed, "hub", backend_scope()).await;
    back.subscribe("d/d-1/telemetry", QoS::ExactlyOnce).await;
    let (mut one, _) = open(&bed, "d-1", device()).await;
    one.send(&exactly("d/d-1/telemetry", 7, b"once", false)).await;
    expect(&mut one, "PUBREC", 7).await;
    process.kill();

    let process = bed.start();
    let (mut one, _) = open(&bed, "d-1", device()).await;
    one.send(&exactly("d/d-1/telemetry", 7, b"once", true)).await;
    expect(&mut one, "PUBREC", 7).await;
    one.send(&Packet::PubRel(ack(7))).await;
    expect(&mut one, "PUBCOMP", 7).await;
    one.send(&Packet::PubRel(ack(7))).await;
    expect(&mut one, "PUBCOMP", 7).await;
    let (mut back, _) = open(&bed, "hub", backend_scope()).await;
    let message = back.unacked_message().await;
    let id = message.packet_id.unwrap();
    back.send(&Packet::PubRec(ack(id))).await;
    expect(&mut back, "PUBREL", id).await;
    process.kill();

    let process = bed.start();
    let (mut back, _) = open(&bed, "hub", backend_scope()).await;
    expect(&mut back, "PUBREL", id).await;
    back.send(&Packet::PubComp(ack(id))).await;
    back.quiet().await;
    process.kill();
}

#[tokio::test(flavor = "multi_thread")]
async fn retained_messages_come_back_and_deleted_ones_do_not() {
    let mut bed = Bed::new().await;
    let process = bed.start();
    let (mut one, _) = open(&bed, "d-1", device()).await;
    for (topic, payload) in
        [("d/d-1/status", &b"old"[..]), ("d/d-1/status", b"up"), ("d/d-1/telemetry", b"x")]
    {
        one.send(&retained(topic, payload)).await;
        assert_eq!(one.acked().await, ReasonCode::SUCCESS);
    }
    one.send(&retained("d/d-1/telemetry", b"")).await;
    one.acked().await;
    process.kill();

    let process = bed.start();
    let (mut back, _) = open(&bed, "hub", backend_scope()).await;
    back.subscribe("d/#", QoS::AtMostOnce).await;
    assert_eq!(&back.message().await.payload[..], b"up");
    back.quiet().await;
    process.kill();

    let process = bed.start_with(&[(REVOKED, "d-1")]);
    let (mut back, _) = open(&bed, "hub", backend_scope()).await;
    back.subscribe("d/#", QoS::AtMostOnce).await;
    back.quiet().await;
    process.kill();
    bed.later(3601);
    let _process = bed.start();
    let (mut back, _) = open(&bed, "hub", backend_scope()).await;
    back.subscribe("d/#", QoS::AtMostOnce).await;
    back.quiet().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn time_goes_on_while_the_broker_is_down_and_wills_are_not_forgotten() {
    let mut bed = Bed::new().await;
    let process = bed.start();
    let (mut back, _) = open(&bed, "hub", backend_scope()).await;
    back.subscribe("d/#", QoS::AtLeastOnce).await;
    let delay = Properties::build().number(PropertyId::WillDelay, 30).finish().unwrap();
    let willing = plan(&bed.world, "d-1", Version::V5).scope(device()).kept(100);
    willing.will("d/d-1/status", delay).open().await;
    process.kill();

    let process = bed.start();
    let (mut back, _) = open(&bed, "hub", backend_scope()).await;
    back.quiet().await;
    process.kill();

    bed.later(40);
    let process = bed.start();
    let (mut back, _) = open(&bed, "hub", backend_scope()).await;
    assert_eq!(&back.message().await.payload[..], b"gone");
    process.kill();

    bed.later(70);
    let _process = bed.start();
    let (_, present) = open(&bed, "d-1", device()).await;
    assert!(!present);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stored_session_belongs_to_one_key_and_ends_with_its_rights() {
    let bed = Bed::new().await;
    let process = bed.start();
    for name in ["d-1", "d-2"] {
        let rights = scope(&[("sub", "x"), ("sub", "y")]);
        let (mut one, _) = open(&bed, name, rights).await;
        one.subscribe("x", QoS::AtLeastOnce).await;
        one.subscribe("y", QoS::AtLeastOnce).await;
    }
    let (mut back, _) = open(&bed, "hub", scope(&[("pub", "#")])).await;
    back.publish_acked("x", b"x").await;
    back.publish_acked("y", b"y").await;
    process.kill();

    let _process = bed.start_with(&[(REVOKED, "d-1")]);
    // Its next token, of the epoch after the revocation, finds nothing.
    let token = bed.world.token_with("d-1", scope(&[("sub", "#")]), |c| c.epochs.device = 1);
    let (_, ack) = plan(&bed.world, "d-1", Version::V5).token(token).kept(600).try_open().await;
    assert!(!ack.unwrap().session_present);
    // The other one comes back with fewer rights: the rest waits in vain.
    let (mut two, present) = open(&bed, "d-2", scope(&[("sub", "y")])).await;
    assert!(present);
    assert_eq!(&two.message().await.payload[..], b"y");
    two.quiet().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_stored_for_others_goes_with_the_rights_of_its_publisher() {
    let bed = Bed::new().await;
    let process = bed.start();
    let (mut back, _) = open(&bed, "hub", backend_scope()).await;
    back.subscribe("d/+/telemetry", QoS::AtLeastOnce).await;
    drop(back);
    for name in ["d-1", "d-2"] {
        let (mut one, _) = open(&bed, name, device_scope(name)).await;
        one.publish_acked(&format!("d/{name}/telemetry"), name.as_bytes()).await;
    }
    process.kill();

    // The broker learns of it and drops the message before any client comes; later nothing reminds it.
    let process = bed.start_with(&[(REVOKED, "d-1"), (LET_GO, "1")]);
    let (mut other, _) = open(&bed, "d-3", scope(&[("pub", "x"), ("sub", "x")])).await;
    other.subscribe("x", QoS::AtLeastOnce).await;
    other.publish_acked("x", b"all before is durable").await;
    process.kill();
    let process = bed.start();
    let (mut back, present) = open(&bed, "hub", backend_scope()).await;
    assert!(present);
    assert_eq!(&back.message().await.payload[..], b"d-2");
    back.quiet().await;
    process.kill();
}

/// [MQTT-3.14.0-1]: what cannot be kept is not answered, and nothing is said in its place.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_fails_ends_connections_without_a_word() {
    let folder = tempfile::tempdir().unwrap();
    let world = world_in(folder.path(), NOW, |raw| raw.limits.max_packet = 900_000).await;
    let mut waiting = plan(&world, "d-1", Version::V5).open().await;
    // The store makes its journal with its first commit; there is no place for it.
    std::fs::create_dir(folder.path().join("sessions/journal-1")).unwrap();
    waiting.send(&retained("d/d-1/status", &[0; 800_000])).await;
    assert_eq!(hex::encode(waiting.next_bytes().await), "");
    assert_eq!(world.metric(r#"tessera_broker_connections_ended_total{why="store_failed"}"#), 1);
    // From then on a CONNECT is told, before anything is changed for it.
    let next = Client::raw(&world, Version::V5).await;
    let (mut next, ack) = plan(&world, "d-2", Version::V5).kept(600).try_over(next).await;
    assert_eq!(ack.unwrap().reason, ReasonCode::SERVER_UNAVAILABLE);
    next.closed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_session_is_dropped_and_the_others_are_not() {
    let bed = Bed::new().await;
    let process = bed.start();
    for name in ["d-1", "d-2"] {
        let (mut one, _) = open(&bed, name, scope(&[("sub", "x")])).await;
        one.subscribe("x", QoS::AtLeastOnce).await;
    }
    process.kill();
    {
        let store = Store::open(&bed.folder.path().join("sessions")).unwrap();
        let table = store.table("session_subscription").unwrap();
        let (key, mut value) = table.scan_prefix(&[], None, 10).unwrap().remove(0);
        value.pop();
        let mut batch = Batch::new();
        batch.put(&table, key, value);
        store.commit(batch).await.unwrap();
        store.close().unwrap();
    }
    let _process = bed.start();
    assert!(!open(&bed, "d-1", scope(&[("sub", "x")])).await.1);
    assert!(open(&bed, "d-2", scope(&[("sub", "x")])).await.1);
}

const KILLS: usize = 24;

/// A publisher across connections, as the standard wants one to be.
#[derive(Default)]
struct Sender {
    next: u32,
    /// The number under way, and whether PUBREC has come for it.
    open: Option<(u32, bool)>,
    acknowledged: Vec<u32>,
    known: bool,
}

async fn send(
    (bed, socket): (&Bed, Client),
    (name, qos): (&str, QoS),
    mut me: Sender,
    acks: &AtomicUsize,
) -> Sender {
    let topic = format!("d/{name}/telemetry");
    let (mut client, answer) = plan(&bed.world, name, Version::V5)
        .scope(scope(&[("pub", &topic)]))
        .kept(3600)
        .try_over(socket)
        .await;
    let Some(answer) = answer else { return me };
    assert_eq!(answer.reason, ReasonCode::SUCCESS);
    assert!(answer.session_present || !me.known, "{name}: the session is lost");
    me.known = true;
    let mut again = me.open.is_some();
    loop {
        let (number, released) = *me.open.get_or_insert_with(|| {
            me.next += 1;
            (me.next, false)
        });
        let id = u16::try_from(1 + number % 50).unwrap();
        let payload = number.to_be_bytes();
        if qos == QoS::AtLeastOnce {
            client.publish(&topic, qos, &payload).await;
        } else if released {
            client.send(&Packet::PubRel(ack(id))).await;
        } else {
            client.send(&exactly(&topic, id, &payload, again)).await;
        }
        again = false;
        match client.next().await {
            Some(Packet::PubRec(rec)) if rec.packet_id == id => {
                assert_eq!(rec.reason, ReasonCode::SUCCESS);
                me.open = Some((number, true));
                continue;
            }
            Some(Packet::PubAck(_) | Packet::PubComp(_)) => {}
            None => return me,
            other => panic!("{name}: {other:?}"),
        }
        me.open = None;
        me.acknowledged.push(number);
        acks.fetch_add(1, Ordering::SeqCst);
    }
}

/// The reader across connections: what it got, and which QoS 2 ids it holds.
#[derive(Default)]
struct Taker {
    got: BTreeMap<(String, u32), usize>,
    held: BTreeSet<u16>,
}

/// Reads until the broker is gone, or until `enough` says that all is there.
async fn take(mut client: Client, mut me: Taker, enough: impl Fn(&Taker) -> bool) -> Taker {
    while !enough(&me) {
        match client.next().await {
            Some(Packet::Publish(message)) => {
                let id = message.packet_id.unwrap();
                let exact = message.qos == QoS::ExactlyOnce;
                if !exact || me.held.insert(id) {
                    let number = u32::from_be_bytes(message.payload[..].try_into().unwrap());
                    *me.got.entry((message.topic.to_string(), number)).or_default() += 1;
                }
                let answer = if exact { Packet::PubRec(ack(id)) } else { Packet::PubAck(ack(id)) };
                client.send(&answer).await;
            }
            Some(Packet::PubRel(rel)) => {
                me.held.remove(&rel.packet_id);
                client.send(&Packet::PubComp(ack(rel.packet_id))).await;
            }
            None => return me,
            other => panic!("reader: {other:?}"),
        }
    }
    me
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_shared_with_a_kept_session_survives_a_kill_at_the_last_acknowledgement() {
    let bed = Bed::new().await;
    let shared = "$share/g/d/+/telemetry";
    let rights = || scope(&[("sub", "d/+/telemetry")]);
    for round in 0..5 {
        let process = bed.start();
        let (mut member, present) = open(&bed, "worker", rights()).await;
        assert_eq!(present, round > 0);
        if round == 0 {
            member.subscribe(shared, QoS::AtLeastOnce).await;
        }
        drop(member);
        let (mut one, _) = open(&bed, "d-1", device()).await;
        for number in 0..40u8 {
            let reason = one.publish_acked("d/d-1/telemetry", &[round, number]).await;
            assert_eq!(reason, ReasonCode::SUCCESS);
        }
        process.kill();
        let process = bed.start();
        let (mut member, present) = open(&bed, "worker", rights()).await;
        assert!(present);
        let mut wanted = 0..40u8;
        while !wanted.is_empty() {
            let message = member.message().await;
            // A message that it acknowledged just before the last kill may come again.
            if message.payload[0] == round {
                assert_eq!(wanted.next(), Some(message.payload[1]));
            }
        }
        member.goodbye().await;
        process.kill();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_and_qos_2_comes_once_over_many_kills() {
    let bed = Arc::new(Bed::new().await);
    let names = [
        ("a-1", QoS::AtLeastOnce),
        ("a-2", QoS::AtLeastOnce),
        ("e-1", QoS::ExactlyOnce),
        ("e-2", QoS::ExactlyOnce),
    ];
    let mut senders: Vec<Sender> = names.iter().map(|_| Sender::default()).collect();
    let mut taker = Taker::default();
    for round in 0..KILLS {
        let process = bed.start();
        let (mut reader, present) = open(&bed, "hub", backend_scope()).await;
        assert_eq!(present, round > 0, "round {round}");
        if round == 0 {
            reader.subscribe("d/+/telemetry", QoS::ExactlyOnce).await;
        }
        let acks = Arc::new(AtomicUsize::new(0));
        let reading = tokio::spawn(take(reader, taker, |_| false));
        let mut sockets = Vec::new();
        // Before the first acknowledgement can end the process; their CONNECTs may meet the kill.
        for _ in names {
            sockets.push(Client::raw(&bed.world, Version::V5).await);
        }
        let sending: Vec<_> = senders
            .drain(..)
            .zip(names)
            .zip(sockets)
            .map(|((sender, one), socket)| {
                let (bed, acks) = (Arc::clone(&bed), Arc::clone(&acks));
                tokio::spawn(async move { send((&bed, socket), one, sender, &acks).await })
            })
            .collect();
        let kill_at = 3 + round * 7 % 40;
        while acks.load(Ordering::SeqCst) < kill_at {
            tokio::task::yield_now().await;
        }
        process.kill();
        for one in sending {
            senders.push(one.await.unwrap());
        }
        taker = reading.await.unwrap();
    }
    let _process = bed.start();
    let (reader, present) = open(&bed, "hub", backend_scope()).await;
    assert!(present);
    let wanted: Vec<(String, u32)> = senders
        .iter()
        .zip(names)
        .flat_map(|(sender, (name, _))| {
            sender.acknowledged.iter().map(move |n| (format!("d/{name}/telemetry"), *n))
        })
        .collect();
    let all = wanted.clone();
    let taker = take(reader, taker, move |me| all.iter().all(|one| me.got.contains_key(one))).await;
    for one in &wanted {
        assert!(taker.got.contains_key(one), "{one:?} was acknowledged and is lost");
    }
    for ((topic, number), count) in &taker.got {
        assert!(!topic.contains("/e-") || *count == 1, "{topic} {number} came {count} times");
    }
    println!("{} acknowledged, {} received over {KILLS} kills", wanted.len(), taker.got.len());
    assert!(wanted.len() > KILLS * 3);
}
