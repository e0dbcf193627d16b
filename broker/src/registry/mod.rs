//! All sessions, by what a trust event may name: client id, device, group, issuer key, tenant.
//!
//! A trust event costs the number of sessions it hits. The index holds no actor and no task: it outlives both.

mod alert_listeners;
mod index;
mod limits;
mod names;
#[cfg(test)]
mod tests;

pub use alert_listeners::AlertListeners;
pub use limits::SessionLimits;

use std::sync::Arc;

use hashbrown::HashMap;
use parking_lot::RwLock;
use tessera_token::grant::Grant;
use tessera_token::ids::{ClientId, DeviceId, TenantId};
use tessera_token::key::KeyId;
use tessera_token::refusal::RefusalCode;

use crate::authorisation::Rights;
use crate::message::SubscriberId;
use crate::session::{ConnectionHandle, Session};
use index::Index;
use names::Names;

/// The index of sessions.
pub struct Registry {
    inner: RwLock<Inner>,
    most: SessionLimits,
}

struct Inner {
    sessions: HashMap<SubscriberId, Arc<Session>>,
    /// At most one of each.
    clients: Names,
    devices: Names,
    groups: Index<(TenantId, u64)>,
    keys: Index<KeyId>,
    tenants: Index<TenantId>,
}

/// The properties of a grant under which its session is found.
struct Place {
    tenant: TenantId,
    group: u64,
    key: KeyId,
}

impl Place {
    fn of(grant: &Grant) -> Self {
        let (tenant, group) = (grant.tenant().clone(), grant.epochs().group_number);
        Self { tenant, group, key: grant.key_id() }
    }
}

/// The registry holds as many sessions as it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// In all.
    Sessions,
    /// Of one tenant.
    OfTenant,
    /// Of one device.
    OfDevice,
    /// Of one device, those that outlive their connection.
    KeptOfDevice,
}

impl Full {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Sessions, Self::OfTenant, Self::OfDevice, Self::KeptOfDevice];

    /// As a metric label.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Sessions => "sessions",
            Self::OfTenant => "sessions_per_tenant",
            Self::OfDevice => "sessions_per_device",
            Self::KeptOfDevice => "kept_sessions_per_device",
        }
    }

    /// As it is refused.
    pub const fn code(self) -> RefusalCode {
        match self {
            Self::Sessions | Self::OfDevice => RefusalCode::LimitReached,
            Self::OfTenant | Self::KeptOfDevice => RefusalCode::ShareUsedUp,
        }
    }
}

impl Registry {
    /// An empty index for at most so many sessions.
    pub fn new(most: SessionLimits) -> Self {
        let inner = Inner {
            sessions: HashMap::new(),
            clients: Names::by(|session| session.client_id.as_str()),
            devices: Names::by(|session| session.device.device().as_str()),
            groups: Index::default(),
            keys: Index::default(),
            tenants: Index::default(),
        };
        Self { inner: RwLock::new(inner), most }
    }

    /// The session of a client id.
    pub fn find(&self, tenant: &TenantId, client_id: &ClientId) -> Option<Arc<Session>> {
        self.inner.read().clients.get(tenant, client_id.as_str()).next().cloned()
    }

    /// The session of this number.
    pub fn get(&self, id: SubscriberId) -> Option<Arc<Session>> {
        self.inner.read().sessions.get(&id).cloned()
    }

    /// Enters a session and gives the one that it replaces.
    ///
    /// # Errors
    /// [`Full`]: nothing was changed.
    pub fn enter(&self, session: &Arc<Session>) -> Result<Option<Arc<Session>>, Full> {
        let mut inner = self.inner.write();
        let former = inner.former(session).cloned();
        inner.has_room(session, former.as_deref(), self.most)?;
        Ok(inner.insert(session, former))
    }

    /// As [`Self::enter`] for a session that was kept over a restart: no limit is asked.
    pub(crate) fn enter_restored(&self, session: &Arc<Session>) -> Option<Arc<Session>> {
        let mut inner = self.inner.write();
        let former = inner.former(session).cloned();
        inner.insert(session, former)
    }

    /// Gives a session other rights, and files it anew under their group and key; gives those of before.
    pub fn renew(&self, session: &Session, grant: Grant) -> Arc<Rights> {
        self.renew_if(session, grant, None).0
    }

    /// The same on behalf of the connection of `handle`.
    ///
    /// # Errors
    /// The rights stay: `token_older` when those of now are newer than when `grant` was judged, `not_ready` when the
    /// handle serves the session no more.
    pub fn renew_on(
        &self,
        session: &Session,
        grant: Grant,
        handle: &Arc<ConnectionHandle>,
    ) -> Result<Arc<Rights>, RefusalCode> {
        let (old, renewed) = self.renew_if(session, grant, Some(handle));
        renewed.map(|()| old)
    }

