//! The parts of a broker, built from its settings; kept sessions and retained messages are there again.

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
use crate::authz::Authz;
use crate::challenges::Challenges;
use crate::config::BrokerConfig;
use crate::gate::{spawn_workers, Gate};
use crate::hub::{Hub, Leaving};
use crate::keep::Keep;
use crate::lanes::retained::Retained;
use crate::lanes::Lanes;
use crate::limits::LEAVING;
use crate::metrics::BrokerMetrics;
use crate::registry::{AlertListeners, Registry};
use crate::relay::Relay;
use crate::session::timers::Timers;
use crate::shares::Shares;
use crate::tickets::Tickets;
use crate::transport::tls::Certificates;

/// The parts that can be wrong before a socket is bound.
pub(super) struct Checked {
    pub(super) metrics: BrokerMetrics,
    pub(super) relay: Relay,
    pub(super) certificates: Option<Arc<Certificates>>,
}

/// A broker that serves no client yet.
pub(super) struct Built {
    pub(super) hub: Arc<Hub>,
    pub(super) thread: ActixThread,
    /// The other end of `Hub::leaving`.
    pub(super) gone: mpsc::Receiver<Leaving>,
}

pub(super) fn check(config: &BrokerConfig, metrics: BrokerMetrics) -> Result<Checked, StartError> {
    let (service, token) = (config.provisioning.clone(), config.relay_token.0.clone());
    let relay = Relay::new(service, token, config.token_requests_per_second);
    let relay = relay.map_err(StartError::Provisioning)?;
    let certificates = config.tls.clone().map(Certificates::load).transpose();
    let certificates = certificates.map_err(StartError::Tls)?.map(Arc::new);
    Ok(Checked { metrics, relay, certificates })
}

pub(super) async fn build(
    config: &BrokerConfig,
    checked: Checked,
    agent: &Agent,
    clock: SharedClock,
    stop: &Stop,
) -> Result<Built, StartError> {
    let Checked { metrics, relay, certificates } = checked;
    let validator = agent.validator().clone();
    let workers =
        spawn_workers(config.verification_workers, &validator).map_err(StartError::Thread)?;
    let lanes = Lanes::start(Handle::current()).map_err(StartError::Thread)?;
    let keep = store(config, &metrics)?;
    let random = SystemRandom::shared();
    let (folder, now) = (config.data_dir.join("tickets"), validator.now());
    let tickets = Tickets::open(&config.resumption, &folder, Arc::clone(&random), now);
    let tickets = Arc::new(tickets.map_err(StartError::Tickets)?);
    let (thread, actor) = ActixThread::start(workers.clone()).await?;
    let (leaving, gone) = mpsc::channel(LEAVING);
    let hub = Arc::new(Hub {
        policy: config.session,
        clock,
        shares: Shares::new(config.shares, metrics.limits_hit.clone()),
        metrics,
        admission: Admission::new(config.admission),
        gate: Gate::new(workers, actor, validator, random, config.ace_as_hint.clone()),
        observer: agent.observer().clone(),
        registry: Registry::new(config.sessions),
        lanes,
        retained: Retained::kept(Arc::clone(&keep), config.retained),
        timers: Timers::default(),
        relay,
        withdrawn: Notify::new(),
        alerts: AlertListeners::default(),
        tasks: TaskTracker::new(),
        leaving,
        next_session: AtomicU64::new(1),
        witnessed: AtomicBool::new(false),
        connected: AtomicUsize::new(0),
        keep: Arc::clone(&keep),
        tickets,
        authz: Authz::new(config.authz_info, config.admission.half_open),
        certificates,
        challenges: Challenges::new(config.ace_challenge, config.challenges),
    });
    restore::restore(&hub).await.map_err(StartError::Store)?;
    let restored = keep.ticket();
    stop.spawn("broker store", keep.run());
    // Since when its sessions are away: a crash at this moment does not count that anew. Without room on the disk the
    // broker starts all the same, and lets no client in.
    let _ = hub.keep.durable(restored).await;
    Ok(Built { hub, thread, gone })
}

fn store(config: &BrokerConfig, metrics: &BrokerMetrics) -> Result<Arc<Keep>, StartError> {
    let (accept_loss, must_exist) = (config.accept_loss, config.must_exist);
    let options = StoreOptions { accept_loss, must_exist, ..StoreOptions::default() };
    let keep = Keep::open_with(&config.data_dir.join("sessions"), &options);
    let keep = keep.map_err(StartError::Store)?;
    if keep.has_lost() {
        metrics.limits_hit.inc(&["store_loss_accepted"]);
    }
    Ok(keep)
}
