//! The binding of challenges: that of RFC 9431 is bound to nothing, that of `tessera-ace-1` to audience, client id,
//! token and channel. The number of challenges is bounded.

use std::sync::Arc;

use rustls::SupportedProtocolVersion;
use tessera_broker::codec::{Auth, Packet, Properties, PropertyId, QoS, ReasonCode};
use tessera_broker::limits::{REAUTHENTICATIONS_AT_ONCE, REAUTHENTICATION_EVERY};
use tessera_broker::transport::Transport;
use tessera_token::ace::{
    AuthData, BoundNonce, BoundResponse, Channel, ExporterSecret, Meant, Nonce, BINDING_LABEL,
    BOUND_METHOD,
};
use tessera_token::messages::RefusalAnswer;
use tessera_token::proof::Pop;
use tessera_token::refusal::RefusalCode;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::ace::{
    answer, auth as rfc_auth, connack, connect, ends_with, layout_b, nonce as rfc_nonce,
};
use super::certs::{Certs, V12, V13};
use super::line::{bytes, tcp, tls_over, Line};
use crate::client::publish;
use crate::world::{device_key, device_scope, scope, world, world_with, World, AUDIENCE};

const NO: ReasonCode = ReasonCode::NOT_AUTHORIZED;
const OK: ReasonCode = ReasonCode::SUCCESS;
const BUSY: ReasonCode = ReasonCode::SERVER_BUSY;
const CLIENT: [u8; 16] = [9; 16];

fn refusals(world: &World, what: &str, code: &str) -> u64 {
    world.metric(&format!("tessera_broker_refusals_total{{code=\"{code}\",what=\"{what}\"}}"))
}

fn limits_hit(world: &World, limit: &str) -> u64 {
    world.metric(&format!("tessera_broker_limits_hit_total{{limit=\"{limit}\"}}"))
}

pub fn auth(reason: ReasonCode, data: &[u8]) -> Vec<u8> {
    let properties = Properties::build()
        .text(PropertyId::AuthMethod, BOUND_METHOD)
        .binary(PropertyId::AuthData, data)
        .finish()
        .unwrap();
    bytes(&Packet::Auth(Auth { reason, properties }))
}

pub async fn nonce<S: AsyncRead + AsyncWrite + Unpin>(line: &mut Line<S>) -> BoundNonce {
    match line.next().await {
        Some(Packet::Auth(auth)) => {
            assert_eq!(auth.reason, ReasonCode::CONTINUE_AUTHENTICATION);
            assert_eq!(auth.properties.text(PropertyId::AuthMethod), Some(BOUND_METHOD));
            BoundNonce::parse(&auth.properties.binary(PropertyId::AuthData).unwrap()).unwrap()
        }
        other => panic!("expected AUTH, got {other:?}"),
    }
}

/// The answer of a device that believes it talks to its broker over this channel.
pub fn answer_for(client_id: &str, token: &[u8], channel: &Channel, broker: BoundNonce) -> Vec<u8> {
    let key = device_key("d-1");
    let sign = |message: &[u8]| Pop::Signature(key.sign(message));
    let meant = Meant { audience: AUDIENCE, client_id, token };
    let client = BoundNonce::from_bytes(CLIENT);
    let response = BoundResponse::make_by(sign, meant, channel, broker, client);
    auth(ReasonCode::CONTINUE_AUTHENTICATION, &response.to_bytes())
}

type Secure = Line<TlsStream<TcpStream>>;

fn binding(line: &Secure) -> Channel {
    let session = &line.io.get_ref().1;
    let exported =
        session.export_keying_material([0; 32], BINDING_LABEL.as_bytes(), Some(&[])).unwrap();
    Channel::Tls(ExporterSecret::from_bytes(&exported))
}

