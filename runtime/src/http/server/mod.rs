//! The HTTP server of every process: this folder alone names `actix_server`, `actix_service` and, in the runtime,
//! `actix_http`. It bounds what actix-http leaves open.
//!
//! actix-http 3.20 has a deadline for the first request head of a connection, one for idle connections and one for a
//! connection that it closes. It has none for later heads, for a chunked body behind an answer, for a peer that takes
//! no answer, and none for the memory of an idle connection (two buffers of 8 KiB). Its limit of connections stops
//! accepting, for all. So each connection is driven by `drive`:
//!
//! 1. `book` gives it a place. When there is none, the connection of the same address that is worth least gives its own
//!    (`ranking`).
//! 2. It waits for bytes without a buffer. Then a dispatcher of actix-http serves it.
//! 3. `wire` stands between dispatcher and socket. It hands over one request at a time, and replaces the dispatcher's
//!    own answer to a broken head by problem details (`answer`).
//! 4. `watch` sees each request and its answer: it tells the phase, reads small bodies that a handler left, and closes
//!    behind all other unread bodies.
//! 5. A second after an answer the dispatcher goes, and the connection waits as in 2.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix_http::body::MessageBody;
use actix_http::{HttpService, KeepAlive, Request, Response};
use actix_server::{Server, ServerBuilder};
use actix_service::{IntoServiceFactory, Service, ServiceFactory};
use actix_web::dev::AppConfig;
use tokio::net::{TcpStream, UnixStream};

use crate::clock::SharedClock;
use crate::inherited;
use crate::limits;
use crate::metrics::{Counter, Gauge, Metrics, MetricsError};
use crate::proxy::entrance::Entrance;
use accept::Acceptor;
use book::Book;
use drive::Serve;
use place::Peer;
use watch::Watch;
use wire::Wire;

pub use resource::{accepts, media_type, nothing_here, problem, resource};

mod accept;
mod answer;
mod book;
mod boundary;
mod descriptors;
mod drive;
mod link;
mod place;
mod ranking;
mod resource;
mod watch;
mod wire;

#[cfg(test)]
mod tests;

/// The bounds of one server.
#[derive(Debug, Clone)]
pub struct ServerLimits {
    /// Threads that answer.
    pub workers: usize,
    /// Connections over TCP at once; those of a Unix socket have as many places of their own.
    pub connections: usize,
    /// Connections of one address (IPv4), /64 (IPv6) or user (Unix socket) at once.
    pub per_peer: usize,
    /// Time for a request's head, and for the first byte of a connection.
    pub head: Duration,
    /// Time for which an idle connection is kept.
    pub idle: Duration,
    /// Time for one request, from its head to its answer: the longest poll and the largest body fit in.
    pub request: Duration,
    /// Time given to running requests when the server stops; whole seconds.
    pub drain: Duration,
}

/// The metrics of one server.
#[derive(Clone)]
pub struct ServerMetrics {
    ended: Counter,
    open: Gauge,
}

impl ServerMetrics {
    /// Registers `<prefix>_http_ended_total` and `<prefix>_http_connections`.
    ///
    /// # Errors
    /// A name is taken.
    pub fn register(metrics: &Metrics, prefix: &str) -> Result<Self, MetricsError> {
        Ok(Self {
            ended: metrics.counter(
                &format!("{prefix}_http_ended_total"),
                "HTTP connections that the server ended, by why",
                &["why"],
            )?,
            open: metrics.gauge(
                &format!("{prefix}_http_connections"),
                "HTTP connections that have a place",
                &["listener"],
            )?,
        })
    }
}

/// Where a server listens. The name is that of its gauge, another for each listener of a process.
pub struct Listener {
    name: &'static str,
    socket: Socket,
}

impl Listener {
    /// On an address.
    pub fn tcp(name: &'static str, listener: TcpListener) -> Self {
        Self { name, socket: Socket::Tcp(listener) }
    }

    /// On an address, behind a PROXY header, TLS, or both.
    pub fn through(name: &'static str, listener: TcpListener, entrance: Entrance) -> Self {
        Self { name, socket: Socket::Through(listener, entrance) }
    }

    /// On a Unix socket.
    pub fn unix(name: &'static str, listener: UnixListener) -> Self {
        Self { name, socket: Socket::Unix(listener) }
    }
}

enum Socket {
    Tcp(TcpListener),
    Through(TcpListener, Entrance),
    Unix(UnixListener),
}

