//! The one thread with an actix system. The HTTP server runs on it. The arbiters of the verification actors, a thread each,
//! belong to the system.

use std::net::TcpListener;
use std::sync::Arc;

use actix_web::dev::ServerHandle;
use actix_web::{web, App};
use tessera_agent::validator::Validator;
use tessera_runtime::http::server::{self, Listener, ServerLimits};
use tessera_runtime::metrics::Counter;
use tokio::sync::oneshot;

use super::StartError;
use crate::authentication::{Addresses, Pool};
use crate::http;
use crate::hub::Hub;
use crate::limits;

/// The thread while it waits for the hub.
pub(super) struct ActixThread {
    serve: oneshot::Sender<(TcpListener, Arc<Hub>)>,
    served: oneshot::Receiver<std::io::Result<ServerHandle>>,
    stop: oneshot::Sender<()>,
    ended: oneshot::Receiver<()>,
}

/// The thread while it serves HTTP.
pub(super) struct Serving {
    server: ServerHandle,
    stop: oneshot::Sender<()>,
    ended: oneshot::Receiver<()>,
}

impl ActixThread {
    /// Starts the thread, and so many verification actors beside it.
    pub(super) async fn start(
        actors: usize,
        validator: Validator,
        restarts: Counter,
    ) -> Result<(Self, Addresses), StartError> {
        let (told, started) = oneshot::channel();
        let (serve, hub) = oneshot::channel();
        let (server_sender, served) = oneshot::channel();
        let (stop, stopped) = oneshot::channel::<()>();
        let (done, ended) = oneshot::channel::<()>();
        let body = move || {
            actix_rt::System::new().block_on(async move {
                let pool = match Pool::start(actors, &validator, &restarts).await {
                    Ok(pool) => pool,
                    // No caller waits when the broker has given up starting; below likewise.
                    Err(error) => return drop(told.send(Err(error))),
                };
                drop(told.send(Ok(pool.addresses())));
                let Ok((listener, hub)) = hub.await else { return };
                run_http(listener, hub, server_sender).await;
                // An HTTP server that failed ends no verification actor. The other end never sends: it lets go.
                let _ = stopped.await;
            });
            drop(done);
        };
        let named = std::thread::Builder::new().name("broker-actix".to_owned());
        named.spawn(body).map_err(StartError::Thread)?;
        let actors = started.await.map_err(|_| StartError::Actix)?;
        let actors = actors.map_err(StartError::Thread)?;
        Ok((Self { serve, served, stop, ended }, actors))
    }

    /// Starts the HTTP server.
    pub(super) async fn serve(
        self,
        listener: TcpListener,
        hub: &Arc<Hub>,
    ) -> Result<Serving, StartError> {
        self.serve.send((listener, Arc::clone(hub))).map_err(|_| StartError::Actix)?;
        let server = self.served.await.map_err(|_| StartError::Actix)?;
        let server = server.map_err(StartError::Thread)?;
        Ok(Serving { server, stop: self.stop, ended: self.ended })
    }
}

impl Serving {
    /// Stops the HTTP server and ends the threads of the verification actors.
    pub(super) async fn stop(self) {
        self.server.stop(true).await;
        drop(self.stop);
        // The thread never sends: it lets go of its end.
        let _ = self.ended.await;
    }
}

async fn run_http(
    listener: TcpListener,
    hub: Arc<Hub>,
    started: oneshot::Sender<std::io::Result<ServerHandle>>,
) {
    let limits = ServerLimits {
        workers: 1,
        connections: limits::HTTP_CONNECTIONS,
        per_peer: limits::HTTP_CONNECTIONS_PER_ADDRESS,
        head: limits::HTTP_HEAD,
        idle: limits::HTTP_IDLE,
        request: limits::HTTP_REQUEST,
        drain: limits::HTTP_DRAIN,
    };
    let (clock, metrics) = (hub.clock.clone(), hub.metrics.http.clone());
    let hub = web::Data::new(hub);
    let app = move || App::new().app_data(hub.clone()).configure(http::routes);
    let server = server::serve(app, vec![Listener::tcp("tcp", listener)], &limits, clock, metrics);
    let server = match server {
        Ok(server) => server,
        Err(error) => {
            // The caller has gone: nothing is served.
            let _ = started.send(Err(error));
            return;
        }
    };
    let _ = started.send(Ok(server.handle()));
    if let Err(error) = server.await {
        tracing::error!(%error, "the broker's HTTP server failed");
    }
}
