//! Start, listen, drain.
//!
//! Start order: registry of metrics, verification threads, gate actor and HTTP (one actix thread), lanes, watchers,
//! listener. Stop order: listener, sessions, HTTP. What does not stop in time is named.

mod actix_thread;
mod error;
mod listener;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::sync::Arc;

use tessera_agent::Agent;
use tessera_runtime::clock::SharedClock;
use tessera_runtime::metrics::Metrics;
use tessera_runtime::stop::Stop;
use tokio::runtime::Handle;
use tokio_util::task::TaskTracker;

use crate::admission::Admission;
use crate::alerts::{self, Alerts};
use crate::config::BrokerConfig;
use crate::control::{deadlines, revoke, Publishers, Relay};
use crate::gate::{spawn_workers, Gate};
use crate::hub::Hub;
use crate::lanes::retained::Retained;
use crate::lanes::Lanes;
use crate::limits::DRAIN_WITHIN;
use crate::metrics::BrokerMetrics;
use crate::registry::Registry;
use crate::session::machine::End;
use crate::session::timers::Timers;
use actix_thread::ActixThread;

pub use error::StartError;

/// The MQTT broker.
pub struct Broker;

/// A running broker. It stops with the [`Stop`] that it was started with.
pub struct BrokerHandle {
    /// Where MQTT is spoken.
    pub mqtt_addr: SocketAddr,
    /// Where `/metrics`, `/healthz` and `/readyz` are served.
    pub http_addr: SocketAddr,
    hub: Arc<Hub>,
}

impl BrokerHandle {
    /// Sessions, connected or kept.
    pub fn sessions(&self) -> usize {
        self.hub.registry.len()
    }

    /// Open MQTT sockets.
    pub fn sockets(&self) -> usize {
        self.hub.admission.sockets()
    }

    /// Whether a CONNECT that comes now can be judged and served.
    pub fn is_ready(&self) -> bool {
        self.hub.ready().is_ok()
    }

    /// The metrics of the process as text.
    pub fn metrics(&self) -> String {
        self.hub.metrics.render()
    }
}

impl Broker {
    /// Starts the broker on the running tokio. `agent` decides who may connect. All tasks are registered with `stop`.
    ///
    /// # Errors
    /// [`StartError`]: nothing keeps running that accepts connections.
    pub async fn start(
        config: BrokerConfig,
        agent: &Agent,
        clock: SharedClock,
        metrics: &Metrics,
        stop: &Stop,
    ) -> Result<BrokerHandle, StartError> {
        let metrics = BrokerMetrics::new(metrics).map_err(StartError::Metrics)?;
        let relay = Relay::new(config.provisioning.as_deref()).map_err(StartError::Provisioning)?;
        let mqtt =
            listener::bind(config.mqtt).map_err(|error| StartError::Listen(config.mqtt, error))?;
        let http = std::net::TcpListener::bind(config.http);
        let http = http.map_err(|error| StartError::Listen(config.http, error))?;
        let mqtt_addr = mqtt.local_addr().map_err(StartError::Thread)?;
        let http_addr = http.local_addr().map_err(StartError::Thread)?;

        let validator = agent.validator().clone();
        let workers =
            spawn_workers(config.verification_workers, &validator).map_err(StartError::Thread)?;
        let lanes = Lanes::start(Handle::current()).map_err(StartError::Thread)?;
        let (thread, actor) = ActixThread::start(workers).await?;
        let effects = validator.trust_effects();
        let hub = Arc::new(Hub {
            policy: config.session,
            clock,
            metrics,
            admission: Admission::new(config.admission),
            gate: Gate::new(actor, validator),
            observer: agent.observer().clone(),
            registry: Registry::default(),
            lanes,
            retained: Retained::new(),
            timers: Timers::default(),
            relay,
            alerts: Alerts::default(),
            tasks: TaskTracker::new(),
            next_session: AtomicU64::new(1),
            connected: AtomicUsize::new(0),
            publishers: Publishers::default(),
        });
        let server = thread.serve(http, &hub).await?;

        stop.spawn("broker trust effects", revoke::watch(Arc::clone(&hub), effects, stop.clone()));
        stop.spawn("broker deadlines", deadlines::watch(Arc::clone(&hub), stop.clone()));
        let alerts = agent.observer().alerts();
        stop.spawn("broker alerts", alerts::watch(Arc::clone(&hub), alerts, stop.clone()));
        let listen = listener::run(Arc::clone(&hub), mqtt, config.admission.sockets, stop.clone());
        let draining = Arc::clone(&hub);
        stop.spawn("broker listener", async move {
            listen.await;
            drain(&draining).await;
            server.stop(true).await;
        });
        tracing::info!(%mqtt_addr, %http_addr, "broker started");
        Ok(BrokerHandle { mqtt_addr, http_addr, hub })
    }
}

/// Tells every connection, then waits a while for them.
async fn drain(hub: &Hub) {
    hub.tasks.close();
    for session in hub.registry.all() {
        session.hang_up(End::stopping());
    }
    if tokio::time::timeout(DRAIN_WITHIN, hub.tasks.wait()).await.is_err() {
        tracing::warn!(connections = hub.tasks.len(), "connections did not end in time");
    }
}
