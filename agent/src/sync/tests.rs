use std::sync::Arc;

use tessera_runtime::clock::Clock;
use tessera_runtime::metrics::Metrics;
use tessera_runtime::random::SeededRandom;
use tessera_token::key::{SecretKey, Thumbprint};
use tessera_token::refusal::RefusalCode;
use tessera_token::trust::{Evidence, Feed};

use super::*;
use crate::testing::*;

pub(super) struct Rig {
    pub(super) folder: tempfile::TempDir,
    pub(super) verifier: Verifier,
    pub(super) core: SyncCore,
    pub(super) metrics: Metrics,
}

/// The number that a poll asks from.
pub(super) fn after(ask: Ask) -> Option<u64> {
    match ask {
        Ask::Events(poll) => Some(poll.stand.after),
        Ask::Snapshot(_) | Ask::Show => None,
    }
}

pub(super) fn rig(world: &World) -> Rig {
    rig_in(tempfile::tempdir().unwrap(), world.pin(), NOW)
}

fn rig_in(folder: tempfile::TempDir, pin: Thumbprint, now: u64) -> Rig {
    let verifier = Verifier::open(folder.path(), pin, now);
    let metrics = Metrics::new();
    let random = SeededRandom::predictable(1).shared();
    let core =
        SyncCore::new(Arc::clone(&verifier.trust), verifier.trust_store.clone(), random, &metrics)
            .unwrap();
    Rig { folder, verifier, core, metrics }
}

impl Rig {
    /// A poll that the world answers.
    fn poll(&mut self, world: &World, time: u64) -> Next {
        self.poll_with(|poll| world.feed_for(&poll.nonce, poll.stand.after, time))
    }

    fn poll_with(&mut self, answer: impl FnOnce(&Poll) -> Feed) -> Next {
        let ask = self.core.first().ask;
        let Ask::Events(poll) = ask else { panic!("{ask:?}") };
        self.core.answer(ask, Ok(answer(&poll).to_cbor()))
    }

    /// Snapshot and heartbeat, as at a first start.
    fn settled(&mut self, world: &World) {
        self.core.answer(Ask::Snapshot(None), Ok(world.snapshot()));
        self.poll(world, NOW);
        assert_eq!(self.verifier.validator.ready(), Ok(()));
    }

    fn fails(&mut self, error: FetchError) -> Next {
        let ask = self.core.first().ask;
        self.core.answer(ask, Err(error))
    }

    pub(super) fn advance(&mut self, seconds: u64) {
        self.verifier.clock.advance(Duration::from_secs(seconds));
        self.core.tick();
    }

    pub(super) fn restarted(self) -> Self {
        self.verifier.store.close().unwrap();
        let now = self.verifier.clock.unix().get();
        let Rig { folder, verifier, core, .. } = self;
        let pin = verifier.trust_store.pin();
        drop((verifier, core));
        rig_in(folder, pin, now)
    }

    pub(super) fn shows(&self, line: &str) -> bool {
        self.metrics.render().lines().any(|shown| shown == line)
    }

    /// State that a restart would find.
    fn stored_seq(&self) -> u64 {
        self.verifier.trust_store.load(audience()).unwrap().seq()
    }
}

#[tokio::test]
async fn first_a_snapshot_then_events() {
    let mut world = World::new();
    let mut rig = rig(&world);
    assert!(matches!(rig.core.first().ask, Ask::Snapshot(_)));
    assert!(rig.shows("tessera_trust_age_seconds -1"));
    let mut effects = rig.verifier.trust.effects();
    let next = rig.core.answer(Ask::Snapshot(None), Ok(world.snapshot()));
    assert_eq!((next.wait, after(next.ask)), (Duration::ZERO, Some(0)));
    assert_eq!(effects.try_recv().unwrap(), TrustEffect::Reloaded);
    assert_eq!(rig.stored_seq(), 0);
    world.event(device_change("d-1", 1, NOW));
    world.event(device_change("d-2", 1, NOW));
    let next = rig.poll(&world, NOW);
    assert_eq!(after(next.ask), Some(2));
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
    rig.core.answer(Ask::Snapshot(None), Ok(world.snapshot()));
    rig.poll(&world, NOW);
    rig.advance(100);
    assert!(rig.shows("tessera_trust_age_seconds 100"));
    let next = rig.poll(&world, NOW + 100);
    assert_eq!((next.wait, after(next.ask)), (limits::SYNC_PAUSE, Some(0)));
    assert!(rig.shows("tessera_trust_age_seconds 0"));
}

