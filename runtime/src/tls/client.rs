//! Which servers a client believes: those whose certificate an authority of a file, or of the system, has signed for the
//! name that was asked for. Nothing switches that off.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ConfigBuilder, RootCertStore, WantsVerifier};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_rustls::TlsConnector;

use super::{files, provider, Carried, TlsError};

/// The trust settings of a client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trust {
    /// The authorities, a file in PEM; without one those of the system.
    pub cafile: Option<PathBuf>,
    /// Whether servers on other machines may be spoken to in clear.
    pub in_clear: bool,
}

/// A certificate that a client shows, and its key: files in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The chain.
    pub cert: PathBuf,
    /// The key.
    pub key: PathBuf,
}

/// The client's half of TLS. Cheap to clone.
#[derive(Clone)]
pub struct TlsClient {
    config: Arc<ClientConfig>,
}

impl TlsClient {
    /// Reads the files. `protocol` is the name for ALPN.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn new(
        trust: &Trust,
        identity: Option<&Identity>,
        protocol: &[u8],
    ) -> Result<Self, TlsError> {
        Ok(Self { config: Arc::new(config(trust, identity, protocol)?) })
    }

    /// Shakes hands with `host`, a name or an address. The caller bounds the time.
    ///
    /// # Errors
    /// [`TlsError`].
    pub async fn connect(&self, host: &str, socket: TcpStream) -> Result<Carried, TlsError> {
        Ok(Box::pin(self.shake_hands(host, socket).await?))
    }

    /// As [`TlsClient::connect`], with 32 bytes of the exporter of the connection for this label and an empty context:
    /// none for TLS 1.2 without the extended main secret.
    ///
    /// # Errors
    /// [`TlsError`].
    pub async fn connect_bound(
        &self,
        host: &str,
        socket: TcpStream,
        label: &str,
    ) -> Result<(Carried, Option<[u8; 32]>), TlsError> {
        let connected = self.shake_hands(host, socket).await?;
        let (_, session) = connected.get_ref();
        let bound = session.export_keying_material([0; 32], label.as_bytes(), Some(&[])).ok();
        Ok((Box::pin(connected), bound))
    }

    async fn shake_hands(
        &self,
        host: &str,
        socket: TcpStream,
    ) -> Result<TlsStream<TcpStream>, TlsError> {
        let bare = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let name = ServerName::try_from(bare)
            .map_err(|_| TlsError::WrongName(format!("{host:?} is no name of a host")))?;
        let connected = TlsConnector::from(Arc::clone(&self.config)).connect(name, socket).await;
        connected.map_err(|error| TlsError::of_io(&error))
    }
}

/// The settings for the library that speaks HTTP.
pub(crate) fn config(
    trust: &Trust,
    identity: Option<&Identity>,
    protocol: &[u8],
) -> Result<ClientConfig, TlsError> {
    let refused = |error: rustls::Error| TlsError::Certificate(error.to_string());
    let builder = versions()?.with_root_certificates(roots(trust)?);
    let mut config = match identity {
        None => builder.with_no_client_auth(),
        Some(identity) => {
            let chain = files::certificates(&identity.cert)?;
            builder
                .with_client_auth_cert(chain, files::private_key(&identity.key)?)
                .map_err(refused)?
        }
    };
    config.resumption = Resumption::disabled();
    config.alpn_protocols = vec![protocol.to_vec()];
    Ok(config)
}

/// The same for a client that believes no server, and asks none over TLS.
pub(crate) fn no_one() -> Result<ClientConfig, TlsError> {
    Ok(versions()?.with_root_certificates(RootCertStore::empty()).with_no_client_auth())
}

fn versions() -> Result<ConfigBuilder<ClientConfig, WantsVerifier>, TlsError> {
    ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13, &TLS12])
        .map_err(|error| TlsError::Certificate(error.to_string()))
}

fn roots(trust: &Trust) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    match &trust.cafile {
        Some(path) => {
            for authority in files::certificates(path)? {
                let bad = |error: rustls::Error| TlsError::File(path.clone(), error.to_string());
                roots.add(authority).map_err(bad)?;
            }
        }
        None => {
            // Single certificates of the system that cannot be read are left out: the others still count.
            let found = rustls_native_certs::load_native_certs();
            roots.add_parsable_certificates(found.certs);
        }
    }
    match roots.is_empty() {
        true => Err(TlsError::NoRoots),
        false => Ok(roots),
    }
}
