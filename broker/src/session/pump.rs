//! One round of deliveries: from the outbox through the machine into the buffer of the connection.

use std::sync::Arc;

use bytes::BytesMut;

use super::state_machine::{BrokerContext, Context, Delivered, End, SendState};
use super::{ConnectionHandle, Now, Session};
use crate::codec::ReasonCode;
use crate::limits::WRITE_BATCH;
use crate::routing::Delivery;

/// The result of one round of deliveries.
pub struct Pumped {
    /// Written, by QoS.
    pub sent: [u64; 3],
    /// Which deliveries the client can be sent next.
    pub send_state: SendState,
    /// Left out.
    pub dropped: Vec<Delivered>,
    /// The connection must end.
    pub end: Option<End>,
    /// Commit that must be durable before the written bytes leave; 0 for none.
    pub commit: u64,
}

impl Session {
    /// Writes deliveries into `out` while the client can take them.
    pub fn pump(
        &self,
        handle: &Arc<ConnectionHandle>,
        context: BrokerContext<'_>,
        now: Now,
        out: &mut BytesMut,
        scratch: &mut Vec<Delivery>,
    ) -> Pumped {
        let rights = self.rights.load();
        let mut pumped = Pumped::nothing();
        let mut waits_for_time = false;
        let mut state = self.state.lock();
        if !state.is_served_by(handle) {
            return pumped;
        }
        let state = &mut *state;
        let cx = Context::at(&rights, context, self.id, now).guarded(state.guard.as_deref());
        if cx.trusted.absence_is_open() {
            pumped.send_state = SendState::ClockPending;
            return pumped;
        }
        if let Err(code) = rights.trusted(self.id, cx.trusted) {
            pumped.end = Some(End::revoked(code, cx.policy));
        }
        while out.len() < WRITE_BATCH && pumped.end.is_none() {
            if let Some(done) = state.machine.deliver_again(cx, out) {
                pumped.note(done);
                continue;
            }
            let room = state.machine.room().min(PUMP_AT_ONCE);
            let stays = |delivery: &Delivery| cx.waits_for_time(delivery);
            let (count, stayed) = self.outbox.try_drain_before(room, stays, scratch);
            for delivery in scratch.drain(..) {
                pumped.note(state.machine.deliver(delivery, cx, out));
            }
            waits_for_time = stayed;
            if count == 0 || stayed {
                break;
            }
        }
        state.machine.settle_share();
        pumped.commit = state.machine.take_commit();
        pumped.send_state = match state.machine.send_state() {
            SendState::Ready if waits_for_time => SendState::ClockPending,
            send_state => send_state,
        };
        pumped
    }
}

/// Deliveries taken out of an outbox under one lock.
const PUMP_AT_ONCE: usize = 16;

impl Pumped {
    fn nothing() -> Self {
        let send_state = SendState::WindowFull;
        Self { sent: [0; 3], send_state, dropped: Vec::new(), end: None, commit: 0 }
    }

    fn note(&mut self, done: Delivered) {
        match done {
            Delivered::Sent(qos) => {
                if let Some(count) = self.sent.get_mut(qos as usize) {
                    *count += 1;
                }
            }
            Delivered::Released => {}
            Delivered::Dropped(..) => self.dropped.push(done),
            Delivered::Ended(code) => {
                self.end = Some(End::refused(ReasonCode::NOT_AUTHORIZED, code));
            }
        }
    }
}
