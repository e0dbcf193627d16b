use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tessera_token::scope::Permission;
use tessera_token::time::UnixSeconds;
use tessera_token::topic::TopicName;

use super::*;
use crate::authorisation::tests::{rights, Told};
use crate::codec::{
    self, Connect, Disconnect, FrameReader, Peer, Properties, Publish, QoS, Step, Subscribe,
    SubscribeOptions, Subscription,
};
use crate::config::RawBrokerConfig;
use crate::message::Author;
use crate::message::{Message, Options, Publisher};
use crate::routing::Delivery;

const NOW: UnixSeconds = UnixSeconds::new(1_800_000_000);

struct Bench {
    machine: Machine,
    rights: Rights,
    policy: SessionPolicy,
    told: Told,
    unix: UnixSeconds,
    monotonic: Duration,
}

impl Bench {
    fn new(version: Version, window: u32) -> Self {
        let policy = RawBrokerConfig::default().validate().unwrap().session;
        let mut bench = Self {
            machine: Machine::default(),
            rights: rights(&[("a/#", Permission::Both), ("b", Permission::Subscribe)]),
            policy,
            told: Told::default(),
            unix: NOW,
            monotonic: Duration::ZERO,
        };
        bench.attach(version, window, false);
        bench
    }

    fn attach(&mut self, version: Version, window: u32, present: bool) {
        let properties = Properties::build()
            .number(PropertyId::ReceiveMaximum, window)
            .number(PropertyId::SessionExpiry, 100)
            .finish()
            .unwrap();
        let connect = Connect {
            version,
            clean_start: false,
            keep_alive: 10,
            properties: if version == Version::V5 { properties } else { Properties::new() },
            client_id: "d-1".into(),
            will: None,
            user_name: None,
            password: None,
        };
        let (machine, cx) = self.parts();
        machine.attach(&connect, cx, present).unwrap();
    }

    fn parts(&mut self) -> (&mut Machine, Context<'_>) {
        let cx = Context {
            guard: None,
            rights: &self.rights,
            policy: &self.policy,
            trusted: Trusted::now(&self.told),
            session: SubscriberId(1),
            unix: self.unix,
            monotonic: self.monotonic,
        };
        (&mut self.machine, cx)
    }

    fn step(&mut self, packet: Packet) -> Vec<Effect> {
        let mut effects = Effects::default();
        let (machine, cx) = self.parts();
        machine.on_packet(packet, cx, &mut effects);
        effects.into_iter().collect()
    }

    fn deliver(&mut self, delivery: Delivery) -> (Delivered, Option<Publish>) {
        let mut out = BytesMut::new();
        let (machine, cx) = self.parts();
        let done = machine.deliver(delivery, cx, &mut out);
        (done, self.read(&mut out))
    }

    fn again(&mut self) -> Option<(Delivered, Option<Publish>)> {
        let mut out = BytesMut::new();
        let (machine, cx) = self.parts();
        let done = machine.deliver_again(cx, &mut out)?;
        Some((done, self.read(&mut out)))
    }

    fn read(&self, out: &mut BytesMut) -> Option<Publish> {
        let Step::Frame(frame) = FrameReader::new(100_000).next(out).unwrap() else { return None };
        match codec::decode(&frame, self.machine.version(), Peer::Server).unwrap() {
            Packet::Publish(publish) => Some(publish),
            _ => None,
        }
    }
}

fn delivery(topic: &str, qos: QoS, payload: &'static [u8]) -> Delivery {
    let publisher = Publisher {
        author: Author::of(rights(&[]).grant()),
        session: SubscriberId(2),
        token_expires: NOW.plus(1000),
    };
    let topic = TopicName::parse(topic).unwrap();
    let mut message =
        Message::new("acme".parse().unwrap(), topic, Bytes::from_static(payload), publisher);
    message.qos = qos;
    let options = Options { qos: QoS::ExactlyOnce, ..Options::default() };
    Delivery::new(Arc::new(message), options, false)
}

