//! A verifier follows links to another root key.

use tessera_runtime::metrics::Metrics;
use tessera_runtime::random::SeededRandom;
use tessera_token::key::{SecretKey, Thumbprint};
use tessera_token::refusal::RefusalCode;
use tessera_token::trust::{LinkedSnapshot, RootLink, RootSet, Roots};

use super::*;
use crate::testing::*;
use crate::trust::TrustStoreError;

struct Rig {
    folder: tempfile::TempDir,
    verifier: Verifier,
    core: SyncCore,
    metrics: Metrics,
}

/// Pins the root of `World::new`.
fn rig_in(folder: tempfile::TempDir, pin: Thumbprint) -> Rig {
    let verifier = Verifier::open(folder.path(), pin, NOW);
    let (metrics, random) = (Metrics::new(), SeededRandom::predictable(1).shared());
    let (trust, store) = (Arc::clone(&verifier.trust), verifier.trust_store.clone());
    let core = SyncCore::new(trust, store, random, &metrics).unwrap();
    Rig { folder, verifier, core, metrics }
}

impl Rig {
    /// With the snapshot and a heartbeat of the world.
    fn settled(world: &World) -> Self {
        let mut rig = rig_in(tempfile::tempdir().unwrap(), world.pin());
        rig.core.answer(Ask::Snapshot(None), Ok(world.snapshot()));
        rig.poll(world);
        assert_eq!(rig.verifier.validator.ready(), Ok(()));
        rig
    }

    fn poll(&mut self, world: &World) -> Next {
        let ask = self.core.first().ask;
        let Ask::Events(poll) = ask else { panic!("{ask:?}") };
        let feed = world.feed_for(&poll.nonce, poll.stand.after, NOW);
        self.core.answer(ask, Ok(feed.to_cbor()))
    }

    fn takes(&mut self, snapshot: Vec<u8>) -> Next {
        self.core.answer(Ask::Snapshot(None), Ok(snapshot))
    }

    /// With the configuration of before: it pins the first root.
    fn restarted(self) -> Self {
        self.pinning(World::new().pin())
    }

    /// Started again with another pin in its configuration.
    fn pinning(self, pin: Thumbprint) -> Self {
        self.verifier.store.close().unwrap();
        let Rig { folder, verifier, core, .. } = self;
        drop((verifier, core));
        rig_in(folder, pin)
    }

    fn epoch(&self) -> u64 {
        let state = self.verifier.trust.load();
        tessera_token::chain::TrustView::device_epoch(&**state, &tenant(), "d-1")
    }

    fn set(&self) -> RootSet {
        self.verifier.trust_store.roots()
    }

    fn lapse(&self) -> Option<&'static str> {
        self.verifier.trust.lapse().map(|lapse| lapse.reason)
    }
}

fn key(seed: u8) -> SecretKey {
    SecretKey::from_seed(&[seed; 32])
}

fn roots(online: u8, offline: Option<u8>) -> Roots {
    let name = |seed| key(seed).public().thumbprint();
    Roots { online: name(online), offline: offline.map(name) }
}

/// The world's root has the seed 1.
fn pinned() -> RootSet {
    RootSet::pinned(roots(1, None))
}

fn link(set: &RootSet, to: Roots, by: &[u8]) -> Vec<u8> {
    let mut link = RootLink::new(set.next(to, at(NOW), false));
    assert!(by.iter().all(|seed| link.sign(&key(*seed))));
    link.to_cbor()
}

/// The same service with another root.
fn world_of(seed: u8) -> World {
    World { root: key(seed), ..World::new() }
}

fn linked(links: &[&Vec<u8>], world: &World) -> Vec<u8> {
    let links: Vec<Vec<u8>> = links.iter().map(|link| (*link).clone()).collect();
    LinkedSnapshot::write(&links, world.snapshot())
}

