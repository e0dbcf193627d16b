//! A verifier of some tenants: what it takes, what it refuses, and what a restart finds.

use tessera_token::chain::TrustView;
use tessera_token::ids::TenantId;
use tessera_token::refusal::RefusalCode;
use tessera_token::trust::{BoundFeed, Event, EventHash, Feed, TenantSet, View};

use super::tests::{after, rig, Rig};
use super::*;
use crate::testing::*;

const OTHER: &str = "rival";

fn other() -> TenantId {
    TenantId::parse(OTHER).unwrap()
}

/// A rig that was told its tenants.
fn of(rig: Rig, tenants: &TenantSet) -> Rig {
    let Rig { core, .. } = rig;
    Rig { core: core.of_tenants(Some(tenants.clone())), ..rig }
}

fn bound(world: &World, tenants: &TenantSet) -> Rig {
    let mut rig = of(rig(world), tenants);
    let next = rig.core.answer(Ask::Snapshot(None), Ok(world.bound_snapshot(tenants)));
    assert_eq!(after(next.ask), Some(world.seq()));
    poll(&mut rig, world, tenants);
    assert_eq!(rig.verifier.validator.ready(), Ok(()));
    rig
}

fn poll(rig: &mut Rig, world: &World, tenants: &TenantSet) -> Next {
    poll_with(rig, |poll| world.bound_feed(tenants, &poll.nonce, poll.stand.after, NOW).to_cbor())
}

fn poll_with(rig: &mut Rig, answer: impl FnOnce(&Poll) -> Vec<u8>) -> Next {
    let ask = rig.core.first().ask;
    let Ask::Events(poll) = ask else { panic!("{ask:?}") };
    rig.core.answer(ask, Ok(answer(&poll)))
}

fn is_snapshot(ask: Ask) -> bool {
    matches!(ask, Ask::Snapshot(_))
}

fn refused(rig: &Rig, reason: &str) -> bool {
    rig.shows(&format!("tessera_trust_sync_errors_total{{reason=\"{reason}\"}} 1"))
}

#[tokio::test]
async fn what_concerns_its_tenants_arrives_and_nothing_else() {
    let mut world = World::new();
    let acme = set(&["acme"]);
    world.event(device_change_of(OTHER, "theirs", 4));
    let mut rig = bound(&world, &acme);
    let mut effects = rig.verifier.trust.effects();
    world.event(device_change_of(OTHER, "theirs", 5));
    world.event(device_change("d-1", 1, NOW));
    world.event(device_change_of(OTHER, "theirs", 6));
    let next = poll(&mut rig, &world, &acme);
    assert_eq!((next.wait, after(next.ask)), (Duration::ZERO, Some(4)));
    let state = rig.verifier.trust.load();
    assert_eq!((state.seq(), state.head()), (4, world.head()));
    assert_eq!(state.device_epoch(&tenant(), "d-1"), 1);
    assert_eq!((state.device_count(), state.device_epoch(&other(), "theirs")), (1, 0));
    let told = TrustEffect::Device { tenant: tenant(), device: device("d-1") };
    assert_eq!(effects.try_recv().unwrap(), told);
    assert!(effects.try_recv().is_err(), "no session hears of other tenants");
    assert_eq!(rig.verifier.validator.ready(), Ok(()));
}

