//! `$tessera/alerts`: what behaviour tracking noticed, to those of the same tenant whose scope says so.

use std::sync::Arc;

use hashbrown::HashMap;
use parking_lot::Mutex;
use tessera_agent::behaviour::Alert;
use tessera_runtime::stop::Stop;
use tessera_token::ids::TenantId;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::broadcast::Receiver;

use crate::control;
use crate::hub::Hub;
use crate::lanes::SubscriberId;
use crate::limits::ALERT_BYTES;
use crate::rights::Control;
use crate::session::Session;

/// Who listens, by tenant.
#[derive(Default)]
pub struct Alerts {
    listeners: Mutex<HashMap<TenantId, HashMap<SubscriberId, Arc<Session>>>>,
}

impl Alerts {
    /// Adds a session whose subscription was granted.
    pub(crate) fn add(&self, session: &Arc<Session>) {
        let mut listeners = self.listeners.lock();
        listeners
            .entry(session.tenant.clone())
            .or_default()
            .insert(session.id, Arc::clone(session));
    }

    /// Takes a session out.
    pub(crate) fn remove(&self, session: &Session) {
        let mut listeners = self.listeners.lock();
        let Some(of_tenant) = listeners.get_mut(&session.tenant) else { return };
        of_tenant.remove(&session.id);
        if of_tenant.is_empty() {
            listeners.remove(&session.tenant);
        }
    }

    fn of(&self, tenant: &TenantId) -> Vec<Arc<Session>> {
        let listeners = self.listeners.lock();
        listeners.get(tenant).map_or_else(Vec::new, |sessions| sessions.values().cloned().collect())
    }
}

/// Publishes alerts until stop is told. The right to receive is asked again as each is written.
pub(crate) async fn watch(hub: Arc<Hub>, mut alerts: Receiver<Arc<Alert>>, stop: Stop) {
    loop {
        let alert = tokio::select! {
            () = stop.stopping() => return,
            alert = alerts.recv() => alert,
        };
        match alert {
            Ok(alert) => publish(&hub, &alert),
            Err(RecvError::Lagged(missed)) => {
                hub.metrics.dropped.add(&["alerts_lagged", "1"], missed)
            }
            Err(RecvError::Closed) => return,
        }
    }
}

fn publish(hub: &Hub, alert: &Alert) {
    let text = alert.to_json().to_string();
    if text.len() > ALERT_BYTES {
        return hub.metrics.limits_hit.inc(&["alert_bytes"]);
    }
    for session in hub.alerts.of(&alert.tenant) {
        if !control::tell(&session, Control::Alerts, text.clone().into_bytes()) {
            hub.metrics.dropped.inc(&["alert_not_taken", "1"]);
        }
    }
}
