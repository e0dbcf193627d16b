use std::fs;
use std::path::Path;

use tessera_runtime::clock::SystemClock;
use tessera_runtime::random::SystemRandom;
use tessera_runtime::store::Batch;
use tessera_token::hash::TokenHash;

use super::*;
use crate::records::heads::{AuditHead, TrustHead};
use crate::records::keys::State;
use crate::records::operators::{OperatorRole, Tenants};
use crate::tables::{one, pair};

/// Ahead of the clock of any test.
const EXPIRES: u64 = 4_000_000_900;

fn pair_key(tenant: &str, name: &[u8]) -> Vec<u8> {
    [tenant.as_bytes(), &[0], name].concat()
}

fn numbered(number: u64, rest: &[u8]) -> Vec<u8> {
    [&number.to_be_bytes(), rest].concat()
}

/// A store with rows in every table, as former versions wrote them.
fn written(folder: &Path) {
    let store = Store::open(folder).unwrap();
    let table = |name| store.table(name).unwrap();
    let mut batch = Batch::new();
    let tenant = shapes::Tenant {
        epoch: 3,
        suspended: false,
        bearer: true,
        next_group: 2,
        created: 7,
        confirmation: Default::default(),
        keys_published: true,
        staleness: None,
    };
    batch.put_record(&table("tenants"), "t", &tenant);
    let role = shapes::Role {
        class: crate::records::RoleClass::Device,
        publish: vec!["d/{device}/t".into()],
        subscribe: Vec::new(),
        token_seconds: Some(60),
    };
    batch.put_record(&table("roles"), pair_key("t", b"sensor"), &role);
    let group = shapes::Group { number: 1, epoch: 4, created: 8 };
    batch.put_record(&table("groups"), pair_key("t", b"hall"), &group);
    let claim = shapes::Claim {
        role: "sensor".into(),
        group: "hall".into(),
        device: None,
        created: 9,
        expires: 10,
        by: "op".into(),
        used: Some(shapes::Use { device: "d".into(), thumbprint: [5; 32], at: 11 }),
    };
    batch.put_record(&table("claims"), pair_key("t", &[6; 32]), &claim);
    for number in 0..2_500u64 {
        let device = shapes::Device {
            role: "sensor".into(),
            group: "hall".into(),
            key: vec![7; 32],
            epoch: number,
            revoked: number % 2 == 1,
            enrolled: 12,
            claim: "c".into(),
        };
        let key = pair_key("t", format!("d-{number:04}").as_bytes());
        batch.put_record(&table("devices"), key, &device);
    }
    let hash = *TokenHash::of(b"token").as_bytes();
    let issued = shapes::Issued {
        device: "d-0000".into(),
        serial: 77,
        issued: EXPIRES - 900,
        expires: EXPIRES,
        key_id: [8; 8],
    };
    batch.put_record(&table("issued"), pair_key("t", &hash), &issued);
    batch.put(&table("issued_expiry"), numbered(EXPIRES, &pair_key("t", &hash)), Vec::new());
    let answer = shapes::Answer {
        nonce: vec![1; 16],
        iat: EXPIRES - 900,
        bearer: false,
        until: EXPIRES - 840,
        token: b"token".to_vec(),
        scope: vec![2],
        kid: Vec::new(),
    };
    let refreshes = shapes::Refreshes { answers: vec![answer] };
    batch.put_record(&table("refreshes"), pair_key("t", b"d-0000"), &refreshes);
    let key = shapes::IssuerKey {
        public: [9; 32],
        state: State::Active,
        created: 1,
        not_before: 2,
        not_after: 3,
        since: 4,
    };
    batch.put_record(&table("keys"), pair_key("t", &[8; 8]), &key);
    let account = shapes::Account {
        name: "op".into(),
        roles: [OperatorRole::Feed].into(),
        tenants: shapes::Tenants::These(["t".to_owned()].into()),
        created: 1,
    };
    batch.put_record(&table("operators"), [3; 32], &account);
    batch.put(&table("meta"), b"operator op", Vec::new());
    let moved = shapes::Moved { epoch: 5, at: 6 };
    batch.put_record(&table("moved_devices"), pair_key("t", b"d-0001"), &moved);
    let revoked = shapes::Revoked { tenant: "t".into(), device: "d-0001".into() };
    batch.put_record(&table("revoked_tokens"), numbered(EXPIRES, &[4; 33]), &revoked);
    batch.put(&table("trust_events"), 41u64.to_be_bytes(), b"signed".to_vec());
    let finding = shapes::Finding {
        kind: "device".into(),
        tenant: "t".into(),
        subject: "d-9".into(),
        epoch: 2,
        done: "unknown".into(),
        at: 3,
    };
    batch.put_record(&table("findings"), pair_key("t", b"device\0d-9"), &finding);
    let entry = || shapes::Entry {
        at: 1,
        actor: "op".into(),
        action: "device.revoke".into(),
        tenant: "t".into(),
        subject: "d-1".into(),
        detail: String::new(),
    };
    let chained = shapes::Chained { entry: entry(), previous: [1; 32], hash: [2; 32] };
    batch.put_record(&table("audit"), 1u64.to_be_bytes(), &chained);
    batch.put_record(&table("audit_pending"), numbered(5, &6u64.to_be_bytes()), &entry());
    let meta = table("meta");
    batch.put(&meta, b"founded", vec![0xab; 32]);
    batch.put_record(&meta, b"serials", &1_024u64);
    batch.put_record(&meta, b"lifting_of t", &u64::MAX);
    let head = shapes::Head { seq: 41, hash: [3; 32], start: 0, start_hash: [0; 32] };
    batch.put_record(&meta, b"trust_head", &head);
    let head = shapes::Head { seq: 1, hash: [2; 32], start: 0, start_hash: [0; 32] };
    batch.put_record(&meta, b"audit_head", &head);
    let lived = shapes::Lived { began: 1, lived: 2, former: 0 };
    batch.put_record(&meta, b"lived", &lived);
    store.commit_blocking(batch).unwrap();
    store.close().unwrap();
}

