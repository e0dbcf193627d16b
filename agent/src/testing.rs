//! A small world for tests: a root key, an issuer, a tenant, a device, and the signed feed that speaks of them.

use std::path::Path;
use std::sync::Arc;

use actix_web::{web, App, HttpRequest, HttpResponse, HttpServer};
use parking_lot::Mutex;
use tessera_runtime::clock::ManualClock;
use tessera_runtime::store::Store;
use tessera_token::chain::{IssuerKey, KeyState, StalenessBudget, TenantTrust};
use tessera_token::claims::{Claims, Epochs, Serial};
use tessera_token::hash::TokenHash;
use tessera_token::ids::{Audience, DeviceId, GroupId, TenantId};
use tessera_token::key::{Algorithm, SecretKey, Thumbprint};
use tessera_token::proof::{ConnectProof, Credential};
use tessera_token::scope::{Permission, Scope, ScopeEntry};
use tessera_token::time::UnixSeconds;
use tessera_token::topic::TopicFilter;
use tessera_token::trust::{
    BoundFeed, BoundSnapshot, Change, DeviceEpoch, Event, EventHash, Feed, FeedNonce, GroupEpoch,
    Heartbeat, RevokedToken, Snapshot, TenantSet, View,
};
use tokio::sync::{Notify, Semaphore};

use crate::behaviour::{self, BehaviourConfig};
use crate::ledger::{Ledger, LedgerMetrics, Opening};
use crate::namesake::Namesake;
use crate::trust::{Trust, TrustState, TrustStore, TrustTime};
use crate::validator::Validator;

pub(crate) const NOW: u64 = 1_800_000_000;
pub(crate) const DEVICE: &str = "d-1";
/// The nonce of a reader that asks by hand.
pub(crate) const NONCE: FeedNonce = FeedNonce::from_bytes([7; 16]);

/// The authority's side.
pub(crate) struct World {
    pub(crate) root: SecretKey,
    pub(crate) issuer: SecretKey,
    pub(crate) device_key: SecretKey,
    pub(crate) events: Vec<Vec<u8>>,
    pub(crate) changes: Vec<Change>,
}

pub(crate) fn at(seconds: u64) -> UnixSeconds {
    UnixSeconds::new(seconds)
}

pub(crate) fn tenant() -> TenantId {
    TenantId::parse("acme").unwrap()
}

pub(crate) fn device(name: &str) -> DeviceId {
    DeviceId::parse(name).unwrap()
}

pub(crate) fn audience() -> Audience {
    Audience::parse("broker").unwrap()
}

pub(crate) fn tenant_trust(epoch: u64) -> TenantTrust {
    TenantTrust {
        tenant: tenant(),
        epoch,
        suspended: false,
        bearer: false,
        staleness: StalenessBudget::default(),
    }
}

pub(crate) fn group_change(number: u64, epoch: u64) -> Change {
    let group = GroupId::parse("g").unwrap();
    Change::Group(GroupEpoch { tenant: tenant(), group, number, epoch, announced_until: None })
}

pub(crate) fn device_change(name: &str, epoch: u64, moved: u64) -> Change {
    Change::Device(DeviceEpoch { tenant: tenant(), device: device(name), epoch, at: at(moved) })
}

/// The same of another tenant.
pub(crate) fn device_change_of(tenant: &str, name: &str, epoch: u64) -> Change {
    let tenant = TenantId::parse(tenant).unwrap();
    Change::Device(DeviceEpoch { tenant, device: device(name), epoch, at: at(NOW) })
}

/// The set of these tenants.
pub(crate) fn set(tenants: &[&str]) -> TenantSet {
    TenantSet::new(tenants.iter().map(|tenant| TenantId::parse(tenant).unwrap())).unwrap()
}

pub(crate) fn token_change(token: &[u8], expires: u64) -> Change {
    Change::Token(RevokedToken {
        token: TokenHash::of(token),
        tenant: tenant(),
        device: device(DEVICE),
        expires: at(expires),
    })
}

