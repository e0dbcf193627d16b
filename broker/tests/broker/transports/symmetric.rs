//! Tokens with a symmetric key: every way of proving it, changes between the two kinds of key, and every end of it.

use std::path::PathBuf;

use serde_json::Value;
use tessera_broker::codec::{
    Connect, Packet, Password, Properties, PropertyId, Publish, QoS, ReasonCode, Subscribe,
    SubscribeOptions, Subscription, Version,
};
use tessera_broker::transport::Transport;
use tessera_runtime::secret::write_secret_file;
use tessera_token::ace::{self, AuthData};
use tessera_token::encoding::{from_base64url, hex};
use tessera_token::ids::Audience;
use tessera_token::messages::{IssuedKey, RefusalAnswer, TokenAnswer, TokenKind, TokenRequest};
use tessera_token::proof::{
    ConnectProof, Credential, DerivationKey, Pop, ResumptionSecret, SymmetricKey,
};
use tessera_token::refusal::RefusalCode;
use tessera_token::time::UnixSeconds;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::ace::{
    answer_by, auth, connack, connect, connect_packet, ends_with, exporter_proof_by, layout_b,
    nonce,
};
use super::certs::{Certs, V13};
use super::line::{bytes, settle, tcp, tls, Line};
use super::proxy::header;
use crate::client::{plan, publish};
use crate::control::{answer_one, opening, provisioning, relay_to, request_for};
use crate::world::{
    device_id, device_key, device_scope, scope, tenant, world, world_deriving, world_from, World,
    AUDIENCE, NOW,
};

const TOKEN: &str = "$tessera/token";
const STATUS: &str = "$tessera/status";
const OLD: u8 = 1;
const NEW: u8 = 2;

/// A file of derivation keys, newest first.
struct Keys(tempfile::TempDir);

impl Keys {
    fn of(bytes: &[u8]) -> Self {
        let keys = Self(tempfile::tempdir().unwrap());
        keys.replace(bytes);
        keys
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("derivation.keys")
    }

    fn replace(&self, bytes: &[u8]) {
        let lines = bytes.iter().map(|byte| format!("{AUDIENCE} {}\n", hex::encode([*byte; 32])));
        write_secret_file(&self.path(), lines.collect::<String>().as_bytes()).unwrap();
    }
}

fn by(byte: u8) -> DerivationKey {
    DerivationKey::new(&[byte; 32], Audience::parse(AUDIENCE).unwrap()).unwrap()
}

fn mac(key: &SymmetricKey) -> impl Fn(&[u8]) -> Pop + '_ {
    |message| key.prove(message)
}

/// The public key of the device, taken for a secret: every peer can compute it.
fn public_as_secret(device: &str) -> SymmetricKey {
    SymmetricKey::from_bytes(device_key(device).public().as_bytes()).unwrap()
}

impl World {
    fn bound(&self, device: &str, byte: u8) -> (Vec<u8>, SymmetricKey) {
        self.symmetric_token(device, device_scope(device), &by(byte))
    }

    fn proved(&self, device: &str, token: &[u8], key: &SymmetricKey) -> Vec<u8> {
        let (time, counter) = (self.agent.validator().now(), self.next_counter());
        let proof = ConnectProof::make_by(mac(key), AUDIENCE, device, token, time, counter);
        Credential { token: token.to_vec(), proof: Some(proof) }.to_password()
    }

    fn connect(&self, device: &str, password: Vec<u8>, version: Version) -> Connect {
        let mut connect = plan(self, device, version).connect;
        connect.password = Some(Password::new(password.into()));
        connect
    }

    async fn knocks(&self, device: &str, password: Vec<u8>) -> ReasonCode {
        let line = Line::new(tcp(self, Transport::Mqtt).await);
        open(line, self.connect(device, password, Version::V5)).await.1
    }

    /// A session that proved itself by MAC.
    async fn session(&self, device: &str, token: &[u8], key: &SymmetricKey) -> Line<TcpStream> {
        let line = Line::new(tcp(self, Transport::Mqtt).await);
        let password = self.proved(device, token, key);
        let (line, reason) = open(line, self.connect(device, password, Version::V5)).await;
        assert_eq!(reason, ReasonCode::SUCCESS);
        line
    }

    fn refused(&self, code: &str) -> u64 {
        let what = if code == "proof_missing" { "token" } else { "connect" };
        self.metric(&format!("tessera_broker_refusals_total{{code=\"{code}\",what=\"{what}\"}}"))
    }
}

