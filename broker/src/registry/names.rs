use std::hash::BuildHasher;
use std::sync::Arc;

use hashbrown::hash_table::{Entry, HashTable};
use hashbrown::{DefaultHashBuilder, HashMap};
use tessera_token::ids::TenantId;

use crate::message::SubscriberId;
use crate::session::Session;

/// Sessions by a name within their tenant. Most names have one session, which holds the name itself: the table keeps no
/// copy of it.
pub(super) struct Names {
    table: HashTable<Named>,
    hasher: DefaultHashBuilder,
    name: Name,
}

type Name = fn(&Session) -> &str;

enum Named {
    One(Arc<Session>),
    Many(Box<Many>),
}

struct Many {
    tenant: TenantId,
    name: String,
    sessions: HashMap<SubscriberId, Arc<Session>>,
}

impl Names {
    /// An empty table by this name of sessions.
    pub(super) fn by(name: Name) -> Self {
        Self { table: HashTable::new(), hasher: DefaultHashBuilder::default(), name }
    }

    /// All sessions of a name.
    pub(super) fn get(&self, tenant: &TenantId, name: &str) -> impl Iterator<Item = &Arc<Session>> {
        let key = (tenant.as_str(), name);
        let found = self.table.find(self.hasher.hash_one(key), |named| named.key(self.name) == key);
        found.into_iter().flat_map(Named::sessions)
    }

    pub(super) fn add(&mut self, session: &Arc<Session>) {
        let Self { table, hasher, name } = self;
        let key = (session.tenant.as_str(), name(session));
        let same = |named: &Named| named.key(*name) == key;
        match table.entry(hasher.hash_one(key), same, |named| hasher.hash_one(named.key(*name))) {
            Entry::Vacant(place) => {
                place.insert(Named::One(Arc::clone(session)));
            }
            Entry::Occupied(mut place) => place.get_mut().add(session, key.1),
        }
    }

    pub(super) fn remove(&mut self, session: &Session) {
        let key = (session.tenant.as_str(), (self.name)(session));
        let same = |named: &Named| named.key(self.name) == key;
        let Ok(mut place) = self.table.find_entry(self.hasher.hash_one(key), same) else { return };
        let empty = match place.get_mut() {
            Named::One(one) => one.id == session.id,
            Named::Many(many) => {
                many.sessions.remove(&session.id);
                many.sessions.is_empty()
            }
        };
        if empty {
            place.remove();
        }
    }
}

impl Named {
    fn key(&self, name: Name) -> (&str, &str) {
        match self {
            Self::One(one) => (one.tenant.as_str(), name(one)),
            Self::Many(many) => (many.tenant.as_str(), &many.name),
        }
    }

    fn sessions(&self) -> impl Iterator<Item = &Arc<Session>> {
        let (one, many) = match self {
            Self::One(one) => (Some(one), None),
            Self::Many(many) => (None, Some(many.sessions.values())),
        };
        one.into_iter().chain(many.into_iter().flatten())
    }

    fn add(&mut self, session: &Arc<Session>, name: &str) {
        match self {
            Self::One(one) if one.id == session.id => {}
            Self::One(one) => {
                let sessions = [&*one, session].map(|one| (one.id, Arc::clone(one)));
                let sessions = HashMap::from_iter(sessions);
                let (tenant, name) = (session.tenant.clone(), name.to_owned());
                *self = Self::Many(Box::new(Many { tenant, name, sessions }));
            }
            Self::Many(many) => {
                many.sessions.insert(session.id, Arc::clone(session));
            }
        }
    }
}
