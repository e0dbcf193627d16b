//! The key of a TLS handshake proves something only where it signed this handshake: a session that is resumed without
//! the key lets no client in.

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;

use bytes::BytesMut;
use rustls::client::ResolvesClientCert;
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, HandshakeKind, SignatureScheme};
use tessera_broker::codec::{
    self, Connect, Packet, Password, Properties, QoS, ReasonCode, Subscribe, SubscribeOptions,
    Subscription, Version,
};
use tessera_broker::transport::Transport;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::certs::{ed25519, p256, Certs, V12, V13};
use super::line::{bytes, settle, tcp, tls, tls_over, Line};
use crate::client::{plan, publish};
use crate::world::{device_scope, world_with, World};

const NO: ReasonCode = ReasonCode::NOT_AUTHORIZED;
const OK: ReasonCode = ReasonCode::SUCCESS;

/// The client's key, which it can lose while it keeps its TLS session.
#[derive(Debug)]
struct Losable {
    key: Arc<dyn ResolvesClientCert>,
    lost: AtomicBool,
}

impl ResolvesClientCert for Losable {
    fn resolve(&self, hints: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        match self.lost.load(Ordering::SeqCst) {
            true => None,
            false => self.key.resolve(hints, schemes),
        }
    }

    fn only_raw_public_keys(&self) -> bool {
        self.key.only_raw_public_keys()
    }

    fn has_certs(&self) -> bool {
        true
    }
}

fn losable(config: ClientConfig) -> (Arc<ClientConfig>, Arc<Losable>) {
    let mut config = config;
    let key = Arc::clone(&config.client_auth_cert_resolver);
    let losable = Arc::new(Losable { key, lost: AtomicBool::new(false) });
    config.client_auth_cert_resolver = Arc::clone(&losable) as Arc<dyn ResolvesClientCert>;
    (Arc::new(config), losable)
}

fn seed(name: &str) -> [u8; 32] {
    let mut seed = [7; 32];
    seed[..name.len()].copy_from_slice(name.as_bytes());
    seed
}

/// A CONNECT with this password, or with nothing.
fn packet(world: &World, password: Option<&[u8]>) -> Connect {
    let mut connect = plan(world, "d-1", Version::V5).connect;
    connect.user_name = None;
    connect.password = password.map(|bytes| Password::new(bytes.to_vec().into()));
    connect
}

async fn open(world: &World, config: &Arc<ClientConfig>) -> Line<TlsStream<TcpStream>> {
    Line::new(tls_over(tcp(world, Transport::Mqtts).await, config).await.unwrap())
}

async fn say(line: &mut Line<TlsStream<TcpStream>>, connect: Connect) -> ReasonCode {
    line.send(&bytes(&Packet::Connect(Box::new(connect)))).await;
    match line.next().await {
        Some(Packet::ConnAck(ack)) => ack.reason,
        other => panic!("expected CONNACK, got {other:?}"),
    }
}