async fn open<S: AsyncRead + AsyncWrite + Unpin>(
    mut line: Line<S>,
    connect: Connect,
) -> (Line<S>, ReasonCode) {
    line.send(&bytes(&Packet::Connect(Box::new(connect)))).await;
    let reason = connack(&mut line).await.reason;
    (line, reason)
}

/// Begins by the method `ace`, with a challenge.
async fn challenged<S: AsyncRead + AsyncWrite + Unpin>(
    world: &World,
    line: &mut Line<S>,
    token: &[u8],
    sign: impl FnOnce(&[u8]) -> Pop,
) -> ReasonCode {
    line.send(&connect(world, "d-1", "ace", &layout_b(token.to_vec()))).await;
    let nonce = nonce(line).await;
    line.send(&answer_by(sign, nonce)).await;
    connack(line).await.reason
}

async fn again(
    line: &mut Line<TcpStream>,
    token: &[u8],
    sign: impl FnOnce(&[u8]) -> Pop,
) -> Option<Packet> {
    line.send(&auth(ReasonCode::RE_AUTHENTICATE, &layout_b(token.to_vec()))).await;
    let nonce = nonce(line).await;
    line.send(&answer_by(sign, nonce)).await;
    line.next().await
}

fn succeeded(packet: &Option<Packet>) -> bool {
    matches!(packet, Some(Packet::Auth(done)) if done.reason == ReasonCode::SUCCESS)
}

async fn subscribe<S: AsyncRead + AsyncWrite + Unpin>(line: &mut Line<S>, filter: &str) {
    let options = SubscribeOptions { qos: QoS::AtLeastOnce, ..SubscribeOptions::default() };
    let entries = vec![Subscription { filter: filter.into(), options }];
    let subscribe = Subscribe { packet_id: 1, properties: Properties::new(), entries };
    line.send(&bytes(&Packet::Subscribe(subscribe))).await;
    assert!(matches!(line.next().await, Some(Packet::SubAck(_))));
}

async fn told<S: AsyncRead + AsyncWrite + Unpin>(line: &mut Line<S>, topic: &str) -> Publish {
    loop {
        match line.next().await {
            Some(Packet::Publish(message)) if &*message.topic == topic => return message,
            Some(Packet::Publish(_) | Packet::PubAck(_)) => {}
            other => panic!("expected {topic}, got {other:?}"),
        }
    }
}

