use tessera_runtime::random::SeededRandom;
use tessera_runtime::sql::{Batch, Database};
use tessera_token::chain::{IssuerKey, StalenessBudget, TenantTrust};
use tessera_token::hash::TokenHash;
use tessera_token::ids::{DeviceId, GroupId, TenantId};
use tessera_token::limits::{self as shared, EVENT_BYTES, ID_CHARS, TENANT_CHARS};
use tessera_token::time::UnixSeconds;
use tessera_token::trust::{
    Change, DeviceEpoch, Event, EventHash, GroupEpoch, RegisteredKey, RevokedToken, Snapshot,
};

use super::*;
use crate::keys::files::draw;
use crate::records::GroupRecord;
use crate::tables::{in_folder, pair};

fn names(length: usize) -> (TenantId, DeviceId, GroupId) {
    let name = |most: usize| "a".repeat(length.min(most));
    (
        TenantId::parse(&name(TENANT_CHARS)).unwrap(),
        DeviceId::parse(&name(ID_CHARS)).unwrap(),
        GroupId::parse(&name(ID_CHARS)).unwrap(),
    )
}

/// Each kind with names of this length and numbers as given, beside its load.
fn kinds(length: usize, number: u64) -> Vec<(Change, Load, usize)> {
    let (tenant, device, group) = names(length);
    let (t, d, g) = (tenant.as_str(), device.as_str(), group.as_str());
    let time = UnixSeconds::new(number);
    let key = draw(&SeededRandom::predictable(1)).unwrap().public();
    let staleness = StalenessBudget { telemetry: number, command: number, actuation: number };
    let loads = [
        Load::tenant(t),
        Load::key(t),
        Load::group(t, g),
        Load::device(t, d),
        Load::token(t, d),
        Load::device_key(t, d, 65),
    ];
    let changes = [
        Change::Tenant(TenantTrust {
            tenant: tenant.clone(),
            epoch: number,
            suspended: true,
            bearer: true,
            staleness,
        }),
        Change::Key(IssuerKey {
            tenant: tenant.clone(),
            key,
            not_before: time,
            not_after: time,
            state: KeyState::Compromised,
        }),
        Change::Group(GroupEpoch {
            tenant: tenant.clone(),
            group,
            number,
            epoch: number,
            announced_until: Some(UnixSeconds::new(u64::MAX)),
        }),
        Change::Device(DeviceEpoch {
            tenant: tenant.clone(),
            device: device.clone(),
            epoch: number,
            at: time,
        }),
        Change::Token(RevokedToken {
            token: TokenHash::of(b"token"),
            tenant: tenant.clone(),
            device: device.clone(),
            expires: time,
        }),
        Change::DeviceKey(RegisteredKey { tenant, device, key: vec![7; 65] }),
    ];
    let items = [9, 7, 6, 6, 6, 5];
    changes.into_iter().zip(loads).zip(items).map(|((c, l), i)| (c, l, i)).collect()
}

fn bytes(state: Vec<Change>) -> usize {
    let root = draw(&SeededRandom::predictable(2)).unwrap();
    let time = UnixSeconds::new(u64::MAX);
    let snapshot =
        Snapshot { seq: u64::MAX, head: EventHash::default(), time, valid_until: time, state };
    snapshot.sign(&root).unwrap().len()
}

#[test]
fn no_change_weighs_more_than_its_load() {
    let empty = bytes(Vec::new());
    for (length, number) in [(1, 0), (23, 23), (24, u64::MAX), (64, u64::MAX)] {
        for (change, load, items) in kinds(length, number) {
            let own = bytes(vec![change.clone(); 10]) - empty;
            assert!(own <= 10 * load.bytes, "{change:?}: {own} of {}", 10 * load.bytes);
            assert!(4 * items <= load.bytes, "{change:?} has too many items for its bytes");
            let root = draw(&SeededRandom::predictable(2)).unwrap();
            let event = Event {
                seq: u64::MAX,
                previous: EventHash::default(),
                time: UnixSeconds::new(u64::MAX),
                change,
            };
            assert!(event.sign(&root).unwrap().len() <= EVENT_BYTES / 4);
        }
    }
    assert!(empty < shared::SNAPSHOT_BYTES - TrustLimits::default().bytes, "room for the frame");
}

