//! Contents of a store: rows that changed lately in memory, over the base.
//!
//! Three layers, the newer hides the older: `active` takes what is committed, `frozen` is on its way into the next base,
//! `base` is at rest. Only what is durable is here.

use std::collections::BTreeMap;
use std::iter::Peekable;
use std::ops::Bound;
use std::sync::Arc;

use super::base::{Base, Forward};
use super::engine::Changes;
use super::error::StoreError;
use super::Row;

/// Rows in memory; `None` hides a row of an older layer.
#[derive(Clone, Default)]
pub(super) struct Rows {
    map: BTreeMap<Box<[u8]>, Option<Box<[u8]>>>,
    bytes: usize,
}

/// Cost of a row in memory beside its bytes: two allocations and its place in the tree.
const ROW_OVERHEAD: usize = 96;

impl Rows {
    fn get(&self, key: &[u8]) -> Option<&Option<Box<[u8]>>> {
        self.map.get(key)
    }

    fn put(&mut self, key: Vec<u8>, value: Option<Vec<u8>>) {
        self.bytes += key.len() + value.as_ref().map_or(0, Vec::len) + ROW_OVERHEAD;
        let length = key.len();
        let before = self.map.insert(key.into(), value.map(Vec::into_boxed_slice));
        if let Some(before) = before {
            self.forget_bytes(length, before.as_deref());
        }
    }

    fn remove(&mut self, key: &[u8]) {
        if let Some(before) = self.map.remove(key) {
            self.forget_bytes(key.len(), before.as_deref());
        }
    }

    fn forget_bytes(&mut self, key: usize, value: Option<&[u8]>) {
        self.bytes = self.bytes.saturating_sub(key + value.map_or(0, <[u8]>::len) + ROW_OVERHEAD);
    }

    /// Bytes in memory, about.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    fn from(&self, start: Bound<&[u8]>) -> Layer<'_> {
        let range = self.map.range::<[u8], _>((start, Bound::Unbounded));
        Box::new(range.map(|(key, value)| Ok((key.to_vec(), value.as_ref().map(|v| v.to_vec())))))
    }

    fn last_before(&self, end: &[u8]) -> Option<(&[u8], bool)> {
        let mut below = self.map.range::<[u8], _>((Bound::Unbounded, Bound::Excluded(end)));
        below.next_back().map(|(key, value)| (key.as_ref(), value.is_some()))
    }
}

/// The three layers.
#[derive(Clone, Default)]
pub(super) struct View {
    pub(super) active: Rows,
    pub(super) frozen: Option<Arc<Rows>>,
    pub(super) base: Arc<Base>,
}

impl View {
    pub(super) fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        match self.active.get(key) {
            Some(value) => Ok(value.as_ref().map(|value| value.to_vec())),
            None => self.get_below(key),
        }
    }

    fn get_below(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        match self.frozen.as_ref().and_then(|frozen| frozen.get(key)) {
            Some(value) => Ok(value.as_ref().map(|value| value.to_vec())),
            None => self.base.get(key),
        }
    }

    /// Takes a durable group in.
    pub(super) fn apply(&mut self, changes: Changes) -> Result<(), StoreError> {
        for (key, value) in changes {
            // A row that came and went before it reached a base leaves nothing behind.
            if value.is_none() && self.get_below(&key)?.is_none() {
                self.active.remove(&key);
            } else {
                self.active.put(key, value);
            }
        }
        Ok(())
    }

    /// Bytes of the rows in memory, about.
    pub(super) fn bytes(&self) -> usize {
        self.active.bytes() + self.frozen.as_ref().map_or(0, |frozen| frozen.bytes())
    }

    /// Sets the rows in memory aside for the next base.
    pub(super) fn freeze(&mut self) {
        self.frozen = Some(Arc::new(std::mem::take(&mut self.active)));
    }

    /// All rows from `start` on, in order.
    pub(super) fn from<'a>(&'a self, start: Bound<&[u8]>) -> Merge<'a> {
        let mut layers = vec![self.active.from(start).peekable()];
        layers.extend(self.frozen.as_ref().map(|frozen| frozen.from(start).peekable()));
        layers.push(base_from(&self.base, start).peekable());
        Merge { layers }
    }

    /// The row with the highest key that begins with `prefix`.
    pub(super) fn last(&self, prefix: &[u8]) -> Result<Option<Row>, StoreError> {
        let mut end = end_of(prefix);
        loop {
            let base = self.base.last_before(&end)?;
            let memory = [Some(&self.active), self.frozen.as_deref()];
            let tops = memory.into_iter().flatten().filter_map(|rows| rows.last_before(&end));
            let highest =
                tops.map(|(key, _)| key).chain(base.iter().map(|(key, _)| key.as_slice()));
            let Some(key) = highest.max().filter(|key| key.starts_with(prefix)) else {
                return Ok(None);
            };
            if let Some(value) = self.get(key)? {
                return Ok(Some((key.to_vec(), value)));
            }
            end = key.to_vec();
        }
    }
}

