//! TLS (rustls on ring) for HTTP servers and for every client of ours: this folder alone names it in this crate.
//!
//! [`files`] reads certificates and keys, [`renewal`] has them read again while they are in use; both serve the listeners
//! of the broker too, as do [`hello`] (small records), [`health`] (`/readyz`) and [`socket`]. [`server`] holds those of a listener for HTTP,
//! [`client`] says which servers a client believes, [`signing`] proves the key of a certificate outside of TLS.

pub mod client;
pub mod files;
pub mod health;
pub mod hello;
pub mod renewal;
pub mod server;
pub mod signing;
pub mod socket;

mod error;
mod replay;
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
pub use files::FileError;
pub use renewal::watch;
pub use server::ServerTls;

/// Bytes both ways, encrypted or not.
pub trait Io: AsyncRead + AsyncWrite + Send + Sync {}

impl<T: AsyncRead + AsyncWrite + Send + Sync> Io for T {}

/// A connection, whatever carries it.
pub type Carried = Pin<Box<dyn Io>>;

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}
