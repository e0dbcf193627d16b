//! Push refresh, at a broker that the test plays: what the service tells it, and what it does with the answers.

use std::time::Duration;

use serde_json::json;
use tessera_provisioning::{ProvisioningConfig, PushBroker, Rate};
use tessera_token::cbor::Reader;
use tessera_token::claims::Claims;
use tessera_token::encoding::from_base64url;
use tessera_token::hash::TokenHash;
use tessera_token::messages::{PushCall, PushPage, PushSession, TokenAnswer, SERVICE_TENANT};
use tessera_token::proof::Credential;
use tessera_token::refusal::RefusalCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::world::{problem, Device, World};

const REFRESH: &[u8] = b"$tessera/refresh";
/// Seconds of a token where nothing else is said.
const LIFE: u64 = 3600;

/// Only a broken service reaches it.
const PATIENCE: Duration = Duration::from_secs(20);

/// A broker, as far as the service meets it.
pub struct FakeBroker(pub TcpListener);

/// The metrics are read again and again.
pub fn pushing_to(brokers: Vec<PushBroker>) -> impl FnOnce(&mut ProvisioningConfig) {
    move |config| {
        config.push.brokers = brokers;
        for rate in [&mut config.admission.anonymous, &mut config.admission.anonymous_total] {
            *rate = Rate { per_second: 100_000, burst: 1_000_000 };
        }
    }
}

/// One connection of the service.
pub struct Line {
    socket: TcpStream,
    client_id: Vec<u8>,
    password: Vec<u8>,
}

impl FakeBroker {
    pub async fn new() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").await.unwrap())
    }

    pub fn push(&self) -> impl FnOnce(&mut ProvisioningConfig) {
        pushing_to(vec![self.named("#b1")])
    }

    pub fn named(&self, more: &str) -> PushBroker {
        let url = format!("mqtt://{}{more}", self.0.local_addr().unwrap());
        PushBroker::parse(&url).unwrap()
    }

    /// The next connection, up to its call for all sessions.
    pub async fn line(&self) -> Line {
        let socket = self.0.accept().await.unwrap().0;
        let mut line = Line { socket, client_id: Vec::new(), password: Vec::new() };
        let (kind, connect) = line.packet().await;
        assert_eq!((kind, connect[6]), (0x10, 5), "CONNECT of MQTT 5");
        // Behind name, version, flags and keep-alive stand the properties.
        let mut rest = &connect[11 + usize::from(connect[10])..];
        let mut field = || {
            let (length, more) = rest.split_at(2);
            let (field, after) =
                more.split_at(usize::from(u16::from_be_bytes([length[0], length[1]])));
            rest = after;
            field.to_vec()
        };
        (line.client_id, _, line.password) = (field(), field(), field());
        line.socket.write_all(&[0x20, 3, 0, 0, 0]).await.unwrap();
        let (kind, subscribe) = line.packet().await;
        assert_eq!((kind, &subscribe[5..5 + REFRESH.len()]), (0x82, REFRESH));
        let granted = [0x90, 4, subscribe[0], subscribe[1], 0, 0];
        line.socket.write_all(&granted).await.unwrap();
        assert_eq!(line.call().await, PushCall::Begin);
        line
    }
}

impl Line {
    async fn packet(&mut self) -> (u8, Vec<u8>) {
        let kind = self.socket.read_u8().await.unwrap();
        let (mut length, mut shift) = (0, 0);
        loop {
            let byte = self.socket.read_u8().await.unwrap();
            length |= usize::from(byte & 0x7f) << shift;
            shift += 7;
            if byte < 0x80 {
                break;
            }
        }
        let mut body = vec![0; length];
        self.socket.read_exact(&mut body).await.unwrap();
        (kind, body)
    }

    async fn call(&mut self) -> PushCall {
        PushCall::from_cbor(&self.next_on(REFRESH).await).unwrap()
    }

    /// The payload of the next message on this topic.
    async fn next_on(&mut self, topic: &[u8]) -> Vec<u8> {
        loop {
            let (kind, body) = self.packet().await;
            if kind == 0x30 && body[2..].starts_with(topic) {
                return body[3 + topic.len()..].to_vec();
            }
        }
    }

