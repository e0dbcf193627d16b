//! Words that the tests of the routing share.

use super::{Delivery, Outbox, Routing, SessionRoutes, Tally};
use crate::codec::QoS;
use crate::message::Author;
use crate::message::{Message, Options, Publisher, SubscriberId};
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;
use tessera_token::ids::{DeviceId, TenantId};
use tessera_token::time::UnixSeconds;
use tessera_token::topic::{Subscription, TopicName};
use tokio::runtime::Handle;

pub(super) const NOW: UnixSeconds = UnixSeconds::new(1_000_000);

/// A fifth of what the product has: the tests wait for a router that hangs.
const TICK: Duration = Duration::from_millis(50);

pub(super) fn tenant(name: &str) -> TenantId {
    TenantId::parse(name).unwrap()
}

pub(super) fn topic(name: &str) -> TopicName {
    TopicName::parse(name).unwrap()
}

pub(super) fn filter(text: &str) -> Subscription {
    Subscription::parse(text).unwrap()
}

pub(super) fn message(name: &str, payload: impl Into<Bytes>) -> Message {
    let publisher = Publisher {
        author: Author::broker(DeviceId::parse("publisher").unwrap()),
        session: SubscriberId(u64::MAX),
        token_expires: NOW.plus(3600),
    };
    let mut message = Message::new(tenant("acme"), topic(name), payload.into(), publisher);
    message.qos = QoS::AtLeastOnce;
    message
}

pub(super) fn numbered(name: &str, number: u32) -> Arc<Message> {
    Arc::new(message(name, Bytes::copy_from_slice(&number.to_be_bytes())))
}

pub(super) fn number(delivery: &Delivery) -> u32 {
    u32::from_be_bytes(delivery.message.payload[..4].try_into().unwrap())
}

pub(super) fn qos1() -> Options {
    Options { qos: QoS::AtLeastOnce, ..Options::default() }
}

impl Routing {
    /// The whole of a publish.
    pub(super) async fn deliver(&self, message: &Arc<Message>) -> Tally {
        let (tally, rest) = self.publish(message);
        if let Some(rest) = rest {
            self.finish(rest).await;
        }
        tally
    }
}

pub(super) fn routing() -> Arc<Routing> {
    Routing::start_with(Handle::current(), TICK).unwrap()
}

pub(super) async fn subscriber(routing: &Arc<Routing>, id: u64, filters: &[&str]) -> SessionRoutes {
    subscriber_with(routing, Outbox::new(SubscriberId(id)), filters).await
}

pub(super) async fn subscriber_with(
    routing: &Arc<Routing>,
    outbox: Arc<Outbox>,
    filters: &[&str],
) -> SessionRoutes {
    let mut session = routing.session(tenant("acme"), outbox);
    for text in filters {
        assert!(session.subscribe(&filter(text), qos1()).await.unwrap(), "{text} is new");
    }
    session
}

/// The next delivery; a test that waits for ever fails after ten seconds.
pub(super) async fn next(session: &SessionRoutes) -> Delivery {
    let mut reader = session.outbox().reader();
    let received = tokio::time::timeout(Duration::from_secs(10), reader.recv());
    received.await.expect("no message within ten seconds").expect("the outbox is closed")
}

/// Messages up to and without the one numbered `u32::MAX`.
pub(super) async fn numbers_until_end(session: &SessionRoutes) -> Vec<u32> {
    let mut numbers = Vec::new();
    loop {
        match number(&next(session).await) {
            u32::MAX => return numbers,
            one => numbers.push(one),
        }
    }
}