#[tokio::test]
async fn rubbish_keeps_the_old_state_counts_and_asks_for_a_snapshot() {
    let mut world = World::new();
    let mut rig = rig(&world);
    rig.core.answer(Ask::Snapshot(None), Ok(world.snapshot()));
    world.event(device_change("d-1", 1, NOW));
    let next = rig.poll_with(|poll| {
        let mut forged = world.feed_for(&poll.nonce, 0, NOW);
        *forged.events[0].last_mut().unwrap() ^= 1;
        forged
    });
    assert!(matches!(next.ask, Ask::Snapshot(_)));
    assert!(!next.wait.is_zero());
    assert_eq!(rig.verifier.trust.load().seq(), 0);
    assert!(rig.shows("tessera_trust_sync_errors_total{reason=\"signature\"} 1"));
    let ask = rig.core.first().ask;
    rig.core.answer(ask, Ok(b"rubbish".to_vec()));
    assert!(rig.shows("tessera_trust_sync_errors_total{reason=\"malformed\"} 1"));
    // The snapshot mends it.
    let next = rig.core.answer(Ask::Snapshot(None), Ok(world.snapshot()));
    assert_eq!(after(next.ask), Some(1));
    assert_eq!(rig.stored_seq(), 1);
}

#[tokio::test]
async fn an_older_snapshot_changes_nothing() {
    let mut world = World::new();
    let mut rig = rig(&world);
    let old = world.snapshot();
    world.event(device_change("d-1", 1, NOW));
    rig.core.answer(Ask::Snapshot(None), Ok(world.snapshot()));
    let next = rig.core.answer(Ask::Snapshot(None), Ok(old));
    assert_eq!(after(next.ask), Some(1));
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
    rig.core.answer(Ask::Snapshot(None), Ok(world.snapshot()));
    world.event(device_change("d-1", 5, NOW));
    world.event(token_change(&token, NOW + 3600));
    world.event(group_change(1, 9));
    world.event(Change::Tenant(tenant_trust(7)));
    world.event(world.key_change(KeyState::Compromised));
    rig.poll(&world, NOW);
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
        rig.core.answer(Ask::Snapshot(None), Ok(world.snapshot()));
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
    rig.core.answer(Ask::Snapshot(None), Ok(world.snapshot()));
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
    let next = rig.core.answer(Ask::Snapshot(None), Ok(stranger.snapshot()));
    assert!(matches!(next.ask, Ask::Snapshot(_)));
    assert!(rig.verifier.trust.load().is_empty());
    assert!(rig.shows("tessera_trust_sync_errors_total{reason=\"root\"} 1"));
}

#[tokio::test]
async fn compacted_events_lead_to_a_snapshot_and_an_outage_does_not() {
    let world = World::new();
    let mut rig = rig(&world);
    rig.core.answer(Ask::Snapshot(None), Ok(world.snapshot()));
    let next = rig.fails(FetchError::Gone);
    assert!(matches!(next.ask, Ask::Snapshot(_)));
    let next = rig.fails(FetchError::Connect);
    assert_eq!(after(next.ask), Some(0));
    assert!(rig.shows("tessera_trust_sync_errors_total{reason=\"gone\"} 1"));
    assert!(rig.shows("tessera_trust_sync_errors_total{reason=\"connect\"} 1"));
}