impl World {
    pub(crate) fn new() -> Self {
        Self {
            root: SecretKey::from_seed(&[1; 32]),
            issuer: SecretKey::from_seed(&[2; 32]),
            device_key: SecretKey::from_seed(&[3; 32]),
            events: Vec::new(),
            changes: Vec::new(),
        }
    }

    pub(crate) fn pin(&self) -> Thumbprint {
        self.root.public().thumbprint()
    }

    pub(crate) fn key_change(&self, state: KeyState) -> Change {
        Change::Key(IssuerKey {
            tenant: tenant(),
            key: self.issuer.public(),
            not_before: at(NOW - 1000),
            not_after: at(NOW + 100 * 86_400),
            state,
        })
    }

    fn base(&self) -> Vec<Change> {
        vec![Change::Tenant(tenant_trust(1)), self.key_change(KeyState::Active)]
    }

    pub(crate) fn seq(&self) -> u64 {
        self.events.len() as u64
    }

    pub(crate) fn head(&self) -> EventHash {
        self.events.last().map(|event| EventHash::of(event)).unwrap_or_default()
    }

    /// The snapshot of everything so far.
    pub(crate) fn snapshot(&self) -> Vec<u8> {
        self.snapshot_with(|_| {})
    }

    pub(crate) fn snapshot_with(&self, change: impl FnOnce(&mut Snapshot)) -> Vec<u8> {
        let mut state = self.base();
        state.extend(self.changes.iter().cloned());
        let mut snapshot = Snapshot {
            seq: self.seq(),
            head: self.head(),
            time: at(NOW),
            valid_until: at(NOW + 30 * 86_400),
            state,
        };
        change(&mut snapshot);
        snapshot.sign(&self.root).unwrap()
    }

    /// Adds an event behind the others.
    pub(crate) fn event(&mut self, change: Change) -> Vec<u8> {
        self.event_at(change, NOW)
    }

    /// The same, signed at another time.
    pub(crate) fn event_at(&mut self, change: Change, time: u64) -> Vec<u8> {
        let event = Event {
            seq: self.seq() + 1,
            previous: self.head(),
            time: at(time),
            change: change.clone(),
        };
        let bytes = event.sign(&self.root).unwrap();
        self.events.push(bytes.clone());
        self.changes.push(change);
        bytes
    }

    /// The heartbeat that answers [`NONCE`].
    pub(crate) fn heartbeat(&self, time: u64) -> Vec<u8> {
        self.heartbeat_for(&NONCE, time)
    }

    pub(crate) fn heartbeat_for(&self, nonce: &FeedNonce, time: u64) -> Vec<u8> {
        let beat = Heartbeat { seq: self.seq(), head: self.head(), time: at(time) };
        beat.answer(nonce, &self.root).unwrap()
    }

    /// Answer of the service to `after` and [`NONCE`].
    pub(crate) fn feed(&self, after: u64, time: u64) -> Feed {
        self.feed_for(&NONCE, after, time)
    }

    pub(crate) fn feed_for(&self, nonce: &FeedNonce, after: u64, time: u64) -> Feed {
        let events = self.events.iter().skip(after as usize).take(1000).cloned().collect();
        Feed { events, heartbeat: self.heartbeat_for(nonce, time) }
    }

    /// The snapshot that the service gives to an account of these tenants.
    pub(crate) fn bound_snapshot(&self, tenants: &TenantSet) -> Vec<u8> {
        let mut state = self.base();
        state.extend(self.changes.iter().cloned());
        state.retain(|change| tenants.contains(change.tenant()));
        let snapshot = Snapshot {
            seq: self.seq(),
            head: self.head(),
            time: at(NOW),
            valid_until: at(NOW + 30 * 86_400),
            state,
        };
        BoundSnapshot { tenants: tenants.clone(), snapshot }.sign(&self.root).unwrap()
    }

