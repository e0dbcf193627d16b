//! Sessions: what MQTT promises to keep between connections, and who is connected now.
//!
//! [`machine`] is the protocol as a synchronous state machine. A [`Session`] is that machine with its rights, its
//! outbox and its subscriptions; [`Line`] reaches the connection that serves it. [`timers`] wakes sessions; [`ending`]
//! takes them apart.

pub mod ending;
mod line;
pub mod machine;
pub mod policy;
pub(crate) mod row;
#[cfg(test)]
mod tests;
pub mod timers;

use std::sync::atomic::AtomicBool;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::BytesMut;
use parking_lot::Mutex;
use tessera_agent::behaviour::DeviceHandle;
use tessera_token::grant::Grant;
use tessera_token::ids::{ClientId, TenantId};
use tessera_token::proof::TicketId;
use tessera_token::standing::Standing;
use tessera_token::time::UnixSeconds;

use crate::codec::{Packet, QoS};
use crate::keep::{Kept, Row};
use crate::lanes::{Delivery, LaneSession, Outbox};
use crate::limits::{DEADLINE_CHECK, WRITE_BATCH};
use crate::message::{SubscriberId, Trusted};
use crate::refusals::{Refusal, What};
use crate::rights::Rights;
use crate::session::row::SessionRecord;
use machine::{Appetite, Context, Delivered, Effects, End, House, Machine, Restored, Will};

pub use line::{Line, Privacy, Shown};
pub use policy::SessionPolicy;
pub use timers::Now;

/// One session of one client id.
pub struct Session {
    /// Its number in this run.
    pub id: SubscriberId,
    /// The mount point.
    pub tenant: TenantId,
    /// The client id, bound to the subject.
    pub client_id: ClientId,
    /// Behaviour tracking.
    pub device: DeviceHandle,
    /// What waits to be delivered.
    pub outbox: Arc<Outbox>,
    /// Its subscriptions; `None` once it has ended.
    pub lanes: tokio::sync::Mutex<Option<LaneSession>>,
    /// A token request of this session is under way: one at a time, so that none takes the places of others.
    pub token_request: AtomicBool,
    rights: ArcSwap<Rights>,
    state: Mutex<State>,
}

struct State {
    machine: Machine,
    line: Option<Arc<Line>>,
    /// While nobody is connected: until when it is kept.
    keep_until: Duration,
    /// While nobody is connected: since when.
    left: Option<UnixSeconds>,
    /// While nobody is connected: a will that waits, and until when.
    waiting_will: Option<Box<(Duration, Will)>>,
    ended: bool,
    timer: Duration,
    /// It came back at this start, and how long it was away has not been counted: no clock was to be relied on.
    unsettled: bool,
}

/// What a session that was looked at by the timers needs.
pub enum Due {
    /// Nothing before this moment.
    Later(Duration),
    /// It is connected and its line was told; nothing more to do.
    Told,
    /// A will whose delay has passed.
    Will(Will),
    /// Its time is over.
    Over,
    /// It has ended already, or the timer was an old one.
    Nothing,
}

/// What one packet came to.
pub struct Stepped {
    /// What is to be done.
    pub effects: Effects,
    /// What must be durable before anything more is sent; 0 when nothing must.
    pub ticket: u64,
    /// What the client can be sent now.
    pub appetite: Appetite,
}

/// What one round of deliveries came to.
pub struct Pumped {
    /// Written, by QoS.
    pub sent: [u64; 3],
    /// What the client can be sent further.
    pub appetite: Appetite,
    /// Left out.
    pub dropped: Vec<Delivered>,
    /// The connection must end.
    pub end: Option<End>,
    /// What must be durable before what was written leaves; 0 when nothing must.
    pub ticket: u64,
}

impl Session {
    /// The line about something that is refused to the client on this connection.
    pub(crate) fn refusal<'a>(&'a self, line: &Line, what: What, code: &'a str) -> Refusal<'a> {
        let refusal = Refusal::of(what, code, line.remote());
        refusal.owner(&self.tenant, self.device.device()).client_id(self.client_id.as_str())
    }

    /// A session that nobody is connected to yet.
    pub fn new(
        grant: Grant,
        client_id: ClientId,
        device: DeviceHandle,
        outbox: Arc<Outbox>,
        lanes: LaneSession,
    ) -> Arc<Self> {
        let mut machine = Machine::default();
        machine.belong(&outbox);
        Arc::new(Self {
            id: outbox.id(),
            tenant: grant.tenant().clone(),
            client_id,
            device,
            outbox,
            lanes: tokio::sync::Mutex::new(Some(lanes)),
            token_request: AtomicBool::new(false),
            rights: ArcSwap::from_pointee(Rights::new(grant)),
            state: Mutex::new(State {
                machine,
                line: None,
                keep_until: Duration::MAX,
                left: None,
                waiting_will: None,
                ended: false,
                timer: Duration::ZERO,
                unsettled: false,
            }),
        })
    }

