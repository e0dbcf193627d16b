//! An authority, and certificates of it, made for one test.

use std::path::PathBuf;
use std::sync::Arc;

use rcgen::{CertificateParams, CertifiedIssuer, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::client::{AlwaysResolvesClientRawPublicKeys, WebPkiServerVerifier};
use rustls::crypto::ring::default_provider;
use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use tempfile::TempDir;
use tessera_broker::RawBrokerConfig;
use tessera_token::encoding::hex;

pub struct Certs {
    authority: CertifiedIssuer<'static, KeyPair>,
    folder: TempDir,
}

pub const V12: &[&SupportedProtocolVersion] = &[&TLS12];
pub const V13: &[&SupportedProtocolVersion] = &[&TLS13];

impl Certs {
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, p256()).unwrap();
        let certs = Self { authority, folder: TempDir::new().unwrap() };
        certs.renew();
        certs
    }

    /// A new certificate and key of the server, in the same files.
    pub fn renew(&self) -> CertificateDer<'static> {
        let (chain, key) = self.issue("localhost", p256());
        std::fs::write(self.path("cert.pem"), &chain).unwrap();
        std::fs::write(self.path("key.pem"), &key).unwrap();
        std::fs::write(self.path("ca.pem"), self.authority.pem()).unwrap();
        CertificateDer::from_pem_slice(chain.as_bytes()).unwrap()
    }

    /// A certificate of the server that ends so many days after the time at which worlds begin.
    pub fn ends_after_days(&self, days: u64) {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let (year, month, day) = (2027, 1, 15 + u8::try_from(days).unwrap());
        params.not_after = rcgen::date_time_ymd(year, month, day);
        let key = p256();
        let certificate = params.signed_by(&key, &self.authority).unwrap();
        std::fs::write(self.path("cert.pem"), certificate.pem()).unwrap();
        std::fs::write(self.path("key.pem"), key.serialize_pem()).unwrap();
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn issue(&self, name: &str, key: KeyPair) -> (String, String) {
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.authority).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    /// The settings that use these files on `mqtts` and `wss`.
    pub fn settings(&self, raw: &mut RawBrokerConfig) {
        raw.mqtts = Some("127.0.0.1:0".parse().unwrap());
        raw.wss = Some("127.0.0.1:0".parse().unwrap());
        raw.tls.cert = Some(self.path("cert.pem"));
        raw.tls.key = Some(self.path("key.pem"));
    }

    /// A client that trusts the authority.
    pub fn client(&self, versions: &[&'static SupportedProtocolVersion]) -> ClientConfig {
        self.builder(versions).with_no_client_auth()
    }

    /// A client with a certificate of the authority for this key, or one that the key signed itself.
    pub fn client_with(&self, key: KeyPair, own: bool) -> ClientConfig {
        self.client_with_versions(key, own, &[&TLS13, &TLS12])
    }

    /// The same over these versions of TLS.
    pub fn client_with_versions(
        &self,
        key: KeyPair,
        own: bool,
        versions: &[&'static SupportedProtocolVersion],
    ) -> ClientConfig {
        let (chain, key) = self.certified(key, own);
        self.with_certificate(&chain, &key, versions)
    }

    fn certified(&self, key: KeyPair, own: bool) -> (String, String) {
        if !own {
            return self.issue("device", key);
        }
        let params = CertificateParams::new(vec!["device".to_owned()]).unwrap();
        (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
    }

    /// A certificate that the key signed itself, and the key, in files.
    pub fn client_files(&self, key: KeyPair) -> (PathBuf, PathBuf) {
        let (chain, key) = self.certified(key, true);
        let paths = (self.path("device.pem"), self.path("device.key"));
        std::fs::write(&paths.0, chain).unwrap();
        std::fs::write(&paths.1, key).unwrap();
        paths
    }

    /// A client with a certificate of the authority that has so long a name.
    pub fn client_with_long_name(&self, chars: usize) -> ClientConfig {
        let (chain, key) = self.issue(&"n".repeat(chars), p256());
        self.with_certificate(&chain, &key, &[&TLS13, &TLS12])
    }

    fn with_certificate(
        &self,
        chain: &str,
        key: &str,
        versions: &[&'static SupportedProtocolVersion],
    ) -> ClientConfig {
        let chain = vec![CertificateDer::from_pem_slice(chain.as_bytes()).unwrap()];
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
        self.builder(versions).with_client_auth_cert(chain, key).unwrap()
    }

    /// A client with a raw public key (RFC 7250).
    pub fn client_with_raw_key(&self, key: &KeyPair) -> ClientConfig {
        let der = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap();
        let signer = any_supported_type(&der).unwrap();
        let raw = signer.public_key().unwrap().to_vec();
        let certified = CertifiedKey::new(vec![raw.into()], signer);
        let resolver = AlwaysResolvesClientRawPublicKeys::new(Arc::new(certified));
        self.builder(V13).with_client_cert_resolver(Arc::new(resolver))
    }

    pub fn builder(
        &self,
        versions: &[&'static SupportedProtocolVersion],
    ) -> rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert> {
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.der().clone()).unwrap();
        let provider = Arc::new(default_provider());
        let verifier = WebPkiServerVerifier::builder_with_provider(roots.into(), provider.clone());
        ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap()
            .with_webpki_verifier(verifier.build().unwrap())
    }
}

pub fn p256() -> KeyPair {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap()
}

/// PKCS#8 of an Ed25519 seed (RFC 8410 section 7).
pub fn ed25519(seed: &[u8; 32]) -> KeyPair {
    let head = hex::decode("302e020100300506032b657004220420").unwrap();
    let der = [&head[..], seed].concat();
    KeyPair::try_from(&der[..]).unwrap()
}
