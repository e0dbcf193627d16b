//! Runs the listeners until the broker stops, then waits a while for the connections, and closes the parts below them.

use std::sync::Arc;

use tessera_runtime::stop::Stop;
use tokio_util::sync::CancellationToken;

use super::actix_thread::Serving;
use super::listen::Listeners;
use super::{accept_thread, StartError};
use crate::hub::Hub;
use crate::limits::DRAIN_WITHIN;
use crate::session::state_machine::End;

/// Starts to accept. At the end `drained` is cancelled once the connections have been waited for. The verification actors
/// answer each CONNECT that they were asked, then they end, and `thread` last.
pub(super) async fn spawn(
    hub: &Arc<Hub>,
    listeners: Listeners,
    thread: Serving,
    drained: CancellationToken,
    stop: &Stop,
) -> Result<(), StartError> {
    let accepting = accept_thread::start(listeners.tcp, stop.clone()).await?;
    let knocking: Vec<_> =
        listeners.quic.into_iter().map(|one| tokio::spawn(one.run(stop.clone()))).collect();
    let hub = Arc::clone(hub);
    stop.spawn("broker listener", async move {
        // An error says that the thread is gone, too.
        let _ = accepting.await;
        let mut over_quic = Vec::new();
        for one in knocking {
            over_quic.extend(one.await);
        }
        drain(&hub).await;
        hub.partners.report().await;
        drained.cancel();
        for one in over_quic {
            one.end().await;
        }
        hub.routing.stop();
        hub.persistence.close().await;
        hub.authenticator.finish().await;
        thread.stop().await;
    });
    Ok(())
}

/// Tells every connection, then waits a while for them.
async fn drain(hub: &Hub) {
    hub.tasks.close();
    for session in hub.registry.all() {
        session.disconnect(End::stopping());
    }
    if tokio::time::timeout(DRAIN_WITHIN, hub.tasks.wait()).await.is_err() {
        tracing::warn!(connections = hub.tasks.len(), "connections did not end in time");
    }
}
