//! The codec, one direction: what is accepted is written and read back the same; how bytes are cut into reads does not
//! matter; what is refused has an error code.
//!
//! Input: a byte of choices (bit 0 version, bit 1 a single packet whose header is made here, bits 2.. size of reads),
//! then the bytes of the peer.

use bytes::{Bytes, BytesMut};
use tessera_broker::codec::{
    decode, encode, peek_version, publish, CodecError, Frame, FrameReader, Kind, Packet, Peer,
    Properties, PropertyId, Publish, QoS, Step, Version,
};

use super::{numbered, packets};
use crate::signal::note;

const MAX_PACKET: usize = 4096;

/// Runs one input from this side.
pub fn check(data: &[u8], from: Peer) {
    let Some((choices, bytes)) = data.split_first() else { return };
    let version = if choices & 1 == 0 { Version::V311 } else { Version::V5 };
    let stream = if choices & 2 == 0 { bytes.to_vec() } else { framed(bytes) };
    let whole = read(&stream, stream.len().max(1));
    let cut = read(&stream, usize::from(choices >> 2) % 7 + 1);
    assert_eq!(whole.error, cut.error, "how the bytes were cut changes the error");
    assert_eq!(whole.frames.len(), cut.frames.len(), "how the bytes were cut changes the packets");
    for (a, b) in whole.frames.iter().zip(&cut.frames) {
        assert!(a.kind == b.kind && a.first == b.first && a.body == b.body);
    }
    if let Some(error) = whole.error {
        refused(error);
    }
    for frame in &whole.frames {
        one(frame, version, from);
    }
}

/// One packet with the right length in front.
fn framed(bytes: &[u8]) -> Vec<u8> {
    let (first, body) = bytes.split_first().unwrap_or((&0, &[]));
    let mut out = vec![*first];
    let mut left = body.len();
    loop {
        let low = (left & 0x7f) as u8;
        left >>= 7;
        out.push(if left == 0 { low } else { low | 0x80 });
        if left == 0 {
            break;
        }
    }
    out.extend_from_slice(body);
    out
}

struct Read {
    frames: Vec<Frame>,
    error: Option<CodecError>,
}

fn read(stream: &[u8], step: usize) -> Read {
    let reader = FrameReader::new(MAX_PACKET);
    let mut buffer = BytesMut::new();
    let mut done = Read { frames: Vec::new(), error: None };
    for part in stream.chunks(step) {
        buffer.extend_from_slice(part);
        loop {
            let before = buffer.len();
            match reader.next(&mut buffer) {
                Ok(Step::Frame(frame)) => done.frames.push(frame),
                Ok(Step::NeedMore(missing)) => {
                    assert!(missing > 0, "asks for nothing");
                    assert_eq!(buffer.len(), before, "an incomplete packet was taken");
                    break;
                }
                Err(error) => {
                    done.error = Some(error);
                    return done;
                }
            }
        }
    }
    done
}

fn refused(error: CodecError) {
    note(error.rule);
    assert!(error.reason.is_error(), "{error} has no error code");
}

fn one(frame: &Frame, version: Version, from: Peer) {
    let packet = match decode(frame, version, from) {
        Ok(packet) => packet,
        Err(error) => return refused(error),
    };
    assert_eq!(packet.kind(), frame.kind);
    assert!(may_send(frame.kind, from), "{:?} from {from:?} was accepted", frame.kind);
    let version = match &packet {
        Packet::Connect(connect) => {
            assert_eq!(peek_version(&frame.body), Some(connect.version));
            connect.version
        }
        _ => version,
    };
    note((frame.kind, version));
    reads_back(&packet, frame, version, from);
    well_formed(&packet, version);
    no_prefix_is_the_packet(&packet, frame, version, from);
}

fn may_send(kind: Kind, from: Peer) -> bool {
    use Kind::*;
    match kind {
        Connect | Subscribe | Unsubscribe | PingReq => from == Peer::Client,
        ConnAck | SubAck | UnsubAck | PingResp => from == Peer::Server,
        _ => true,
    }
}

