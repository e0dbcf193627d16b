use std::sync::Arc;

use tessera_runtime::metrics::Metrics;
use tessera_runtime::random::SeededRandom;
use tessera_token::key::SecretKey;
use tessera_token::trust::Feed;

use super::*;
use crate::testing::*;

struct Rig {
    _folder: tempfile::TempDir,
    verifier: Verifier,
    core: SyncCore,
    metrics: Metrics,
}

fn rig(world: &World) -> Rig {
    let folder = tempfile::tempdir().unwrap();
    let verifier = Verifier::open(folder.path(), world.pin(), NOW);
    let metrics = Metrics::new();
    let random = SeededRandom::predictable(1).shared();
    let core =
        SyncCore::new(Arc::clone(&verifier.trust), verifier.trust_store.clone(), random, &metrics)
            .unwrap();
    Rig { _folder: folder, verifier, core, metrics }
}

impl Rig {
    fn feed(&mut self, feed: &Feed) -> Next {
        let ask = self.core.first().ask;
        self.core.answer(ask, Ok(feed.to_cbor()))
    }

    fn shows(&self, line: &str) -> bool {
        self.metrics.render().lines().any(|shown| shown == line)
    }

    /// What a restart would find.
    fn stored_seq(&self) -> u64 {
        self.verifier.trust_store.load(audience()).unwrap().seq()
    }
}

#[tokio::test]
async fn first_a_snapshot_then_events() {
    let mut world = World::new();
    let mut rig = rig(&world);
    assert_eq!(rig.core.first().ask, Ask::Snapshot);
    assert!(rig.shows("tessera_trust_age_seconds -1"));
    let mut effects = rig.verifier.trust.effects();
    let next = rig.core.answer(Ask::Snapshot, Ok(world.snapshot()));
    assert_eq!(next, Next { wait: Duration::ZERO, ask: Ask::Events(0) });
    assert_eq!(effects.try_recv().unwrap(), TrustEffect::Reloaded);
    assert_eq!(rig.stored_seq(), 0);
    world.event(device_change("d-1", 1, NOW));
    world.event(device_change("d-2", 1, NOW));
    let next = rig.feed(&world.feed(0, NOW));
    assert_eq!(next.ask, Ask::Events(2));
    let first = TrustEffect::Device { tenant: tenant(), device: device("d-1") };
    assert_eq!(effects.try_recv().unwrap(), first);
    assert_eq!(rig.stored_seq(), 2);
    assert!(rig.shows("tessera_trust_seq 2"));
    assert!(rig.shows("tessera_trust_age_seconds 0"));
}

#[tokio::test]
async fn an_empty_answer_refreshes_the_age_and_pauses() {
    let world = World::new();
    let mut rig = rig(&world);
    rig.core.answer(Ask::Snapshot, Ok(world.snapshot()));
    rig.verifier.clock.advance(Duration::from_secs(100));
    rig.core.tick();
    assert!(rig.shows("tessera_trust_age_seconds 100"));
    let next = rig.feed(&world.feed(0, NOW + 100));
    assert_eq!(next, Next { wait: limits::SYNC_PAUSE, ask: Ask::Events(0) });
    assert!(rig.shows("tessera_trust_age_seconds 0"));
}

#[tokio::test]
async fn rubbish_keeps_the_old_state_counts_and_asks_for_a_snapshot() {
    let mut world = World::new();
    let mut rig = rig(&world);
    rig.core.answer(Ask::Snapshot, Ok(world.snapshot()));
    world.event(device_change("d-1", 1, NOW));
    let mut forged = world.feed(0, NOW);
    *forged.events[0].last_mut().unwrap() ^= 1;
    let next = rig.feed(&forged);
    assert_eq!(next.ask, Ask::Snapshot);
    assert!(!next.wait.is_zero());
    assert_eq!(rig.verifier.trust.load().seq(), 0);
    assert!(rig.shows("tessera_trust_sync_errors_total{reason=\"signature\"} 1"));
    rig.core.answer(Ask::Events(0), Ok(b"rubbish".to_vec()));
    assert!(rig.shows("tessera_trust_sync_errors_total{reason=\"malformed\"} 1"));
    // The snapshot mends it.
    let next = rig.core.answer(Ask::Snapshot, Ok(world.snapshot()));
    assert_eq!(next.ask, Ask::Events(1));
    assert_eq!(rig.stored_seq(), 1);
}