/// A holder of the line may send anything: only the root key says what is left out.
#[tokio::test]
async fn no_event_of_its_own_can_be_hidden() {
    let acme = set(&["acme"]);
    let theirs = set(&["other"]);
    type Bend = fn(&World, &Poll, BoundFeed, &TenantSet) -> BoundFeed;
    let bends: [(&str, &str, Bend); 11] = [
        // The true view of another account, in which every revocation is foreign.
        ("tenants", "another's", |world, poll, _, theirs| {
            world.bound_feed(theirs, &poll.nonce, poll.stand.after, NOW)
        }),
        ("order", "left out", |_, _, mut answer, _| {
            answer.feed.events.clear();
            answer
        }),
        ("order", "twice", |_, _, mut answer, _| {
            answer.feed.events.push(answer.feed.events[0].clone());
            answer
        }),
        ("order", "reordered", |_, _, mut answer, _| {
            answer.feed.events.reverse();
            answer
        }),
        // No view: the heartbeat tells that there is more.
        ("order", "no view", |_, _, mut answer, _| {
            answer.view.clear();
            answer.feed.events.clear();
            answer
        }),
        ("order", "events without a view", |_, _, mut answer, _| {
            answer.view.clear();
            answer
        }),
        // A view of an earlier answer begins elsewhere.
        ("order", "elsewhere", |world, poll, _, _| {
            world.bound_feed(&set(&["acme"]), &poll.nonce, 0, NOW)
        }),
        // True views that begin behind one of its events, with and without one of its own.
        ("order", "over one", |world, poll, _, _| {
            world.bound_feed(&set(&["acme"]), &poll.nonce, 2, NOW)
        }),
        ("order", "over all", |world, poll, mut answer, _| {
            let mut view = View::open(&answer.view, &world.root.public()).unwrap();
            (view.after, view.after_head) = (3, EventHash::of(&world.events[2]));
            view.included.clear();
            answer.view = view.sign(&world.root).unwrap();
            answer.feed.events.clear();
            assert_eq!(poll.stand.after, 1);
            answer
        }),
        ("signature", "unsigned", |_, _, mut answer, _| {
            *answer.view.last_mut().unwrap() ^= 1;
            answer
        }),
        // An event in the place of a view.
        ("signature", "another kind", |world, _, mut answer, _| {
            answer.view = world.events[0].clone();
            answer
        }),
    ];
    let mut wrong = Vec::new();
    for (reason, what, bend) in bends {
        let mut world = World::new();
        world.event(device_change("d-0", 1, NOW));
        let mut rig = bound(&world, &acme);
        world.event(device_change("d-1", 1, NOW));
        world.event(device_change_of(OTHER, "theirs", 1));
        world.event(device_change("d-2", 1, NOW));
        let next = poll_with(&mut rig, |poll| {
            let honest = world.bound_feed(&acme, &poll.nonce, poll.stand.after, NOW);
            bend(&world, poll, honest, &theirs).to_cbor()
        });
        let told = rig.verifier.trust.lapse().map(|lapse| lapse.reason);
        let state = rig.verifier.trust.load().as_ref().clone();
        // It stands behind nothing that it was not told.
        let knows = |seq, name| state.seq() < seq || state.device_epoch(&tenant(), name) == 1;
        let stands = knows(2, "d-1") && knows(4, "d-2");
        if told != Some(reason) || !is_snapshot(next.ask) || !stands {
            wrong.push((what, told, state.seq()));
            continue;
        }
        // The snapshot mends it, and what a restart finds is whole.
        let next = rig.core.answer(Ask::Snapshot(None), Ok(world.bound_snapshot(&acme)));
        assert_eq!(after(next.ask), Some(4), "{what}");
        poll(&mut rig, &world, &acme);
        assert_eq!(rig.verifier.validator.ready(), Ok(()), "{what}");
        let stored = rig.verifier.trust_store.load(audience()).unwrap();
        assert_eq!(stored.device_epoch(&tenant(), "d-2"), 1, "{what}");
    }
    assert_eq!(wrong, []);
}

