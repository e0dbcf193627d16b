//! From a socket to a request: actix-server accepts, the [`Entrance`] takes in, actix-http reads.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use actix_http::error::DispatchError;
use actix_http::{HttpService, Protocol};
use actix_service::{fn_service, map_config, IntoServiceFactory, ServiceFactoryExt};
use actix_web::dev::{AppConfig, Server};
use actix_web::{web, App};
use tessera_runtime::proxy::entrance::Entrance;
use tessera_runtime::proxy::ProxySettings;
use tessera_runtime::tls::ServerTls;
use tokio::net::{TcpSocket, TcpStream};

use super::StartError;
use crate::service::Service;
use crate::{limits, rest};

/// The server and where it listens.
pub(super) struct Listening {
    pub(super) server: Server,
    pub(super) addr: SocketAddr,
    /// Where the same process is answered in clear, when others are answered over TLS.
    pub(super) inner: Option<SocketAddr>,
}

/// Opens the sockets.
pub(super) fn listen(
    service: &Arc<Service>,
    tls: Option<Arc<ServerTls>>,
) -> Result<Listening, StartError> {
    let config = &service.config;
    let outer = bind(config.http_addr)?;
    let addr = local(&outer, config.http_addr)?;
    let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
    let inner = (config.inner && tls.is_some()).then(|| bind(loopback)).transpose()?;
    let inner_addr = inner.as_ref().map(|inner| local(inner, loopback)).transpose()?;
    if tls.is_none() && !addr.ip().to_canonical().is_loopback() {
        tracing::warn!(
            %addr,
            "provisioning speaks HTTP in clear beyond this machine, as http_in_clear allows: tokens can be read on the way"
        );
    }
    let server = Server::build()
        .workers(config.workers)
        .max_concurrent_connections(limits::CONNECTIONS_PER_WORKER)
        .shutdown_timeout(config.drain.as_secs())
        .disable_signals();
    let failed = |error| StartError::Bind(config.http_addr, error);
    let entrance = Entrance::new("http", config.proxy.clone(), tls);
    let server = serve(server, "provisioning", outer, service, entrance).map_err(failed)?;
    let server = match inner {
        None => server,
        Some(inner) => {
            let entrance = Entrance::new("inner", ProxySettings::default(), None);
            serve(server, "provisioning-inner", inner, service, entrance).map_err(failed)?
        }
    };
    Ok(Listening { server: server.run(), addr, inner: inner_addr })
}

fn bind(wanted: SocketAddr) -> Result<TcpListener, StartError> {
    let bound = || {
        let socket = if wanted.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        socket.set_reuseaddr(true)?;
        // Small answers leave at once; what is accepted here inherits it (Linux).
        socket.set_nodelay(true)?;
        socket.bind(wanted)?;
        socket.listen(limits::BACKLOG)?.into_std()
    };
    bound().map_err(|error: io::Error| StartError::Bind(wanted, error))
}

fn local(listener: &TcpListener, wanted: SocketAddr) -> Result<SocketAddr, StartError> {
    listener.local_addr().map_err(|error| StartError::Bind(wanted, error))
}

fn serve(
    server: actix_server::ServerBuilder,
    name: &str,
    listener: TcpListener,
    service: &Arc<Service>,
    entrance: Entrance,
) -> io::Result<actix_server::ServerBuilder> {
    let service = Arc::clone(service);
    server.listen(name, listener, move || {
        let stop = service.stop.clone();
        let app = App::new()
            .app_data(web::Data::from(Arc::clone(&service)))
            .app_data(web::Data::new(entrance.clone()))
            .wrap(actix_web::middleware::from_fn(rest::measure::measure))
            .configure(rest::configure)
            .default_service(web::to(rest::nothing_here));
        let app = app.into_factory().map_err(|error: actix_web::Error| error.error_response());
        let http = HttpService::build()
            .graceful_shutdown_signal(move || {
                let stop = stop.clone();
                async move { stop.stopping().await }
            })
            .keep_alive(limits::KEEP_ALIVE)
            .client_request_timeout(service.config.head_time)
            .client_disconnect_timeout(Duration::from_secs(1))
            .finish(map_config(app, |()| AppConfig::default()));
        let (entrance, metrics) = (entrance.clone(), service.metrics.clone());
        fn_service(move |socket: TcpStream| {
            let (entrance, metrics) = (entrance.clone(), metrics.clone());
            async move {
                let from = socket.peer_addr().map_err(DispatchError::Io)?;
                match entrance.open(socket, from).await {
                    Ok(entered) => Ok((entered.stream, Protocol::Http1, Some(entered.peer))),
                    Err(rule) => {
                        metrics.turned_away.inc(&[rule]);
                        Err(DispatchError::Io(io::Error::other(rule)))
                    }
                }
            }
        })
        .and_then(http)
    })
}