#[tokio::test]
async fn an_older_snapshot_changes_nothing() {
    let mut world = World::new();
    let mut rig = rig(&world);
    let old = world.snapshot();
    world.event(device_change("d-1", 1, NOW));
    rig.core.answer(Ask::Snapshot, Ok(world.snapshot()));
    let next = rig.core.answer(Ask::Snapshot, Ok(old));
    assert_eq!(next.ask, Ask::Events(1));
    assert_eq!(rig.verifier.trust.load().seq(), 1);
    assert_eq!(rig.stored_seq(), 1);
    assert!(rig.shows("tessera_trust_sync_errors_total{reason=\"older\"} 1"));
}

#[tokio::test]
async fn what_a_restored_service_has_lost_is_known_after_a_restart_too() {
    use tessera_token::chain::{KeyState, TrustView};
    use tessera_token::hash::TokenHash;
    use tessera_token::trust::Change;
    let mut world = World::new();
    let mut rig = rig(&world);
    let (token, kid) = (world.token(), world.issuer.public().key_id());
    rig.core.answer(Ask::Snapshot, Ok(world.snapshot()));
    world.event(device_change("d-1", 5, NOW));
    world.event(token_change(&token, NOW + 3600));
    world.event(group_change(1, 9));
    world.event(Change::Tenant(tenant_trust(7)));
    world.event(world.key_change(KeyState::Compromised));
    rig.feed(&world.feed(0, NOW));
    let known = |state: &crate::trust::TrustState| {
        assert_eq!(state.device_epoch(&tenant(), "d-1"), 5);
        assert!(state.token_revoked(&TokenHash::of(&token)));
        assert_eq!(state.group_epoch(&tenant(), 1), 9);
        assert_eq!(state.tenant("acme").unwrap().epoch, 7);
        assert_eq!(state.issuer_keys(kid)[0].state, KeyState::Compromised);
    };
    // The backup is older than all that; the service has gone on since.
    world.changes.clear();
    for epoch in 1..3 {
        world.event(device_change("d-2", epoch, NOW));
        rig.core.answer(Ask::Snapshot, Ok(world.snapshot()));
        known(&rig.verifier.trust.load());
        let stored = rig.verifier.trust_store.load(audience()).unwrap();
        known(&stored);
        assert_eq!((stored.seq(), stored.device_epoch(&tenant(), "d-2")), (5 + epoch, epoch));
    }
    // Once the service knows it again, nothing is kept beside its snapshot.
    world.event(device_change("d-1", 5, NOW));
    world.event(token_change(&token, NOW + 3600));
    world.event(group_change(1, 9));
    world.event(Change::Tenant(tenant_trust(7)));
    world.event(world.key_change(KeyState::Compromised));
    rig.core.answer(Ask::Snapshot, Ok(world.snapshot()));
    known(&rig.verifier.trust_store.load(audience()).unwrap());
    assert!(rig.verifier.trust.load().floor().is_empty());
    assert_eq!(rig.verifier.store.table("trust_floor").unwrap().len().unwrap(), 0);
}

#[tokio::test]
async fn a_foreign_root_is_never_taken() {
    let world = World::new();
    let mut rig = rig(&world);
    let mut stranger = World::new();
    stranger.root = SecretKey::from_seed(&[9; 32]);
    let next = rig.core.answer(Ask::Snapshot, Ok(stranger.snapshot()));
    assert_eq!(next.ask, Ask::Snapshot);
    assert!(rig.verifier.trust.load().is_empty());
    assert!(rig.shows("tessera_trust_sync_errors_total{reason=\"root\"} 1"));
}

#[tokio::test]
async fn compacted_events_lead_to_a_snapshot_and_an_outage_does_not() {
    let world = World::new();
    let mut rig = rig(&world);
    rig.core.answer(Ask::Snapshot, Ok(world.snapshot()));
    let next = rig.core.answer(Ask::Events(0), Err(FetchError::Gone));
    assert_eq!(next.ask, Ask::Snapshot);
    let next = rig.core.answer(Ask::Events(0), Err(FetchError::Connect));
    assert_eq!(next.ask, Ask::Events(0));
    assert!(rig.shows("tessera_trust_sync_errors_total{reason=\"gone\"} 1"));
    assert!(rig.shows("tessera_trust_sync_errors_total{reason=\"connect\"} 1"));
}