fn reads_back(packet: &Packet, frame: &Frame, version: Version, from: Peer) {
    let mut out = BytesMut::from(&b"before"[..]);
    encode(packet, version, &mut out).unwrap_or_else(|error| panic!("{packet:?}: {error}"));
    assert!(out.starts_with(b"before"), "what stood in the buffer was changed");
    let raw = out.split_off(6);
    let mut buffer = raw.clone();
    let Ok(Step::Frame(again)) = FrameReader::new(usize::MAX).next(&mut buffer) else {
        panic!("{packet:?} was written as no whole packet")
    };
    assert!(buffer.is_empty(), "{packet:?} was written with bytes behind it");
    // We write the property length that MQTT allows to leave out behind a reason: some clients wait for it.
    let left_out = matches!(frame.kind, Kind::Disconnect | Kind::Auth) && frame.body.len() == 1;
    let most = frame.body.len() + usize::from(left_out);
    assert!(again.body.len() <= most, "{packet:?} grew");
    let second =
        decode(&again, version, from).unwrap_or_else(|error| panic!("{packet:?}: {error}"));
    assert!(second == *packet, "{packet:?} came back different");
    let mut twice = BytesMut::new();
    assert!(encode(&second, version, &mut twice).is_ok() && twice == raw);
    if let Packet::Publish(publish) = packet {
        head_alone(publish, version, &raw);
    }
}

fn head_alone(publish: &Publish, version: Version, raw: &[u8]) {
    let head = publish.head();
    let length = publish::encoded_len(&head, version, publish.payload.len());
    assert_eq!(length, raw.len(), "encoded_len is not the length");
    let mut out = BytesMut::new();
    assert!(publish::encode_head(&head, version, publish.payload.len(), &mut out).is_ok());
    out.extend_from_slice(&publish.payload);
    assert!(out == raw, "head and payload are not the packet");
}

fn well_formed(packet: &Packet, version: Version) {
    match packet {
        Packet::Publish(publish) => {
            name(&publish.topic, true);
            let aliased = publish.properties.number(PropertyId::TopicAlias).is_some();
            assert!(!publish.topic.is_empty() || aliased, "a publish to nowhere");
            assert_eq!(publish.packet_id.is_some(), publish.qos != QoS::AtMostOnce);
            assert!(publish.packet_id != Some(0));
            properties(&publish.properties, version);
            forwarded(&publish.properties);
        }
        Packet::Connect(connect) => {
            properties(&connect.properties, version);
            if let Some(will) = &connect.will {
                name(&will.topic, false);
                properties(&will.properties, version);
                forwarded(&will.properties);
            }
        }
        Packet::Subscribe(packet) => {
            assert!(packet.packet_id != 0 && !packet.entries.is_empty());
            packet.entries.iter().for_each(|entry| filter(&entry.filter));
            properties(&packet.properties, version);
        }
        Packet::Unsubscribe(packet) => {
            assert!(packet.packet_id != 0 && !packet.filters.is_empty());
            packet.filters.iter().for_each(|one| filter(one));
        }
        Packet::PubAck(a) | Packet::PubRec(a) | Packet::PubRel(a) | Packet::PubComp(a) => {
            assert!(a.packet_id != 0);
            properties(&a.properties, version);
        }
        Packet::ConnAck(ack) => assert!(!ack.session_present || !ack.reason.is_error()),
        _ => {}
    }
}

fn name(topic: &str, may_be_empty: bool) {
    assert!(!topic.contains(['+', '#', '\0']), "a topic name with {topic:?}");
    assert!(may_be_empty || !topic.is_empty());
}

/// MQTT 5 section 4.7.1 by the letter.
fn filter(filter: &str) {
    let plain = match filter.strip_prefix("$share/") {
        Some(rest) => {
            let (share, plain) = rest.split_once('/').unwrap_or_default();
            assert!(!share.is_empty() && !share.contains(['+', '#']), "{filter:?}");
            plain
        }
        None => filter,
    };
    assert!(!plain.is_empty() && !plain.contains('\0'), "{filter:?}");
    let levels: Vec<&str> = plain.split('/').collect();
    for (at, level) in levels.iter().enumerate() {
        let wild = level.contains(['+', '#']);
        assert!(!wild || level.len() == 1, "{filter:?}");
        assert!(*level != "#" || at + 1 == levels.len(), "{filter:?}");
    }
}

