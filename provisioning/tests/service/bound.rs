//! Feed accounts of some tenants: what they read, what they may show and relay, and that no byte of another tenant is in
//! any of it.

use std::time::Duration;

use serde_json::{json, Value};
use tessera_runtime::http::{HttpClient, HttpError, Method, Request, ACE_CBOR, CBOR};
use tessera_token::encoding::{base64url, hex};
use tessera_token::hash::TokenHash;
use tessera_token::ids::TenantId;
use tessera_token::key::PublicKey;
use tessera_token::messages::{EnrolRequest, NonceAnswer, RefusalAnswer, TokenKind};
use tessera_token::refusal::RefusalCode;
use tessera_token::time::UnixSeconds;
use tessera_token::trust::{
    BoundFeed, BoundSnapshot, Change, EventHash, Evidence, Feed, FeedAnswer, FeedNonce, Heartbeat,
    Snapshot, TenantSet, View, READER_HEADER, VERIFIER_HEADER, VERIFIER_SHARED_HEADER,
};

use crate::restored::{brought_back, copied, Keeper};
use crate::world::{problem, Device, Forced, World, START};

const NONCE: FeedNonce = FeedNonce::from_bytes([8; 16]);

fn set(tenants: &[&str]) -> TenantSet {
    TenantSet::new(tenants.iter().map(|tenant| TenantId::parse(tenant).unwrap())).unwrap()
}

/// The token of a new account with the role `feed` of these tenants.
pub async fn token(world: &World, name: &str, tenants: &[&str]) -> String {
    let body = json!({ "operator": name, "roles": ["feed"], "tenants": tenants });
    let made = world.post("/v1/operators", body).await;
    made["token"].as_str().unwrap().to_owned()
}

pub async fn account(world: &World, name: &str, tenants: &[&str]) -> HttpClient {
    world.with_token(&token(world, name, tenants).await)
}

/// A reader of some tenants as the contract describes it.
pub struct Bound {
    pub client: HttpClient,
    tenants: TenantSet,
    root: PublicKey,
    pub seq: u64,
    head: EventHash,
    changes: Vec<Change>,
    evidence: Evidence,
    /// Every byte that it was given.
    bytes: Vec<u8>,
}

impl Bound {
    pub async fn new(world: &World, client: HttpClient, tenants: &[&str]) -> Self {
        let bytes = client.get("/v1/trust/snapshot").await.unwrap().body;
        let pin = world.handle.root_thumbprint();
        assert!(Snapshot::open(&bytes, &pin).is_err(), "it is a kind of its own");
        let (BoundSnapshot { tenants: signed, snapshot }, root) =
            BoundSnapshot::open(&bytes, &pin).unwrap();
        let tenants = set(tenants);
        assert_eq!(signed, tenants);
        let evidence = Evidence { snapshot: bytes.clone(), ..Evidence::default() };
        let Snapshot { seq, head, state: changes, .. } = snapshot;
        Self { client, tenants, root, seq, head, changes, evidence, bytes }
    }

    fn path(&self, wait: u64) -> String {
        let (after, head) = (self.seq, base64url(self.head.as_bytes()));
        format!("/v1/trust/events?after={after}&head={head}&nonce={NONCE}&wait={wait}")
    }

    /// A poll: what was new; the status when it is refused.
    pub async fn poll(&mut self, wait: u64) -> Result<Vec<Change>, u16> {
        let path = self.path(wait);
        let request = Request::new(Method::Get, &path).within(Duration::from_secs(90));
        let answer = match self.client.send(request).await {
            Ok(answer) => answer,
            Err(HttpError::Status { status, .. }) => return Err(status),
            Err(error) => panic!("{error}"),
        };
        self.bytes.extend(&answer.body);
        let FeedAnswer::Bound(BoundFeed { view, feed }) =
            FeedAnswer::from_cbor(&answer.body).unwrap()
        else {
            panic!("a feed of all tenants");
        };
        assert!(Feed::from_cbor(&answer.body).is_err());
        let mut new = Vec::new();
        if view.is_empty() {
            assert!(feed.events.is_empty());
        } else {
            let signed = View::open(&view, &self.root).unwrap();
            assert_eq!(signed.tenants, self.tenants.id());
            assert_eq!((signed.after, signed.after_head), (self.seq, self.head));
            assert_eq!(signed.included.len(), feed.events.len());
            for (place, bytes) in feed.events.iter().enumerate() {
                let event =
                    signed.included(place, self.seq, bytes, &self.tenants, &self.root).unwrap();
                self.seq = event.seq;
                new.push(event.change);
            }
            (self.seq, self.head) = (signed.seq, signed.head);
            self.evidence.views.push(view);
        }
        let beat = Heartbeat::open_for(&feed.heartbeat, &NONCE, &self.root).unwrap();
        assert!((beat.seq, beat.head) == (self.seq, self.head) || beat.seq > self.seq);
        self.changes.extend(new.iter().cloned());
        self.evidence.events.extend(feed.events);
        self.evidence.heartbeat = feed.heartbeat;
        Ok(new)
    }

