//! The whole codec against tables, its own output, prefixes, flipped bytes and the vectors of RFC 9431.

mod fast;
mod invalid;
mod recipient;
mod round_trip;
mod samples;
mod vectors;

use super::{decode, CodecError, Frame, FrameReader, Packet, Peer, Step, Version};
use crate::codec;
use bytes::BytesMut;
use tessera_token::encoding;

pub(super) const MAX: usize = 1 << 20;

/// All of `raw` must be one packet.
pub(super) fn read(raw: &[u8], version: Version, from: Peer) -> Result<Packet, CodecError> {
    decode(&frame(raw)?, version, from)
}

pub(super) fn frame(raw: &[u8]) -> Result<Frame, CodecError> {
    let mut buffer = BytesMut::from(raw);
    match FrameReader::new(MAX).next(&mut buffer)? {
        Step::Frame(frame) => {
            assert!(buffer.is_empty(), "bytes after the packet");
            Ok(frame)
        }
        Step::NeedMore(missing) => panic!("{missing} bytes missing"),
    }
}

pub(super) fn hex(text: &str) -> Vec<u8> {
    encoding::hex::decode(text.replace(' ', "")).unwrap()
}
