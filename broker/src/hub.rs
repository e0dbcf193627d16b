//! What all connections share.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::Arc;

use tessera_agent::behaviour::{Observation, Observer};
use tessera_runtime::clock::SharedClock;
use tessera_token::grant::Grant;
use tessera_token::refusal::RefusalCode;
use tessera_token::topic::Subscription;
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

use crate::admission::Admission;
use crate::alerts::Alerts;
use crate::authz::Authz;
use crate::challenges::Challenges;
use crate::connection::Leaving;
use crate::control::{revoke, Relay, Withdrawn};
use crate::gate::Gate;
use crate::keep::{Keep, Kept};
use crate::lanes::retained::{Retained, Stored};
use crate::lanes::{Lanes, Message, Outbox, Rest, SubscriberId, Tally};
use crate::metrics::{qos_label, BrokerMetrics};
use crate::refusals::{Refusal, What};
use crate::registry::Registry;
use crate::rights::{Author, Trusted};
use crate::session::ending::Left;
use crate::session::machine::{Context, End, House, Machine, Will};
use crate::session::timers::Timers;
use crate::session::SessionPolicy;
use crate::session::{Line, Now, Session};
use crate::shares::Shares;
use crate::tickets::Tickets;
use crate::transport::tls::Certificates;

/// The parts of a running broker.
pub(crate) struct Hub {
    pub(crate) policy: SessionPolicy,
    pub(crate) clock: SharedClock,
    pub(crate) metrics: BrokerMetrics,
    pub(crate) admission: Admission,
    pub(crate) gate: Gate,
    pub(crate) observer: Observer,
    pub(crate) registry: Registry,
    pub(crate) shares: Shares,
    pub(crate) lanes: Arc<Lanes>,
    pub(crate) retained: Retained,
    pub(crate) timers: Timers,
    pub(crate) relay: Relay,
    pub(crate) withdrawn: Withdrawn,
    pub(crate) alerts: Alerts,
    pub(crate) tasks: TaskTracker,
    pub(crate) leaving: mpsc::Sender<Leaving>,
    pub(crate) next_session: AtomicU64,
    pub(crate) connected: AtomicUsize,
    pub(crate) keep: Arc<Keep>,
    pub(crate) tickets: Arc<Tickets>,
    pub(crate) authz: Authz,
    pub(crate) certificates: Option<Arc<Certificates>>,
    pub(crate) challenges: Challenges,
}

/// What became of a publish.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Routed {
    pub(crate) tally: Tally,
    pub(crate) stored: Option<Stored>,
}

impl Routed {
    /// Why something of the publish is refused, if it is.
    pub(crate) fn refusal(&self) -> Option<RefusalCode> {
        match self.stored {
            // Some may have it already, but what was asked to be kept is not.
            Some(Stored::Full(limit)) => Some(limit.code()),
            Some(Stored::Kept | Stored::Deleted | Stored::Expired) => None,
            // Every subscriber misses it.
            None if self.tally.missed() > 0 && !self.tally.has_reached() => {
                Some(RefusalCode::LimitReached)
            }
            None => None,
        }
    }
}

impl Hub {
    /// The time.
    pub(crate) fn now(&self) -> Now {
        let monotonic = self.clock.monotonic();
        Now { unix: self.gate.validator().now_at(monotonic), monotonic }
    }