    /// The next token that the service pushes.
    pub async fn token(&mut self) -> (u64, TokenAnswer) {
        loop {
            if let PushCall::Token { session, answer } = self.call().await {
                return (session, TokenAnswer::from_cbor(&answer).unwrap());
            }
        }
    }

    pub async fn page(&mut self, page: PushPage) {
        let payload = page.to_cbor();
        let mut body = (REFRESH.len() as u16).to_be_bytes().to_vec();
        body.extend(REFRESH);
        body.push(0);
        body.extend(payload);
        let mut packet = vec![0x30];
        let mut length = body.len();
        while length >= 0x80 {
            packet.push((length & 0x7f) as u8 | 0x80);
            length >>= 7;
        }
        packet.push(length as u8);
        packet.extend(body);
        self.socket.write_all(&packet).await.unwrap();
    }

    pub async fn sessions(&mut self, sessions: Vec<PushSession>) {
        self.page(PushPage { sessions, ..PushPage::default() }).await;
    }

    fn credential(&self) -> Credential {
        let text = std::str::from_utf8(&self.password).unwrap();
        Credential::from_password(&from_base64url(text).unwrap()).unwrap()
    }
}

/// The clock of the service goes on, as fast as that of the test: pushes are paced by it.
pub fn runs(world: &World) {
    let clock = world.clock.clone();
    tokio::spawn(async move {
        let step = Duration::from_millis(50);
        let mut steps = tokio::time::interval(step);
        loop {
            steps.tick().await;
            clock.advance(step);
        }
    });
}

/// A session of the device whose token has lived for this part of its life.
pub fn session(world: &World, number: u64, device: &Device, percent: u64) -> PushSession {
    let issued = world.now().minus(LIFE * percent / 100);
    PushSession {
        session: number,
        tenant: device.tenant.clone(),
        device: device.id.clone(),
        token: TokenHash::of(&number.to_be_bytes()),
        issued,
        expires: issued.plus(LIFE),
    }
}

fn claims(token: &[u8]) -> Claims {
    let mut reader = Reader::new(&token[3..]);
    reader.array_of(4).unwrap();
    reader.skip().unwrap();
    reader.skip().unwrap();
    Claims::from_cbor(reader.bytes().unwrap()).unwrap()
}

pub async fn shows(world: &World, line: &str) {
    let kin = line.split('{').next().unwrap();
    let kin = async || {
        let page = world.stranger.get("/metrics").await.unwrap().text().to_owned();
        page.lines().filter(|one| one.starts_with(kin)).map(str::to_owned).collect::<Vec<_>>()
    };
    let showing = async {
        while !kin().await.iter().any(|one| one == line) {
            tokio::task::yield_now().await;
        }
    };
    if tokio::time::timeout(PATIENCE, showing).await.is_err() {
        panic!("no {line} in {:#?}", kin().await);
    }
}

