//! The tasks that act on time and on trust while the broker runs.

use std::sync::Arc;

use tessera_agent::behaviour::Alert;
use tessera_agent::trust::TrustEffect;
use tessera_runtime::stop::Stop;
use tessera_runtime::tls::renewal;
use tokio::sync::broadcast::Receiver;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{partner_uses, ticket_rotation};
use crate::hub::{Disconnected, Hub};
use crate::revocation::{self, sweep};
use crate::{alerts, connection, deadlines};

/// The sources that they watch.
pub(super) struct Watched {
    pub(super) effects: Receiver<TrustEffect>,
    pub(super) alerts: Receiver<Arc<Alert>>,
    pub(super) gone: mpsc::Receiver<Disconnected>,
}

/// Starts them; all end with `stop`. The token is for the moment at which the connections have been waited for.
pub(super) fn spawn(hub: &Arc<Hub>, watched: Watched, stop: &Stop) -> CancellationToken {
    let Watched { effects, alerts, gone } = watched;
    let drained = CancellationToken::new();
    let run_disconnect_queue =
        connection::run_disconnect_queue(hub.tasks.clone(), gone, drained.clone());
    stop.spawn("broker disconnect queue", run_disconnect_queue);
    stop.spawn("broker trust effects", revocation::watch(Arc::clone(hub), effects, stop.clone()));
    stop.spawn("broker revocation sweep", sweep::watch(Arc::clone(hub), stop.clone()));
    stop.spawn("broker deadlines", deadlines::watch(Arc::clone(hub), stop.clone()));
    stop.spawn("broker partner uses", partner_uses::watch(Arc::clone(hub), stop.clone()));
    stop.spawn("broker ticket keys", ticket_rotation::watch(Arc::clone(hub), stop.clone()));
    stop.spawn("broker alerts", alerts::watch(Arc::clone(hub), alerts, stop.clone()));
    if let Some(certificates) = &hub.certificates {
        let watch = renewal::watch(Arc::clone(certificates), stop.clone());
        stop.spawn("broker certificates", watch);
    }
    drained
}
