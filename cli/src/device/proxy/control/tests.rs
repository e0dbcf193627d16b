use tessera_simulators::mqtt::BytesMut;

use super::super::packets;
use super::super::scanner::{Scanner, Step};
use super::super::testing::{packet, put_field};
use super::*;

/// A PUBLISH of the broker; `id` gives it QoS 1, `properties` are those of MQTT 5.
fn publish(topic: &str, id: Option<u16>, properties: Option<&[u8]>, payload: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    put_field(topic.as_bytes(), &mut body);
    body.extend(id.into_iter().flat_map(u16::to_be_bytes));
    if let Some(properties) = properties {
        body.push(properties.len() as u8);
        body.extend(properties);
    }
    body.extend(payload);
    packet(if id.is_some() { 0x32 } else { 0x30 }, &body)
}

fn suback(id: u16, codes: &[u8]) -> Vec<u8> {
    packet(0x90, &[&id.to_be_bytes(), codes].concat())
}

/// Feeds the stream in these parts; what passes to the client, and the messages that were heard.
fn fed(broker: &mut FromBroker, parts: &[&[u8]]) -> (Vec<u8>, Messages) {
    let (mut scanner, mut out, mut heard) = (Scanner::new(), BytesMut::new(), Vec::new());
    for part in parts {
        let mut input = BytesMut::from(*part);
        loop {
            match scanner.feed(&mut input, &mut out, broker).unwrap() {
                Step::Hungry => break,
                Step::Ended => {}
                Step::Told(packet) => {
                    broker.suback(&packet);
                    let message = broker.message(&packet);
                    heard.extend(message.map(|m| (m.topic, m.payload)));
                }
            }
        }
    }
    (out.to_vec(), heard)
}

/// Messages on the control topics.
type Messages = Vec<(Topic, Vec<u8>)>;

/// A whole connection: what belongs to the client, and what belongs to the proxy.
fn connection(version: Version) -> (Vec<u8>, Vec<u8>, Messages) {
    let five = version == Version::V5;
    let none = five.then_some(&[][..]);
    let expiry = five.then_some(&[0x02, 0, 0, 0, 9][..]);
    let codes: &[u8] = &[0, 0];
    let all = [
        // Before the answer to the own subscription comes that to one of the client.
        (true, suback(7, &[1])),
        (true, publish("d/d-17/cmd", Some(1), none, b"one")),
        (false, suback(SUBSCRIBE_ID, codes)),
        (false, publish("$tessera/status", None, expiry, b"s1")),
        (true, publish("$tessera/alert", None, none, b"as long as the topic of tokens")),
        (false, publish("$tessera/token", None, none, b"t1")),
        (true, publish("d/d-17/cmd", None, expiry, &[9; 300])),
        (true, publish("d/d-17/cmd", None, none, b"two")),
        (false, publish("$tessera/status", None, expiry, b"s2")),
        // Another answer of the same id is the client's.
        (true, suback(SUBSCRIBE_ID, &[1])),
        (true, packet(0xd0, &[])),
        (true, publish("$tessera/token", Some(3), none, b"of a subscription of the client")),
        (true, packet(0xe0, if five { &[0x98, 0] } else { &[] })),
    ];
    let whole = all.iter().flat_map(|(_, packet)| packet).copied().collect();
    let passed = all.iter().filter(|(passes, _)| *passes).flat_map(|(_, p)| p).copied().collect();
    let heard = [
        (Topic::Status, &b"s1"[..]),
        (Topic::Token, b"t1"),
        (Topic::Status, b"s2"),
        (Topic::Token, b"of a subscription of the client"),
    ];
    (whole, passed, heard.map(|(topic, payload)| (topic, payload.to_vec())).to_vec())
}

#[test]
fn the_client_gets_everything_but_the_answers_to_the_proxy_however_the_stream_is_split() {
    for version in [Version::V311, Version::V5] {
        let (whole, passed, heard) = connection(version);
        for at in 0..=whole.len() {
            let (left, right) = whole.split_at(at);
            let found = fed(&mut FromBroker::new(version), &[left, right]);
            assert_eq!(found, (passed.clone(), heard.clone()), "{version:?}, split at {at}");
        }
        let bytes: Vec<&[u8]> = whole.chunks(1).collect();
        assert_eq!(fed(&mut FromBroker::new(version), &bytes), (passed, heard), "{version:?}");
    }
}

#[test]
fn a_client_that_subscribed_itself_gets_the_answers_too() {
    for version in [Version::V311, Version::V5] {
        let five = version == Version::V5;
        let said = |kind: u8, options: bool| {
            let mut body = vec![0, 5];
            body.extend(five.then_some(0));
            for filter in ["a/b", "$tessera/token"] {
                put_field(filter.as_bytes(), &mut body);
                body.extend(options.then_some(1));
            }
            Packet { first: kind << 4 | 2, body }
        };
        let none = five.then_some(&[][..]);
        let token = publish("$tessera/token", None, none, b"t");
        let status = publish("$tessera/status", None, none, b"s");
        let both = [token.clone(), status].concat();
        let mut broker = FromBroker::new(version);
        broker.client_says(&said(SUBSCRIBE, true));
        let heard = vec![(Topic::Token, b"t".to_vec()), (Topic::Status, b"s".to_vec())];
        assert_eq!(fed(&mut broker, &[&both]), (token, heard.clone()));
        broker.client_says(&said(UNSUBSCRIBE, false));
        assert_eq!(fed(&mut broker, &[&both]), (Vec::new(), heard));
    }
}

#[test]
fn a_refused_subscription_is_seen() {
    for (codes, granted) in [(&[0, 0][..], true), (&[0, 0x80], false), (&[0x87, 0], false)] {
        let packet = Packet { first: 0x90, body: [&SUBSCRIBE_ID.to_be_bytes(), codes].concat() };
        assert_eq!(FromBroker::new(Version::V311).suback(&packet), Some(granted));
    }
}

#[test]
fn the_packets_of_the_proxy_name_the_control_topics() {
    for version in [Version::V311, Version::V5] {
        let whole = packets::subscribe(version);
        let mut broker = FromBroker::new(version);
        broker.client_says(&Packet { first: whole[0], body: whole[2..].to_vec() });
        assert_eq!(broker.client_hears, [Topic::Token, Topic::Status]);
    }
}