#[tokio::test]
async fn revocations_arrive_while_the_snapshot_that_is_due_cannot_be_had() {
    use tessera_token::chain::TrustView;
    let mut world = World::new();
    let mut rig = rig(&world);
    rig.core.answer(Ask::Snapshot(None), Ok(world.snapshot()));
    rig.core.stored = limits::TRUST_EVENTS_STORED + 1;
    assert!(matches!(rig.core.first().ask, Ask::Snapshot(_)));
    let next = rig.core.answer(Ask::Snapshot(None), Err(FetchError::TooLarge));
    assert_eq!(after(next.ask), Some(0));
    world.event(device_change("d-1", 3, NOW));
    let next = rig.poll(&world, NOW);
    assert_eq!(after(next.ask), Some(1));
    assert_eq!(rig.verifier.trust.load().device_epoch(&tenant(), "d-1"), 3);
    assert_eq!(rig.stored_seq(), 1);
    // A poll that fails is followed by another poll.
    assert_eq!(after(rig.core.answer(next.ask, Err(FetchError::Timeout)).ask), Some(1));
    // One that cannot be mended by events is not, however short ago the snapshot was asked for.
    assert!(matches!(rig.core.answer(next.ask, Err(FetchError::Gone)).ask, Ask::Snapshot(_)));
    rig.core.answer(Ask::Snapshot(None), Err(FetchError::Timeout));
    let pause = limits::TRUST_SNAPSHOT_PAUSE;
    rig.verifier.clock.advance(pause - Duration::from_secs(1));
    assert_eq!(after(rig.core.first().ask), Some(1));
    rig.verifier.clock.advance(Duration::from_secs(1));
    assert!(matches!(rig.core.first().ask, Ask::Snapshot(_)));
    let next = rig.core.answer(Ask::Snapshot(None), Ok(world.snapshot()));
    assert_eq!(after(next.ask), Some(1));
}

#[tokio::test]
async fn waits_grow_to_a_limit_and_start_anew_after_success() {
    let world = World::new();
    let mut rig = rig(&world);
    let mut last = Duration::ZERO;
    for _ in 0..20 {
        last = rig.core.answer(Ask::Snapshot(None), Err(FetchError::Timeout)).wait;
        assert!(last >= limits::SYNC_BACKOFF_FIRST / 2 && last <= limits::SYNC_BACKOFF_LAST);
    }
    assert!(last >= limits::SYNC_BACKOFF_LAST / 2);
    rig.core.answer(Ask::Snapshot(None), Ok(world.snapshot()));
    let wait = rig.fails(FetchError::Timeout).wait;
    assert!(wait <= limits::SYNC_BACKOFF_FIRST);
}

#[tokio::test]
async fn a_service_that_holds_events_back_is_not_polled_without_end() {
    let mut world = World::new();
    let mut rig = rig(&world);
    rig.core.answer(Ask::Snapshot(None), Ok(world.snapshot()));
    world.event(device_change("d-1", 1, NOW));
    let next = rig.poll_with(|poll| Feed {
        events: vec![],
        heartbeat: world.heartbeat_for(&poll.nonce, NOW),
    });
    assert!(!next.wait.is_zero());
    assert!(rig.shows("tessera_trust_sync_errors_total{reason=\"order\"} 1"));
}

