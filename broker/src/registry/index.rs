use std::hash::Hash;

use hashbrown::{HashMap, HashSet};

use crate::message::SubscriberId;

/// Sessions by one thing they have in common. One alone takes no set of its own.
pub(super) struct Index<K>(HashMap<K, Ids>);

enum Ids {
    One(SubscriberId),
    Many(HashSet<SubscriberId>),
}

impl<K> Default for Index<K> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Hash + Eq> Index<K> {
    pub(super) fn add(&mut self, key: K, id: SubscriberId) {
        match self.0.get_mut(&key) {
            None => {
                self.0.insert(key, Ids::One(id));
            }
            Some(Ids::Many(many)) => {
                many.insert(id);
            }
            Some(Ids::One(one)) if *one == id => {}
            Some(entry @ Ids::One(_)) => {
                let mut many = HashSet::from_iter(entry.ids().copied());
                many.insert(id);
                *entry = Ids::Many(many);
            }
        }
    }

    pub(super) fn remove(&mut self, key: &K, id: SubscriberId) {
        let empty = match self.0.get_mut(key) {
            None => false,
            Some(Ids::One(one)) => *one == id,
            Some(Ids::Many(many)) => {
                many.remove(&id);
                many.is_empty()
            }
        };
        if empty {
            self.0.remove(key);
        }
    }

    pub(super) fn count(&self, key: &K) -> usize {
        match self.0.get(key) {
            None => 0,
            Some(Ids::One(_)) => 1,
            Some(Ids::Many(many)) => many.len(),
        }
    }

    pub(super) fn get(&self, key: &K) -> impl Iterator<Item = &SubscriberId> {
        self.0.get(key).into_iter().flat_map(Ids::ids)
    }
}

impl Ids {
    fn ids(&self) -> impl Iterator<Item = &SubscriberId> {
        let (one, many) = match self {
            Self::One(one) => (Some(one), None),
            Self::Many(many) => (None, Some(many.iter())),
        };
        one.into_iter().chain(many.into_iter().flatten())
    }
}