fn publish(topic: &str, qos: QoS) -> Packet {
    Packet::Publish(Publish {
        dup: false,
        qos,
        retain: false,
        topic: topic.into(),
        packet_id: (qos != QoS::AtMostOnce).then_some(5),
        properties: Properties::new(),
        payload: Bytes::from_static(b"x"),
    })
}

fn ended(effects: &[Effect]) -> Option<End> {
    effects.iter().find_map(|effect| match effect {
        Effect::Control(ControlEffect::End(end)) => Some(*end),
        _ => None,
    })
}

#[test]
fn an_authorised_publish_is_routed_and_then_acknowledged() {
    let mut bench = Bench::new(Version::V5, 10);
    let effects = bench.step(publish("a/b", QoS::AtLeastOnce));
    let [Effect::Publish { message, answer: Answer::PubAck(5) }] = &effects[..] else { panic!() };
    assert_eq!((message.topic.as_str(), message.publisher.session), ("a/b", SubscriberId(1)));
}

#[test]
fn refused_publishes_by_version_and_qos() {
    for (version, qos, stays) in [
        (Version::V5, QoS::AtLeastOnce, true),
        (Version::V5, QoS::AtMostOnce, false),
        (Version::V311, QoS::AtLeastOnce, false),
        (Version::V311, QoS::AtMostOnce, false),
    ] {
        let effects = Bench::new(version, 10).step(publish("b", qos));
        assert!(matches!(
            effects.first(),
            Some(Effect::Control(ControlEffect::Refused {
                code: RefusalCode::PublishNotAuthorised,
                ..
            }))
        ));
        let end = ended(&effects).map(|end| end.code());
        let expected = if stays { None } else { Some(Some(RefusalCode::PublishNotAuthorised)) };
        assert_eq!(end, expected, "{version:?} {qos:?}");
        assert!(!effects.iter().any(|effect| matches!(effect, Effect::Publish { .. })));
    }
}

#[test]
fn nothing_but_a_goodbye_is_heard_after_expiry() {
    let mut bench = Bench::new(Version::V5, 10);
    bench.unix = NOW.plus(100);
    for packet in [publish("a/b", QoS::AtMostOnce), Packet::PingReq] {
        let effects = bench.step(packet);
        assert_eq!(
            (effects.len(), ended(&effects).and_then(|end| end.code())),
            (1, Some(RefusalCode::TokenExpired))
        );
    }
    let bye = Disconnect { reason: ReasonCode::SUCCESS, properties: Properties::new() };
    assert_eq!(ended(&bench.step(Packet::Disconnect(bye))), Some(End::by_client()));
    let done = bench.deliver(delivery("a/b", QoS::AtMostOnce, b"x")).0;
    assert_eq!(done, Delivered::Ended(RefusalCode::TokenExpired));
}

#[test]
fn the_window_holds_and_ids_are_not_used_twice() {
    let mut bench = Bench::new(Version::V5, 2);
    let ids: Vec<u16> = (0..2)
        .map(|_| {
            bench.deliver(delivery("a/b", QoS::AtLeastOnce, b"x")).1.unwrap().packet_id.unwrap()
        })
        .collect();
    assert_eq!((ids.as_slice(), bench.machine.room()), (&[1, 2][..], 0));
    bench.step(Packet::PubAck(Ack::new(9, ReasonCode::SUCCESS)));
    assert_eq!(bench.machine.room(), 0);
    bench.step(Packet::PubAck(Ack::new(1, ReasonCode::SUCCESS)));
    assert_eq!(bench.machine.room(), 1);
    bench.machine.flight = Flight::default();
    bench.attach(Version::V5, 65_535, true);
    let mut last = 0;
    for _ in 0..70_000u32 {
        last = bench.deliver(delivery("a/b", QoS::AtLeastOnce, b"x")).1.unwrap().packet_id.unwrap();
        assert_ne!(last, 0);
        bench.step(Packet::PubAck(Ack::new(last, ReasonCode::SUCCESS)));
    }
    assert_eq!(u32::from(last), 70_000 - 65_535);
}