async fn secure(
    world: &World,
    certs: &Certs,
    versions: &[&'static SupportedProtocolVersion],
) -> Secure {
    let config = Arc::new(certs.client(versions));
    Line::new(tls_over(tcp(world, Transport::Mqtts).await, &config).await.unwrap())
}

/// Begins, and answers for this client id, token and channel.
async fn tried<S: AsyncRead + AsyncWrite + Unpin>(
    world: &World,
    line: &mut Line<S>,
    (client_id, token): (&str, &[u8]),
    answered: (&str, &[u8], &Channel),
) -> ReasonCode {
    line.send(&connect(world, client_id, BOUND_METHOD, &layout_b(token.to_vec()))).await;
    let nonce = nonce(line).await;
    line.send(&answer_for(answered.0, answered.1, answered.2, nonce)).await;
    let ack = connack(line).await;
    let method = (ack.reason == OK).then_some(BOUND_METHOD);
    assert_eq!(ack.properties.text(PropertyId::AuthMethod), method);
    ack.reason
}

/// A device answers a rogue broker, which has passed on the nonce of the true one.
#[tokio::test(flavor = "multi_thread")]
async fn a_relayed_answer_of_the_rfc_opens_another_session_where_it_is_allowed() {
    let certs = Certs::new();
    for (setting, over_tls, in_clear) in
        [("never", NO, NO), ("clear_only", NO, OK), ("always", OK, OK)]
    {
        let world = world_with(|raw| {
            certs.settings(raw);
            raw.ace_challenge = Some(setting.to_owned());
        })
        .await;
        // Another token of the same key, and another client id.
        let other = layout_b(world.token("d-1", scope(&[("both", "d/#")])));
        let mut line = secure(&world, &certs, V13).await;
        let mut clear = Line::new(tcp(&world, Transport::Mqtt).await);
        let (mut seen, mut before) = (Vec::new(), 0);
        line.send(&connect(&world, "d-1~rogue", "ace", &other)).await;
        if over_tls == OK {
            let relayed = rfc_nonce(&mut line).await;
            line.send(&answer(&device_key("d-1"), relayed)).await;
        }
        seen.push(connack(&mut line).await.reason);
        before += u64::from(over_tls == NO);
        clear.send(&connect(&world, "d-1~rogue", "ace", &other)).await;
        if in_clear == OK {
            let relayed = rfc_nonce(&mut clear).await;
            clear.send(&answer(&device_key("d-1"), relayed)).await;
        }
        seen.push(connack(&mut clear).await.reason);
        before += u64::from(in_clear == NO);
        assert_eq!(seen, [over_tls, in_clear], "{setting}");
        assert_eq!(refusals(&world, "connect", "challenge_not_allowed"), before, "{setting}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_of_our_method_lets_in_where_it_was_meant_to_and_nowhere_else() {
    let certs = Certs::new();
    let world = world_with(|raw| {
        certs.settings(raw);
        raw.ace_challenge = Some("never".to_owned());
    })
    .await;
    let token = world.token("d-1", device_scope("d-1"));
    let other = world.token("d-1", scope(&[("both", "d/#")]));
    for versions in [V12, V13] {
        let mut line = secure(&world, &certs, versions).await;
        let here = binding(&line);
        let meant = ("d-1", &token[..], &here);
        assert_eq!(tried(&world, &mut line, ("d-1", &token), meant).await, OK);
        line.ping().await;
        // A rogue broker: its own connection to the true one, and the device's connection to it.
        let device = secure(&world, &certs, versions).await;
        let there = binding(&device);
        let relays = [
            ("d-1", &token, false),
            ("d-1~rogue", &token, true),
            ("d-1", &other, true),
            ("d-1~rogue", &other, false),
        ];
        for (client_id, shown, same_channel) in relays {
            let mut rogue = secure(&world, &certs, versions).await;
            let channel = if same_channel { binding(&rogue) } else { there.clone() };
            let answered = ("d-1", &token[..], &channel);
            let reason = tried(&world, &mut rogue, (client_id, shown), answered).await;
            assert_eq!(reason, NO, "{client_id} {same_channel}");
            rogue.closed().await;
        }
        // An answer for a connection in clear is not good over TLS.
        let mut rogue = secure(&world, &certs, versions).await;
        let clear = ("d-1", &token[..], &Channel::Clear);
        assert_eq!(tried(&world, &mut rogue, ("d-1", &token), clear).await, NO);
    }
    let mut clear = Line::new(tcp(&world, Transport::Mqtt).await);
    let meant = ("d-1", &token[..], &Channel::Clear);
    assert_eq!(tried(&world, &mut clear, ("d-1", &token), meant).await, OK);
    for (client_id, shown) in [("d-1~rogue", &token), ("d-1", &other)] {
        let mut rogue = Line::new(tcp(&world, Transport::Mqtt).await);
        assert_eq!(tried(&world, &mut rogue, (client_id, shown), meant).await, NO);
    }
    assert_eq!(refusals(&world, "connect", "proof_invalid"), 12);
}

/// The binding is another one in each handshake, also where TLS takes a session up.
#[tokio::test(flavor = "multi_thread")]
async fn our_method_is_good_on_a_resumed_tls_session() {
    let certs = Certs::new();
    let world = world_with(|raw| certs.settings(raw)).await;
    let token = world.token("d-1", device_scope("d-1"));
    for versions in [V12, V13] {
        let config = Arc::new(certs.client(versions));
        let mut former = None;
        for resumed in [false, true] {
            let socket = tcp(&world, Transport::Mqtts).await;
            let mut line = Line::new(tls_over(socket, &config).await.unwrap());
            let here = binding(&line);
            assert!(former.replace(here.clone()) != Some(here.clone()));
            let meant = ("d-1", &token[..], &here);
            assert_eq!(tried(&world, &mut line, ("d-1", &token), meant).await, OK);
            line.ping().await;
            let kind = line.io.get_ref().1.handshake_kind();
            assert_eq!(kind == Some(rustls::HandshakeKind::Resumed), resumed, "{kind:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_exporter_that_is_bound_our_method_is_not_spoken() {
    let certs = Certs::new();
    let world = world_with(|raw| {
        certs.settings(raw);
        raw.tls.extended_main_secret = Some(false);
    })
    .await;
    let token = world.token("d-1", device_scope("d-1"));
    let mut line = secure(&world, &certs, V12).await;
    line.send(&connect(&world, "d-1", BOUND_METHOD, &layout_b(token))).await;
    assert_eq!(connack(&mut line).await.reason, ReasonCode::BAD_AUTHENTICATION_METHOD);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_laid_out_as_our_method_says_is_refused() {
    let world = world().await;
    let token = world.token("d-1", device_scope("d-1"));
    let proved = AuthData::Proved { token: token.clone(), pop: Pop::Signature([1; 64]) };
    for (data, code) in [
        (Vec::new(), "credential_missing"),
        (vec![0, 0], "credential_missing"),
        (vec![7], "auth_data_malformed"),
        (proved.to_bytes().unwrap(), "auth_data_malformed"),
    ] {
        let before = refusals(&world, "connect", code);
        let mut line = Line::new(tcp(&world, Transport::Mqtt).await);
        line.send(&connect(&world, "d-1", BOUND_METHOD, &data)).await;
        assert_eq!(connack(&mut line).await.reason, NO);
        assert_eq!(refusals(&world, "connect", code), before + 1, "{data:?}");
    }
    for length in [0, 8, 16, 47, 49, 72, 79, 81] {
        let mut line = Line::new(tcp(&world, Transport::Mqtt).await);
        line.send(&connect(&world, "d-1", BOUND_METHOD, &layout_b(token.clone()))).await;
        nonce(&mut line).await;
        line.send(&auth(ReasonCode::CONTINUE_AUTHENTICATION, &vec![1; length])).await;
        assert_eq!(connack(&mut line).await.reason, NO, "{length}");
    }
    // The answer of the other method is none.
    let mut line = Line::new(tcp(&world, Transport::Mqtt).await);
    line.send(&connect(&world, "d-1", BOUND_METHOD, &layout_b(token.clone()))).await;
    nonce(&mut line).await;
    line.send(&answer(&device_key("d-1"), Nonce::from_bytes([1; 8]))).await;
    assert!(line.next().await.is_none());
}

/// A session of our method in clear.
async fn begun(world: &World, token: &[u8]) -> Line<TcpStream> {
    let mut line = Line::new(tcp(world, Transport::Mqtt).await);
    let meant = ("d-1", token, &Channel::Clear);
    assert_eq!(tried(world, &mut line, ("d-1", token), meant).await, OK);
    line
}

#[tokio::test(flavor = "multi_thread")]
async fn reauthentication_by_our_method_is_bound_to_the_session() {
    let world = world().await;
    let token = world.token("d-1", device_scope("d-1"));
    let next = world.token("d-1", scope(&[("pub", "d/d-1/more")]));
    let mut line = begun(&world, &token).await;
    line.send(&auth(ReasonCode::RE_AUTHENTICATE, &layout_b(next.clone()))).await;
    let broker = nonce(&mut line).await;
    line.send(&answer_for("d-1", &next, &Channel::Clear, broker)).await;
    match line.next().await {
        Some(Packet::Auth(done)) => {
            assert_eq!(done.reason, OK);
            assert_eq!(done.properties.text(PropertyId::AuthMethod), Some(BOUND_METHOD));
        }
        other => panic!("expected AUTH, got {other:?}"),
    }
    line.send(&bytes(&publish("d/d-1/more", QoS::AtLeastOnce, b"x"))).await;
    assert!(matches!(line.next().await, Some(Packet::PubAck(ack)) if !ack.reason.is_error()));
    let foreign = Channel::Tls(ExporterSecret::from_bytes(&[1; 32]));
    for (client_id, meant, channel) in [
        ("d-1~2", &next, &Channel::Clear),
        ("d-1", &token, &Channel::Clear),
        ("d-1", &next, &foreign),
    ] {
        let mut line = begun(&world, &token).await;
        line.send(&auth(ReasonCode::RE_AUTHENTICATE, &layout_b(next.clone()))).await;
        let broker = nonce(&mut line).await;
        line.send(&answer_for(client_id, meant, channel, broker)).await;
        ends_with(&mut line, NO).await;
    }
    // The method of the session is the method of its re-authentication.
    let mut line = begun(&world, &token).await;
    line.send(&rfc_auth(ReasonCode::RE_AUTHENTICATE, &layout_b(next))).await;
    ends_with(&mut line, ReasonCode::PROTOCOL_ERROR).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_challenge_is_never_allowed_it_renews_nothing_either() {
    let certs = Certs::new();
    for (setting, renews) in [("never", false), ("clear_only", true)] {
        let world = world_with(|raw| {
            certs.settings(raw);
            raw.ace_challenge = Some(setting.to_owned());
        })
        .await;
        let mut line = secure(&world, &certs, V13).await;
        let token = world.token("d-1", device_scope("d-1"));
        let sign = |message: &[u8]| Pop::Signature(device_key("d-1").sign(message));
        let pop = super::ace::exporter_proof_by(&line.io, sign);
        let data = AuthData::Proved { token, pop }.to_bytes().unwrap();
        line.send(&connect(&world, "d-1", "ace", &data)).await;
        assert_eq!(connack(&mut line).await.reason, OK);
        let next = world.token("d-1", device_scope("d-1"));
        line.send(&rfc_auth(ReasonCode::RE_AUTHENTICATE, &layout_b(next))).await;
        if !renews {
            ends_with(&mut line, NO).await;
            assert_eq!(refusals(&world, "reauthenticate", "challenge_not_allowed"), 1);
            continue;
        }
        // The RFC asks for it: the exporter of a connection proves once.
        let broker = rfc_nonce(&mut line).await;
        line.send(&answer(&device_key("d-1"), broker)).await;
        assert!(matches!(line.next().await, Some(Packet::Auth(done)) if done.reason == OK));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn challenges_of_a_second_are_bounded() {
    let world = world_with(|raw| raw.limits.challenges_per_second_per_prefix = 3).await;
    let token = layout_b(world.token("d-1", device_scope("d-1")));
    for method in ["ace", BOUND_METHOD, "ace"] {
        let mut line = Line::new(tcp(&world, Transport::Mqtt).await);
        line.send(&connect(&world, "d-1", method, &token)).await;
        assert!(matches!(line.next().await, Some(Packet::Auth(_))));
    }
    for method in ["ace", BOUND_METHOD] {
        let mut line = Line::new(tcp(&world, Transport::Mqtt).await);
        line.send(&connect(&world, "d-1", method, &token)).await;
        assert_eq!(connack(&mut line).await.reason, BUSY);
    }
    assert_eq!(refusals(&world, "connect", "rate_limited"), 2);
    assert_eq!(limits_hit(&world, "challenges"), 2);
    // Other proofs are not concerned, and a second later challenges are not either.
    let mut line = Line::new(tcp(&world, Transport::Mqtt).await);
    assert_eq!(line.connect(&world, "d-1").await, OK);
    world.advance(1);
    let mut line = Line::new(tcp(&world, Transport::Mqtt).await);
    line.send(&connect(&world, "d-1", "ace", &token)).await;
    rfc_nonce(&mut line).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_does_not_reauthenticate_in_a_loop() {
    let world = world().await;
    let token = world.token("d-1", device_scope("d-1"));
    let mut line = begun(&world, &token).await;
    let again = auth(ReasonCode::RE_AUTHENTICATE, &layout_b(token.clone()));
    let mut done = 0;
    let reason = loop {
        line.send(&again).await;
        match line.next().await {
            Some(Packet::Disconnect(bye)) => break bye.reason,
            Some(Packet::Auth(asked)) => {
                let data = asked.properties.binary(PropertyId::AuthData).unwrap();
                let broker = BoundNonce::parse(&data).unwrap();
                line.send(&answer_for("d-1", &token, &Channel::Clear, broker)).await;
                assert!(matches!(line.next().await, Some(Packet::Auth(_))));
                done += 1;
            }
            other => panic!("expected AUTH or DISCONNECT, got {other:?}"),
        }
        assert!(done <= 100, "there is no end of it");
    };
    assert_eq!((done, reason), (REAUTHENTICATIONS_AT_ONCE, ReasonCode::QUOTA_EXCEEDED));
    assert_eq!(refusals(&world, "reauthenticate", "rate_limited"), 1);
    assert_eq!(limits_hit(&world, "reauthentications"), 1);
    // Slowly it may for ever.
    let mut line = begun(&world, &token).await;
    for _ in 0..2 * REAUTHENTICATIONS_AT_ONCE {
        world.advance(REAUTHENTICATION_EVERY.as_secs());
        line.send(&again).await;
        let broker = nonce(&mut line).await;
        line.send(&answer_for("d-1", &token, &Channel::Clear, broker)).await;
        assert!(matches!(line.next().await, Some(Packet::Auth(_))));
    }
}

/// Neither a fresh proof nor a hand-in brings back the rights of an older token.
#[tokio::test(flavor = "multi_thread")]
async fn an_older_token_does_not_take_the_place_of_the_present_one() {
    let world = world().await;
    let earlier = world.token_with("d-1", scope(&[("both", "d/d-1/#")]), |claims| {
        claims.issued = claims.issued.minus(10);
    });
    let lower = world.token("d-1", scope(&[("both", "d/d-1/#")]));
    let present = world.token("d-1", device_scope("d-1"));
    for older in [&earlier, &lower] {
        for method in ["ace", BOUND_METHOD] {
            let mut line = Line::new(tcp(&world, Transport::Mqtt).await);
            line.send(&connect(&world, "d-1", method, &layout_b(present.clone()))).await;
            if method == "ace" {
                let broker = rfc_nonce(&mut line).await;
                line.send(&answer(&device_key("d-1"), broker)).await;
                assert_eq!(connack(&mut line).await.reason, OK);
                line.send(&rfc_auth(ReasonCode::RE_AUTHENTICATE, &layout_b(older.clone()))).await;
                let broker = rfc_nonce(&mut line).await;
                line.send(&answer(&device_key("d-1"), broker)).await;
            } else {
                let broker = nonce(&mut line).await;
                line.send(&answer_for("d-1", &present, &Channel::Clear, broker)).await;
                assert_eq!(connack(&mut line).await.reason, OK);
                line.send(&auth(ReasonCode::RE_AUTHENTICATE, &layout_b(older.clone()))).await;
                let broker = nonce(&mut line).await;
                line.send(&answer_for("d-1", older, &Channel::Clear, broker)).await;
            }
            ends_with(&mut line, NO).await;
        }
    }
    assert_eq!(refusals(&world, "reauthenticate", "token_older"), 4);
    let mut client = crate::client::plan(&world, "d-1", tessera_broker::codec::Version::V5)
        .token(present.clone())
        .open()
        .await;
    client.subscribe("$tessera/token", QoS::AtMostOnce).await;
    for older in [&earlier, &lower] {
        client.publish("$tessera/token", QoS::AtMostOnce, older).await;
        let told = client.message().await;
        let refusal = RefusalAnswer::from_cbor(&told.payload).unwrap();
        assert_eq!(refusal.code, Some(RefusalCode::TokenOlder));
        assert_eq!(client.publish_acked("d/d-1/other", b"x").await, NO);
    }
}
