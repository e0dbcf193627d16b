use tessera_runtime::store::Batch;

use super::super::store::ProfileStore;
use super::*;
use crate::limits::{PROFILES_EVICTED, PROFILE_PARTS};

fn clock() -> Arc<ManualClock> {
    ManualClock::at(UnixSeconds::new(START))
}

/// One round of writing; how many profiles were written, all rounds together.
fn round(rig: &mut Rig) -> u64 {
    while rig.parts.tick() {}
    rig.parts.begin_save();
    while rig.parts.save_some() {}
    rig.shown("tessera_behaviour_profiles_written_total")
}

/// Each device has its turn once.
fn rounds(rig: &mut Rig) {
    for _ in 0..PROFILE_PARTS {
        round(rig);
    }
}

fn fleet(rig: &mut Rig, devices: usize) -> Vec<DeviceHandle> {
    let handles: Vec<_> = (0..devices).map(|n| rig.handle(&format!("d-{n}"))).collect();
    for handle in &handles {
        rig.connect(handle, HOME);
        rig.publish(handle, "t", 60);
    }
    while rig.parts.tick() {}
    handles
}

#[test]
fn a_learned_device_is_still_known_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let (store, clock) = (Store::open(folder.path()).unwrap(), clock());
    let mut rig = Rig::on(&store, &clock);
    let device = rig.handle("d-0");
    rig.connect(&device, HOME);
    rig.learn(&device, 48);
    rig.parts.finish();
    store.close().unwrap();
    drop(rig);

    let store = Store::open(folder.path()).unwrap();
    let mut rig = Rig::on(&store, &clock);
    let device = rig.handle("d-0");
    rig.connect(&device, HOME);
    // Its habits are asked from the end of the hour on.
    rig.learn(&device, 2);
    assert_eq!(rig.told(), [""; 0]);
    (0..100).for_each(|_| rig.publish(&device, "d/d-0/telemetry", 60));
    let told = rig.told();
    assert!(told.iter().any(|told| told.contains("flood")), "{told:?}");
}

#[test]
fn each_device_has_its_turn_and_what_is_not_changed_is_not_written_again() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let mut rig = Rig::on(&store, &clock());
    fleet(&mut rig, 300);
    rig.wait(3600);
    // The hour ends, which changes each profile.
    (0..300).for_each(|_| rig.wait(1));
    let mut written = 0;
    for _ in 0..PROFILE_PARTS {
        let now = round(&mut rig);
        let part = now - written;
        assert!((25..80).contains(&part), "{part} of 300 in one of {PROFILE_PARTS} rounds");
        written = now;
    }
    assert_eq!(written, 300);
    assert_eq!(store.table("behaviour_profiles").unwrap().len().unwrap(), 300);
    for _ in 0..PROFILE_PARTS {
        assert_eq!(round(&mut rig), 300);
    }
}

#[test]
fn rows_of_former_versions_are_removed_in_steps_and_damaged_ones_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let former = store.table("behaviour_devices").unwrap();
    let present = store.table("behaviour_profiles").unwrap();
    for part in 0..3 {
        let mut batch = Batch::new();
        (0..700).for_each(|n| batch.put(&former, format!("acme/d-{part}-{n}"), *b"of before"));
        batch.put(&present, format!("acme/d-{part}"), *b"rubbish");
        store.commit_blocking(batch).unwrap();
    }
    let mut rig = Rig::on(&store, &clock());
    assert_eq!(rig.shown("tessera_behaviour_store_errors_total"), 3);
    assert_eq!(former.len().unwrap(), 2100);
    round(&mut rig);
    let left = former.len().unwrap();
    assert!((1..2100).contains(&left), "{left}");
    rounds(&mut rig);
    assert_eq!(former.len().unwrap(), 0);
}

#[test]
fn a_profile_without_room_is_removed_and_one_that_came_back_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let (store, clock) = (Store::open(folder.path()).unwrap(), clock());
    let mut rig = Rig::on(&store, &clock);
    fleet(&mut rig, 200);
    rig.parts.finish();
    let rows = || store.table("behaviour_profiles").unwrap().len().unwrap();
    assert_eq!(rows(), 200);
    let mut config = BehaviourConfig::default();
    config.most_devices = 64;
    let mut rig = Rig::with(&store, &clock, config);
    assert_eq!(rig.shown("tessera_behaviour_devices"), 0);
    rig.wait(1);
    assert_eq!(rig.shown("tessera_behaviour_devices"), 64);
    // All come again: most push another one out.
    fleet(&mut rig, 200);
    rig.parts.finish();
    assert_eq!(rows(), rig.shown("tessera_behaviour_devices") as usize);
    assert!(rig.shown("tessera_behaviour_evicted_total") >= 136);
}

#[test]
fn what_could_not_be_written_is_written_when_its_turn_comes_again() {
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = Store::open(folder.path()).unwrap();
    let mut rig = Rig::on(&store, &clock());
    fleet(&mut rig, 10);
    store.close().unwrap();
    rounds(&mut rig);
    assert_eq!(rig.shown("tessera_behaviour_profiles_written_total"), 0);
    assert!(rig.shown("tessera_behaviour_store_errors_total") > 0);
    let store = Store::open(other.path()).unwrap();
    rig.parts.onto(&store);
    rounds(&mut rig);
    assert_eq!(store.table("behaviour_profiles").unwrap().len().unwrap(), 10);
}

#[test]
fn rows_that_cannot_be_removed_are_remembered_up_to_a_limit_and_counted() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = ProfileStore::new(&Store::open(folder.path()).unwrap()).unwrap();
    (0..PROFILES_EVICTED).for_each(|n| store.remove(format!("acme/d-{n}")));
    assert_eq!(store.rows_left, 0);
    (0..10).for_each(|n| store.remove(format!("acme/e-{n}")));
    assert_eq!(store.rows_left, 10);
}

const CHILD: &str = "TESSERA_TEST_MEMORY_CHILD";

/// In a process of its own: other tests use memory too.
#[test]
fn ten_thousand_devices_fit_in_twenty_megabytes() {
    if std::env::var_os(CHILD).is_some() {
        return measure_in_child();
    }
    let child = std::process::Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "behaviour::tests::rest::ten_thousand_devices_fit_in_twenty_megabytes",
            "--nocapture",
        ])
        .env(CHILD, "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&child.stdout).into_owned();
    let used = text.lines().find_map(|line| line.split_once("KiB used: ")).unwrap().1;
    println!("10,000 devices use {used} KiB, sessions and queue included");
    assert!(used.trim().parse::<u64>().unwrap() <= 20 * 1024, "{used} KiB");
}

fn measure_in_child() {
    let mut rig = Rig::new();
    let before = resident();
    let handles: Vec<_> =
        (0..10_000).map(|n| rig.handle(&format!("device-with-a-name-{n:05}"))).collect();
    for handle in &handles {
        rig.connect(handle, HOME);
        rig.publish(handle, "d/some/topic", 60);
        rig.parts.tick();
    }
    assert_eq!(rig.shown("tessera_behaviour_devices"), 10_000);
    println!("KiB used: {}", resident() - before);
}

/// KiB of this process in memory.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
