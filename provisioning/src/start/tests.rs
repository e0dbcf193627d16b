use actix_web::http::StatusCode;
use actix_web::test::{call_service, init_service, read_body, TestRequest};
use actix_web::{web, App};
use tessera_runtime::clock::{Clock, ManualClock};
use tessera_runtime::random::SystemRandom;
use tessera_token::ids::{DeviceId, TenantId};
use tessera_token::key::SecretKey;
use tessera_token::messages::{RefusalAnswer, TokenKind, TokenRequest, ACE_CBOR};
use tessera_token::refusal::RefusalCode;
use tessera_token::time::UnixSeconds;

use super::*;
use crate::rest;

mod families;
mod imports;
mod keys_due;
mod life;
mod links;
mod open_claims;
mod roles;
mod schema;
mod upgrade;

const NOW: UnixSeconds = UnixSeconds::new(1_800_000_000);

/// The service of this folder, and the token of its first operator when it was founded now.
async fn built(dir: &Path, clock: Arc<ManualClock>) -> (Arc<Service>, Option<String>) {
    let config = ProvisioningConfig::new(dir, "127.0.0.1:0".parse().unwrap()).unwrap();
    let (random, metrics) = (SystemRandom::shared(), Metrics::new());
    let parts = run::Parts { config, clock, random, metrics, stop: Stop::new() };
    let place = opening::Place::make(dir).unwrap();
    let database = opening::open(&place, None, false, &parts.clock, &*parts.random).await.unwrap();
    let (service, handle) = run::build(parts, &place, database).await.unwrap();
    let token = handle.first_start().map(|first| first.operator_token.expose().clone());
    (service, token)
}

fn as_operator(token: &str, path: &str, body: &str) -> TestRequest {
    TestRequest::post()
        .uri(path)
        .peer_addr("127.0.0.1:9".parse().unwrap())
        .insert_header(("authorization", format!("Bearer {token}")))
        .insert_header(("content-type", "application/json"))
        .set_payload(body.to_owned())
}

/// A symmetric key is told to the signer alone, wherever the request comes from: no address counts for privacy.
#[test]
fn a_symmetric_key_is_asked_for_with_a_key_to_answer_to_from_everywhere() {
    actix_rt::System::new().block_on(ask_from_everywhere());
}

async fn ask_from_everywhere() {
    let dir = tempfile::tempdir().unwrap();
    let (service, _) = built(dir.path(), ManualClock::at(NOW)).await;
    let app = App::new().app_data(web::Data::from(service.clone())).configure(rest::configure);
    let app = init_service(app).await;
    let (tenant, device) = (TenantId::parse("default").unwrap(), DeviceId::parse("a").unwrap());
    let key = SecretKey::from_seed(&[1; 32]);
    let peers =
        ["192.0.2.1:9", "[2001:db8::1]:9", "127.0.0.1:9", "[::1]:9", "[::ffff:127.0.0.1]:9"];
    let cases = [
        (TokenKind::Symmetric, None, RefusalCode::ChannelInClear),
        (TokenKind::Symmetric, Some([5; 32]), RefusalCode::ProofInvalid),
        (TokenKind::Key, None, RefusalCode::ProofInvalid),
    ];
    for (peer, (kind, answer_key, expected)) in
        peers.iter().flat_map(|peer| cases.map(|case| (*peer, case)))
    {
        let mut request = TokenRequest::draft(&tenant, &device, NOW, &[1; 16], kind);
        request.answer_key = answer_key;
        let request = request.signed_by(&key);
        let request = TestRequest::post()
            .uri("/v1/token")
            .peer_addr(peer.parse().unwrap())
            .insert_header(("content-type", ACE_CBOR))
            // The word of a peer about itself counts for nothing.
            .insert_header(("x-forwarded-for", "127.0.0.1"))
            .insert_header(("x-forwarded-proto", "https"))
            .set_payload(request.to_cbor());
        let answer = call_service(&app, request.to_request()).await;
        let forbidden = answer.status() == StatusCode::FORBIDDEN;
        let refusal = RefusalAnswer::from_cbor(&read_body(answer).await).unwrap();
        assert_eq!(refusal.code, Some(expected), "{peer}");
        assert_eq!(forbidden, expected == RefusalCode::ChannelInClear);
    }
    service.database.close().await.unwrap();
}

