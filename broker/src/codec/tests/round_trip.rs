use super::{read, samples, MAX};
use crate::codec::*;
use bytes::BytesMut;

fn written(packet: &Packet, version: Version) -> BytesMut {
    let mut out = BytesMut::new();
    encode(packet, version, &mut out).unwrap();
    out
}

#[test]
fn every_sample_reads_back_as_it_was() {
    for (index, (packet, version, peer)) in samples::all().into_iter().enumerate() {
        let raw = written(&packet, version);
        let again = read(&raw, version, peer)
            .unwrap_or_else(|error| panic!("sample {index} {packet:?}: {error}"));
        assert!(again == packet, "sample {index} {packet:?} {version:?} came back different");
        assert_eq!(written(&again, version), raw, "sample {index}");
    }
}

#[test]
fn every_prefix_of_every_packet_asks_for_more() {
    for (packet, version, _) in samples::all() {
        let raw = written(&packet, version);
        for cut in 0..raw.len() {
            let mut buffer = BytesMut::from(&raw[..cut]);
            match FrameReader::new(MAX).next(&mut buffer).unwrap() {
                Step::NeedMore(missing) => {
                    assert!(missing > 0 && cut + missing <= raw.len(), "{packet:?} at {cut}")
                }
                Step::Frame(_) => panic!("{packet:?} complete at {cut} of {}", raw.len()),
            }
            assert_eq!(buffer.len(), cut, "an incomplete packet stays in the buffer");
        }
    }
}

#[test]
fn every_body_cut_short_is_refused_or_still_a_packet_but_never_a_crash() {
    for (packet, version, peer) in samples::all() {
        let raw = written(&packet, version);
        let whole = super::frame(&raw).unwrap();
        for cut in 0..whole.body.len() {
            let frame =
                Frame { kind: whole.kind, first: whole.first, body: whole.body.slice(..cut) };
            if let Ok(shorter) = decode(&frame, version, peer) {
                assert!(shorter != packet, "{packet:?} does not need its last bytes");
            }
        }
    }
}

#[test]
fn several_packets_in_one_read_come_out_one_by_one() {
    let mut buffer = BytesMut::new();
    let samples: Vec<_> =
        samples::all().into_iter().filter(|(_, version, _)| *version == Version::V5).collect();
    for (packet, version, _) in &samples {
        encode(packet, *version, &mut buffer).unwrap();
    }
    for (packet, version, peer) in &samples {
        let Step::Frame(frame) = FrameReader::new(MAX).next(&mut buffer).unwrap() else {
            panic!("incomplete")
        };
        assert!(decode(&frame, *version, *peer).unwrap() == *packet);
    }
    assert!(matches!(FrameReader::new(MAX).next(&mut buffer).unwrap(), Step::NeedMore(2)));
}

#[test]
fn flipped_bytes_never_crash_and_what_is_accepted_reads_back() {
    const SEED: u64 = 0x7e55_e4a0_c0de_0001;
    println!("seed {SEED:#x}");
    let mut state = SEED;
    let samples = samples::all();
    let mut accepted = 0usize;
    for round in 0..60_000usize {
        let (packet, version, peer) = &samples[round % samples.len()];
        let mut raw = written(packet, *version);
        for _ in 0..=(next(&mut state) % 3) {
            let at = (next(&mut state) as usize) % raw.len();
            raw[at] ^= next(&mut state) as u8;
        }
        accepted += usize::from(survives(&mut raw, *version, *peer));
    }
    assert!(accepted > 1_000, "the loop no longer reaches accepted packets: {accepted}");
}

fn survives(raw: &mut BytesMut, version: Version, peer: Peer) -> bool {
    let Ok(Step::Frame(frame)) = FrameReader::new(MAX).next(raw) else {
        return false;
    };
    let Ok(packet) = decode(&frame, version, peer) else {
        return false;
    };
    let version = if let Packet::Connect(connect) = &packet { connect.version } else { version };
    let again = read(&written(&packet, version), version, peer);
    assert!(again.unwrap_or_else(|error| panic!("{packet:?}: {error}")) == packet);
    true
}

fn next(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state >> 11
}
