//! The parts of a broker, built from its settings; persistent sessions and retained messages are there again.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
use std::sync::Arc;

use tessera_agent::Agent;
use tessera_runtime::clock::SharedClock;
use tessera_runtime::random::SystemRandom;
use tessera_runtime::stop::Stop;
use tessera_runtime::store::StoreOptions;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, Notify};
use tokio_util::task::TaskTracker;

use super::actix_thread::ActixThread;
use super::{restore, StartError};
use crate::admission::Admission;
use crate::authentication::Authenticator;
use crate::authz_info::AuthzInfo;
use crate::challenges::Challenges;
use crate::config::BrokerConfig;
use crate::enrolment::Enrolment;
use crate::guard::restraint::Restraints;
use crate::hub::{Disconnected, Hub};
use crate::limits::DISCONNECT_QUEUE;
use crate::metrics::BrokerMetrics;
use crate::partners::Partners;
use crate::persistence::Persistence;
use crate::push::PushChanges;
use crate::registry::{AlertListeners, Full, Registry};
use crate::relay::Relay;
use crate::resumption::TicketKeys;
use crate::routing::retained::Retained;
use crate::routing::Routing;
use crate::session::timers::Timers;
use crate::shares::Shares;
use crate::transport::tls::Certificates;
use crate::uplinks::Uplinks;

/// The parts that can be wrong before a socket is bound.
pub(super) struct Checked {
    pub(super) metrics: BrokerMetrics,
    pub(super) relay: Relay,
    pub(super) partners: Partners,
    pub(super) certificates: Option<Arc<Certificates>>,
}

/// A broker that serves no client yet.
pub(super) struct Built {
    pub(super) hub: Arc<Hub>,
    pub(super) thread: ActixThread,
    /// The other end of `Hub::disconnected`.
    pub(super) gone: mpsc::Receiver<Disconnected>,
}

pub(super) fn check(config: &BrokerConfig, metrics: BrokerMetrics) -> Result<Checked, StartError> {
    if config.enrolment && config.provisioning.is_none() {
        return Err(StartError::Enrolment);
    }
    let (service, token) = (config.provisioning.clone(), config.relay_token.0.clone());
    let partners = Partners::new(config.partner_tokens, service.clone(), token.clone());
    let partners = partners.map_err(StartError::Provisioning)?;
    let relay = Relay::new(service, token, config.token_requests_per_second);
    let relay = relay.map_err(StartError::Provisioning)?;
    let certificates = config.tls.clone().map(Certificates::load).transpose();
    let certificates = certificates.map_err(StartError::Tls)?.map(Arc::new);
    Ok(Checked { metrics, relay, partners, certificates })
}

pub(super) async fn build(
    config: &BrokerConfig,
    checked: Checked,
    agent: &Agent,
    clock: SharedClock,
    stop: &Stop,
) -> Result<Built, StartError> {
    let Checked { metrics, relay, partners, certificates } = checked;
    let validator = agent.validator().clone();
    let routing = Routing::start(Handle::current()).map_err(StartError::Thread)?;
    let persistence = store(config, &metrics)?;
    Full::ALL.iter().for_each(|full| metrics.limits_hit.present(&[full.label()]));
    let random = SystemRandom::shared();
    let (folder, now) = (config.data_dir.join("tickets"), validator.now());
    let tickets = TicketKeys::open(&config.resumption, &folder, Arc::clone(&random), now);
    let tickets = Arc::new(tickets.map_err(StartError::Tickets)?);
    let (count, restarts) = (config.verification_workers, metrics.verification_restarts.clone());
    let (thread, actors) = ActixThread::start(count, validator.clone(), restarts).await?;
    let (disconnected, gone) = mpsc::channel(DISCONNECT_QUEUE);
    let admission = Admission::new(config.admission);
    let (hint, door) = (config.ace_as_hint.clone(), admission.clone());
    let hub = Arc::new(Hub {
        policy: config.session,
        clock,
        shares: Shares::new(config.shares, metrics.limits_hit.clone()),
        metrics,
        admission,
        authenticator: Authenticator::new(actors, validator, random, hint, door),
        observer: agent.observer().clone(),
        registry: Registry::new(config.sessions),
        routing,
        retained: Retained::stored_in(Arc::clone(&persistence), config.retained),
        timers: Timers::default(),
        relay,
        revocation_sweep: Notify::new(),
        alerts: AlertListeners::default(),
        push: PushChanges::default(),
        uplinks: Uplinks::default(),
        tasks: TaskTracker::new(),
        disconnected,
        next_session: AtomicU64::new(1),
        witnessed: AtomicBool::new(false),
        connected: AtomicUsize::new(0),
        persistence: Arc::clone(&persistence),
        ticket_keys: tickets,
        partners,
        authz_info: AuthzInfo::new(config.authz_info, config.admission.half_open),
        enrolment: Enrolment::new(config.enrolment, config.admission.half_open),
        certificates,
        challenges: Challenges::new(config.ace_challenge, config.challenges),
        restraints: Restraints::default(),
    });
    restore::restore(&hub).await.map_err(StartError::Store)?;
    let restored = persistence.last_commit();
    stop.spawn("broker store", persistence.run());
    // Since when its sessions are away: a crash at this moment does not count that anew. Without room on the disk the
    // broker starts all the same, and lets no client in.
    let _ = hub.persistence.durable(restored).await;
    Ok(Built { hub, thread, gone })
}

fn store(config: &BrokerConfig, metrics: &BrokerMetrics) -> Result<Arc<Persistence>, StartError> {
    let (accept_loss, must_exist) = (config.accept_loss, config.must_exist);
    let options = StoreOptions { accept_loss, must_exist, ..StoreOptions::default() };
    let persistence = Persistence::open_with(&config.data_dir.join("sessions"), &options);
    let persistence = persistence.map_err(StartError::Store)?;
    if persistence.has_lost() {
        metrics.limits_hit.inc(&["store_loss_accepted"]);
    }
    Ok(persistence)
}
