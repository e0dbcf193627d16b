//! Reads the first packet: a CONNECT of at most 8 KiB within 5 seconds.

use std::io::ErrorKind;

use bytes::{Bytes, BytesMut};
use tokio::io::Interest;

use super::{disconnect, note_broken};
use crate::admission::SocketPermit;
use crate::codec::{
    self, CodecError, ConnAck, Connect, FrameReader, Kind, Packet, Peer, Properties, ReasonCode,
    Recipient, Step, Version,
};
use crate::hub::Hub;
use crate::limits::{CONNECT_WITHIN, MAX_PACKET_BEFORE_AUTH, READ_CHUNK};
use crate::refusals::{Broken, Remote, What};
use crate::transport::Stream;

/// Reads the CONNECT; `None` when the socket must be closed. Bytes after the CONNECT stay in `inbox`.
pub(super) async fn connect(
    hub: &Hub,
    stream: &mut Stream,
    inbox: &mut BytesMut,
    permit: &mut SocketPermit,
    remote: Remote,
) -> Option<Connect> {
    let read = tokio::time::timeout(CONNECT_WITHIN, whole_packet(stream, inbox, permit)).await;
    let why = match read {
        Ok(Ok(body)) => match decode(body) {
            Ok(connect) => return Some(connect),
            Err((error, version)) => {
                note_broken(hub, remote, &Broken::new(What::Connect, error.rule));
                answer(stream, error, version).await;
                return None;
            }
        },
        Ok(Err(Silent::Broken(rule))) => rule,
        Ok(Err(Silent::Lost)) => "lost_before_connect",
        Err(_) => "connect_too_slow",
    };
    note_broken(hub, remote, &Broken::new(What::Connect, why));
    None
}

enum Silent {
    Lost,
    Broken(&'static str),
}

/// Anything but a CONNECT is closed without an answer as soon as its first byte shows it.
async fn whole_packet(
    stream: &mut Stream,
    inbox: &mut BytesMut,
    permit: &mut SocketPermit,
) -> Result<codec::Frame, Silent> {
    let reader = FrameReader::new(MAX_PACKET_BEFORE_AUTH);
    let broken = |error: CodecError| Silent::Broken(error.rule);
    loop {
        match reader.peek_kind(inbox).map_err(broken)? {
            Some(Kind::Connect) | None => {}
            Some(_) => return Err(Silent::Broken("first_packet_not_connect")),
        }
        let wanted = match reader.next(inbox).map_err(broken)? {
            Step::Frame(frame) => return Ok(frame),
            Step::NeedMore(bytes) => bytes,
        };
        read_more(stream, inbox, wanted).await?;
        permit.heard();
    }
}

/// The next packet of an MQTT 5 peer that is not let in yet; `None` when it broke off or broke the protocol.
pub(super) async fn next_packet(stream: &mut Stream, inbox: &mut BytesMut) -> Option<Packet> {
    next_packet_as(stream, inbox, Version::V5).await
}

/// The same of a peer of either version.
pub(super) async fn next_packet_as(
    stream: &mut Stream,
    inbox: &mut BytesMut,
    version: Version,
) -> Option<Packet> {
    let reader = FrameReader::new(MAX_PACKET_BEFORE_AUTH);
    loop {
        let wanted = match reader.next(inbox).ok()? {
            Step::Frame(frame) => return codec::decode(&frame, version, Peer::Client).ok(),
            Step::NeedMore(bytes) => bytes,
        };
        read_more(stream, inbox, wanted).await.ok()?;
    }
}

/// Waits for bytes; an error when there will be none.
async fn read_more(stream: &mut Stream, inbox: &mut BytesMut, wanted: usize) -> Result<(), Silent> {
    stream.ready(Interest::READABLE).await.map_err(|_| Silent::Lost)?;
    inbox.reserve(wanted.clamp(512, READ_CHUNK));
    match stream.try_read_buf(inbox) {
        Ok(0) => Err(Silent::Lost),
        Ok(_) => Ok(()),
        Err(error) => match error.kind() {
            ErrorKind::WouldBlock => Ok(()),
            // A frame or a record that its layer forbids.
            ErrorKind::InvalidData => Err(Silent::Broken("transport_broken")),
            _ => Err(Silent::Lost),
        },
    }
}

fn decode(frame: codec::Frame) -> Result<Connect, (CodecError, Option<Version>)> {
    match codec::decode(&frame, Version::V5, Peer::Client) {
        Ok(Packet::Connect(connect)) => Ok(*connect),
        Ok(_) => Err((CodecError::protocol("first_packet_not_connect"), None)),
        Err(error) => Err((error, answer_version(&frame.body, error))),
    }
}

/// In which version to answer a broken CONNECT: its own, or the nearest to one that we do not speak.
fn answer_version(body: &Bytes, error: CodecError) -> Option<Version> {
    if error.reason != ReasonCode::UNSUPPORTED_VERSION {
        return codec::peek_version(body);
    }
    let name = usize::from(u16::from_be_bytes([*body.first()?, *body.get(1)?]));
    // Bridges of mosquitto set the highest bit beside the level that they speak.
    let level = *body.get(2 + name)? & 0x7f;
    Some(if level >= Version::V5.level() { Version::V5 } else { Version::V311 })
}

/// A 3.1.1 peer gets only answers that its return codes can express.
async fn answer(stream: &mut Stream, error: CodecError, version: Option<Version>) {
    let tellable =
        matches!(error.reason, ReasonCode::UNSUPPORTED_VERSION | ReasonCode::CLIENT_ID_NOT_VALID);
    match version {
        Some(Version::V5) => {}
        Some(Version::V311) if tellable => {}
        _ => return,
    }
    let ack =
        ConnAck { session_present: false, reason: error.reason, properties: Properties::new() };
    // The limits of the client are not known, since its CONNECT was not understood. Without properties the answer has 5
    // bytes.
    disconnect::refuse_connect(stream, ack, Recipient::any(version.unwrap_or(Version::V5)), false)
        .await;
}
