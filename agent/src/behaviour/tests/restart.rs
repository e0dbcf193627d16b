use std::sync::Arc;

use tessera_runtime::clock::{Clock, ManualClock};
use tessera_runtime::metrics::Metrics;
use tessera_runtime::store::{Batch, Store};
use tessera_token::time::UnixSeconds;

use super::super::actor::BehaviourParts;
use super::*;
use crate::limits::PROFILE_PARTS;

fn start(store: &Store, clock: &Arc<ManualClock>) -> (Observer, BehaviourParts, Metrics) {
    let metrics = Metrics::new();
    let parts = super::super::start(store, BehaviourConfig::default(), clock.clone(), &metrics);
    let (observer, parts) = parts.ok().unwrap();
    (observer, parts, metrics)
}

fn clock() -> Arc<ManualClock> {
    ManualClock::at(UnixSeconds::new(START_MS / 1000))
}

fn busy_hour(observer: &Observer, parts: &mut BehaviourParts, clock: &ManualClock) {
    for number in 0..300 {
        let device = observer.device(&tenant(), &DeviceId::parse(&format!("d-{number}")).unwrap());
        observer.observe(&device, Observation::Published { topic: "t", bytes: 60 });
    }
    let device = observer.device(&tenant(), &DeviceId::parse("d-0").unwrap());
    for _ in 0..360 {
        observer.observe(&device, Observation::Published { topic: "t", bytes: 60 });
        parts.tick();
        clock.advance(std::time::Duration::from_secs(10));
    }
}

#[tokio::test]
async fn a_learned_device_is_still_known_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let clock = clock();
    let (observer, mut parts, _) = start(&store, &clock);
    busy_hour(&observer, &mut parts, &clock);
    parts.finish();
    store.close().unwrap();
    drop(parts);

    let store = Store::open(folder.path()).unwrap();
    let (observer, mut parts, metrics) = start(&store, &clock);
    let mut alerts = observer.alerts();
    let device = observer.device(&tenant(), &DeviceId::parse("d-0").unwrap());
    for _ in 0..200 {
        observer.observe(&device, Observation::Published { topic: "t", bytes: 60 });
    }
    parts.tick();
    // Two hundred at once would be nothing for a device without a past.
    let alert = alerts.try_recv().unwrap();
    assert_eq!(alert.device.as_str(), "d-0");
    assert!(alert.words().contains("its own p99"), "{}", alert.words());
    let shown = metrics.render();
    assert!(shown.contains("tessera_behaviour_devices 300"), "{shown}");
    assert!(
        shown.contains("tessera_behaviour_alerts_total{signal=\"publish_flood\"} 1"),
        "{shown}"
    );
}

/// One round of writing; how many profiles it wrote, all rounds together.
fn round(parts: &mut BehaviourParts, metrics: &Metrics) -> u64 {
    parts.begin_save();
    while parts.save_some() {}
    let shown = metrics.render();
    let name = "tessera_behaviour_profiles_written_total ";
    shown.lines().find_map(|line| line.strip_prefix(name)).unwrap().parse().unwrap()
}

#[tokio::test]
async fn each_device_has_its_turn_and_what_is_not_changed_is_not_written_again() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let clock = clock();
    let (observer, mut parts, metrics) = start(&store, &clock);
    busy_hour(&observer, &mut parts, &clock);
    let mut written = 0;
    for _ in 0..PROFILE_PARTS {
        let now = round(&mut parts, &metrics);
        let part = now - written;
        assert!((25..80).contains(&part), "{part} of 300 in one of {PROFILE_PARTS} rounds");
        written = now;
    }
    assert_eq!(written, 300);
    assert_eq!(store.table("behaviour_devices").unwrap().len().unwrap(), 300);
    for _ in 0..PROFILE_PARTS {
        assert_eq!(round(&mut parts, &metrics), 300);
    }
    // A device that is active all the time is written once in all rounds.
    let device = observer.device(&tenant(), &DeviceId::parse("d-7").unwrap());
    for number in 1..=3 * PROFILE_PARTS {
        observer.observe(&device, Observation::Published { topic: "t", bytes: 60 });
        parts.tick();
        let written = round(&mut parts, &metrics) - 300;
        let turns = u64::from(number.div_ceil(PROFILE_PARTS));
        assert!((turns - 1..=turns).contains(&written), "{written} after {number} rounds");
    }
    observer.observe(&device, Observation::Published { topic: "t", bytes: 60 });
    parts.finish();
    assert_eq!(round(&mut parts, &metrics), 304);
}

