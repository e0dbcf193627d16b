//! Certificate and key of a listener. Both are read anew when told, and when the files change; connections that are
//! open keep what they have.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::RwLock;
use rustls::server::NoServerSessionStorage;
use rustls::version::{TLS12, TLS13};
use rustls::ServerConfig;
use tessera_token::time::UnixSeconds;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use super::files::{self, Stamp};
use super::health::{ends, Health};
use super::hello;
use super::renewal::{reload, Renew};
use super::replay::Replay;
use super::{provider, Carried, TlsError};
use crate::ready::Reason;

/// TLS 1.2 and 1.3 for one listener of HTTP/1.1; clients prove nothing by it, and no session is taken up again.
pub struct ServerTls {
    cert: PathBuf,
    key: PathBuf,
    first: Stamp,
    current: RwLock<Arc<ServerConfig>>,
    health: Health,
}

impl ServerTls {
    /// Reads both files once: the chain and its key, in PEM.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn load(cert: PathBuf, key: PathBuf) -> Result<Self, TlsError> {
        let first = files::stamp([&cert, &key]);
        let (built, ends) = build(&cert, &key)?;
        let health = Health::default();
        health.in_use(ends);
        Ok(Self { cert, key, first, current: RwLock::new(built), health })
    }

    /// Reads both files again, for handshakes from now on, and logs how it went.
    ///
    /// # Errors
    /// [`TlsError`]; then the old ones stay in use.
    pub fn reload(&self) -> Result<(), TlsError> {
        reload(self)
    }

    /// Whether a certificate of the chain is over.
    pub fn expired(&self, now: UnixSeconds) -> Option<Reason> {
        self.health.expired(&self.cert, now)
    }

    /// Whether newer files are there that cannot be used.
    pub fn warning(&self) -> Option<Reason> {
        self.health.warning()
    }

    /// Shakes hands; records are as small as the client asks. The caller bounds the time.
    ///
    /// # Errors
    /// [`TlsError::Handshake`].
    pub async fn accept(&self, socket: TcpStream) -> Result<Carried, TlsError> {
        let first = hello::read(&socket).await.map_err(|error| TlsError::of_io(&error))?;
        let config = hello::with_records_for(&first, Arc::clone(&self.current.read()));
        let accepted = TlsAcceptor::from(config).accept(Replay::new(first, socket)).await;
        Ok(Box::pin(accepted.map_err(|error| TlsError::of_io(&error))?))
    }
}

impl Renew for ServerTls {
    type Error = TlsError;

    fn renew(&self) -> Result<(), TlsError> {
        match build(&self.cert, &self.key) {
            Ok((built, ends)) => {
                *self.current.write() = built;
                self.health.in_use(ends);
                Ok(())
            }
            Err(error) => {
                self.health.not_reloaded(error.to_string());
                Err(error)
            }
        }
    }

    fn first_stamp(&self) -> Stamp {
        self.first.clone()
    }

    fn stamp(&self) -> Stamp {
        files::stamp([&self.cert, &self.key])
    }
}

/// The configuration, and when the first certificate of the chain ends.
fn build(cert: &Path, key: &Path) -> Result<(Arc<ServerConfig>, Option<UnixSeconds>), TlsError> {
    let refused = |error: rustls::Error| TlsError::Certificate(error.to_string());
    let chain = files::certificates(cert)?;
    let ends = ends(&chain);
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13, &TLS12])
        .map_err(refused)?
        .with_no_client_auth()
        .with_single_cert(chain, files::private_key(key)?)
        .map_err(refused)?;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok((Arc::new(config), ends))
}
