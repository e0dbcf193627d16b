use std::time::Duration;

use tessera_runtime::clock::ManualClock;
use tessera_runtime::store::{Batch, Store};
use tessera_token::chain::{IssuerKey, KeyState, TrustView};
use tessera_token::hash::TokenHash;
use tessera_token::key::SecretKey;
use tessera_token::limits::TOKEN_LIFE_SECONDS;
use tessera_token::trust::{Change, Event, Feed, FeedNonce, Heartbeat};

use super::apply::Taken;
use super::*;
use crate::limits;
use crate::testing::*;

fn kinds(effects: &[TrustEffect]) -> Vec<&'static str> {
    effects.iter().map(TrustEffect::kind).collect()
}

#[test]
fn nothing_is_known_before_a_snapshot() {
    let state = TrustState::empty(audience());
    assert!(state.is_empty());
    assert_eq!(state.trusted_at(), None);
    let mut world = World::new();
    world.event(device_change("d-1", 1, NOW));
    let applied = state.with_feed(&world.feed(0, NOW), &NONCE);
    assert_eq!(applied.refused, Some(TrustRefusal::NoSnapshot));
    assert_eq!(applied.taken, 0);
}

#[test]
fn events_move_what_they_name() {
    let mut world = World::new();
    let old = world.trusted();
    let token = world.token();
    world.event(device_change("d-1", 3, NOW));
    world.event(group_change(5, 2));
    world.event(token_change(&token, NOW + 3600));
    world.event(Change::Tenant(tenant_trust(4)));
    world.event(world.key_change(KeyState::Compromised));
    let applied = old.with_feed(&world.feed(0, NOW + 9), &NONCE);
    assert_eq!(applied.refused, None);
    assert!(!applied.more && applied.beat);
    assert_eq!(kinds(&applied.effects), ["device", "group", "token", "tenant", "key"]);
    let new = applied.state;
    assert_eq!(new.device_epoch(&tenant(), "d-1"), 3);
    assert_eq!(new.device_epoch(&tenant(), "d-2"), 0);
    assert_eq!(new.group_epoch(&tenant(), 5), 2);
    assert!(new.token_revoked(&TokenHash::of(&token)));
    assert_eq!(new.tenant("acme").unwrap().epoch, 4);
    let kid = world.issuer.public().key_id();
    assert_eq!(new.issuer_keys(kid)[0].state, KeyState::Compromised);
    assert_eq!(new.trusted_at(), Some(at(NOW + 9)));
    assert_eq!(new.seq(), 5);
    // The version before is untouched: its readers see one moment.
    assert_eq!(old.device_epoch(&tenant(), "d-1"), 0);
    assert!(!old.token_revoked(&TokenHash::of(&token)));
}

#[test]
fn epochs_and_key_states_never_move_back() {
    let mut world = World::new();
    let old = world.trusted();
    for change in [
        device_change("d-1", 5, NOW),
        device_change("d-1", 2, NOW + 1),
        group_change(1, 9),
        group_change(1, 3),
        Change::Tenant(tenant_trust(7)),
        Change::Tenant(tenant_trust(2)),
        world.key_change(KeyState::Retired),
        world.key_change(KeyState::Active),
    ] {
        world.event(change);
    }
    let new = old.with_feed(&world.feed(0, NOW), &NONCE).state;
    assert_eq!(new.device_epoch(&tenant(), "d-1"), 5);
    assert_eq!(new.group_epoch(&tenant(), 1), 9);
    assert_eq!(new.tenant("acme").unwrap().epoch, 7);
    let kid = world.issuer.public().key_id();
    assert_eq!(new.issuer_keys(kid)[0].state, KeyState::Retired);
}

/// The tables that keys verify faster by: rotations leave none behind, and take none from the keys of today.
#[test]
fn rotated_keys_leave_no_tables() {
    let mut world = World::new();
    let mut state = world.trusted();
    let rotations = u8::try_from(limits::TRUST_PREPARED_KEYS + 20).unwrap();
    let key = |number: u8| SecretKey::from_seed(&[number + 10; 32]).public();
    let is_prepared = |state: &TrustState, number| {
        state.issuer_keys(key(number).key_id()).first().is_some_and(|one| one.key.is_prepared())
    };
    for number in 0..rotations {
        let mut changes = vec![(number, KeyState::Next), (number, KeyState::Active)];
        if let Some(before) = number.checked_sub(1) {
            changes.extend([(before, KeyState::Retiring), (before, KeyState::Retired)]);
        }
        for (of, state) in changes {
            let Change::Key(one) = world.key_change(state) else { unreachable!() };
            world.event(Change::Key(IssuerKey { key: key(of), ..one }));
        }
        state = state.with_feed(&world.feed(state.seq(), NOW), &NONCE).state;
        assert!(is_prepared(&state, number), "{number}");
    }
    assert!((0..rotations - 1).all(|number| !is_prepared(&state, number)));
}

