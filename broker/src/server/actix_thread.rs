//! The one thread with an actix system: the overflow actor of authentication and the HTTP server live on it.

use std::net::TcpListener;
use std::sync::Arc;

use actix::Addr;
use actix_web::dev::ServerHandle;
use actix_web::{web, App};
use tessera_runtime::http::server::{self, Listener, ServerLimits};
use tokio::sync::oneshot;

use super::StartError;
use crate::authentication::{start_actor, OverflowActor, Workers};
use crate::http;
use crate::hub::Hub;
use crate::limits;

/// The thread while it waits for the hub.
pub(super) struct ActixThread {
    serve: oneshot::Sender<(TcpListener, Arc<Hub>)>,
    served: oneshot::Receiver<std::io::Result<ServerHandle>>,
}

impl ActixThread {
    /// Starts the thread and the overflow actor on it.
    pub(super) async fn start(workers: Workers) -> Result<(Self, Addr<OverflowActor>), StartError> {
        let (actor_sender, actor) = oneshot::channel();
        let (serve, hub) = oneshot::channel();
        let (server_sender, served) = oneshot::channel();
        let body = move || {
            actix_rt::System::new().block_on(async move {
                // No caller waits for the actor when the broker has given up starting.
                let _ = actor_sender.send(start_actor(&workers));
                drop(workers);
                let Ok((listener, hub)) = hub.await else { return };
                run_http(listener, hub, server_sender).await;
            });
        };
        let named = std::thread::Builder::new().name("broker-actix".to_owned());
        named.spawn(body).map_err(StartError::Thread)?;
        let actor = actor.await.map_err(|_| StartError::Actix)?;
        Ok((Self { serve, served }, actor))
    }

    /// Starts the HTTP server; the thread ends when it is stopped.
    pub(super) async fn serve(
        self,
        listener: TcpListener,
        hub: &Arc<Hub>,
    ) -> Result<ServerHandle, StartError> {
        self.serve.send((listener, Arc::clone(hub))).map_err(|_| StartError::Actix)?;
        self.served.await.map_err(|_| StartError::Actix)?.map_err(StartError::Thread)
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
