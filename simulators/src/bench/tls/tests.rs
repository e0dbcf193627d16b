use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;

use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::super::connection::{Answer, Conn, Place};
use super::super::packet::{self, Qos};
use super::*;

/// Bytes of the packet that the server sends after its CONNACK: many records, more than are read at once.
const LARGE: usize = 100_000;

struct Made {
    der: Vec<u8>,
    key: Vec<u8>,
}

fn made() -> Made {
    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let der = params.self_signed(&pair).unwrap().der().to_vec();
    Made { der, key: pair.serialize_der() }
}

/// Shows `shown` and signs with the key of `signer`; answers one CONNECT, and one further packet with a large PUBLISH.
fn server(shown: &Made, signer: &Made) -> (SocketAddr, JoinHandle<io::Result<()>>) {
    let provider = Arc::new(ring::default_provider());
    let key = PrivateKeyDer::Pkcs8(signer.key.clone().into());
    let signing = ring::sign::any_ecdsa_type(&key).unwrap();
    let chain = vec![CertificateDer::from(shown.der.clone())];
    let certified = Arc::new(rustls::sign::CertifiedKey::new(chain, signing));
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(certified)));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let serve = move || {
        let session = ServerConnection::new(Arc::new(config)).map_err(invalid)?;
        let mut stream = StreamOwned::new(session, listener.accept()?.0);
        let mut connect = [0; 16];
        let read = stream.read(&mut connect)?;
        assert_eq!(connect[..read], packet::connect("a", None));
        stream.write_all(&[packet::CONNACK, 2, 0, 0])?;
        stream.read_exact(&mut packet::DISCONNECT.clone())?;
        stream.write_all(&packet::publish("t", Qos::Zero, 0, &[7; LARGE]))?;
        stream.conn.send_close_notify();
        stream.flush()
    };
    (addr, std::thread::spawn(serve))
}

async fn connect(addr: SocketAddr, pinned: &Made) -> Result<Answer, BenchError> {
    let place =
        Place { addr, from: None, tls: Some(TlsClient::pinned(pinned.der.clone()).unwrap()) };
    Conn::try_open(&place, &packet::connect("a", None)).await
}

#[tokio::test]
async fn the_pinned_server_is_spoken_with() {
    let made = made();
    let (addr, serving) = server(&made, &made);
    let Answer::Accepted(mut conn) = connect(addr, &made).await.unwrap() else {
        panic!("refused");
    };
    conn.write(&packet::DISCONNECT).await.unwrap();
    let mut heard = 0;
    while conn.read(|frame| heard += frame.payload().map_or(0, <[u8]>::len)).await.is_ok() {}
    assert_eq!(heard, LARGE);
    serving.join().unwrap().unwrap();
}

#[tokio::test]
async fn another_certificate_is_refused() {
    let (one, other) = (made(), made());
    let (addr, serving) = server(&one, &one);
    let error = connect(addr, &other).await.err().unwrap().to_string();
    assert!(error.contains("certificate"), "{error}");
    assert!(serving.join().unwrap().is_err());
}

#[tokio::test]
async fn the_right_certificate_without_its_key_is_refused() {
    let (one, other) = (made(), made());
    let (addr, serving) = server(&one, &other);
    let error = connect(addr, &one).await.err().unwrap().to_string();
    assert!(error.contains("certificate"), "{error}");
    assert!(serving.join().unwrap().is_err());
}