#[test]
fn a_newer_snapshot_weakens_nothing() {
    let mut world = World::new();
    let token = world.token();
    let old = world.trusted();
    world.event(device_change("d-1", 5, NOW));
    world.event(token_change(&token, NOW + 3600));
    let old = old.with_feed(&world.feed(0, NOW), &NONCE).state;
    world.event(group_change(1, 1));
    // As if the service had been restored from a backup that lost the first two.
    world.changes.drain(..2);
    let new = old.with_snapshot(&world.snapshot(), &world.pin(), at(NOW)).unwrap();
    assert_eq!(new.seq(), 3);
    assert_eq!(new.device_epoch(&tenant(), "d-1"), 5);
    assert!(new.token_revoked(&TokenHash::of(&token)));
}

#[test]
fn only_a_snapshot_after_a_long_absence_may_have_forgotten_withdrawals() {
    let mut world = World::new();
    let old = world.trusted().with_feed(&world.feed(0, NOW), &NONCE).state;
    assert_eq!((old.confirmed_at(), old.forgotten()), (Some(at(NOW)), None));
    world.event(device_change("d-1", 5, NOW));
    let later = NOW + TOKEN_LIFE_SECONDS;
    let taken = |time: u64| {
        let bytes = world.snapshot_with(|snapshot| snapshot.time = at(time));
        let taken = Taken { now: at(NOW), wall: at(time), heard: None };
        old.with_snapshot_of(None, &bytes, &world.pin(), taken).unwrap()
    };
    assert_eq!(taken(later).forgotten(), None);
    assert_eq!(taken(later + 1).forgotten(), Some(at(later + 1)));
    // Events in a row leave no gap, however late they come.
    assert_eq!(old.with_feed(&world.feed(0, later + 1), &NONCE).state.forgotten(), None);
}

#[test]
fn bad_snapshots_are_refused() {
    let mut world = World::new();
    world.event(device_change("d-1", 1, NOW));
    let state = world.trusted();
    let take = |bytes: &[u8]| state.with_snapshot(bytes, &world.pin(), at(NOW)).err();
    let good = world.snapshot();
    assert_eq!(take(&good), None);
    let mut forged = good.clone();
    *forged.last_mut().unwrap() ^= 1;
    assert_eq!(take(&forged), Some(TrustRefusal::Signature));
    assert_eq!(take(&good[..good.len() - 1]), Some(TrustRefusal::Malformed));
    assert_eq!(take(&world.snapshot_with(|s| s.seq = 0)), Some(TrustRefusal::Older));
    let other_past = world.snapshot_with(|s| s.head = EventHash::of(b"other"));
    assert_eq!(take(&other_past), Some(TrustRefusal::Order));
    let past = world.snapshot_with(|s| s.valid_until = at(NOW - 1));
    assert_eq!(take(&past), Some(TrustRefusal::Expired));
    let mut stranger = World::new();
    stranger.root = SecretKey::from_seed(&[9; 32]);
    assert_eq!(take(&stranger.snapshot()), Some(TrustRefusal::Root));
}

use tessera_token::trust::EventHash;