#[tokio::test]
async fn a_good_event_in_front_of_a_bad_one_counts() {
    let mut world = World::new();
    let acme = set(&["acme"]);
    let mut rig = bound(&world, &acme);
    world.event(device_change("d-1", 1, NOW));
    world.event(device_change_of(OTHER, "theirs", 1));
    world.event(device_change("d-2", 1, NOW));
    poll_with(&mut rig, |poll| {
        let mut answer = world.bound_feed(&acme, &poll.nonce, poll.stand.after, NOW);
        *answer.feed.events[1].last_mut().unwrap() ^= 1;
        answer.to_cbor()
    });
    let state = rig.verifier.trust.load().as_ref().clone();
    assert_eq!((state.seq(), state.device_epoch(&tenant(), "d-1")), (1, 1));
    assert_eq!(state.device_epoch(&tenant(), "d-2"), 0);
    // It is not in the store without the rest of its view: the next thing that is stored is a snapshot.
    assert!(is_snapshot(rig.core.first().ask));
    assert_eq!(rig.verifier.trust_store.load(audience()).unwrap().seq(), 0);
    // A service that has lost it is shown it all the same.
    let evidence = tessera_token::trust::Evidence::from_cbor(&rig.core.evidence()).unwrap();
    let shown = evidence.verify(&world.root.public()).unwrap();
    assert!(shown.changes.contains(&device_change("d-1", 1, NOW)));
    assert!(!shown.changes.contains(&device_change("d-2", 1, NOW)));
}

#[tokio::test]
async fn each_takes_its_own_kind_alone() {
    let mut world = World::new();
    let acme = set(&["acme"]);
    world.event(device_change("d-1", 1, NOW));
    // A verifier of all tenants, and an account of some.
    let mut full = rig(&world);
    let next = full.core.answer(Ask::Snapshot(None), Ok(world.bound_snapshot(&acme)));
    assert!(refused(&full, "tenants") && is_snapshot(next.ask));
    assert!(full.verifier.trust.load().is_empty());
    full.core.answer(Ask::Snapshot(None), Ok(world.snapshot()));
    poll_with(&mut full, |poll| {
        world.bound_feed(&acme, &poll.nonce, poll.stand.after, NOW).to_cbor()
    });
    assert_eq!(full.verifier.trust.lapse().unwrap().reason, "tenants");
    // A verifier of some, and an account of all or of others.
    for theirs in [world.snapshot(), world.bound_snapshot(&set(&[OTHER]))] {
        let mut rig = of(rig(&world), &acme);
        rig.core.answer(Ask::Snapshot(None), Ok(theirs));
        assert!(refused(&rig, "tenants"));
        assert!(rig.verifier.trust.load().is_empty());
        assert_eq!(rig.verifier.validator.ready(), Err(RefusalCode::TrustMissing));
    }
    let mut rig = bound(&world, &acme);
    let next = poll_with(&mut rig, |poll| world.feed_for(&poll.nonce, 1, NOW).to_cbor());
    assert!(refused(&rig, "tenants") && is_snapshot(next.ask));
}

#[tokio::test]
async fn a_token_of_another_tenant_is_as_one_of_none() {
    let world = World::new();
    let token = world.token();
    let mut theirs = bound(&world, &set(&[OTHER]));
    let password = world.password(&token, NOW, 1);
    let refusal = theirs.verifier.validator.admit(&password, DEVICE).await.unwrap_err();
    let mut others = bound(&world, &set(&["other"]));
    let unknown = others.verifier.validator.admit(&password, DEVICE).await.unwrap_err();
    assert_eq!(refusal.code, unknown.code);
    let ours = bound(&world, &set(&["acme", OTHER]));
    ours.verifier.validator.admit(&password, DEVICE).await.unwrap();
    theirs.core.tick();
    others.core.tick();
}

#[tokio::test]
async fn a_restart_goes_on_where_the_store_ended() {
    let mut world = World::new();
    let acme = set(&["acme"]);
    let mut rig = bound(&world, &acme);
    for round in 1..4 {
        world.event(device_change_of(OTHER, "theirs", round));
        // Nothing of its own: it stands there, and it is not worth a write.
        let next = poll(&mut rig, &world, &acme);
        assert_eq!(next.wait, limits::SYNC_PAUSE);
        assert_eq!(rig.verifier.trust.load().seq(), world.seq());
        let stored = rig.verifier.trust_store.load(audience()).unwrap();
        assert!(stored.seq() < world.seq());
        world.event(device_change("d-1", round, NOW));
        poll(&mut rig, &world, &acme);
        let stored = rig.verifier.trust_store.load(audience()).unwrap();
        assert_eq!((stored.seq(), stored.device_epoch(&tenant(), "d-1")), (world.seq(), round));
    }
    world.event(device_change_of(OTHER, "theirs", 9));
    poll(&mut rig, &world, &acme);
    let mut rig = of(rig.restarted(), &acme);
    assert_eq!(rig.verifier.validator.ready(), Ok(()));
    let asks = rig.core.first().ask;
    assert_eq!(
        after(asks),
        Some(6),
        "the view without events was not stored, and is asked for again"
    );
    world.event(device_change("d-2", 1, NOW));
    poll(&mut rig, &world, &acme);
    let state = rig.verifier.trust.load();
    assert_eq!((state.seq(), state.device_epoch(&tenant(), "d-2")), (8, 1));
    assert_eq!(state.tenants(), Some(&acme));
}