#[tokio::test]
async fn a_link_moves_the_pin_and_the_former_root_counts_no_more() {
    let (before, mut after) = (World::new(), world_of(2));
    let mut rig = Rig::settled(&before);
    let to_b = link(&pinned(), roots(2, None), &[1, 2]);
    // Without the link it is a foreign root.
    rig.takes(after.snapshot());
    assert_eq!((rig.lapse(), rig.set()), (Some("root"), pinned()));
    let next = rig.takes(linked(&[&to_b], &after));
    let Ask::Events(poll) = next.ask else { panic!("{:?}", next.ask) };
    assert_eq!((poll.root_set, rig.set().roots()), (1, roots(2, None)));
    after.event(device_change("d-1", 1, NOW));
    rig.poll(&after);
    assert_eq!((rig.lapse(), rig.verifier.trust.load().seq()), (None, 1));
    assert!(rig.metrics.render().contains("tessera_trust_root_set 1"));
    // Neither recordings nor anything new of the former root, before and after a restart that pins it still.
    for _ in 0..2 {
        rig.takes(before.snapshot());
        assert_eq!(rig.lapse(), Some("root"));
        rig.takes(linked(&[&to_b], &before));
        assert_eq!((rig.lapse(), rig.verifier.trust.load().seq()), (Some("root"), 1));
        rig = rig.restarted();
        assert_eq!((rig.set().number(), rig.verifier.trust.load().seq()), (1, 1));
    }
    rig.poll(&after);
    assert_eq!(rig.lapse(), None);
}

/// A power cut may come between the link and the snapshot behind it.
#[tokio::test]
async fn stored_data_of_the_former_root_count_until_the_next_snapshot_and_nothing_is_added() {
    let (mut before, after) = (World::new(), world_of(2));
    let mut rig = Rig::settled(&before);
    before.event(device_change("d-1", 1, NOW));
    rig.poll(&before);
    let to_b = link(&pinned(), roots(2, None), &[1, 2]);
    assert_eq!(rig.verifier.trust_store.follow_links(std::slice::from_ref(&to_b)).ok(), Some(true));
    let mut rig = rig.restarted();
    assert_eq!((rig.set().number(), rig.verifier.trust.load().seq()), (1, 1));
    assert!(matches!(rig.core.first().ask, Ask::Snapshot(Some(_))));
    // The numbers of the new root need not go on where those of the former one ended; revocations stay.
    rig.takes(linked(&[&to_b], &after));
    let state = rig.verifier.trust.load();
    assert_eq!((state.seq(), state.is_of_root(&after.pin())), (0, true));
    drop(state);
    assert_eq!(rig.epoch(), 1);
}

/// An operator pins the next root before this verifier has heard of the link.
#[tokio::test]
async fn a_pin_that_no_link_joins_to_the_stored_data_decides_nothing_by_them_and_forgets_nothing() {
    let (mut before, after) = (World::new(), world_of(2));
    let to_b = link(&pinned(), roots(2, None), &[1, 2]);
    for (answer, number) in [(linked(&[&to_b], &after), 1), (after.snapshot(), 0)] {
        let mut rig = Rig::settled(&before);
        before = World::new();
        before.event(device_change("d-1", 1, NOW));
        rig.poll(&before);
        assert_eq!(rig.epoch(), 1);
        let mut rig = rig.pinning(after.pin());
        for _ in 0..2 {
            assert_eq!(rig.verifier.validator.ready(), Err(RefusalCode::TrustMissing));
            assert!(rig.verifier.trust.may_decide().is_err());
            assert_eq!(rig.epoch(), 1, "it is known all the same");
            // The former root counts no more.
            assert!(matches!(rig.core.first().ask, Ask::Snapshot(Some(_))));
            rig.takes(before.snapshot());
            assert_eq!(rig.lapse(), Some("root"));
            rig = rig.pinning(after.pin());
        }
        rig.takes(answer);
        assert_eq!((rig.set().number(), rig.epoch()), (number, 1));
        assert!(!rig.verifier.trust.load().is_held());
        rig.poll(&after);
        assert_eq!(rig.verifier.validator.ready(), Ok(()));
        let rig = rig.pinning(after.pin());
        assert_eq!((rig.set().number(), rig.epoch()), (number, 1));
        assert!(rig.verifier.trust.may_decide().is_ok());
        before = World::new();
    }
}

/// The pin of another line, and back: the links of before are not lost by looking at them.
#[tokio::test]
async fn links_stay_until_a_snapshot_of_another_line_takes_their_place() {
    let world = World::new();
    let mut rig = Rig::settled(&world);
    let to_b = link(&pinned(), roots(2, None), &[1, 2]);
    rig.takes(linked(&[&to_b], &world_of(2)));
    let rig = rig.pinning(key(7).public().thumbprint());
    assert_eq!((rig.set().number(), rig.verifier.trust.load().is_held()), (0, true));
    let rig = rig.restarted();
    assert_eq!((rig.set().number(), rig.verifier.trust.load().is_held()), (1, false));
    let mut rig = rig.pinning(key(7).public().thumbprint());
    rig.takes(world_of(7).snapshot());
    let rig = rig.restarted();
    assert_eq!((rig.set().number(), rig.verifier.trust.load().is_held()), (0, true));
}