#[tokio::test]
async fn how_far_time_has_come_is_stored_in_steps_and_nothing_of_the_wall_clock() {
    let world = World::new();
    let mut rig = rig(&world);
    let stored = |rig: &Rig| rig.verifier.trust_store.time().unwrap().signed;
    rig.core.answer(Ask::Snapshot(None), Ok(world.snapshot()));
    rig.poll(&world, NOW);
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
async fn a_service_that_was_ahead_stops_no_device_once_it_is_right() {
    use tessera_token::chain::TrustView;
    use tessera_token::refusal::RefusalCode;
    const DAY: u64 = 24 * 3600;
    for ahead in [7200, 40 * DAY, 365 * DAY] {
        let mut world = World::new();
        let mut rig = rig(&world);
        rig.core.answer(Ask::Snapshot(None), Ok(world.snapshot()));
        rig.poll(&world, NOW);
        let token = world.token();
        let password = world.password(&token, NOW, 1);
        rig.verifier.validator.admit(&password, DEVICE).await.unwrap();
        // An event and a heartbeat from the future.
        world.event_at(device_change("d-2", 1, NOW + ahead), NOW + ahead);
        rig.poll(&world, NOW + ahead);
        let password = world.password(&token, NOW + 13, 2);
        rig.verifier.clock.advance(Duration::from_secs(13));
        let refused = rig.verifier.validator.admit(&password, DEVICE).await.unwrap_err();
        let code =
            if ahead > 100 * DAY { RefusalCode::KeyNotValid } else { RefusalCode::TokenExpired };
        assert_eq!(refused.code, code);
        rig.poll(&world, NOW + 13);
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
async fn a_clock_that_is_ahead_here_says_so_and_refuses_no_device_while_the_service_is_heard() {
    use tessera_token::refusal::RefusalCode;
    let world = World::new();
    let mut rig = rig(&world);
    rig.core.answer(Ask::Snapshot(None), Ok(world.snapshot()));
    rig.poll(&world, NOW);
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
    rig.core.answer(Ask::Snapshot(None), Ok(world.snapshot()));
    rig.verifier.store.close().unwrap();
    world.event(device_change("d-1", 3, NOW));
    rig.poll(&world, NOW);
    use tessera_token::chain::TrustView;
    assert_eq!(rig.verifier.trust.load().device_epoch(&tenant(), "d-1"), 3);
    assert!(rig.shows("tessera_trust_sync_errors_total{reason=\"store\"} 1"));
}

#[tokio::test]
async fn a_recorded_world_makes_no_verifier() {
    // Forty days ago an attacker recorded snapshot and polls; the clock here stands there.
    let world = World::new();
    let mut rig = rig(&world);
    rig.core.answer(Ask::Snapshot(None), Ok(world.snapshot()));
    let token = world.token();
    for _ in 0..3 {
        rig.poll_with(|_| world.feed(0, NOW));
        assert_eq!(rig.verifier.validator.ready(), Err(RefusalCode::TrustMissing));
        let judged = rig.verifier.validator.admit(&world.password(&token, NOW, 1), DEVICE).await;
        assert_eq!(judged.unwrap_err().code, RefusalCode::TrustMissing);
    }
    assert!(rig.shows("tessera_trust_age_seconds -1"));
    assert!(rig.shows("tessera_trust_sync_errors_total{reason=\"nonce\"} 3"));
    // Told once, although it goes on.
    assert!(rig.shows("tessera_trust_not_followed_total{reason=\"nonce\"} 1"));
    // Neither does a restart make one.
    let mut rig = rig.restarted();
    assert_eq!(rig.verifier.validator.ready(), Err(RefusalCode::TrustMissing));
    // The real service answers, and its time is now the least.
    rig.poll(&world, NOW + 40 * 86_400);
    assert!(rig.verifier.trust.now() >= at(NOW + 40 * 86_400 - 60));
    let judged = rig.verifier.validator.admit(&world.password(&token, NOW, 1), DEVICE).await;
    assert_eq!(judged.unwrap_err().code, RefusalCode::TokenExpired);
}

#[tokio::test]
async fn the_service_waits_only_for_who_is_confirmed() {
    let world = World::new();
    let mut rig = rig(&world);
    let wait = |next: Next| match next.ask {
        Ask::Events(poll) => poll.wait,
        _ => panic!("{next:?}"),
    };
    let first = rig.core.answer(Ask::Snapshot(None), Ok(world.snapshot()));
    assert_eq!(wait(first), 0);
    let next = rig.poll(&world, NOW);
    assert_eq!(wait(next), limits::SYNC_WAIT_SECONDS);
    let again = rig.core.first();
    let (Ask::Events(one), Ask::Events(two)) = (next.ask, again.ask) else { panic!() };
    assert_ne!(one.nonce, two.nonce, "each poll draws its own");
    assert_eq!(wait(rig.fails(FetchError::Timeout)), 0);
}

#[tokio::test]
async fn an_established_verifier_outlives_an_outage_and_a_restart_within_its_budget() {
    let world = World::new();
    let mut rig = rig(&world);
    rig.settled(&world);
    rig.advance(3600);
    rig.fails(FetchError::Connect);
    // An outage is no lapse.
    assert_eq!(rig.verifier.validator.ready(), Ok(()));
    assert!(rig.shows("tessera_trust_following 1"));
    let mut rig = rig.restarted();
    assert_eq!(rig.verifier.trust.age(), Some(3600));
    assert_eq!(rig.verifier.validator.ready(), Ok(()));
    rig.fails(FetchError::Timeout);
    assert_eq!(rig.verifier.validator.ready(), Ok(()));
    rig.advance(24 * 3600);
    assert_eq!(rig.verifier.validator.ready(), Err(RefusalCode::TrustStale));
    // A clock that is set back makes nothing younger.
    rig.verifier.clock.set_unix(at(NOW));
    assert_eq!(rig.verifier.trust.age(), Some(25 * 3600));
}

#[tokio::test]
async fn who_cannot_follow_is_not_ready_says_why_and_stops_after_minutes() {
    let mut world = World::new();
    let mut rig = rig(&world);
    rig.settled(&world);
    let token = world.token();
    let held = rig.verifier.validator.admit(&world.password(&token, NOW, 1), DEVICE).await.unwrap();
    world.event(device_change("d-9", 1, NOW));
    let bent = |poll: &Poll| {
        let mut feed = world.feed_for(&poll.nonce, poll.stand.after, NOW);
        feed.events[0][40] ^= 1;
        feed
    };
    let next = rig.poll_with(bent);
    assert!(matches!(next.ask, Ask::Snapshot(_)));
    assert_eq!(rig.verifier.validator.ready(), Err(RefusalCode::TrustNotFollowed));
    let why = rig.verifier.validator.why_not_ready(RefusalCode::TrustNotFollowed);
    assert!(why.contains("signature") || why.contains("malformed"), "{why}");
    assert!(rig.shows("tessera_trust_following 0"));
    // For the short budget it decides; then it does not, and what it let in ends.
    rig.advance(limits::TRUST_NOT_FOLLOWED_SECONDS - 1);
    rig.poll_with(bent);
    assert_eq!(rig.verifier.validator.still_holds(&held.grant), Ok(()));
    rig.advance(1);
    let judged = |rig: &Rig, counter| {
        let now = rig.verifier.clock.unix().get();
        let password = world.password(&token, now, counter);
        let validator = rig.verifier.validator.clone();
        async move { validator.admit(&password, DEVICE).await.map_err(|refusal| refusal.code) }
    };
    assert_eq!(judged(&rig, 2).await.unwrap_err(), RefusalCode::TrustNotFollowed);
    let ended = rig.verifier.validator.still_holds(&held.grant);
    assert_eq!(ended, Err(RefusalCode::TrustNotFollowed));
    // A restart does not begin the budget anew.
    let mut rig = rig.restarted();
    assert_eq!(judged(&rig, 2).await.unwrap_err(), RefusalCode::TrustNotFollowed);
    // The snapshot holds what was behind the bad event, and everything is good again.
    rig.core.answer(Ask::Snapshot(None), Ok(world.snapshot()));
    rig.poll(&world, NOW + 300);
    assert_eq!(rig.verifier.validator.ready(), Ok(()));
    assert!(rig.shows("tessera_trust_following 1"));
    // Proofs have their own wait after a stop without notice: here it is trust alone.
    assert_eq!(rig.verifier.trust.may_decide(), Ok(()));
    assert_eq!(rig.verifier.trust_store.lapsed().unwrap(), None);
}

#[tokio::test]
async fn a_token_of_the_feed_that_is_taken_away_is_no_outage() {
    let world = World::new();
    let mut rig = rig(&world);
    rig.settled(&world);
    for (error, lapse) in [
        (FetchError::Connect, false),
        (FetchError::Timeout, false),
        (FetchError::Transport, false),
        (FetchError::Status, false),
        (FetchError::NotAllowed, true),
        (FetchError::Refused, true),
        (FetchError::TooLarge, true),
        (FetchError::Beyond, true),
    ] {
        rig.fails(error);
        assert_eq!(rig.verifier.trust.lapse().is_some(), lapse, "{error:?}");
        rig.core.answer(Ask::Snapshot(None), Ok(world.snapshot()));
        rig.poll(&world, NOW);
        assert_eq!(rig.verifier.trust.lapse(), None);
    }
}

#[tokio::test]
async fn who_is_beyond_its_service_shows_what_it_knows_and_takes_the_new_line() {
    use tessera_token::chain::TrustView;
    let mut world = World::new();
    let mut rig = rig(&world);
    rig.settled(&world);
    world.event(device_change("d-1", 1, NOW));
    rig.poll(&world, NOW);
    // The service comes back from a copy without that event.
    let next = rig.fails(FetchError::Beyond);
    assert_eq!(next.ask, Ask::Show);
    let evidence = Evidence::from_cbor(&rig.core.evidence()).unwrap();
    let shown = evidence.verify(&world.root.public()).unwrap();
    assert_eq!((shown.seq, shown.head), (1, world.head()));
    assert!(shown.changes.contains(&device_change("d-1", 1, NOW)));
    // It has jumped: its snapshot is taken, and nothing that was known is lost.
    let next = rig.core.answer(Ask::Show, Ok(Vec::new()));
    assert!(matches!(next.ask, Ask::Snapshot(_)));
    world.changes.clear();
    let jumped = world.snapshot_with(|snapshot| snapshot.seq = 1 << 20);
    let next = rig.core.answer(Ask::Snapshot(None), Ok(jumped));
    assert_eq!(after(next.ask), Some(1 << 20));
    assert_eq!(rig.verifier.trust.load().device_epoch(&tenant(), "d-1"), 1);
    // A service that takes nothing is asked for its snapshot all the same.
    assert!(matches!(rig.core.answer(Ask::Show, Err(FetchError::Refused)).ask, Ask::Snapshot(_)));
}

#[tokio::test]
async fn what_could_not_be_stored_is_stored_whole_before_anything_follows() {
    let mut world = World::new();
    let mut rig = rig(&world);
    rig.settled(&world);
    rig.core.unstored = Some(Unstored::default());
    world.event(device_change("d-1", 3, NOW));
    assert!(matches!(rig.core.first().ask, Ask::Snapshot(_)));
    rig.core.answer(Ask::Snapshot(None), Ok(world.snapshot()));
    assert_eq!(rig.stored_seq(), 1);
    assert_eq!(after(rig.core.first().ask), Some(1));
}

/// A service that came back from an older copy hears of them, though this verifier takes whole snapshots meanwhile.
#[tokio::test]
async fn events_that_could_not_be_stored_are_shown_to_a_service_that_has_lost_them() {
    let mut world = World::new();
    let mut rig = rig(&world);
    rig.settled(&world);
    let ask = rig.core.first().ask;
    let Ask::Events(poll) = ask else { panic!("{ask:?}") };
    rig.core.unstored = Some(Unstored::default());
    world.event(device_change("d-1", 1, NOW));
    let feed = world.feed_for(&poll.nonce, poll.stand.after, NOW);
    let next = rig.core.answer(ask, Ok(feed.to_cbor()));
    let stand = Stand { after: 1, head: world.head() };
    assert_eq!(next.ask, Ask::Snapshot(Some(stand)));
    assert_eq!(rig.core.answer(next.ask, Err(FetchError::Beyond)).ask, Ask::Show);
    let evidence = Evidence::from_cbor(&rig.core.evidence()).unwrap();
    let shown = evidence.verify(&world.root.public()).unwrap();
    assert_eq!((shown.seq, shown.head), (1, world.head()));
    assert!(shown.changes.contains(&device_change("d-1", 1, NOW)));
    // It is shown until it is taken in.
    for error in [FetchError::Status, FetchError::Timeout, FetchError::NotAllowed] {
        assert_eq!(rig.core.answer(Ask::Show, Err(error)).ask, Ask::Show);
    }
    assert_eq!(rig.core.answer(Ask::Show, Ok(Vec::new())).ask, Ask::Snapshot(None));
}

/// The service signs a snapshot while its clock is 40 days ahead: that was no absence, and once the clock is right the
/// devices whose tokens end sooner are served again.
#[tokio::test]
async fn a_snapshot_of_a_service_that_was_ahead_is_no_long_absence() {
    const AHEAD: u64 = tessera_token::limits::TOKEN_LIFE_SECONDS + 10 * 24 * 3600;
    let mut world = World::new();
    let mut rig = rig(&world);
    rig.settled(&world);
    world.event(device_change("d-1", 1, NOW + AHEAD));
    let ahead = world.snapshot_with(|snapshot| {
        snapshot.time = at(NOW + AHEAD);
        snapshot.valid_until = at(NOW + 2 * AHEAD);
    });
    rig.core.answer(Ask::Snapshot(None), Ok(ahead));
    let known = |rig: &Rig| {
        let state = rig.verifier.trust.load();
        (state.forgotten(), state.absent_since(), rig.verifier.trust.age_to_decide())
    };
    let open = (None, Some(at(NOW)), Some(u64::MAX));
    assert_eq!(known(&rig), open, "nothing is decided, and nothing forgotten");
    rig.poll(&world, NOW + AHEAD);
    assert_eq!(known(&rig), open, "one clock says so");
    let stored = rig.verifier.trust_store.load(audience()).unwrap();
    assert_eq!(stored.absent_since(), Some(at(NOW)), "a restart goes on with it");
    rig.poll(&world, NOW);
    assert_eq!(known(&rig), (None, None, Some(0)));
    let stored = rig.verifier.trust_store.load(audience()).unwrap();
    assert_eq!((stored.forgotten(), stored.absent_since()), (None, None));
}

/// A virtual machine that was paused for long and whose wall clock is set behind the first snapshot: it was away.
#[tokio::test]
async fn an_absence_that_the_wall_clock_shows_later_was_long() {
    const LONG: u64 = tessera_token::limits::TOKEN_LIFE_SECONDS + 10 * 24 * 3600;
    for set in [true, false] {
        let mut world = World::new();
        let mut rig = rig(&world);
        rig.settled(&world);
        world.event(device_change("d-1", 1, NOW + LONG));
        let snapshot = world.snapshot_with(|snapshot| {
            snapshot.time = at(NOW + LONG);
            snapshot.valid_until = at(NOW + 2 * LONG);
        });
        rig.core.answer(Ask::Snapshot(None), Ok(snapshot));
        assert_eq!(rig.verifier.trust.load().absent_since(), Some(at(NOW)));
        rig.core.tick();
        let mut now = NOW + LONG;
        if set {
            rig.verifier.clock.set_unix(at(now));
        } else {
            // A wall clock that is never set is not waited for.
            rig.verifier.clock.advance(limits::ABSENCE_OPEN - Duration::from_secs(1));
            rig.core.tick();
            assert_eq!(rig.verifier.trust.load().absent_since(), Some(at(NOW)));
            rig.verifier.clock.advance(Duration::from_secs(1));
            now += limits::ABSENCE_OPEN.as_secs();
        }
        let version = rig.verifier.trust.version();
        rig.poll(&world, now);
        rig.core.tick();
        assert!(rig.verifier.trust.version() > version, "verdicts of before are not good any more");
        let state = rig.verifier.trust.load();
        assert_eq!((state.forgotten(), state.absent_since()), (Some(at(now)), None), "{set}");
    }
}

/// Its wall clock was never set. The service is 40 days ahead in a snapshot, and takes that back: no absence. When it does not,
/// it was one: after 24 hours, which add up over restarts.
#[tokio::test]
async fn a_verifier_whose_clock_was_never_set_goes_by_its_monotonic_time_and_the_words_of_the_service(
) {
    const LONG: u64 = tessera_token::limits::TOKEN_LIFE_SECONDS + 10 * 24 * 3600;
    for takes_back in [true, false] {
        let mut world = World::new();
        let mut rig = rig(&world);
        rig.settled(&world);
        rig.verifier.clock.set_unix(at(1000));
        world.event(device_change("d-1", 1, NOW + LONG));
        let snapshot = world.snapshot_with(|snapshot| {
            snapshot.time = at(NOW + LONG);
            snapshot.valid_until = at(NOW + 2 * LONG);
        });
        rig.core.answer(Ask::Snapshot(None), Ok(snapshot));
        let known = |rig: &Rig| {
            let state = rig.verifier.trust.load();
            (state.forgotten(), state.absent_since())
        };
        assert_eq!(known(&rig), (None, Some(at(NOW))));
        if takes_back {
            rig.poll(&world, NOW + 60);
            assert_eq!(known(&rig), (None, None));
            continue;
        }
        rig.core.tick();
        rig.verifier.clock.advance(limits::ABSENCE_OPEN / 2);
        rig.core.tick();
        assert_eq!(rig.verifier.trust_store.open_for().unwrap(), limits::ABSENCE_OPEN / 2);
        // As a restart reads it.
        rig.core.open_before = rig.verifier.trust_store.open_for().unwrap();
        rig.core.absence_open = None;
        rig.core.tick();
        rig.verifier.clock.advance(limits::ABSENCE_OPEN / 2);
        rig.core.tick();
        let (forgotten, absent) = known(&rig);
        assert_eq!((forgotten.is_some(), absent), (true, None));
        assert_eq!(rig.verifier.trust_store.open_for().unwrap(), Duration::ZERO);
    }
}

/// A service whose clock was ahead comes back from an older copy with a right clock: its snapshot is taken.
#[tokio::test]
async fn a_snapshot_of_a_service_that_was_ahead_before_is_not_over() {
    const AHEAD: u64 = 400 * 24 * 3600;
    let world = World::new();
    let mut rig = rig(&world);
    rig.settled(&world);
    rig.poll(&world, NOW + AHEAD);
    assert_eq!(rig.verifier.trust.now(), at(NOW + AHEAD));
    let with = |seq: u64| {
        world.snapshot_with(|snapshot| {
            (snapshot.seq, snapshot.valid_until) = (seq, at(NOW + 3600));
        })
    };
    let right = with(1 << 20);
    let next = rig.core.answer(Ask::Snapshot(None), Ok(right));
    assert_eq!(after(next.ask), Some(1 << 20));
    // One that is over by both clocks is refused.
    rig.verifier.clock.set_unix(at(NOW + AHEAD));
    let old = with(1 << 21);
    rig.core.answer(Ask::Snapshot(None), Ok(old));
    assert_eq!(rig.verifier.trust.load().seq(), 1 << 20);
    assert!(rig.shows("tessera_trust_sync_errors_total{reason=\"expired\"} 1"));
}

/// A heartbeat of a service that is 40 days behind, then a snapshot of the same service with the right clock: neither clock
/// of this machine says that it was away. Each of them says so when it was. Both stand still while a virtual machine is
/// paused: then they do not show the time of the service.
#[tokio::test]
async fn a_service_that_was_behind_makes_no_long_absence() {
    const LONG: u64 = tessera_token::limits::TOKEN_LIFE_SECONDS + 10 * 24 * 3600;
    for (heard, monotonic, wall, signed, is_away) in [
        (NOW - LONG, 60, 60, 60, false),
        (NOW - LONG, 60, 60, 100, false),
        (NOW - LONG, LONG, 60, 60, true),
        (NOW - LONG, 60, LONG, LONG, true),
        (NOW, 60, 60, LONG, true),
        (NOW - LONG, 60, 60, LONG, true),
        (NOW, 60, LONG, LONG, true),
        (NOW, 60, LONG, LONG + 120, true),
        (NOW, 60, LONG, 60, false),
    ] {
        let mut world = World::new();
        let mut rig = rig(&world);
        rig.settled(&world);
        rig.poll(&world, heard);
        rig.verifier.clock.advance(Duration::from_secs(monotonic));
        rig.verifier.clock.set_unix(at(NOW + wall));
        world.event(device_change("d-1", 1, NOW + signed));
        let snapshot = world.snapshot_with(|snapshot| {
            snapshot.time = at(NOW + signed);
            snapshot.valid_until = at(NOW + 2 * LONG);
        });
        rig.core.answer(Ask::Snapshot(None), Ok(snapshot));
        let trust = rig.verifier.trust.load();
        // By the clock of the service alone it is open.
        let is_open = is_away && wall != signed && wall < LONG;
        let forgotten = (is_away && !is_open).then(|| at(NOW + signed.min(wall)));
        let absent = is_open.then(|| at(heard));
        let context = format!("{monotonic} {wall} {signed}");
        assert_eq!((trust.seq(), trust.forgotten()), (1, forgotten), "{context}");
        assert_eq!(trust.absent_since(), absent, "{context}");
    }
}

/// An answer in place of the service ends no showing of evidence and makes no lapse.
#[test]
fn a_status_without_a_code_of_ours_is_no_word_of_the_service() {
    for status in [400, 404, 405, 408, 409, 410, 413, 421, 429, 500, 502, 503, 504] {
        for code in [None, Some("nginx"), Some("")] {
            assert_eq!(
                FetchError::of_status(status, code),
                FetchError::Status,
                "{status} {code:?}"
            );
        }
    }
    for (status, code, meaning) in [
        (401, "operator_unknown", FetchError::NotAllowed),
        (403, "operator_not_allowed", FetchError::NotAllowed),
        (404, "not_found", FetchError::Refused),
        (400, "request_malformed", FetchError::Refused),
        (408, "request_malformed", FetchError::Status),
        (409, "trust_beyond", FetchError::Beyond),
        (410, "trust_gone", FetchError::Gone),
        (413, "request_malformed", FetchError::Refused),
        (429, "limit_reached", FetchError::Status),
        (503, "not_ready", FetchError::Status),
    ] {
        assert_eq!(FetchError::of_status(status, Some(code)), meaning, "{status} {code}");
    }
    assert_eq!(FetchError::of_status(401, None), FetchError::NotAllowed);
}