#[test]
fn bad_events_stop_the_row_and_what_was_good_counts() {
    let mut world = World::new();
    let state = world.trusted();
    let good = world.event(device_change("d-1", 1, NOW));
    let second = world.event(device_change("d-2", 1, NOW));
    let beat = world.heartbeat(NOW);
    let feed = |events: Vec<Vec<u8>>| Feed { events, heartbeat: beat.clone() };
    let mut forged = second.clone();
    let last = forged.len() - 1;
    forged[last] ^= 1;

    let applied = state.with_feed(&feed(vec![good.clone(), forged]), &NONCE);
    assert_eq!((applied.refused, applied.taken), (Some(TrustRefusal::Signature), 1));
    assert_eq!(applied.state.device_epoch(&tenant(), "d-1"), 1);
    assert_eq!(applied.state.device_epoch(&tenant(), "d-2"), 0);

    let applied = state.with_feed(&feed(vec![second.clone(), good.clone()]), &NONCE);
    assert_eq!((applied.refused, applied.taken), (Some(TrustRefusal::Order), 0));
    let applied = state.with_feed(&feed(vec![good.clone(), good.clone()]), &NONCE);
    assert_eq!((applied.refused, applied.taken), (Some(TrustRefusal::Order), 1));

    let liar = Event {
        seq: 2,
        previous: EventHash::default(),
        time: at(NOW),
        change: device_change("d-2", 1, NOW),
    };
    let liar = liar.sign(&world.root).unwrap();
    let applied = state.with_feed(&feed(vec![good.clone(), liar]), &NONCE);
    assert_eq!((applied.refused, applied.taken), (Some(TrustRefusal::Order), 1));

    let stranger = SecretKey::from_seed(&[9; 32]);
    let foreign = Event {
        seq: 1,
        previous: EventHash::default(),
        time: at(NOW),
        change: device_change("d-2", 1, NOW),
    };
    let foreign = foreign.sign(&stranger).unwrap();
    let applied = state.with_feed(&feed(vec![foreign]), &NONCE);
    assert_eq!((applied.refused, applied.taken), (Some(TrustRefusal::Signature), 0));
}

#[test]
fn a_heartbeat_that_knows_less_refreshes_nothing() {
    let mut world = World::new();
    let state = world.trusted();
    world.event(device_change("d-1", 1, NOW));
    let ahead = state.with_feed(&world.feed(0, NOW), &NONCE).state;
    let old = Heartbeat { seq: 0, head: EventHash::default(), time: at(NOW + 500) };
    let old = old.answer(&NONCE, &world.root).unwrap();
    let applied = ahead.with_feed(&Feed { events: vec![], heartbeat: old }, &NONCE);
    assert_eq!(applied.refused, Some(TrustRefusal::Beyond));
    assert_eq!(applied.state.trusted_at(), Some(at(NOW)));
    let fork = Heartbeat { seq: 1, head: EventHash::of(b"other"), time: at(NOW + 500) };
    let fork = fork.answer(&NONCE, &world.root).unwrap();
    let applied = ahead.with_feed(&Feed { events: vec![], heartbeat: fork }, &NONCE);
    assert_eq!(applied.refused, Some(TrustRefusal::Order));
    assert_eq!(applied.state.trusted_at(), Some(at(NOW)));
    // An event in the place of a heartbeat is none.
    let feed = Feed { events: vec![], heartbeat: world.events[0].clone() };
    assert_eq!(ahead.with_feed(&feed, &NONCE).refused, Some(TrustRefusal::Signature));
}

#[test]
fn a_heartbeat_from_ahead_asks_for_more_and_refreshes_nothing() {
    let mut world = World::new();
    let state = world.trusted();
    world.event(device_change("d-1", 1, NOW));
    let beat = world.heartbeat(NOW + 500);
    let applied = state.with_feed(&Feed { events: vec![], heartbeat: beat }, &NONCE);
    assert!(applied.more && !applied.beat);
    assert_eq!(applied.state.trusted_at(), Some(at(NOW)));
}

#[test]
fn what_says_nothing_any_more_is_let_go() {
    const LIFE: u64 = tessera_token::limits::TOKEN_LIFE_SECONDS;
    let mut world = World::new();
    let token = world.token();
    let state = world.trusted();
    world.event(device_change("d-1", 1, NOW));
    world.event(token_change(&token, NOW + 3600));
    let mut state = state.with_feed(&world.feed(0, NOW), &NONCE).state;
    state.prune(at(NOW));
    assert_eq!((state.device_count(), state.token_count()), (1, 1));
    state.prune(at(NOW + 3600 + 121));
    assert_eq!((state.device_count(), state.token_count()), (1, 0));
    state.prune(at(NOW + LIFE + 121));
    assert_eq!(state.device_count(), 0);
}

/// Rotations would fill the table in the end; a compromised key must never come back, so it stays.
#[test]
fn retired_keys_are_let_go_and_compromised_ones_are_not() {
    const DAYS: u64 = 100 * 86_400;
    for (last, left) in
        [(KeyState::Retired, 0), (KeyState::Retiring, 1), (KeyState::Compromised, 1)]
    {
        let mut world = World::new();
        let state = world.trusted();
        world.event(world.key_change(last));
        let mut state = state.with_feed(&world.feed(0, NOW), &NONCE).state;
        let kid = world.issuer.public().key_id();
        state.prune(at(NOW + DAYS + 120));
        assert_eq!(state.issuer_keys(kid).len(), 1, "{last:?} is within its time");
        state.prune(at(NOW + DAYS + 121));
        assert_eq!(state.issuer_keys(kid).len(), left, "{last:?}");
    }
}

