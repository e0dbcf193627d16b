//! Rows read back as they were written, and damaged ones do not read.

use crate::routing::row;
use std::num::NonZeroU32;
use std::sync::Arc;

use bytes::Bytes;
use tessera_token::time::UnixSeconds;
use tessera_token::topic::{Subscription, TopicName};

use super::{Persistence, Row, SessionRows, Step};
use crate::authorisation::tests::rights;
use crate::codec::QoS;
use crate::limits::PERSISTENCE_GROUP;
use crate::message::encoding;
use crate::message::same::Same;
use crate::message::Author;
use crate::message::{Message, Options, Publisher, SubscriberId};
use crate::routing::row::Outgoing;
use crate::routing::Delivery;
use crate::session::row::SessionRecord;
use crate::session::state_machine::Held;
use tessera_token::token_identity::TokenIdentity;

fn message() -> Message {
    let publisher = Publisher {
        author: Author::of(rights(&[]).grant()),
        session: SubscriberId(2),
        token_expires: UnixSeconds::new(1000),
    };
    let topic = TopicName::parse("a/b").unwrap();
    let mut message =
        Message::new("acme".parse().unwrap(), topic, Bytes::from_static(b"payload"), publisher);
    message.qos = QoS::ExactlyOnce;
    message.set_expires(Some(UnixSeconds::new(77)));
    message
}

fn options() -> Options {
    Options {
        qos: QoS::ExactlyOnce,
        no_local: false,
        retain_as_published: true,
        id: NonZeroU32::new(9),
    }
}

#[test]
fn rows_of_one_message_become_one_message_again() {
    let tenant = "acme".parse().unwrap();
    let mut same = Same::default();
    let mut read = |message: Message| {
        let row = row::encode_delivery(&Delivery::new(Arc::new(message), options(), true));
        match row::decode_outgoing(row, &tenant, &mut same) {
            Some(Outgoing::Message(delivery)) => delivery.message,
            _ => panic!(),
        }
    };
    let mut other = message();
    other.topic = TopicName::parse("a/c").unwrap();
    let (first, second, other) = (read(message()), read(message()), read(other));
    assert!(Arc::ptr_eq(&first, &second) && !Arc::ptr_eq(&first, &other));
    assert!(Arc::ptr_eq(&first.publisher, &other.publisher));
}

#[test]
fn rows_read_back_and_cut_ones_do_not() {
    let delivery = Delivery::new(Arc::new(message()), options(), true);
    let row = row::encode_delivery(&delivery);
    let tenant = "acme".parse().unwrap();
    let Some(Outgoing::Message(back)) =
        row::decode_outgoing(row.clone(), &tenant, &mut Same::default())
    else {
        panic!()
    };
    assert_eq!((back.options, back.retained), (options(), true));
    assert_eq!(back.message.payload, message().payload);
    assert_eq!(back.message.expires(), message().expires());
    let (back_by, by) = (&back.message.publisher.author, &message().publisher.author);
    assert_eq!((back_by.device(), back_by.token()), (by.device(), by.token()));
    assert!(by.token().is_some());
    assert!(row::decode_outgoing(row, &"other".parse().unwrap(), &mut Same::default()).is_none());
    assert!(matches!(
        row::decode_outgoing(row::encode_released(), &tenant, &mut Same::default()),
        Some(Outgoing::Released)
    ));

    let subscription = Subscription::parse("$share/g/a/+").unwrap();
    let held = Held { subscription: subscription.clone(), options: options(), number: 3 };
    let row = encoding::encode_subscription(&held.text(), &held.options);
    assert_eq!(encoding::decode_subscription(row.clone()), Some((subscription, options())));

    let identity = TokenIdentity::of(rights(&[]).grant());
    let client = tessera_token::ids::ClientId::parse("d-1").unwrap();
    let left = Some(UnixSeconds::new(5));
    let session = SessionRecord::encode(&client, &identity, 60, left, None);
    let back = SessionRecord::decode(session.clone()).unwrap();
    assert_eq!(
        (back.client_id, back.identity, back.expiry, back.left),
        (client, identity, 60, left)
    );
    for cut in 0..session.len() {
        assert!(SessionRecord::decode(session[..cut].to_vec()).is_none(), "{cut}");
    }
    for cut in 0..row.len() {
        assert!(encoding::decode_subscription(row[..cut].to_vec()).is_none(), "{cut}");
    }
}