/// The keys of a service that an earlier version founded in 1970 are good again.
#[test]
fn keys_that_were_made_in_1970_are_dated_anew() {
    actix_rt::System::new().block_on(async {
        use crate::audit::Actor;
        use crate::keys::in_state;
        use crate::records::keys::State;
        use crate::rotation;
        let dir = tempfile::tempdir().unwrap();
        let config = ProvisioningConfig::new(dir.path(), "127.0.0.1:0".parse().unwrap()).unwrap();
        let (clock, random) = (ManualClock::at(UnixSeconds::new(77)), SystemRandom::shared());
        let place = opening::Place::make(dir.path()).unwrap();
        let shared: tessera_runtime::clock::SharedClock = clock.clone();
        let database = opening::open(&place, None, false, &shared, &*random).await.unwrap();
        let parts = |config| run::Parts {
            config,
            clock: clock.clone(),
            random: random.clone(),
            metrics: Metrics::new(),
            stop: Stop::new(),
        };
        let (before, _) = run::build(parts(config), &place, database.clone()).await.unwrap();
        let tenant = TenantId::parse("default").unwrap();
        rotation::rotate(&before, &Actor::system("test"), &tenant).await.unwrap();
        chained(&before).await;
        clock.set_unix(NOW);
        let config = ProvisioningConfig::new(dir.path(), "127.0.0.1:0".parse().unwrap()).unwrap();
        let (service, _) = run::build(parts(config), &place, database.clone()).await.unwrap();
        crate::heal::keys(&service).await.unwrap();
        for (state, valid) in [
            (State::Next, crate::limits::KEY_SECONDS),
            (State::Active, crate::limits::KEY_SECONDS),
            (State::Retiring, tessera_token::limits::TOKEN_LIFE_SECONDS),
        ] {
            let (_, key) = in_state(&service.tables, &tenant, state).await.unwrap().unwrap();
            assert!(key.not_after >= NOW.get() + valid, "{state:?} {key:?}");
            assert!(key.not_before < NOW.get());
        }
        // Nothing is left to be dated.
        let seq = crate::trust::ledger::Head::read(&service.tables).await.unwrap().seq;
        crate::heal::keys(&service).await.unwrap();
        assert_eq!(crate::trust::ledger::Head::read(&service.tables).await.unwrap().seq, seq);
        chained(&service).await;
        database.close().await.unwrap();
    });
}

/// Nothing is on its way to the store any more. Closing it waits for all who write, and they write on this thread.
async fn chained(service: &crate::service::Service) {
    service.audit.send(crate::audit::actor::ChainPending).await.unwrap().unwrap();
}

struct Rig {
    dir: tempfile::TempDir,
    clock: std::sync::Arc<ManualClock>,
    database: tessera_runtime::sql::Database,
}

impl Rig {
    fn new(now: UnixSeconds) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let place = opening::Place::make(dir.path()).unwrap();
        let clock = ManualClock::at(now);
        let shared: tessera_runtime::clock::SharedClock = clock.clone();
        let database = opening::open_here(&place, false, &shared, &SystemRandom).unwrap();
        Self { dir, clock, database }
    }

    /// A service on the store, without a socket and without a sweeper.
    async fn start(
        &self,
        change: impl FnOnce(&mut ProvisioningConfig),
    ) -> Result<std::sync::Arc<crate::service::Service>, StartError> {
        let addr = "127.0.0.1:0".parse().unwrap();
        let mut config = ProvisioningConfig::new(self.dir.path(), addr).unwrap();
        change(&mut config);
        let parts = run::Parts {
            config,
            clock: self.clock.clone(),
            random: SystemRandom::shared(),
            metrics: Metrics::new(),
            stop: Stop::new(),
        };
        let place = opening::Place::make(self.dir.path()).unwrap();
        Ok(run::build(parts, &place, self.database.clone()).await?.0)
    }
}