    pub async fn show(&self) -> Result<u16, HttpError> {
        let body = self.evidence.to_cbor();
        Ok(self.client.post("/v1/trust/known", CBOR, body).await?.status)
    }
}

async fn of_tenant(world: &World, tenant: &str, name: &str) -> (Device, Vec<u8>) {
    let role = json!({ "class": "device", "publish": ["d/{device}/x"], "subscribe": [] });
    let path = format!("/v1/tenants/{tenant}/roles/sensor");
    world.operator.put_over(&path, &role).await.unwrap();
    let claims = format!("/v1/tenants/{tenant}/claims");
    let made = world.post(&claims, json!({ "role": "sensor" })).await;
    let device = Device::of(tenant, name);
    let answer = world.enrol(&device, made["claims"][0]["code"].as_str().unwrap()).await.unwrap();
    (device, answer.access_token)
}

pub async fn two_tenants() -> World {
    let world = World::new().await;
    for tenant in ["acme", "rival"] {
        world.post("/v1/tenants", json!({ "tenant": tenant })).await;
    }
    world
}

async fn revoke(world: &World, tenant: &str, device: &str) {
    world.post(&format!("/v1/tenants/{tenant}/devices/{device}/revoke"), json!({})).await;
}

/// Something of every kind happens to a tenant.
async fn busy(world: &World, tenant: &str, name: &str) -> TokenHash {
    let (_, token) = of_tenant(world, tenant, &format!("{name}-one")).await;
    of_tenant(world, tenant, &format!("{name}-two")).await;
    revoke(world, tenant, &format!("{name}-two")).await;
    let group = format!("{name}-group");
    let path = format!("/v1/tenants/{tenant}");
    world.post(&format!("{path}/groups"), json!({ "group": group })).await;
    world.post(&format!("{path}/groups/{group}/revoke"), json!({})).await;
    let hash = TokenHash::of(&token);
    let body = json!({ "token_hash": base64url(hash.as_bytes()) });
    world.post(&format!("{path}/tokens/revoke"), body).await;
    world.post(&format!("{path}/keys/rotate"), json!({})).await;
    hash
}

