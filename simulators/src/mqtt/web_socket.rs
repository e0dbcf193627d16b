//! The client's half of a WebSocket with the subprotocol `mqtt` (RFC 6455; MQTT 5 section 6): `actix_http` codes frames.

use std::io;
use std::task::{Context, Poll};

use actix_http::ws::{hash_key, Codec, Frame, Item, Message};
use base64ct::{Base64, Encoding};
use bytes::{Bytes, BytesMut};
use tessera_runtime::random::{self, SystemRandom};
use tessera_runtime::tls::Carried;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_util::codec::{Decoder, Encoder};

use super::broker::Broker;
use super::stream::poll_read;
use crate::limits::{FRAME_BYTES, UPGRADE_BYTES, UPGRADE_HEADERS};

pub(super) struct WebSocket {
    carried: Carried,
    codec: Codec,
    raw: BytesMut,
    /// Frames that are owed: answers to pings and to a close.
    owed: BytesMut,
    over: bool,
}

impl WebSocket {
    /// Asks for the upgrade.
    ///
    /// # Errors
    /// In words.
    pub(super) async fn open(mut carried: Carried, broker: &Broker) -> Result<Self, String> {
        let words = |error: io::Error| format!("WebSocket: {error}");
        let secret: [u8; 16] = random::bytes(&SystemRandom).map_err(|error| error.to_string())?;
        let key = Base64::encode_string(&secret);
        let (host, port, path) = (&broker.host, broker.port, &broker.path);
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n"
        );
        carried.write_all(request.as_bytes()).await.map_err(words)?;
        carried.flush().await.map_err(words)?;
        let mut raw = BytesMut::new();
        let length = loop {
            if let Some(length) = answer(&raw, &key)? {
                break length;
            }
            if raw.len() > UPGRADE_BYTES {
                return Err("WebSocket: the answer is too large".to_owned());
            }
            if carried.read_buf(&mut raw).await.map_err(words)? == 0 {
                return Err("WebSocket: the connection closed before it was upgraded".to_owned());
            }
        };
        let _ = raw.split_to(length);
        let codec = Codec::new().client_mode().max_size(FRAME_BYTES);
        Ok(Self { carried, codec, raw, owed: BytesMut::new(), over: false })
    }

    /// As [`super::stream::ByteStream::read`].
    pub(super) async fn read(&mut self, inbox: &mut BytesMut) -> io::Result<usize> {
        let before = inbox.len();
        loop {
            while let Some(frame) = self.codec.decode(&mut self.raw).map_err(io::Error::other)? {
                self.frame(frame, inbox)?;
            }
            match inbox.len() - before {
                0 if self.over => return Ok(0),
                // A pong leaves with the next packet of ours; a peer that waits for it alone is not a broker.
                0 => {}
                read => return Ok(read),
            }
            if self.carried.read_buf(&mut self.raw).await? == 0 {
                return Ok(0);
            }
        }
    }

    /// The connection, and what waits to be written to it once `outbox` is in a frame.
    pub(super) fn framed(
        &mut self,
        outbox: &mut BytesMut,
    ) -> io::Result<(&mut Carried, &mut BytesMut)> {
        if !outbox.is_empty() && self.owed.is_empty() {
            self.owe(Message::Binary(outbox.split().freeze()))?;
        }
        Ok((&mut self.carried, &mut self.owed))
    }

    /// Whether no frame waits to be written.
    pub(super) fn owes_nothing(&self) -> bool {
        self.owed.is_empty()
    }

    /// The connection underneath.
    pub(super) fn carried(&mut self) -> &mut Carried {
        &mut self.carried
    }

    /// As [`WebSocket::read`].
    pub(super) fn poll_in(
        &mut self,
        cx: &mut Context<'_>,
        inbox: &mut BytesMut,
    ) -> Poll<io::Result<usize>> {
        let before = inbox.len();
        loop {
            while let Some(frame) = self.codec.decode(&mut self.raw).map_err(io::Error::other)? {
                self.frame(frame, inbox)?;
            }
            match inbox.len() - before {
                0 if self.over => return Poll::Ready(Ok(0)),
                0 => {}
                read => return Poll::Ready(Ok(read)),
            }
            match poll_read(&mut self.carried, cx, &mut self.raw)? {
                Poll::Ready(0) => return Poll::Ready(Ok(0)),
                Poll::Ready(_) => {}
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    fn frame(&mut self, frame: Frame, inbox: &mut BytesMut) -> io::Result<()> {
        match frame {
            Frame::Binary(bytes)
            | Frame::Continuation(
                Item::FirstBinary(bytes) | Item::Continue(bytes) | Item::Last(bytes),
            ) => {
                inbox.extend_from_slice(&bytes);
                Ok(())
            }
            Frame::Ping(bytes) => self.owe(Message::Pong(bytes)),
            Frame::Pong(_) => Ok(()),
            Frame::Close(_) => {
                self.over = true;
                self.owe(Message::Close(None))
            }
            Frame::Text(_) | Frame::Continuation(Item::FirstText(_)) => {
                Err(io::Error::other("a text frame, which MQTT has none of"))
            }
        }
    }

    fn owe(&mut self, message: Message) -> io::Result<()> {
        self.codec.encode(message, &mut self.owed).map_err(io::Error::other)
    }

    /// As [`super::stream::ByteStream::write`].
    pub(super) async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if !bytes.is_empty() {
            self.owe(Message::Binary(Bytes::copy_from_slice(bytes)))?;
        }
        self.carried.write_all(&self.owed.split()).await?;
        self.carried.flush().await
    }
}

/// The length of a whole answer that upgrades; `None` when more must come.
fn answer(raw: &[u8], key: &str) -> Result<Option<usize>, String> {
    let mut headers = [httparse::EMPTY_HEADER; UPGRADE_HEADERS];
    let mut answer = httparse::Response::new(&mut headers);
    let length = match answer.parse(raw) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(error) => return Err(format!("WebSocket: the answer is no HTTP: {error}")),
    };
    let status = answer.code.unwrap_or_default();
    if status != 101 {
        return Err(format!("WebSocket: the server answers {status} and does not upgrade"));
    }
    let has = |name: &str, wanted: &[u8]| {
        let mut named = answer.headers.iter().filter(|one| one.name.eq_ignore_ascii_case(name));
        named.any(|one| one.value.trim_ascii() == wanted)
    };
    if !has("sec-websocket-accept", &hash_key(key.as_bytes())) {
        return Err("WebSocket: the server answers another request than this one".to_owned());
    }
    match has("sec-websocket-protocol", b"mqtt") {
        true => Ok(Some(length)),
        false => Err("WebSocket: the server does not speak MQTT there".to_owned()),
    }
}