#[tokio::test]
async fn a_stolen_online_root_does_not_remove_the_offline_root() {
    let world = World::new();
    let mut rig = Rig::settled(&world);
    let with_offline = link(&pinned(), roots(1, Some(9)), &[1, 9]);
    rig.takes(linked(&[&with_offline], &world));
    assert_eq!((rig.lapse(), rig.set().roots()), (None, roots(1, Some(9))));
    let set = rig.set();
    for (to, by) in
        [(roots(5, Some(9)), &[5][..]), (roots(1, None), &[1]), (roots(5, Some(6)), &[5, 6])]
    {
        let forged = link(&set, to, by);
        rig.takes(linked(&[&with_offline, &forged], &world_of(5)));
        assert_eq!((rig.lapse(), rig.set()), (Some("signature"), set), "{to:?}");
    }
    // The first link again, to other roots: it is one of another line.
    let other = link(&pinned(), roots(5, None), &[1, 5]);
    rig.takes(linked(&[&other], &world_of(5)));
    assert_eq!((rig.lapse(), rig.set()), (Some("order"), set));
    let mut rig = rig.restarted();
    rig.takes(linked(&[&other], &world_of(5)));
    assert_eq!(rig.set(), set);
    // The offline root alone gives the fleet another online root.
    let replaced = link(&set, roots(2, Some(9)), &[9, 2]);
    rig.takes(linked(&[&with_offline, &replaced], &world_of(2)));
    assert_eq!((rig.set().number(), rig.set().roots()), (2, roots(2, Some(9))));
}

/// An attacker on the line may cut links off the front of an answer.
#[tokio::test]
async fn links_that_come_in_parts_are_stored_as_one_line() {
    let world = World::new();
    let mut rig = Rig::settled(&world);
    let first = link(&pinned(), roots(2, None), &[1, 2]);
    rig.takes(linked(&[&first], &world_of(2)));
    let second = link(&rig.set(), roots(3, None), &[2, 3]);
    rig.takes(linked(&[&second], &world_of(3)));
    assert_eq!(rig.set().number(), 2);
    let mut rig = rig.restarted();
    assert_eq!((rig.set().number(), rig.set().roots()), (2, roots(3, None)));
    // A line that ends before changes nothing.
    rig.takes(linked(&[&first], &world_of(2)));
    assert_eq!(rig.set().number(), 2);
}

#[tokio::test]
async fn nothing_is_taken_by_a_root_that_is_not_durable() {
    let world = World::new();
    let mut rig = Rig::settled(&world);
    let to_b = link(&pinned(), roots(2, None), &[1, 2]);
    rig.verifier.store.close().unwrap();
    let stored = rig.verifier.trust_store.follow_links(std::slice::from_ref(&to_b));
    assert!(matches!(stored, Err(TrustStoreError::Store(_))));
    rig.takes(linked(&[&to_b], &world_of(2)));
    assert_eq!((rig.set(), rig.lapse()), (pinned(), Some("store")));
    assert!(rig.verifier.trust.load().is_of_root(&world.pin()));
}

#[tokio::test]
async fn a_new_verifier_that_pins_a_later_root_or_both_finds_its_place() {
    let first = link(&pinned(), roots(2, None), &[1, 2]);
    let one = pinned().follow(std::slice::from_ref(&first)).unwrap();
    let second = link(&one, roots(2, Some(9)), &[2, 9]);
    let two = one.follow(&[first.clone(), second.clone()]).unwrap();
    let third = link(&two, roots(3, Some(9)), &[9, 3]);
    let links = [&first, &second, &third];
    let mut rig = rig_in(tempfile::tempdir().unwrap(), key(2).public().thumbprint());
    rig.takes(linked(&links, &world_of(3)));
    assert_eq!((rig.lapse(), rig.set().number()), (None, 3));
    let store = &rig.verifier.store;
    for (pins, number) in [
        (roots(2, Some(9)), 3),
        (roots(3, Some(9)), 3),
        (roots(1, None), 3),
        // The operator pins another root: the stored links are none of its line.
        (roots(4, None), 0),
        (roots(3, Some(8)), 0),
    ] {
        let store = TrustStore::pinning(store, pins).unwrap();
        assert_eq!(store.roots().number(), number, "{pins:?}");
    }
}