    /// What its token allows now.
    pub fn rights(&self) -> Arc<Rights> {
        self.rights.load_full()
    }

    /// Puts other rights in the place of the present ones, when `line` still serves the session; without one always.
    /// The caller narrows the subscriptions.
    pub fn set_rights(&self, grant: Grant, line: Option<&Arc<Line>>) -> bool {
        let state = self.state.lock();
        if line.is_some_and(|line| !state.is_served_by(line)) {
            return false;
        }
        self.rights.store(Arc::new(Rights::new(grant)));
        self.save(&state);
        true
    }

    /// The part of it that survives a restart, when it is kept.
    pub(crate) fn kept(&self) -> Option<&Kept> {
        self.outbox.kept()
    }

    /// Notes what is kept of the session itself.
    fn save(&self, state: &State) {
        let Some(kept) = self.kept().filter(|_| !state.ended) else { return };
        let standing = Standing::of(self.rights.load().grant());
        let will = state.waiting_will.as_deref().map(|(_, will)| will).or(state.machine.will());
        let expiry = state.machine.expiry_seconds();
        let row = SessionRecord::encode(&self.client_id, &standing, expiry, state.left, will);
        kept.put(Row::Session, row);
    }

    /// Puts back the state from before a restart: no client is connected, since `left` or since the restart. Until
    /// [`Self::settle`] it is kept as if its time began now.
    pub(crate) fn restore(&self, mut restored: Restored, left: Option<UnixSeconds>, now: Now) {
        let mut state = self.state.lock();
        let will = restored.will.take();
        state.machine.restore(restored);
        let kept_for = state.machine.expiry();
        state.keep_until = now.monotonic.saturating_add(kept_for);
        state.left = Some(left.unwrap_or(now.unix));
        state.unsettled = true;
        state.waiting_will = will
            .map(|will| Box::new((now.monotonic.saturating_add(will.delay().min(kept_for)), will)));
        self.save(&state);
    }

    /// Counts the time for which it was away before this start, by a time that is to be relied on. True when that was
    /// still to be done: the session is due at this moment then.
    pub(crate) fn settle(&self, now: Now) -> bool {
        let mut state = self.state.lock();
        let Some(left) = state.left.filter(|_| state.unsettled && !state.ended) else {
            return false;
        };
        state.unsettled = false;
        let until = |lasts: Duration| {
            let away = Duration::from_secs(now.unix.since(left));
            now.monotonic.saturating_add(lasts.saturating_sub(away))
        };
        state.keep_until = state.keep_until.min(until(state.machine.expiry()));
        let keep_until = state.keep_until;
        if let Some(waiting) = &mut state.waiting_will {
            waiting.0 = waiting.0.min(until(waiting.1.delay())).min(keep_until);
        }
        if left > now.unix {
            // Noted by a clock that was ahead: its time would begin anew at every start until that moment.
            state.left = Some(now.unix);
            self.save(&state);
        }
        state.timer = now.monotonic;
        true
    }

    /// Whether a holder of `grant` may resume it: a device that was enrolled anew with another key starts fresh.
    pub fn belongs_to(&self, grant: &Grant) -> bool {
        grant.goes_on_from(self.rights.load().grant().confirmation())
    }

    /// Takes one packet of the client, if `line` still serves the session.
    pub fn step(
        &self,
        line: &Arc<Line>,
        house: House<'_>,
        now: Now,
        packet: Packet,
    ) -> Option<Stepped> {
        let rights = self.rights.load();
        let cx = Context::at(&rights, house, self.id, now);
        let mut state = self.state.lock();
        if !state.is_served_by(line) {
            return None;
        }
        let mut effects = Effects::default();
        state.machine.on_packet(packet, cx, &mut effects);
        state.machine.settle_share();
        let (ticket, appetite) = (state.machine.take_ticket(), state.machine.appetite());
        Some(Stepped { effects, ticket, appetite })
    }

    /// Runs a step of the machine, if `line` still serves the session.
    pub fn with_machine<T>(
        &self,
        line: &Arc<Line>,
        step: impl FnOnce(&mut Machine) -> T,
    ) -> Option<T> {
        let mut state = self.state.lock();
        state.is_served_by(line).then(|| step(&mut state.machine))
    }

    /// Looks at the machine, whoever serves it.
    pub fn look<T>(&self, step: impl FnOnce(&mut Machine) -> T) -> T {
        step(&mut self.state.lock().machine)
    }

    /// Whether a connection serves it.
    pub fn is_connected(&self) -> bool {
        self.state.lock().line.is_some()
    }

    /// Whether it has ended for good.
    pub fn has_ended(&self) -> bool {
        self.state.lock().ended
    }

    /// Tells the connection that serves it to end; false when there is none.
    pub fn hang_up(&self, end: End) -> bool {
        match &self.state.lock().line {
            Some(line) => {
                line.end(end);
                true
            }
            None => false,
        }
    }

