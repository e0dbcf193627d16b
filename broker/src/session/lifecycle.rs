//! How a connection joins and leaves its session, and how a session ends.

use std::sync::Arc;
use std::time::Duration;

use tessera_token::refusal::RefusalCode;

use super::state_machine::{BrokerContext, Context, End, Will};
use super::{ConnectionHandle, Now, Session};
use crate::codec::{ConnAck, Connect};
use crate::routing::Delivery;
use tessera_token::topic::Subscription;

/// The state of the session after a connection has left it.
pub enum Left {
    /// Another connection serves the session now; nothing is left to do.
    Replaced(Arc<ConnectionHandle>),
    /// Another connection served the session and has left before this one; nothing is left to do.
    Outlived,
    /// The session is kept. A will to be published now.
    Kept(Option<Will>),
    /// The session has ended. A will to be published now.
    Over(Option<Will>),
}

impl Session {
    /// Gives the session to a new connection. One that served it until now ends as taken over, and its
    /// will, if it is due, is returned with the CONNACK.
    ///
    /// # Errors
    /// `will_not_authorised`, or `not_ready` when the session has ended: nothing was changed.
    pub fn attach(
        &self,
        connect: &Connect,
        handle: &Arc<ConnectionHandle>,
        session_present: bool,
        context: BrokerContext<'_>,
        now: Now,
    ) -> Result<(ConnAck, Option<Will>), RefusalCode> {
        let rights = self.rights.load();
        let cx = Context::at(&rights, context, self.id, now);
        let mut state = self.state.lock();
        // One that has expired, and that no timer has found so far, has ended too.
        let is_over = state.left.is_some() && now.monotonic >= state.keep_until;
        if state.ended || is_over {
            return Err(RefusalCode::NotReady);
        }
        let old_will = state.machine.take_will();
        let ack = match state.machine.attach(connect, cx, session_present) {
            Ok(ack) => ack,
            Err(code) => {
                state.machine.put_will(old_will);
                return Err(code);
            }
        };
        state.waiting_will = None;
        state.left = None;
        state.unsettled = false;
        self.save(&state);
        let old_handle = state.handle.replace(Arc::clone(handle));
        // Under the lock, as in [`Self::leave`], so that the last connection to attach or leave decides.
        self.outbox.set_attended(true);
        drop(state);
        let due = old_handle.and_then(|old| {
            old.end(End::taken_over());
            old_will.filter(|will| will.delay().is_zero())
        });
        Ok((ack, due))
    }

    /// The connection of `handle` has ended.
    pub fn leave(&self, handle: &Arc<ConnectionHandle>, end: &End, now: Now) -> Left {
        let mut state = self.state.lock();
        match &state.handle {
            Some(present) if Arc::ptr_eq(present, handle) => state.handle = None,
            Some(next) => return Left::Replaced(Arc::clone(next)),
            None => return Left::Outlived,
        }
        let will = state.machine.take_will().filter(|_| end.will);
        let kept = state.machine.expiry();
        if end.forget || kept.is_zero() || state.ended {
            state.ended = true;
            return Left::Over(will);
        }
        state.keep_until = now.monotonic.saturating_add(kept);
        state.left = Some(now.unix);
        let (due, waiting) = match will {
            Some(will) if end.defers_will || !will.delay().is_zero() => (None, Some(will)),
            due => (due, None),
        };
        // A will never outlives its session (MQTT 5 section 3.1.3.2.2).
        state.waiting_will = waiting
            .map(|will| Box::new((now.monotonic.saturating_add(will.delay().min(kept)), will)));
        self.save(&state);
        self.outbox.set_attended(false);
        Left::Kept(due)
    }

    /// Ends the session for good: nothing is delivered to it or kept for it afterwards. Gives what waited, and the
    /// will that was still to come.
    pub fn finish(&self) -> Finished {
        let mut state = self.state.lock();
        state.ended = true;
        state.keep_until = Duration::ZERO;
        let waiting = state.waiting_will.take().map(|waiting| waiting.1);
        let will = state.machine.take_will().or(waiting);
        let subscriptions = state.machine.clear_subscriptions();
        let mut undelivered = state.machine.clear_flight();
        state.machine.settle_share();
        // A connection that joined at this very moment would stay on a session that the registry does not have.
        if let Some(handle) = &state.handle {
            handle.end(End::taken_over());
        }
        drop(state);
        undelivered.extend(self.outbox.close());
        if let Some(rows) = self.rows() {
            rows.forget();
        }
        Finished { will, subscriptions, undelivered }
    }

    /// Drops the subscriptions that the present rights do not cover, and names them.
    pub fn narrow(&self) -> Vec<Subscription> {
        let rights = self.rights.load();
        self.state.lock().machine.narrow(&rights)
    }
}

/// The remains of a session that has ended.
pub struct Finished {
    /// A will that was not published yet.
    pub will: Option<Will>,
    /// Its subscriptions.
    pub subscriptions: Vec<Subscription>,
    /// Messages that were not delivered.
    pub undelivered: Vec<Delivery>,
}
