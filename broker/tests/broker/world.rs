//! A broker with an agent whose trust data is made here, on a clock that stands still until it is moved.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tempfile::TempDir;
use tessera_agent::location::LocationFiles;
use tessera_agent::trust::{TrustEffect, TrustState};
use tessera_agent::{Agent, AgentConfig};
use tessera_broker::{Broker, BrokerHandle, RawBrokerConfig};
use tessera_runtime::clock::ManualClock;
use tessera_runtime::metrics::Metrics;
use tessera_runtime::random::SystemRandom;
use tessera_runtime::stop::Stop;
use tessera_token::chain::{IssuerKey, KeyState, StalenessBudget, TenantTrust};
use tessera_token::claims::{Claims, Epochs, Serial};
use tessera_token::hash::TokenHash;
use tessera_token::ids::{Audience, DeviceId, GroupId, TenantId};
use tessera_token::issue::{issue, issue_symmetric};
use tessera_token::key::{Algorithm, SecretKey};
use tessera_token::messages::SERVICE_TENANT;
use tessera_token::proof::{ConnectProof, Credential, DerivationKey, SymmetricKey};
use tessera_token::scope::{Permission, Scope, ScopeEntry};
use tessera_token::time::UnixSeconds;
use tessera_token::topic::TopicFilter;
use tessera_token::trust::{Change, DeviceEpoch, EventHash, GroupEpoch, RevokedToken, Snapshot};

pub const NOW: u64 = 1_800_000_000;
pub const AUDIENCE: &str = "broker";
pub const TENANT: &str = "acme";

pub struct World {
    pub clock: Arc<ManualClock>,
    pub agent: Agent,
    pub broker: BrokerHandle,
    pub stop: Stop,
    root: SecretKey,
    issuer: SecretKey,
    changes: Mutex<Vec<Change>>,
    seq: AtomicU64,
    counter: AtomicU32,
    /// Where clients connect instead, when the broker under test is another process.
    pub elsewhere: Mutex<Option<SocketAddr>>,
    _folder: Option<TempDir>,
}

pub fn tenant() -> TenantId {
    TenantId::parse(TENANT).unwrap()
}

pub fn device_id(name: &str) -> DeviceId {
    DeviceId::parse(name).unwrap()
}

/// The key of a device, made from its name.
pub fn device_key(name: &str) -> SecretKey {
    let mut seed = [7; 32];
    for (to, from) in seed.iter_mut().zip(name.bytes()) {
        *to = from;
    }
    SecretKey::from_seed(&seed)
}

/// A scope from `("pub", "filter")`, `("sub", …)`, `("both", …)`.
pub fn scope(entries: &[(&str, &str)]) -> Scope {
    let entry = |(what, filter): &(&str, &str)| ScopeEntry {
        filter: TopicFilter::parse(filter).unwrap(),
        permission: match *what {
            "pub" => Permission::Publish,
            "sub" => Permission::Subscribe,
            _ => Permission::Both,
        },
    };
    Scope::new(entries.iter().map(entry).collect()).unwrap()
}

/// Publishes its telemetry, receives its commands.
pub fn device_scope(name: &str) -> Scope {
    let (telemetry, status) = (format!("d/{name}/telemetry"), format!("d/{name}/status"));
    let cmd = format!("d/{name}/cmd");
    scope(&[("pub", &telemetry), ("pub", &status), ("sub", &cmd)])
}

pub fn backend_scope() -> Scope {
    scope(&[("sub", "d/#"), ("pub", "d/+/cmd"), ("sub", "$tessera/alerts")])
}

fn tenant_change(epoch: u64, suspended: bool, bearer: bool) -> Change {
    let staleness = StalenessBudget::default();
    Change::Tenant(TenantTrust { tenant: tenant(), epoch, suspended, bearer, staleness })
}

fn issuer_key(tenant: TenantId, key: &SecretKey, state: KeyState) -> IssuerKey {
    IssuerKey {
        tenant,
        key: key.public(),
        not_before: UnixSeconds::new(NOW - 1000),
        not_after: UnixSeconds::new(NOW + 100 * 86_400),
        state,
    }
}

pub async fn world() -> World {
    world_with(|_| {}).await
}

pub async fn world_with(change: impl FnOnce(&mut RawBrokerConfig)) -> World {
    let folder = tempfile::tempdir().unwrap();
    let mut world = world_in(folder.path(), NOW, change).await;
    world._folder = Some(folder);
    world
}

/// A broker that derives symmetric keys by this file.
pub async fn world_deriving(keys: &Path, change: impl FnOnce(&mut RawBrokerConfig)) -> World {
    let folder = tempfile::tempdir().unwrap();
    let mut world = world_from(folder.path(), NOW, Some(keys), change).await;
    world._folder = Some(folder);
    world
}