    /// Ends the connection that serves it, when a secret of a ticket key let it in that is not accepted any more.
    pub(crate) fn hang_up_unless(&self, accepted: impl Fn(TicketId) -> bool, end: End) -> bool {
        let state = self.state.lock();
        let over = |line: &&Arc<Line>| line.let_in_by().is_some_and(|ticket| !accepted(ticket));
        let line = state.line.as_ref().filter(over);
        if let Some(line) = line {
            line.end(end);
        }
        line.is_some()
    }

    /// Asks the connection that serves it, if there is one, to tell its status.
    pub fn ask_status(&self) {
        if let Some(line) = &self.state.lock().line {
            line.ask_status();
        }
    }

    /// Writes deliveries into `out` while the client can take them.
    pub fn pump(
        &self,
        line: &Arc<Line>,
        house: House<'_>,
        now: Now,
        out: &mut BytesMut,
        scratch: &mut Vec<Delivery>,
    ) -> Pumped {
        let rights = self.rights.load();
        let cx = Context::at(&rights, house, self.id, now);
        let mut pumped = Pumped::nothing();
        let mut waits_for_time = false;
        let mut state = self.state.lock();
        if !state.is_served_by(line) {
            return pumped;
        }
        if let Err(code) = rights.trusted(self.id, cx.trusted) {
            pumped.end = Some(End::withdrawn(code, cx.policy));
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
        pumped.ticket = state.machine.take_ticket();
        pumped.appetite = match state.machine.appetite() {
            Appetite::New if waits_for_time => Appetite::Later,
            appetite => appetite,
        };
        pumped
    }

    /// Wakes the connection that serves it, if there is one, to look for deliveries.
    pub(crate) fn nudge(&self) {
        if let Some(line) = &self.state.lock().line {
            line.nudge();
        }
    }

    /// Lets go of what waits and may no longer reach anybody; tells of which QoS it was.
    pub(crate) fn drop_taken_back(&self, trusted: Trusted<'_>) -> Vec<QoS> {
        let mut dropped = {
            let machine = &mut self.state.lock().machine;
            let dropped = machine.drop_taken_back(trusted);
            machine.settle_share();
            dropped
        };
        dropped.extend(self.outbox.drop_taken_back(trusted));
        dropped
    }

    /// The next moment at which something ends by itself, and marks it as the one timer that counts.
    pub fn next_deadline(&self, now: Now) -> Duration {
        let mut state = self.state.lock();
        let deadline = state.deadline(&self.rights.load(), now);
        state.timer = deadline;
        deadline
    }

    /// Looks whether something is due; `at` is the timer that rang.
    pub fn due(&self, at: Duration, now: Now) -> Due {
        let mut state = self.state.lock();
        if state.ended || state.timer != at {
            return Due::Nothing;
        }
        let rights = self.rights.load();
        if let Some(line) = &state.line {
            if let Err(code) = rights.alive(now.unix) {
                line.end(End::refused(crate::codec::ReasonCode::NOT_AUTHORIZED, code));
                return Due::Told;
            }
            if state.machine.silent_until().is_some_and(|until| now.monotonic >= until) {
                line.end(End::silent());
                return Due::Told;
            }
        } else {
            if now.monotonic >= state.keep_until {
                // Whoever comes back at this very moment starts anew.
                state.ended = true;
                return Due::Over;
            }
            if state.waiting_will.as_deref().is_some_and(|(until, _)| now.monotonic >= *until) {
                if let Some((_, will)) = state.waiting_will.take().map(|waiting| *waiting) {
                    self.save(&state);
                    return Due::Will(will);
                }
            }
        }
        Due::Later(state.deadline(&rights, now))
    }
}

/// Deliveries taken out of an outbox under one lock.
const PUMP_AT_ONCE: usize = 16;

impl Pumped {
    fn nothing() -> Self {
        let appetite = Appetite::None;
        Self { sent: [0; 3], appetite, dropped: Vec::new(), end: None, ticket: 0 }
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
                self.end = Some(End::refused(crate::codec::ReasonCode::NOT_AUTHORIZED, code));
            }
        }
    }
}

impl State {
    fn is_served_by(&self, line: &Arc<Line>) -> bool {
        !self.ended && self.line.as_ref().is_some_and(|present| Arc::ptr_eq(present, line))
    }

    fn deadline(&self, rights: &Rights, now: Now) -> Duration {
        let mut deadline = now.monotonic.saturating_add(DEADLINE_CHECK);
        if self.line.is_some() {
            let left = rights.grant().expires().since(now.unix);
            deadline = deadline.min(now.monotonic.saturating_add(Duration::from_secs(left)));
            deadline = self.machine.silent_until().map_or(deadline, |until| deadline.min(until));
        } else {
            deadline = deadline.min(self.keep_until);
            deadline =
                self.waiting_will.as_deref().map_or(deadline, |(until, _)| deadline.min(*until));
        }
        deadline.max(now.monotonic + Duration::from_millis(1))
    }
}
