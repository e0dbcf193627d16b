//! Sessions: the state that MQTT keeps between connections, and the connection that serves each now.
//!
//! [`state_machine`] is the protocol as a synchronous state machine. A [`Session`] is that machine with its rights, its
//! outbox and its subscriptions; [`ConnectionHandle`] reaches the connection that serves it. [`lifecycle`] attaches,
//! detaches and ends, [`pump`] sends what waits, [`deadlines`] and [`timers`] end what is over.

mod connection_handle;
mod deadlines;
pub mod lifecycle;
pub mod policy;
mod pump;
pub(crate) mod row;
pub mod state_machine;
#[cfg(test)]
mod tests;
pub mod timers;

use std::sync::atomic::AtomicBool;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::{Mutex, MutexGuard};
use tessera_agent::behaviour::DeviceHandle;
use tessera_token::grant::Grant;
use tessera_token::ids::{ClientId, TenantId};
use tessera_token::proof::TicketId;
use tessera_token::time::UnixSeconds;
use tessera_token::token_identity::TokenIdentity;

use crate::authorisation::Rights;
use crate::codec::{Packet, QoS};
use crate::guard::Guard;
use crate::message::{SubscriberId, Trusted};
use crate::persistence::{Row, SessionRows};
use crate::refusals::{Refusal, What};
use crate::routing::{Outbox, SessionRoutes};
use crate::session::row::SessionRecord;
use state_machine::{BrokerContext, Context, Effects, End, Machine, Restored, SendState, Will};

pub use connection_handle::{ChannelSecurity, ConnectionHandle, Shown};
pub use deadlines::Due;
pub use policy::SessionPolicy;
pub use pump::Pumped;
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
    /// Messages that wait for delivery.
    pub outbox: Arc<Outbox>,
    /// Its subscriptions; `None` once it has ended.
    pub routes: tokio::sync::Mutex<Option<SessionRoutes>>,
    /// A token request of this session is under way: one at a time, so that none takes the places of others.
    pub token_request: AtomicBool,
    rights: ArcSwap<Rights>,
    renewal: Mutex<()>,
    state: Mutex<State>,
}

struct State {
    machine: Machine,
    handle: Option<Arc<ConnectionHandle>>,
    guard: Option<Arc<Guard>>,
    /// Without a connection: when the session expires.
    keep_until: Duration,
    /// Without a connection: when the last one left.
    left: Option<UnixSeconds>,
    /// Without a connection: a will that waits, and until when.
    waiting_will: Option<Box<(Duration, Will)>>,
    ended: bool,
    timer: Duration,
    /// It was restored at this start, and its absence has not been counted yet: no clock could be relied on.
    unsettled: bool,
}

/// The result of one packet.
pub struct Stepped {
    /// The effects to perform.
    pub effects: Effects,
    /// Commit that must be durable before anything more is sent; 0 for none.
    pub commit: u64,
    /// Which deliveries the client can be sent now.
    pub send_state: SendState,
}

