//! MQTT in WebSocket binary frames (RFC 6455; MQTT 5 section 6). Packets and frames need not align. No extensions, so
//! no compression; frames are bounded, and what is undecoded of one frame is all that is ever held.

mod upgrade;

use std::io;

use actix_http::ws::{CloseCode, Codec, Frame, Item, Message, OpCode, Parser, ProtocolError};
use bytes::{Buf, Bytes, BytesMut};
use tokio_util::codec::{Decoder, Encoder};

use super::stream::ByteStream;
use crate::limits::{
    MAX_PACKET_BEFORE_AUTH, READ_CHUNK, WEB_SOCKET_PENDING, WEB_SOCKET_SLACK, WRITE_BATCH,
};

pub(super) use upgrade::accept;

/// The longest head of a frame: two bytes, eight of length, four of mask.
const HEAD: usize = 14;

/// The state of one WebSocket beside its stream.
pub(super) struct WebSocket {
    codec: Codec,
    largest: usize,
    raw: BytesMut,
    out: BytesMut,
    fresh: bool,
    over: bool,
}

impl WebSocket {
    /// After the upgrade; `raw` is what came after it.
    fn new(raw: BytesMut) -> Self {
        let largest = MAX_PACKET_BEFORE_AUTH;
        let fresh = !raw.is_empty();
        let codec = Codec::new().max_size(largest);
        Self { codec, largest, raw, out: BytesMut::new(), fresh, over: false }
    }

    pub(super) fn allow_packets_of(&mut self, max_packet: usize) {
        self.largest = max_packet.saturating_add(WEB_SOCKET_SLACK);
        self.codec = self.codec.clone().max_size(self.largest);
    }

    /// The end counts: the peer waits for us to close (RFC 6455 section 7.1.1).
    pub(super) fn holds_bytes(&self) -> bool {
        self.fresh || self.over
    }

    pub(super) fn has_pending(&self) -> bool {
        !self.out.is_empty()
    }

