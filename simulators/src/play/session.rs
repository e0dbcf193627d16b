//! One connection of a device: its orders are carried out, its answers counted.

use std::collections::VecDeque;
use std::sync::Arc;

use tessera_behaviour::observation::Fault;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::act::Order;
use super::limits;
use crate::device::renewal::TOKEN_TOPIC;
use crate::mqtt::{Closed, Incoming, Link, NotSent, Qos};
use crate::report::Tally;

/// A connection that was opened, from the side of its device. Dropped, its socket closes without a DISCONNECT once all is
/// acknowledged.
pub(super) struct Session {
    orders: mpsc::Sender<Order>,
}

impl Session {
    /// Lets a connection live.
    pub(super) fn begin(link: Link, tally: &Arc<Tally>) -> Self {
        let (orders, taken) = mpsc::channel(limits::ORDERS);
        tally.online.one();
        let tally = Arc::clone(tally);
        tokio::spawn(async move {
            Attending {
                link,
                tally: &tally,
                waiting: VecDeque::new(),
                subs: VecDeque::new(),
                broke: false,
            }
            .attend(taken)
            .await;
            tally.online.less();
        });
        Self { orders }
    }

    /// Whether the connection is gone.
    pub(super) fn is_gone(&self) -> bool {
        self.orders.is_closed()
    }

    /// Gives an order; waits for room. Without effect when the connection is gone meanwhile.
    pub(super) async fn give(&self, order: Order) {
        let _ = self.orders.send(order).await;
    }
}

struct Attending<'a> {
    link: Link,
    tally: &'a Tally,
    /// Publishes without their acknowledgement, in their order: whether each is to be refused.
    waiting: VecDeque<bool>,
    /// The same of subscriptions.
    subs: VecDeque<bool>,
    /// Whether it broke the protocol, so that it is to be closed.
    broke: bool,
}

impl Attending<'_> {
    async fn attend(mut self, mut orders: mpsc::Receiver<Order>) {
        loop {
            tokio::select! {
                event = self.link.next() => {
                    if self.take(event) {
                        return;
                    }
                }
                order = orders.recv() => match order {
                    None => {
                        self.settle().await;
                        return;
                    }
                    Some(Order::Leave) => {
                        self.settle().await;
                        self.link.close().await;
                        return;
                    }
                    Some(order) => {
                        if !self.carry_out(order).await {
                            return;
                        }
                    }
                }
            }
        }
    }

    /// Takes an event in; whether it was the last one.
    fn take(&mut self, event: Incoming) -> bool {
        match event {
            Incoming::Message { .. } => self.tally.delivered.one(),
            Incoming::Published | Incoming::Completed => match self.waiting.pop_front() {
                Some(true) => self.tally.failure("foreign_publish_taken"),
                _ => self.tally.acknowledged.one(),
            },
            Incoming::PublishRefused(why) => match self.waiting.pop_front() {
                Some(true) => self.tally.refusal(&format!("publish:{why}")),
                _ => self.tally.failure(&format!("publish:{why}")),
            },
            Incoming::Subscribed => match self.subs.pop_front() {
                Some(true) => self.tally.failure("foreign_subscription_granted"),
                _ => self.tally.subscribed.one(),
            },
            Incoming::SubscribeRefused(why) => match self.subs.pop_front() {
                Some(true) => self.tally.refusal(&format!("subscribe:{why}")),
                _ => self.tally.failure(&format!("subscribe:{why}")),
            },
            Incoming::Closed(closed) => {
                self.count_closed(&closed);
                return true;
            }
        }
        false
    }

    fn count_closed(&self, closed: &Closed) {
        let kind = closed.kind();
        if self.broke {
            self.tally.refusal(&kind);
        } else if !kind.ends_with("session_taken_over") {
            self.tally.lost.one();
            self.tally.failure(&kind);
        }
    }

    /// Whether the connection goes on.
    async fn carry_out(&mut self, order: Order) -> bool {
        match order {
            Order::Publish { topic, count, bytes, foreign } => {
                let size = bytes / u64::from(count.max(1));
                let size = usize::try_from(size.min(limits::PAYLOAD_BYTES)).unwrap_or_default();
                for _ in 0..count {
                    let publish = |link: &Link| link.publish(&topic, true, vec![b'.'; size]);
                    if !self.queued(publish).await {
                        return false;
                    }
                    self.waiting.push_back(foreign);
                    if !foreign {
                        self.tally.published.one();
                    }
                }
                true
            }
            Order::Subscribe { filter, foreign } => {
                if !self.queued(|link| link.subscribe_at(&filter, Qos::One)).await {
                    return false;
                }
                self.subs.push_back(foreign);
                true
            }
            Order::Token(bytes) => {
                if !self.queued(|link| link.publish(TOKEN_TOPIC, true, bytes.clone())).await {
                    return false;
                }
                self.waiting.push_back(false);
                self.tally.published.one();
                true
            }
            Order::Break(fault) => {
                self.settle().await;
                self.broke = true;
                self.queued(|link| link.write_raw(broken(fault))).await
            }
            Order::Leave => true,
        }
    }

    /// Queues a request as soon as there is room; whether the connection goes on.
    async fn queued(&mut self, send: impl Fn(&Link) -> Result<(), NotSent>) -> bool {
        loop {
            if send(&self.link).is_ok() {
                return true;
            }
            // The queue moves with the answers of the broker.
            match timeout(limits::SETTLE, self.link.next()).await {
                Ok(event) => {
                    if self.take(event) {
                        return false;
                    }
                }
                Err(_) => {
                    self.tally.failure("broker_takes_nothing");
                    return false;
                }
            }
        }
    }

    /// Waits until all is acknowledged, for a time.
    async fn settle(&mut self) {
        let all = async {
            while !(self.waiting.is_empty() && self.subs.is_empty()) {
                let event = self.link.next().await;
                if self.take(event) {
                    return;
                }
            }
        };
        if timeout(limits::SETTLE, all).await.is_err() {
            self.tally.failure("no_acknowledgement");
        }
    }
}

/// Bytes that leave this fault at the broker.
fn broken(fault: Fault) -> Vec<u8> {
    match fault {
        // SUBSCRIBE of MQTT 5 to a filter that is none: `a#`.
        Fault::TopicInvalid => vec![0x82, 8, 0, 1, 0, 0, 2, b'a', b'#', 0],
        // A second CONNECT of MQTT 5.
        Fault::Protocol => vec![0x10, 13, 0, 4, b'M', b'Q', b'T', b'T', 5, 2, 0, 60, 0, 0, 0],
        // A packet of the type 0, which is reserved.
        _ => vec![0x00, 0x00],
    }
}
