//! The parts of a broker that all connections share: fields, and what is asked of several of them at once. [`route`] has the
//! way of a message, [`wills`] wills, [`end_session`] the end of a session.

mod end_session;
mod leaving;
mod route;
mod wills;

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::Arc;

use tessera_agent::behaviour::Observer;
use tessera_runtime::clock::SharedClock;
use tessera_token::grant::Grant;
use tokio::sync::{mpsc, Notify};
use tokio_util::task::TaskTracker;

use crate::admission::Admission;
use crate::authz::Authz;
use crate::challenges::Challenges;
use crate::gate::Gate;
use crate::keep::{Keep, Kept};
use crate::lanes::retained::Retained;
use crate::lanes::{Lanes, Outbox};
use crate::message::{SubscriberId, Trusted};
use crate::metrics::BrokerMetrics;
use crate::registry::{AlertListeners, Registry};
use crate::relay::Relay;
use crate::session::machine::House;
use crate::session::timers::Timers;
use crate::session::SessionPolicy;
use crate::session::{Now, Session};
use crate::shares::Shares;
use crate::tickets::Tickets;
use crate::transport::tls::Certificates;

pub(crate) use leaving::{Leave, Leaving};
pub(crate) use route::Routed;

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
    /// Asks for a pass over messages of revoked publishers; several wishes are one.
    pub(crate) withdrawn: Notify,
    pub(crate) alerts: AlertListeners,
    pub(crate) tasks: TaskTracker,
    pub(crate) leaving: mpsc::Sender<Leaving>,
    pub(crate) next_session: AtomicU64,
    pub(crate) witnessed: AtomicBool,
    pub(crate) connected: AtomicUsize,
    pub(crate) keep: Arc<Keep>,
    pub(crate) tickets: Arc<Tickets>,
    pub(crate) authz: Authz,
    pub(crate) certificates: Option<Arc<Certificates>>,
    pub(crate) challenges: Challenges,
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

    /// Files the session's next deadline.
    pub(crate) fn schedule(&self, session: &Session, now: Now) {
        self.timers.add(session.next_deadline(now), session.id);
    }
}
