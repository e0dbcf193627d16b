//! Writes the final CONNACK or DISCONNECT and closes the socket.

use bytes::{Buf, BytesMut};
use tokio::io::Interest;

use crate::codec::{ConnAck, Disconnect, Packet, Properties, Recipient, Version};
use crate::limits::LINGER;
use crate::session::state_machine::{reason_string, End};
use crate::transport::Stream;

/// Writes a CONNACK that refuses. Bytes that the peer has sent beyond its CONNECT are read first: a socket that is
/// closed with unread bytes resets the connection, and the answer could be lost. `rested` says that the refusal was
/// held back, so that unread bytes are known without a further read.
pub(super) async fn refuse_connect(stream: &mut Stream, ack: ConnAck, to: Recipient, rested: bool) {
    let mut out = BytesMut::new();
    if to.write(&Packet::ConnAck(ack), &mut out).is_ok_and(|written| written) {
        if !rested || stream.has_unread() {
            read_away(stream);
        }
        write_out(stream, &mut out).await;
        if !stream.is_carried_by_kernel() {
            // A peer that has not taken the answer by now has gone.
            let _ = tokio::time::timeout(LINGER, stream.delivered()).await;
        }
    }
}

/// Writes one packet to a peer that is not authenticated yet. A peer that does not read is closed at its next deadline.
/// False when the packet is larger than the peer allows.
pub(super) async fn write_packet(stream: &mut Stream, packet: &Packet, to: Recipient) -> bool {
    let mut out = BytesMut::new();
    let written = to.write(packet, &mut out).is_ok_and(|written| written);
    write_out(stream, &mut out).await;
    written
}

/// Writes the rest, closes the way out, and lets the peer close first for a moment.
pub(super) async fn close(mut stream: Stream, mut out: BytesMut) {
    write_out(&mut stream, &mut out).await;
    // The socket is closed also when the peer does not answer in time.
    let _ = tokio::time::timeout(LINGER, async {
        stream.shutdown().await?;
        while read_away(&mut stream) {
            stream.ready(Interest::READABLE).await?;
        }
        std::io::Result::Ok(())
    })
    .await;
}

/// Closes the socket of a peer that sent DISCONNECT or has gone: neither side waits for more.
pub(super) fn close_at_once(mut stream: Stream) {
    stream.send_close();
}

/// Discards a bounded amount of what has come; false when the peer has closed.
fn read_away(stream: &mut Stream) -> bool {
    let mut waste = BytesMut::with_capacity(1024);
    for _ in 0..READ_AWAY_CHUNKS {
        waste.clear();
        match stream.try_read_buf(&mut waste) {
            Ok(0) => return false,
            Ok(_) => {}
            Err(error) => return error.kind() == std::io::ErrorKind::WouldBlock,
        }
    }
    true
}

const READ_AWAY_CHUNKS: usize = 64;

/// Appends the DISCONNECT that an MQTT 5 peer gets; 3.1.1 has none from a server.
pub(super) fn append(end: &End, to: Recipient, explain: bool, out: &mut BytesMut) {
    let (Some(reason), Version::V5) = (end.reason, to.version()) else { return };
    let properties = end.code().filter(|_| explain).map_or_else(Properties::new, reason_string);
    let packet = Packet::Disconnect(Disconnect { reason, properties });
    // A DISCONNECT that cannot be written is left out: the close says it too.
    let _ = to.write(&packet, out);
}

/// Writes the rest, for a moment at most.
async fn write_out(stream: &mut Stream, out: &mut BytesMut) {
    // Nearly always it all goes at once.
    if let Ok(written) = stream.try_write(out) {
        out.advance(written);
    }
    if out.is_empty() && !stream.has_pending() {
        return;
    }
    // A peer that does not read in time misses the rest.
    let _ = tokio::time::timeout(LINGER, async {
        while !out.is_empty() || stream.has_pending() {
            if stream.ready(Interest::WRITABLE).await.is_err() {
                return;
            }
            match stream.try_write(out) {
                Ok(written) => out.advance(written),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
        }
    })
    .await;
}