#[tokio::test]
async fn what_an_alert_was_told_of_is_written_in_the_next_round() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let clock = clock();
    let (observer, mut parts, metrics) = start(&store, &clock);
    busy_hour(&observer, &mut parts, &clock);
    for _ in 0..PROFILE_PARTS {
        round(&mut parts, &metrics);
    }
    let device = observer.device(&tenant(), &DeviceId::parse("d-0").unwrap());
    let observe = || observer.observe(&device, Observation::Published { topic: "t", bytes: 60 });
    observe();
    parts.tick();
    let has_had_its_turn = (0..PROFILE_PARTS).any(|_| round(&mut parts, &metrics) == 301);
    assert!(has_had_its_turn);
    // The next round is not its turn.
    observe();
    parts.tick();
    assert_eq!(round(&mut parts, &metrics), 301);
    let mut alerts = observer.alerts();
    (0..200).for_each(|_| observe());
    parts.tick();
    assert!(alerts.try_recv().is_ok());
    assert_eq!(round(&mut parts, &metrics), 302);
    assert_eq!(round(&mut parts, &metrics), 302);
}

#[tokio::test]
async fn what_could_not_be_written_is_written_when_its_turn_comes_again() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let clock = clock();
    let (observer, mut parts, _) = start(&store, &clock);
    busy_hour(&observer, &mut parts, &clock);
    store.close().unwrap();
    for _ in 0..PROFILE_PARTS {
        parts.begin_save();
        while parts.save_some() {}
    }
    let again = Store::open(folder.path()).unwrap();
    parts.onto(&again);
    parts.finish();
    assert_eq!(again.table("behaviour_devices").unwrap().len().unwrap(), 300);
    assert_eq!(again.table("behaviour_groups").unwrap().len().unwrap(), 1);
}

#[tokio::test]
async fn a_damaged_profile_is_learned_anew_and_counted() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let devices = store.table("behaviour_devices").unwrap();
    let mut batch = Batch::new();
    batch.put(&devices, "acme/d-1", *b"rubbish");
    batch.put(&devices, "no key of ours", *b"rubbish");
    store.commit(batch).await.unwrap();
    let (_, _, metrics) = start(&store, &clock());
    assert!(metrics.render().contains("tessera_behaviour_store_errors_total 2"));
}

/// Profiles that were written while the clock was a year ahead tell alerts again at once, without a restart and after one.
#[tokio::test]
async fn profiles_from_a_clock_that_was_ahead_tell_alerts_again() {
    const YEAR: std::time::Duration = std::time::Duration::from_secs(365 * 86_400);
    let second = std::time::Duration::from_secs(1);
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let clock = clock();
    let right = clock.unix();
    let thief = |observer: &Observer| {
        let device = DeviceId::parse("d-0").unwrap();
        let subject = Subject { tenant: tenant(), device };
        observer.observe_refusal(&subject, RefusalCode::ProofMissing, network(AWAY));
    };
    let (observer, mut parts, _) = start(&store, &clock);
    let mut alerts = observer.alerts();
    busy_hour(&observer, &mut parts, &clock);
    clock.skip_unix(YEAR);
    for _ in 0..40 {
        parts.tick();
        clock.advance(second);
    }
    thief(&observer);
    parts.tick();
    assert_eq!(alerts.try_recv().unwrap().at, clock.unix());
    // Right again, and quiet for longer than an episode lasts.
    clock.set_unix(right.plus(3640));
    for _ in 0..1300 {
        parts.tick();
        clock.advance(second);
    }
    thief(&observer);
    parts.tick();
    assert_eq!(alerts.try_recv().unwrap().at, clock.unix());
    parts.finish();
    let (observer, mut parts, _) = start(&store, &clock);
    let mut alerts = observer.alerts();
    thief(&observer);
    parts.tick();
    assert_eq!(alerts.try_recv().unwrap().device.as_str(), "d-0");
    store.close().unwrap();
}
