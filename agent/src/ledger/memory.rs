use std::mem;

use hashbrown::HashMap;
use tessera_token::proof::Place;

use super::name::{Name, Who};
use crate::limits::{
    LEDGER_BUCKET_SECONDS, LEDGER_COUNTERS_PER_PART, LEDGER_SUFFIXES, LEDGER_WRITE_BACK_LIST,
};

/// Proofs that were accepted of the keys of one part: for each bucket of seconds the highest place under each name. A bucket is
/// forgotten as a whole.
#[derive(Default)]
pub(super) struct Part {
    /// Few, by their number: those of some minutes.
    buckets: HashMap<u32, Bucket>,
    counters: Counters,
    /// Places that are not written down yet, by bucket and name; `None` when it may be any of them.
    unwritten: Option<Vec<(u32, Name)>>,
    /// The taken proofs are at rest in the store: nothing more is taken.
    pub(super) finished: bool,
}

/// The proofs of some seconds.
#[derive(Default)]
pub(super) struct Bucket {
    /// Monotonic second of the last proof that was taken.
    pub(super) used: u64,
    pub(super) places: HashMap<Name, Place>,
    /// How many client ids with a suffix each key has in `places`.
    pub(super) suffixed: HashMap<Name, u8>,
}

/// The proof, or a later one, was taken before.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Replayed;

/// The accepted proofs.
pub(super) struct Entry {
    /// Its key.
    pub(super) name: Name,
    /// Whether nothing was filed under it in this bucket before.
    pub(super) new: bool,
    /// Whether the key has too many client ids for one of its own.
    pub(super) shares: bool,
    /// The counter of the key's proof before, with any client id.
    pub(super) previous: Option<u32>,
}

/// The bucket of a second.
pub(super) fn bucket_of(second: u32) -> u32 {
    second / LEDGER_BUCKET_SECONDS
}

/// First and last second of a bucket.
pub(super) fn seconds_of(bucket: u32) -> (u32, u32) {
    let first = bucket.saturating_mul(LEDGER_BUCKET_SECONDS);
    (first, first.saturating_add(LEDGER_BUCKET_SECONDS - 1))
}

impl Part {
    /// Whether a proof at this place may be new: none of its key and client id was taken at it, or later within what is
    /// fresh together with it. A proof further ahead was taken by a clock that was ahead.
    pub(super) fn check(&self, who: &Who, place: Place) -> Result<(), Replayed> {
        let bucket = bucket_of(place.second());
        let mut near =
            (bucket..=bucket.saturating_add(2)).filter_map(|number| self.buckets.get(&number));
        match near.any(|near| near.highest(who).is_some_and(|highest| highest >= place)) {
            true => Err(Replayed),
            false => Ok(()),
        }
    }

    /// Whether this would be one more entry.
    pub(super) fn is_new(&self, who: &Who, place: Place) -> bool {
        let bucket = self.buckets.get(&bucket_of(place.second()));
        bucket.is_none_or(|bucket| bucket.highest(who).is_none())
    }

    /// Takes a proof that [`Part::check`] let through.
    pub(super) fn put(&mut self, who: &Who, place: Place, used: u64) -> Entry {
        let previous = self.counters.replace(who.key, place.counter());
        let bucket = bucket_of(place.second());
        let (name, new) = self.bucket_mut(bucket, used).put(who, place);
        if let Some(unwritten) = &mut self.unwritten {
            match unwritten.len() < LEDGER_WRITE_BACK_LIST {
                true => unwritten.push((bucket, name)),
                false => self.unwritten = None,
            }
        }
        Entry { name, new, shares: name == who.shared(), previous }
    }

    /// Puts back what was at rest. Whether it is one more entry.
    pub(super) fn put_back(&mut self, name: Name, place: Place, used: u64) -> bool {
        let places = &mut self.bucket_mut(bucket_of(place.second()), used).places;
        let highest = places.get(&name).copied();
        places.insert(name, highest.map_or(place, |highest| highest.max(place)));
        highest.is_none()
    }

