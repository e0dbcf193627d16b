//! The resumption secret: told over TLS to who proved the key, good over TLS for this very token, until its key is old.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use tessera_broker::codec::{
    Ack, Connect, Packet, Password, Properties, PropertyId, QoS, ReasonCode, Subscribe,
    SubscribeOptions, Subscription, Version,
};
use tessera_broker::transport::Transport;
use tessera_token::encoding::{base64url, from_base64url};
use tessera_token::hash::TokenHash;
use tessera_token::messages::{RefusalAnswer, TokenKind};
use tessera_token::proof::{ConnectProof, Credential, ResumptionSecret, TicketKey};
use tessera_token::refusal::RefusalCode;
use tessera_token::time::UnixSeconds;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::client::TlsStream;

use super::ace;
use super::certs::{Certs, V13};
use super::line::{bytes, tcp, tls, tls_over, Line};
use crate::client::{plan, publish};
use crate::control::{answer_one, provisioning, relay_to, request, request_for, token_answer};
use crate::world::{device_key, device_scope, scope, world_in, world_with, World, NOW};

const STATUS: &str = "$tessera/status";
const TOKEN: &str = "$tessera/token";

type Secure = Line<TlsStream<TcpStream>>;

fn counted(what: &str) -> String {
    format!("tessera_broker_resumption_total{{what=\"{what}\"}}")
}

fn connect(world: &World, client_id: &str, password: Vec<u8>) -> Connect {
    let mut connect = plan(world, client_id, Version::V5).connect;
    connect.password = Some(Password::new(password.into()));
    connect
}

async fn say<S: AsyncRead + AsyncWrite + Unpin>(
    line: &mut Line<S>,
    connect: Connect,
) -> ReasonCode {
    line.send(&bytes(&Packet::Connect(Box::new(connect)))).await;
    match line.next().await {
        Some(Packet::ConnAck(ack)) => ack.reason,
        other => panic!("expected CONNACK, got {other:?}"),
    }
}

async fn secure(world: &World, certs: &Certs) -> Secure {
    Line::new(tls(world, Transport::Mqtts, certs.client(V13)).await.unwrap())
}

/// A connection over TLS with a full proof.
async fn proved(world: &World, certs: &Certs, device: &str, token: &[u8]) -> Secure {
    let mut line = secure(world, certs).await;
    let password = world.password(device, device, token.to_vec());
    assert_eq!(say(&mut line, connect(world, device, password)).await, ReasonCode::SUCCESS);
    line
}

fn by_secret(
    secret: &ResumptionSecret,
    client_id: &str,
    token: &[u8],
    now: UnixSeconds,
    counter: u32,
) -> Vec<u8> {
    let proof = ConnectProof::resume(secret, "broker", client_id, token, now, counter);
    Credential { token: token.to_vec(), proof: Some(proof) }.to_password()
}

impl World {
    fn resumed(&self, secret: &ResumptionSecret, client_id: &str, token: &[u8]) -> Vec<u8> {
        let now = self.agent.validator().now();
        by_secret(secret, client_id, token, now, self.next_counter())
    }

    async fn tried(&self, certs: &Certs, secret: &ResumptionSecret, token: &[u8]) -> ReasonCode {
        let password = self.resumed(secret, "d-1", token);
        say(&mut secure(self, certs).await, connect(self, "d-1", password)).await
    }
}

async fn listen<S: AsyncRead + AsyncWrite + Unpin>(line: &mut Line<S>, filter: &str) {
    let options = SubscribeOptions { qos: QoS::AtLeastOnce, ..SubscribeOptions::default() };
    let entries = vec![Subscription { filter: filter.into(), options }];
    let subscribe = Subscribe { packet_id: 1, properties: Properties::new(), entries };
    line.send(&bytes(&Packet::Subscribe(subscribe))).await;
    loop {
        match line.next().await {
            Some(Packet::SubAck(_)) => return,
            // A persistent session listens already.
            Some(Packet::Publish(message)) if &*message.topic == STATUS => {}
            other => panic!("expected SUBACK, got {other:?}"),
        }
    }
}

