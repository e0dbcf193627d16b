//! Start, listen, drain.
//!
//! Start order: registry of metrics, verification threads, gate actor and HTTP (one actix thread), lanes, watchers,
//! listeners (one accepting thread). Stop order: listener, sessions, HTTP. What does not stop in time is named.

mod accept_thread;
mod actix_thread;
mod backlog;
mod descriptors;
mod error;
mod listener;
mod quic;

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::sync::Arc;
use std::time::Duration;

use tessera_agent::Agent;
use tessera_runtime::clock::SharedClock;
use tessera_runtime::metrics::Metrics;
use tessera_runtime::proxy::entrance::Entrance;
use tessera_runtime::random::SystemRandom;
use tessera_runtime::stop::Stop;
use tessera_runtime::store::{StoreError, StoreOptions};
use tessera_runtime::tls::renewal;
use tessera_token::refusal::RefusalCode;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::admission::Admission;
use crate::alerts::{self, Alerts};
use crate::authz::Authz;
use crate::challenges::Challenges;
use crate::config::BrokerConfig;
use crate::connection;
use crate::control::{deadlines, revoke, withdrawn, Relay, Withdrawn};
use crate::gate::{spawn_workers, Gate};
use crate::hub::Hub;
use crate::keep::{load, Keep};
use crate::lanes::retained::Retained;
use crate::lanes::Lanes;
use crate::limits::{DRAIN_WITHIN, LEAVING, QUIC_IDLE_KEEP_ALIVES};
use crate::metrics::BrokerMetrics;
use crate::registry::Registry;
use crate::session::machine::End;
use crate::session::timers::Timers;
use crate::shares::Shares;
use crate::tickets::{self, Tickets};
use crate::transport::accept::Door;
use crate::transport::quic::Endpoint;
use crate::transport::settings::Listen;
use crate::transport::tls::{Certificates, TlsError};
use crate::transport::Transport;
use actix_thread::ActixThread;
use listener::Listener;
use quic::QuicListener;

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
    certificates: Option<Arc<Certificates>>,
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
        self.certificates.as_deref().map_or(Ok(()), renewal::reload)
    }

    /// Writes a consistent copy of the kept sessions and retained messages into the new folder `to`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn copy_store_to(&self, to: &Path) -> Result<(), StoreError> {
        self.hub.keep.copy_to(to)
    }

    /// Sessions, connected or kept.
    pub fn sessions(&self) -> usize {
        self.hub.registry.len()
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

    /// The part that is not ready, and its code, as `/readyz` tells them.
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
    pub async fn start(
        config: BrokerConfig,
        agent: &Agent,
        clock: SharedClock,
        metrics: &Metrics,
        stop: &Stop,
    ) -> Result<BrokerHandle, StartError> {
        let metrics = BrokerMetrics::new(metrics).map_err(StartError::Metrics)?;
        let relay = Relay::new(
            config.provisioning,
            config.relay_token.0.clone(),
            config.token_requests_per_second,
        )
        .map_err(StartError::Provisioning)?;
        descriptors::raise(config.admission.sockets);
        backlog::check();
        let certificates = config.tls.map(Certificates::load).transpose();
        let certificates = certificates.map_err(StartError::Tls)?.map(Arc::new);
        let (sockets, listening) = bind_all(&config.listen)?;
        let http = TcpListener::bind(config.http);
        let http = http.map_err(|error| StartError::Listen(config.http, error))?;
        let mqtt_addr = listening.first().map_or(config.http, |(_, address)| *address);
        let http_addr = http.local_addr().map_err(StartError::Thread)?;

        let validator = agent.validator().clone();
        let workers =
            spawn_workers(config.verification_workers, &validator).map_err(StartError::Thread)?;
        let lanes = Lanes::start(Handle::current()).map_err(StartError::Thread)?;
        let (accept_loss, must_exist) = (config.accept_loss, config.must_exist);
        let options = StoreOptions { accept_loss, must_exist, ..StoreOptions::default() };
        let keep = Keep::open_with(&config.data_dir.join("sessions"), &options);
        let keep = keep.map_err(StartError::Store)?;
        if keep.has_lost() {
            metrics.limits_hit.inc(&["store_loss_accepted"]);
        }
        let random = SystemRandom::shared();
        let folder = config.data_dir.join("tickets");
        let now = validator.now();
        let tickets = Tickets::open(&config.resumption, &folder, Arc::clone(&random), now);
        let tickets = Arc::new(tickets.map_err(StartError::Tickets)?);
        let (thread, actor) = ActixThread::start(workers.clone()).await?;
        let effects = validator.trust_effects();
        let tasks = TaskTracker::new();
        let (leaving, gone) = mpsc::channel(LEAVING);
        let hub = Arc::new(Hub {
            policy: config.session,
            clock,
            shares: Shares::new(config.shares, metrics.limits_hit.clone()),
            metrics,
            admission: Admission::new(config.admission),
            gate: Gate::new(workers, actor, validator, random, config.ace_as_hint),
            observer: agent.observer().clone(),
            registry: Registry::new(config.sessions),
            lanes,
            retained: Retained::kept(Arc::clone(&keep), config.retained),
            timers: Timers::default(),
            relay,
            withdrawn: Withdrawn::default(),
            alerts: Alerts::default(),
            tasks: tasks.clone(),
            leaving,
            next_session: AtomicU64::new(1),
            connected: AtomicUsize::new(0),
            keep: Arc::clone(&keep),
            tickets,
            authz: Authz::new(config.authz_info, config.admission.half_open),
            certificates: certificates.clone(),
            challenges: Challenges::new(config.ace_challenge, config.challenges),
        });
        load::restore(&hub).await.map_err(StartError::Store)?;
        let restored = keep.ticket();
        stop.spawn("broker store", keep.run());
        // Since when its sessions are away: a crash at this moment does not count that anew. Without room on the disk the
        // broker starts all the same, and lets no client in.
        let _ = hub.keep.durable(restored).await;
        let server = thread.serve(http, &hub).await?;

        let drained = CancellationToken::new();
        stop.spawn("broker leaving", connection::see_off(tasks, gone, drained.clone()));
        stop.spawn("broker trust effects", revoke::watch(Arc::clone(&hub), effects, stop.clone()));
        stop.spawn("broker withdrawn messages", withdrawn::watch(Arc::clone(&hub), stop.clone()));
        stop.spawn("broker deadlines", deadlines::watch(Arc::clone(&hub), stop.clone()));
        stop.spawn("broker ticket keys", tickets::watch(Arc::clone(&hub), stop.clone()));
        let alerts = agent.observer().alerts();
        stop.spawn("broker alerts", alerts::watch(Arc::clone(&hub), alerts, stop.clone()));
        if let Some(certificates) = &certificates {
            let watch = renewal::watch(Arc::clone(certificates), stop.clone());
            stop.spawn("broker certificates", watch);
        }
        let permits = Arc::new(Semaphore::new(config.admission.sockets));
        let (proxy, proxies) = (config.proxy.clone(), config.proxy.from.clone());
        let keep_alive = Duration::from_secs(hub.policy.keep_alive.into());
        let (mut listeners, mut over_quic) = (Vec::new(), Vec::new());
        for (socket, Listen { transport, address, proxied }) in
            sockets.into_iter().zip(config.listen)
        {
            tracing::debug!(transport = transport.as_str(), %address, proxied, "listening");
            let certificates = certificates.clone().filter(|_| transport.is_tls());
            let (hub, permits) = (Arc::clone(&hub), Arc::clone(&permits));
            match socket {
                Socket::Udp(socket) => {
                    let entrance = Entrance::new(transport.as_str(), proxy.clone(), None);
                    let entrance = Arc::new(entrance);
                    let door = Door { transport, certificates: None, entrance };
                    let idle = keep_alive * QUIC_IDLE_KEEP_ALIVES;
                    let missing = || io::Error::other("QUIC needs a certificate");
                    let endpoint = certificates.ok_or_else(missing);
                    let endpoint = endpoint.and_then(|own| Endpoint::start(socket, own, idle));
                    let endpoint = endpoint.map_err(|error| StartError::Listen(address, error))?;
                    over_quic.push(QuicListener { hub, endpoint, door, permits });
                }
                Socket::Tcp(socket) => {
                    let entrance = Entrance::new(transport.as_str(), proxy.clone(), None);
                    let entrance = Arc::new(entrance);
                    let listener = Listener {
                        hub,
                        runtime: Handle::current(),
                        door: Door { transport, certificates, entrance },
                        permits,
                        proxies: proxied.then(|| Arc::clone(&proxies)),
                    };
                    listeners.push((listener, socket));
                }
            }
        }
        let accepting = accept_thread::start(listeners, stop.clone()).await?;
        let knocking: Vec<_> =
            over_quic.into_iter().map(|one| tokio::spawn(one.run(stop.clone()))).collect();
        let draining = Arc::clone(&hub);
        stop.spawn("broker listener", async move {
            // An error says that the thread is gone, too.
            let _ = accepting.await;
            let mut over_quic = Vec::new();
            for one in knocking {
                over_quic.extend(one.await);
            }
            drain(&draining).await;
            drained.cancel();
            for one in over_quic {
                one.end().await;
            }
            draining.lanes.stop();
            draining.keep.close().await;
            server.stop(true).await;
        });
        tracing::info!(%mqtt_addr, %http_addr, "broker started");
        Ok(BrokerHandle { mqtt_addr, http_addr, hub, listening, certificates })
    }
}

/// What is listened on.
enum Socket {
    Tcp(TcpListener),
    Udp(UdpSocket),
}

/// Sockets in the order of the settings, and where they are.
type Bound = (Vec<Socket>, Vec<(Transport, SocketAddr)>);

fn bind_all(listen: &[Listen]) -> Result<Bound, StartError> {
    let (mut sockets, mut listening) = (Vec::new(), Vec::new());
    for one in listen {
        let failed = |error| StartError::Listen(one.address, error);
        let (socket, address) = bind(one).map_err(failed)?;
        listening.push((one.transport, address));
        sockets.push(socket);
    }
    Ok((sockets, listening))
}

fn bind(one: &Listen) -> io::Result<(Socket, SocketAddr)> {
    if one.transport == Transport::Quic {
        let socket = UdpSocket::bind(one.address)?;
        let address = socket.local_addr()?;
        return Ok((Socket::Udp(socket), address));
    }
    let socket = listener::bind(one.address)?;
    let address = socket.local_addr()?;
    Ok((Socket::Tcp(socket), address))
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