/// The numbers of the two sides: what provisioning fills is below what a verifier holds, and what is kept back for
/// revocations is worth something.
#[test]
fn the_limits_of_both_sides_fit() {
    let own = TrustLimits::default();
    assert!(own.fit_verifiers());
    let pairs = [
        (own.tenants, shared::TRUST_TENANTS),
        (own.groups, shared::TRUST_GROUPS),
        (own.keys, shared::TRUST_KEYS),
        (own.device_keys, shared::TRUST_DEVICE_KEYS),
        (own.devices, shared::TRUST_DEVICES),
        (own.tokens, shared::TRUST_TOKENS),
        (own.bytes, shared::SNAPSHOT_BYTES),
    ];
    for (own, verifier) in pairs {
        assert!(own < verifier && own * 100 >= verifier * 90, "{own} of {verifier}");
    }
    assert!(own.keys_unasked < own.keys && own.bytes_unasked < own.bytes);
    assert!(own.bytes - own.bytes_unasked >= 16 * 1024 * 1024);
    const {
        assert!(shared::SNAPSHOT_BYTES / 4 <= 16 * 1024 * 1024, "a snapshot is within its items");
    }
    for wrong in [
        TrustLimits { tenants: own.tenants + 1, ..own },
        TrustLimits { bytes: own.bytes + 1, ..own },
        TrustLimits { keys: 5, ..own },
    ] {
        assert!(!wrong.fit_verifiers(), "{wrong:?}");
    }
}

fn open() -> (tempfile::TempDir, Database, Tables) {
    let dir = tempfile::tempdir().unwrap();
    let (database, tables) = in_folder(&dir.path().join("store"));
    (dir, database, tables)
}

async fn group(database: &Database, tables: &Tables, name: &str) {
    let mut batch = Batch::new();
    let record = GroupRecord {
        number: 0,
        epoch: 0,
        created: 0,
        suspended: None,
        reenrol: None,
        announced: None,
    };
    batch.put(&tables.groups, pair("t", name), &record);
    database.commit(batch).await.unwrap();
}

#[tokio::test]
async fn what_was_not_written_gives_its_room_back() {
    let (_dir, _database, tables) = open();
    let most = TrustLimits { groups: 2, ..TrustLimits::default() };
    let room = Room::count(&tables, most, Duration::ZERO, false).await.unwrap();
    let load = Load::group("t", "g");
    let one = room.hold("t", load, Purpose::Growth).unwrap_or_else(|_| panic!());
    let two = room.hold("t", load, Purpose::Growth).unwrap_or_else(|_| panic!());
    assert!(matches!(
        room.hold("t", load, Purpose::Growth),
        Err(Full { what: "groups", most: 2, .. })
    ));
    assert!(room.hold("t", Load::default(), Purpose::Growth).is_ok(), "nothing always fits");
    drop(one);
    two.keep();
    room.hold("t", load, Purpose::Growth).unwrap_or_else(|_| panic!()).keep();
    assert!(room.hold("t", load, Purpose::Growth).is_err());
    room.gone("t", &load);
    assert!(room.hold("t", load, Purpose::Growth).is_ok());
}

#[tokio::test]
async fn counts_come_from_the_tables_and_are_mended_by_counting_again() {
    let (_dir, database, tables) = open();
    group(&database, &tables, "a").await;
    group(&database, &tables, "b").await;
    let most = TrustLimits { groups: 2, ..TrustLimits::default() };
    let room = Room::count(&tables, most, Duration::ZERO, false).await.unwrap();
    let load = Load::group("t", "c");
    assert!(room.hold("t", load, Purpose::Growth).is_err());
    let mut batch = Batch::new();
    batch.delete(&tables.groups, pair("t", "a"));
    database.commit(batch).await.unwrap();
    assert!(!room.is_count_due(limits::TRUST_RECOUNT - Duration::from_secs(1)));
    assert!(room.is_count_due(limits::TRUST_RECOUNT));
    assert!(!room.is_count_due(limits::TRUST_RECOUNT), "once for all who ask at this moment");
    room.recount(&tables).await.unwrap();
    assert!(room.hold("t", load, Purpose::Growth).is_ok());
    assert_eq!(room.taken()[1], ("groups", 1));
}