impl Session {
    /// The line about something that is refused to the client on this connection.
    pub(crate) fn refusal<'a>(
        &'a self,
        handle: &ConnectionHandle,
        what: What,
        code: &'a str,
    ) -> Refusal<'a> {
        let refusal = Refusal::of(what, code, handle.remote());
        refusal.owner(&self.tenant, self.device.device()).client_id(self.client_id.as_str())
    }

    /// A session without a connection.
    pub fn new(
        grant: Grant,
        client_id: ClientId,
        device: DeviceHandle,
        outbox: Arc<Outbox>,
        routes: SessionRoutes,
    ) -> Arc<Self> {
        let mut machine = Machine::default();
        machine.belong(&outbox);
        Arc::new(Self {
            id: outbox.id(),
            tenant: grant.tenant().clone(),
            client_id,
            device,
            outbox,
            routes: tokio::sync::Mutex::new(Some(routes)),
            token_request: AtomicBool::new(false),
            rights: ArcSwap::from_pointee(Rights::new(grant)),
            renewal: Mutex::new(()),
            state: Mutex::new(State {
                machine,
                handle: None,
                guard: None,
                keep_until: Duration::MAX,
                left: None,
                waiting_will: None,
                ended: false,
                timer: Duration::ZERO,
                unsettled: false,
            }),
        })
    }

    /// The rights that its token grants now.
    pub fn rights(&self) -> Arc<Rights> {
        self.rights.load_full()
    }

    /// Puts other restrictions in the place of the present ones, and gives them. They are made under the lock: of two
    /// that renew them the later one has the newer trust data.
    pub(crate) fn guard_by(&self, make: impl FnOnce() -> Option<Arc<Guard>>) -> Option<Arc<Guard>> {
        let mut state = self.state.lock();
        state.guard = make();
        state.guard.clone()
    }

    /// Held for as long as its rights and its places in the registry are changed: one renewal at a time.
    pub(crate) fn renewal(&self) -> MutexGuard<'_, ()> {
        self.renewal.lock()
    }

    /// Puts other rights in the place of the present ones, when `handle` still serves the session; without one always.
    /// The caller narrows the subscriptions.
    pub fn set_rights(&self, grant: Grant, handle: Option<&Arc<ConnectionHandle>>) -> bool {
        let state = self.state.lock();
        if handle.is_some_and(|handle| !state.is_served_by(handle)) {
            return false;
        }
        self.rights.store(Arc::new(Rights::new(grant)));
        self.save(&state);
        true
    }

    /// The part of it that survives a restart, when it is kept.
    pub(crate) fn rows(&self) -> Option<&SessionRows> {
        self.outbox.rows()
    }

    /// Notes what is kept of the session itself.
    fn save(&self, state: &State) {
        let Some(rows) = self.rows().filter(|_| !state.ended) else { return };
        let identity = TokenIdentity::of(self.rights.load().grant());
        let will = state.waiting_will.as_deref().map(|(_, will)| will).or(state.machine.will());
        let expiry = state.machine.expiry_seconds();
        let row = SessionRecord::encode(&self.client_id, &identity, expiry, state.left, will);
        rows.put(Row::Session, row);
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

    /// Takes one packet of the client, if `handle` still serves the session.
    pub fn step(
        &self,
        handle: &Arc<ConnectionHandle>,
        context: BrokerContext<'_>,
        now: Now,
        packet: Packet,
    ) -> Option<Stepped> {
        let rights = self.rights.load();
        let mut state = self.state.lock();
        if !state.is_served_by(handle) {
            return None;
        }
        let state = &mut *state;
        let cx = Context::at(&rights, context, self.id, now).guarded(state.guard.as_deref());
        let mut effects = Effects::default();
        state.machine.on_packet(packet, cx, &mut effects);
        state.machine.settle_share();
        let (commit, send_state) = (state.machine.take_commit(), state.machine.send_state());
        Some(Stepped { effects, commit, send_state })
    }

    /// Runs a step of the machine, if `handle` still serves the session.
    pub fn with_machine<T>(
        &self,
        handle: &Arc<ConnectionHandle>,
        step: impl FnOnce(&mut Machine) -> T,
    ) -> Option<T> {
        let mut state = self.state.lock();
        state.is_served_by(handle).then(|| step(&mut state.machine))
    }

    /// Runs `step` on the machine, whichever connection serves the session.
    pub fn look<T>(&self, step: impl FnOnce(&mut Machine) -> T) -> T {
        step(&mut self.state.lock().machine)
    }

    /// Whether a connection serves it.
    pub fn is_connected(&self) -> bool {
        self.state.lock().handle.is_some()
    }

    /// The connection that serves it.
    pub(crate) fn served_by(&self) -> Option<Arc<ConnectionHandle>> {
        self.state.lock().handle.clone()
    }

    /// Whether it has ended for good.
    pub fn has_ended(&self) -> bool {
        self.state.lock().ended
    }

    /// Tells the connection that serves it to end; false when there is none.
    pub fn disconnect(&self, end: End) -> bool {
        match &self.state.lock().handle {
            Some(handle) => {
                handle.end(end);
                true
            }
            None => false,
        }
    }

    /// Ends the connection that serves it, when a secret of a ticket key let it in that is not accepted any more.
    pub(crate) fn disconnect_unless(&self, accepted: impl Fn(TicketId) -> bool, end: End) -> bool {
        let state = self.state.lock();
        let over = |handle: &&Arc<ConnectionHandle>| {
            handle.let_in_by().is_some_and(|ticket| !accepted(ticket))
        };
        let handle = state.handle.as_ref().filter(over);
        if let Some(handle) = handle {
            handle.end(end);
        }
        handle.is_some()
    }

    /// Asks the connection that serves it, if there is one, to write its status.
    pub fn ask_status(&self) {
        if let Some(handle) = &self.state.lock().handle {
            handle.ask_status();
        }
    }

    /// Wakes the connection that serves it, if there is one, to look for deliveries.
    pub(crate) fn wake(&self) {
        if let Some(handle) = &self.state.lock().handle {
            handle.wake();
        }
    }

    /// Drops waiting messages whose publishers were revoked; returns the QoS of each.
    pub(crate) fn drop_revoked(&self, trusted: Trusted<'_>) -> Vec<QoS> {
        let mut dropped = {
            let machine = &mut self.state.lock().machine;
            let dropped = machine.drop_revoked(trusted);
            machine.settle_share();
            dropped
        };
        dropped.extend(self.outbox.drop_revoked(trusted));
        dropped
    }
}

impl State {
    fn is_served_by(&self, handle: &Arc<ConnectionHandle>) -> bool {
        !self.ended && self.handle.as_ref().is_some_and(|present| Arc::ptr_eq(present, handle))
    }
}