fn opened(store: &Path) -> Database {
    let options = StoreOptions { must_exist: true, ..StoreOptions::default() };
    open(store, &options, SystemClock::shared(), &SystemRandom).unwrap()
}

#[tokio::test]
async fn every_row_of_a_former_store_is_in_the_database() {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("store");
    written(&store);
    // A process that broke off has left a part.
    fs::create_dir(dir.path().join("store.new")).unwrap();
    fs::write(dir.path().join("store.new/data.sqlite"), b"a part").unwrap();
    let database = opened(&store);
    let tables = Tables::of(&database);

    let tenant = tables.tenants.get(one("t")).await.unwrap().unwrap();
    assert_eq!((tenant.epoch, tenant.bearer, tenant.keys_published), (3, true, true));
    let role = tables.roles.get(pair("t", "sensor")).await.unwrap().unwrap();
    assert_eq!((role.publish, role.token_seconds), (vec!["d/{device}/t".to_owned()], Some(60)));
    let group = tables.groups.get(pair("t", "hall")).await.unwrap().unwrap();
    assert_eq!((group.number, group.epoch), (1, 4));
    let claim = tables.claims.get(pair("t", [6; 32])).await.unwrap().unwrap();
    assert_eq!(claim.used.map(|used| (used.device, used.at)), Some(("d".to_owned(), 11)));
    assert_eq!(tables.devices.count().await.unwrap(), 2_500);
    let device = tables.devices.get(pair("t", "d-2499")).await.unwrap().unwrap();
    assert_eq!((device.epoch, device.revoked), (2_499, true));
    let issued = tables.issued.get(one(77u64)).await.unwrap().unwrap();
    assert_eq!((issued.tenant.as_str(), issued.expires), ("t", EXPIRES));
    assert_eq!(issued.answer.map(|answer| answer.token), Some(b"token".to_vec()));
    let key = tables.keys.get(pair("t", [8; 8])).await.unwrap().unwrap();
    assert_eq!((key.public, key.state), ([9; 32], State::Active));
    let account = tables.operators.get(one([3; 32])).await.unwrap().unwrap();
    assert_eq!(account.tenants, Tenants::These(["t".to_owned()].into()));
    assert!(tables.moved_devices.contains(pair("t", "d-0001")).await.unwrap());
    let revoked = vec![EXPIRES.into(), [4; 33].into()];
    assert!(tables.revoked_tokens.contains(revoked).await.unwrap());
    let event = tables.trust_events.get(one(41u64)).await.unwrap().unwrap();
    assert_eq!(event.0, b"signed");
    let finding = vec!["t".into(), "device".into(), "d-9".into()];
    assert!(tables.findings.contains(finding).await.unwrap());
    let chained = tables.audit.get(one(1u64)).await.unwrap().unwrap();
    assert_eq!((chained.entry.subject.as_str(), chained.hash), ("d-1", [2; 32]));
    assert!(tables.audit_waiting.contains(vec![5u64.into(), 6u64.into()]).await.unwrap());
    let marks = &tables.marks;
    assert_eq!(marks.get::<String>("founded").await.unwrap(), Some("ab".repeat(32)));
    assert_eq!(marks.get::<u64>("serials").await.unwrap(), Some(1_024));
    assert_eq!(marks.get::<u64>("lifting_of t").await.unwrap(), Some(u64::MAX));
    let head = marks.get::<TrustHead>("trust_head").await.unwrap().unwrap();
    assert_eq!((head.seq, head.hash), (41, [3; 32]));
    let head = marks.get::<AuditHead>("audit_head").await.unwrap().unwrap();
    assert_eq!((head.seq, head.hash), (1, [2; 32]));
    database.close().await.unwrap();

    // The second time there is nothing to move, and the former files are as they were.
    assert!(is_former(&dir.path().join("store.former")).unwrap());
    opened(&store).close().await.unwrap();
}

/// A process may end behind each step; the next one goes on from there.
#[tokio::test]
async fn a_move_that_was_cut_off_is_ended_by_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("store");
    written(&store);
    opened(&store).close().await.unwrap();
    // Between the two names.
    let new = dir.path().join("store.new");
    fs::rename(&store, &new).unwrap();
    let options = StoreOptions { must_exist: true, ..StoreOptions::default() };
    // A part is none, also where the store itself is gone.
    let part = open(&store, &options, SystemClock::shared(), &SystemRandom).err().unwrap();
    assert!(matches!(part, StoreError::Lost(_)), "{part}");
    let _ = fs::remove_dir_all(&store);
    fs::write(new.join(WHOLE), b"").unwrap();
    let database = opened(&store);
    assert_eq!(Tables::of(&database).devices.count().await.unwrap(), 2_500);
    database.close().await.unwrap();
}

/// A store that holds less than it must is told as before, and nothing is made of it.
#[test]
fn a_former_store_that_lost_something_is_no_database() {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("store");
    written(&store);
    for entry in fs::read_dir(&store).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().unwrap().to_str().unwrap().starts_with("journal-") {
            fs::write(path, b"").unwrap();
        }
    }
    let lost =
        open(&store, &StoreOptions::default(), SystemClock::shared(), &SystemRandom).err().unwrap();
    assert!(matches!(lost, StoreError::Lost(_)), "{lost}");
    assert!(!dir.path().join("store.new").exists() && is_former(&store).unwrap());
}