fn kind(line: &Line<TlsStream<TcpStream>>) -> Option<HandshakeKind> {
    line.io.get_ref().1.handshake_kind()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_is_taken_up_without_the_key_proves_nothing() {
    let certs = Certs::new();
    for auth in ["key", "raw_key"] {
        let world = world_with(|raw| {
            certs.settings(raw);
            raw.tls.client_auth = Some(auth.to_owned());
        })
        .await;
        let token = world.token("d-1", device_scope("d-1"));
        let versions = if auth == "key" { &[V12, V13][..] } else { &[V13][..] };
        for versions in versions {
            let key = ed25519(&seed("d-1"));
            let config = match auth {
                "key" => certs.client_with_versions(key, true, versions),
                _ => certs.client_with_raw_key(&key),
            };
            let (config, key) = losable(config);
            let mut line = open(&world, &config).await;
            assert_eq!(say(&mut line, packet(&world, Some(&token))).await, OK);
            // Bytes behind the handshake are read with the CONNACK.
            line.ping().await;
            key.lost.store(true, Ordering::SeqCst);
            for generation in 1..=4 {
                let mut line = open(&world, &config).await;
                let reason = say(&mut line, packet(&world, Some(&token))).await;
                assert_eq!(reason, NO, "{auth} {versions:?} {generation}");
                assert_ne!(kind(&line), Some(HandshakeKind::Resumed), "{auth} {generation}");
                line.closed().await;
            }
            // The key still proves.
            key.lost.store(false, Ordering::SeqCst);
            let mut line = open(&world, &config).await;
            assert_eq!(say(&mut line, packet(&world, Some(&token))).await, OK);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nor_does_it_use_a_token_of_authz_info() {
    let certs = Certs::new();
    let world = world_with(|raw| {
        certs.settings(raw);
        raw.tls.client_auth = Some("key".to_owned());
        raw.authz_info = true;
    })
    .await;
    let token = world.token("d-1", device_scope("d-1"));
    let mut stranger = Line::new(tls(&world, Transport::Mqtts, certs.client(V13)).await.unwrap());
    assert_eq!(say(&mut stranger, packet(&world, None)).await, OK);
    stranger.send(&bytes(&publish("authz-info", QoS::AtLeastOnce, &token))).await;
    assert!(matches!(stranger.next().await, Some(Packet::PubAck(ack)) if !ack.reason.is_error()));
    drop(stranger);
    for versions in [V12, V13] {
        let (config, key) =
            losable(certs.client_with_versions(ed25519(&seed("d-1")), true, versions));
        let mut line = open(&world, &config).await;
        assert_eq!(say(&mut line, packet(&world, None)).await, OK);
        line.ping().await;
        assert_eq!(world.broker.sessions(), 1);
        drop(line);
        settle(|| world.broker.sessions() == 0).await;
        key.lost.store(true, Ordering::SeqCst);
        // It is a stranger: it may publish tokens and nothing else.
        let mut line = open(&world, &config).await;
        assert_eq!(say(&mut line, packet(&world, None)).await, OK);
        assert_eq!(world.broker.sessions(), 0, "{versions:?}");
        let filter =
            Subscription { filter: "d/d-1/cmd".into(), options: SubscribeOptions::default() };
        let subscribe =
            Subscribe { packet_id: 1, properties: Properties::new(), entries: vec![filter] };
        line.send(&bytes(&Packet::Subscribe(subscribe))).await;
        assert!(matches!(line.next().await, Some(Packet::Disconnect(bye)) if bye.reason == NO));
    }
}

/// A certificate that has expired, or whose authority is no longer one, would go on by the session of before.
#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_looked_at_in_every_handshake() {
    let certs = Certs::new();
    for auth in ["ca", "ca_optional"] {
        let world = world_with(|raw| {
            certs.settings(raw);
            raw.tls.client_ca = Some(certs.path("ca.pem"));
            raw.tls.client_auth = Some(auth.to_owned());
        })
        .await;
        for versions in [V12, V13] {
            let (config, key) = losable(certs.client_with_versions(p256(), false, versions));
            let mut line = open(&world, &config).await;
            assert_eq!(line.connect(&world, "d-1").await, OK);
            line.ping().await;
            let again = open(&world, &config).await;
            assert_ne!(kind(&again), Some(HandshakeKind::Resumed), "{auth} {versions:?}");
            key.lost.store(true, Ordering::SeqCst);
            // Over TLS 1.3 the refusal comes behind the client's part of the handshake.
            let tried = tls_over(tcp(&world, Transport::Mqtts).await, &config).await;
            let let_in = match tried {
                Ok(io) => {
                    let mut line = Line::new(io);
                    line.send(&super::line::connect(&world, "d-1")).await;
                    line.next().await.is_some()
                }
                Err(_) => false,
            };
            assert_eq!(let_in, auth == "ca_optional", "{versions:?}");
        }
    }
}

/// Clients that prove nothing by TLS take their sessions up as before.
#[tokio::test(flavor = "multi_thread")]
async fn where_clients_prove_nothing_sessions_are_taken_up() {
    let certs = Certs::new();
    let world = world_with(|raw| certs.settings(raw)).await;
    for versions in [V12, V13] {
        let config = Arc::new(certs.client(versions));
        for expected in [HandshakeKind::Full, HandshakeKind::Resumed] {
            let mut line = open(&world, &config).await;
            assert_eq!(line.connect(&world, "d-1").await, OK);
            line.ping().await;
            assert_eq!(kind(&line), Some(expected), "{versions:?}");
        }
    }
}

/// The bytes that `openssl s_client` got back for a CONNECT of 3.1.1 and a PINGREQ; none when the handshake failed. An
/// answer to the PINGREQ says that everything behind the handshake was read.
fn s_client(world: &World, more: &[&str], connect: &Connect) -> Vec<u8> {
    let address = world.broker.addr(Transport::Mqtts).unwrap().to_string();
    let mut packets = BytesMut::new();
    let connect = Packet::Connect(Box::new(connect.clone()));
    codec::encode(&connect, Version::V311, &mut packets).unwrap();
    packets.extend_from_slice(&[0xc0, 0]);
    let mut child = Command::new("openssl")
        .args(["s_client", "-quiet", "-servername", "localhost", "-connect", &address])
        .args(more)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the tests need the command openssl");
    let mut input = child.stdin.take().unwrap();
    input.write_all(&packets).unwrap();
    let (mut output, mut seen) = (child.stdout.take().unwrap(), vec![0; 6]);
    let mut read = 0;
    while read < seen.len() {
        match output.read(&mut seen[read..]) {
            Ok(0) | Err(_) => break,
            Ok(more) => read += more,
        }
    }
    seen.truncate(read);
    let _ = child.kill();
    let _ = child.wait();
    drop(input);
    seen
}

#[tokio::test(flavor = "multi_thread")]
async fn the_session_file_of_openssl_proves_nothing() {
    let certs = Certs::new();
    let world = world_with(|raw| {
        certs.settings(raw);
        raw.tls.client_auth = Some("key".to_owned());
    })
    .await;
    let (certificate, key) = certs.client_files(ed25519(&seed("d-1")));
    let token = world.token("d-1", device_scope("d-1"));
    let mut connect = plan(&world, "d-1", Version::V311).connect;
    connect.password = Some(Password::new(token.into()));
    for version in ["-tls1_2", "-tls1_3"] {
        let session = certs.path(version);
        let session = session.to_str().unwrap();
        let proves = ["-cert", certificate.to_str().unwrap(), "-key", key.to_str().unwrap()];
        let begins = [&[version, "-sess_out", session][..], &proves].concat();
        assert_eq!(s_client(&world, &begins, &connect), [0x20, 2, 0, 0, 0xd0, 0], "{version}");
        // Over TLS 1.3 there is no session without a ticket.
        let again = match Path::new(session).exists() {
            true => vec![version, "-sess_in", session, "-sess_out", session],
            false => vec![version, "-sess_out", session],
        };
        for _ in 0..2 {
            assert_eq!(s_client(&world, &again, &connect), [0x20, 2, 0, 5], "{version}");
        }
    }
}