/// A broker that knows where addresses are.
pub async fn world_located(files: LocationFiles) -> World {
    let folder = tempfile::tempdir().unwrap();
    let locate = |agent: &mut AgentConfig| agent.location = files;
    let mut world = world_of(folder.path(), NOW, locate, |_| {}).await;
    world._folder = Some(folder);
    world
}

/// A broker on a folder that may have been used before.
pub async fn world_in(folder: &Path, now: u64, change: impl FnOnce(&mut RawBrokerConfig)) -> World {
    world_from(folder, now, None, change).await
}

/// How many sessions a broker takes up at a start by a clock that no heartbeat has confirmed.
pub async fn sessions_by_an_unconfirmed_clock(folder: &Path, now: u64) -> usize {
    let clock = ManualClock::at(UnixSeconds::new(now));
    let pin = SecretKey::from_seed(&[1; 32]).public().thumbprint();
    let config = AgentConfig::new(folder, Audience::parse(AUDIENCE).unwrap(), pin);
    let (metrics, stop) = (Metrics::new(), Stop::new());
    let agent =
        Agent::start(config, clock.clone(), SystemRandom::shared(), &metrics, &stop).await.unwrap();
    let raw = RawBrokerConfig {
        mqtt: Some(SocketAddr::from(([127, 0, 0, 1], 0))),
        http: SocketAddr::from(([127, 0, 0, 1], 0)),
        data_dir: folder.to_owned(),
        ..RawBrokerConfig::default()
    };
    let config = raw.validate().unwrap();
    let broker = Broker::start(config, &agent, clock, &metrics, &stop).await.unwrap();
    let sessions = broker.sessions();
    assert_eq!(stop.finish(Duration::from_secs(10)).await, Vec::<String>::new());
    agent.close().unwrap();
    sessions
}

/// As [`world_in`], with a file of derivation keys.
pub async fn world_from(
    folder: &Path,
    now: u64,
    keys: Option<&Path>,
    change: impl FnOnce(&mut RawBrokerConfig),
) -> World {
    let derive = |agent: &mut AgentConfig| agent.derivation_key_file = keys.map(Path::to_owned);
    world_of(folder, now, derive, change).await
}

async fn world_of(
    folder: &Path,
    now: u64,
    change_agent: impl FnOnce(&mut AgentConfig),
    change: impl FnOnce(&mut RawBrokerConfig),
) -> World {
    let clock = ManualClock::at(UnixSeconds::new(now));
    let (root, issuer) = (SecretKey::from_seed(&[1; 32]), SecretKey::from_seed(&[2; 32]));
    let mut config =
        AgentConfig::new(folder, Audience::parse(AUDIENCE).unwrap(), root.public().thumbprint());
    change_agent(&mut config);
    let (metrics, stop) = (Metrics::new(), Stop::new());
    let agent =
        Agent::start(config, clock.clone(), SystemRandom::shared(), &metrics, &stop).await.unwrap();
    let mut raw = RawBrokerConfig {
        mqtt: Some(SocketAddr::from(([127, 0, 0, 1], 0))),
        http: SocketAddr::from(([127, 0, 0, 1], 0)),
        data_dir: folder.to_owned(),
        ..RawBrokerConfig::default()
    };
    // Tests move the clock by hours without a PINGREQ in between.
    raw.limits.keep_alive = u16::MAX;
    change(&mut raw);
    let config = raw.validate().unwrap();
    let broker = Broker::start(config, &agent, clock.clone(), &metrics, &stop).await.unwrap();
    let key = issuer_key(tenant(), &issuer, KeyState::Active);
    let changes = Mutex::new(vec![tenant_change(1, false, false), Change::Key(key)]);
    // As devices wait after a stop without notice, until their proofs are later than all that may have been used.
    while agent.validator().decides_proofs().is_err() {
        clock.advance(Duration::from_secs(1));
    }
    let (seq, counter) = (AtomicU64::new(0), AtomicU32::new(1));
    let elsewhere = Mutex::new(None);
    let world = World {
        clock,
        agent,
        broker,
        stop,
        root,
        issuer,
        changes,
        seq,
        counter,
        elsewhere,
        _folder: None,
    };
    world.publish(TrustEffect::Reloaded);
    world
}

impl World {
    pub fn mqtt(&self) -> SocketAddr {
        self.elsewhere.lock().unwrap().unwrap_or(self.broker.mqtt_addr)
    }

    /// As the heartbeats of the feed do until so many seconds from now.
    fn confirm(&self, seconds: u64) {
        let trust = self.agent.trust();
        trust.beat(trust.now(), trust.monotonic() + Duration::from_secs(seconds));
    }

