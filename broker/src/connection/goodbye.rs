//! Last words: a refusing CONNACK, or DISCONNECT and a closed socket.

use bytes::{Buf, BytesMut};
use tessera_token::refusal::RefusalCode;
use tokio::net::TcpStream;

use crate::codec::{self, ConnAck, Disconnect, Packet, Properties, PropertyId, Version};
use crate::limits::LINGER;
use crate::session::machine::End;

/// Writes a CONNACK that refuses.
pub(super) async fn refuse(socket: &TcpStream, ack: ConnAck, version: Version) {
    let mut out = BytesMut::new();
    if codec::encode(&Packet::ConnAck(ack), version, &mut out).is_ok() {
        write_out(socket, &mut out).await;
    }
}

/// Appends the DISCONNECT that an MQTT 5 peer gets; 3.1.1 has none from a server.
pub(super) fn disconnect(end: &End, version: Version, explain: bool, out: &mut BytesMut) {
    let (Some(reason), Version::V5) = (end.reason, version) else { return };
    let properties = end.code.filter(|_| explain).map_or_else(Properties::new, words);
    let packet = Packet::Disconnect(Disconnect { reason, properties });
    // A DISCONNECT that cannot be written is left out: the close says it too.
    let _ = codec::encode(&packet, version, out);
}

/// The stable code and what to do about it.
pub(super) fn words(code: RefusalCode) -> Properties {
    let words = format!("{code}: {}", code.words());
    Properties::build().text(PropertyId::ReasonString, &words).finish().unwrap_or_default()
}

/// Writes what is left, for a moment at most.
pub(super) async fn write_out(socket: &TcpStream, out: &mut BytesMut) {
    // Whoever does not take it in time goes without.
    let _ = tokio::time::timeout(LINGER, async {
        while !out.is_empty() {
            if socket.writable().await.is_err() {
                return;
            }
            match socket.try_write(out) {
                Ok(written) => out.advance(written),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
        }
    })
    .await;
}