fn properties(properties: &Properties, version: Version) {
    assert!(version == Version::V5 || properties.is_empty(), "3.1.1 has no properties");
    let count = properties.iter().count();
    assert_eq!(count == 0, properties.is_empty(), "properties that cannot be read");
    note(("property", properties.iter().map(|(id, _)| id as u8).max()));
}

fn forwarded(properties: &Properties) {
    let forwarded = properties.forwardable();
    for id in [PropertyId::TopicAlias, PropertyId::SubscriptionId, PropertyId::MessageExpiry] {
        assert!(forwarded.number(id).is_none(), "a property of one hop was forwarded");
    }
    assert!(forwarded.user().eq(properties.user()), "user properties changed on the way");
    let stored = Properties::from_stored(Bytes::copy_from_slice(forwarded.as_bytes()));
    assert!(stored.is_ok_and(|stored| stored == forwarded), "cannot be read back from storage");
}

/// Every field counts: a body that is cut short is refused or another packet.
fn no_prefix_is_the_packet(packet: &Packet, frame: &Frame, version: Version, from: Peer) {
    let mut whole = BytesMut::new();
    if encode(packet, version, &mut whole).is_err() || frame.body.is_empty() {
        return;
    }
    let Ok(Step::Frame(canonical)) = FrameReader::new(usize::MAX).next(&mut whole) else { return };
    let Some(cut) = canonical.body.len().checked_sub(1) else { return };
    let body = canonical.body.slice(..cut);
    let short = Frame { kind: canonical.kind, first: canonical.first, body };
    if let Ok(other) = decode(&short, version, from) {
        // But for the property length behind a reason, which MQTT allows to leave out.
        let may_be_left_out = matches!(short.kind, Kind::Disconnect | Kind::Auth) && cut == 1;
        assert!(may_be_left_out || other != *packet, "{packet:?} does not need its last byte");
    }
}

/// Every sample of the side, as one packet and in one stream.
pub fn seeds(from: Peer) -> Vec<(String, Vec<u8>)> {
    let mut inputs = Vec::new();
    let mut streams = [vec![0], vec![1]];
    for (packet, version, side) in packets::all() {
        let mut raw = BytesMut::new();
        if side != from || encode(&packet, version, &mut raw).is_err() {
            continue;
        }
        let bit = u8::from(version == Version::V5);
        let Ok(Step::Frame(frame)) = FrameReader::new(usize::MAX).next(&mut raw.clone()) else {
            continue;
        };
        inputs.push([&[bit | 2, frame.first][..], &frame.body].concat());
        streams[usize::from(bit)].extend_from_slice(&raw);
    }
    inputs.extend(streams);
    inputs.extend(broken(from));
    numbered(inputs)
}

/// The rows of the codec's own table of broken packets.
fn broken(from: Peer) -> Vec<Vec<u8>> {
    let path = crate::driver::home().join("../broker/src/codec/tests/invalid.txt");
    let table = std::fs::read_to_string(path).unwrap_or_default();
    let side = format!("{from:?}");
    let rows = table.lines().filter(|row| !row.starts_with('#'));
    rows.filter_map(|row| {
        let words: Vec<&str> = row.split_whitespace().collect();
        let [version, sender, _, _, packet @ ..] = &words[..] else { return None };
        let digits: Vec<u8> = packet.concat().bytes().collect();
        let bytes = digits.chunks(2).map(|pair| {
            std::str::from_utf8(pair).ok().and_then(|pair| u8::from_str_radix(pair, 16).ok())
        });
        let packet: Vec<u8> = bytes.collect::<Option<_>>()?;
        (*sender == side).then(|| [vec![u8::from(*version == "5")], packet].concat())
    })
    .collect()
}