pub fn waiting(broker: &FakeBroker, count: u64) -> String {
    let name = broker.0.local_addr().unwrap();
    format!(r#"tessera_provisioning_push_waiting{{broker="mqtt://{name}"}} {count}"#)
}

#[tokio::test]
async fn a_connected_device_is_handed_its_next_token_bound_to_its_key() {
    let broker = FakeBroker::new().await;
    let world = World::with(broker.push()).await;
    runs(&world);
    let (device, _) = world.enrolled("d-1").await;
    let mut line = broker.line().await;
    // The service shows a token of its own tenant and proves the key of it, which is in no other place.
    assert_eq!(line.client_id, b"provisioning");
    let shown = line.credential();
    let own = claims(&shown.token);
    let key = own.confirmation.unwrap();
    let proof = shown.proof.unwrap();
    assert!(proof.verifies(&key, "b1", "provisioning", &shown.token));
    assert_eq!((own.tenant.as_str(), own.scope.to_aif()), (SERVICE_TENANT, vec![0x80]));

    line.sessions(vec![session(&world, 7, &device, 92)]).await;
    let (number, answer) = line.token().await;
    assert_eq!((number, answer.bearer, answer.key.is_none()), (7, false, true));
    let next = claims(&answer.access_token);
    assert_eq!((&next.tenant, &next.device), (&device.tenant, &device.id));
    assert_eq!(next.confirmation, Some(device.key.public()), "of no use to another");
    assert!(next.expires >= world.now().plus(LIFE - 60), "a whole life");
    shows(&world, r#"tessera_provisioning_issued_total{occasion="push"} 1"#).await;

    // Its new token is the outcome.
    let mut renewed = session(&world, 7, &device, 0);
    renewed.token = TokenHash::of(&answer.access_token);
    line.sessions(vec![renewed]).await;
    shows(&world, r#"tessera_provisioning_pushes_total{outcome="pushed"} 1"#).await;
    // Its record is durable: an operator ends this very token.
    let hash = tessera_token::encoding::base64url(TokenHash::of(&answer.access_token).as_bytes());
    world.post("/v1/tenants/default/tokens/revoke", json!({ "token_hash": hash })).await;
}

#[tokio::test]
async fn a_device_that_may_have_no_token_is_pushed_none() {
    let broker = FakeBroker::new().await;
    let world = World::with(broker.push()).await;
    runs(&world);
    let (good, _) = world.enrolled("good").await;
    let (revoked, _) = world.enrolled("revoked").await;
    let (suspended, _) = world.enrolled("suspended").await;
    world.post("/v1/tenants/default/devices/revoked/revoke", json!({})).await;
    world.post("/v1/tenants/default/devices/suspended/suspend", json!({ "reason": "moved" })).await;
    let (unknown, of_own) = (Device::new("unknown"), Device::of(SERVICE_TENANT, "provisioning"));
    let mut line = broker.line().await;
    let none = [&revoked, &suspended, &unknown, &of_own];
    let all = none.iter().zip(1..).map(|(device, number)| session(&world, number, device, 90));
    line.sessions(all.collect()).await;
    shows(&world, r#"tessera_provisioning_pushes_total{outcome="failed"} 4"#).await;
    line.sessions(vec![session(&world, 9, &good, 90)]).await;
    assert_eq!(line.token().await.0, 9, "the first token that leaves");
    shows(&world, r#"tessera_provisioning_issued_total{occasion="push"} 1"#).await;
    // It is reinstated, and has another token that it asked for itself.
    world.post("/v1/tenants/default/devices/suspended/reinstate", json!({})).await;
    let mut again = session(&world, 2, &suspended, 90);
    again.token = TokenHash::of(b"another");
    line.sessions(vec![again]).await;
    assert_eq!(line.token().await.0, 2);
}

#[tokio::test]
async fn a_push_that_the_broker_could_not_take_is_made_again_and_one_that_it_refused_is_not() {
    let broker = FakeBroker::new().await;
    let world = World::with(broker.push()).await;
    runs(&world);
    let (one, _) = world.enrolled("d-1").await;
    let (other, _) = world.enrolled("d-2").await;
    let mut line = broker.line().await;
    line.sessions(vec![session(&world, 1, &one, 90)]).await;
    let (_, first) = line.token().await;
    let mut tokens = vec![first.access_token];
    // It has no room for the moment, or the session is not served for the moment.
    for (code, failures) in [(RefusalCode::LimitReached, 1), (RefusalCode::NotFound, 2)] {
        line.page(PushPage { failed: vec![(1, code)], ..PushPage::default() }).await;
        let line_of =
            |count| format!(r#"tessera_provisioning_pushes_total{{outcome="failed"}} {count}"#);
        shows(&world, &line_of(failures)).await;
        world.advance(20);
        let (number, next) = line.token().await;
        assert_eq!(number, 1);
        assert!(!tokens.contains(&next.access_token));
        tokens.push(next.access_token);
    }
    // The device asked for a narrow token: it asks for the next one too.
    let failed = vec![(1, RefusalCode::ScopeNotAllowed)];
    line.page(PushPage { failed, ..PushPage::default() }).await;
    shows(&world, r#"tessera_provisioning_pushes_total{outcome="failed"} 3"#).await;
    world.advance(20);
    line.sessions(vec![session(&world, 2, &other, 90)]).await;
    assert_eq!(line.token().await.0, 2, "nothing for the first one");
}

#[tokio::test]
async fn a_session_that_left_or_refreshed_by_itself_is_not_pushed_to() {
    let broker = FakeBroker::new().await;
    let world = World::with(broker.push()).await;
    runs(&world);
    let (one, _) = world.enrolled("d-1").await;
    let mut line = broker.line().await;
    let brief = |number, age| {
        let issued = world.now().minus(age);
        PushSession { issued, expires: issued.plus(10), ..session(&world, number, &one, 0) }
    };
    line.sessions(vec![brief(1, 4), brief(2, 4), brief(3, 4)]).await;
    shows(&world, &waiting(&broker, 3)).await;
    let refreshed = PushSession { token: TokenHash::of(b"by itself"), ..brief(2, 0) };
    line.page(PushPage { sessions: vec![refreshed], gone: vec![1], failed: Vec::new() }).await;
    shows(&world, &waiting(&broker, 2)).await;
    assert_eq!(line.token().await.0, 3, "it alone, when two thirds of its life are over");
    let renewed =
        PushSession { token: TokenHash::of(b"the next one"), ..session(&world, 3, &one, 0) };
    line.sessions(vec![renewed]).await;
    assert_eq!(line.token().await.0, 2, "later, by the token that it has now");
}

#[tokio::test]
async fn a_connection_that_breaks_begins_anew_with_another_key() {
    let broker = FakeBroker::new().await;
    let world = World::with(broker.push()).await;
    runs(&world);
    let (one, _) = world.enrolled("d-1").await;
    let first = broker.line().await.credential();
    let mut line = broker.line().await;
    let second = line.credential();
    assert_ne!(claims(&first.token).confirmation, claims(&second.token).confirmation);
    line.sessions(vec![session(&world, 1, &one, 90)]).await;
    assert_eq!(line.token().await.0, 1);
    // A page that is none ends it too.
    line.socket.write_all(&[0x30, 20]).await.unwrap();
    let mut body = vec![0, 16];
    body.extend(REFRESH);
    body.extend([0, 0xff]);
    line.socket.write_all(&body).await.unwrap();
    broker.line().await;
}

#[tokio::test]
async fn the_own_token_of_the_service_is_renewed_on_the_connection_for_the_same_key() {
    let broker = FakeBroker::new().await;
    let push = broker.push();
    let world = World::with(|config| {
        push(config);
        config.token_seconds = 20;
    })
    .await;
    runs(&world);
    let mut line = broker.line().await;
    let mut before = claims(&line.credential().token);
    for _ in 0..2 {
        line.page(PushPage::default()).await;
        world.advance(14);
        let next = claims(&line.next_on(b"$tessera/token").await);
        assert_eq!(next.confirmation, before.confirmation);
        assert!(next.expires > before.expires && next.serial != before.serial);
        before = next;
    }
}

#[tokio::test]
async fn the_tenant_of_the_service_is_out_of_reach() {
    let broker = FakeBroker::new().await;
    let world = World::with(broker.push()).await;
    runs(&world);
    let _line = broker.line().await;
    let path = format!("/v1/tenants/{SERVICE_TENANT}");
    let refused = |path: String, body| {
        let operator = &world.operator;
        async move { problem(operator.post_json(&path, &body).await).1 }
    };
    assert_eq!(
        refused("/v1/tenants".to_owned(), json!({ "tenant": SERVICE_TENANT, "bearer": false }))
            .await,
        "already_exists"
    );
    for (way, body) in [
        ("claims", json!({ "role": "sensor" })),
        ("revoke", json!({})),
        ("groups", json!({ "group": "g" })),
    ] {
        assert_eq!(refused(format!("{path}/{way}"), body).await, "tenant_unknown", "{way}");
    }
    assert_eq!(problem(world.operator.get(&path).await).1, "tenant_unknown");
    let list = world.get("/v1/tenants").await;
    let ids: Vec<_> = list["items"].as_array().unwrap().iter().map(|one| &one["tenant"]).collect();
    assert_eq!(ids, ["default"]);
    // Its keys are rotated as those of others.
    world.post(&format!("{path}/keys/rotate"), json!({})).await;
}

#[tokio::test]
async fn without_brokers_there_is_no_tenant_of_the_service() {
    let world = World::new().await;
    let path = format!("/v1/tenants/{SERVICE_TENANT}/keys");
    assert_eq!(problem(world.operator.get(&path).await).1, "tenant_unknown");
    let body = json!({ "tenant": SERVICE_TENANT, "bearer": false });
    let made = world.operator.post_json("/v1/tenants", &body).await;
    assert_eq!(problem(made).1, "already_exists", "its name is taken all the same");
}