    fn renew_if(
        &self,
        session: &Session,
        grant: Grant,
        handle: Option<&Arc<ConnectionHandle>>,
    ) -> (Arc<Rights>, Result<(), RefusalCode>) {
        // One at a time for each session. The registry is not held meanwhile: the session may be waited for, and its row
        // is encoded.
        let _one = session.renewal();
        let old = session.rights();
        if handle.is_some() && !grant.is_not_older_than(old.grant()) {
            return (old, Err(RefusalCode::TokenOlder));
        }
        let (before, next) = (Place::of(old.grant()), Place::of(&grant));
        if !self.file(session, &next) {
            return (old, Err(RefusalCode::NotReady));
        }
        // Here it is found by the rights of before and by the next ones.
        let is_set = session.set_rights(grant, handle);
        let (holds, gone) = if is_set { (next, before) } else { (before, next) };
        let mut inner = self.inner.write();
        inner.unindex(session.id, &gone);
        match inner.sessions.contains_key(&session.id) {
            true => inner.index(session.id, &holds),
            // It was taken out meanwhile.
            false => inner.unindex(session.id, &holds),
        }
        (old, is_set.then_some(()).ok_or(RefusalCode::NotReady))
    }

    /// Files a session of the registry in one more place.
    fn file(&self, session: &Session, place: &Place) -> bool {
        let mut inner = self.inner.write();
        let is_there = inner.sessions.contains_key(&session.id);
        if is_there {
            inner.index(session.id, place);
        }
        is_there
    }

    /// Takes a session out.
    pub fn remove(&self, session: &Session) {
        self.inner.write().remove(session.id);
    }

    /// All sessions of a tenant.
    pub fn of_tenant(&self, tenant: &TenantId) -> Vec<Arc<Session>> {
        let inner = self.inner.read();
        inner.resolve(inner.tenants.get(tenant))
    }

    /// All sessions of a device: one for each suffix.
    pub fn of_device(&self, tenant: &TenantId, device: &DeviceId) -> Vec<Arc<Session>> {
        self.inner.read().devices.get(tenant, device.as_str()).cloned().collect()
    }

    /// All sessions of a group.
    pub fn of_group(&self, tenant: &TenantId, number: u64) -> Vec<Arc<Session>> {
        let inner = self.inner.read();
        inner.resolve(inner.groups.get(&(tenant.clone(), number)))
    }

    /// All sessions whose token an issuer key signed.
    pub fn of_key(&self, key: KeyId) -> Vec<Arc<Session>> {
        let inner = self.inner.read();
        inner.resolve(inner.keys.get(&key))
    }

    /// All sessions.
    pub fn all(&self) -> Vec<Arc<Session>> {
        self.inner.read().sessions.values().cloned().collect()
    }

    /// How many sessions there are.
    pub fn len(&self) -> usize {
        self.inner.read().sessions.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Inner {
    /// The session in whose place this one enters.
    fn former(&self, session: &Session) -> Option<&Arc<Session>> {
        self.clients.get(&session.tenant, session.client_id.as_str()).next()
    }

    /// Whether it may enter. One that takes the place of another needs no more than that one had, also while there are
    /// more than there may be.
    fn has_room(
        &self,
        session: &Session,
        former: Option<&Session>,
        most: SessionLimits,
    ) -> Result<(), Full> {
        let is_more = former.is_none();
        let is_more_kept =
            session.rows().is_some() && former.is_none_or(|former| former.rows().is_none());
        if !is_more && !is_more_kept {
            return Ok(());
        }
        let (mut all, mut kept) = (0, 0);
        for one in self.devices.get(&session.tenant, session.device.device().as_str()) {
            all += 1;
            kept += usize::from(one.rows().is_some());
        }
        if is_more_kept && kept >= most.kept_of_device {
            return Err(Full::KeptOfDevice);
        }
        if !is_more {
            return Ok(());
        }
        if all >= most.device {
            return Err(Full::OfDevice);
        }
        if self.tenants.count(&session.tenant) >= most.tenant {
            return Err(Full::OfTenant);
        }
        match self.sessions.len() >= most.all {
            true => Err(Full::Sessions),
            false => Ok(()),
        }
    }

    /// Gives the session in whose place it entered.
    fn insert(
        &mut self,
        session: &Arc<Session>,
        former: Option<Arc<Session>>,
    ) -> Option<Arc<Session>> {
        let rights = session.rights();
        let replaced = former.and_then(|former| self.remove(former.id));
        self.clients.add(session);
        self.devices.add(session);
        self.index(session.id, &Place::of(rights.grant()));
        self.sessions.insert(session.id, Arc::clone(session));
        replaced
    }

    fn index(&mut self, id: SubscriberId, place: &Place) {
        self.groups.add((place.tenant.clone(), place.group), id);
        self.keys.add(place.key, id);
        self.tenants.add(place.tenant.clone(), id);
    }

    fn unindex(&mut self, id: SubscriberId, place: &Place) {
        self.groups.remove(&(place.tenant.clone(), place.group), id);
        self.keys.remove(&place.key, id);
        self.tenants.remove(&place.tenant, id);
    }

    fn remove(&mut self, id: SubscriberId) -> Option<Arc<Session>> {
        let session = self.sessions.remove(&id)?;
        self.unindex(id, &Place::of(session.rights().grant()));
        self.clients.remove(&session);
        self.devices.remove(&session);
        Some(session)
    }

    fn resolve<'a>(&self, ids: impl Iterator<Item = &'a SubscriberId>) -> Vec<Arc<Session>> {
        ids.filter_map(|id| self.sessions.get(id).cloned()).collect()
    }
}