    /// What is the same for all sessions, as of now.
    pub(crate) fn house(&self) -> House<'_> {
        House { policy: &self.policy, trusted: Trusted::now(self.gate.validator()) }
    }

    /// A number for a new session.
    pub(crate) fn number(&self) -> SubscriberId {
        SubscriberId(self.next_session.fetch_add(1, Ordering::Relaxed))
    }

    /// An empty outbox, of the share of the device that this grant names.
    pub(crate) fn outbox(
        &self,
        grant: &Grant,
        id: SubscriberId,
        kept: Option<Kept>,
    ) -> Arc<Outbox> {
        let account = self.shares.account(grant.tenant(), grant.device());
        let most = (self.policy.queue_messages, self.policy.queue_bytes);
        Outbox::of_account(account, id, kept, most)
    }

    /// Keeps what is to be retained and delivers to all who subscribed. Not cancel-safe: see [`Lanes::finish`].
    pub(crate) async fn route(&self, message: &Arc<Message>) -> Routed {
        let (routed, rest) = self.route_now(message);
        self.finish(rest).await;
        routed
    }

    /// The part of [`Self::route`] that never waits; what it gives is for [`Self::finish`].
    pub(crate) fn route_now(&self, message: &Arc<Message>) -> (Routed, Option<Rest>) {
        let routed = self.route_at_once(message);
        self.route_on(message, routed)
    }

    /// As [`Self::route_now`] for a QoS 2 message: the note of its session and the delivery to others survive a crash
    /// as one step.
    pub(crate) fn route_exactly(
        &self,
        session: &Session,
        message: &Arc<Message>,
        note: impl FnOnce(&mut Machine),
    ) -> (Routed, Option<Rest>) {
        let routed = {
            let _together = session.kept().map(|kept| kept.keep.together());
            session.look(note);
            self.route_at_once(message)
        };
        self.route_on(message, routed)
    }

    /// Delivers what is left of a publish.
    pub(crate) async fn finish(&self, rest: Option<Rest>) {
        if let Some(rest) = rest {
            self.lanes.finish(rest).await;
        }
    }

    fn route_on(&self, message: &Arc<Message>, mut routed: Routed) -> (Routed, Option<Rest>) {
        let rest = self.lanes.publish_to_fleet(message, &mut routed.tally);
        self.note_routed(message, &routed);
        (routed, rest)
    }

    fn route_at_once(&self, message: &Arc<Message>) -> Routed {
        let stored = message.retain.then(|| self.retained.set(message, self.now().unix));
        if let Some(Stored::Full(limit)) = stored {
            self.metrics.limits_hit.inc(&[limit.label()]);
        }
        let mut tally = self.lanes.publish_at_once(message);
        if matches!(stored, Some(Stored::Kept | Stored::Deleted | Stored::Expired)) {
            tally.ticket = self.keep.ticket();
        }
        Routed { tally, stored }
    }

    fn note_routed(&self, message: &Message, routed: &Routed) {
        let tally = &routed.tally;
        self.metrics.hot.routed(tally);
        let missed = tally.missed();
        if missed > 0 {
            self.metrics.dropped.add(&["queue_full", qos_label(message.qos)], missed as u64);
        }
    }

    /// Publishes a will with the rights of the session that set it. By setting also that of somebody who was revoked:
    /// it is the broker that says it then.
    pub(crate) async fn publish_will(&self, session: &Session, will: Will) {
        let rights = session.rights();
        let house = self.house();
        let withdrawn = rights.trusted(session.id, house.trusted).is_err();
        let validator = self.gate.validator();
        let lost = will.restored && revoke::withdrawn(validator, rights.grant()).is_some();
        if lost || withdrawn && self.policy.suppress_will_on_revocation {
            return self.will_refused(session, RefusalCode::WillNotAuthorised);
        }
        match will.publish(Context::at(&rights, house, session.id, self.now())) {
            Ok(mut message) => {
                if withdrawn {
                    let by = Arc::make_mut(&mut message.publisher);
                    by.author = Author::broker(rights.grant().device().clone());
                }
                let routed = self.route(&Arc::new(message)).await;
                if let Some(code) = routed.refusal() {
                    self.will_refused(session, code);
                }
            }
            Err(code) => self.will_refused(session, code),
        }
    }

    fn will_refused(&self, session: &Session, code: RefusalCode) {
        self.metrics.refusals.inc(&["will", code.as_str()]);
        let line = Refusal::of(What::Will, code.as_str(), None);
        line.owner(&session.tenant, session.device.device())
            .client_id(session.client_id.as_str())
            .tell();
    }

    /// A connection is over: leaves the session, which may be over with it.
    pub(crate) async fn leave(&self, session: &Arc<Session>, line: &Arc<Line>, end: &End) {
        let now = self.now();
        let clean = end.reason.is_none() && end.why == "client";
        self.observer.observe(&session.device, Observation::Disconnected { clean });
        tracing::debug!(client = %session.client_id, why = end.why, "connection ended");
        match session.leave(line, end, now) {
            Left::Replaced(next) => next.nudge(),
            Left::Outlived => {}
            Left::Kept(will) => {
                self.schedule(session, now);
                if let Some(will) = will {
                    self.publish_will(session, will).await;
                }
            }
            Left::Over(will) => {
                if let Some(will) = will {
                    self.publish_will(session, will).await;
                }
                self.forget(session);
            }
        }
    }

    /// Takes a session out of everything. Its will is published by whoever knows that it is due.
    pub(crate) fn forget(&self, session: &Arc<Session>) -> Option<Will> {
        self.registry.remove(session);
        // What a shared subscription passes on to others leaves this session in the same step.
        let together = session.kept().map(|kept| kept.keep.together());
        let finished = session.finish();
        // Behind the end, which whoever adds it looks for.
        self.alerts.remove(session);
        match session.lanes.try_lock() {
            Ok(mut lanes) => drop(lanes.take()),
            // A subscribe is under way: whoever ends sessions does not wait for it.
            Err(_) => {
                let session = Arc::clone(session);
                self.tasks.spawn(async move { drop(session.lanes.lock().await.take()) });
            }
        }
        for delivery in &finished.undelivered {
            if delivery.offer_to_others() {
                continue;
            }
            self.metrics.dropped.inc(&["session_over", qos_label(delivery.qos())]);
        }
        drop(together);
        finished.will
    }

    /// Counts the time for which sessions from before this start were away, once a heartbeat and the wall clock agree on
    /// what time it is. Those whose time is over end with the next look at deadlines.
    pub(crate) fn settle(&self) {
        if self.keep.is_settled() || !self.gate.validator().time_is_settled() {
            return;
        }
        let now = self.now();
        for session in self.registry.all() {
            self.settle_one(&session, now);
        }
        self.keep.settled();
    }

    /// As [`Self::settle`], for one that somebody asks for.
    pub(crate) fn settle_one(&self, session: &Session, now: Now) {
        if self.gate.validator().time_is_settled() && session.settle(now) {
            self.timers.add(now.monotonic, session.id);
        }
    }

    /// Files the session's next deadline.
    pub(crate) fn schedule(&self, session: &Session, now: Now) {
        self.timers.add(session.next_deadline(now), session.id);
    }

    /// Ends subscriptions in the lanes.
    pub(crate) async fn unsubscribe(&self, session: &Session, ended: &[Subscription]) {
        if ended.is_empty() {
            return;
        }
        if let Some(lanes) = session.lanes.lock().await.as_mut() {
            for subscription in ended {
                lanes.unsubscribe(subscription);
            }
        }
    }
}