    pub(super) fn push(&mut self, stream: &mut ByteStream) -> io::Result<()> {
        stream.push()?;
        while !self.out.is_empty() {
            match stream.try_write(&self.out) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => self.out.advance(written),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        self.out = BytesMut::new();
        Ok(())
    }

    pub(super) fn try_read_buf(
        &mut self,
        stream: &mut ByteStream,
        inbox: &mut BytesMut,
    ) -> io::Result<usize> {
        if self.over {
            return Ok(0);
        }
        if !std::mem::take(&mut self.fresh) {
            self.raw.reserve(READ_CHUNK.min(self.largest + HEAD));
            if stream.try_read_buf(&mut self.raw)? == 0 {
                return Ok(0);
            }
        }
        let before = inbox.len();
        let decoded = self.frames(inbox);
        if self.raw.is_empty() {
            self.raw = BytesMut::new();
        }
        // A peer that does not take its pong or its close frame is noticed when we write next.
        let _ = self.push(stream);
        decoded?;
        match inbox.len() - before {
            0 if self.over => Ok(0),
            0 => Err(io::ErrorKind::WouldBlock.into()),
            read => Ok(read),
        }
    }

    /// Every whole frame that is there.
    fn frames(&mut self, inbox: &mut BytesMut) -> io::Result<()> {
        while !self.over {
            if declared(&self.raw) > self.largest as u64 {
                return Err(self.broken(CloseCode::Size));
            }
            if is_broken_control(&self.raw) {
                return Err(self.broken(CloseCode::Protocol));
            }
            match self.codec.decode(&mut self.raw) {
                Ok(None) => return Ok(()),
                Ok(Some(frame)) => self.frame(frame, inbox)?,
                Err(ProtocolError::Overflow) => return Err(self.broken(CloseCode::Size)),
                Err(_) => return Err(self.broken(CloseCode::Protocol)),
            }
        }
        Ok(())
    }

    fn frame(&mut self, frame: Frame, inbox: &mut BytesMut) -> io::Result<()> {
        match frame {
            Frame::Binary(bytes)
            | Frame::Continuation(
                Item::FirstBinary(bytes) | Item::Continue(bytes) | Item::Last(bytes),
            ) => {
                inbox.extend_from_slice(&bytes);
            }
            Frame::Text(_) | Frame::Continuation(Item::FirstText(_)) => {
                return Err(self.broken(CloseCode::Unsupported))
            }
            Frame::Ping(bytes) => self.pong(bytes),
            Frame::Pong(_) => {}
            Frame::Close(_) => self.send_close(),
        }
        Ok(())
    }

    /// A peer that sends pings without reading gets no more pongs.
    fn pong(&mut self, bytes: Bytes) {
        if self.out.len() < WEB_SOCKET_PENDING {
            self.say(Message::Pong(bytes));
        }
    }

    fn say(&mut self, message: Message) {
        // Only a second open fragment could not be encoded, and we send none.
        let _ = self.codec.encode(message, &mut self.out);
    }

    fn broken(&mut self, code: CloseCode) -> io::Error {
        if !std::mem::replace(&mut self.over, true) {
            self.say(Message::Close(Some(code.into())));
        }
        io::ErrorKind::InvalidData.into()
    }

    /// The close frame, ours or the answer to theirs. Nothing is read after it.
    pub(super) fn send_close(&mut self) {
        if !std::mem::replace(&mut self.over, true) {
            self.say(Message::Close(Some(CloseCode::Normal.into())));
        }
    }

    pub(super) fn try_write(&mut self, stream: &mut ByteStream, bytes: &[u8]) -> io::Result<usize> {
        self.push(stream)?;
        if !self.out.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        if bytes.is_empty() {
            return Ok(0);
        }
        if self.over {
            // Nothing follows a close frame (RFC 6455 section 5.5.1).
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let part = bytes.get(..WRITE_BATCH).unwrap_or(bytes);
        Parser::write_message(&mut self.out, part, OpCode::Binary, true, false);
        self.push(stream)?;
        Ok(part.len())
    }
}

/// The payload length that the frame in front says, as far as it is there: a frame that is too large is not waited for.
fn declared(raw: &[u8]) -> u64 {
    let Some(first) = raw.get(1) else { return 0 };
    match first & 0x7f {
        126 => raw.get(2..4).map_or(0, |be| be.iter().fold(0, |n, b| n << 8 | u64::from(*b))),
        127 => raw.get(2..10).map_or(0, |be| be.iter().fold(0, |n, b| n << 8 | u64::from(*b))),
        short => u64::from(short),
    }
}

/// A control frame in fragments (RFC 6455 section 5.5). The codec would write a line about each.
fn is_broken_control(raw: &[u8]) -> bool {
    raw.first().is_some_and(|first| first & 0x88 == 0x08)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_control_frame_in_fragments_is_refused_without_the_codec() {
        for first in [0x08, 0x09, 0x0a] {
            let mut socket = WebSocket::new(BytesMut::from(&[first, 0x80, 1, 2, 3, 4][..]));
            assert!(socket.frames(&mut BytesMut::new()).is_err());
            assert!(socket.over && socket.raw.len() == 6, "the codec has not seen it");
            assert_eq!(&socket.out[..4], [0x88, 0x02, 0x03, 0xea], "a close frame with 1002");
        }
        for first in [0x88, 0x89, 0x8a, 0x02, 0x82, 0x00] {
            assert!(!is_broken_control(&[first]));
        }
    }

    #[test]
    fn pongs_that_nobody_reads_are_bounded() {
        let mut socket = WebSocket::new(BytesMut::new());
        for _ in 0..1_000 {
            let _ = socket.frame(Frame::Ping(Bytes::from_static(&[7; 125])), &mut BytesMut::new());
        }
        assert!(socket.out.len() >= WEB_SOCKET_PENDING, "{}", socket.out.len());
        assert!(socket.out.len() < WEB_SOCKET_PENDING + 127, "{}", socket.out.len());
    }
}
