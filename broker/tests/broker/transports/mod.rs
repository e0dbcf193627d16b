//! TLS, WebSocket, QUIC, PROXY headers and RFC 9431 from outside.

pub mod ace;
mod authz;
mod certs;
mod handshake_key;
mod line;
mod proxy;
mod quic;
mod resumption;
mod symmetric;
mod tls;
mod web_socket;