#[tokio::test]
async fn a_restart_finds_the_same_trust() {
    let folder = tempfile::tempdir().unwrap();
    let mut world = World::new();
    let verifier = Verifier::trusting(folder.path(), &world);
    world.event(device_change("d-1", 4, NOW));
    let feed = world.feed(0, NOW + 60);
    verifier
        .trust_store
        .save_events(1, feed.events.iter(), Some((&feed.heartbeat, at(NOW + 60))))
        .unwrap();
    let time = StoredTime { signed: at(NOW + 77), lived: None };
    verifier.trust_store.save_time(&time, None).unwrap();
    verifier.store.close().unwrap();
    drop(verifier);
    let again = Verifier::open(folder.path(), world.pin(), NOW);
    let state = again.trust.load();
    assert_eq!(state.seq(), 1);
    assert_eq!(state.device_epoch(&tenant(), "d-1"), 4);
    assert_eq!(state.trusted_at(), Some(at(NOW + 60)));
    assert_eq!(again.trust.now(), at(NOW + 77));
    // It was confirmed before, and goes on: as old as stored times say.
    assert_eq!((again.trust.age(), again.trust.may_decide()), (Some(17), Ok(())));
}

#[test]
fn a_heartbeat_confirms_nothing_unless_it_answers() {
    let world = World::new();
    let state = world.trusted();
    assert_eq!(state.confirmed_at(), None);
    let recorded = Heartbeat { seq: 0, head: EventHash::default(), time: at(NOW + 500) };
    let first = recorded.sign(&world.root).unwrap();
    let other = recorded.answer(&FeedNonce::from_bytes([8; 16]), &world.root).unwrap();
    for heartbeat in [first, other] {
        let applied = state.with_feed(&Feed { events: vec![], heartbeat }, &NONCE);
        assert_eq!(applied.refused, Some(TrustRefusal::Nonce));
        assert!(!applied.beat);
        assert_eq!(applied.state.confirmed_at(), None);
    }
    let applied = state.with_feed(&world.feed(0, NOW + 5), &NONCE);
    assert_eq!(applied.state.confirmed_at(), Some(at(NOW + 5)));
    // A service whose clock was ahead and is right again is believed.
    let applied = applied.state.with_feed(&world.feed(0, NOW + 3), &NONCE);
    assert_eq!(applied.state.confirmed_at(), Some(at(NOW + 3)));
}

#[test]
fn what_finds_no_room_is_left_out_and_what_is_behind_it_counts() {
    let mut world = World::new();
    let mut state = world.trusted();
    let named = |number: usize| tessera_token::chain::TenantTrust {
        tenant: tessera_token::ids::TenantId::parse(&format!("t-{number}")).unwrap(),
        ..tenant_trust(0)
    };
    for number in 1..crate::limits::TRUST_TENANTS {
        state.apply_tenant(named(number)).unwrap();
    }
    assert!(state.apply_tenant(named(0)).is_err());
    world.event(Change::Tenant(named(0)));
    world.event(device_change("d-1", 1, NOW));
    let applied = state.with_feed(&world.feed(0, NOW), &NONCE);
    assert_eq!((applied.taken, applied.refused), (2, Some(TrustRefusal::TooLarge)));
    assert!(applied.beat);
    assert_eq!(applied.state.device_epoch(&tenant(), "d-1"), 1);
    assert_eq!((applied.state.left_out(), applied.state.seq()), (1, 2));
    // A snapshot that fits mends it.
    let mended = applied.state.with_snapshot(&world.snapshot(), &world.pin(), at(NOW)).unwrap();
    assert_eq!(mended.left_out(), 0);
}

#[test]
fn a_stop_behind_a_snapshot_does_not_lose_what_it_may_have_forgotten() {
    let folder = tempfile::tempdir().unwrap();
    let mut world = World::new();
    let old = world.trusted().with_feed(&world.feed(0, NOW), &NONCE).state;
    world.event(device_change("d-1", 5, NOW));
    let later = at(NOW + TOKEN_LIFE_SECONDS + 1);
    let bytes = world.snapshot_with(|snapshot| snapshot.time = later);
    let taken = Taken { now: at(NOW), wall: later, heard: None };
    let new = old.with_snapshot_of(None, &bytes, &world.pin(), taken).unwrap();
    let store = Store::open(folder.path()).unwrap();
    let trust = TrustStore::new(&store, world.pin()).unwrap();
    trust.save_snapshot(&bytes, &new).unwrap();
    let stored = trust.load(audience()).unwrap();
    assert_eq!((new.forgotten(), stored.forgotten()), (Some(later), Some(later)));
    // A further snapshot keeps it; one of a verifier that was never away has none.
    let next = stored.with_snapshot(&bytes, &world.pin(), at(NOW)).unwrap();
    trust.save_snapshot(&bytes, &next).unwrap();
    assert_eq!(trust.load(audience()).unwrap().forgotten(), Some(later));
    trust.save_snapshot(&bytes, &old).unwrap();
    assert_eq!(trust.load(audience()).unwrap().forgotten(), None);
}