    /// As [`Part::put_back`], for how many client ids a key has.
    pub(super) fn put_back_suffixed(&mut self, bucket: u32, key: Name, count: u8, used: u64) {
        self.bucket_mut(bucket, used).suffixed.insert(key, count);
    }

    /// Lets go of these buckets. How many entries they had.
    pub(super) fn forget(&mut self, buckets: &[u32]) -> usize {
        let mut entries = 0;
        for number in buckets {
            entries += self.buckets.remove(number).map_or(0, |bucket| bucket.places.len());
        }
        entries
    }

    /// How many places [`Part::take_unwritten`] would give, at most.
    pub(super) fn unwritten(&self) -> usize {
        let all = || self.buckets.values().map(|bucket| bucket.places.len()).sum();
        self.unwritten.as_ref().map_or_else(all, Vec::len)
    }

    /// The places that are not written down yet, with their names. From here on they count as written.
    pub(super) fn take_unwritten(&mut self) -> Vec<(Name, Place)> {
        let places =
            |bucket: &Bucket| bucket.places.iter().map(|(name, place)| (*name, *place)).collect();
        match self.unwritten.replace(Vec::new()) {
            None => self.buckets.values().flat_map(|bucket| -> Vec<_> { places(bucket) }).collect(),
            Some(list) => {
                let place = |(bucket, name): (u32, Name)| {
                    Some((name, *self.buckets.get(&bucket)?.places.get(&name)?))
                };
                list.into_iter().filter_map(place).collect()
            }
        }
    }

    /// It is not known any more which places are written down.
    pub(super) fn forget_written(&mut self) {
        self.unwritten = None;
    }

    pub(super) fn buckets(&self) -> impl Iterator<Item = (u32, &Bucket)> {
        self.buckets.iter().map(|(number, bucket)| (*number, bucket))
    }

    fn bucket_mut(&mut self, number: u32, used: u64) -> &mut Bucket {
        let bucket = self.buckets.entry(number).or_default();
        bucket.used = bucket.used.max(used);
        bucket
    }
}

impl Bucket {
    fn highest(&self, who: &Who) -> Option<Place> {
        self.places.get(&self.name_of(who)).copied()
    }

    /// Key of a proof here: its client id, or what the key's further client ids share. A client id that has
    /// a place of its own in this bucket keeps it, and one that has none gets none later: so the answer is always the same.
    /// After a crash the rows ahead of the clock bring places back without their number: the shared place says that there
    /// were too many.
    fn name_of(&self, who: &Who) -> Name {
        match who.client {
            None => who.key,
            Some(client) if self.places.contains_key(&client) => client,
            Some(_) if self.is_full(who) || self.places.contains_key(&who.shared()) => who.shared(),
            Some(client) => client,
        }
    }

    fn is_full(&self, who: &Who) -> bool {
        self.suffixed.get(&who.key).is_some_and(|count| *count >= LEDGER_SUFFIXES)
    }

    fn put(&mut self, who: &Who, place: Place) -> (Name, bool) {
        let name = self.name_of(who);
        let new = self.places.insert(name, place).is_none();
        if new && who.client == Some(name) {
            *self.suffixed.entry(who.key).or_default() += 1;
        }
        (name, new)
    }
}

/// The last counter of each key, for the gap that behaviour tracking looks at. Two halves: when one is full, the older is
/// dropped.
#[derive(Default)]
struct Counters {
    young: HashMap<Name, u32>,
    old: HashMap<Name, u32>,
}

impl Counters {
    fn replace(&mut self, key: Name, counter: u32) -> Option<u32> {
        if let Some(known) = self.young.get_mut(&key) {
            return Some(mem::replace(known, counter));
        }
        if self.young.len() >= LEDGER_COUNTERS_PER_PART / 2 {
            self.old = mem::take(&mut self.young);
        }
        self.young.insert(key, counter);
        self.old.get(&key).copied()
    }
}
