//! TLS 1.2 and 1.3 (rustls on ring), pumped by hand: the connection keeps its try-read and try-write, and an idle
//! session keeps no buffer of ours.

mod certificates;
mod error;
mod peer;
mod verifier;

use std::io::{self, Read, Write};
use std::sync::Arc;

use bytes::BytesMut;
use rustls::pki_types::CertificateDer;
use rustls::{HandshakeKind, ProtocolVersion, ServerConfig, ServerConnection};
use tessera_runtime::tls::hello;
use tessera_runtime::tls::socket::NonBlocking;
use tessera_token::ace::BINDING_LABEL;
use tokio::io::Interest;
use tokio::net::TcpStream;

use crate::limits::{TLS_HANDSHAKE_BYTES, TLS_READS_PER_TURN, WRITE_BATCH};
use crate::refusals::{Broken, What};

pub(crate) use certificates::{Certificates, Use};
pub use error::TlsError;
pub use peer::PeerKey;

/// RFC 9431 section 2.2.4.2.
pub(super) const EXPORTER_LABEL: &[u8] = b"EXPORTER-ACE-MQTT-Sign-Challenge";

/// The channel and its peer, as the TLS handshake describes them.
#[derive(Clone, Debug, Default)]
pub struct Channel {
    /// 32 bytes that only the two ends of this channel know (RFC 9431, `EXPORTER-ACE-MQTT-Sign-Challenge`, empty
    /// context). `None` without TLS, on TLS 1.2 when sessions without extended main secret are allowed, and on a
    /// resumed session, where a proof over it may have been made before.
    pub exporter: Option<[u8; 32]>,
    /// The key by which the peer signed this very handshake, with its certificate or as a raw public key. `None` on a
    /// resumed session, whose ticket names a key that was proved in another handshake.
    pub key: Option<PeerKey>,
}

impl Channel {
    /// The channel after a handshake: one that `resumed` an earlier session proves nothing.
    pub(super) fn after(
        resumed: bool,
        exporter: Option<[u8; 32]>,
        peer: Option<&CertificateDer<'_>>,
    ) -> Self {
        match resumed {
            true => Self::default(),
            false => Self { exporter, key: peer.and_then(PeerKey::of) },
        }
    }
}

/// A TLS connection after its handshake.
pub(super) struct Tls {
    socket: TcpStream,
    session: ServerConnection,
    readable: usize,
    exporter_on_tls12: bool,
}

impl Tls {
    /// Shakes hands. The caller bounds the time.
    pub(super) async fn accept(
        socket: TcpStream,
        config: Arc<ServerConfig>,
    ) -> Result<Self, Broken> {
        let exporter_on_tls12 = config.require_ems;
        let first = hello::read(&socket).await.map_err(|_| lost())?;
        let config = hello::with_records_for(&first, config);
        let mut session = ServerConnection::new(config).map_err(|e| refused(&e))?;
        session.set_buffer_limit(Some(WRITE_BATCH));
        let mut tls = Self { socket, session, readable: 0, exporter_on_tls12 };
        let mut left = TLS_HANDSHAKE_BYTES.saturating_sub(first.len() as u64);
        tls.take_first(&first)?;
        drop(first);
        while tls.session.is_handshaking() {
            left = left.saturating_sub(tls.step(left).await?);
        }
        tls.push().map_err(|_| lost())?;
        Ok(tls)
    }

    fn take_first(&mut self, mut bytes: &[u8]) -> Result<(), Broken> {
        while !bytes.is_empty() {
            self.session.read_tls(&mut bytes).map_err(|_| lost())?;
            self.open_records().map_err(|e| refused(&e))?;
        }
        Ok(())
    }

    /// Gives the bytes that it read, `most` of them: the library itself would hold 64 KiB of one message.
    async fn step(&mut self, most: u64) -> Result<u64, Broken> {
        if most == 0 {
            return Err(Broken::new(What::Tls, "tls_too_large"));
        }
        self.push().map_err(|_| lost())?;
        let interest = match self.session.wants_write() {
            true => Interest::READABLE | Interest::WRITABLE,
            false => Interest::READABLE,
        };
        let ready = self.socket.ready(interest).await.map_err(|_| lost())?;
        if !ready.is_readable() && !ready.is_read_closed() {
            return Ok(0);
        }
        let read = match self.session.read_tls(&mut NonBlocking(&self.socket).take(most)) {
            Ok(0) => return Err(lost()),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(0),
            Err(_) => return Err(lost()),
        };
        self.open_records().map_err(|e| refused(&e))?;
        Ok(u64::try_from(read).unwrap_or(u64::MAX))
    }