#[tokio::test]
async fn damaged_or_foreign_trust_at_rest_is_not_used() {
    let folder = tempfile::tempdir().unwrap();
    let mut world = World::new();
    let store = Store::open(folder.path()).unwrap();
    let trust = TrustStore::new(&store, world.pin()).unwrap();
    assert!(trust.load(audience()).unwrap().is_empty());
    trust.save_snapshot(&world.snapshot(), &TrustState::empty(audience())).unwrap();
    world.event(device_change("d-1", 1, NOW));
    world.event(device_change("d-2", 1, NOW));
    // The first event is missing.
    trust.save_events(2, world.events[1..].iter(), None).unwrap();
    let refused = |trust: &TrustStore| match trust.load(audience()) {
        Err(TrustStoreError::Refused(refusal)) => refusal,
        _ => panic!("must be refused"),
    };
    assert_eq!(refused(&trust), TrustRefusal::Order);
    let mut batch = Batch::new();
    batch.delete(&store.table("trust_snapshot").unwrap(), 0u32.to_be_bytes());
    store.commit(batch).await.unwrap();
    assert_eq!(refused(&trust), TrustRefusal::Damaged);
    // A snapshot mends it.
    trust.save_snapshot(&world.snapshot(), &TrustState::empty(audience())).unwrap();
    let known = trust.load(audience()).unwrap();
    assert_eq!((known.seq(), known.is_held()), (2, false));
    // Under another pin it is held, and must be whole too.
    let other = TrustStore::new(&store, SecretKey::from_seed(&[9; 32]).public().thumbprint());
    let held = other.as_ref().unwrap().load(audience()).unwrap();
    assert_eq!((held.seq(), held.is_held()), (2, true));
    trust.save_events(9, world.events[..1].iter(), None).unwrap();
    assert_eq!(refused(&other.unwrap()), TrustRefusal::Order);
}

#[tokio::test]
async fn what_was_known_beyond_a_snapshot_is_stored_whole_or_nothing_is_used() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let mut world = World::new();
    let trust = TrustStore::new(&store, world.pin()).unwrap();
    let mut old = world.trusted();
    for number in 0..30_000 {
        world.changes.push(device_change(
            &format!("device-with-a-rather-long-name-{number:05}"),
            2,
            NOW,
        ));
    }
    old = old.with_snapshot(&world.snapshot(), &world.pin(), at(NOW)).unwrap();
    assert!(old.floor().is_empty());
    world.changes.clear();
    world.event(device_change("d-1", 1, NOW));
    let new = old.with_snapshot(&world.snapshot(), &world.pin(), at(NOW)).unwrap();
    trust.save_snapshot(&world.snapshot(), &new).unwrap();
    let stored = trust.load(audience()).unwrap();
    assert_eq!((stored.device_count(), new.device_count()), (30_001, 30_001));
    assert_eq!(stored.device_epoch(&tenant(), "device-with-a-rather-long-name-29999"), 2);
    let rows = store.table("trust_floor").unwrap();
    assert!(rows.len().unwrap() > 1);
    let damaged = |trust: &TrustStore| {
        let refused = trust.load(audience()).err();
        assert!(matches!(refused, Some(TrustStoreError::Refused(TrustRefusal::Damaged))));
    };
    let mut batch = Batch::new();
    batch.delete(&rows, 1u32.to_be_bytes());
    store.commit(batch).await.unwrap();
    damaged(&trust);
    let mut batch = Batch::new();
    batch.put(&rows, 1u32.to_be_bytes(), b"rubbish".as_slice());
    store.commit(batch).await.unwrap();
    damaged(&trust);
}