/// Listens on `addr` with a backlog, or on the socket of the service manager that has this address; port 0 takes a free one.
///
/// # Errors
/// The address is taken or not ours.
pub fn bind(addr: SocketAddr, backlog: u32) -> io::Result<TcpListener> {
    if let Some(socket) = inherited::take(addr) {
        return Ok(socket);
    }
    let domain = socket2::Domain::for_address(addr);
    let socket = socket2::Socket::new(domain, socket2::Type::STREAM, Some(socket2::Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.bind(&addr.into())?;
    socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
    Ok(socket.into())
}

/// An app of actix-web, as [`serve`] takes it.
pub trait Web<B>:
    ServiceFactory<
        Request,
        Config = AppConfig,
        Error: Into<actix_web::Error>,
        InitError: fmt::Debug,
        Response: Into<Response<B>>,
    > + 'static
{
}

impl<S, B> Web<B> for S
where
    S: ServiceFactory<Request, Config = AppConfig> + 'static,
    S::Error: Into<actix_web::Error>,
    S::InitError: fmt::Debug,
    S::Response: Into<Response<B>>,
{
}

/// Serves the app that `factory` makes, one for each worker and listener. Call it in an actix system or a tokio runtime; the
/// server runs while the returned future is polled.
///
/// # Errors
/// A listener that cannot be used.
pub fn serve<F, I, S, B>(
    factory: F,
    listeners: Vec<Listener>,
    limits: &ServerLimits,
    clock: SharedClock,
    metrics: ServerMetrics,
) -> io::Result<Server>
where
    F: Fn() -> I + Send + Clone + 'static,
    I: IntoServiceFactory<S, Request>,
    S: Web<B>,
    B: MessageBody + 'static,
{
    let limits = descriptors::fit(limits.clone());
    let mut builder = ServerBuilder::new()
        .workers(limits.workers)
        // The book bounds them: a server that stops accepting stops for all.
        .max_concurrent_connections(usize::MAX >> 1)
        .shutdown_timeout(limits.drain.as_secs())
        .disable_signals();
    for Listener { name, socket } in listeners {
        let book = Book::new(name, &limits, clock.clone(), metrics.clone());
        let (factory, limits) = (factory.clone(), limits.clone());
        let stopping = builder.graceful_shutdown_signal();
        let addr = match &socket {
            Socket::Tcp(listener) | Socket::Through(listener, _) => listener.local_addr()?,
            Socket::Unix(_) => SocketAddr::from(([127, 0, 0, 1], 0)),
        };
        let acceptor = move || Acceptor {
            serve: Box::pin(server(factory().into_factory(), addr)),
            book: Arc::clone(&book),
            limits: limits.clone(),
            stopping: stopping.clone(),
        };
        builder = match socket {
            Socket::Tcp(listener) => {
                builder.listen("http", listener, move || acceptor().over(tcp))?
            }
            Socket::Through(listener, entrance) => {
                let through = move || acceptor().through(entrance.clone(), tcp);
                builder.listen("http", listener, through)?
            }
            Socket::Unix(listener) => {
                builder.listen_uds("http", listener, move || acceptor().over(unix))?
            }
        };
    }
    Ok(builder.run())
}

fn tcp(stream: &TcpStream) -> (Peer, Option<SocketAddr>) {
    let addr = stream.peer_addr().ok();
    // A peer that takes nothing is noticed by the kernel too, behind our end of the connection.
    let _ = socket2::SockRef::from(stream).set_tcp_user_timeout(Some(limits::SERVER_UNTAKEN));
    let _ = stream.set_nodelay(true);
    (addr.map_or(Peer::Unknown, |addr| Peer::of(addr.ip())), addr)
}

fn unix(stream: &UnixStream) -> (Peer, Option<SocketAddr>) {
    (stream.peer_cred().map_or(Peer::Unknown, |peer| Peer::User(peer.uid())), None)
}

type Making = std::pin::Pin<Box<dyn std::future::Future<Output = Result<Serve, ()>>>>;

/// The function that makes a dispatcher for a connection.
async fn server<S, B>(app: S, addr: SocketAddr) -> Result<Serve, ()>
where
    S: Web<B>,
    B: MessageBody + 'static,
{
    let config = AppConfig::__priv_test_new(false, addr.to_string(), addr);
    let service = HttpService::build()
        .keep_alive(KeepAlive::Os)
        .client_request_timeout(Duration::ZERO)
        .client_disconnect_timeout(Duration::ZERO)
        .local_addr(addr)
        .on_connect_ext(|wire: &Wire, data| drop(data.insert(wire.link())))
        .h1(Watch::new(app, config))
        .new_service(())
        .await?;
    Ok(Rc::new(move |wire, addr| {
        let served = service.call((wire, addr));
        Box::pin(async move { drop(served.await) })
    }))
}
