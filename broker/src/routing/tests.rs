//! Outbox, message, and both routing behind one session.

use super::testing::*;
use super::{Delivery, Outbox, Push};
use crate::authorisation::tests::{rights, Told};
use crate::codec::*;
use crate::message::Trusted;
use crate::message::{Message, Options, SubscriberId};
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use tessera_token::refusal::RefusalCode;

fn delivery(payload: usize) -> Delivery {
    let message = Arc::new(message("t", vec![0; payload]));
    Delivery::new(message, qos1(), false)
}

fn poll<F: Future>(future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn an_outbox_holds_so_many_messages_and_so_many_bytes() {
    let outbox = Outbox::with_limits(SubscriberId(1), 3, 10_000);
    for _ in 0..3 {
        assert_eq!(outbox.push(delivery(10)), Push::Taken);
    }
    assert_eq!(outbox.push(delivery(10)), Push::Full);
    assert_eq!(outbox.missed(), 0);
    assert_eq!(outbox.push_or_miss(delivery(10)), Push::Full);
    assert_eq!((outbox.len(), outbox.missed()), (3, 1));
    outbox.try_drain(2, &mut Vec::new());
    assert_eq!(outbox.push(delivery(20_000)), Push::Full, "too many bytes behind another");
    outbox.try_drain(1, &mut Vec::new());
    assert_eq!(outbox.push(delivery(20_000)), Push::Taken, "one larger message passes alone");
    assert_eq!(outbox.push(delivery(1)), Push::Full);
}

#[test]
fn whoever_is_turned_away_is_told_between_two_pushes() {
    let outbox = Outbox::with_limits(SubscriberId(1), 1, 1_000);
    assert!(!outbox.has_some());
    let turned = std::cell::Cell::new(0);
    let away = || turned.set(turned.get() + 1);
    assert_eq!(outbox.push_if(delivery(10), || false, away), None);
    assert_eq!((turned.get(), outbox.has_some()), (1, false));
    assert_eq!(outbox.push_if(delivery(10), || true, away), Some(Push::Taken));
    assert_eq!((turned.get(), outbox.has_some()), (1, true));
    assert_eq!(outbox.push_if(delivery(10), || true, away), None, "it is full");
    assert_eq!(turned.get(), 2);
    outbox.try_drain(1, &mut Vec::new());
    assert!(!outbox.has_some());
    outbox.close();
    assert!(outbox.has_some(), "its reader is to see the end");
    assert_eq!(outbox.push_if(delivery(10), || true, away), Some(Push::Closed));
    assert_eq!(turned.get(), 2);
}

#[test]
fn what_is_taken_back_leaves_room_and_no_sign() {
    let outbox = Outbox::with_limits(SubscriberId(1), 2, 1_000);
    let mut theirs = message("t", vec![0; 10]);
    theirs.publisher = rights(&[]).publisher(SubscriberId(2));
    let theirs = Delivery::new(Arc::new(theirs), qos1(), false);
    let told = Told::revoked(RefusalCode::DeviceEpoch);
    let drop_revoked = || outbox.drop_revoked(Trusted::now(&told));
    assert_eq!(outbox.push(theirs.clone()), Push::Taken);
    assert_eq!(outbox.push(delivery(10)), Push::Taken);
    assert_eq!(
        (drop_revoked(), outbox.len(), outbox.has_some()),
        (vec![QoS::AtLeastOnce], 1, true)
    );
    outbox.try_drain(1, &mut Vec::new());
    assert_eq!(outbox.push(theirs), Push::Taken);
    assert_eq!(
        (drop_revoked(), outbox.len(), outbox.has_some()),
        (vec![QoS::AtLeastOnce], 0, false)
    );
    assert_eq!(outbox.push(delivery(1_000)), Push::Taken, "their bytes are free again");
}

#[test]
fn room_is_told_when_the_reader_has_drained() {
    let outbox = Outbox::with_limits(SubscriberId(1), 4, 1_000);
    for _ in 0..4 {
        outbox.push(delivery(10));
    }
    let mut small = pin!(outbox.room(100));
    let mut large = pin!(outbox.room(5_000));
    assert!(poll(small.as_mut()).is_pending() && poll(large.as_mut()).is_pending());
    outbox.try_drain(2, &mut Vec::new());
    assert!(poll(small.as_mut()).is_ready());
    assert!(poll(large.as_mut()).is_pending(), "it fits only alone");
    outbox.try_drain(2, &mut Vec::new());
    assert!(poll(large.as_mut()).is_ready());
}

#[test]
fn closing_gives_back_what_waits_and_lets_everybody_go() {
    let outbox = Outbox::with_limits(SubscriberId(1), 1, 1_000);
    outbox.push(delivery(10));
    let mut room = pin!(outbox.room(10));
    assert!(poll(room.as_mut()).is_pending());
    assert_eq!(outbox.close().len(), 1);
    assert!(poll(room.as_mut()).is_ready());
    assert_eq!(outbox.push(delivery(10)), Push::Closed);
    assert!(matches!(poll(pin!(outbox.reader().recv())), Poll::Ready(None)));
}

#[test]
fn a_reader_is_woken_by_the_first_message() {
    let outbox = Outbox::new(SubscriberId(1));
    let mut reader = outbox.reader();
    let mut reader = pin!(reader.recv());
    assert!(poll(reader.as_mut()).is_pending());
    outbox.push(delivery(10));
    assert!(matches!(poll(reader.as_mut()), Poll::Ready(Some(_))));
}

#[test]
fn qos_and_retain_of_a_delivery() {
    let mut published: Message = message("t", "x");
    published.retain = true;
    published.qos = QoS::ExactlyOnce;
    let message = Arc::new(published);
    let with = |options, retained| Delivery::new(Arc::clone(&message), options, retained);
    assert_eq!(with(Options::default(), false).qos(), QoS::AtMostOnce);
    assert_eq!(with(qos1(), false).qos(), QoS::AtLeastOnce);
    assert!(!with(qos1(), false).retain());
    assert!(with(qos1(), true).retain());
    assert!(with(Options { retain_as_published: true, ..qos1() }, false).retain());
}

#[test]
fn the_shared_frame_is_the_packet() {
    let mut made = message("a/b", "payload");
    made.set_properties(Properties::build().user("a", "b").finish().unwrap());
    for version in [Version::V311, Version::V5] {
        let frame = made.shared_frame(version).unwrap();
        let Step::Frame(frame) = FrameReader::new(1000).next(&mut frame[..].into()).unwrap() else {
            panic!("cut")
        };
        let Packet::Publish(read) = decode(&frame, version, Peer::Server).unwrap() else {
            panic!("kind")
        };
        assert_eq!(
            (&*read.topic, &read.payload[..], read.qos),
            ("a/b", &b"payload"[..], QoS::AtMostOnce)
        );
        assert_eq!(read.properties.user().count(), usize::from(version == Version::V5));
    }
    let mut dated = message("a/b", "x");
    dated.set_expires(Some(NOW));
    assert!(dated.shared_frame(Version::V5).is_none(), "its expiry counts down");
    assert!(message("a/b", vec![0; 5_000]).shared_frame(Version::V5).is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropping_a_session_ends_it_in_both_lanes() {
    let routing = routing();
    let session = subscriber(&routing, 1, &["a/b", "a/#", "$share/g/a/b"]).await;
    assert_eq!((session.subscriptions().count(), routing.exact_topics()), (3, 1));
    let tally = routing.deliver(&numbered("a/b", 1)).await;
    assert_eq!((tally.taken, tally.filters), (1, 2));
    drop(session);
    assert_eq!(routing.exact_topics(), 0);
    while !routing.deliver(&numbered("a/b", 2)).await.no_matching_subscribers() {
        tokio::task::yield_now().await;
    }
}