fn default_tenant() -> TenantId {
    TenantId::parse("default").unwrap()
}

/// A scan gives no more than its limit: the next call dates the rows behind it.
#[test]
fn keys_behind_the_first_rows_of_the_table_are_dated_too() {
    actix_rt::System::new().block_on(async {
        use crate::keys::in_state;
        use crate::records::keys::{KeyRecord, State};
        use tessera_runtime::limits::STORE_SCAN_ROWS;
        let rig = Rig::new(UnixSeconds::new(77));
        let service = rig.start(|_| {}).await.unwrap();
        let public = SecretKey::from_seed(&[1; 32]).public_bytes();
        let retired = KeyRecord::next(public, NOW.get()).in_state(State::Retired, NOW.get());
        let first = TenantId::parse("a").unwrap();
        let numbers: Vec<u64> = (0..=STORE_SCAN_ROWS as u64).collect();
        for part in numbers.chunks(500) {
            let mut batch = tessera_runtime::sql::Batch::new();
            for number in part {
                let id = tessera_token::key::KeyId::from_bytes(number.to_be_bytes());
                crate::keys::put(&service.tables, &mut batch, &first, id, &retired);
            }
            service.database.commit(batch).await.unwrap();
        }
        rig.clock.set_unix(NOW);
        let service = rig.start(|_| {}).await.unwrap();
        let ends = async || {
            let key = in_state(&service.tables, &default_tenant(), State::Active).await.unwrap();
            key.unwrap().1.not_after
        };
        crate::heal::keys(&service).await.unwrap();
        assert!(ends().await < NOW.get(), "it lies behind the first part");
        crate::heal::keys(&service).await.unwrap();
        assert_eq!(ends().await, NOW.get() + crate::limits::KEY_SECONDS);
        chained(&service).await;
        rig.database.close().await.unwrap();
    });
}

/// An issuer key that no program of ours writes.
struct Damaged;

impl tessera_runtime::sql::Record for Damaged {
    const TABLE: &'static str = "issuer_keys";
    const KEY: &'static [&'static str] = &["tenant", "key_id"];
    const COLUMNS: &'static [&'static str] =
        &["public_key", "state", "created", "not_before", "not_after", "since"];

    fn values(&self) -> Vec<tessera_runtime::sql::Value> {
        let zero = 0u64;
        vec![[0; 32].into(), "rubbish".into(), zero.into(), zero.into(), zero.into(), zero.into()]
    }

    fn read(_row: &mut tessera_runtime::sql::Row) -> Result<Self, StoreError> {
        Ok(Self)
    }
}

#[test]
fn a_step_of_the_sweep_that_fails_stops_no_other() {
    actix_rt::System::new().block_on(async {
        let rig = Rig::new(NOW);
        let service = rig.start(|_| {}).await.unwrap();
        let mut batch = tessera_runtime::sql::Batch::new();
        let damaged = service.database.table::<Damaged>();
        batch.put(&damaged, crate::tables::pair("damaged", [0; 8]), &Damaged);
        let row = vec![NOW.get().into(), [7; 33].into()];
        let token = crate::records::RevokedRow { tenant: "default".into(), device: "a".into() };
        batch.put(&service.tables.revoked_tokens, row.clone(), &token);
        service.database.commit(batch).await.unwrap();
        let swept = crate::sweep::once(&service, &mut Default::default()).await;
        assert_eq!(swept.unwrap_err().code, RefusalCode::Internal);
        assert!(!service.tables.revoked_tokens.contains(row).await.unwrap());
        chained(&service).await;
        rig.database.close().await.unwrap();
    });
}