    /// Answer of the service to an account of these tenants.
    pub(crate) fn bound_feed(
        &self,
        tenants: &TenantSet,
        nonce: &FeedNonce,
        after: u64,
        time: u64,
    ) -> BoundFeed {
        let place = after as usize;
        let concerns =
            |event: &&Vec<u8>| tenants.contains(Event::unverified(event).unwrap().change.tenant());
        let events: Vec<_> = self.events[place..].iter().filter(concerns).cloned().collect();
        let before = |seq: usize| {
            seq.checked_sub(1).map(|place| EventHash::of(&self.events[place])).unwrap_or_default()
        };
        let view = View {
            tenants: tenants.id(),
            after,
            after_head: before(place),
            seq: self.seq(),
            head: self.head(),
            time: at(time),
            included: events.iter().map(|event| EventHash::of(event)).collect(),
        };
        let view = match self.seq() > after {
            true => view.sign(&self.root).unwrap(),
            false => Vec::new(),
        };
        BoundFeed { view, feed: Feed { events, heartbeat: self.heartbeat_for(nonce, time) } }
    }

    pub(crate) fn claims(&self) -> Claims {
        let entry = |filter: String, permission| ScopeEntry {
            filter: TopicFilter::parse(&filter).unwrap(),
            permission,
        };
        Claims {
            tenant: tenant(),
            device: device(DEVICE),
            audience: audience(),
            expires: at(NOW + 3600),
            not_before: None,
            issued: at(NOW),
            serial: Serial::from_counter(7),
            confirmation: Some(self.device_key.public()),
            scope: Scope::new(vec![
                entry(format!("d/{DEVICE}/telemetry"), Permission::Publish),
                entry(format!("d/{DEVICE}/cmd"), Permission::Subscribe),
            ])
            .unwrap(),
            epochs: Epochs { tenant: 1, group_number: 5, group: 0, device: 0 },
        }
    }

    pub(crate) fn token(&self) -> Vec<u8> {
        self.token_with(|_| {})
    }

    pub(crate) fn token_with(&self, change: impl FnOnce(&mut Claims)) -> Vec<u8> {
        let mut claims = self.claims();
        change(&mut claims);
        tessera_token::issue::issue(&claims, Algorithm::Ed25519, &self.issuer).unwrap()
    }

    pub(crate) fn credential(&self, token: &[u8], time: u64, counter: u32) -> Credential {
        self.credential_for(audience().as_str(), token, time, counter)
    }

    pub(crate) fn credential_for(
        &self,
        verifier: &str,
        token: &[u8],
        time: u64,
        counter: u32,
    ) -> Credential {
        let (key, time) = (&self.device_key, at(time));
        let proof = ConnectProof::make(key, verifier, DEVICE, token, time, counter);
        Credential { token: token.to_vec(), proof: Some(proof) }
    }

    pub(crate) fn password(&self, token: &[u8], time: u64, counter: u32) -> Vec<u8> {
        self.credential(token, time, counter).to_password()
    }

    /// Trust as a verifier has it after the snapshot.
    pub(crate) fn trusted(&self) -> TrustState {
        TrustState::empty(audience()).with_snapshot(&self.snapshot(), &self.pin(), at(NOW)).unwrap()
    }
}

/// A verifier's side, in a folder.
pub(crate) struct Verifier {
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) store: Store,
    pub(crate) trust: Arc<Trust>,
    pub(crate) trust_store: TrustStore,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) validator: Validator,
    pub(crate) observer: behaviour::Observer,
}

impl Verifier {
    pub(crate) fn open(folder: &Path, pin: Thumbprint, now: u64) -> Self {
        let clock = ManualClock::at(at(now));
        let store = Store::open(folder).unwrap();
        let trust_store = TrustStore::new(&store, pin).unwrap();
        let state = trust_store.load(audience()).unwrap();
        let time = TrustTime::new(clock.clone(), trust_store.time().unwrap());
        let trust = Trust::new(state, time);
        let metrics = tessera_runtime::metrics::Metrics::new();
        let random = tessera_runtime::random::SystemRandom::shared();
        let (observer, _) = {
            let announced = Box::new(crate::announced::Announced::default);
            behaviour::start(
                &store,
                BehaviourConfig::default(),
                clock.clone(),
                &random,
                announced,
                None,
                &metrics,
            )
        }
        .ok()
        .unwrap();
        let counted = LedgerMetrics::new(&metrics).unwrap();
        let ledger =
            Ledger::open(&store, Opening::default(), clock.clone(), trust.now(), counted).unwrap();
        let ledger = Arc::new(ledger);
        let name = (&audience()).into();
        let namesake = Namesake::new(name, [0; 16], clock.clone(), &metrics).unwrap();
        let (taken, kept) = (ledger.clone(), store.clone());
        let (named, told) = (Arc::new(namesake), observer.clone());
        let validator = Validator::new(trust.clone(), taken, kept, told, named);
        Self { clock, store, trust, trust_store, ledger, validator, observer }
    }

