//! Devices by tenant and name, in places that stay, bounded.

use core::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashTable};

use super::device::Device;
use super::limits;

/// One device with its names.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) tenant: u32,
    pub(super) name: Box<str>,
    pub(super) device: Box<Device>,
}

/// All devices.
#[derive(Debug)]
pub(super) struct Table {
    index: HashTable<u32>,
    places: Vec<Option<Entry>>,
    free: Vec<u32>,
    hasher: DefaultHashBuilder,
    most: usize,
}

impl Table {
    pub(super) fn new(most: usize) -> Self {
        Self {
            index: HashTable::new(),
            places: Vec::new(),
            free: Vec::new(),
            hasher: DefaultHashBuilder::default(),
            most: most.max(1),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.index.len()
    }

    /// Places, taken and free: the end of a walk over all devices.
    pub(super) fn places(&self) -> usize {
        self.places.len()
    }

    pub(super) fn is_full(&self) -> bool {
        self.index.len() >= self.most
    }

    pub(super) fn find(&self, tenant: u32, name: &str) -> Option<u32> {
        let hash = self.hasher.hash_one((tenant, name));
        let is_it = |place: &u32| {
            self.get(*place).is_some_and(|entry| entry.tenant == tenant && *entry.name == *name)
        };
        self.index.find(hash, is_it).copied()
    }

    pub(super) fn get(&self, place: u32) -> Option<&Entry> {
        self.places.get(place as usize)?.as_ref()
    }

    pub(super) fn get_mut(&mut self, place: u32) -> Option<&mut Entry> {
        self.places.get_mut(place as usize)?.as_mut()
    }

    /// Puts a device in that is not there. The caller has made room.
    pub(super) fn insert(&mut self, tenant: u32, name: &str, device: Box<Device>) -> u32 {
        let entry = Some(Entry { tenant, name: name.into(), device });
        let place = match self.free.pop() {
            Some(place) => {
                super::num::put(&mut self.places, place as usize, entry);
                place
            }
            None => {
                self.places.push(entry);
                u32::try_from(self.places.len() - 1).unwrap_or(u32::MAX)
            }
        };
        let hash = self.hasher.hash_one((tenant, name));
        let (places, hasher) = (&self.places, &self.hasher);
        self.index.insert_unique(hash, place, |place| {
            let entry = places.get(*place as usize).and_then(Option::as_ref);
            entry.map_or(0, |entry| hasher.hash_one((entry.tenant, &*entry.name)))
        });
        place
    }

    pub(super) fn remove(&mut self, place: u32) -> Option<Entry> {
        let entry = self.places.get_mut(place as usize)?.take()?;
        let hash = self.hasher.hash_one((entry.tenant, &*entry.name));
        if let Ok(found) = self.index.find_entry(hash, |at| *at == place) {
            found.remove();
        }
        self.free.push(place);
        Some(entry)
    }

    /// The places of the longest idle devices, those with open sessions last: a part of a full table.
    pub(super) fn idlest(&self) -> Vec<u32> {
        let mut idle: Vec<(bool, u32, u32)> = (0..)
            .zip(&self.places)
            .filter_map(|(place, entry)| entry.as_ref().map(|entry| (place, &entry.device)))
            .map(|(place, device)| (device.sessions.any(), device.last_seen, place))
            .collect();
        if idle.is_empty() {
            return Vec::new();
        }
        let part = (self.most / limits::EVICT_PART).clamp(1, idle.len()) - 1;
        idle.select_nth_unstable(part);
        idle.iter().take(part + 1).map(|(_, _, place)| *place).collect()
    }

    pub(super) fn each(&self) -> impl Iterator<Item = &Entry> {
        self.places.iter().filter_map(Option::as_ref)
    }
}