#[tokio::test]
async fn what_is_noted_becomes_durable_and_what_is_forgotten_goes() {
    let folder = tempfile::tempdir().unwrap();
    let keep = Persistence::open(folder.path()).unwrap();
    let running = tokio::spawn(Arc::clone(&keep).run());
    let (one, two) = (SubscriberId(1), SubscriberId(2));
    for id in [one, two] {
        keep.note(Step::Put(Row::Session(id), vec![1]));
        keep.note(Step::Put(Row::Incoming(id, 7), vec![1]));
    }
    keep.durable(keep.last_commit()).await.unwrap();
    let commit = keep.note(Step::Forget(one));
    keep.durable(commit).await.unwrap();
    assert_eq!(keep.tables.sessions.len().unwrap(), 1);
    assert_eq!(keep.tables.incoming.len().unwrap(), 1);
    keep.close().await;
    running.await.unwrap();
    assert!(!keep.is_healthy());
    let late = keep.note(Step::Put(Row::Retained(1), vec![1]));
    assert!(keep.durable(late).await.is_err());
}

#[tokio::test]
async fn what_comes_after_the_end_of_a_session_is_not_kept() {
    let folder = tempfile::tempdir().unwrap();
    let keep = Persistence::open(folder.path()).unwrap();
    let running = tokio::spawn(Arc::clone(&keep).run());
    let (over, other) = (SubscriberId(1), SubscriberId(2));
    let ended = SessionRows::new(Arc::clone(&keep), over);
    let goes_on = SessionRows::new(Arc::clone(&keep), other);
    // A clone stands for a task that still holds the session.
    let late = ended.clone();
    ended.put(Row::Session, vec![1]);
    // The end is committed, so that no group holds it and the late row together.
    keep.durable(ended.forget()).await.unwrap();
    let commits = [
        late.put(|id| Row::Outgoing(id, 7), vec![1]),
        late.delete(|id| Row::Incoming(id, 7)),
        goes_on.put(|id| Row::Outgoing(id, 7), vec![1]),
    ];
    for commit in commits {
        keep.durable(commit).await.unwrap();
    }
    let rows = [&keep.tables.sessions, &keep.tables.outgoing, &keep.tables.incoming];
    assert_eq!(rows.map(|table| table.len().unwrap()), [0, 1, 0]);
    keep.durable(late.forget()).await.unwrap();
    keep.close().await;
    running.await.unwrap();
}

/// Rows of one step in the test below: more than two groups.
const WHOLE: u64 = 20_000;
const FOLDER: &str = "TESSERA_TEST_KEEP_FOLDER";

fn note_whole(keep: &Persistence, round: u8) -> u64 {
    let _together = keep.together();
    for session in 0..WHOLE {
        keep.note(Step::Put(Row::Session(SubscriberId(session)), vec![round]));
    }
    keep.note(Step::Put(Row::Incoming(SubscriberId(1), 1), vec![round]))
}

#[tokio::test]
async fn what_belongs_together_is_one_group_and_the_rest_is_cut() {
    let folder = tempfile::tempdir().unwrap();
    let keep = Persistence::open(folder.path()).unwrap();
    note_whole(&keep, 1);
    for row in 0..2 * PERSISTENCE_GROUP as u64 + 10 {
        keep.note(Step::Put(Row::Retained(row), vec![1]));
    }
    note_whole(&keep, 2);
    let mut groups = Vec::new();
    while let Some(taken) = keep.pending.lock().take() {
        let whole = taken.rows.iter().filter(|(row, _)| matches!(row, Row::Session(_))).count();
        assert!(whole == 0 || whole == WHOLE as usize, "{whole}");
        groups.push((taken.rows.len() - whole, whole > 0, taken.commit));
    }
    assert!(groups.iter().all(|(rest, ..)| *rest <= PERSISTENCE_GROUP + 1), "{groups:?}");
    assert_eq!(groups.iter().filter(|(_, whole, _)| *whole).count(), 2);
    assert!(groups.windows(2).all(|pair| pair[0].2 < pair[1].2));
    assert_eq!(groups.last().map(|group| group.2), Some(keep.last_commit()));
}

