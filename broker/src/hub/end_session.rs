//! The end of a connection, and of its session.

use std::sync::atomic::Ordering;
use std::sync::Arc;

use tessera_agent::behaviour::{Fault, Observation};

use super::Hub;
use crate::codec::ReasonCode;
use crate::metrics::qos_label;
use crate::session::lifecycle::Left;
use crate::session::state_machine::{Cause, End, Will};
use crate::session::{ConnectionHandle, Now, Session};

/// The rule of the protocol that the peer broke, as behaviour tracking has it.
fn fault(end: &End) -> Option<Fault> {
    match (end.cause, end.reason?) {
        (Cause::KeepAlive, _) => Some(Fault::KeepAlive),
        (Cause::Broken(_), reason) => Some(match reason {
            ReasonCode::MALFORMED_PACKET => Fault::Malformed,
            ReasonCode::PACKET_TOO_LARGE => Fault::TooLarge,
            ReasonCode::RECEIVE_MAXIMUM_EXCEEDED => Fault::ReceiveMaximum,
            ReasonCode::TOPIC_ALIAS_INVALID => Fault::TopicAlias,
            ReasonCode::TOPIC_NAME_INVALID | ReasonCode::TOPIC_FILTER_INVALID => {
                Fault::TopicInvalid
            }
            _ => Fault::Protocol,
        }),
        _ => None,
    }
}

impl Hub {
    /// A connection has ended: leaves the session, which may end with it.
    pub(crate) async fn leave(
        &self,
        session: &Arc<Session>,
        handle: &Arc<ConnectionHandle>,
        end: &End,
    ) {
        let now = self.now();
        let clean = end.cause == Cause::Client;
        if let Some(fault) = fault(end) {
            self.observer.observe(&session.device, Observation::Faulted(fault));
        }
        self.observer.disconnected(&session.device, handle.observed(), clean);
        tracing::debug!(client = %session.client_id, why = end.cause.as_str(), "connection ended");
        match session.leave(handle, end, now) {
            Left::Replaced(next) => next.wake(),
            Left::Outlived => {}
            Left::Kept(will) => {
                self.push.note(session.id);
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

    /// Takes a session out of everything. The caller publishes the will that is given back, when it is due.
    pub(crate) fn forget(&self, session: &Arc<Session>) -> Option<Will> {
        self.registry.remove(session);
        // One commit holds the end of this session and the deliveries that its shared subscriptions pass on to others.
        let together = session.rows().map(|rows| rows.persistence.together());
        let finished = session.finish();
        // After the end: a session that is added now sees its end and takes itself out.
        self.alerts.remove(session);
        self.push.ended(session.id);
        self.uplinks.ended(session.id.0);
        match session.routes.try_lock() {
            Ok(mut routes) => drop(routes.take()),
            // A subscribe is under way: the end of a session does not wait for it.
            Err(_) => {
                let session = Arc::clone(session);
                self.tasks.spawn(async move { drop(session.routes.lock().await.take()) });
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

    /// Counts the time for which sessions from before this start were away, once a heartbeat and the wall clock agree
    /// on what time it is. Expired sessions end with the next look at deadlines.
    pub(crate) fn settle(&self) {
        if self.persistence.is_settled() || !self.authenticator.validator().time_is_settled() {
            return;
        }
        let now = self.now();
        for session in self.registry.all() {
            self.settle_one(&session, now);
        }
        self.persistence.settled();
    }

    /// Wakes every session when a second clock bears witness of the time, and when it is known how long this broker was
    /// away: deliveries may wait for that.
    pub(crate) fn note_witnessed_time(&self) {
        let validator = self.authenticator.validator();
        let is_known = validator.witnessed_time().is_some() && !validator.absence_is_open();
        if self.witnessed.swap(is_known, Ordering::AcqRel) || !is_known {
            return;
        }
        for session in self.registry.all() {
            session.wake();
        }
    }

    /// Whether [`Self::note_witnessed_time`] has woken the sessions.
    pub(crate) fn time_is_witnessed(&self) -> bool {
        self.witnessed.load(Ordering::Acquire)
    }

    /// As [`Self::settle`], for one session that a client takes up again.
    pub(crate) fn settle_one(&self, session: &Session, now: Now) {
        if self.authenticator.validator().time_is_settled() && session.settle(now) {
            self.timers.add(now.monotonic, session.id);
        }
    }
}