/// The next status.
async fn told<S: AsyncRead + AsyncWrite + Unpin>(line: &mut Line<S>) -> Value {
    loop {
        match line.next().await {
            Some(Packet::Publish(message)) if &*message.topic == STATUS => {
                assert_eq!(message.qos, QoS::AtMostOnce);
                return serde_json::from_slice(&message.payload).unwrap();
            }
            Some(Packet::Publish(_)) => {}
            other => panic!("expected a status, got {other:?}"),
        }
    }
}

async fn status<S: AsyncRead + AsyncWrite + Unpin>(line: &mut Line<S>) -> Value {
    listen(line, STATUS).await;
    told(line).await
}

/// The secret in a status, which must be for this token.
fn secret(status: &Value, token: &[u8]) -> ResumptionSecret {
    let hash = base64url(TokenHash::of(token).as_bytes());
    assert_eq!(status["token_hash"].as_str(), Some(&*hash));
    let bytes = from_base64url(status["resumption"].as_str().expect("no secret")).unwrap();
    ResumptionSecret::from_bytes(&bytes.try_into().unwrap())
}

fn has_none(status: &Value) -> bool {
    status["time"].is_u64() && status["resumption"].is_null() && status["token_hash"].is_null()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_lets_in_over_tls_for_its_token_and_client_id_alone() {
    let certs = Certs::new();
    let world = world_with(|raw| certs.settings(raw)).await;
    let token = world.token("d-1", device_scope("d-1"));
    let mut line = proved(&world, &certs, "d-1", &token).await;
    let secret = secret(&status(&mut line).await, &token);
    line.ping().await;
    let password = world.resumed(&secret, "d-1", &token);
    let mut again = secure(&world, &certs).await;
    assert_eq!(
        say(&mut again, connect(&world, "d-1", password.clone())).await,
        ReasonCode::SUCCESS
    );
    assert_eq!(world.metric(&counted("accepted")), 1);
    // It shows what the device had: it is told nothing new.
    assert!(has_none(&status(&mut again).await));
    let refused = |what: &'static str, client_id: &'static str, password: Vec<u8>| {
        let (world, certs) = (&world, &certs);
        async move {
            let mut line = secure(world, certs).await;
            let reason = say(&mut line, connect(world, client_id, password)).await;
            assert_eq!(reason, ReasonCode::NOT_AUTHORIZED, "{what}");
            line.closed().await;
        }
    };
    refused("replayed", "d-1", password).await;
    refused("another client id", "d-1~2", world.resumed(&secret, "d-1", &token)).await;
    refused("another device", "d-2", world.resumed(&secret, "d-2", &token)).await;
    let next = world.token("d-1", device_scope("d-1"));
    refused("another token", "d-1", world.resumed(&secret, "d-1", &next)).await;
    let others = world.token("d-2", device_scope("d-2"));
    refused("another device's token", "d-2", world.resumed(&secret, "d-2", &others)).await;
    for off in [NOW - 61, NOW + 61] {
        let at = UnixSeconds::new(off);
        let counter = world.next_counter();
        refused("not fresh", "d-1", by_secret(&secret, "d-1", &token, at, counter)).await;
    }
    let unknown = ResumptionSecret::from_bytes(&[7; 32]);
    refused("a guess", "d-1", world.resumed(&unknown, "d-1", &token)).await;
    // Both kinds of proof have one order: a full proof must be above it.
    let mut used = world.password("d-1", "d-1", token.clone());
    let password = world.resumed(&secret, "d-1", &token);
    let mut line = secure(&world, &certs).await;
    assert_eq!(say(&mut line, connect(&world, "d-1", password)).await, ReasonCode::SUCCESS);
    refused("a counter behind", "d-1", std::mem::take(&mut used)).await;
    line.ping().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_tcp_tells_and_takes_no_secret() {
    let certs = Certs::new();
    let world = world_with(|raw| certs.settings(raw)).await;
    let token = world.token("d-1", device_scope("d-1"));
    let kept = |password| {
        let mut connect = connect(&world, "d-1", password);
        connect.clean_start = false;
        let expiry = Properties::build().number(PropertyId::SessionExpiry, 600);
        connect.properties = expiry.finish().unwrap();
        connect
    };
    let mut line = secure(&world, &certs).await;
    let password = world.password("d-1", "d-1", token.clone());
    assert_eq!(say(&mut line, kept(password)).await, ReasonCode::SUCCESS);
    let secret = secret(&status(&mut line).await, &token);
    let mut open = Line::new(tcp(&world, Transport::Mqtt).await);
    let password = world.resumed(&secret, "d-1", &token);
    assert_eq!(say(&mut open, kept(password)).await, ReasonCode::NOT_AUTHORIZED);
    // The session itself may go on in clear. It listens, and is told no secret.
    line.send(&bytes(&publish(TOKEN, QoS::AtMostOnce, &world.token("d-1", device_scope("d-1")))))
        .await;
    drop(line);
    let mut open = Line::new(tcp(&world, Transport::Mqtt).await);
    let password = world.password("d-1", "d-1", token.clone());
    assert_eq!(say(&mut open, kept(password)).await, ReasonCode::SUCCESS);
    open.ping().await;
    let next = world.token("d-1", device_scope("d-1"));
    open.send(&bytes(&publish(TOKEN, QoS::AtMostOnce, &next))).await;
    assert!(has_none(&told(&mut open).await));
    assert!(has_none(&status(&mut open).await));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bearer_gets_no_secret_and_can_use_none() {
    let certs = Certs::new();
    let world = world_with(|raw| certs.settings(raw)).await;
    world.allow_bearer();
    let token = world.token_with("d-1", device_scope("d-1"), |claims| claims.confirmation = None);
    let mut line = secure(&world, &certs).await;
    assert_eq!(say(&mut line, connect(&world, "d-1", token)).await, ReasonCode::SUCCESS);
    assert!(has_none(&status(&mut line).await));
    assert_eq!(world.metric(&counted("handed_out")), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_ends_the_token_ends_its_secret() {
    type End = fn(&World, &[u8]);
    let ends: [(&str, End); 7] = [
        ("tenant_epoch", |world, _| world.revoke_tenant()),
        ("group_epoch", |world, _| world.revoke_group(5)),
        ("device_epoch", |world, _| world.revoke_device("d-1")),
        ("token_revoked", |world, token| world.revoke_token("d-1", token)),
        ("tenant_suspended", |world, _| world.suspend_tenant()),
        ("key_not_valid", |world, _| world.compromise_key()),
        ("token_expired", |world, _| world.advance(3600)),
    ];
    for (code, end) in ends {
        let certs = Certs::new();
        let world = world_with(|raw| certs.settings(raw)).await;
        let token = world.token("d-1", device_scope("d-1"));
        let mut line = proved(&world, &certs, "d-1", &token).await;
        let secret = secret(&status(&mut line).await, &token);
        assert_eq!(world.tried(&certs, &secret, &token).await, ReasonCode::SUCCESS);
        end(&world, &token);
        assert_eq!(world.tried(&certs, &secret, &token).await, ReasonCode::NOT_AUTHORIZED);
        let refused = format!("tessera_broker_refusals_total{{what=\"connect\",code=\"{code}\"}}");
        let other = format!("tessera_broker_refusals_total{{code=\"{code}\",what=\"connect\"}}");
        assert_eq!(world.metric(&refused) + world.metric(&other), 1, "{code}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_ticket_key_proves_nothing_and_is_not_exchanged_for_a_new_one() {
    let certs = Certs::new();
    let world = world_with(|raw| {
        certs.settings(raw);
        raw.resumption.rotate_every = 600;
    })
    .await;
    let token = world.token("d-1", device_scope("d-1"));
    let mut line = proved(&world, &certs, "d-1", &token).await;
    let first = secret(&status(&mut line).await, &token);
    world.advance(600);
    // A client that proved its key and listens gets the next secret.
    let second = secret(&told(&mut line).await, &token);
    assert!(first.expose_bytes() != second.expose_bytes());
    let mut by_first = secure(&world, &certs).await;
    let password = world.resumed(&first, "d-1", &token);
    assert_eq!(say(&mut by_first, connect(&world, "d-1", password)).await, ReasonCode::SUCCESS);
    assert!(has_none(&status(&mut by_first).await));
    world.advance(600);
    // It ends with the key that let it in.
    ends_for_want_of_its_key(&mut by_first).await;
    assert_eq!(world.metric(&counted("key_replaced")), 2);
    assert_eq!(world.tried(&certs, &first, &token).await, ReasonCode::NOT_AUTHORIZED);
    assert_eq!(world.tried(&certs, &second, &token).await, ReasonCode::SUCCESS);
    let mut line = proved(&world, &certs, "d-1", &token).await;
    let third = secret(&status(&mut line).await, &token);
    assert_eq!(world.tried(&certs, &third, &token).await, ReasonCode::SUCCESS);
}

/// The last words, a DISCONNECT, and the end.
async fn ends_for_want_of_its_key(line: &mut Secure) {
    let mut words = None;
    loop {
        match line.next().await {
            Some(Packet::Publish(message)) => {
                let status: Value = serde_json::from_slice(&message.payload).unwrap();
                assert!(has_none(&status), "{status}");
                words = status["refusal"].as_str().map(str::to_owned);
            }
            Some(Packet::Disconnect(bye)) => {
                assert_eq!(bye.reason, ReasonCode::NOT_AUTHORIZED);
                break;
            }
            other => panic!("expected DISCONNECT, got {other:?}"),
        }
    }
    assert_eq!(words.as_deref(), Some("ticket_key_withdrawn"));
    line.closed().await;
}

/// A publish on `$tessera/token` is refused with this code, and the connection is told so.
async fn refused_on_token(line: &mut Secure, payload: &[u8]) {
    line.send(&bytes(&publish(TOKEN, QoS::AtMostOnce, payload))).await;
    loop {
        match line.next().await {
            Some(Packet::Publish(message)) if &*message.topic == TOKEN => {
                if let Some(id) = message.packet_id {
                    line.send(&bytes(&Packet::PubAck(Ack::new(id, ReasonCode::SUCCESS)))).await;
                }
                let refusal = RefusalAnswer::from_cbor(&message.payload).unwrap();
                return assert_eq!(refusal.code, Some(RefusalCode::KeyNotProved));
            }
            Some(Packet::Publish(message)) => {
                assert!(has_none(&serde_json::from_slice(&message.payload).unwrap()));
            }
            other => panic!("expected a refusal, got {other:?}"),
        }
    }
}

/// When the session of this line ends, by its status.
async fn expires(line: &mut Secure) -> u64 {
    let status = status(line).await;
    assert!(has_none(&status));
    status["expires"].as_u64().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refreshed_token_has_a_secret_of_its_own() {
    let certs = Certs::new();
    let world = world_with(|raw| certs.settings(raw)).await;
    let old = world.token("d-1", device_scope("d-1"));
    let mut line = proved(&world, &certs, "d-1", &old).await;
    let first = secret(&status(&mut line).await, &old);
    let next = world.token("d-1", device_scope("d-1"));
    line.send(&bytes(&publish(TOKEN, QoS::AtMostOnce, &next))).await;
    let second = secret(&told(&mut line).await, &next);
    assert_eq!(world.tried(&certs, &first, &next).await, ReasonCode::NOT_AUTHORIZED);
    assert_eq!(world.tried(&certs, &second, &next).await, ReasonCode::SUCCESS);
}

/// A broker with TLS that relays token requests to the service that is handed out with it.
async fn relaying_world() -> (Certs, World, TcpListener) {
    let (address, service) = provisioning().await;
    let certs = Certs::new();
    let world = world_with(|raw| {
        certs.settings(raw);
        relay_to(raw, address);
    })
    .await;
    (certs, world, service)
}

/// A secret is good for the rest of its token's life: neither the bytes of the next token nor a request that the device
/// has signed elsewhere extend it.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_renewed_on_a_connection_by_a_secret() {
    let (certs, world, service) = relaying_world().await;
    let token = world.token("d-1", device_scope("d-1"));
    let mut line = proved(&world, &certs, "d-1", &token).await;
    let stolen = secret(&status(&mut line).await, &token);
    let mut line = secure(&world, &certs).await;
    let password = world.resumed(&stolen, "d-1", &token);
    assert_eq!(say(&mut line, connect(&world, "d-1", password)).await, ReasonCode::SUCCESS);
    listen(&mut line, TOKEN).await;
    let ends = expires(&mut line).await;
    let later =
        |claims: &mut tessera_token::claims::Claims| claims.expires = claims.issued.plus(7200);
    let next = world.token_with("d-1", device_scope("d-1"), later);
    refused_on_token(&mut line, &next).await;
    for kind in [TokenKind::Key, TokenKind::Symmetric] {
        refused_on_token(&mut line, &request_for("d-1", kind)).await;
    }
    // Provisioning was not asked.
    let asked = tokio::time::timeout(std::time::Duration::from_millis(100), service.accept());
    assert!(asked.await.is_err());
    assert_eq!(expires(&mut line).await, ends);
    world.advance(3600);
    loop {
        match line.next().await {
            Some(Packet::Publish(_)) => {}
            Some(Packet::Disconnect(bye)) => {
                break assert_eq!(bye.reason, ReasonCode::NOT_AUTHORIZED)
            }
            other => panic!("expected DISCONNECT, got {other:?}"),
        }
    }
    line.closed().await;
    assert_eq!(world.tried(&certs, &stolen, &token).await, ReasonCode::NOT_AUTHORIZED);
}

/// A bearer has shown no key either.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_renewed_on_a_connection_of_a_bearer() {
    let certs = Certs::new();
    let world = world_with(|raw| certs.settings(raw)).await;
    world.allow_bearer();
    let bearer =
        || world.token_with("d-1", device_scope("d-1"), |claims| claims.confirmation = None);
    let mut line = secure(&world, &certs).await;
    assert_eq!(say(&mut line, connect(&world, "d-1", bearer())).await, ReasonCode::SUCCESS);
    listen(&mut line, TOKEN).await;
    for payload in [bearer(), request("d-1"), request_for("d-1", TokenKind::Symmetric)] {
        refused_on_token(&mut line, &payload).await;
    }
}

/// The device asks for its next token, and while provisioning thinks a thief takes the session over by its secret.
#[tokio::test(flavor = "multi_thread")]
async fn a_renewal_that_comes_too_late_is_not_given_to_who_took_the_session_over() {
    let (certs, world, service) = relaying_world().await;
    let kept = |password| {
        let mut connect = connect(&world, "d-1", password);
        connect.clean_start = false;
        let expiry = Properties::build().number(PropertyId::SessionExpiry, 600);
        connect.properties = expiry.finish().unwrap();
        connect
    };
    let token = world.token("d-1", device_scope("d-1"));
    let mut device = secure(&world, &certs).await;
    let password = world.password("d-1", "d-1", token.clone());
    assert_eq!(say(&mut device, kept(password)).await, ReasonCode::SUCCESS);
    let stolen = secret(&status(&mut device).await, &token);
    device.send(&bytes(&publish(TOKEN, QoS::AtMostOnce, &request("d-1")))).await;
    device.ping().await;
    let mut thief = secure(&world, &certs).await;
    let password = world.resumed(&stolen, "d-1", &token);
    assert_eq!(say(&mut thief, kept(password)).await, ReasonCode::SUCCESS);
    let ends = expires(&mut thief).await;
    answer_one(&service, "200 OK", &token_answer(&world, &device_scope("d-1"), 7200)).await;
    let told = "tessera_broker_token_requests_total{outcome=\"not_ready\"}";
    super::line::settle(|| world.metric(told) == 1).await;
    assert_eq!(expires(&mut thief).await, ends);
}

/// Two lines of a file that others may have seen.
fn key_file(certs: &Certs, keys: &[u8]) -> std::path::PathBuf {
    let file = certs.path("cluster.keys");
    let lines: Vec<_> = keys.iter().map(|byte| format!("{byte:02x}").repeat(32)).collect();
    std::fs::write(certs.path("next.keys"), lines.join("\n")).unwrap();
    let owner = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(certs.path("next.keys"), owner).unwrap();
    std::fs::rename(certs.path("next.keys"), &file).unwrap();
    file
}

#[tokio::test(flavor = "multi_thread")]
async fn who_knows_a_ticket_key_makes_no_token() {
    let certs = Certs::new();
    let file = key_file(&certs, &[0x5a]);
    let world = world_with(|raw| {
        certs.settings(raw);
        raw.resumption.ticket_key_file = Some(file);
    })
    .await;
    let known = TicketKey::from_bytes(&[0x5a; 32]);
    for (device, rights) in [("nobody", scope(&[("both", "#")])), ("d-1", device_scope("d-1"))] {
        let good = world.token(device, rights);
        for signature in [[0; 64], [0xff; 64]] {
            let mut token = good.clone();
            let length = token.len();
            token[length - 64..].copy_from_slice(&signature);
            let name = device_key(device).public().thumbprint();
            let audience = "broker".parse().unwrap();
            let secret = known.secret_of(&audience, &name, &TokenHash::of(&token));
            let password = world.resumed(&secret, device, &token);
            let mut line = secure(&world, &certs).await;
            let reason = say(&mut line, connect(&world, device, password)).await;
            assert_eq!(reason, ReasonCode::NOT_AUTHORIZED, "{device}");
        }
    }
    let refused = r#"tessera_broker_refusals_total{code="signature_invalid",what="connect"}"#;
    assert_eq!((world.metric(refused), world.broker.sessions()), (4, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_ends_with_the_ticket_key_that_let_it_in() {
    let certs = Certs::new();
    let file = key_file(&certs, &[1, 2]);
    let world = world_with(|raw| {
        certs.settings(raw);
        raw.resumption.ticket_key_file = Some(file);
    })
    .await;
    let token = world.token("d-1", device_scope("d-1"));
    let mut by_key = proved(&world, &certs, "d-1", &token).await;
    let first = secret(&status(&mut by_key).await, &token);
    let audience = "broker".parse().unwrap();
    let hash = TokenHash::of(&token);
    let name = device_key("d-1").public().thumbprint();
    let second = TicketKey::from_bytes(&[2; 32]).secret_of(&audience, &name, &hash);
    assert!(first.expose_bytes() != second.expose_bytes());
    let mut by_second = secure(&world, &certs).await;
    let password = world.resumed(&second, "d-1", &token);
    assert_eq!(say(&mut by_second, connect(&world, "d-1", password)).await, ReasonCode::SUCCESS);
    status(&mut by_second).await;
    let others = world.token("d-2", device_scope("d-2"));
    let mut other = proved(&world, &certs, "d-2", &others).await;
    // The second line of the key file is dropped. Its key let in one connection alone.
    key_file(&certs, &[1]);
    ends_for_want_of_its_key(&mut by_second).await;
    assert_eq!(world.tried(&certs, &second, &token).await, ReasonCode::NOT_AUTHORIZED);
    assert_eq!(world.tried(&certs, &first, &token).await, ReasonCode::SUCCESS);
    other.ping().await;
    assert_eq!(world.metric(&counted("ended")), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn own_ticket_keys_are_thrown_away_with_whom_they_let_in() {
    let (certs, folder) = (Certs::new(), tempfile::tempdir().unwrap());
    let world = world_in(folder.path(), NOW, |raw| certs.settings(raw)).await;
    let token = world.token("d-1", device_scope("d-1"));
    let mut line = proved(&world, &certs, "d-1", &token).await;
    let stolen = secret(&status(&mut line).await, &token);
    let mut thief = secure(&world, &certs).await;
    let password = world.resumed(&stolen, "d-1", &token);
    assert_eq!(say(&mut thief, connect(&world, "d-1", password)).await, ReasonCode::SUCCESS);
    status(&mut thief).await;
    let others = world.token("d-2", device_scope("d-2"));
    let mut other = proved(&world, &certs, "d-2", &others).await;
    let before = secret(&status(&mut other).await, &others);
    std::fs::remove_file(folder.path().join("tickets/keys")).unwrap();
    ends_for_want_of_its_key(&mut thief).await;
    assert_eq!(world.tried(&certs, &stolen, &token).await, ReasonCode::NOT_AUTHORIZED);
    // The device that proved its key stays, and is told the secret of the new ticket key.
    let after = secret(&told(&mut other).await, &others);
    assert!(before.expose_bytes() != after.expose_bytes());
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_share_a_key_file_take_each_others_devices() {
    let certs = Certs::new();
    let file = certs.path("cluster.keys");
    std::fs::write(&file, "5a".repeat(32)).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    let settings = |raw: &mut tessera_broker::RawBrokerConfig| {
        certs.settings(raw);
        raw.resumption.ticket_key_file = Some(file.clone());
    };
    let (one, other) = (world_with(settings).await, world_with(settings).await);
    let token = one.token("d-1", device_scope("d-1"));
    let mut line = proved(&one, &certs, "d-1", &token).await;
    let secret = secret(&status(&mut line).await, &token);
    assert_eq!(other.tried(&certs, &secret, &token).await, ReasonCode::SUCCESS);
    let alone = world_with(|raw| certs.settings(raw)).await;
    assert_eq!(alone.tried(&certs, &secret, &token).await, ReasonCode::NOT_AUTHORIZED);
    let off = world_with(|raw| {
        certs.settings(raw);
        raw.resumption.enabled = false;
    })
    .await;
    assert_eq!(off.tried(&certs, &secret, &token).await, ReasonCode::NOT_AUTHORIZED);
    let token = off.token("d-1", device_scope("d-1"));
    assert!(has_none(&status(&mut proved(&off, &certs, "d-1", &token).await).await));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reauthentication_by_ace_tells_the_secret_of_the_next_token() {
    let certs = Certs::new();
    let world = world_with(|raw| {
        certs.settings(raw);
        raw.ace_challenge = Some("always".to_owned());
    })
    .await;
    let tokens = [(); 2].map(|()| world.token("d-1", device_scope("d-1")));
    let mut line = secure(&world, &certs).await;
    line.send(&ace::connect(&world, "d-1", "ace", &ace::layout_b(tokens[0].clone()))).await;
    let nonce = ace::nonce(&mut line).await;
    line.send(&ace::answer(&device_key("d-1"), nonce)).await;
    assert_eq!(ace::connack(&mut line).await.reason, ReasonCode::SUCCESS);
    secret(&status(&mut line).await, &tokens[0]);
    let next = ace::layout_b(tokens[1].clone());
    line.send(&ace::auth(ReasonCode::RE_AUTHENTICATE, &next)).await;
    let nonce = ace::nonce(&mut line).await;
    line.send(&ace::answer(&device_key("d-1"), nonce)).await;
    assert!(matches!(line.next().await, Some(Packet::Auth(_))));
    let secret = secret(&told(&mut line).await, &tokens[1]);
    assert_eq!(world.tried(&certs, &secret, &tokens[1]).await, ReasonCode::SUCCESS);
}

const FOLDER: &str = "TESSERA_TEST_RESUMPTION_FOLDER";
const CERTS: &str = "TESSERA_TEST_RESUMPTION_CERTS";

/// The broker itself, when this binary was started as one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn as_a_process() {
    let (Ok(folder), Ok(certs)) = (std::env::var(FOLDER), std::env::var(CERTS)) else { return };
    let world = world_in(Path::new(&folder), NOW, |raw| {
        raw.mqtts = Some("127.0.0.1:0".parse().unwrap());
        raw.tls.cert = Some(Path::new(&certs).join("cert.pem"));
        raw.tls.key = Some(Path::new(&certs).join("key.pem"));
    })
    .await;
    println!("\nmqtts {}", world.broker.addr(Transport::Mqtts).unwrap());
    std::future::pending::<()>().await;
}

struct Process(Child, SocketAddr);

impl Process {
    fn start(folder: &Path, certs: &Certs) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "transports::resumption::as_a_process", "--nocapture"]);
        command.env(FOLDER, folder).env(CERTS, certs.path(""));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let told = lines
            .map_while(Result::ok)
            .find_map(|line| line.strip_prefix("mqtts ").map(|address| address.parse().unwrap()));
        Self(child, told.expect("the broker did not start"))
    }

    async fn line(&self, certs: &Certs) -> Secure {
        let socket = TcpStream::connect(self.1).await.unwrap();
        Line::new(tls_over(socket, &std::sync::Arc::new(certs.client(V13))).await.unwrap())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_is_good_after_a_kill() {
    let (certs, folder) = (Certs::new(), tempfile::tempdir().unwrap());
    let world = world_with(|raw| certs.settings(raw)).await;
    let token = world.token("d-1", scope(&[]));
    let process = Process::start(folder.path(), &certs);
    let mut line = process.line(&certs).await;
    let password = world.password("d-1", "d-1", token.clone());
    assert_eq!(say(&mut line, connect(&world, "d-1", password)).await, ReasonCode::SUCCESS);
    let secret = secret(&status(&mut line).await, &token);
    // `Child::kill` is SIGKILL.
    drop(process);
    let process = Process::start(folder.path(), &certs);
    // After a kill a device waits for some seconds.
    world.advance(5);
    let password = world.resumed(&secret, "d-1", &token);
    let again = connect(&world, "d-1", password);
    assert_eq!(say(&mut process.line(&certs).await, again.clone()).await, ReasonCode::SUCCESS);
    // And so is what it has used up.
    drop(process);
    let process = Process::start(folder.path(), &certs);
    assert_eq!(say(&mut process.line(&certs).await, again).await, ReasonCode::NOT_AUTHORIZED);
}
