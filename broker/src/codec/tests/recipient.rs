use super::read;
use super::samples::all;
use crate::codec::*;
use bytes::BytesMut;

fn taking(most: usize) -> Recipient {
    let most = u32::try_from(most).unwrap();
    let properties = Properties::build().number(PropertyId::MaximumPacketSize, most);
    Recipient::of(&Connect {
        version: Version::V5,
        clean_start: true,
        keep_alive: 0,
        properties: properties.finish().unwrap(),
        client_id: "d-1".into(),
        will: None,
        user_name: None,
        password: None,
    })
}

fn size(packet: &Packet) -> usize {
    let mut out = BytesMut::new();
    encode(packet, Version::V5, &mut out).unwrap();
    out.len()
}

fn names(packet: &Packet) -> Option<Vec<PropertyId>> {
    let ids = |properties: &Properties| properties.iter().map(|(id, _)| id).collect();
    Some(match packet {
        Packet::ConnAck(ack) => ids(&ack.properties),
        Packet::PubAck(ack) | Packet::PubRec(ack) | Packet::PubRel(ack) | Packet::PubComp(ack) => {
            ids(&ack.properties)
        }
        Packet::SubAck(ack) | Packet::UnsubAck(ack) => ids(&ack.properties),
        Packet::Disconnect(bye) => ids(&bye.properties),
        Packet::Auth(auth) => ids(&auth.properties),
        _ => return None,
    })
}

/// Every packet at every maximum: whole, or without words, or not at all, and then `out` is as it was.
#[test]
fn no_packet_is_larger_than_its_recipient_takes() {
    let mut shortened = 0;
    for (packet, version, from) in all() {
        if version != Version::V5 || from != Peer::Server {
            continue;
        }
        let whole = size(&packet);
        for most in 1..whole + 2 {
            let mut out = BytesMut::from(&b"before"[..]);
            let written = taking(most).write(&packet, &mut out).unwrap();
            assert_eq!(taking(most).can_be_told(&packet), written);
            let raw = out.split_off(6);
            assert_eq!((&out[..], written), (&b"before"[..], !raw.is_empty()));
            if !written {
                assert!(most < whole);
                continue;
            }
            assert!(raw.len() <= most);
            let back = read(&raw, version, from).unwrap();
            if most >= whole {
                assert!(back == packet);
                continue;
            }
            shortened += 1;
            let words = [PropertyId::ReasonString, PropertyId::UserProperty];
            let mut left = names(&packet).unwrap();
            left.retain(|id| !words.contains(id));
            assert_eq!(names(&back).unwrap(), left);
            // It would have fitted in no other way.
            assert!(raw.len() < whole && size(&back) == raw.len());
        }
    }
    assert!(shortened > 100, "{shortened}");
}

#[test]
fn without_a_maximum_everything_is_written() {
    for (packet, version, from) in all() {
        let mut out = BytesMut::new();
        if from == Peer::Server {
            assert!(Recipient::any(version).write(&packet, &mut out).unwrap());
            assert!(read(&out, version, from).unwrap() == packet);
        }
    }
}
