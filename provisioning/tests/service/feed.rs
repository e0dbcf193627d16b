use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use serde_json::json;
use tessera_runtime::http::{Method, Request};
use tessera_token::chain::{IssuerKey, TenantTrust};
use tessera_token::encoding::{base64url, hex};
use tessera_token::hash::TokenHash;
use tessera_token::key::PublicKey;
use tessera_token::time::UnixSeconds;
use tessera_token::trust::{
    Change, Event, EventHash, Feed, Heartbeat, Snapshot, Step, READER_HEADER, VERIFIER_HEADER,
    VERIFIER_SHARED_HEADER,
};

use crate::world::{problem, World};

/// A verifier as the contract describes it: pins the root, takes the snapshot, follows the chain.
pub struct Reader {
    root: PublicKey,
    seq: u64,
    head: EventHash,
    tenants: HashMap<String, TenantTrust>,
    devices: HashMap<String, u64>,
    groups: HashMap<u64, u64>,
    announced: HashMap<u64, UnixSeconds>,
    tokens: Vec<TokenHash>,
    keys: HashMap<PublicKeyBytes, IssuerKey>,
    pub device_keys: HashMap<String, Vec<u8>>,
    rules: BTreeMap<String, Vec<u8>>,
    held: HashMap<String, Step>,
}

type PublicKeyBytes = [u8; 32];

impl Reader {
    pub async fn snapshot(world: &World) -> Self {
        let answer = world.feed.get("/v1/trust/snapshot").await.unwrap();
        let (snapshot, root) =
            Snapshot::open(&answer.body, &world.handle.root_thumbprint()).unwrap();
        assert!(snapshot.valid_until > world.now());
        let mut reader = Self {
            root,
            seq: snapshot.seq,
            head: snapshot.head,
            tenants: HashMap::new(),
            devices: HashMap::new(),
            groups: HashMap::new(),
            announced: HashMap::new(),
            tokens: Vec::new(),
            keys: HashMap::new(),
            device_keys: HashMap::new(),
            rules: BTreeMap::new(),
            held: HashMap::new(),
        };
        snapshot.state.into_iter().for_each(|change| reader.apply(change));
        reader
    }

    /// Where it stands, as a poll tells it.
    pub fn stands(&self) -> String {
        format!("after={}&head={}", self.seq, base64url(self.head.as_bytes()))
    }

    pub async fn read(&mut self, world: &World) -> Vec<Change> {
        self.wait(world, 0).await
    }

    pub async fn wait(&mut self, world: &World, seconds: u64) -> Vec<Change> {
        let path = format!("/v1/trust/events?after={}&wait={seconds}", self.seq);
        let request = Request::new(Method::Get, &path).within(Duration::from_secs(90));
        let answer = world.feed.send(request).await.unwrap();
        let feed = Feed::from_cbor(&answer.body).unwrap();
        let mut changes = Vec::new();
        for bytes in &feed.events {
            let event = Event::open(bytes, &self.root).unwrap();
            assert_eq!((event.seq, event.previous), (self.seq + 1, self.head));
            (self.seq, self.head) = (event.seq, EventHash::of(bytes));
            self.apply(event.change.clone());
            changes.push(event.change);
        }
        let beat = Heartbeat::open(&feed.heartbeat, &self.root).unwrap();
        assert_eq!((beat.seq, beat.head, beat.time), (self.seq, self.head, world.now()));
        changes
    }

    fn apply(&mut self, change: Change) {
        match change {
            Change::Tenant(tenant) => {
                self.tenants.insert(tenant.tenant.as_str().to_owned(), tenant);
            }
            Change::Device(device) => {
                self.devices.insert(device.device.as_str().to_owned(), device.epoch);
            }
            Change::Group(group) => {
                self.groups.insert(group.number, group.epoch);
                if let Some(until) = group.announced_until {
                    self.announced.insert(group.number, until);
                }
            }
            Change::Token(token) => self.tokens.push(token.token),
            Change::Rule(entry) if entry.rule.is_empty() => drop(self.rules.remove(&entry.id)),
            Change::Rule(entry) => drop(self.rules.insert(entry.id, entry.rule)),
            Change::Restraint(one) => {
                self.held.insert(one.device.as_str().to_owned(), one.step);
            }
            Change::DeviceKey(known) => {
                self.device_keys.insert(known.device.as_str().to_owned(), known.key);
            }
            Change::Key(key) => {
                self.keys.insert(*key.key.as_ed25519().unwrap(), key);
            }
        }
    }

    pub fn tenant(&self, name: &str) -> &TenantTrust {
        &self.tenants[name]
    }

    pub fn device_epoch(&self, name: &str) -> u64 {
        self.devices[name]
    }

    pub fn group_epoch(&self, number: u64) -> u64 {
        self.groups[&number]
    }

    pub fn announced(&self, number: u64) -> Option<UnixSeconds> {
        self.announced.get(&number).copied()
    }

    pub fn rules(&self) -> Vec<&str> {
        self.rules.keys().map(String::as_str).collect()
    }

    pub fn held(&self, device: &str) -> Option<Step> {
        self.held.get(device).copied()
    }

    pub fn revoked(&self, token: &TokenHash) -> bool {
        self.tokens.contains(token)
    }

    pub fn keys(&self) -> impl Iterator<Item = &IssuerKey> {
        self.keys.values()
    }
}