/// Subjects that must be lifted after a jump are lifted at the start, with the group of a device that finds no room.
#[test]
fn a_start_lifts_a_device_without_room_with_its_group() {
    actix_rt::System::new().block_on(async {
        use crate::records::DeviceRecord;
        use crate::tables::pair;
        use crate::trust::restored;
        const FLOOR: u64 = 1000;
        let rig = Rig::new(NOW);
        let service = rig.start(|_| {}).await.unwrap();
        let (tenant, device) = (default_tenant(), DeviceId::parse("a").unwrap());
        let (tables, row) = (&service.tables, pair(&tenant, "a"));
        let record = DeviceRecord {
            role: "sensor".to_owned(),
            group: "default".to_owned(),
            key: SecretKey::from_seed(&[1; 32]).public().as_bytes().to_vec(),
            epoch: 1,
            revoked: false,
            enrolled: NOW.get(),
            claim: String::new(),
            attributes: crate::records::Attributes::default(),
            refresh_from: None,
            suspended: None,
            thumbprint: None,
        };
        let mut batch = tessera_runtime::sql::Batch::new();
        batch.put(&tables.devices, row.clone(), &record);
        let by = crate::audit::Actor::system("test");
        let entry = service.entry(&by, "device.revoke", "default", "a");
        let moved = tessera_token::trust::DeviceEpoch { tenant, device, epoch: 1, at: NOW };
        let changes = vec![tessera_token::trust::Change::Device(moved)];
        service.publish(changes, batch, entry).await.unwrap();
        let mut batch = tessera_runtime::sql::Batch::new();
        batch.delete(&tables.moved_devices, row.clone());
        tables.marks.put(&mut batch, "epoch_floor", &FLOOR);
        restored::lift_after(tables, &mut batch, 0, None).await.unwrap();
        service.database.commit(batch).await.unwrap();
        chained(&service).await;

        let service = rig.start(|config| config.trust.devices = 0).await.unwrap();
        let tables = &service.tables;
        assert_eq!(restored::lifting(tables).await.unwrap(), None);
        let group = tables.groups.get(pair(default_tenant(), "default")).await;
        assert!(group.unwrap().unwrap().epoch >= FLOOR);
        let device = tables.devices.get(row).await.unwrap().unwrap();
        assert_eq!((device.epoch, device.revoked), (FLOOR, false));
        chained(&service).await;
        rig.database.close().await.unwrap();
    });
}

/// A mark of some tenants and one of all are both done, each from its number on, also when the process ended in between.
#[test]
fn a_start_lifts_what_marks_of_some_tenants_and_of_all_name() {
    actix_rt::System::new().block_on(async {
        use tessera_runtime::sql::Batch;
        use tessera_token::ids::GroupId;
        use tessera_token::trust::TenantSet;

        use crate::registry::{groups, tenants};
        use crate::trust::{ledger, restored};
        const FLOOR: u64 = 1000;
        let rig = Rig::new(NOW);
        let service = rig.start(|_| {}).await.unwrap();
        let by = crate::audit::Actor::system("test");
        let ids = ["a", "b", "c"].map(|name| TenantId::parse(name).unwrap());
        let group = GroupId::parse("default").unwrap();
        for id in &ids {
            tenants::create(
                &service,
                &by,
                id,
                false,
                &crate::once::Keep { asked: None, answer: &|_| unreachable!() },
            )
            .await
            .unwrap();
            groups::revoke(&service, &by, id, &group).await.unwrap();
        }
        let head = ledger::Head::read(&service.tables).await.unwrap().seq;
        groups::revoke(&service, &by, &ids[2], &group).await.unwrap();
        let mark = async |after, of: Option<&TenantId>| {
            let of = of.map(|id| TenantSet::new([id.clone()]).unwrap());
            let mut batch = Batch::new();
            service.tables.marks.put(&mut batch, "epoch_floor", &FLOOR);
            restored::lift_after(&service.tables, &mut batch, after, of.as_ref()).await.unwrap();
            service.database.commit(batch).await.unwrap();
        };
        mark(0, Some(&ids[0])).await;
        mark(u64::MAX, Some(&ids[0])).await;
        mark(head, None).await;
        chained(&service).await;

        let service = rig.start(|_| {}).await.unwrap();
        let tables = &service.tables;
        assert_eq!(restored::lifting(tables).await.unwrap(), None);
        let mut epochs = Vec::new();
        for id in &ids {
            let row = tables.groups.get(crate::tables::pair(id, "default")).await;
            epochs.push(row.unwrap().unwrap().epoch);
        }
        assert_eq!(epochs, [FLOOR, 1, FLOOR]);
        chained(&service).await;
        rig.database.close().await.unwrap();
    });
}

