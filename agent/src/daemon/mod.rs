//! The agent alone on a gateway: decides for other programs and takes their reports, over loopback HTTP and a Unix socket,
//! online or offline.

use std::fmt;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use actix_web::{web, App};
use tessera_runtime::boxed::Boxed;
use tessera_runtime::clock::SharedClock;
use tessera_runtime::http::server::{self, Listener, ServerLimits};
use tessera_runtime::inherited;
use tessera_runtime::metrics::Metrics;
use tessera_runtime::random::SharedRandom;
use tessera_runtime::stop::Stop;

use crate::config::AgentConfig;
use crate::error::AgentError;
use crate::limits;
use crate::start::Agent;
use state::State;

pub use document::text as openapi;

mod body;
mod cbor;
mod decisions;
mod document;
mod reports;
mod routes;
mod sessions;
mod state;
#[cfg(test)]
mod tests;
mod wire;

/// Configuration of `tessera agent`.
#[derive(Clone)]
pub struct DaemonConfig {
    /// The agent itself.
    pub agent: AgentConfig,
    /// Where it listens for HTTP; port 0 takes a free one.
    pub http: SocketAddr,
    /// Whether another address than loopback may be listened on: every peer that reaches it may ask about any credential.
    pub not_only_loopback: bool,
    /// Its Unix socket (mode 0660), when there is to be one.
    pub socket: Option<PathBuf>,
    /// Time for a client to send its request head, and again for its body.
    pub request_time: Duration,
}

impl DaemonConfig {
    /// Loopback alone, no Unix socket.
    pub fn new(agent: AgentConfig) -> Self {
        Self {
            agent: AgentConfig { gateway: true, ..agent },
            http: SocketAddr::from(([127, 0, 0, 1], 8085)),
            not_only_loopback: false,
            socket: None,
            request_time: limits::DAEMON_REQUEST_TIME,
        }
    }
}

/// Why the daemon did not start.
#[derive(Debug)]
#[non_exhaustive]
pub enum DaemonError {
    /// The agent inside.
    Agent(AgentError),
    /// A listener.
    Listen(String, std::io::Error),
    /// The address is not loopback, and the configuration does not say that this is meant.
    NotLoopback(SocketAddr),
}

impl fmt::Display for DaemonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Agent(error) => error.fmt(f),
            Self::Listen(place, error) => write!(f, "cannot listen on {place}: {error}"),
            Self::NotLoopback(address) => write!(
                f,
                "{address} is not loopback: set not_only_loopback when others may ask about credentials"
            ),
        }
    }
}

impl std::error::Error for DaemonError {}

impl From<AgentError> for DaemonError {
    fn from(error: AgentError) -> Self {
        Self::Agent(error)
    }
}

/// A running gateway daemon.
pub struct AgentDaemon {
    agent: Agent,
    http: SocketAddr,
}

impl AgentDaemon {
    /// Starts the agent and its listeners. Needs a running tokio; ends with `stop`.
    ///
    /// # Errors
    /// [`DaemonError`].
    pub fn start<'a>(
        config: DaemonConfig,
        clock: SharedClock,
        random: SharedRandom,
        metrics: &'a Metrics,
        stop: &'a Stop,
    ) -> Boxed<'a, Result<Self, DaemonError>> {
        Box::pin(Self::begin(config, clock, random, metrics, stop))
    }

    async fn begin(
        config: DaemonConfig,
        clock: SharedClock,
        random: SharedRandom,
        metrics: &Metrics,
        stop: &Stop,
    ) -> Result<Self, DaemonError> {
        if !config.http.ip().is_loopback() && !config.not_only_loopback {
            return Err(DaemonError::NotLoopback(config.http));
        }
        let place = config.http.to_string();
        let listen = |error| DaemonError::Listen(place.clone(), error);
        let tcp = inherited::take(config.http).map_or_else(|| TcpListener::bind(config.http), Ok);
        let tcp = tcp.map_err(listen)?;
        let http = tcp.local_addr().map_err(listen)?;
        let socket = config.socket.as_deref().map(open_socket).transpose()?;
        let timer = clock.clone();
        let drawn = SharedRandom::clone(&random);
        let agent = Agent::start(config.agent, clock, random, metrics, stop).await?;
        let state = State::new(&agent, drawn, metrics, config.request_time);
        let state = web::Data::new(state.map_err(AgentError::from)?);
        sweep(web::Data::clone(&state), stop);
        serve(tcp, socket, state, config.request_time, timer, stop).map_err(listen)?;
        Ok(Self { agent, http })
    }

    /// The agent inside.
    pub fn agent(&self) -> &Agent {
        &self.agent
    }

    /// Where it listens for HTTP.
    pub fn http(&self) -> SocketAddr {
        self.http
    }
}

fn open_socket(path: &Path) -> Result<UnixListener, DaemonError> {
    let fail = |error| DaemonError::Listen(path.display().to_string(), error);
    // A killed process left it behind; a file that is no socket is not ours to remove.
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket());
    if is_socket {
        let answer = std::os::unix::net::UnixStream::connect(path);
        let refused =
            |error: &std::io::Error| error.kind() == std::io::ErrorKind::ConnectionRefused;
        if answer.err().as_ref().is_some_and(refused) {
            std::fs::remove_file(path).map_err(fail)?;
        }
    }
    let listener = UnixListener::bind(path).map_err(fail)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660)).map_err(fail)?;
    Ok(listener)
}

/// Lets sessions go that have ended, and that their caller did not close.
fn sweep(state: web::Data<State>, stop: &Stop) {
    let signal = stop.clone();
    stop.spawn("agent sessions", async move {
        loop {
            tokio::select! {
                () = signal.stopping() => return,
                () = tokio::time::sleep(limits::DAEMON_SWEEP) => state.sweep(),
            }
        }
    });
}

fn serve(
    tcp: TcpListener,
    socket: Option<UnixListener>,
    state: web::Data<State>,
    request_time: Duration,
    clock: SharedClock,
    stop: &Stop,
) -> std::io::Result<()> {
    let metrics = state.http.clone();
    let app = move || App::new().app_data(state.clone()).configure(routes::all);
    let limits = ServerLimits {
        workers: 1,
        connections: limits::DAEMON_CONNECTIONS,
        per_peer: limits::DAEMON_CONNECTIONS,
        head: request_time,
        idle: limits::DAEMON_KEEP_ALIVE,
        request: request_time * 2,
        drain: Duration::from_secs(2),
    };
    let socket = socket.map(|socket| Listener::unix("unix", socket));
    let listeners = socket.into_iter().chain([Listener::tcp("tcp", tcp)]);
    let server = server::serve(app, listeners.collect(), &limits, clock, metrics)?;
    let handle = server.handle();
    let signal = stop.clone();
    stop.spawn("agent-http", async move {
        if let Err(error) = server.await {
            tracing::error!(%error, "agent HTTP server ended");
        }
    });
    stop.spawn("agent-http-stop", async move {
        signal.stopping().await;
        handle.stop(true).await;
    });
    Ok(())
}
