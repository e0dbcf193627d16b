//! The fixed header: where one packet ends and the next begins (MQTT 5 section 2.1).

use super::error::{CodecError, ReasonCode, Result};
use super::primitive::read_varint;
use bytes::{Buf, Bytes, BytesMut};
use core::fmt;

/// The kind of a control packet, the upper four bits of the first byte.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[allow(missing_docs, reason = "the names are those of the standard")]
#[repr(u8)]
pub enum Kind {
    Connect = 1,
    ConnAck = 2,
    Publish = 3,
    PubAck = 4,
    PubRec = 5,
    PubRel = 6,
    PubComp = 7,
    Subscribe = 8,
    SubAck = 9,
    Unsubscribe = 10,
    UnsubAck = 11,
    PingReq = 12,
    PingResp = 13,
    Disconnect = 14,
    Auth = 15,
}

impl Kind {
    /// The kind and its flags from a first byte; wrong reserved flags are malformed (MQTT-2.1.3-1).
    pub fn from_first_byte(first: u8) -> Result<Self> {
        let kind = Self::from_number(first >> 4)?;
        let flags = first & 0x0f;
        let wanted = match kind {
            Self::Publish => return check_publish_flags(flags).map(|()| kind),
            Self::PubRel | Self::Subscribe | Self::Unsubscribe => 0b0010,
            _ => 0,
        };
        if flags == wanted {
            Ok(kind)
        } else {
            Err(CodecError::malformed("reserved_flags"))
        }
    }

    fn from_number(number: u8) -> Result<Self> {
        Ok(match number {
            1 => Self::Connect,
            2 => Self::ConnAck,
            3 => Self::Publish,
            4 => Self::PubAck,
            5 => Self::PubRec,
            6 => Self::PubRel,
            7 => Self::PubComp,
            8 => Self::Subscribe,
            9 => Self::SubAck,
            10 => Self::Unsubscribe,
            11 => Self::UnsubAck,
            12 => Self::PingReq,
            13 => Self::PingResp,
            14 => Self::Disconnect,
            15 => Self::Auth,
            _ => return Err(CodecError::malformed("packet_type_zero")),
        })
    }

    /// The first byte of a packet of this kind; `flags` counts for PUBLISH alone.
    pub(super) fn first_byte(self, flags: u8) -> u8 {
        let low = match self {
            Self::Publish => flags & 0x0f,
            Self::PubRel | Self::Subscribe | Self::Unsubscribe => 0b0010,
            _ => 0,
        };
        ((self as u8) << 4) | low
    }
}

fn check_publish_flags(flags: u8) -> Result<()> {
    match (flags >> 1) & 0b11 {
        3 => Err(CodecError::malformed("publish_qos_3")),
        0 if flags & 0b1000 != 0 => Err(CodecError::malformed("publish_dup_qos_0")),
        _ => Ok(()),
    }
}

/// One whole packet, cut out but not yet read. Its memory is shared with the read buffer: a holder that keeps a part
/// for long (retained, queued for an absent client) copies it, or the whole buffer stays.
pub struct Frame {
    /// Kind of packet.
    pub kind: Kind,
    /// The first byte, with the flags of PUBLISH.
    pub first: u8,
    /// All after the fixed header.
    pub body: Bytes,
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Frame({:?}, {} bytes)", self.kind, self.body.len())
    }
}

/// The result of looking into the read buffer.
#[derive(Debug)]
pub enum Step {
    /// At least so many further bytes are needed.
    NeedMore(usize),
    /// A whole packet, removed from the buffer.
    Frame(Frame),
}

/// Cuts packets out of a stream. Holds nothing but its limit: the bytes stay in the caller's buffer.
#[derive(Clone, Copy, Debug)]
pub struct FrameReader {
    max_packet: usize,
}

impl FrameReader {
    /// A reader that refuses packets of more than `max_packet` bytes, fixed header included.
    pub fn new(max_packet: usize) -> Self {
        Self { max_packet }
    }

    /// Another limit, once the peer is known.
    pub fn set_max_packet(&mut self, max_packet: usize) {
        self.max_packet = max_packet;
    }

    /// The kind of the packet at the front, as soon as one byte is there: lets a listener turn away a peer whose
    /// first packet is no CONNECT before it waits for the rest.
    ///
    /// # Errors
    /// As [`Self::next`], for the first byte alone.
    pub fn peek_kind(&self, buffer: &[u8]) -> Result<Option<Kind>> {
        buffer.first().map(|first| Kind::from_first_byte(*first)).transpose()
    }

    /// Takes the next packet out of `buffer`, if all of it is there.
    ///
    /// # Errors
    /// Malformed header, or 0x95 as soon as the header announces more than the limit.
    pub fn next(&self, buffer: &mut BytesMut) -> Result<Step> {
        let Some(&first) = buffer.first() else {
            return Ok(Step::NeedMore(2));
        };
        let kind = Kind::from_first_byte(first)?;
        let Some((length, width)) = read_varint(buffer.get(1..).unwrap_or(&[]))? else {
            return Ok(Step::NeedMore(1));
        };
        let header = 1 + width;
        let total = header + length as usize;
        if total > self.max_packet {
            return Err(CodecError::with(ReasonCode::PACKET_TOO_LARGE, "packet_too_large"));
        }
        if buffer.len() < total {
            return Ok(Step::NeedMore(total - buffer.len()));
        }
        let mut whole = buffer.split_to(total).freeze();
        whole.advance(header);
        Ok(Step::Frame(Frame { kind, first, body: whole }))
    }
}
