//! Rows read back as they were written, and damaged ones do not read.

use std::num::NonZeroU32;
use std::sync::Arc;

use bytes::Bytes;
use tessera_token::time::UnixSeconds;
use tessera_token::topic::{Subscription, TopicName};

use super::record::{self, Outgoing, SessionRecord};
use super::{Keep, Row, Step};
use crate::codec::QoS;
use crate::lanes::{Delivery, Message, Options, Publisher, SubscriberId};
use crate::rights::tests::rights;
use crate::session::machine::Held;
use tessera_token::standing::Standing;

fn message() -> Message {
    let publisher = Publisher {
        device: "d-2".parse().unwrap(),
        session: SubscriberId(2),
        token_expires: UnixSeconds::new(1000),
    };
    let topic = TopicName::parse("a/b").unwrap();
    let mut message =
        Message::new("acme".parse().unwrap(), topic, Bytes::from_static(b"payload"), publisher);
    message.qos = QoS::ExactlyOnce;
    message.expires = Some(UnixSeconds::new(77));
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
fn rows_read_back_and_cut_ones_do_not() {
    let delivery = Delivery::new(Arc::new(message()), options(), true);
    let row = record::encode_delivery(&delivery);
    let tenant = "acme".parse().unwrap();
    let Some(Outgoing::Message(back)) = record::decode_outgoing(row.clone(), &tenant) else {
        panic!()
    };
    assert_eq!((back.options, back.retained), (options(), true));
    assert_eq!(back.message.payload, message().payload);
    assert_eq!(back.message.expires, message().expires);
    assert!(record::decode_outgoing(row, &"other".parse().unwrap()).is_none());
    assert!(matches!(
        record::decode_outgoing(record::encode_released(), &tenant),
        Some(Outgoing::Released)
    ));

    let subscription = Subscription::parse("$share/g/a/+").unwrap();
    let held = Held { subscription: subscription.clone(), options: options(), number: 3 };
    let row = record::encode_subscription(&held);
    assert_eq!(record::decode_subscription(row.clone()), Some((subscription, options())));

    let standing = Standing::of(rights(&[]).grant());
    let client = tessera_token::ids::ClientId::parse("d-1").unwrap();
    let left = Some(UnixSeconds::new(5));
    let session = SessionRecord::encode(&client, &standing, 60, left, None);
    let back = SessionRecord::decode(session.clone()).unwrap();
    assert_eq!(
        (back.client_id, back.standing, back.expiry, back.left),
        (client, standing, 60, left)
    );
    for cut in 0..session.len() {
        assert!(SessionRecord::decode(session[..cut].to_vec()).is_none(), "{cut}");
    }
    for cut in 0..row.len() {
        assert!(record::decode_subscription(row[..cut].to_vec()).is_none(), "{cut}");
    }
}

#[tokio::test]
async fn what_is_noted_becomes_durable_and_what_is_forgotten_goes() {
    let folder = tempfile::tempdir().unwrap();
    let keep = Keep::open(folder.path()).unwrap();
    let running = tokio::spawn(Arc::clone(&keep).run());
    let (one, two) = (SubscriberId(1), SubscriberId(2));
    for id in [one, two] {
        keep.note(Step::Put(Row::Session(id), vec![1]));
        keep.note(Step::Put(Row::Incoming(id, 7), vec![1]));
    }
    keep.durable(keep.ticket()).await.unwrap();
    let ticket = keep.note(Step::Forget(one));
    keep.durable(ticket).await.unwrap();
    assert_eq!(keep.tables.sessions.len().unwrap(), 1);
    assert_eq!(keep.tables.incoming.len().unwrap(), 1);
    keep.close().await;
    running.await.unwrap();
    assert!(!keep.is_healthy());
    let late = keep.note(Step::Put(Row::Retained(1), vec![1]));
    assert!(keep.durable(late).await.is_err());
}

#[tokio::test]
async fn more_than_the_disk_takes_is_noticed_and_large_groups_are_committed_whole() {
    let folder = tempfile::tempdir().unwrap();
    let keep = Keep::open(folder.path()).unwrap();
    let rows = crate::limits::KEEP_BEHIND as u64 + 1;
    assert!(!keep.is_behind());
    for row in 0..rows {
        keep.note(Step::Put(Row::Retained(row), vec![1]));
    }
    assert!(keep.is_behind());
    let running = tokio::spawn(Arc::clone(&keep).run());
    keep.durable(keep.ticket()).await.unwrap();
    assert!(!keep.is_behind());
    // Several times what one group takes.
    assert_eq!(keep.tables.retained.len().unwrap() as u64, rows);
    keep.close().await;
    running.await.unwrap();
}
