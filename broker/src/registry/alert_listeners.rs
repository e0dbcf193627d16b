//! Sessions that are subscribed to `$tessera/alerts`.

use std::sync::Arc;

use hashbrown::HashMap;
use parking_lot::Mutex;
use tessera_token::ids::TenantId;

use crate::message::SubscriberId;
use crate::session::Session;

/// Sessions that listen to alerts, by tenant.
#[derive(Default)]
pub struct AlertListeners {
    listeners: Mutex<HashMap<TenantId, HashMap<SubscriberId, Arc<Session>>>>,
}

impl AlertListeners {
    /// Adds a session whose subscription was granted.
    pub(crate) fn add(&self, session: &Arc<Session>) {
        let mut listeners = self.listeners.lock();
        listeners
            .entry(session.tenant.clone())
            .or_default()
            .insert(session.id, Arc::clone(session));
        drop(listeners);
        // An end that came before the insertion took out nothing.
        if session.has_ended() {
            self.remove(session);
        }
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

    /// The sessions of a tenant that listen.
    pub(crate) fn of(&self, tenant: &TenantId) -> Vec<Arc<Session>> {
        let listeners = self.listeners.lock();
        listeners.get(tenant).map_or_else(Vec::new, |sessions| sessions.values().cloned().collect())
    }
}