#[tokio::test]
async fn revocations_arrive_while_the_snapshot_that_is_due_cannot_be_had() {
    use tessera_token::chain::TrustView;
    let mut world = World::new();
    let mut rig = rig(&world);
    rig.core.answer(Ask::Snapshot, Ok(world.snapshot()));
    rig.core.stored = limits::TRUST_EVENTS_STORED + 1;
    assert_eq!(rig.core.first().ask, Ask::Snapshot);
    let next = rig.core.answer(Ask::Snapshot, Err(FetchError::TooLarge));
    assert_eq!(next.ask, Ask::Events(0));
    world.event(device_change("d-1", 3, NOW));
    let next = rig.core.answer(next.ask, Ok(world.feed(0, NOW).to_cbor()));
    assert_eq!(next.ask, Ask::Events(1));
    assert_eq!(rig.verifier.trust.load().device_epoch(&tenant(), "d-1"), 3);
    assert_eq!(rig.stored_seq(), 1);
    // A poll that fails is followed by another poll.
    assert_eq!(rig.core.answer(next.ask, Err(FetchError::Timeout)).ask, Ask::Events(1));
    // One that cannot be mended by events is not, however short ago the snapshot was asked for.
    assert_eq!(rig.core.answer(next.ask, Err(FetchError::Gone)).ask, Ask::Snapshot);
    rig.core.answer(Ask::Snapshot, Err(FetchError::Timeout));
    let pause = limits::TRUST_SNAPSHOT_PAUSE;
    rig.verifier.clock.advance(pause - Duration::from_secs(1));
    assert_eq!(rig.core.first().ask, Ask::Events(1));
    rig.verifier.clock.advance(Duration::from_secs(1));
    assert_eq!(rig.core.first().ask, Ask::Snapshot);
    let next = rig.core.answer(Ask::Snapshot, Ok(world.snapshot()));
    assert_eq!(next.ask, Ask::Events(1));
}

#[tokio::test]
async fn waits_grow_to_a_limit_and_start_anew_after_success() {
    let world = World::new();
    let mut rig = rig(&world);
    let mut last = Duration::ZERO;
    for _ in 0..20 {
        last = rig.core.answer(Ask::Snapshot, Err(FetchError::Timeout)).wait;
        assert!(last >= limits::SYNC_BACKOFF_FIRST / 2 && last <= limits::SYNC_BACKOFF_LAST);
    }
    assert!(last >= limits::SYNC_BACKOFF_LAST / 2);
    rig.core.answer(Ask::Snapshot, Ok(world.snapshot()));
    let wait = rig.core.answer(Ask::Events(0), Err(FetchError::Timeout)).wait;
    assert!(wait <= limits::SYNC_BACKOFF_FIRST);
}

#[tokio::test]
async fn a_service_that_holds_events_back_is_not_polled_without_end() {
    let mut world = World::new();
    let mut rig = rig(&world);
    rig.core.answer(Ask::Snapshot, Ok(world.snapshot()));
    world.event(device_change("d-1", 1, NOW));
    let silent = Feed { events: vec![], heartbeat: world.heartbeat(NOW) };
    let next = rig.feed(&silent);
    assert!(!next.wait.is_zero());
    assert!(rig.shows("tessera_trust_sync_errors_total{reason=\"order\"} 1"));
}

#[tokio::test]
async fn how_far_time_has_come_is_stored_in_steps_and_nothing_of_the_wall_clock() {
    let world = World::new();
    let mut rig = rig(&world);
    let stored = |rig: &Rig| rig.verifier.trust_store.time().unwrap().signed;
    rig.core.answer(Ask::Snapshot, Ok(world.snapshot()));
    rig.feed(&world.feed(0, NOW));
    rig.verifier.clock.set_unix(at(NOW + 7200));
    rig.verifier.clock.advance(limits::TRUST_TIME_STEP - Duration::from_secs(1));
    rig.core.tick();
    assert_eq!(stored(&rig), at(0));
    rig.verifier.clock.advance(Duration::from_secs(1));
    rig.core.tick();
    let step = limits::TRUST_TIME_STEP.as_secs();
    assert_eq!(stored(&rig), at(NOW + step));
    rig.verifier.clock.advance(Duration::from_secs(5));
    rig.core.finish();
    assert_eq!(stored(&rig), at(NOW + step + 5));
}