/// Rows of a base that is about to be replaced: `frozen` over `base`.
pub(super) fn merged<'a>(frozen: &'a Rows, base: &'a Base) -> Merge<'a> {
    let start = Bound::Unbounded;
    Merge { layers: vec![frozen.from(start).peekable(), base_from(base, start).peekable()] }
}

fn base_from<'a>(base: &'a Base, start: Bound<&[u8]>) -> Layer<'a> {
    let (key, skip) = match start {
        Bound::Included(key) => (key.to_vec(), None),
        Bound::Excluded(key) => (key.to_vec(), Some(key.to_vec())),
        Bound::Unbounded => (Vec::new(), None),
    };
    let rows: Forward<'a> = base.from(&key);
    Box::new(rows.filter_map(move |row| match row {
        Ok((key, _)) if Some(&key) == skip.as_ref() => None,
        Ok((key, value)) => Some(Ok((key, Some(value)))),
        Err(error) => Some(Err(error)),
    }))
}

/// A key and its value; `None` hides a row of an older layer.
type Change = (Vec<u8>, Option<Vec<u8>>);
type Layered = Result<Change, StoreError>;
type Layer<'a> = Box<dyn Iterator<Item = Layered> + 'a>;

/// The rows of several layers in key order, of each key the newest.
pub(super) struct Merge<'a> {
    /// The newest first.
    layers: Vec<Peekable<Layer<'a>>>,
}

impl Merge<'_> {
    fn step(&mut self) -> Result<Option<Change>, StoreError> {
        let mut lowest: Option<(usize, Vec<u8>)> = None;
        for (place, layer) in self.layers.iter_mut().enumerate() {
            match layer.peek() {
                None => {}
                Some(Err(error)) => return Err(error.clone()),
                Some(Ok((key, _))) if lowest.as_ref().is_none_or(|(_, low)| key < low) => {
                    lowest = Some((place, key.clone()));
                }
                Some(Ok(_)) => {}
            }
        }
        let Some((place, key)) = lowest else { return Ok(None) };
        let mut found = None;
        for (at, layer) in self.layers.iter_mut().enumerate().skip(place) {
            let same = matches!(layer.peek(), Some(Ok((next, _))) if *next == key);
            if let Some(row) = same.then(|| layer.next()).flatten() {
                if at == place {
                    found = Some(row?);
                }
            }
        }
        Ok(found)
    }
}

impl Iterator for Merge<'_> {
    type Item = Result<Row, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.step() {
                Ok(Some((key, Some(value)))) => return Some(Ok((key, value))),
                Ok(Some((_, None))) => {}
                Ok(None) => return None,
                Err(error) => {
                    self.layers.clear();
                    return Some(Err(error));
                }
            }
        }
    }
}

/// The first key behind all that begin with `prefix`.
fn end_of(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return end;
        }
    }
    // No key is longer or higher.
    vec![u8::MAX; crate::limits::STORE_KEY_BYTES + crate::limits::STORE_TABLE_NAME_BYTES + 2]
}