/// A process that writes whole steps and tells each, when this binary was started as one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn as_a_process() {
    let Ok(folder) = std::env::var(FOLDER) else { return };
    let keep = Persistence::open(std::path::Path::new(&folder)).unwrap();
    tokio::spawn(Arc::clone(&keep).run());
    for round in 1.. {
        let commit = note_whole(&keep, round);
        println!("\nnoted {round}");
        // So that the other side may stop it at any moment of the commit.
        while tokio::time::timeout(std::time::Duration::ZERO, keep.durable(commit)).await.is_err() {
            println!("\nwaits");
        }
        println!("\ndurable {round}");
    }
}

#[test]
fn a_kill_never_divides_what_belongs_together() {
    use std::io::BufRead;
    let folder = tempfile::tempdir().unwrap();
    for kill in 0..12usize {
        let mut command = std::process::Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "persistence::tests::as_a_process", "--nocapture"]);
        command.env(FOLDER, folder.path()).stdout(std::process::Stdio::piped());
        let mut child = command.stderr(std::process::Stdio::null()).spawn().unwrap();
        let lines = std::io::BufReader::new(child.stdout.take().unwrap()).lines();
        let (mut durable, mut left) = (0, 1 + kill * 7);
        for line in lines.map_while(Result::ok) {
            if let Some(round) = line.strip_prefix("durable ") {
                durable = round.parse::<u8>().unwrap();
            }
            if durable > 0 && line.starts_with("waits") {
                left -= 1;
            }
            if left == 0 {
                break;
            }
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let keep = Persistence::open(folder.path()).unwrap();
        let rows = super::all(&keep.tables.sessions, &[]).unwrap();
        let incoming = super::all(&keep.tables.incoming, &[]).unwrap();
        assert_eq!((rows.len() as u64, incoming.len()), (WHOLE, 1));
        let round = incoming[0].1[0];
        assert!(round >= durable, "{round} after {durable} was told");
        let other = rows.iter().filter(|(_, value)| value[0] != round).count();
        assert_eq!(other, 0, "kill {kill}: a part of round {round} is there");
        keep.store.close().unwrap();
    }
}

#[tokio::test]
async fn more_than_the_disk_takes_is_noticed_and_large_groups_are_committed_whole() {
    let folder = tempfile::tempdir().unwrap();
    let keep = Persistence::open(folder.path()).unwrap();
    let rows = crate::limits::PERSISTENCE_BEHIND as u64 + 1;
    assert!(!keep.is_behind());
    for row in 0..rows {
        keep.note(Step::Put(Row::Retained(row), vec![1]));
    }
    assert!(keep.is_behind());
    let running = tokio::spawn(Arc::clone(&keep).run());
    keep.durable(keep.last_commit()).await.unwrap();
    assert!(!keep.is_behind());
    // Several times what one group takes.
    assert_eq!(keep.tables.retained.len().unwrap() as u64, rows);
    // A few large rows are as much; rows that were replaced or deleted before they were written are nothing.
    let large = vec![1; 512 * 1024];
    let count = (crate::limits::PERSISTENCE_BEHIND_BYTES / large.len()) as u64;
    let _whole = keep.together();
    for row in 0..2 * count {
        keep.note(Step::Put(Row::Retained(rows), large.clone()));
        keep.note(Step::Put(Row::Retained(rows + 1 + row), large.clone()));
        keep.note(Step::Delete(Row::Retained(rows + 1 + row)));
    }
    assert!(!keep.is_behind());
    for row in 0..count {
        keep.note(Step::Put(Row::Retained(row), large.clone()));
    }
    assert!(keep.is_behind());
    drop(_whole);
    keep.durable(keep.last_commit()).await.unwrap();
    assert!(!keep.is_behind());
    keep.close().await;
    running.await.unwrap();
}

/// A disk that is full, or not, or that fails.
#[derive(Default)]
struct Room(std::sync::Mutex<Option<std::io::ErrorKind>>);

impl Room {
    fn is(&self, full: bool) {
        *self.0.lock().unwrap() = full.then_some(std::io::ErrorKind::StorageFull);
    }