/// A connection that breaks drops the future of its request wherever that stands; written rows stay counted.
#[test]
fn a_request_that_is_dropped_anywhere_leaves_the_count_of_room_right() {
    actix_rt::System::new().block_on(async {
        use std::future::{poll_fn, Future as _};
        use std::pin::pin;
        use std::task::Poll;

        use crate::room::Loads;
        use crate::trust::whole::TakeSnapshot;
        let dir = tempfile::tempdir().unwrap();
        let (service, token) = built(dir.path(), ManualClock::at(NOW)).await;
        let token = token.unwrap();
        let app = App::new().app_data(web::Data::from(service.clone())).configure(rest::configure);
        let app = init_service(app).await;
        let written = async || {
            let load = *Loads::of_all(&service.tables).await.unwrap().all();
            [load.tenants, load.groups, load.keys, load.bytes]
        };
        let taken = || {
            let taken = service.room.taken();
            ["tenants", "groups", "keys", "bytes"]
                .map(|what| taken.iter().find(|(name, _)| *name == what).unwrap().1)
        };
        for polls in 0..8 {
            for (path, body) in [
                ("/v1/tenants", format!(r#"{{"tenant":"t{polls}"}}"#)),
                ("/v1/tenants/default/groups", format!(r#"{{"group":"g{polls}"}}"#)),
                ("/v1/tenants/default/keys/rotate", "{}".to_owned()),
            ] {
                let request = as_operator(&token, path, &body);
                {
                    let mut call = pin!(call_service(&app, request.to_request()));
                    for _ in 0..polls {
                        let done =
                            poll_fn(|cx| Poll::Ready(call.as_mut().poll(cx).is_ready())).await;
                        if done {
                            break;
                        }
                        tokio::task::yield_now().await;
                    }
                }
                // Work that goes on alone may hold room that is not written yet: that ends, a lost hold does not.
                let mut counts = (taken(), written().await);
                for _ in 0..2000 {
                    if counts.0 == counts.1 {
                        break;
                    }
                    service.trust.send(TakeSnapshot).await.unwrap().unwrap();
                    tokio::time::sleep(std::time::Duration::from_millis(1)).await;
                    counts = (taken(), written().await);
                }
                assert_eq!(counts.0, counts.1, "{path} dropped after {polls} polls");
            }
        }
        service.database.close().await.unwrap();
    });
}

/// Moved devices lie in the order of their names: one that has ended may stand behind any number that have not.
#[test]
fn a_moved_device_behind_many_others_is_swept_too() {
    actix_rt::System::new().block_on(async {
        use crate::limits::SWEEP_ROWS;
        use crate::records::MovedDevice;
        let dir = tempfile::tempdir().unwrap();
        let (service, _) = built(dir.path(), ManualClock::at(NOW)).await;
        let table = &service.tables.moved_devices;
        let mut batch = tessera_runtime::sql::Batch::new();
        for n in 0..=SWEEP_ROWS {
            let row = MovedDevice { epoch: 1, at: NOW.get() };
            batch.put(table, crate::tables::pair("default", format!("d{n:05}")), &row);
        }
        batch.put(table, crate::tables::pair("default", "z"), &MovedDevice { epoch: 1, at: 0 });
        service.database.commit(batch).await.unwrap();
        let mut cursors = crate::sweep::Cursors::default();
        for _ in 0..3 {
            crate::sweep::once(&service, &mut cursors).await.unwrap();
        }
        assert!(!table.contains(crate::tables::pair("default", "z")).await.unwrap());
        assert_eq!(table.count().await.unwrap(), SWEEP_ROWS as u64 + 1);
        service.database.close().await.unwrap();
    });
}

/// The snapshot of many devices takes long; a revocation that comes meanwhile is written and told first.
#[test]
fn a_publication_does_not_wait_for_a_snapshot_that_is_being_made() {
    actix_rt::System::new().block_on(async {
        use crate::records::MovedDevice;
        use crate::trust::whole::TakeSnapshot;
        let dir = tempfile::tempdir().unwrap();
        let (service, token) = built(dir.path(), ManualClock::at(NOW)).await;
        let token = token.unwrap();
        let app = App::new().app_data(web::Data::from(service.clone())).configure(rest::configure);
        let app = init_service(app).await;
        let table = &service.tables.moved_devices;
        for part in 0..10 {
            let mut batch = tessera_runtime::sql::Batch::new();
            for n in 0..10_000 {
                let row = MovedDevice { epoch: 1, at: NOW.get() };
                batch.put(table, crate::tables::pair("default", format!("d{part}{n:05}")), &row);
            }
            service.database.commit(batch).await.unwrap();
        }
        let snapshot = actix_rt::spawn(service.trust.send(TakeSnapshot));
        let request = as_operator(&token, "/v1/tenants", r#"{"tenant":"other"}"#);
        let answer = call_service(&app, request.to_request()).await;
        assert_eq!(answer.status(), StatusCode::CREATED);
        assert!(!snapshot.is_finished(), "the publication waited for the snapshot");
        // Two that come while one is made get the next one, which knows the publication.
        let (one, other) = (service.trust.send(TakeSnapshot), service.trust.send(TakeSnapshot));
        let first = snapshot.await.unwrap().unwrap().unwrap();
        let (one, other) = (one.await.unwrap().unwrap(), other.await.unwrap().unwrap());
        assert!(std::sync::Arc::ptr_eq(&one, &other));
        assert_ne!(first, one);
        service.database.close().await.unwrap();
    });
}

/// A service whose clock goes ahead soon after its foundation ends before its first sweep. Lived time goes on from the
/// foundation: a restart under that clock removes nothing that still has an effect.
#[test]
fn lived_time_begins_with_the_service_and_not_with_a_restart() {
    const AHEAD: u64 = 7200;
    actix_rt::System::new().block_on(async {
        let dir = tempfile::tempdir().unwrap();
        let clock = ManualClock::at(NOW);
        let (service, token) = built(dir.path(), clock.clone()).await;
        let token = token.unwrap();
        let app = App::new().app_data(web::Data::from(service.clone())).configure(rest::configure);
        let app = init_service(app).await;
        clock.set_unix(NOW.plus(AHEAD));
        for _ in 0..60 {
            clock.advance(std::time::Duration::from_secs(30));
            service.time.now();
        }
        assert!(service.time.now() >= NOW.plus(AHEAD), "the clock is believed");
        let request = as_operator(&token, "/v1/tenants", r#"{"tenant":"other"}"#);
        assert_eq!(call_service(&app, request.to_request()).await.status(), StatusCode::CREATED);
        service.database.close().await.unwrap();
        let (service, _) = built(dir.path(), ManualClock::at(clock.unix())).await;
        assert!(service.time.removal() <= NOW.plus(1800), "{:?}", service.time.removal());
        service.database.close().await.unwrap();
    });
}