/// One poll of a process that admits devices under this name; whether the answer says that another does so too.
async fn polls(world: &World, name: &str, reader: u8) -> bool {
    let request = Request::new(Method::Get, "/v1/trust/events?after=0")
        .header(VERIFIER_HEADER, name)
        .header(READER_HEADER, hex::encode([reader; 16]));
    let answer = world.feed.send(request).await.unwrap();
    answer.header(VERIFIER_SHARED_HEADER).is_some()
}

#[tokio::test]
async fn two_processes_of_one_verifier_name_are_both_told() {
    let world = World::new().await;
    let shown = async || world.stranger.get("/metrics").await.unwrap().text();
    // A restart is none, and neither is a gateway with a name of its own.
    for (name, reader) in [("mqtt", 1), ("mqtt", 1), ("mqtt", 2), ("gw-1", 3), ("mqtt", 2)] {
        assert!(!polls(&world, name, reader).await, "{name} {reader}");
    }
    assert!(shown().await.contains("tessera_provisioning_verifier_names_shared 0"));
    assert!(!polls(&world, "mqtt", 9).await);
    assert!(polls(&world, "mqtt", 2).await);
    assert!(polls(&world, "mqtt", 9).await);
    assert!(!polls(&world, "gw-1", 3).await);
    assert!(shown().await.contains("tessera_provisioning_verifier_names_shared 1"));
    // A reader that only reads says nothing of itself and hears nothing.
    let plain = world.feed.get("/v1/trust/events?after=0").await.unwrap();
    assert_eq!(plain.header(VERIFIER_SHARED_HEADER), None);
    world.clock.advance(Duration::from_secs(121));
    assert!(!polls(&world, "mqtt", 9).await);
}

#[tokio::test]
async fn what_a_reader_says_of_itself_is_checked() {
    let world = World::new().await;
    let good = hex::encode([1; 16]);
    let long = "a".repeat(65);
    for (name, reader) in [
        (Some("mqtt"), None),
        (None, Some(good.as_str())),
        (Some("#"), Some(good.as_str())),
        (Some(".x"), Some(good.as_str())),
        (Some(long.as_str()), Some(good.as_str())),
        (Some("mqtt"), Some("12")),
        (Some("mqtt"), Some("+0000000000000000000000000000001")),
    ] {
        let mut request = Request::new(Method::Get, "/v1/trust/events?after=0");
        if let Some(name) = name {
            request = request.header(VERIFIER_HEADER, name);
        }
        if let Some(reader) = reader {
            request = request.header(READER_HEADER, reader);
        }
        let error = world.feed.send(request).await.unwrap_err();
        assert_eq!((error.status(), error.code()), (Some(400), Some("request_malformed")));
    }
}

#[tokio::test]
async fn snapshot_and_events_tell_the_same() {
    let world = World::new().await;
    let mut follower = Reader::snapshot(&world).await;
    let (_, _) = world.enrolled("a").await;
    assert!(follower.read(&world).await.is_empty(), "an enrolment is no news for verifiers");
    world.post("/v1/tenants", json!({ "tenant": "other", "bearer": true })).await;
    world.post("/v1/tenants/default/devices/a/revoke", json!({})).await;
    world.post("/v1/tenants/default/groups/default/revoke", json!({})).await;
    world.post("/v1/tenants/other/revoke", json!({})).await;
    world.post("/v1/tenants/other/keys/rotate", json!({})).await;
    assert_eq!(follower.read(&world).await.len(), 3 + 1 + 1 + 1 + 3);
    let fresh = Reader::snapshot(&world).await;
    assert_eq!((fresh.seq, fresh.head), (follower.seq, follower.head));
    assert_eq!(fresh.tenants, follower.tenants);
    assert_eq!(fresh.devices, follower.devices);
    assert_eq!(fresh.groups, follower.groups);
    assert_eq!(fresh.keys, follower.keys);
    assert!(fresh.tenant("other").suspended && fresh.tenant("other").bearer);
}

#[tokio::test]
async fn a_reader_that_waits_is_told_at_once() {
    let world = World::new().await;
    world.enrolled("a").await;
    let mut reader = Reader::snapshot(&world).await;
    let revoke = world.post("/v1/tenants/default/devices/a/revoke", json!({}));
    let (changes, _) = tokio::join!(reader.wait(&world, 60), revoke);
    assert_eq!(changes.len(), 1);
}

#[tokio::test]
async fn places_that_are_not_in_the_feed() {
    let world = World::new().await;
    let gone = world.feed.get("/v1/trust/events?after=9999").await;
    assert_eq!(problem(gone), (410, "trust_gone".to_owned()));
    for bad in ["", "?after=x", "?after=0&what=1", "?after=-1"] {
        let outcome = world.feed.get(&format!("/v1/trust/events{bad}")).await;
        assert_eq!(problem(outcome), (400, "request_malformed".to_owned()), "{bad}");
    }
    let all = world.feed.get("/v1/trust/events?after=0").await.unwrap();
    assert_eq!(Feed::from_cbor(&all.body).unwrap().events.len(), 3);
}

#[tokio::test]
async fn a_waiting_reader_does_not_hold_up_the_end() {
    let world = World::new().await;
    let mut reader = Reader::snapshot(&world).await;
    let (changes, left) = tokio::join!(reader.wait(&world, 60), async {
        world.stranger.get("/healthz").await.unwrap();
        world.stop().await
    });
    assert!(changes.is_empty());
    assert_eq!(left, Vec::<String>::new());
}
