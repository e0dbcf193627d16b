//! rumqttd's router, embedded. No other file names it.
//!
//! What was read in its sources (0.20.0) and measured decides how it is used here:
//! - `LinkBuilder::build`, `LinkTx` and `LinkRx::recv` block the thread: only `Router`, and the methods here that say
//!   so, do that, on threads of their own. `LinkRx::next` and `wake` are truly asynchronous.
//! - It remembers every filter, topic and client id for ever: names come from fixed pools (`logs.rs`, `links.rs`).
//! - A topic that no filter matches, or that is new, scans all filters on its only thread (1.2 to 1.9 ms at 10,000).
//!   We publish to names of logs, which after the first time is one hash lookup; filters are matched by our own tree.
//! - `$share` keeps one cursor for each group *name*: a group with two filters reads the one log at the position of the
//!   other, and an unsubscribe from any filter takes a member out of all its groups. A member whose buffer is full stops
//!   its group. So `$share` is never sent here; groups are in front (`group.rs`).
//! - `Ready` for a link that the router has dropped, or that it does not hold paused, panics the router thread. A link
//!   has one owner, who answers each pause once and gives the link away to be closed.
//! - `build` waits for an answer without end, and when the router dies with the request still queued, the answer never
//!   comes and never fails: the queue outlives its reader as long as the waiting builder holds it. So links are built on
//!   a thread that can be given up, and a link of our own ([`Router`]'s watch) tells at once that the router died.
//! - A link that is dropped without `Packet::Disconnect` stays registered: [`Router::close`] is the only way out.
//! - Its subscribers get at most 200 notifications ahead; the rest stays in the log. When the log turns over, the
//!   offset in `Forward` jumps: [`Event::Message`] carries it.

use crate::limits::{FLEET_LINKS, FLEET_LOGS, FLEET_ROUTER_PATIENCE};
use bytes::Bytes;
use rumqttd::local::{LinkBuilder, LinkRx, LinkTx};
use rumqttd::protocol::{Disconnect, DisconnectReasonCode, Packet, PingReq, Publish};
use rumqttd::{Notification, RouterConfig, SegmentConfig};
use std::future::Future;
use std::pin::pin;
use std::sync::mpsc::{sync_channel, Receiver, SyncSender};
use std::task::{Context, Poll, Waker};

/// The router's thread has ended: every link is dead.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct RouterGone;

/// One running router. Dropping it ends the router, once all links are closed.
pub(super) struct Router {
    names: SyncSender<String>,
    signals: Receiver<Signal>,
    watch: LinkTx,
    dead: bool,
}

enum Signal {
    Built(Result<Link, RouterGone>),
    Died,
}

/// One connection to the router, with one owner.
pub(super) struct Link {
    tx: LinkTx,
    rx: LinkRx,
}

/// What a link tells.
pub(super) enum Event {
    /// A message of the log that was subscribed to, with its place in it.
    Message {
        /// Counts up by one for each message of the log.
        offset: u64,
        /// The envelope.
        payload: Bytes,
    },
    /// The router waits for [`Link::resume`].
    Pause,
    /// Acknowledgements and the like.
    Other,
}

impl Router {
    /// Starts a router on a thread of its own, with two of ours beside it. Blocks for about 0.1 ms.
    pub(super) fn start() -> Result<Self, RouterGone> {
        let events = rumqttd::Router::new(0, config()).spawn();
        let (watch, mut watched, _) =
            LinkBuilder::new("watch", events.clone()).build().map_err(|_| RouterGone)?;
        let (signal, signals) = sync_channel(2);
        let (names, wanted) = sync_channel::<String>(1);
        let died = signal.clone();
        spawn("fleet-watch", move || {
            while watched.recv().is_ok() {}
            let _ = died.send(Signal::Died);
        })?;
        spawn("fleet-opener", move || {
            while let Ok(name) = wanted.recv() {
                let built = LinkBuilder::new(&name, events.clone()).build();
                let built = built.map(|(tx, rx, _)| Link { tx, rx }).map_err(|_| RouterGone);
                if signal.send(Signal::Built(built)).is_err() {
                    return;
                }
            }
        })?;
        Ok(Self { names, signals, watch, dead: false })
    }

