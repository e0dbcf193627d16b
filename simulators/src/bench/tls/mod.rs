//! A TLS 1.3 client that trusts exactly one certificate and costs as little as a client can: one suite, one group, no
//! tickets, the socket pumped by hand. rustls is named here alone.
//!
//! Both servers get the same handshake: ECDHE over X25519, AES-128-GCM, a P-256 signature, never resumed.

use std::io::{self, Read, Write};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::Resumption;
use rustls::crypto::{self, ring, CryptoProvider};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::version::TLS13;
use rustls::{
    CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, Error, PeerMisbehaved,
    SignatureScheme,
};
use tessera_runtime::tls::socket::NonBlocking;
use tokio::net::TcpStream;

use super::error::BenchError;
use super::limits;

/// A name has to stand in the handshake; the certificate is compared byte by byte, so it decides nothing.
const NAME: &str = "localhost";

/// The client's half of TLS, shared by all connections. Cheap to clone.
#[derive(Clone)]
pub struct TlsClient {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

impl TlsClient {
    /// A client that accepts the server with this certificate (DER) and no other.
    ///
    /// # Errors
    /// [`BenchError`] when the library refuses the settings.
    pub fn pinned(certificate: Vec<u8>) -> Result<Self, BenchError> {
        let refused = |error: Error| BenchError::new(format!("TLS client: {error}"));
        let provider = Arc::new(CryptoProvider {
            cipher_suites: vec![ring::cipher_suite::TLS13_AES_128_GCM_SHA256],
            kx_groups: vec![ring::kx_group::X25519],
            ..ring::default_provider()
        });
        let verifier = Pinned { certificate: certificate.into(), provider: Arc::clone(&provider) };
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])
            .map_err(refused)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth();
        config.resumption = Resumption::disabled();
        config.enable_sni = false;
        let name =
            ServerName::try_from(NAME).map_err(|error| BenchError::new(error.to_string()))?;
        Ok(Self { config: Arc::new(config), name })
    }
}

/// Trusts one certificate.
#[derive(Debug)]
struct Pinned {
    certificate: CertificateDer<'static>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match end_entity.as_ref() == self.certificate.as_ref() {
            true => Ok(ServerCertVerified::assertion()),
            false => Err(CertificateError::ApplicationVerificationFailure.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(PeerMisbehaved::SelectedUnofferedCipherSuite.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}

/// A connection inside TLS.
pub(super) struct Tls {
    socket: TcpStream,
    session: ClientConnection,
}

impl Tls {
    /// Shakes hands. The last flight waits for the first packet, so that both leave in one write.
    pub(super) async fn connect(socket: TcpStream, client: &TlsClient) -> io::Result<Self> {
        let session = ClientConnection::new(Arc::clone(&client.config), client.name.clone());
        let mut session = session.map_err(invalid)?;
        session.set_buffer_limit(Some(limits::TLS_BUFFER));
        let mut tls = Self { socket, session };
        tls.push_all().await?;
        while tls.session.is_handshaking() {
            tls.socket.readable().await?;
            match tls.open_records() {
                Ok(true) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(false) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Ok(tls)
    }

    pub(super) fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// Reads what is here: 0 at the end, `WouldBlock` when there is nothing.
    pub(super) fn try_read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.session.reader().read(into) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // A server may close without `close_notify`.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(0),
                other => return other,
            }
            if self.open_records()? {
                return Ok(0);
            }
        }
    }

    /// Takes bytes in; [`Tls::push_all`] sends them.
    pub(super) fn take(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.session.writer().write(bytes)
    }

    /// Sends what was taken in.
    pub(super) async fn push_all(&mut self) -> io::Result<()> {
        while self.session.wants_write() {
            match self.session.write_tls(&mut NonBlocking(&self.socket)) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.socket.writable().await?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Reads records and decrypts them; whether the socket is at its end.
    fn open_records(&mut self) -> io::Result<bool> {
        let read = self.session.read_tls(&mut NonBlocking(&self.socket))?;
        self.session.process_new_packets().map_err(invalid)?;
        Ok(read == 0)
    }
}

fn invalid(error: Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

#[cfg(test)]
mod tests;
