//! TLS (rustls on ring) for HTTP servers and for every client of ours: this folder alone names it in this crate.
//!
//! [`files`] reads certificates and keys, [`server`] holds those of a listener and takes new ones while it runs,
//! [`client`] says which servers a client believes.

pub mod client;
pub mod files;
pub mod server;

mod error;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

use std::pin::Pin;
use std::sync::Arc;

use rustls::crypto::{ring, CryptoProvider};
use tokio::io::{AsyncRead, AsyncWrite};

pub use client::{Identity, TlsClient, Trust};
pub use error::TlsError;
pub use server::{watch, ServerTls};

/// Bytes both ways, encrypted or not.
pub trait Io: AsyncRead + AsyncWrite + Send + Sync {}

impl<T: AsyncRead + AsyncWrite + Send + Sync> Io for T {}

/// A connection, whatever carries it.
pub type Carried = Pin<Box<dyn Io>>;

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}