    /// With the snapshot of `world` taken in and stored.
    pub(crate) fn trusting(folder: &Path, world: &World) -> Self {
        let verifier = Self::open(folder, world.pin(), NOW);
        let snapshot = world.snapshot();
        verifier.trust_store.save_snapshot(&snapshot, &TrustState::empty(audience())).unwrap();
        let beat = world.heartbeat(NOW);
        verifier.trust_store.save_events(1, [].iter(), Some((&beat, at(NOW)))).unwrap();
        verifier.trust.publish(world.trusted(), None);
        verifier.trust.beat(at(NOW), verifier.trust.monotonic());
        verifier
    }
}

/// The feed of a provisioning service over real HTTP.
pub(crate) struct FeedService {
    port: u16,
    shared: Arc<FeedShared>,
    handle: actix_web::dev::ServerHandle,
}

struct FeedShared {
    world: Arc<Mutex<World>>,
    news: Notify,
    refused: Semaphore,
}

impl FeedService {
    pub(crate) async fn start(world: Arc<Mutex<World>>) -> Self {
        let shared =
            Arc::new(FeedShared { world, news: Notify::new(), refused: Semaphore::new(0) });
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let data = web::Data::from(shared.clone());
        let server = HttpServer::new(move || {
            App::new()
                .app_data(data.clone())
                .route("/v1/trust/snapshot", web::get().to(snapshot))
                .route("/v1/trust/events", web::get().to(events))
        })
        .workers(1)
        .disable_signals()
        .listen(listener)
        .unwrap()
        .run();
        let handle = server.handle();
        tokio::spawn(server);
        Self { port, shared, handle }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub(crate) fn event(&self, change: Change) {
        self.shared.world.lock().event(change);
        self.shared.news.notify_waiters();
    }

    pub(crate) async fn refused_once(&self) {
        self.shared.refused.acquire().await.unwrap().forget();
    }
}

impl Drop for FeedService {
    fn drop(&mut self) {
        drop(self.handle.stop(false));
    }
}

fn allowed(request: &HttpRequest, shared: &FeedShared) -> bool {
    let token = request.headers().get("authorization");
    let good = token.is_some_and(|token| token == "Bearer feed-token");
    if !good {
        shared.refused.add_permits(1);
    }
    good
}

async fn snapshot(request: HttpRequest, shared: web::Data<FeedShared>) -> HttpResponse {
    if !allowed(&request, &shared) {
        return HttpResponse::Unauthorized().finish();
    }
    HttpResponse::Ok().content_type("application/cbor").body(shared.world.lock().snapshot())
}

async fn events(request: HttpRequest, shared: web::Data<FeedShared>) -> HttpResponse {
    if !allowed(&request, &shared) {
        return HttpResponse::Unauthorized().finish();
    }
    let part = |name: &str| {
        request.query_string().split('&').find_map(|pair| pair.strip_prefix(name)).unwrap()
    };
    let (after, wait): (u64, u64) =
        (part("after=").parse().unwrap(), part("wait=").parse().unwrap());
    let nonce: FeedNonce = part("nonce=").parse().unwrap();
    let news = shared.news.notified();
    if wait > 0 && shared.world.lock().seq() <= after {
        news.await;
    }
    let feed = shared.world.lock().feed_for(&nonce, after, NOW);
    HttpResponse::Ok().content_type("application/cbor").body(feed.to_cbor())
}
