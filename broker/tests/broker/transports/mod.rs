//! TLS, WebSocket, QUIC, PROXY headers and RFC 9431 from outside.

pub mod ace;
mod authz;
mod bound;
pub mod certs;
mod handshake_key;
pub mod line;
pub mod proxy;
pub mod quic;
mod resumption;
mod symmetric;
mod tls;
mod web_socket;