/// A counting takes a while, and others write meanwhile.
#[tokio::test]
async fn what_is_written_during_a_counting_is_not_left_out() {
    let (_dir, _database, tables) = open();
    let most = TrustLimits { groups: 2, ..TrustLimits::default() };
    let room = Room::count(&tables, most, Duration::ZERO, false).await.unwrap();
    let load = Load::group("t", "g");
    let before = room.hold("t", load, Purpose::Growth).unwrap_or_else(|_| panic!());
    room.recount_by(async {
        let counted = Loads::of_all(&tables).await?;
        before.keep();
        room.book("t", &load);
        Ok(counted)
    })
    .await
    .unwrap();
    assert_eq!(room.taken()[1], ("groups", 2));
    assert!(room.hold("t", load, Purpose::Growth).is_err());
    room.recount(&tables).await.unwrap();
    assert_eq!(room.taken()[1], ("groups", 0), "the next one finds what the tables hold");
}

/// Sixteen threads and one place.
#[tokio::test]
async fn one_place_is_taken_once() {
    let (_dir, _database, tables) = open();
    let most = TrustLimits { tokens: 1, ..TrustLimits::default() };
    let room = Room::count(&tables, most, Duration::ZERO, false).await.unwrap();
    let threads: Vec<_> = (0..16)
        .map(|_| {
            let room = Arc::clone(&room);
            std::thread::spawn(move || {
                let held = room.hold("t", Load::token("t", "d"), Purpose::Revocation);
                held.map(Hold::keep).is_ok()
            })
        })
        .collect();
    let won = threads.into_iter().map(|thread| thread.join().unwrap());
    assert_eq!(won.filter(|won| *won).count(), 1);
}

/// One tenant may take all that no share of another needs, and each finds its share whatever the others took.
#[tokio::test]
async fn every_tenant_finds_its_share() {
    let (_dir, _database, tables) = open();
    let most = TrustLimits { groups: 80, ..TrustLimits::default() };
    let room = Room::count(&tables, most, Duration::ZERO, false).await.unwrap();
    let takes = |tenant: &str, purpose| {
        let held = room.hold(tenant, Load::group(tenant, "g"), purpose);
        held.map(Hold::keep)
    };
    let all_of = |tenant: &str, purpose| {
        let mut count = 0;
        let refused = loop {
            match takes(tenant, purpose) {
                Ok(()) => count += 1,
                Err(full) => break full,
            }
        };
        (count, refused.of_others)
    };
    for tenant in ["a", "b", "c", "d"] {
        assert!(takes(tenant, Purpose::Growth).is_ok());
    }
    // A share is 80 / 2 / 4 = 10; the three others keep what they lack of it.
    assert_eq!(all_of("a", Purpose::Growth), (80 - 4 - 27, true));
    for tenant in ["b", "c"] {
        assert_eq!(all_of(tenant, Purpose::Revocation), (9, true), "{tenant}");
    }
    room.gone("a", &Load::group("a", "g"));
    assert_eq!(all_of("a", Purpose::Growth), (1, true));
    assert_eq!(all_of("d", Purpose::Growth), (9, false));
    // Alone, a tenant takes everything.
    let room = Room::count(&tables, most, Duration::ZERO, false).await.unwrap();
    let load = Load::group("t", "g");
    for _ in 0..80 {
        room.hold("t", load, Purpose::Growth).unwrap_or_else(|_| panic!()).keep();
    }
    let full = Err(Full { what: "groups", most: 80, of_others: false });
    assert_eq!(room.hold("t", load, Purpose::Growth).map(drop), full);
}