#[tokio::test]
async fn views_without_events_are_stored_with_a_heartbeat_or_when_they_are_many() {
    let mut world = World::new();
    let acme = set(&["acme"]);
    let mut rig = bound(&world, &acme);
    let stored = |rig: &Rig| rig.verifier.trust_store.load(audience()).unwrap().seq();
    for round in 1..limits::TRUST_VIEWS_WAITING as u64 {
        world.event(device_change_of(OTHER, "theirs", round));
        poll(&mut rig, &world, &acme);
        assert_eq!(stored(&rig), 0);
    }
    world.event(device_change_of(OTHER, "theirs", 100));
    poll(&mut rig, &world, &acme);
    assert_eq!(stored(&rig), world.seq());
    world.event(device_change_of(OTHER, "theirs", 101));
    rig.advance(limits::TRUST_HEARTBEAT_STEP.as_secs());
    poll(&mut rig, &world, &acme);
    assert_eq!(stored(&rig), world.seq());
}

/// Its tenants are said at the start. Stored data of others are of no use from then on; its own goes on.
#[tokio::test]
async fn other_tenants_need_a_snapshot_and_its_own_go_on_meanwhile() {
    let mut world = World::new();
    let (acme, both) = (set(&["acme"]), set(&["acme", OTHER]));
    world.event(device_change("d-1", 1, NOW));
    world.event(device_change_of(OTHER, "theirs", 3));
    let known = |rig: &Rig| {
        let state = rig.verifier.trust.load();
        (state.device_epoch(&tenant(), "d-1"), state.device_epoch(&other(), "theirs"))
    };
    // All to some: narrowed at once, as an agent does it when it starts.
    let mut all = rig(&world);
    all.core.answer(Ask::Snapshot(None), Ok(world.snapshot()));
    let mut some = of(all.restarted(), &acme);
    let mut narrowed = some.verifier.trust.load().as_ref().clone();
    narrowed.narrow_to(&acme);
    some.verifier.trust.publish(narrowed, None);
    assert_eq!(known(&some), (1, 0));
    assert!(is_snapshot(some.core.first().ask));
    some.core.answer(Ask::Snapshot(None), Ok(world.bound_snapshot(&acme)));
    assert_eq!(known(&some), (1, 0));
    assert_eq!(some.verifier.trust_store.load(audience()).unwrap().tenants(), Some(&acme));
    // Some to more, with the floor of what is its own.
    world.changes.retain(|change| *change.tenant() == other());
    let mut more = of(some.restarted(), &both);
    assert_eq!(known(&more), (1, 0));
    assert!(is_snapshot(more.core.first().ask));
    more.core.answer(Ask::Snapshot(None), Ok(world.bound_snapshot(&both)));
    assert_eq!(known(&more), (1, 3));
    // And to fewer: nothing of those that left is in the store, nor in what is known beyond the snapshot.
    let mut fewer = of(more.restarted(), &set(&[OTHER]));
    fewer.core.answer(Ask::Snapshot(None), Ok(world.bound_snapshot(&set(&[OTHER]))));
    assert_eq!(known(&fewer), (0, 3));
    let stored = fewer.verifier.trust_store.load(audience()).unwrap();
    assert_eq!(stored.device_epoch(&tenant(), "d-1"), 0);
    // A token of all tenants: nothing silently becomes all.
    let mut all = fewer.restarted();
    assert!(is_snapshot(all.core.first().ask));
    let next = all.core.answer(Ask::Snapshot(None), Ok(world.snapshot()));
    assert_eq!((known(&all).1, after(next.ask)), (3, Some(2)));
}

