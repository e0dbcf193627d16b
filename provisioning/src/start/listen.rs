//! Where the service listens: HTTPS, or HTTP in clear on this machine.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use actix_web::dev::Server;
use actix_web::{web, App};
use tessera_runtime::http::server::{self, Listener};
use tessera_runtime::proxy::entrance::Entrance;
use tessera_runtime::tls::ServerTls;

use crate::service::Service;
use crate::start_error::StartError;
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
    let (outer, addr) = bind(config.http_addr)?;
    let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
    // Its own broker speaks in clear and sends no PROXY header.
    let is_apart = tls.is_some() || config.proxy.expects("http");
    let inner = (config.inner && is_apart).then(|| bind(loopback)).transpose()?;
    if tls.is_none() && !addr.ip().to_canonical().is_loopback() {
        tracing::warn!(
            %addr,
            "provisioning speaks HTTP in clear beyond this machine, as http_in_clear allows: tokens can be read on the way"
        );
    }
    let (inner, inner_addr) = inner.unzip();
    let entrance = Entrance::new("http", config.proxy.clone(), tls);
    let data = web::Data::from(Arc::clone(service));
    let rules = web::Data::new(entrance.clone());
    let app = move || {
        App::new()
            .app_data(data.clone())
            .app_data(rules.clone())
            .wrap(actix_web::middleware::from_fn(rest::measure::measure))
            .configure(rest::configure)
            .default_service(web::to(rest::nothing_here))
    };
    let inner = inner.map(|inner| Listener::tcp("inner", inner));
    let listeners = [Listener::through(entrance.transport(), outer, entrance)]
        .into_iter()
        .chain(inner)
        .collect();
    let metrics = service.metrics.http.clone();
    let (limits, clock) = (config.server_limits(), service.clock.clone());
    let server = server::serve(app, listeners, &limits, clock, metrics);
    let server = server.map_err(|error| StartError::Bind(config.http_addr, error))?;
    Ok(Listening { server, addr, inner: inner_addr })
}

fn bind(wanted: SocketAddr) -> Result<(TcpListener, SocketAddr), StartError> {
    let failed = |error| StartError::Bind(wanted, error);
    let listener = server::bind(wanted, limits::BACKLOG).map_err(failed)?;
    let addr = listener.local_addr().map_err(failed)?;
    Ok((listener, addr))
}