    /// As a heartbeat does whose service has a clock that is so many seconds ahead.
    pub fn service_is_ahead(&self, seconds: u64) {
        let trust = self.agent.trust();
        trust.beat(trust.now().plus(seconds), trust.monotonic());
    }

    /// Time in which the feed cannot be reached.
    pub fn advance_alone(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    pub fn advance(&self, seconds: u64) {
        self.confirm(seconds);
        self.clock.advance(Duration::from_secs(seconds));
    }

    pub fn metric(&self, line: &str) -> u64 {
        let text = self.broker.metrics();
        let value = text.lines().find_map(|one| one.strip_prefix(line)?.strip_prefix(' '));
        value.map_or(0, |value| value.parse::<f64>().unwrap() as u64)
    }

    /// As after a snapshot of a service whose clock is far ahead: whether the broker was away for long is open.
    pub fn absence_opens(&self) {
        let trust = self.agent.trust();
        let state = trust.load().as_ref().clone().with_open_absence(trust.now());
        trust.publish(state, [TrustEffect::Reloaded]);
    }

    /// A heartbeat with the right time: the absence was short.
    pub fn absence_was_short(&self) {
        let trust = self.agent.trust();
        let state = trust.load().forgotten_by(trust.now()).unwrap();
        assert_eq!(state.forgotten(), None);
        trust.publish(state, [TrustEffect::Reloaded]);
    }

    fn publish(&self, effect: TrustEffect) {
        let time = self.agent.validator().now();
        let snapshot = Snapshot {
            seq: self.seq.fetch_add(1, Ordering::SeqCst) + 1,
            head: EventHash::of(&self.seq.load(Ordering::SeqCst).to_be_bytes()),
            time,
            valid_until: time.plus(30 * 86_400),
            state: self.changes.lock().unwrap().clone(),
        };
        let bytes = snapshot.sign(&self.root).unwrap();
        let trust = self.agent.trust();
        let audience = Audience::parse(AUDIENCE).unwrap();
        let empty = TrustState::empty(audience);
        let known = trust.load();
        let from = if known.is_empty() { &empty } else { &**known };
        let state = from.with_snapshot(&bytes, &self.root.public().thumbprint(), time).unwrap();
        drop(known);
        // Confirmed first, as for a reader that was established before.
        self.confirm(0);
        trust.publish(state, [effect]);
    }

    fn change(&self, change: Change, effect: TrustEffect) {
        self.changes.lock().unwrap().push(change);
        self.publish(effect);
    }

    pub fn now(&self) -> UnixSeconds {
        self.agent.validator().now()
    }

    /// A change that ends no grant.
    pub fn tell(&self, change: Change) {
        let effect = match &change {
            Change::Rule(rule) => TrustEffect::Rules(rule.tenant.clone()),
            Change::Restraint(one) => {
                TrustEffect::Restraint { tenant: one.tenant.clone(), device: one.device.clone() }
            }
            Change::Group(group) => {
                TrustEffect::Group { tenant: group.tenant.clone(), number: group.number }
            }
            _ => TrustEffect::Reloaded,
        };
        self.change(change, effect);
    }

    pub fn name_group(&self, number: u64, name: &str) {
        let (group, announced_until) = (GroupId::parse(name).unwrap(), None);
        let epoch = GroupEpoch { tenant: tenant(), group, number, epoch: 0, announced_until };
        self.tell(Change::Group(epoch));
    }

    pub fn allow_bearer(&self) {
        self.change(tenant_change(1, false, true), TrustEffect::Tenant(tenant()));
    }

    pub fn forbid_bearer(&self) {
        self.change(tenant_change(1, false, false), TrustEffect::Tenant(tenant()));
    }

    pub fn suspend_tenant(&self) {
        self.change(tenant_change(1, true, false), TrustEffect::Tenant(tenant()));
    }

    pub fn revoke_tenant(&self) {
        self.change(tenant_change(2, false, false), TrustEffect::Tenant(tenant()));
    }

    pub fn revoke_device(&self, name: &str) {
        let at = UnixSeconds::new(NOW);
        let epoch = DeviceEpoch { tenant: tenant(), device: device_id(name), epoch: 1, at };
        self.change(
            Change::Device(epoch),
            TrustEffect::Device { tenant: tenant(), device: device_id(name) },
        );
    }

    pub fn revoke_group(&self, number: u64) {
        let group = GroupId::parse("g").unwrap();
        let announced_until = None;
        let epoch = GroupEpoch { tenant: tenant(), group, number, epoch: 1, announced_until };
        self.change(Change::Group(epoch), TrustEffect::Group { tenant: tenant(), number });
    }

    pub fn revoke_token(&self, name: &str, token: &[u8]) {
        let hash = TokenHash::of(token);
        let expires = UnixSeconds::new(NOW + 3600);
        let revoked =
            RevokedToken { token: hash, tenant: tenant(), device: device_id(name), expires };
        self.change(
            Change::Token(revoked),
            TrustEffect::Token { tenant: tenant(), device: device_id(name), hash },
        );
    }

    pub fn compromise_key(&self) {
        self.key_becomes(KeyState::Compromised);
    }

    pub fn key_becomes(&self, state: KeyState) {
        let key = issuer_key(tenant(), &self.issuer, state);
        let kid = self.issuer.public().key_id();
        self.change(Change::Key(key), TrustEffect::Key { tenant: tenant(), kid });
    }

    pub fn token(&self, name: &str, scope: Scope) -> Vec<u8> {
        self.token_with(name, scope, |_| {})
    }

    pub fn token_with(
        &self,
        name: &str,
        scope: Scope,
        change: impl FnOnce(&mut Claims),
    ) -> Vec<u8> {
        let claims = self.claims(name, scope, change);
        issue(&claims, Algorithm::Ed25519, &self.issuer).unwrap()
    }

    /// A token of the tenant that provisioning keeps for itself, of which the broker hears with it.
    pub fn token_of_service(&self) -> Vec<u8> {
        let (tenant, own) =
            (TenantId::parse(SERVICE_TENANT).unwrap(), SecretKey::from_seed(&[3; 32]));
        let trust = TenantTrust {
            tenant: tenant.clone(),
            epoch: 1,
            suspended: false,
            bearer: false,
            staleness: StalenessBudget::default(),
        };
        let key = issuer_key(tenant.clone(), &own, KeyState::Active);
        self.changes.lock().unwrap().extend([Change::Tenant(trust), Change::Key(key)]);
        self.publish(TrustEffect::Reloaded);
        let claims = self.claims("provisioning", Scope::default(), |claims| claims.tenant = tenant);
        issue(&claims, Algorithm::Ed25519, &own).unwrap()
    }

    /// A token whose key this derivation key makes, and the key.
    pub fn symmetric_token(
        &self,
        name: &str,
        scope: Scope,
        by: &DerivationKey,
    ) -> (Vec<u8>, SymmetricKey) {
        let claims = self.claims(name, scope, |_| {});
        let token = issue_symmetric(&claims, by, Algorithm::Ed25519, &self.issuer).unwrap();
        let key = by.key_of(&token).unwrap();
        (token, key)
    }

    fn claims(&self, name: &str, scope: Scope, change: impl FnOnce(&mut Claims)) -> Claims {
        let now = self.agent.validator().now();
        let serial = u64::from(self.counter.fetch_add(1, Ordering::SeqCst));
        let mut claims = Claims {
            tenant: tenant(),
            device: device_id(name),
            audience: Audience::parse(AUDIENCE).unwrap(),
            expires: now.plus(3600),
            not_before: None,
            issued: now,
            serial: Serial::from_counter(serial),
            confirmation: Some(device_key(name).public()),
            scope,
            epochs: Epochs { tenant: 1, group_number: 5, group: 0, device: 0 },
        };
        change(&mut claims);
        claims
    }

    /// The number of a proof that was not used yet.
    pub fn next_counter(&self) -> u32 {
        self.counter.fetch_add(1, Ordering::SeqCst)
    }

    /// Token and a fresh proof for this client id.
    pub fn password(&self, name: &str, client_id: &str, token: Vec<u8>) -> Vec<u8> {
        let counter = self.next_counter();
        let time = self.agent.validator().now();
        let proof =
            ConnectProof::make(&device_key(name), AUDIENCE, client_id, &token, time, counter);
        Credential { token, proof: Some(proof) }.to_password()
    }
}

/// Another broker on what the first one left, whose trust data know nothing of what was revoked. It gets a copy: the
/// store of a stopped broker stays locked for as long as this process holds anything of it.
pub async fn restarted(world: World, left: &Path, copy: &Path, later: u64) -> World {
    restarted_with(world, left, copy, later, |_| {}).await
}

/// As [`restarted`], with other settings.
pub async fn restarted_with(
    world: World,
    left: &Path,
    copy: &Path,
    later: u64,
    change: impl FnOnce(&mut RawBrokerConfig),
) -> World {
    let now = world.agent.validator().now().get() + later;
    let counter = world.next_counter();
    assert_eq!(world.stop.finish(Duration::from_secs(10)).await, Vec::<String>::new());
    copy_folder(left, copy);
    let world = world_in(copy, now, change).await;
    while world.next_counter() < counter {}
    world
}

pub fn copy_folder(from: &Path, to: &Path) {
    // A store that others can read is not opened.
    std::fs::set_permissions(to, std::fs::metadata(from).unwrap().permissions()).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            std::fs::create_dir_all(&target).unwrap();
            copy_folder(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}
