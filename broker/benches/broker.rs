//! Benchmarks of the codec and of the exact route: `cargo bench -p tessera-broker`.
#![allow(missing_docs, reason = "criterion's macros make undocumented functions")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a bench that cannot set itself up has nothing to measure"
)]

use std::hint::black_box;
use std::sync::Arc;

use bytes::BytesMut;
use criterion::{criterion_group, criterion_main, BatchSize, Criterion};
use tessera_broker::codec::{
    decode, encode, FrameReader, Packet, Peer, Properties, Publish, QoS, Step, Version,
};
use tessera_broker::message::Author;
use tessera_broker::message::{Message, Options, Publisher, SubscriberId};
use tessera_broker::routing::exact::ExactRoutes;
use tessera_broker::routing::{Outbox, Tally};
use tessera_token::ids::{DeviceId, TenantId};
use tessera_token::time::UnixSeconds;
use tessera_token::topic::TopicName;

/// CONNECT of MQTT 3.1.1 with a password of the size of a token and its proof.
fn connect_bytes() -> Vec<u8> {
    let password = [0xa5; 295];
    let mut body = vec![0, 4, b'M', b'Q', b'T', b'T', 4, 0xc2, 0, 60];
    for field in [&b"d-1"[..], b"d-1", &password] {
        body.extend_from_slice(&(field.len() as u16).to_be_bytes());
        body.extend_from_slice(field);
    }
    let mut packet = vec![0x10, (body.len() % 128) as u8 | 0x80, (body.len() / 128) as u8];
    packet.extend_from_slice(&body);
    packet
}

fn publish() -> Packet {
    Packet::Publish(Publish {
        dup: false,
        qos: QoS::AtLeastOnce,
        retain: false,
        topic: "d/device-0001/telemetry".into(),
        packet_id: Some(1),
        properties: Properties::new(),
        payload: vec![0; 64].into(),
    })
}

fn read(bytes: &mut BytesMut) -> Packet {
    match FrameReader::new(1 << 20).next(bytes).unwrap() {
        Step::Frame(frame) => decode(&frame, Version::V311, Peer::Client).unwrap(),
        _ => unreachable!("the packet is whole"),
    }
}

fn codec(c: &mut Criterion) {
    let connect = BytesMut::from(&connect_bytes()[..]);
    let mut published = BytesMut::new();
    encode(&publish(), Version::V311, &mut published).unwrap();
    for (name, bytes) in [("CONNECT", &connect), ("PUBLISH", &published)] {
        c.bench_function(&format!("decode {name}"), |b| {
            b.iter_batched_ref(|| bytes.clone(), read, BatchSize::SmallInput);
        });
        let packet = read(&mut bytes.clone());
        let mut out = BytesMut::with_capacity(1024);
        c.bench_function(&format!("encode {name}"), |b| {
            b.iter(|| {
                out.clear();
                encode(black_box(&packet), Version::V311, &mut out).unwrap();
            });
        });
    }
}

fn device_lane(c: &mut Criterion) {
    let tenant = TenantId::parse("acme").unwrap();
    let message = |topic: &TopicName| {
        let publisher = Publisher {
            author: Author::broker(DeviceId::parse("backend").unwrap()),
            session: SubscriberId(0),
            token_expires: UnixSeconds::new(2_000_000_000),
        };
        Arc::new(Message::new(tenant.clone(), topic.clone(), vec![0; 64].into(), publisher))
    };
    for sessions in [1_000u64, 15_000] {
        let routes = ExactRoutes::new();
        let mut messages = Vec::new();
        let mut outboxes = Vec::new();
        for id in 1..=sessions {
            let topic = TopicName::parse(&format!("d/device-{id}/cmd")).unwrap();
            let outbox = Outbox::new(SubscriberId(id));
            routes.subscribe(&tenant, &topic, &outbox, Options::default());
            messages.push(message(&topic));
            outboxes.push(outbox);
        }
        let (mut turn, mut out) = ((0..messages.len()).cycle(), Vec::new());
        c.bench_function(&format!("exact route: publish and take, one of {sessions}"), |b| {
            b.iter(|| {
                let at = turn.next().unwrap();
                routes.publish(&messages[at], &mut Tally::default());
                out.clear();
                outboxes[at].try_drain(16, &mut out)
            });
        });
    }
}

criterion_group!(benches, codec, device_lane);
criterion_main!(benches);