/// The service signs an event while its clock is ahead; as soon as it is right, devices are let in again.
#[tokio::test]
async fn a_service_that_was_ahead_stops_nobody_once_it_is_right() {
    use tessera_token::chain::TrustView;
    use tessera_token::refusal::RefusalCode;
    const DAY: u64 = 24 * 3600;
    for ahead in [7200, 40 * DAY, 365 * DAY] {
        let mut world = World::new();
        let mut rig = rig(&world);
        rig.core.answer(Ask::Snapshot, Ok(world.snapshot()));
        rig.feed(&world.feed(0, NOW));
        let token = world.token();
        let password = world.password(&token, NOW, 1);
        rig.verifier.validator.admit(&password, DEVICE).await.unwrap();
        // An event and a heartbeat from the future.
        world.event_at(device_change("d-2", 1, NOW + ahead), NOW + ahead);
        rig.feed(&world.feed(0, NOW + ahead));
        let password = world.password(&token, NOW + 13, 2);
        rig.verifier.clock.advance(Duration::from_secs(13));
        let refused = rig.verifier.validator.admit(&password, DEVICE).await.unwrap_err();
        let code =
            if ahead > 100 * DAY { RefusalCode::KeyNotValid } else { RefusalCode::TokenExpired };
        assert_eq!(refused.code, code);
        rig.feed(&world.feed(1, NOW + 13));
        assert_eq!(rig.verifier.trust.load().trusted_at(), Some(at(NOW + 13)));
        rig.verifier.validator.admit(&password, DEVICE).await.unwrap();
        assert!(rig.shows("tessera_clock_ahead_seconds 0"));
        // And a restart without the service: it knows nothing of the future that it must obey.
        rig.core.finish();
        let stored = rig.verifier.trust_store.time().unwrap();
        assert_eq!(stored.signed, at(NOW + 13));
    }
}

/// This clock alone is ahead: it says so, goes on by what the service says, and is ready by itself once it is right.
#[tokio::test]
async fn a_clock_that_is_ahead_here_says_so_and_refuses_nobody_while_the_service_is_heard() {
    use tessera_token::refusal::RefusalCode;
    let world = World::new();
    let mut rig = rig(&world);
    rig.core.answer(Ask::Snapshot, Ok(world.snapshot()));
    rig.feed(&world.feed(0, NOW));
    let token = world.token();
    assert_eq!(rig.verifier.validator.clock_ready(), Ok(()));
    rig.verifier.clock.set_unix(at(NOW + 7200));
    rig.core.tick();
    assert_eq!(rig.verifier.validator.clock_ready(), Err(RefusalCode::ClockWrong));
    assert!(rig.shows("tessera_clock_ahead_seconds 7200"));
    rig.verifier.validator.admit(&world.password(&token, NOW, 1), DEVICE).await.unwrap();
    rig.verifier.clock.set_unix(at(NOW));
    rig.core.tick();
    assert_eq!(rig.verifier.validator.clock_ready(), Ok(()));
    assert!(rig.shows("tessera_clock_ahead_seconds 0"));
}

#[tokio::test]
async fn a_full_store_does_not_hold_a_revocation_back() {
    let mut world = World::new();
    let mut rig = rig(&world);
    rig.core.answer(Ask::Snapshot, Ok(world.snapshot()));
    rig.verifier.store.close().unwrap();
    world.event(device_change("d-1", 3, NOW));
    rig.feed(&world.feed(0, NOW));
    use tessera_token::chain::TrustView;
    assert_eq!(rig.verifier.trust.load().device_epoch(&tenant(), "d-1"), 3);
    assert!(rig.shows("tessera_trust_sync_errors_total{reason=\"store\"} 1"));
}
