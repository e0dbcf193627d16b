//! MQTT over QUIC (quinn on the same rustls): one connection, one stream that the client opens, nothing else.
//!
//! 1. [`Endpoint`] holds the UDP port; [`QuicIncoming`] is a first packet, of which nothing is known but where it
//!    claims to come from.
//! 2. When the address must be validated, the peer is sent a Retry with a token that only this address gets
//!    ([`QuicIncoming::proved`]).
//! 3. [`QuicIncoming::open`] shakes hands and waits for the stream.
//! 4. [`Quic`] reads and writes it without waiting, as the other wires do.
//!
//! Not spoken: early data and resumed TLS sessions (a CONNECT could be replayed), datagrams, streams of one direction,
//! further streams.

mod endpoint;
mod incoming;
mod stream;

pub(crate) use endpoint::Endpoint;
pub(crate) use incoming::QuicIncoming;
pub(super) use stream::Quic;

use std::sync::Arc;

use quinn::crypto::rustls::QuicServerConfig;
use quinn::VarInt;

/// A TLS configuration as QUIC takes it.
pub(super) type Crypto = Arc<QuicServerConfig>;

/// # Errors
/// The library has not the cipher that QUIC begins with.
pub(super) fn crypto(config: Arc<rustls::ServerConfig>) -> Result<Crypto, rustls::Error> {
    let crypto = QuicServerConfig::try_from(config);
    Ok(Arc::new(crypto.map_err(|error| rustls::Error::General(error.to_string()))?))
}

/// Everything was said in MQTT, or by the handshake's own alert.
const DONE: VarInt = VarInt::from_u32(0);
/// The client's address has left the network that it was let in from.
const MOVED: VarInt = VarInt::from_u32(1);