#[test]
fn old_deliveries_come_first_with_dup_and_their_id_within_the_window() {
    let mut bench = Bench::new(Version::V5, 10);
    for payload in [b"1", b"2", b"3"] {
        bench.deliver(delivery("a/b", QoS::AtLeastOnce, payload));
    }
    bench.attach(Version::V5, 2, true);
    assert_eq!(bench.machine.room(), 0);
    for id in [1, 2] {
        let (done, packet) = bench.again().unwrap();
        let packet = packet.unwrap();
        assert_eq!(
            (done, packet.packet_id, packet.dup),
            (Delivered::Sent(QoS::AtLeastOnce), Some(id), true)
        );
    }
    assert!(bench.again().is_none());
    bench.step(Packet::PubAck(Ack::new(1, ReasonCode::SUCCESS)));
    assert_eq!(bench.again().unwrap().1.unwrap().packet_id, Some(3));
    assert!(bench.again().is_none());
    for id in [2, 3] {
        bench.step(Packet::PubAck(Ack::new(id, ReasonCode::SUCCESS)));
    }
    assert!(bench.machine.flight.is_empty());
    assert_eq!(bench.machine.room(), 2);
}

#[test]
fn rights_are_asked_as_each_message_is_written() {
    let mut bench = Bench::new(Version::V5, 10);
    assert_eq!(
        bench.deliver(delivery("b", QoS::AtLeastOnce, b"x")).0,
        Delivered::Sent(QoS::AtLeastOnce)
    );
    bench.rights = rights(&[("a/#", Permission::Subscribe)]);
    let dropped = Delivered::Dropped("not_authorised", QoS::AtLeastOnce);
    let (done, packet) = bench.deliver(delivery("b", QoS::AtLeastOnce, b"x"));
    assert!(done == dropped && packet.is_none());
    assert_eq!(bench.machine.flight.len(), 1);
    bench.attach(Version::V5, 10, true);
    assert_eq!(bench.again().map(|(done, _)| done), Some(dropped));
    assert!(bench.again().is_none());
    assert!(bench.machine.flight.is_empty());
    let live = bench.deliver(delivery("$SYS/x", QoS::AtMostOnce, b"x")).0;
    assert_eq!(live, Delivered::Dropped("not_authorised", QoS::AtMostOnce));
}

#[test]
fn expired_messages_are_left_out_and_the_rest_of_their_life_is_told() {
    let mut bench = Bench::new(Version::V5, 10);
    let timed = |expires: u64| {
        let mut delivery = delivery("a/b", QoS::AtMostOnce, b"x");
        Arc::get_mut(&mut delivery.message).unwrap().set_expires(Some(NOW.plus(expires)));
        delivery.options.id = NonZeroU32::new(7);
        delivery
    };
    for (after, left) in [(0, 30), (12, 18), (29, 1)] {
        bench.unix = NOW.plus(after);
        let packet = bench.deliver(timed(30)).1.unwrap();
        assert_eq!(packet.properties.number(PropertyId::MessageExpiry), Some(left));
        assert_eq!(packet.properties.number(PropertyId::SubscriptionId), Some(7));
    }
    bench.unix = NOW.plus(30);
    assert_eq!(bench.deliver(timed(30)).0, Delivered::Dropped("expired", QoS::AtMostOnce));
}

