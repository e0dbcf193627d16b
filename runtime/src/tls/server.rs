//! Certificate and key of a listener. Both are read anew when told, and when the files change; connections that are
//! open keep what they have.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::RwLock;
use rustls::server::NoServerSessionStorage;
use rustls::version::{TLS12, TLS13};
use rustls::ServerConfig;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use super::files::{self, Stamp};
use super::renewal::{reload, Renew};
use super::{provider, Carried, TlsError};

/// TLS 1.2 and 1.3 for one listener of HTTP/1.1; clients prove nothing by it, and no session is taken up again.
pub struct ServerTls {
    cert: PathBuf,
    key: PathBuf,
    first: Stamp,
    current: RwLock<Arc<ServerConfig>>,
}

impl ServerTls {
    /// Reads both files once: the chain and its key, in PEM.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn load(cert: PathBuf, key: PathBuf) -> Result<Self, TlsError> {
        let first = files::stamp([&cert, &key]);
        let current = RwLock::new(build(&cert, &key)?);
        Ok(Self { cert, key, first, current })
    }

    /// Reads both files again, for handshakes from now on, and logs how it went.
    ///
    /// # Errors
    /// [`TlsError`]; then the old ones stay in use.
    pub fn reload(&self) -> Result<(), TlsError> {
        reload(self)
    }

    /// Shakes hands. The caller bounds the time.
    ///
    /// # Errors
    /// [`TlsError::Handshake`].
    pub async fn accept(&self, socket: TcpStream) -> Result<Carried, TlsError> {
        let config = Arc::clone(&self.current.read());
        let accepted = TlsAcceptor::from(config).accept(socket).await;
        Ok(Box::pin(accepted.map_err(|error| TlsError::of_io(&error))?))
    }
}

impl Renew for ServerTls {
    type Error = TlsError;

    fn renew(&self) -> Result<(), TlsError> {
        *self.current.write() = build(&self.cert, &self.key)?;
        Ok(())
    }

    fn first_stamp(&self) -> Stamp {
        self.first.clone()
    }

    fn stamp(&self) -> Stamp {
        files::stamp([&self.cert, &self.key])
    }
}

fn build(cert: &Path, key: &Path) -> Result<Arc<ServerConfig>, TlsError> {
    let refused = |error: rustls::Error| TlsError::Certificate(error.to_string());
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13, &TLS12])
        .map_err(refused)?
        .with_no_client_auth()
        .with_single_cert(files::certificates(cert)?, files::private_key(key)?)
        .map_err(refused)?;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
