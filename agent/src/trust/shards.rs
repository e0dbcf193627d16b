use std::hash::{BuildHasher, Hash};
use std::sync::Arc;

use hashbrown::{DefaultHashBuilder, Equivalent, HashMap};

use crate::limits::TRUST_SHARDS;

/// A hash table in parts that are shared between versions: a new version copies only the parts that it changes.
#[derive(Clone)]
pub(super) struct Shards<K, V> {
    hasher: DefaultHashBuilder,
    parts: Vec<Arc<HashMap<K, V>>>,
    len: usize,
}

impl<K: Clone + Eq + Hash, V: Clone> Shards<K, V> {
    pub(super) fn new() -> Self {
        let parts = (0..TRUST_SHARDS).map(|_| Arc::default()).collect();
        Self { hasher: DefaultHashBuilder::default(), parts, len: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn get<Q: Hash + Equivalent<K>>(&self, key: &Q) -> Option<&V> {
        if self.len == 0 {
            return None;
        }
        self.parts.get(self.part_of(key))?.get(key)
    }

    pub(super) fn insert(&mut self, key: K, value: V) {
        let part = self.part_of(&key);
        if let Some(part) = self.parts.get_mut(part) {
            let old = Arc::make_mut(part).insert(key, value);
            self.len += usize::from(old.is_none());
        }
    }

    /// Keeps what `keep` says; parts that lose nothing stay shared.
    pub(super) fn retain(&mut self, keep: impl Fn(&V) -> bool) {
        for part in &mut self.parts {
            if part.values().any(|value| !keep(value)) {
                Arc::make_mut(part).retain(|_, value| keep(value));
            }
        }
        self.len = self.parts.iter().map(|part| part.len()).sum();
    }

    /// The same by keys.
    pub(super) fn retain_keys(&mut self, keep: impl Fn(&K) -> bool) {
        for part in &mut self.parts {
            if part.keys().any(|key| !keep(key)) {
                Arc::make_mut(part).retain(|key, _| keep(key));
            }
        }
        self.len = self.parts.iter().map(|part| part.len()).sum();
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.parts.iter().flat_map(|part| part.iter())
    }

    fn part_of<Q: Hash>(&self, key: &Q) -> usize {
        let hash = self.hasher.hash_one(key);
        usize::try_from(hash >> 32).unwrap_or(0) % TRUST_SHARDS
    }
}
