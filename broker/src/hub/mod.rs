//! The parts of a broker that all connections share: fields, and what is asked of several of them at once. [`route`]
//! has the way of a message, [`wills`] wills, [`restrict`] restrictions, [`end_session`] the end of a session.

mod disconnected;
mod end_session;
mod restrict;
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
use crate::authentication::Authenticator;
use crate::authz_info::AuthzInfo;
use crate::challenges::Challenges;
use crate::enrolment::Enrolment;
use crate::guard::restraint::Restraints;
use crate::message::{SubscriberId, Trusted};
use crate::metrics::BrokerMetrics;
use crate::partners::Partners;
use crate::persistence::{Persistence, SessionRows};
use crate::push::PushChanges;
use crate::registry::{AlertListeners, Registry};
use crate::relay::Relay;
use crate::resumption::TicketKeys;
use crate::routing::retained::Retained;
use crate::routing::{Outbox, Routing};
use crate::session::state_machine::BrokerContext;
use crate::session::timers::Timers;
use crate::session::SessionPolicy;
use crate::session::{Now, Session};
use crate::shares::Shares;
use crate::transport::tls::Certificates;
use crate::uplinks::Uplinks;

pub(crate) use disconnected::{Disconnected, LeaveSession};
pub(crate) use route::Routed;

/// The parts of a running broker.
pub(crate) struct Hub {
    pub(crate) policy: SessionPolicy,
    pub(crate) clock: SharedClock,
    pub(crate) metrics: BrokerMetrics,
    pub(crate) admission: Admission,
    pub(crate) authenticator: Authenticator,
    pub(crate) observer: Observer,
    pub(crate) registry: Registry,
    pub(crate) shares: Shares,
    pub(crate) routing: Arc<Routing>,
    pub(crate) retained: Retained,
    pub(crate) timers: Timers,
    pub(crate) relay: Relay,
    /// Requests a pass over messages of revoked publishers; requests before it begins are one.
    pub(crate) revocation_sweep: Notify,
    pub(crate) alerts: AlertListeners,
    pub(crate) push: PushChanges,
    pub(crate) uplinks: Uplinks,
    pub(crate) tasks: TaskTracker,
    pub(crate) disconnected: mpsc::Sender<Disconnected>,
    pub(crate) next_session: AtomicU64,
    pub(crate) witnessed: AtomicBool,
    pub(crate) connected: AtomicUsize,
    pub(crate) persistence: Arc<Persistence>,
    pub(crate) ticket_keys: Arc<TicketKeys>,
    pub(crate) authz_info: AuthzInfo,
    pub(crate) enrolment: Enrolment,
    pub(crate) partners: Partners,
    pub(crate) certificates: Option<Arc<Certificates>>,
    pub(crate) challenges: Challenges,
    pub(crate) restraints: Restraints,
}

impl Hub {
    /// The time.
    pub(crate) fn now(&self) -> Now {
        let monotonic = self.clock.monotonic();
        Now { unix: self.authenticator.validator().now_at(monotonic), monotonic }
    }

    /// The settings and trust data that all sessions share, as of now.
    pub(crate) fn context(&self) -> BrokerContext<'_> {
        BrokerContext {
            policy: &self.policy,
            trusted: Trusted::now(self.authenticator.validator()),
        }
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
        rows: Option<SessionRows>,
    ) -> Arc<Outbox> {
        let account = self.shares.account(grant.tenant(), grant.device());
        let most = (self.policy.queue_messages, self.policy.queue_bytes);
        Outbox::of_account(account, id, rows, most)
    }

    /// Files the session's next deadline.
    pub(crate) fn schedule(&self, session: &Session, now: Now) {
        self.timers.add(session.next_deadline(now), session.id);
    }
}
