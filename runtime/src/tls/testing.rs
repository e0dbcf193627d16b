//! An authority and certificates for the unit tests of this crate.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::net::TcpListener;

use super::ServerTls;

pub(crate) struct Authority {
    folder: tempfile::TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.pem"), issuer.pem()).unwrap();
        Self { folder, issuer }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn cafile(&self) -> PathBuf {
        self.path("ca.pem")
    }

    /// Writes certificate and key for these names, over those that are there.
    pub(crate) fn sign(&self, names: &[&str]) -> (PathBuf, PathBuf) {
        self.sign_as(names, IsCa::NoCa)
    }

    /// As [`Self::sign`], a certificate that may sign others.
    pub(crate) fn sign_authority(&self, names: &[&str]) -> (PathBuf, PathBuf) {
        self.sign_as(names, IsCa::Ca(BasicConstraints::Unconstrained))
    }

    fn sign_as(&self, names: &[&str], is_ca: IsCa) -> (PathBuf, PathBuf) {
        let key = KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.is_ca = is_ca;
        let cert = params.signed_by(&key, &self.issuer).unwrap();
        let (cert_file, key_file) = (self.path("server.pem"), self.path("server.key"));
        replace(&cert_file, cert.pem().as_bytes());
        replace(&key_file, key.serialize_pem().as_bytes());
        (cert_file, key_file)
    }

    /// A server of one answer for each connection; its port.
    pub(crate) async fn serve(
        &self,
        names: &[&str],
        answer: &'static [u8],
    ) -> (Arc<ServerTls>, u16) {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let (cert, key) = self.sign(names);
        let tls = Arc::new(ServerTls::load(cert, key).unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let serving = Arc::clone(&tls);
        tokio::spawn(async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                let tls = Arc::clone(&serving);
                tokio::spawn(async move {
                    let Ok(mut stream) = tls.accept(socket).await else { return };
                    let mut request = vec![0; 4096];
                    let _ = stream.read(&mut request).await;
                    let _ = stream.write_all(answer).await;
                    let _ = stream.shutdown().await;
                });
            }
        });
        (tls, port)
    }
}

fn replace(path: &Path, bytes: &[u8]) {
    let new = path.with_extension("new");
    std::fs::write(&new, bytes).unwrap();
    std::fs::rename(&new, path).unwrap();
}