    /// Makes a link. Blocks for about 0.1 ms. `name` is in use by no other link. After an error this router is of no
    /// more use.
    pub(super) fn open(&mut self, name: &str) -> Result<Link, RouterGone> {
        if self.dead || self.names.send(name.to_owned()).is_err() {
            return Err(RouterGone);
        }
        match self.signals.recv_timeout(FLEET_ROUTER_PATIENCE) {
            Ok(Signal::Built(built)) => built,
            Ok(Signal::Died) | Err(_) => {
                self.dead = true;
                Err(RouterGone)
            }
        }
    }

    /// Ends a link. Blocks.
    pub(super) fn close(mut link: Link) {
        let disconnect = Disconnect { reason_code: DisconnectReasonCode::NormalDisconnection };
        // An error means that the router is gone, and the link with it.
        let _ = link.send(Packet::Disconnect(disconnect, None));
    }
}

/// The watching link holds the router; without it, the router's thread ends with the last link.
impl Drop for Router {
    fn drop(&mut self) {
        let disconnect = Disconnect { reason_code: DisconnectReasonCode::NormalDisconnection };
        self.watch.buffer().push_back(Packet::Disconnect(disconnect, None));
        let _ = self.watch.try_publish(Bytes::new(), Bytes::new());
    }
}

fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> Result<(), RouterGone> {
    let started = std::thread::Builder::new().name(name.to_owned()).spawn(body);
    started.map(|_| ()).map_err(|_| RouterGone)
}

fn config() -> RouterConfig {
    let sizes = FLEET_LOGS.map(|(name, _, bytes, segments)| {
        let size = SegmentConfig { max_segment_size: bytes, max_segment_count: segments };
        (format!("{name}/+"), size)
    });
    RouterConfig {
        max_connections: FLEET_LINKS + 4,
        max_outgoing_packet_count: 200,
        max_segment_size: 64 * 1024,
        max_segment_count: 2,
        custom_segment: Some(sizes.into_iter().collect()),
        ..RouterConfig::default()
    }
}

impl Link {
    /// Subscribes and waits until the router has done so: what is published afterwards arrives. Blocks.
    pub(super) fn subscribe(&mut self, log: &str) -> Result<(), RouterGone> {
        self.tx.subscribe(log).map_err(|_| RouterGone)?;
        self.wait_for_ack()
    }

    /// Puts a batch into the router's input and asks for one acknowledgement. Blocks when the router is busy.
    pub(super) fn publish(
        &mut self,
        batch: impl Iterator<Item = (Bytes, Bytes)>,
    ) -> Result<(), RouterGone> {
        {
            let mut buffer = self.tx.buffer();
            buffer
                .extend(batch.map(|(log, payload)| {
                    Packet::Publish(Publish::new(log, payload, false), None)
                }));
        }
        self.send(Packet::PingReq(PingReq))
    }

    /// Waits for one acknowledgement. Blocks.
    pub(super) fn wait_for_ack(&mut self) -> Result<(), RouterGone> {
        loop {
            if let Some(Notification::DeviceAck(_)) = self.rx.recv().map_err(|_| RouterGone)? {
                return Ok(());
            }
        }
    }

    /// The next event. Cancel-safe.
    pub(super) async fn next(&mut self) -> Result<Event, RouterGone> {
        loop {
            return match self.rx.next().await.map_err(|_| RouterGone)? {
                Some(Notification::Forward(forward)) => {
                    let offset = forward.cursor.map_or(0, |(_, offset)| offset);
                    Ok(Event::Message { offset, payload: forward.publish.payload })
                }
                Some(Notification::Unschedule) => Ok(Event::Pause),
                Some(Notification::Disconnect(..)) => Err(RouterGone),
                Some(_) => Ok(Event::Other),
                None => continue,
            };
        }
    }

    /// Lets the router go on; once for each [`Event::Pause`], never otherwise.
    pub(super) async fn resume(&self) -> Result<(), RouterGone> {
        self.rx.wake().await.map_err(|_| RouterGone)
    }

    /// `LinkTx::send` is asynchronous in name only: it blocks and is done at its first poll.
    fn send(&mut self, packet: Packet) -> Result<(), RouterGone> {
        let sending = pin!(self.tx.send(packet));
        match sending.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(_)) => Ok(()),
            _ => Err(RouterGone),
        }
    }

    /// Makes the router's thread panic, as `Ready` for a closed link does.
    #[cfg(test)]
    pub(super) fn kill_router(mut self) {
        let disconnect = Disconnect { reason_code: DisconnectReasonCode::NormalDisconnection };
        let _ = self.send(Packet::Disconnect(disconnect, None));
        let _ = self.rx.ready();
    }
}