    fn fails(&self) {
        *self.0.lock().unwrap() = Some(std::io::ErrorKind::Other);
    }
}

impl tessera_runtime::store::Watch for Room {
    fn write(&self, _: &std::path::Path, _: usize) -> std::io::Result<()> {
        self.0.lock().unwrap().map_or(Ok(()), |kind| Err(kind.into()))
    }
    fn synced(&self, _: &std::path::Path) {}
    fn folder_synced(&self, _: &std::path::Path) {}
    fn pause(&self) -> std::time::Duration {
        std::time::Duration::from_millis(5)
    }
}

/// Noted steps are neither acknowledged nor lost: they are written when there is room, without a restart.
#[tokio::test]
async fn without_room_nothing_is_acknowledged_and_with_room_it_goes_on() {
    let (folder, disk) = (tempfile::tempdir().unwrap(), Arc::new(Room::default()));
    let options =
        tessera_runtime::store::StoreOptions { watch: Some(disk.clone()), ..Default::default() };
    let keep = Persistence::open_with(folder.path(), &options).unwrap();
    let running = tokio::spawn(Arc::clone(&keep).run());
    let (one, two) = (SubscriberId(1), SubscriberId(2));
    let first = keep.note(Step::Put(Row::Session(one), vec![1]));
    keep.durable(first).await.unwrap();
    for round in 1..4u16 {
        disk.is(true);
        let refused = keep.note(Step::Put(Row::Incoming(one, round), vec![1]));
        assert!(keep.durable(refused).await.is_err());
        assert!(!keep.is_healthy() && keep.waits_for().is_some() && !keep.writes());
        let also = keep.note(Step::Put(Row::Session(two), vec![round as u8]));
        assert!(keep.durable(also).await.is_err());
        // Steps that were durable before stay durable, and nothing else is read.
        keep.durable(first).await.unwrap();
        assert_eq!(keep.tables.incoming.len().unwrap(), usize::from(round) - 1);
        disk.is(false);
        while !keep.is_healthy() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        keep.durable(also).await.unwrap();
        assert!(keep.writes() && keep.waits_for().is_none());
        assert_eq!(keep.tables.incoming.len().unwrap(), usize::from(round));
        assert_eq!(keep.tables.sessions.len().unwrap(), 2);
    }
    // A stop does not wait for room, and the next start finds the acknowledged steps.
    disk.is(true);
    let lost = keep.note(Step::Delete(Row::Session(one)));
    assert!(keep.durable(lost).await.is_err());
    keep.close().await;
    running.await.unwrap();
    assert!(!keep.is_healthy());
    let keep = Persistence::open(folder.path()).unwrap();
    assert_eq!(keep.tables.sessions.len().unwrap(), 2);
}

/// Steps that wait for room are not acknowledged when the store fails behind them; it says so, and not that it waits.
#[tokio::test]
async fn a_store_that_fails_behind_one_without_room_is_told_apart() {
    let (folder, disk) = (tempfile::tempdir().unwrap(), Arc::new(Room::default()));
    let options =
        tessera_runtime::store::StoreOptions { watch: Some(disk.clone()), ..Default::default() };
    let keep = Persistence::open_with(folder.path(), &options).unwrap();
    let running = tokio::spawn(Arc::clone(&keep).run());
    let session = SubscriberId(1);
    let first = keep.note(Step::Put(Row::Session(session), vec![1]));
    keep.durable(first).await.unwrap();
    disk.is(true);
    let refused = keep.note(Step::Put(Row::Incoming(session, 1), vec![1]));
    assert!(keep.durable(refused).await.is_err());
    assert!(!keep.is_healthy() && keep.waits_for().is_some());
    disk.fails();
    while keep.waits_for().is_some() {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    assert!(!keep.is_healthy() && !keep.writes());
    assert!(keep.durable(refused).await.is_err());
    let after = keep.note(Step::Put(Row::Incoming(session, 2), vec![1]));
    assert!(keep.durable(after).await.is_err());
    keep.durable(first).await.unwrap();
    keep.close().await;
    running.await.unwrap();
    let keep = Persistence::open(folder.path()).unwrap();
    assert_eq!((keep.tables.sessions.len().unwrap(), keep.tables.incoming.len().unwrap()), (1, 0));
}