/// MQTT-4.3.3-7, MQTT-4.4.0-1: the exchange is completed. It is no message that has yet to begin its way.
#[test]
fn what_was_sent_once_is_sent_again_after_it_expired() {
    let mut bench = Bench::new(Version::V5, 10);
    for (qos, id) in [(QoS::AtLeastOnce, 1), (QoS::ExactlyOnce, 2)] {
        let mut timed = delivery("a/b", qos, b"x");
        Arc::get_mut(&mut timed.message).unwrap().set_expires(Some(NOW.plus(5)));
        assert_eq!(bench.deliver(timed).1.unwrap().packet_id, Some(id));
    }
    bench.unix = NOW.plus(6);
    bench.attach(Version::V5, 10, true);
    for (qos, id) in [(QoS::AtLeastOnce, 1), (QoS::ExactlyOnce, 2)] {
        let (done, packet) = bench.again().unwrap();
        let packet = packet.unwrap();
        assert_eq!((done, packet.packet_id, packet.dup), (Delivered::Sent(qos), Some(id), true));
        assert_eq!(packet.properties.number(PropertyId::MessageExpiry), Some(0));
    }
}

/// It stays open, whatever else has expired with the token, and nothing that waits takes its place in the window.
#[test]
fn an_ended_token_keeps_what_was_sent_once_in_its_place() {
    let mut bench = Bench::new(Version::V5, 1);
    let mut timed = delivery("a/b", QoS::AtLeastOnce, b"x");
    Arc::get_mut(&mut timed.message).unwrap().set_expires(Some(NOW.plus(5)));
    bench.deliver(timed);
    bench.unix = bench.rights.grant().expires();
    bench.attach(Version::V5, 1, true);
    let ended = Delivered::Ended(RefusalCode::TokenExpired);
    assert_eq!(bench.again().map(|(done, packet)| (done, packet.is_none())), Some((ended, true)));
    assert_eq!((bench.machine.flight.len(), bench.machine.room()), (1, 0));
}

/// A message held back by the token's end waits for the next connection: no acknowledgement counts for it, and it is
/// sent as new.
#[test]
fn what_was_never_sent_cannot_be_acknowledged() {
    for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let mut bench = Bench::new(Version::V5, 1);
        bench.unix = bench.rights.grant().expires();
        let done = bench.deliver(delivery("a/b", qos, b"x")).0;
        assert_eq!(done, Delivered::Ended(RefusalCode::TokenExpired));
        bench.unix = NOW;
        bench.attach(Version::V5, 1, true);
        let ack = || Ack::new(1, ReasonCode::SUCCESS);
        for packet in [Packet::PubAck(ack()), Packet::PubRec(ack()), Packet::PubComp(ack())] {
            bench.step(packet);
        }
        let (done, packet) = bench.again().unwrap();
        let packet = packet.unwrap();
        assert_eq!((done, packet.packet_id, packet.dup), (Delivered::Sent(qos), Some(1), false));
        bench.attach(Version::V5, 1, true);
        assert!(bench.again().unwrap().1.unwrap().dup);
    }
}

/// A message that was taken back is let go of before the token is asked for: it takes no other message's place.
#[test]
fn what_was_taken_back_takes_no_place_when_the_token_ends() {
    let mut bench = Bench::new(Version::V5, 1);
    bench.unix = bench.rights.grant().expires();
    let live = bench.deliver(delivery("a/1", QoS::AtLeastOnce, b"x")).0;
    assert_eq!(live, Delivered::Ended(RefusalCode::TokenExpired));
    assert_eq!(bench.machine.room(), 0);
    let mut bench = Bench::new(Version::V5, 1);
    bench.unix = bench.rights.grant().expires();
    bench.told = Told::revoked(RefusalCode::DeviceEpoch);
    let gone = bench.deliver(delivery("a/1", QoS::AtLeastOnce, b"x")).0;
    assert_eq!(gone, Delivered::Dropped("publisher_withdrawn", QoS::AtLeastOnce));
    assert_eq!((bench.machine.flight.len(), bench.machine.room()), (0, 1));
}

