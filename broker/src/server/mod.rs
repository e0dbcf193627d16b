//! Start, listen, drain.
//!
//! Start order: registry of metrics, routing, verification actors (a thread each) and HTTP (the actix thread), watchers,
//! listeners (one accepting thread). Stop order: listener, sessions, verification actors, HTTP. The log names each part
//! that does not stop in time.

mod accept_thread;
mod actix_thread;
mod backlog;
mod bind;
mod build;
mod descriptors;
mod drain;
mod error;
mod listen;
mod listener;
mod partner_uses;
mod quic;
mod restore;
mod ticket_rotation;
mod watchers;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use tessera_agent::Agent;
use tessera_runtime::boxed::Boxed;
use tessera_runtime::clock::SharedClock;
use tessera_runtime::metrics::Metrics;
use tessera_runtime::stop::Stop;
use tessera_runtime::store::StoreError;
use tessera_runtime::tls::renewal;
use tessera_token::ids::{DeviceId, TenantId};
use tessera_token::refusal::RefusalCode;

use crate::config::BrokerConfig;
use crate::hub::Hub;
use crate::metrics::BrokerMetrics;
use crate::transport::tls::TlsError;
use crate::transport::Transport;
use bind::Bound;
use build::Built;
use watchers::Watched;

pub use error::StartError;

/// The MQTT broker.
pub struct Broker;

/// A running broker. It stops with the [`Stop`] that it was started with.
pub struct BrokerHandle {
    /// Where MQTT is spoken: over plain TCP, or the first listener when that is off.
    pub mqtt_addr: SocketAddr,
    /// Where `/metrics`, `/healthz` and `/readyz` are served.
    pub http_addr: SocketAddr,
    hub: Arc<Hub>,
    listening: Vec<(Transport, SocketAddr)>,
}

impl BrokerHandle {
    /// Every way to speak MQTT here, and where.
    pub fn listening(&self) -> &[(Transport, SocketAddr)] {
        &self.listening
    }

    /// Where this transport listens.
    pub fn addr(&self, transport: Transport) -> Option<SocketAddr> {
        self.listening.iter().find(|(one, _)| *one == transport).map(|(_, address)| *address)
    }

    /// Reads certificate, key and authorities again, for connections from now on; without TLS nothing happens. Open
    /// sessions stay. The files are also looked at every few seconds.
    ///
    /// # Errors
    /// [`TlsError`]; then the old ones stay in use.
    pub fn reload_certificates(&self) -> Result<(), TlsError> {
        self.hub.certificates.as_deref().map_or(Ok(()), renewal::reload)
    }

    /// Writes a consistent copy of the persistent sessions and retained messages into the new folder `to`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn copy_store_to(&self, to: &Path) -> Result<(), StoreError> {
        self.hub.persistence.copy_to(to)
    }

    /// Sessions, connected or kept.
    pub fn sessions(&self) -> usize {
        self.hub.registry.len()
    }

    /// Client ids of a device that are connected now.
    pub fn connected_clients(&self, tenant: &TenantId, device: &DeviceId) -> Vec<String> {
        let sessions = self.hub.registry.of_device(tenant, device);
        let connected = sessions.iter().filter(|session| session.is_connected());
        connected.map(|session| session.client_id.to_string()).collect()
    }

    /// Open MQTT sockets.
    pub fn sockets(&self) -> usize {
        self.hub.admission.sockets()
    }

    /// Open MQTT sockets without an accepted CONNECT.
    pub fn half_open(&self) -> usize {
        self.hub.admission.half_open()
    }

    /// Whether a CONNECT that comes now can be judged and served.
    pub fn is_ready(&self) -> bool {
        self.hub.reasons().is_empty()
    }

    /// The part that is not ready, and its code, as in `/readyz`.
    pub fn not_ready(&self) -> Option<(&'static str, RefusalCode)> {
        self.hub.reasons().first().map(|reason| (reason.part, reason.code))
    }

    /// The metrics of the process as text.
    pub fn metrics(&self) -> String {
        crate::http::metrics_text(&self.hub)
    }
}

impl Broker {
    /// Starts the broker on the running tokio. `agent` decides who may connect. All tasks are registered with `stop`.
    ///
    /// # Errors
    /// [`StartError`]: nothing keeps running that accepts connections.
    pub fn start<'a>(
        config: BrokerConfig,
        agent: &'a Agent,
        clock: SharedClock,
        metrics: &'a Metrics,
        stop: &'a Stop,
    ) -> Boxed<'a, Result<BrokerHandle, StartError>> {
        Box::pin(Self::begin(config, agent, clock, metrics, stop))
    }

    async fn begin(
        config: BrokerConfig,
        agent: &Agent,
        clock: SharedClock,
        metrics: &Metrics,
        stop: &Stop,
    ) -> Result<BrokerHandle, StartError> {
        let metrics = BrokerMetrics::new(metrics).map_err(StartError::Metrics)?;
        let checked = build::check(&config, metrics)?;
        descriptors::raise(config.admission.sockets);
        backlog::check();
        let bound = Bound::new(&config)?;
        // Before anything is restored: an effect of that time must not be missed.
        let effects = agent.validator().trust_effects();
        let Built { hub, thread, gone } =
            build::build(&config, checked, agent, clock, stop).await?;
        let Bound { sockets, listening, mqtt_addr, http, http_addr } = bound;
        let thread = thread.serve(http, &hub).await?;
        let alerts = agent.observer().alerts();
        let drained = watchers::spawn(&hub, Watched { effects, alerts, gone }, stop);
        let listeners = listen::listeners(&hub, sockets, &config)?;
        drain::spawn(&hub, listeners, thread, drained, stop).await?;
        tracing::info!(%mqtt_addr, %http_addr, "broker started");
        Ok(BrokerHandle { mqtt_addr, http_addr, hub, listening })
    }
}