#[tokio::test]
async fn a_large_snapshot_is_stored_in_pieces_and_shrinks_again() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let mut world = World::new();
    let trust = TrustStore::new(&store, world.pin()).unwrap();
    for number in 0..30_000 {
        world.changes.push(device_change(
            &format!("device-with-a-rather-long-name-{number:05}"),
            1,
            NOW,
        ));
    }
    let large = world.snapshot();
    assert!(large.len() > 2 * crate::limits::TRUST_PIECE_BYTES);
    trust.save_snapshot(&large, &TrustState::empty(audience())).unwrap();
    let state = trust.load(audience()).unwrap();
    assert_eq!(state.device_count(), 30_000);
    assert_eq!(state.device_epoch(&tenant(), "device-with-a-rather-long-name-29999"), 1);
    world.changes.clear();
    trust.save_snapshot(&world.snapshot(), &TrustState::empty(audience())).unwrap();
    assert_eq!(trust.load(audience()).unwrap().device_count(), 0);
    assert_eq!(store.table("trust_snapshot").unwrap().len().unwrap(), 1);
}

#[test]
fn a_subscriber_hears_after_the_version_is_current() {
    let mut world = World::new();
    let trust = Trust::new(
        world.trusted(),
        TrustTime::new(ManualClock::at(at(NOW)), StoredTime::default()),
    );
    let mut effects = trust.effects();
    world.event(device_change("d-1", 1, NOW));
    let applied = trust.load().with_feed(&world.feed(0, NOW), &NONCE);
    trust.publish(applied.state, applied.effects);
    let heard = effects.try_recv().unwrap();
    assert_eq!(heard, TrustEffect::Device { tenant: tenant(), device: device("d-1") });
    assert_eq!(trust.load().device_epoch(&tenant(), "d-1"), 1);
    for _ in 0..=crate::limits::TRUST_EFFECTS {
        trust.publish(trust.load().as_ref().clone(), [TrustEffect::Reloaded]);
    }
    assert!(matches!(effects.try_recv(), Err(broadcast::error::TryRecvError::Lagged(_))));
}

#[test]
fn device_keys_come_with_the_feed_and_with_the_snapshot() {
    let mut world = World::new();
    let old = world.trusted();
    let key = SecretKey::from_seed(&[9; 32]).public();
    let change = |key: &[u8]| {
        Change::DeviceKey(tessera_token::trust::RegisteredKey {
            tenant: tenant(),
            device: device("d-1"),
            key: key.to_vec(),
        })
    };
    world.event(change(SecretKey::from_seed(&[8; 32]).public().as_bytes()));
    world.event(change(key.as_bytes()));
    let applied = old.with_feed(&world.feed(0, NOW), &NONCE);
    assert_eq!(kinds(&applied.effects), ["device", "device"]);
    let state = applied.state;
    assert_eq!(state.device_key(&tenant(), &device("d-1")), Some(key.clone()));
    assert_eq!(state.device_key(&tenant(), &device("d-2")), None);
    assert_eq!(state.device_key_count(), 1);
    let fresh = TrustState::empty(audience());
    let fresh = fresh.with_snapshot(&world.snapshot(), &world.pin(), at(NOW)).unwrap();
    assert_eq!(fresh.device_key(&tenant(), &device("d-1")), Some(key));
}

/// A machine that sleeps: its wall clock goes on, its monotonic time does not.
#[test]
fn trust_data_grow_old_while_the_machine_sleeps() {
    const SLEPT: u64 = 40 * 86_400;
    let folder = tempfile::tempdir().unwrap();
    let world = World::new();
    let verifier = Verifier::trusting(folder.path(), &world);
    let applied = verifier.trust.load().with_feed(&world.feed(0, NOW), &NONCE);
    verifier.trust.publish(applied.state, None);
    verifier.trust.beat(at(NOW), verifier.trust.monotonic());
    verifier.clock.advance(Duration::from_secs(100));
    assert_eq!(verifier.trust.age(), Some(100), "awake");
    verifier.trust.beat(at(NOW + 100), verifier.trust.monotonic());
    verifier.clock.skip_unix(Duration::from_secs(SLEPT));
    verifier.clock.advance(limits::CLOCK_WITNESS + Duration::from_secs(1));
    let age = verifier.trust.age().unwrap();
    assert!((SLEPT..=SLEPT + 161).contains(&age), "{age}");
    assert_eq!(verifier.validator.ready(), Err(RefusalCode::TrustStale));
    // The service is heard again.
    verifier.trust.beat(at(NOW + 161 + SLEPT), verifier.trust.monotonic());
    assert_eq!((verifier.trust.age(), verifier.validator.ready()), (Some(0), Ok(())));
}