    /// Whether the client named a protocol; a wrong one has ended the handshake already.
    pub(super) fn named_protocol(&self) -> bool {
        self.session.alpn_protocol().is_some()
    }

    pub(super) fn socket(&self) -> &TcpStream {
        &self.socket
    }

    pub(super) fn socket_mut(&mut self) -> &mut TcpStream {
        &mut self.socket
    }

    /// Everything that was decrypted is handed over at once, so nothing waits here unseen.
    pub(super) fn try_read_buf(&mut self, inbox: &mut BytesMut) -> io::Result<usize> {
        for _ in 0..TLS_READS_PER_TURN {
            if self.readable > 0 {
                return self.hand_over(inbox);
            }
            if self.session.read_tls(&mut NonBlocking(&self.socket))? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if self.open_records()? && self.readable == 0 {
                return Ok(0);
            }
        }
        Err(io::ErrorKind::WouldBlock.into())
    }

    /// Decrypts what was read; true when the peer has sent close_notify. A refusal is sent to the peer as an alert.
    fn open_records(&mut self) -> io::Result<bool> {
        match self.session.process_new_packets() {
            Ok(state) => {
                self.readable = state.plaintext_bytes_to_read();
                Ok(state.peer_has_closed())
            }
            Err(error) => {
                // On a TLS error both directions are closed.
                let _ = self.push();
                Err(io::Error::new(io::ErrorKind::InvalidData, error))
            }
        }
    }

    fn hand_over(&mut self, inbox: &mut BytesMut) -> io::Result<usize> {
        let start = inbox.len();
        inbox.resize(start + self.readable, 0);
        let room = inbox.get_mut(start..).unwrap_or_default();
        let read = self.session.reader().read(room);
        inbox.truncate(start + read.as_ref().copied().unwrap_or(0));
        let read = read?;
        self.readable = self.readable.saturating_sub(read);
        Ok(read)
    }

    pub(super) fn try_write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.push()?;
        if self.session.wants_write() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let taken = self.session.writer().write(bytes)?;
        self.push()?;
        Ok(taken)
    }

    pub(super) fn holds_bytes(&self) -> bool {
        self.readable > 0
    }

    pub(super) fn has_pending(&self) -> bool {
        self.session.wants_write()
    }

    pub(super) fn push(&mut self) -> io::Result<()> {
        while self.session.wants_write() {
            match self.session.write_tls(&mut NonBlocking(&self.socket)) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    pub(super) fn send_close(&mut self) {
        self.session.send_close_notify();
        // A peer that has gone needs no close.
        let _ = self.push();
    }

    /// The version of the protocol.
    pub(super) fn version(&self) -> &'static str {
        match self.session.protocol_version() {
            Some(ProtocolVersion::TLSv1_3) => "1.3",
            _ => "1.2",
        }
    }

    /// The channel binding of RFC 9266, of a resumed handshake too: it is another one in each.
    pub(super) fn binding(&self) -> Option<[u8; 32]> {
        self.export(BINDING_LABEL.as_bytes())
    }

    /// Nothing where the secret is not bound to the handshake: on TLS 1.2 without extended main secret.
    fn export(&self, label: &[u8]) -> Option<[u8; 32]> {
        let bound = self.exporter_on_tls12
            || self.session.protocol_version() == Some(ProtocolVersion::TLSv1_3);
        let exported =
            bound.then(|| self.session.export_keying_material([0; 32], label, Some(&[])));
        exported?.ok()
    }

    pub(super) fn channel(&self) -> Channel {
        let resumed = self.session.handshake_kind() == Some(HandshakeKind::Resumed);
        let exporter = (!resumed).then(|| self.export(EXPORTER_LABEL)).flatten();
        let peer = self.session.peer_certificates().and_then(|chain| chain.first());
        Channel::after(resumed, exporter, peer)
    }
}

fn lost() -> Broken {
    Broken::new(What::Tls, "tls_lost")
}

fn refused(error: &impl ToString) -> Broken {
    Broken::new(What::Tls, "tls_refused").because(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resumed_handshake_proves_nothing() {
        let spki = [
            &[0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00][..],
            &[7; 32],
        ];
        let peer = CertificateDer::from(spki.concat());
        let whole = Channel::after(false, Some([1; 32]), Some(&peer));
        assert_eq!((whole.exporter, whole.key), (Some([1; 32]), Some(PeerKey::Ed25519([7; 32]))));
        let resumed = Channel::after(true, Some([1; 32]), Some(&peer));
        assert_eq!((resumed.exporter, resumed.key), (None, None));
    }
}