#[test]
fn narrowing_drops_what_is_outside_and_keeps_the_rest() {
    let mut bench = Bench::new(Version::V5, 10);
    let entry =
        |filter: &str| Subscription { filter: filter.into(), options: SubscribeOptions::default() };
    let entries = ["a/+", "b", "$share/g/a/x", "$tessera/status", "c"].map(entry).to_vec();
    let effects = bench.step(Packet::Subscribe(Subscribe {
        packet_id: 3,
        properties: Properties::new(),
        entries,
    }));
    let Some(Effect::Control(ControlEffect::Subscribe { granted, ack })) = effects.last() else {
        panic!()
    };
    assert_eq!((granted.len(), ack.reasons.last()), (4, Some(&ReasonCode::NOT_AUTHORIZED)));
    let mut lost = bench.machine.narrow(&rights(&[("a/+", Permission::Subscribe)]));
    assert_eq!(lost.pop().unwrap().filter.as_str(), "b");
    assert!(lost.is_empty());
    assert_eq!(bench.machine.narrow(&rights(&[])).len(), 2);
    assert!(bench.machine.control(ControlTopic::Status).is_some());
}

use crate::authorisation::ControlTopic;

#[test]
fn nothing_of_a_withdrawn_publisher_is_sent() {
    let mut bench = Bench::new(Version::V5, 10);
    let sent = bench.deliver(delivery("a/1", QoS::AtLeastOnce, b"open"));
    assert!(matches!(sent, (Delivered::Sent(QoS::AtLeastOnce), Some(_))));
    bench.told = Told::revoked(RefusalCode::DeviceEpoch);
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let (done, packet) = bench.deliver(delivery("a/1", qos, b"new"));
        assert_eq!(done, Delivered::Dropped("publisher_withdrawn", qos));
        assert!(packet.is_none());
    }
    bench.attach(Version::V5, 10, true);
    let (done, packet) = bench.again().unwrap();
    assert_eq!(done, Delivered::Dropped("publisher_withdrawn", QoS::AtLeastOnce));
    assert!(packet.is_none() && bench.machine.flight.is_empty());
}

#[test]
fn what_waits_to_be_sent_again_is_let_go_of() {
    let mut bench = Bench::new(Version::V5, 10);
    bench.deliver(delivery("a/1", QoS::AtLeastOnce, b"under way"));
    bench.deliver(delivery("a/2", QoS::ExactlyOnce, b"under way"));
    bench.told = Told::revoked(RefusalCode::GroupEpoch);
    // On the present connection they are answered.
    assert_eq!(bench.machine.drop_revoked(Trusted::now(&bench.told)), []);
    bench.attach(Version::V5, 10, true);
    let dropped = bench.machine.drop_revoked(Trusted::now(&bench.told));
    assert_eq!(dropped, [QoS::AtLeastOnce, QoS::ExactlyOnce]);
    assert!(bench.machine.flight.is_empty() && bench.again().is_none());
}

#[test]
fn a_withdrawn_session_publishes_nothing_more() {
    let held = Packet::PubRel(Ack::new(1, ReasonCode::SUCCESS));
    for last in [publish("a/1", QoS::AtMostOnce), publish("a/1", QoS::AtLeastOnce), held] {
        let mut bench = Bench::new(Version::V5, 10);
        bench.step(publish("a/2", QoS::ExactlyOnce));
        bench.told = Told::revoked(RefusalCode::DeviceEpoch);
        let effects = bench.step(last);
        let [Effect::Control(ControlEffect::End(end))] = &effects[..] else {
            panic!("{}", effects.len())
        };
        assert_eq!(end.reason, Some(ReasonCode::ADMINISTRATIVE_ACTION));
        assert!(end.forget && !end.will);
    }
}

