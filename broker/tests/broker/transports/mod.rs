//! TLS, WebSocket and PROXY headers from outside.

mod certs;
mod line;
mod proxy;
mod tls;
mod web_socket;