fn has(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

#[tokio::test]
async fn an_account_of_a_tenant_sees_no_byte_of_another() {
    let world = two_tenants().await;
    busy(&world, "rival", "hidden").await;
    busy(&world, "acme", "mine").await;
    let client = account(&world, "gateway", &["acme"]).await;
    let mut reader = Bound::new(&world, client, &["acme"]).await;
    let (mine, theirs) =
        (busy(&world, "acme", "later").await, busy(&world, "rival", "veiled").await);
    reader.poll(0).await.unwrap();
    reader.show().await.unwrap();
    // All that there is, as a reader of all tenants knows it.
    let all = world.feed.get("/v1/trust/snapshot").await.unwrap().body;
    let (all, _) = Snapshot::open(&all, &world.handle.root_thumbprint()).unwrap();
    let (own, other): (Vec<_>, Vec<_>) =
        all.state.into_iter().partition(|change| change.tenant().as_str() == "acme");
    let foreign_keys = other.iter().filter_map(|change| match change {
        Change::Key(key) => Some(key.key.as_bytes().to_vec()),
        _ => None,
    });
    let mut secrets: Vec<Vec<u8>> = foreign_keys.collect();
    assert!(secrets.len() > 4, "{}", secrets.len());
    secrets.extend(["rival", "hidden", "veiled", "default"].map(|name| name.as_bytes().to_vec()));
    secrets.push(theirs.as_bytes().to_vec());
    let mut bytes = reader.bytes.clone();
    // And of every other answer that the account gets.
    for path in ["/v1/whoami", "/v1/trust/restored", "/v1/tenants", "/v1/audit", "/v1/operators"] {
        match reader.client.get(path).await {
            Ok(answer) => bytes.extend(answer.body),
            Err(HttpError::Status { response, .. }) => bytes.extend(response.body),
            Err(error) => panic!("{path}: {error}"),
        }
    }
    for secret in &secrets {
        assert!(!has(&bytes, secret), "{:?}", String::from_utf8_lossy(secret));
    }
    // Its own is all there: by events, and in a new snapshot as in that of all.
    assert!(has(&bytes, mine.as_bytes()) && has(&bytes, b"later-two"));
    let fresh = Bound::new(&world, reader.client.clone(), &["acme"]).await;
    assert_eq!((fresh.seq, fresh.head), (reader.seq, reader.head));
    assert_eq!(fresh.changes, own);
    assert!(own.iter().all(|change| reader.changes.contains(change)), "{own:?}");
}

#[tokio::test]
async fn news_of_others_wake_no_reader_and_its_own_do_at_once() {
    let world = two_tenants().await;
    let (theirs, _) = of_tenant(&world, "rival", "t").await;
    of_tenant(&world, "acme", "m").await;
    let client = account(&world, "gateway", &["acme"]).await;
    let mut reader = Bound::new(&world, client, &["acme"]).await;
    let acts = async {
        for _ in 0..5 {
            revoke(&world, "rival", theirs.id.as_str()).await;
        }
        revoke(&world, "acme", "m").await;
    };
    let (new, ()) = tokio::join!(reader.poll(60), acts);
    assert!(matches!(new.unwrap().as_slice(), [Change::Device(_)]));
    let shown = world.stranger.get("/metrics").await.unwrap().text();
    let views = |events: &str, number: u64| {
        shown.contains(&format!("trust_views_total{{events=\"{events}\"}} {number}"))
    };
    assert!(views("some", 1) && !shown.contains("events=\"none\""), "{shown}");
    // When its wait is over it is told where the line stands.
    let before = reader.seq;
    let (new, ()) = tokio::join!(reader.poll(1), revoke(&world, "rival", "t"));
    assert_eq!(new, Ok(Vec::new()));
    // On a busy machine the wait may end before the revocation is recorded.
    while reader.seq == before {
        assert_eq!(reader.poll(1).await, Ok(Vec::new()));
    }
    assert_eq!(reader.seq, before + 1);
    // Nothing new at all: no view, and the heartbeat says so.
    let views = reader.evidence.views.len();
    assert_eq!(reader.poll(0).await, Ok(Vec::new()));
    assert_eq!((reader.seq, reader.evidence.views.len()), (before + 1, views));
}

#[tokio::test]
async fn long_lines_of_others_are_looked_at_in_parts() {
    let world = two_tenants().await;
    of_tenant(&world, "rival", "t").await;
    of_tenant(&world, "acme", "m").await;
    let client = account(&world, "gateway", &["acme", "default"]).await;
    let mut reader = Bound::new(&world, client, &["acme", "default"]).await;
    let begin = reader.seq;
    for _ in 0..2_005 {
        revoke(&world, "rival", "t").await;
    }
    revoke(&world, "acme", "m").await;
    assert_eq!(reader.poll(10).await, Ok(Vec::new()), "the first part has nothing of its own");
    assert_eq!(reader.seq, begin + 2_000);
    assert_eq!(reader.poll(10).await.unwrap().len(), 1);
    assert_eq!(reader.seq, begin + 2_006);
}

#[tokio::test]
async fn places_that_are_not_on_the_line() {
    let world = two_tenants().await;
    let client = account(&world, "gateway", &["acme"]).await;
    let mut reader = Bound::new(&world, client, &["acme"]).await;
    let (seq, head) = (reader.seq, reader.head);
    (reader.seq, reader.head) = (seq + 5, EventHash::of(b"beyond"));
    assert_eq!(reader.poll(0).await, Err(409));
    (reader.seq, reader.head) = (seq, EventHash::of(b"elsewhere"));
    assert_eq!(reader.poll(10).await, Err(409));
    let gone = reader.client.get("/v1/trust/events?after=9999").await;
    assert_eq!(problem(gone), (410, "trust_gone".to_owned()));
    // From the beginning it is good too.
    (reader.seq, reader.head) = (0, EventHash::default());
    let new = reader.poll(0).await.unwrap();
    assert_eq!((reader.seq, reader.head), (seq, head));
    assert!(!new.is_empty() && new.iter().all(|change| change.tenant().as_str() == "acme"));
}

#[tokio::test]
async fn its_word_moves_nothing_and_its_evidence_its_own_tenants() {
    let world = two_tenants().await;
    for (tenant, device) in [("acme", "m"), ("rival", "t")] {
        of_tenant(&world, tenant, device).await;
    }
    let token = token(&world, "gateway", &["acme"]).await;
    let mut reader = Bound::new(&world, world.with_token(&token), &["acme"]).await;
    let mut keeper = Keeper::new(&world).await;
    let world = copied(world).await;
    revoke(&world, "acme", "m").await;
    revoke(&world, "rival", "t").await;
    // The service is at another address since its restart.
    reader.client = world.with_token(&token);
    assert_eq!(reader.poll(0).await.unwrap().len(), 1);
    keeper.poll(&world).await.unwrap();
    let world = brought_back(world, |_| {}).await;
    reader.client = world.with_token(&token);
    let state = async |tenant: &str, device: &str| {
        world.get(&format!("/v1/tenants/{tenant}/devices/{device}")).await["state"].clone()
    };
    assert_eq!(reader.poll(0).await, Err(409));
    let stands = reader.path(0).replace("events", "snapshot");
    let (stands, _) = stands.split_once("&nonce").unwrap();
    let beyond = reader.client.get(stands).await;
    assert_eq!(problem(beyond), (409, "trust_beyond".to_owned()));
    // A jump concerns all tenants: the word of an account of some makes none.
    world.post("/v1/tenants/rival/groups", json!({ "group": "g" })).await;
    world.post("/v1/tenants/rival/groups/g/revoke", json!({})).await;
    assert_eq!(world.get("/v1/trust/restored").await["restorations"], json!([]));
    assert_eq!(state("acme", "m").await, "active");
    // Data signed by the root key do, also when it is the evidence of a reader of all.
    let shown = keeper.evidence.to_cbor();
    assert_eq!(reader.client.post("/v1/trust/known", CBOR, shown).await.unwrap().status, 204);
    assert_eq!(world.get("/v1/trust/restored").await["restorations"][0]["why"], "reader");
    assert_eq!(
        (state("acme", "m").await, state("rival", "t").await),
        (json!("revoked"), json!("active"))
    );
    assert_eq!(reader.show().await.unwrap(), 204);
    assert_eq!(keeper.show(&world).await.unwrap(), 204);
    assert_eq!(state("rival", "t").await, "revoked");
    let bad = reader.client.post("/v1/trust/known", CBOR, b"rubbish".to_vec()).await;
    assert_eq!(problem(bad), (400, "request_malformed".to_owned()));
    // It goes on in the new line.
    let mut next = Bound::new(&world, reader.client.clone(), &["acme"]).await;
    assert!(next.seq > reader.seq);
    revoke(&world, "acme", "m").await;
    assert_eq!(next.poll(0).await.unwrap().len(), 1);
}

/// The lost part is known to a reader of some tenants alone.
#[tokio::test]
async fn a_restored_service_learns_from_its_views() {
    let world = two_tenants().await;
    of_tenant(&world, "acme", "m").await;
    let token = token(&world, "gateway", &["acme"]).await;
    let mut reader = Bound::new(&world, world.with_token(&token), &["acme"]).await;
    let world = copied(world).await;
    world.post("/v1/tenants/rival/revoke", json!({})).await;
    revoke(&world, "acme", "m").await;
    reader.client = world.with_token(&token);
    reader.poll(0).await.unwrap();
    let world = brought_back(world, |_| {}).await;
    reader.client = world.with_token(&token);
    assert_eq!(reader.poll(0).await, Err(409));
    assert_eq!(reader.show().await.unwrap(), 204);
    let list = world.get("/v1/trust/restored").await;
    assert_eq!(list["restorations"][0]["why"], "reader", "{list}");
    let device = world.get("/v1/tenants/acme/devices/m").await;
    assert_eq!(device["state"], "revoked");
}

async fn relay(client: &HttpClient, path: &str, body: Vec<u8>) -> Result<(), RefusalCode> {
    match client.post(path, ACE_CBOR, body).await {
        Ok(_) => Ok(()),
        Err(HttpError::Status { response, .. }) => {
            Err(RefusalAnswer::from_cbor(&response.body).unwrap().code.unwrap())
        }
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test]
async fn it_relays_for_its_tenants_alone_and_its_accounts_share_a_rate() {
    let world = World::with(|config| {
        config.admission.relayed.burst = 6;
        config.admission.relayed.per_second = 1;
    })
    .await;
    for tenant in ["acme", "rival"] {
        world.post("/v1/tenants", json!({ "tenant": tenant })).await;
    }
    let (mine, _) = of_tenant(&world, "acme", "m").await;
    let (theirs, _) = of_tenant(&world, "rival", "t").await;
    let nobodys = Device::of("nothing", "t");
    let client = account(&world, "gateway", &["acme"]).await;
    let ask = |device: &Device| world.request(device, TokenKind::Key).to_cbor();
    assert_eq!(relay(&client, "/v1/token", ask(&mine)).await, Ok(()));
    // A tenant of others is answered like one that does not exist.
    for device in [&theirs, &nobodys] {
        let refused = relay(&client, "/v1/token", ask(device)).await;
        assert_eq!(refused, Err(RefusalCode::OperatorNotAllowed));
        let Device { tenant, id, key } = device;
        let claim = EnrolRequest::sign(key, tenant, id, "AAAA", &[1; 32]).to_cbor();
        let refused = relay(&client, "/v1/enrol", claim).await;
        assert_eq!(refused, Err(RefusalCode::OperatorNotAllowed));
    }
    let nonce = client.post("/v1/enrol/nonce", ACE_CBOR, Vec::new()).await.unwrap();
    assert!(NonceAnswer::from_cbor(&nonce.body).is_ok());
    // However many accounts a customer makes, they have one rate.
    let more = account(&world, "gateway-2", &["acme"]).await;
    let part = account(&world, "gateway-4", &["acme", "default"]).await;
    let mut good = 0;
    for n in 0..10 {
        let by = [&client, &more, &part][n % 3];
        good += u64::from(relay(by, "/v1/token", ask(&mine)).await.is_ok());
    }
    assert_eq!(good, 4, "two of six are used");
    let others = account(&world, "gateway-3", &["rival"]).await;
    assert_eq!(relay(&others, "/v1/token", ask(&theirs)).await, Ok(()));
    assert_eq!(relay(&world.feed, "/v1/token", ask(&mine)).await, Ok(()));
}

#[tokio::test]
async fn names_of_verifiers_are_told_within_the_tenants() {
    let world = two_tenants().await;
    let acme = account(&world, "one", &["acme"]).await;
    let rival = account(&world, "two", &["rival"]).await;
    let polls = async |client: &HttpClient, reader: u8| {
        let request = Request::new(Method::Get, "/v1/trust/events?after=0")
            .header(VERIFIER_HEADER, "gw")
            .header(READER_HEADER, hex::encode([reader; 16]));
        client.send(request).await.unwrap().header(VERIFIER_SHARED_HEADER).is_some()
    };
    for _ in 0..3 {
        assert!(!polls(&acme, 1).await && !polls(&rival, 2).await && !polls(&world.feed, 3).await);
    }
    polls(&acme, 4).await;
    assert!(polls(&acme, 1).await);
    assert!(!polls(&rival, 2).await && !polls(&world.feed, 3).await);
}

#[tokio::test]
async fn its_clock_is_no_witness_against_that_of_the_service() {
    let world = two_tenants().await;
    let token = token(&world, "gateway", &["acme"]).await;
    world.clock.set_unix(UnixSeconds::new(START + 7200));
    let world = world.restart().await;
    let polls = async |client: &HttpClient| {
        client.get(&format!("/v1/trust/events?after=3&clock={START}")).await.unwrap();
        world.stranger.get("/readyz").await.map_err(|error| error.code().map(str::to_owned)).err()
    };
    assert_eq!(polls(&world.with_token(&token)).await, None);
    // As that of a reader of all tenants is.
    assert_eq!(polls(&world.feed).await, Some(Some("clock_wrong".to_owned())));
}

#[tokio::test]
async fn an_account_of_some_tenants_makes_feed_accounts_of_those() {
    let world = two_tenants().await;
    let body = json!({ "operator": "ann", "roles": ["admin"], "tenants": ["acme"] });
    let ann = world.post("/v1/operators", body).await;
    let ann = world.with_token(ann["token"].as_str().unwrap());
    let wanted = |name: &str, tenants: Value| json!({ "operator": name, "roles": ["feed"], "tenants": tenants });
    ann.post_json("/v1/operators", &wanted("gw", json!(["acme"]))).await.unwrap();
    let rival = ann.post_json("/v1/operators", &wanted("no", json!(["rival"]))).await;
    assert_eq!(problem(rival).1, "tenant_unknown");
    let all = ann.post_json("/v1/operators", &wanted("no", json!("all"))).await;
    assert_eq!(problem(all).1, "operator_not_allowed");
}