#[tokio::test]
async fn it_shows_its_views_to_a_service_that_knows_less() {
    let mut world = World::new();
    let acme = set(&["acme"]);
    let mut rig = bound(&world, &acme);
    world.event(device_change_of(OTHER, "theirs", 1));
    world.event(device_change("d-1", 1, NOW));
    poll(&mut rig, &world, &acme);
    // It stands behind an event of others, whose view is not stored yet.
    world.event(device_change_of(OTHER, "theirs", 2));
    poll(&mut rig, &world, &acme);
    let ask = rig.core.first().ask;
    assert_eq!(rig.core.answer(ask, Err(FetchError::Beyond)).ask, Ask::Show);
    let evidence = tessera_token::trust::Evidence::from_cbor(&rig.core.evidence()).unwrap();
    assert_eq!((evidence.events.len(), evidence.views.len()), (1, 2));
    let shown = evidence.verify(&world.root.public()).unwrap();
    assert_eq!((shown.seq, shown.head), (3, world.head()));
    assert!(shown.changes.iter().all(|change| *change.tenant() == tenant()));
}

#[tokio::test]
async fn a_store_whose_views_lack_an_event_is_not_used() {
    let mut world = World::new();
    let acme = set(&["acme"]);
    let mut rig = bound(&world, &acme);
    world.event(device_change("d-1", 1, NOW));
    world.event(device_change("d-2", 1, NOW));
    poll(&mut rig, &world, &acme);
    let events = rig.verifier.store.table("trust_events").unwrap();
    let views = rig.verifier.store.table("trust_views").unwrap();
    let whole = events.scan_prefix(&[], None, 10).unwrap();
    let load = |rig: &Rig| rig.verifier.trust_store.load(audience()).err().map(|e| e.to_string());
    assert_eq!((whole.len(), load(&rig)), (2, None));
    let mut batch = tessera_runtime::store::Batch::new();
    batch.delete(&events, &whole[1].0);
    rig.verifier.store.commit_blocking(batch).unwrap();
    assert!(load(&rig).unwrap().contains("order"));
    let mut batch = tessera_runtime::store::Batch::new();
    let view = views.scan_prefix(&[], None, 10).unwrap();
    batch.delete(&views, &view[0].0);
    rig.verifier.store.commit_blocking(batch).unwrap();
    assert!(load(&rig).unwrap().contains("damaged"));
}

/// Long lines of foreign events move it and bring it nothing to hold.
#[tokio::test]
async fn a_view_that_is_followed_in_parts_ends_where_the_service_stands() {
    let mut world = World::new();
    let acme = set(&["acme"]);
    let mut rig = bound(&world, &acme);
    for round in 1..6 {
        world.event(device_change_of(OTHER, "theirs", round));
    }
    let next = poll_with(&mut rig, |poll| {
        let view = View {
            tenants: acme.id(),
            after: 0,
            after_head: EventHash::default(),
            seq: 3,
            head: EventHash::of(&world.events[2]),
            time: at(NOW),
            included: Vec::new(),
        };
        let feed = Feed { events: vec![], heartbeat: world.heartbeat_for(&poll.nonce, NOW) };
        BoundFeed { view: view.sign(&world.root).unwrap(), feed }.to_cbor()
    });
    assert_eq!((next.wait, after(next.ask)), (Duration::ZERO, Some(3)), "there is more");
    assert!(rig.verifier.trust.lapse().is_none());
    assert!(Event::open(&world.events[2], &world.root.public()).is_ok());
    poll(&mut rig, &world, &acme);
    assert_eq!(rig.verifier.trust.load().seq(), 5);
}
