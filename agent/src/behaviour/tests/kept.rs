use super::*;
use crate::limits::{ALERTS_KEPT, ALERTS_PER_REQUEST};

fn thief(rig: &mut Rig, devices: std::ops::Range<u64>) {
    for n in devices {
        let device = rig.handle(&format!("d-{n}"));
        rig.connect(&device, HOME);
        rig.outside(&format!("d-{n}"), RefusalCode::ClientIdMismatch, &format!("203.0.{n}.9"));
    }
    while rig.parts.tick() {}
}

fn subjects(rig: &Rig) -> Vec<String> {
    let waiting = rig.parts.kept().waiting().unwrap();
    let of = |text: &str| serde_json::from_str::<Alert>(text).unwrap().subject;
    let names = waiting.iter().map(|waiting| match of(&waiting.text) {
        Subject::Device(device) => device,
        other => panic!("{other:?}"),
    });
    names.collect()
}

#[tokio::test]
async fn alerts_wait_over_a_restart_until_they_are_taken_and_numbers_come_once() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let clock = ManualClock::at(UnixSeconds::new(START));
    let mut rig = Rig::on(&store, &clock);
    thief(&mut rig, 0..3);
    assert_eq!(subjects(&rig), ["d-0", "d-1", "d-2"]);
    let line = rig.parts.kept().line();
    store.close().unwrap();
    drop(rig);

    let store = Store::open(folder.path()).unwrap();
    let rig = Rig::on(&store, &clock);
    assert_eq!(rig.parts.kept().line(), line);
    let last = rig.parts.kept().waiting().unwrap()[1].number;
    rig.parts.kept().taken(last).await.unwrap();
    assert_eq!(subjects(&rig), ["d-2"]);
    let last = rig.parts.kept().waiting().unwrap()[0].number;
    rig.parts.kept().taken(last).await.unwrap();
    assert_eq!(subjects(&rig), [""; 0]);
    store.close().unwrap();
    drop(rig);

    // None waits, and the next one has a number of its own all the same.
    let store = Store::open(folder.path()).unwrap();
    let mut rig = Rig::on(&store, &clock);
    thief(&mut rig, 7..8);
    assert_eq!(rig.parts.kept().waiting().unwrap()[0].number, last + 1);
}

#[tokio::test]
async fn when_too_many_wait_the_oldest_make_room_and_are_counted() {
    let rig = Rig::new();
    let kept = rig.parts.kept();
    let alerts = vec![Alert::default(); 5_000];
    for _ in 0..2 {
        kept.keep(&alerts).unwrap();
    }
    assert_eq!(kept.waiting().unwrap()[0].number, 1);
    kept.keep(&alerts[..7]).unwrap();
    let waiting = kept.waiting().unwrap();
    assert_eq!((waiting.len(), waiting[0].number), (ALERTS_PER_REQUEST, 8));
    assert_eq!(kept.let_go(), 10_007 - ALERTS_KEPT);
}