async fn may_publish(line: &mut Line<TcpStream>, topic: &str) -> bool {
    line.send(&bytes(&publish(topic, QoS::AtLeastOnce, b"x"))).await;
    loop {
        match line.next().await {
            Some(Packet::PubAck(ack)) => return !ack.reason.is_error(),
            Some(Packet::Publish(_)) => {}
            other => panic!("expected PUBACK, got {other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connect_proof_by_mac_lets_in_once_and_by_its_own_key_alone() {
    let keys = Keys::of(&[NEW, OLD]);
    let world = world_deriving(&keys.path(), |_| {}).await;
    for byte in [NEW, OLD] {
        for version in [Version::V5, Version::V311] {
            let (token, key) = world.bound("d-1", byte);
            let password = world.proved("d-1", &token, &key);
            let connect = world.connect("d-1", password.clone(), version);
            let mut out = ::bytes::BytesMut::new();
            let packet = Packet::Connect(Box::new(connect));
            tessera_broker::codec::encode(&packet, version, &mut out).unwrap();
            let mut line = Line::new(tcp(&world, Transport::Mqtt).await);
            line.send(&out).await;
            let mut ack = [0; 4];
            tokio::io::AsyncReadExt::read_exact(&mut line.io, &mut ack).await.unwrap();
            assert_eq!((ack[0], ack[3]), (0x20, 0), "{version:?}");
            assert_eq!(world.knocks("d-1", password).await, ReasonCode::NOT_AUTHORIZED, "replayed");
        }
    }
    assert_eq!(world.refused("proof_replayed"), 4);
    let (token, _) = world.bound("d-1", NEW);
    let (_, of_another_token) = world.bound("d-1", NEW);
    for wrong in [of_another_token, public_as_secret("d-1")] {
        let password = world.proved("d-1", &token, &wrong);
        assert_eq!(world.knocks("d-1", password).await, ReasonCode::NOT_AUTHORIZED);
    }
    let signed = world.password("d-1", "d-1", token.clone());
    assert_eq!(world.knocks("d-1", signed).await, ReasonCode::NOT_AUTHORIZED);
    // A token that names the public key takes no MAC, whatever key it is by.
    let whole = world.token("d-1", device_scope("d-1"));
    for key in [public_as_secret("d-1"), by(NEW).key_of(&whole).unwrap()] {
        let password = world.proved("d-1", &whole, &key);
        assert_eq!(world.knocks("d-1", password).await, ReasonCode::NOT_AUTHORIZED);
    }
    assert_eq!(world.refused("proof_invalid"), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_setting_and_by_unknown_keys_nobody_gets_in() {
    let plain = world().await;
    let keys = Keys::of(&[NEW]);
    let other = world_deriving(&keys.path(), |_| {}).await;
    for world in [&plain, &other] {
        let (token, key) = world.bound("d-1", OLD);
        let password = world.proved("d-1", &token, &key);
        assert_eq!(world.knocks("d-1", password).await, ReasonCode::NOT_AUTHORIZED);
        let mut line = Line::new(tcp(world, Transport::Mqtt).await);
        let reason = challenged(world, &mut line, &token, mac(&key)).await;
        assert_eq!(reason, ReasonCode::NOT_AUTHORIZED);
        assert_eq!(world.refused("confirmation_key"), 2);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_method_ace_takes_a_mac_over_the_nonces_and_over_the_exporter() {
    let (keys, certs) = (Keys::of(&[NEW]), Certs::new());
    let world = world_deriving(&keys.path(), |raw| certs.settings(raw)).await;
    let (token, key) = world.bound("d-1", NEW);
    let (_, other) = world.bound("d-1", NEW);
    let wrong = [other, public_as_secret("d-1")];
    let expect = |key: &SymmetricKey| match wrong.contains(key) {
        true => ReasonCode::NOT_AUTHORIZED,
        false => ReasonCode::SUCCESS,
    };
    for key in [&key, &wrong[0], &wrong[1]] {
        let mut line = Line::new(tcp(&world, Transport::Mqtt).await);
        assert_eq!(challenged(&world, &mut line, &token, mac(key)).await, expect(key));
        let io = tls(&world, Transport::Mqtts, certs.client(V13)).await.unwrap();
        let pop = exporter_proof_by(&io, mac(key));
        let data = AuthData::Proved { token: token.clone(), pop }.to_bytes().unwrap();
        let packet = connect_packet(&world, "d-1", "ace", &data);
        assert_eq!(open(Line::new(io), packet).await.1, expect(key));
        // MQTT 3.1.1: token in the user name, the MAC alone as password.
        let io = tls(&world, Transport::Mqtts, certs.client(V13)).await.unwrap();
        let pop = exporter_proof_by(&io, mac(key));
        let mut packet = world.connect("d-1", pop.as_bytes().to_vec(), Version::V311);
        packet.user_name = Some(ace::to_username(&token).into());
        let mut out = ::bytes::BytesMut::new();
        let packet = Packet::Connect(Box::new(packet));
        tessera_broker::codec::encode(&packet, Version::V311, &mut out).unwrap();
        let mut line = Line::new(io);
        line.send(&out).await;
        let mut ack = [0; 4];
        tokio::io::AsyncReadExt::read_exact(&mut line.io, &mut ack).await.unwrap();
        let refused = if expect(key) == ReasonCode::SUCCESS { 0 } else { 5 };
        assert_eq!(ack, [0x20, 2, 0, refused]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_live_session_goes_from_one_kind_of_key_to_the_other_and_back() {
    let keys = Keys::of(&[NEW]);
    let world = world_deriving(&keys.path(), |_| {}).await;
    let (token, key) = world.bound("d-1", NEW);
    let mut line = Line::new(tcp(&world, Transport::Mqtt).await);
    assert_eq!(challenged(&world, &mut line, &token, mac(&key)).await, ReasonCode::SUCCESS);
    let sign = |message: &[u8]| Pop::Signature(device_key("d-1").sign(message));
    let wide = world.token("d-1", scope(&[("pub", "d/d-1/wide")]));
    assert!(succeeded(&again(&mut line, &wide, sign).await));
    assert!(may_publish(&mut line, "d/d-1/wide").await);
    assert!(!may_publish(&mut line, "d/d-1/telemetry").await);
    let (narrow, narrow_key) =
        world.symmetric_token("d-1", scope(&[("pub", "d/d-1/narrow")]), &by(NEW));
    assert!(succeeded(&again(&mut line, &narrow, mac(&narrow_key)).await));
    assert!(may_publish(&mut line, "d/d-1/narrow").await);
    assert!(!may_publish(&mut line, "d/d-1/wide").await);
    let (next, next_key) = world.bound("d-1", NEW);
    assert!(succeeded(&again(&mut line, &next, mac(&next_key)).await));
    assert!(may_publish(&mut line, "d/d-1/telemetry").await);
    // By the key of the token before, by another kind of key, and with a key that never was the device's.
    let stranger = world.token_with("d-1", device_scope("d-1"), |claims| {
        claims.confirmation = Some(device_key("d-2").public());
    });
    let key_of_before = next_key;
    for (number, token) in [&narrow, &narrow, &wide, &stranger].into_iter().enumerate() {
        let (start, start_key) = world.bound("d-1", NEW);
        let mut line = Line::new(tcp(&world, Transport::Mqtt).await);
        let reason = challenged(&world, &mut line, &start, mac(&start_key)).await;
        assert_eq!(reason, ReasonCode::SUCCESS);
        line.send(&auth(ReasonCode::RE_AUTHENTICATE, &layout_b(token.clone()))).await;
        let nonce = nonce(&mut line).await;
        let answer = match number {
            0 => answer_by(mac(&key_of_before), nonce),
            1 => answer_by(sign, nonce),
            2 => answer_by(mac(&public_as_secret("d-1")), nonce),
            _ => answer_by(|m| Pop::Signature(device_key("d-1").sign(m)), nonce),
        };
        line.send(&answer).await;
        ends_with(&mut line, ReasonCode::NOT_AUTHORIZED).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kept_session_waits_for_its_device_whichever_key_it_comes_with() {
    let keys = Keys::of(&[NEW]);
    let world = world_deriving(&keys.path(), |_| {}).await;
    let kept = |password: Vec<u8>, device: &str| {
        let mut connect = world.connect(device, password, Version::V5);
        connect.clean_start = false;
        let expiry = Properties::build().number(PropertyId::SessionExpiry, 600);
        connect.properties = expiry.finish().unwrap();
        connect
    };
    let mut present = Vec::new();
    for symmetric in [false, true, true, false] {
        let password = match symmetric {
            true => {
                let (token, key) = world.bound("d-1", NEW);
                world.proved("d-1", &token, &key)
            }
            false => world.password("d-1", "d-1", world.token("d-1", device_scope("d-1"))),
        };
        let mut line = Line::new(tcp(&world, Transport::Mqtt).await);
        line.send(&bytes(&Packet::Connect(Box::new(kept(password, "d-1"))))).await;
        let ack = connack(&mut line).await;
        assert_eq!(ack.reason, ReasonCode::SUCCESS);
        present.push(ack.session_present);
    }
    assert_eq!(present, [false, true, true, true]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_derivation_key_that_is_taken_out_ends_its_sessions_at_once_and_others_none() {
    let keys = Keys::of(&[OLD]);
    let world = world_deriving(&keys.path(), |_| {}).await;
    let (old, old_key) = world.bound("d-1", OLD);
    let mut ends = world.session("d-1", &old, &old_key).await;
    keys.replace(&[NEW, OLD]);
    // The new key is known once a token of it is taken; the one before it is good as ever.
    let (new, new_key) = world.bound("d-2", NEW);
    let mut stays = loop {
        let line = Line::new(tcp(&world, Transport::Mqtt).await);
        let password = world.proved("d-2", &new, &new_key);
        let opened = open(line, world.connect("d-2", password, Version::V5)).await;
        if let (line, ReasonCode::SUCCESS) = opened {
            break line;
        }
    };
    ends.ping().await;
    let signed = world.token("d-3", device_scope("d-3"));
    let signed = world.password("d-3", "d-3", signed);
    let line = Line::new(tcp(&world, Transport::Mqtt).await);
    let (mut signed, _) = open(line, world.connect("d-3", signed, Version::V5)).await;
    keys.replace(&[NEW]);
    ends_with(&mut ends, ReasonCode::ADMINISTRATIVE_ACTION).await;
    stays.ping().await;
    signed.ping().await;
    let password = world.proved("d-1", &old, &old_key);
    assert_eq!(world.knocks("d-1", password).await, ReasonCode::NOT_AUTHORIZED);
    settle(|| world.broker.sessions() == 2).await;
    // A file that says nothing changes nothing.
    write_secret_file(&keys.path(), b"").unwrap();
    stays.ping().await;
    keys.replace(&[OLD]);
    ends_with(&mut stays, ReasonCode::ADMINISTRATIVE_ACTION).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_kept_under_a_derivation_key_does_not_outlive_it_over_a_restart() {
    let (keys, folder) = (Keys::of(&[OLD]), tempfile::tempdir().unwrap());
    let kept = |world: &World, token: &[u8], key: &SymmetricKey| {
        let mut connect = world.connect("d-1", world.proved("d-1", token, key), Version::V5);
        connect.clean_start = false;
        let expiry = Properties::build().number(PropertyId::SessionExpiry, 600);
        connect.properties = expiry.finish().unwrap();
        connect
    };
    for (round, (held, left)) in [([OLD], 1), ([NEW], 0)].into_iter().enumerate() {
        keys.replace(&[OLD]);
        let world = world_from(folder.path(), NOW, Some(&keys.path()), |_| {}).await;
        let (token, key) = world.bound("d-1", OLD);
        let line = Line::new(tcp(&world, Transport::Mqtt).await);
        // The counter of a new world begins anew: the ledger does not.
        for _ in 0..100 * round {
            world.next_counter();
        }
        let (line, reason) = open(line, kept(&world, &token, &key)).await;
        assert_eq!(reason, ReasonCode::SUCCESS);
        drop(line);
        assert!(world.stop.finish(std::time::Duration::from_secs(20)).await.is_empty());
        world.agent.close().unwrap();
        drop(world);
        keys.replace(&held);
        let world = world_from(folder.path(), NOW, Some(&keys.path()), |_| {}).await;
        settle(|| world.broker.sessions() == left).await;
        assert!(world.stop.finish(std::time::Duration::from_secs(20)).await.is_empty());
        world.agent.close().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn revocation_reaches_a_session_that_proved_itself_by_mac() {
    let keys = Keys::of(&[NEW]);
    let world = world_deriving(&keys.path(), |_| {}).await;
    let (token, key) = world.bound("d-1", NEW);
    let mut line = world.session("d-1", &token, &key).await;
    world.revoke_token("d-1", &token);
    ends_with(&mut line, ReasonCode::ADMINISTRATIVE_ACTION).await;
    let password = world.proved("d-1", &token, &key);
    assert_eq!(world.knocks("d-1", password).await, ReasonCode::NOT_AUTHORIZED);
    assert_eq!(world.refused("token_revoked"), 1);
    let (token, key) = world.bound("d-2", NEW);
    let mut line = world.session("d-2", &token, &key).await;
    world.revoke_device("d-2");
    ends_with(&mut line, ReasonCode::ADMINISTRATIVE_ACTION).await;
    let (token, key) = world.bound("d-3", NEW);
    let mut line = world.session("d-3", &token, &key).await;
    world.advance(3601);
    ends_with(&mut line, ReasonCode::NOT_AUTHORIZED).await;
    let password = world.proved("d-3", &token, &key);
    assert_eq!(world.knocks("d-3", password).await, ReasonCode::NOT_AUTHORIZED);
    assert_eq!(world.refused("token_expired"), 1);
}

/// The thief of one token's key replays what the device has signed, and hands in what it has got.
#[tokio::test(flavor = "multi_thread")]
async fn the_key_of_one_token_renews_nothing() {
    let keys = Keys::of(&[NEW]);
    let (address, service) = provisioning().await;
    let world = world_deriving(&keys.path(), |raw| relay_to(raw, address)).await;
    let (token, key) = world.bound("d-1", NEW);
    let mut line = world.session("d-1", &token, &key).await;
    subscribe(&mut line, TOKEN).await;
    let next = world.token_with("d-1", device_scope("d-1"), |claims| {
        claims.expires = claims.issued.plus(9_000);
    });
    let public = TokenAnswer {
        access_token: next.clone(),
        expires_in: 9_000,
        bearer: false,
        key: None,
        audience: AUDIENCE.parse().unwrap(),
        scope: device_scope("d-1"),
        server_time: UnixSeconds::new(NOW),
    };
    let ([sealed, _], _) = symmetric_answer(&world);
    for (kind, body) in [(TokenKind::Key, public.to_cbor()), (TokenKind::Symmetric, sealed)] {
        line.send(&bytes(&publish(TOKEN, QoS::AtMostOnce, &request_for("d-1", kind)))).await;
        answer_one(&service, "200 OK", &body).await;
        assert_eq!(&told(&mut line, TOKEN).await.payload[..], &body[..]);
    }
    // A bearer token is told to its signer elsewhere.
    let bearer = TokenAnswer { bearer: true, ..public };
    line.send(&bytes(&publish(TOKEN, QoS::AtMostOnce, &request_for("d-1", TokenKind::Key)))).await;
    answer_one(&service, "200 OK", &bearer.to_cbor()).await;
    let not_proved = Some(RefusalCode::KeyNotProved);
    let refusal = RefusalAnswer::from_cbor(&told(&mut line, TOKEN).await.payload).unwrap();
    assert_eq!(refusal.code, not_proved);
    line.send(&bytes(&publish(TOKEN, QoS::AtMostOnce, &next))).await;
    let refusal = RefusalAnswer::from_cbor(&told(&mut line, TOKEN).await.payload).unwrap();
    assert_eq!(refusal.code, not_proved);
    // The session ends with the token of that key, and with its derivation key.
    keys.replace(&[OLD]);
    ends_with(&mut line, ReasonCode::ADMINISTRATIVE_ACTION).await;
}

/// The answer of provisioning to a request for a token with a symmetric key, sealed to the signer, and not sealed.
fn symmetric_answer(world: &World) -> ([Vec<u8>; 2], IssuedKey) {
    let scope = device_scope("d-1");
    let (access_token, key) = world.symmetric_token("d-1", scope.clone(), &by(NEW));
    let key = IssuedKey { kid: vec![1, 2], key };
    let answer = TokenAnswer {
        access_token,
        expires_in: 3600,
        bearer: false,
        key: Some(key.clone()),
        audience: AUDIENCE.parse().unwrap(),
        scope,
        server_time: UnixSeconds::new(NOW),
    };
    let sealed = answer.seal_key(&opening().public(), [3; 32]).unwrap();
    ([answer.to_cbor_sealed(&sealed), answer.to_cbor()], key)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_comes_through_the_broker_sealed_to_the_signer() {
    let (keys, certs) = (Keys::of(&[NEW]), Certs::new());
    let (address, service) = provisioning().await;
    let world = world_deriving(&keys.path(), |raw| {
        certs.settings(raw);
        relay_to(raw, address);
    })
    .await;
    let ask = bytes(&publish(TOKEN, QoS::AtMostOnce, &request_for("d-1", TokenKind::Symmetric)));
    let password = || world.password("d-1", "d-1", world.token("d-1", device_scope("d-1")));
    let io = tls(&world, Transport::Mqtts, certs.client(V13)).await.unwrap();
    let (mut line, _) = open(Line::new(io), world.connect("d-1", password(), Version::V5)).await;
    subscribe(&mut line, TOKEN).await;
    line.send(&ask).await;
    let ([body, _], issued) = symmetric_answer(&world);
    answer_one(&service, "200 OK", &body).await;
    let message = told(&mut line, TOKEN).await;
    assert_eq!(&message.payload[..], &body[..]);
    let read = TokenAnswer::from_cbor_for(&message.payload, &opening()).unwrap();
    assert_eq!(read.key, Some(issued));
    // A further token that is only handed in shows no key: a peer that read it on the way could hand it in.
    let ([body, _], _) = symmetric_answer(&world);
    let next = TokenAnswer::from_cbor(&body).unwrap().access_token;
    line.send(&bytes(&publish(TOKEN, QoS::AtMostOnce, &next))).await;
    let refusal = RefusalAnswer::from_cbor(&told(&mut line, TOKEN).await.payload).unwrap();
    assert_eq!(refusal.code, Some(RefusalCode::ProofMissing));
    drop(line);
    let line = Line::new(tcp(&world, Transport::Mqtt).await);
    let (mut local, _) = open(line, world.connect("d-1", password(), Version::V5)).await;
    subscribe(&mut local, TOKEN).await;
    local.send(&ask).await;
    answer_one(&service, "200 OK", &body).await;
    assert_eq!(&told(&mut local, TOKEN).await.payload[..], &body[..]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_neither_asked_for_nor_told_in_clear() {
    let keys = Keys::of(&[NEW]);
    let (address, service) = provisioning().await;
    let world = world_deriving(&keys.path(), |raw| {
        raw.proxy.listeners = vec!["mqtt".to_owned()];
        raw.proxy.from = vec!["127.0.0.0/8".to_owned()];
        relay_to(raw, address);
    })
    .await;
    let mut line = Line::new(tcp(&world, Transport::Mqtt).await);
    line.send(&header([192, 0, 2, 1])).await;
    let password = world.password("d-1", "d-1", world.token("d-1", device_scope("d-1")));
    let (mut line, _) = open(line, world.connect("d-1", password, Version::V5)).await;
    subscribe(&mut line, TOKEN).await;
    let ask = |kind| bytes(&publish(TOKEN, QoS::AtMostOnce, &request_for("d-1", kind)));
    // As earlier versions asked.
    let now = UnixSeconds::new(NOW);
    let open = TokenRequest::sign(
        &device_key("d-1"),
        &tenant(),
        &device_id("d-1"),
        now,
        &[5; 16],
        TokenKind::Symmetric,
    );
    line.send(&bytes(&publish(TOKEN, QoS::AtMostOnce, &open.to_cbor()))).await;
    let refusal = RefusalAnswer::from_cbor(&told(&mut line, TOKEN).await.payload).unwrap();
    assert_eq!(refusal.code, Some(RefusalCode::ChannelInClear));
    // A service that sends a key without being asked for one: the key goes no further. That this is the first request
    // that the service sees shows that the one before was not carried.
    line.send(&ask(TokenKind::Key)).await;
    let ([_, body], issued) = symmetric_answer(&world);
    answer_one(&service, "200 OK", &body).await;
    let message = told(&mut line, TOKEN).await;
    let secret = issued.key.expose_bytes();
    assert!(!message.payload.windows(secret.len()).any(|bytes| bytes == secret));
    let refusal = RefusalAnswer::from_cbor(&message.payload).unwrap();
    assert_eq!(refusal.code, Some(RefusalCode::ChannelInClear));
    // Sealed to the signer it may come over a line that others read.
    line.send(&ask(TokenKind::Symmetric)).await;
    let ([body, _], issued) = symmetric_answer(&world);
    answer_one(&service, "200 OK", &body).await;
    let message = told(&mut line, TOKEN).await;
    let secret = issued.key.expose_bytes();
    assert!(!message.payload.windows(secret.len()).any(|bytes| bytes == secret));
    let read = TokenAnswer::from_cbor_for(&message.payload, &opening()).unwrap();
    assert_eq!(read.key, Some(issued));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resumption_secret_goes_with_a_symmetric_token_and_ends_with_its_derivation_key() {
    let (keys, certs) = (Keys::of(&[OLD]), Certs::new());
    let world = world_deriving(&keys.path(), |raw| certs.settings(raw)).await;
    let (token, key) = world.bound("d-1", OLD);
    let secure =
        || async { Line::new(tls(&world, Transport::Mqtts, certs.client(V13)).await.unwrap()) };
    let password = world.proved("d-1", &token, &key);
    let connect = world.connect("d-1", password, Version::V5);
    let (mut line, _) = open(secure().await, connect).await;
    subscribe(&mut line, STATUS).await;
    let status: Value = serde_json::from_slice(&told(&mut line, STATUS).await.payload).unwrap();
    let secret = from_base64url(status["resumption"].as_str().unwrap()).unwrap();
    let secret = ResumptionSecret::from_bytes(&secret.try_into().unwrap());
    let resumed = || {
        let (now, counter) = (world.agent.validator().now(), world.next_counter());
        let proof = ConnectProof::resume(&secret, AUDIENCE, "d-1", &token, now, counter);
        let credential = Credential { token: token.clone(), proof: Some(proof) };
        world.connect("d-1", credential.to_password(), Version::V5)
    };
    let (mut line, reason) = open(secure().await, resumed()).await;
    assert_eq!(reason, ReasonCode::SUCCESS);
    keys.replace(&[NEW]);
    ends_with(&mut line, ReasonCode::ADMINISTRATIVE_ACTION).await;
    assert_eq!(open(secure().await, resumed()).await.1, ReasonCode::NOT_AUTHORIZED);
}
