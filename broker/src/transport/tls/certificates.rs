//! Certificates and keys from files, made anew when the files change; connections that are open keep what they have.

use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::crypto::{ring, CryptoProvider};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoClientAuth, NoServerSessionStorage, WebPkiClientVerifier};
use rustls::version::{TLS12, TLS13};
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};

use tessera_runtime::ready::Reason;
use tessera_runtime::tls::files::{self, certificates, private_key, Stamp};
use tessera_runtime::tls::health::{ends, Health};
use tessera_runtime::tls::renewal::Renew;
use tessera_token::time::UnixSeconds;

use super::error::TlsError;
use super::verifier::AnyKey;
use crate::transport::quic;
use crate::transport::settings::{ClientAuth, TlsSettings};

/// The protocol inside TLS: it decides the ALPN name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Use {
    Mqtt,
    WebSocket,
}

/// The configuration in use, and where it comes from.
pub(crate) struct Certificates {
    settings: TlsSettings,
    first: Stamp,
    current: ArcSwap<Configs>,
    health: Health,
}

struct Configs {
    mqtt: Arc<ServerConfig>,
    web_socket: Arc<ServerConfig>,
    quic: quic::Crypto,
    /// The end of the chain's certificate that ends first.
    ends: Option<UnixSeconds>,
}

impl Certificates {
    /// Reads everything once.
    pub(crate) fn load(settings: TlsSettings) -> Result<Self, TlsError> {
        let first = stamp(&settings);
        let built = build(&settings)?;
        let health = Health::default();
        health.in_use(built.ends);
        Ok(Self { settings, first, current: ArcSwap::from_pointee(built), health })
    }

    /// Whether a certificate of the chain has expired.
    pub(crate) fn expired(&self, now: UnixSeconds) -> Option<Reason> {
        self.health.expired(&self.settings.cert, now)
    }

    /// Whether newer files are there that cannot be used.
    pub(crate) fn warning(&self) -> Option<Reason> {
        self.health.warning()
    }

    /// For the next handshake.
    pub(crate) fn config(&self, inside: Use) -> Arc<ServerConfig> {
        let current = self.current.load();
        Arc::clone(match inside {
            Use::Mqtt => &current.mqtt,
            Use::WebSocket => &current.web_socket,
        })
    }

    /// For the next handshake over QUIC.
    pub(crate) fn quic(&self) -> quic::Crypto {
        Arc::clone(&self.current.load().quic)
    }

    pub(crate) fn settings(&self) -> &TlsSettings {
        &self.settings
    }
}

impl Renew for Certificates {
    type Error = TlsError;

    fn renew(&self) -> Result<(), TlsError> {
        match build(&self.settings) {
            Ok(built) => {
                self.health.in_use(built.ends);
                self.current.store(Arc::new(built));
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
        stamp(&self.settings)
    }
}

fn stamp(settings: &TlsSettings) -> Stamp {
    files::stamp([&settings.cert, &settings.key].into_iter().chain(&settings.client_ca))
}

fn build(settings: &TlsSettings) -> Result<Configs, TlsError> {
    let chain = certificates(&settings.cert)?;
    let key = private_key(&settings.key)?;
    let provider = Arc::new(ring::default_provider());
    let verifier = verifier(settings, &provider)?;
    let with_versions = |versions: &[&'static SupportedProtocolVersion]| {
        ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(versions)
            .map_err(TlsError::Certificate)?
            .with_client_cert_verifier(Arc::clone(&verifier))
            .with_single_cert(chain.clone(), key.clone_key())
            .map_err(TlsError::Certificate)
    };
    let mut config = match settings.only_tls13 {
        true => with_versions(&[&TLS13]),
        false => with_versions(&[&TLS13, &TLS12]),
    }?;
    // Tickets alone: nothing is kept here for a session that may come back. No ticket where clients prove a key: a
    // resumed session shows neither key nor certificate, and the certificate may have expired meanwhile.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    if settings.client_auth == ClientAuth::Off {
        config.ticketer = ring::Ticketer::new().map_err(TlsError::Certificate)?;
        config.send_tls13_tickets = 1;
    }
    config.require_ems = settings.extended_main_secret;
    // Over QUIC no session is resumed: nothing would show it, and nothing can be sent before the handshake.
    let mut over_quic = with_versions(&[&TLS13])?;
    over_quic.session_storage = Arc::new(NoServerSessionStorage {});
    over_quic.send_tls13_tickets = 0;
    let with_alpn = |config: &ServerConfig, name: &[u8]| {
        let mut config = config.clone();
        config.alpn_protocols = vec![name.to_vec()];
        Arc::new(config)
    };
    Ok(Configs {
        mqtt: with_alpn(&config, b"mqtt"),
        web_socket: with_alpn(&config, b"http/1.1"),
        quic: quic::crypto(with_alpn(&over_quic, b"mqtt")).map_err(TlsError::Certificate)?,
        ends: ends(&chain),
    })
}

fn verifier(
    settings: &TlsSettings,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let required = match settings.client_auth {
        ClientAuth::Off => return Ok(Arc::new(NoClientAuth)),
        ClientAuth::Key => return Ok(Arc::new(AnyKey::new(Arc::clone(provider), false))),
        ClientAuth::RawKey => return Ok(Arc::new(AnyKey::new(Arc::clone(provider), true))),
        ClientAuth::Ca => true,
        ClientAuth::CaOptional => false,
    };
    let missing = || TlsError::Authorities("no file is named".to_owned());
    let mut roots = RootCertStore::empty();
    for authority in certificates(settings.client_ca.as_deref().ok_or_else(missing)?)? {
        roots.add(authority).map_err(|error| TlsError::Authorities(error.to_string()))?;
    }
    let builder =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
    let builder = if required { builder } else { builder.allow_unauthenticated() };
    let verifier = builder.build().map_err(|error| TlsError::Authorities(error.to_string()))?;
    Ok(verifier)
}

#[cfg(test)]
mod tests {
    use tessera_runtime::limits::PEM_BYTES;

    use super::*;

    #[test]
    fn a_file_that_is_too_large_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("chain.pem");
        std::fs::write(&path, vec![b'-'; PEM_BYTES as usize + 1]).unwrap();
        let error = certificates(&path).unwrap_err().to_string();
        assert!(error.contains("chain.pem") && error.contains("larger than"), "{error}");
    }
}