#[test]
fn subscriptions_have_a_limit() {
    let mut bench = Bench::new(Version::V5, 10);
    bench.policy.subscriptions = 2;
    let subscribe = |filter: &str| {
        let entries =
            vec![Subscription { filter: filter.into(), options: SubscribeOptions::default() }];
        Packet::Subscribe(Subscribe { packet_id: 3, properties: Properties::new(), entries })
    };
    let mut reason = |filter: &str| match bench.step(subscribe(filter)).pop() {
        Some(Effect::Control(ControlEffect::Subscribe { ack, .. })) => ack.reasons[0],
        _ => panic!(),
    };
    assert_eq!(reason("a/1"), ReasonCode::SUCCESS);
    assert_eq!(reason("a/2"), ReasonCode::SUCCESS);
    assert_eq!(reason("a/3"), ReasonCode::QUOTA_EXCEEDED);
    assert_eq!(reason("a/2"), ReasonCode::SUCCESS);
}

#[test]
fn keep_alive_is_one_and_a_half_times_and_each_packet_counts() {
    let mut bench = Bench::new(Version::V311, 10);
    assert_eq!(bench.machine.silent_until(), Some(Duration::from_secs(15)));
    bench.monotonic = Duration::from_secs(10);
    bench.step(Packet::PingReq);
    assert_eq!(bench.machine.silent_until(), Some(Duration::from_secs(25)));
}

#[test]
fn an_idle_machine_is_small() {
    assert!(std::mem::size_of::<Machine>() <= 256, "{}", std::mem::size_of::<Machine>());
}

#[test]
fn ends_that_are_no_refusal_and_their_words() {
    let refused = RefusalCode::PublishNotAuthorised;
    for (end, word, is_refusal, reason) in [
        (End::by_client(), "client", false, None),
        (End::lost(), "lost", false, None),
        (End::silent(), "keep_alive", false, Some(ReasonCode::KEEP_ALIVE_TIMEOUT)),
        (End::taken_over(), "taken_over", false, Some(ReasonCode::SESSION_TAKEN_OVER)),
        (End::stopping(), "stopping", false, Some(ReasonCode::SERVER_SHUTTING_DOWN)),
        (End::store_failed(), "store_failed", true, None),
        (
            End::broken(ReasonCode::PROTOCOL_ERROR, "auth_not_expected"),
            "auth_not_expected",
            true,
            Some(ReasonCode::PROTOCOL_ERROR),
        ),
        (
            End::refused(ReasonCode::NOT_AUTHORIZED, refused),
            refused.as_str(),
            true,
            Some(ReasonCode::NOT_AUTHORIZED),
        ),
    ] {
        assert_eq!((end.cause.as_str(), end.is_refusal(), end.reason), (word, is_refusal, reason));
        assert_eq!(end.code(), (word == refused.as_str()).then_some(refused), "{word}");
        assert_eq!(end.is_by_peer(), reason.is_none(), "{word}");
    }
}

/// The topic of the message that a PUBLISH to `topic` makes; `None` when it is refused.
fn published(bench: &mut Bench, topic: &'static str) -> Option<TopicName> {
    let publish = Publish {
        dup: false,
        qos: QoS::AtMostOnce,
        retain: false,
        topic: topic.into(),
        packet_id: None,
        properties: Properties::new(),
        payload: Bytes::from_static(b"x"),
    };
    match bench.step(Packet::Publish(publish)).as_slice() {
        [Effect::Publish { message, .. }] => Some(message.topic.clone()),
        _ => None,
    }
}

#[test]
fn messages_to_one_topic_share_its_text_and_each_is_authorised() {
    let mut bench = Bench::new(Version::V5, 10);
    let [first, second] = [(); 2].map(|()| published(&mut bench, "a/1").unwrap());
    assert!(Arc::ptr_eq(&first.shared(), &second.shared()));
    assert_eq!(published(&mut bench, "a/2").unwrap().as_str(), "a/2");
    assert_eq!(published(&mut bench, "a/1").unwrap().as_str(), "a/1");
    bench.rights = rights(&[("a/2", Permission::Both)]);
    assert!(published(&mut bench, "a/1").is_none());
    assert!(published(&mut bench, "b").is_none());
    assert!(published(&mut bench, "b").is_none());
}
