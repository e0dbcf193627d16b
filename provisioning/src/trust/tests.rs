use std::time::Duration;

use tessera_runtime::random::SeededRandom;
use tessera_runtime::sql::Batch;
use tessera_runtime::stop::Stop;
use tessera_token::ids::{DeviceId, TenantId};
use tessera_token::time::UnixSeconds;
use tessera_token::trust::{Change, DeviceEpoch, Event, EventHash, Snapshot};

use super::ledger::{append, Head};
use super::snapshot;
use super::waiters::Waiters;
use crate::keys::files::draw;
use crate::limits::POLLERS;
use crate::records::SignedEvent;
use crate::tables::in_folder;

const NOW: UnixSeconds = UnixSeconds::new(1_800_000_000);

fn moved(name: &str, epoch: u64) -> Change {
    Change::Device(DeviceEpoch {
        tenant: TenantId::parse("t").unwrap(),
        device: DeviceId::parse(name).unwrap(),
        epoch,
        at: NOW,
    })
}

#[tokio::test]
async fn events_are_chained_and_the_snapshot_holds_their_sum() {
    let dir = tempfile::tempdir().unwrap();
    let (database, tables) = in_folder(dir.path());
    let root = draw(&SeededRandom::predictable(1)).unwrap();
    for changes in [vec![moved("a", 1), moved("b", 1)], vec![moved("a", 2)]] {
        let mut batch = Batch::new();
        let head = Head::read(&tables).await.unwrap();
        append(&tables, &mut batch, head, &changes, &root, NOW).unwrap();
        database.commit(batch).await.unwrap();
    }
    let rows = tables.trust_events.scan(&[], None, 10).await.unwrap();
    let mut previous = EventHash::default();
    for (seq, (_, SignedEvent(row))) in (1..).zip(&rows) {
        let event = Event::open(row, &root.public()).unwrap();
        assert_eq!((event.seq, event.previous), (seq, previous));
        previous = EventHash::of(row);
    }
    let bytes = snapshot::make(&tables, &Head::read(&tables).await.unwrap(), &root, NOW, NOW)
        .await
        .unwrap();
    let (snapshot, _) = Snapshot::open(&bytes, &root.public().thumbprint()).unwrap();
    assert_eq!((snapshot.seq, snapshot.head), (3, previous));
    assert_eq!(snapshot.state, [moved("a", 2), moved("b", 1)]);
    let later = NOW.plus(tessera_token::limits::TOKEN_LIFE_SECONDS + 1);
    let ahead =
        snapshot::make(&tables, &Head::read(&tables).await.unwrap(), &root, later, NOW.plus(60))
            .await
            .unwrap();
    let (ahead, _) = Snapshot::open(&ahead, &root.public().thumbprint()).unwrap();
    assert_eq!(ahead.state, snapshot.state, "a clock that is ahead leaves nothing out");
    let bytes = snapshot::make(&tables, &Head::read(&tables).await.unwrap(), &root, later, later)
        .await
        .unwrap();
    let (snapshot, _) = Snapshot::open(&bytes, &root.public().thumbprint()).unwrap();
    assert!(snapshot.state.is_empty(), "an epoch older than any token needs no entry");
}

#[tokio::test]
async fn two_publications_on_one_head_cannot_both_be_written() {
    let dir = tempfile::tempdir().unwrap();
    let (database, tables) = in_folder(dir.path());
    let root = draw(&SeededRandom::predictable(1)).unwrap();
    let mut won = 0;
    for name in ["a", "b"] {
        let mut batch = Batch::new();
        append(&tables, &mut batch, Head::default(), &[moved(name, 1)], &root, NOW).unwrap();
        won += usize::from(database.commit(batch).await.is_ok());
    }
    assert_eq!(won, 1);
}

#[tokio::test]
async fn readers_are_woken_by_news_and_by_the_end() {
    let waiters = Waiters::at(5);
    let stop = Stop::new();
    let long = Duration::from_secs(600);
    waiters.newer_than(4, long, &stop).await;
    let waiting = waiters.clone();
    let woken = stop.spawn("reader", {
        let stop = stop.clone();
        async move { waiting.newer_than(5, long, &stop).await }
    });
    waiters.announce(6);
    woken.await.unwrap();
    waiters.announce(2);
    waiters.newer_than(5, long, &stop).await;
    stop.trigger();
    waiters.newer_than(6, long, &stop).await;
}

#[test]
fn seats_are_limited_and_given_back() {
    let waiters = Waiters::at(0);
    let seats: Vec<_> = (0..POLLERS).map(|_| waiters.seat().unwrap()).collect();
    assert!(waiters.seat().is_none());
    assert_eq!(waiters.waiting(), POLLERS);
    drop(seats);
    assert_eq!(waiters.waiting(), 0);
}
