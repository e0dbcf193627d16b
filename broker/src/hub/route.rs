//! The way of a message: to the retained store and to all subscribers.

use std::sync::Arc;

use tessera_token::refusal::RefusalCode;
use tessera_token::topic::Subscription;

use super::Hub;
use crate::message::Message;
use crate::metrics::qos_label;
use crate::routing::retained::Stored;
use crate::routing::{Rest, Tally};
use crate::session::state_machine::Machine;
use crate::session::Session;

/// The result of a publish.
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
    /// Stores a retained message and delivers to all subscribers. Not cancel-safe: see [`crate::routing::Routing::finish`].
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
            let _together = session.rows().map(|rows| rows.persistence.together());
            session.look(note);
            self.route_at_once(message)
        };
        self.route_on(message, routed)
    }

    /// Delivers the rest of a publish.
    pub(crate) async fn finish(&self, rest: Option<Rest>) {
        if let Some(rest) = rest {
            self.routing.finish(rest).await;
        }
    }

    fn route_on(&self, message: &Arc<Message>, mut routed: Routed) -> (Routed, Option<Rest>) {
        let rest = self.routing.publish_to_wildcards(message, &mut routed.tally);
        self.note_routed(message, &routed);
        (routed, rest)
    }

    fn route_at_once(&self, message: &Arc<Message>) -> Routed {
        let stored = message.retain.then(|| self.retained.set(message, self.now().unix));
        if let Some(Stored::Full(limit)) = stored {
            self.metrics.limits_hit.inc(&[limit.label()]);
        }
        let mut tally = self.routing.publish_at_once(message);
        if matches!(stored, Some(Stored::Kept | Stored::Deleted | Stored::Expired)) {
            tally.commit = self.persistence.last_commit();
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

    /// Removes the routes of subscriptions.
    pub(crate) async fn unsubscribe(&self, session: &Session, ended: &[Subscription]) {
        if ended.is_empty() {
            return;
        }
        if let Some(routes) = session.routes.lock().await.as_mut() {
            for subscription in ended {
                routes.unsubscribe(subscription);
            }
        }
    }
}
